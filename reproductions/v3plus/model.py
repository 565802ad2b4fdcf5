"""DeepLab v3+: an atrous backbone, ASPP of separable convolutions with image pooling, and a decoder."""

from collections.abc import Mapping

from common.errors import UserError
from common.nets import heads, layers
from common.nets.backbones.mobilenet_v3 import hard_sigmoid
from common.nets.backbones.registry import BACKBONES
from common.nets.heads import build_cell
from common.nets.network import Outputs
from common.tf1 import slim, tf
from reproductions.v3plus.names import NAMES
from reproductions.v3plus.recipe import V3PlusRecipe


def network(images: tf.Tensor, recipe: V3PlusRecipe, batch_statistics: bool = False) -> Outputs:
    """Scores of preprocessed `images` [n, h, w, 3] (paper, figure 2).

    Returns:
      [n, ceil(h / 4), ceil(w / 4), num_classes] with the decoder, [n, ceil(h / os), ceil(w / os), ...] without.
    """
    backbone, names = BACKBONES[recipe.backbone], NAMES[recipe.names]

    def batch_norm(epsilon: float, decay: float, **options):
        decay = decay if recipe.batch_norm_decay is None else recipe.batch_norm_decay
        return slim.arg_scope(
            [layers.batch_norm],
            epsilon=epsilon,
            decay=decay,
            batch_statistics=batch_statistics,
            trainable=not recipe.freeze_bn,
            **options,
        )

    with batch_norm(backbone.epsilon, backbone.batch_norm_decay):
        net, low_level = backbone.build(images, recipe)
    _check_decoder(low_level, recipe)
    originals = recipe.initializer == "truncated_normal"
    with (
        slim.arg_scope([layers.conv2d], **(HEAD_INITIALIZER if originals else {})),
        slim.arg_scope([layers.separable_conv2d], stddevs=SEPARABLE_STDDEVS if originals else None),
    ):
        with batch_norm(recipe.batch_norm_epsilon, 0.9997, biases_instead=not recipe.aspp_batch_norm):
            net = encode(net, recipe)
        if recipe.decoder and recipe.decoder_sum_merge:
            with batch_norm(recipe.batch_norm_epsilon, 0.9997, biases_instead=not recipe.decoder_batch_norm):
                net = decode_by_sum(net, low_level, recipe)
        elif recipe.decoder:
            with batch_norm(recipe.batch_norm_epsilon, 0.9997, biases_instead=not recipe.decoder_batch_norm):
                net = heads.decoder(
                    net,
                    low_level[4],
                    projection_scope=names.projection,
                    scopes=names.decoder if recipe.decoder_separable else names.plain_decoder,
                    separable=recipe.decoder_separable,
                    depth=recipe.aspp_depth,
                )
    if recipe.decoder_output_is_logits:
        return Outputs(net)
    return Outputs(layers.conv2d(net, recipe.num_classes, 1, bias=True, scope=names.logits))


def encode(features: tf.Tensor, recipe: V3PlusRecipe) -> tf.Tensor:
    """ASPP, or the dense prediction cell in its place, on the backbone's `features`: [n, h, w, aspp_depth].

    Without its last projection, ASPP has as many channels as all branches together.
    """
    names = NAMES[recipe.names]
    if recipe.cell:
        return build_cell(features, recipe.cell, 16 // recipe.output_stride)
    windows = None
    if recipe.image_pooling_crop_size:
        windows = heads.Windows(recipe.image_pooling_crop_size, recipe.output_stride, recipe.image_pooling_stride)
    is_gate = recipe.image_pooling and recipe.aspp_squeeze_and_excitation
    net = heads.aspp(
        features,
        recipe.rates(),
        scopes=[names.aspp.format(i) for i in range(len(recipe.atrous_rates) + 1)],
        image_pooling_scope=names.image_pooling if recipe.image_pooling and not is_gate else None,
        image_pooling_first=True,
        image_pooling_windows=windows,
        fusion_scope="concat_projection" if recipe.aspp_concat_projection else None,
        separable=recipe.aspp_separable,
        depth=recipe.aspp_depth,
    )
    if recipe.aspp_concat_projection:
        net = layers.dropout(net, 0.9, scope="concat_projection_dropout")
    if is_gate:
        gate = hard_sigmoid if recipe.image_se_uses_qsigmoid else tf.sigmoid
        net *= heads.image_pooling(features, recipe.aspp_depth, names.image_pooling, windows, gate)
    return net


def decode_by_sum(features: tf.Tensor, low_level: Mapping[int, tf.Tensor], recipe: V3PlusRecipe) -> tf.Tensor:
    """The decoder that adds, stage by stage: [n, h, w, filters], or the scores if the recipe says so."""
    names = NAMES[recipe.names]
    scores = recipe.decoder_output_is_logits
    separable = recipe.decoder_separable and not scores
    depth = recipe.num_classes if scores else recipe.decoder_filters or recipe.aspp_depth
    for stage, stride in enumerate(recipe.decoder_output_stride):
        suffix = f"_{stage}" if stage else ""
        features = heads.sum_decoder(
            features,
            low_level[stride],
            depth,
            projection_scope=names.projection + suffix,
            scope=names.sum_decoder[separable] + suffix,
            separable=separable,
            scores=scores,
        )
    return features


def _check_decoder(low_level: Mapping[int, tf.Tensor], recipe: V3PlusRecipe) -> None:
    """Raise UserError when the backbone has no features for a stage of the decoder."""
    for stride in recipe.decoder_output_stride if recipe.decoder else ():
        if stride not in low_level:
            strides = ", ".join(map(str, low_level)) or "none at all"
            raise UserError(
                f"backbone={recipe.backbone}: has no features of stride {stride} for a decoder ({strides}); take "
                f"another decoder_output_stride, or decoder=false"
            )


# How the originals start the head, but for the 0.01 of the scores.
HEAD_INITIALIZER = {"weights_initializer": tf.initializers.glorot_uniform()}
SEPARABLE_STDDEVS = (0.33, 0.06)
