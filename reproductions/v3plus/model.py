"""DeepLab v3+: an atrous backbone, ASPP of separable convolutions with image pooling, and a decoder."""

from common.nets import heads, layers
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
    originals = recipe.initializer == "truncated_normal"
    with (
        slim.arg_scope([layers.conv2d], **(HEAD_INITIALIZER if originals else {})),
        slim.arg_scope([layers.separable_conv2d], stddevs=SEPARABLE_STDDEVS if originals else None),
    ):
        with batch_norm(recipe.batch_norm_epsilon, 0.9997, biases_instead=not recipe.aspp_batch_norm):
            net = encode(net, recipe)
        if recipe.decoder:
            with batch_norm(recipe.batch_norm_epsilon, 0.9997, biases_instead=not recipe.decoder_batch_norm):
                net = heads.decoder(
                    net,
                    low_level[4],
                    projection_scope=names.projection,
                    scopes=names.decoder if recipe.decoder_separable else names.plain_decoder,
                    separable=recipe.decoder_separable,
                    depth=recipe.aspp_depth,
                    align_corners=recipe.align_corners,
                )
    return Outputs(layers.conv2d(net, recipe.num_classes, 1, bias=True, scope=names.logits))


def encode(features: tf.Tensor, recipe: V3PlusRecipe) -> tf.Tensor:
    """ASPP, or the dense prediction cell in its place, on the backbone's `features`: [n, h, w, aspp_depth]."""
    names = NAMES[recipe.names]
    if recipe.cell:
        return build_cell(features, recipe.cell, 16 // recipe.output_stride)
    net = heads.aspp(
        features,
        recipe.rates(),
        scopes=[names.branch(i) for i in range(len(recipe.atrous_rates) + 1)],
        image_pooling_scope=names.image_pooling if recipe.image_pooling else None,
        image_pooling_first=names.image_pooling_first,
        fusion_scope=names.fusion,
        separable=recipe.aspp_separable,
        depth=recipe.aspp_depth,
    )
    return layers.dropout(net, names.keep_prob, scope="concat_projection_dropout")


# How the originals start the head, but for the 0.01 of the scores.
HEAD_INITIALIZER = {"weights_initializer": tf.initializers.glorot_uniform()}
SEPARABLE_STDDEVS = (0.33, 0.06)
