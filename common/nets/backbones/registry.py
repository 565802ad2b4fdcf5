"""The backbones of DeepLab v3+ by the names that research/deeplab gives them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from common.nets.backbones import mobilenet_v2, nas_networks, resnet_v1, resnet_v2, xception
from common.nets.backbones.mobilenet_v3 import NETWORKS, mobilenet_v3
from common.nets.backbones.nas_cells import DropPath
from common.nets.backbones.units import LITE_UNITS, UNITS
from common.nets.layers import conv2d, depthwise_conv2d
from common.tf1 import slim, tf


class Options(Protocol):
    """The recipe fields that a backbone reads."""

    output_stride: int
    multi_grid: tuple[int, ...]
    depth_multiplier: float
    residual_gamma: float
    bounded_activation: bool
    last_layer_filters: int
    initializer: str
    num_steps: int
    drop_path_keep_prob: float
    nas_stem_filters: int
    nas_classification_head: bool
    nas_remove_os32_stride: bool


Features = tuple[tf.Tensor, Mapping[int, tf.Tensor]]


@dataclass(frozen=True)
class Backbone:
    """How to build it, and what its batch norm has.

    Attributes:
      build: (preprocessed images [n, h, w, 3], recipe) -> features at `recipe.output_stride`, and by their stride the
        low-level features that a decoder takes.
      epsilon, batch_norm_decay: of its batch norm.
    """

    build: Callable[[tf.Tensor, Options], Features]
    epsilon: float
    batch_norm_decay: float


def _xception(name: str, images: tf.Tensor, recipe: Options) -> Features:
    net, end_points = xception.xception(
        images,
        xception.BLOCKS[name],
        name,
        recipe.output_stride,
        recipe.multi_grid,
        bounded=recipe.bounded_activation,
    )
    return net, {s: end_points[f"{block}/unit_1/separable_conv2"] for s, block in xception.LOW_LEVEL[name].items()}


def _resnet(depth: int, beta: bool, images: tf.Tensor, recipe: Options) -> Features:
    lite = depth in LITE_UNITS
    units, blocks = (LITE_UNITS[depth], resnet_v1.lite_blocks) if lite else (UNITS[depth], resnet_v1.slim_blocks)
    root = (16, 16, 32) if lite else (64, 64, 128)
    net, end_points = resnet_v1.resnet_v1(
        images,
        blocks(units, recipe.output_stride, recipe.multi_grid),
        resnet_v1.slim_names(f"resnet_v1_{depth}", "lite_bottleneck_v1" if lite else "bottleneck_v1"),
        recipe.residual_gamma,
        strided="last",
        beta_depths=root if beta else (),
    )
    # Of the units before the strided ones, before the sum.
    return net, {4 * 2**i: end_points[f"block{i + 1}/unit_{units[i] - 1}/residual"] for i in range(3)}


def _resnet_v2(depth: int, images: tf.Tensor, recipe: Options) -> Features:
    blocks = resnet_v1.slim_blocks(UNITS[depth], recipe.output_stride, recipe.multi_grid)
    _, end_points = resnet_v2.resnet_v2(images, blocks, f"resnet_v2_{depth}")
    return end_points["block4"], {4: end_points["block1/unit_3/conv1"]}  # as rishizek's decoder takes them


def _mobilenet(images: tf.Tensor, recipe: Options) -> Features:
    net, end_points = mobilenet_v2.mobilenet_v2(images, recipe.output_stride, recipe.depth_multiplier)
    return net, {stride: end_points[name] for stride, name in mobilenet_v2.LOW_LEVEL.items()}


def _mobilenet_v3(name: str, images: tf.Tensor, recipe: Options) -> Features:
    return mobilenet_v3(
        images, NETWORKS[name], recipe.output_stride, recipe.depth_multiplier, recipe.last_layer_filters
    )


def _nas(name: str, images: tf.Tensor, recipe: Options) -> Features:
    """Its convolutions start as the original's, where the recipe keeps the originals' initializer."""
    fan_in = tf.initializers.variance_scaling(1 / 3, mode="fan_in", distribution="uniform")
    started = {"weights_initializer": fan_in} if recipe.initializer == "truncated_normal" else {}
    with slim.arg_scope([conv2d, depthwise_conv2d], **started):
        return nas_networks.nas_network(
            images,
            nas_networks.PLANS[name],
            output_stride=recipe.output_stride,
            stem_filters=recipe.nas_stem_filters,
            classification_head=recipe.nas_classification_head,
            remove_os32_stride=recipe.nas_remove_os32_stride,
            drop_path=DropPath(recipe.drop_path_keep_prob, recipe.num_steps),
        )


BACKBONES = {
    **{name: Backbone(partial(_xception, name), 1e-3, 0.9997) for name in xception.BLOCKS},
    **{
        f"resnet_v1_{depth}{'_beta' if beta else ''}": Backbone(partial(_resnet, depth, beta), 1e-5, 0.95)
        for depth in (18, 50, 101)
        for beta in (False, True)
    },
    **{f"resnet_v2_{depth}": Backbone(partial(_resnet_v2, depth), 1e-5, 0.9997) for depth in (50, 101)},
    "mobilenet_v2": Backbone(_mobilenet, 1e-3, 0.997),
    **{name: Backbone(partial(_mobilenet_v3, name), 1e-3, 0.997) for name in NETWORKS},
    **{name: Backbone(partial(_nas, name), 1e-3, 0.9997) for name in nas_networks.PLANS},
}
