"""DeepLab v3+: an atrous backbone, ASPP of separable convolutions with image pooling, and a decoder."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

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
      [n, ceil(h / s), ceil(w / s), num_classes]; s is the stride of the decoder's last stage, 4 in the paper, and the
      output stride without a decoder.
    """
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
    originals = recipe.initializer == "truncated_normal"
    with (
        slim.arg_scope([layers.conv2d], **(HEAD_INITIALIZER if originals else {})),
        slim.arg_scope([layers.separable_conv2d], stddevs=SEPARABLE_STDDEVS if originals else None),
    ):
        if recipe.logits_kernel_size == 1:
            with batch_norm(recipe.batch_norm_epsilon, 0.9997, biases_instead=not recipe.aspp_batch_norm):
                net = encode(net, recipe)
        if recipe.decoder:
            with batch_norm(recipe.batch_norm_epsilon, 0.9997, biases_instead=not recipe.decoder_batch_norm):
                net = decode(net, low_level, recipe)
    return Outputs(score(net, recipe))


def encode(features: tf.Tensor, recipe: V3PlusRecipe) -> tf.Tensor:
    """ASPP, or the dense prediction cell in its place, on the backbone's `features`: [n, h, w, aspp_depth]."""
    names = NAMES[recipe.names]
    if recipe.cell:
        return build_cell(features, recipe.cell, 16 // recipe.output_stride)
    with bounded(recipe):
        net = heads.aspp(
            features,
            recipe.rates(),
            scopes=[names.aspp.format(i) for i in range(len(recipe.atrous_rates) + 1)],
            image_pooling_scope=names.image_pooling if recipe.image_pooling else None,
            image_pooling_first=True,
            fusion_scope="concat_projection",
            separable=recipe.aspp_separable,
            depth=recipe.aspp_depth,
        )
    return layers.dropout(net, 0.9, scope="concat_projection_dropout")


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
                reduction=max(1, stride // recipe.output_stride),
            )
    return features


def score(features: tf.Tensor, recipe: V3PlusRecipe) -> tf.Tensor:
    """The classes' scores [n, h, w, num_classes]: a 1x1 convolution, or the sum of one larger kernel for each rate."""
    scope, kernel = NAMES[recipe.names].logits, recipe.logits_kernel_size
    if kernel == 1:
        return layers.conv2d(features, recipe.num_classes, 1, bias=True, scope=scope)
    scopes = [f"{scope}_{i}" if i else scope for i in range(len(recipe.atrous_rates))]
    return heads.aspp_sum(features, recipe.num_classes, recipe.rates(), scopes, kernel)


def bounded(recipe: V3PlusRecipe) -> AbstractContextManager[Any]:
    """The scope in which the head's layers end by ReLU6 if the recipe bounds activations."""
    ends = {"activation_fn": tf.nn.relu6} if recipe.bounded_activation else {}
    return slim.arg_scope([layers.conv_bn_relu, layers.separable_conv2d], **ends)


# How the originals start the head, but for the 0.01 of the scores.
HEAD_INITIALIZER = {"weights_initializer": tf.initializers.glorot_uniform()}
SEPARABLE_STDDEVS = (0.33, 0.06)
