"""The backbones of DeepLab v3+ by the names that research/deeplab gives them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from common.nets.backbones import mobilenet_v2, resnet_v1, xception
from common.nets.backbones.mobilenet_v3 import NETWORKS, mobilenet_v3
from common.nets.backbones.units import UNITS
from common.tf1 import tf


class Options(Protocol):
    """The recipe fields that a backbone reads."""

    output_stride: int
    multi_grid: tuple[int, ...]
    depth_multiplier: float
    residual_gamma: float
    last_layer_filters: int


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


def _mobilenet_v3(name: str, images: tf.Tensor, recipe: Options) -> Features:
    return mobilenet_v3(
        images, NETWORKS[name], recipe.output_stride, recipe.depth_multiplier, recipe.last_layer_filters
    )


BACKBONES = {
    **{name: Backbone(partial(_xception, name), 1e-3, 0.9997) for name in xception.BLOCKS},
    **{
        f"resnet_v1_{depth}{'_beta' if beta else ''}": Backbone(partial(_resnet, depth, beta), 1e-5, 0.95)
        for depth in (50, 101)
        for beta in (False, True)
    },
    "mobilenet_v2": Backbone(_mobilenet, 1e-3, 0.997),
    **{name: Backbone(partial(_mobilenet_v3, name), 1e-3, 0.997) for name in NETWORKS},
}
