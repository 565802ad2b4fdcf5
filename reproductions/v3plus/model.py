"""DeepLab v3+: an atrous backbone, ASPP of separable convolutions with image pooling, and a decoder."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from common.errors import UserError
from common.nets import heads, layers, pyramid
from common.nets.backbones.mobilenet_v3 import hard_sigmoid
from common.nets.backbones.registry import BACKBONES
from common.nets.heads import build_cell
from common.nets.network import Outputs
from common.tf1 import slim, tf
from reproductions.v3plus.names import NAMES
from reproductions.v3plus.recipe import V3PlusRecipe


def network(images: tf.Tensor, recipe: V3PlusRecipe, batch_statistics: bool = False) -> Outputs:
    """Scores of preprocessed `images` [n, h, w, 3] (paper, figure 2), or of a pyramid of them, merged.

    Returns:
      [n, ceil(h / s), ceil(w / s), num_classes]; s is the stride of the decoder's last stage, 4 in the paper, and the
      output stride without a decoder. With several inputs also the scores of each, at the merged ones' size (see
      `common.nets.pyramid`).
    """
    if not recipe.image_pyramid:
        return Outputs(one_input(images, recipe, batch_statistics))
    return pyramid.image_pyramid(
        lambda scaled, factor: one_input(scaled, recipe.at_factor(factor), batch_statistics),
        images,
        recipe.image_pyramid,
        recipe.merge_method,
        recipe.scores_stride,
    )


def one_input(images: tf.Tensor, recipe: V3PlusRecipe, batch_statistics: bool) -> tf.Tensor:
    """The scores of one size of the pictures, as `network` gives them without a pyramid."""
    backbone = BACKBONES[recipe.backbone]

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
        if recipe.aspp:
            with batch_norm(recipe.batch_norm_epsilon, 0.9997, biases_instead=not recipe.aspp_batch_norm):
                net = encode(net, recipe)
        if recipe.decoder:
            with batch_norm(recipe.batch_norm_epsilon, 0.9997, biases_instead=not recipe.decoder_batch_norm):
                net = (decode_by_sum if recipe.decoder_sum_merge else decode)(net, low_level, recipe)
    return net if recipe.decoder_output_is_logits else score(net, recipe)


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
    with bounded(recipe):
        net = heads.aspp(
            features,
            recipe.rates(),
            scopes=[names.branch(i) for i in range(len(recipe.atrous_rates) + 1)],
            image_pooling_scope=names.image_pooling if recipe.image_pooling and not is_gate else None,
            image_pooling_first=names.image_pooling_first,
            image_pooling_windows=windows,
            fusion_scope=names.fusion if recipe.aspp_concat_projection else None,
            separable=recipe.aspp_separable,
            depth=recipe.aspp_depth,
        )
    if recipe.aspp_concat_projection:
        net = layers.dropout(net, names.keep_prob, scope="concat_projection_dropout")
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
        features = heads.sum_decoder(
            features,
            low_level[stride],
            depth,
            projection_scope=names.projection_in(stage),
            scope=names.sum_in(stage, separable),
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


def decode(features: tf.Tensor, low_level: Mapping[int, tf.Tensor], recipe: V3PlusRecipe) -> tf.Tensor:
    """Refine `features` by the backbone's low-level ones, stage by stage: [n, ceil(h / s), ceil(w / s), filters].

    `low_level` has them by their stride; s is the stride of the last stage.
    """
    names, separable = NAMES[recipe.names], recipe.decoder_separable
    for stage, stride in enumerate(recipe.decoder_output_stride):
        with bounded(recipe):
            features = heads.decoder(
                features,
                low_level[stride],
                projection_scope=names.projection_in(stage),
                scopes=[names.convolution_in(stage, i, separable) for i in range(len(recipe.decoder_kernels))],
                separable=separable,
                depth=recipe.decoder_filters or recipe.aspp_depth,
                low_level_depth=recipe.decoder_projection_filters,
                kernels=recipe.decoder_kernels,
                align_corners=recipe.align_corners,
                reduction=max(1, stride // recipe.output_stride),
            )
    return features


def score(features: tf.Tensor, recipe: V3PlusRecipe) -> tf.Tensor:
    """The classes' scores [n, h, w, num_classes]: a 1x1 convolution, or without ASPP the sum of one for each rate."""
    scope, kernel = NAMES[recipe.names].logits, recipe.logits_kernel_size
    rates = () if recipe.aspp else recipe.rates()
    if not rates:
        return layers.conv2d(features, recipe.num_classes, kernel, bias=True, scope=scope)
    scopes = [f"{scope}_{i}" if i else scope for i in range(len(rates))]
    # A kernel of one value has no rate.
    return heads.aspp_sum(features, recipe.num_classes, rates if kernel > 1 else [1] * len(rates), scopes, kernel)


def bounded(recipe: V3PlusRecipe) -> AbstractContextManager[Any]:
    """The scope in which the head's layers end by ReLU6 if the recipe bounds activations."""
    ends = {"activation_fn": tf.nn.relu6} if recipe.bounded_activation else {}
    return slim.arg_scope([layers.conv_bn_relu, layers.separable_conv2d], **ends)


# How the originals start the head, but for the 0.01 of the scores.
HEAD_INITIALIZER = {"weights_initializer": tf.initializers.glorot_uniform()}
SEPARABLE_STDDEVS = (0.33, 0.06)
