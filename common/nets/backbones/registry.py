"""The backbones of DeepLab v3+ by the names that research/deeplab gives them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from common.nets.backbones import mobilenet_v2, nas_networks, resnet_v1, xception
from common.nets.backbones.nas_cells import DropPath
from common.nets.backbones.units import UNITS
from common.nets.layers import conv2d, depthwise_conv2d
from common.tf1 import slim, tf


class Options(Protocol):
    """The recipe fields that a backbone reads."""

    output_stride: int
    multi_grid: tuple[int, ...]
    depth_multiplier: float
    residual_gamma: float
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
    net, end_points = xception.xception(images, xception.BLOCKS[name], name, recipe.output_stride, recipe.multi_grid)
    return net, {4: end_points[xception.LOW_LEVEL[name]]}


def _resnet(depth: int, beta: bool, images: tf.Tensor, recipe: Options) -> Features:
    net, end_points = resnet_v1.resnet_v1(
        images,
        resnet_v1.slim_blocks(UNITS[depth], recipe.output_stride, recipe.multi_grid),
        resnet_v1.slim_names(f"resnet_v1_{depth}"),
        recipe.residual_gamma,
        strided="last",
        beta=beta,
    )
    return net, {4: end_points["block1/unit_2/conv3"]}  # before the sum


def _mobilenet(images: tf.Tensor, recipe: Options) -> Features:
    net, end_points = mobilenet_v2.mobilenet_v2(images, recipe.output_stride, recipe.depth_multiplier)
    return net, {4: end_points[mobilenet_v2.LOW_LEVEL]}


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
        for depth in (50, 101)
        for beta in (False, True)
    },
    "mobilenet_v2": Backbone(_mobilenet, 1e-3, 0.997),
    **{name: Backbone(partial(_nas, name), 1e-3, 0.9997) for name in nas_networks.PLANS},
}
