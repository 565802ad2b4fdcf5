"""MobileNetV3 (arXiv 1905.02244, tables 1 and 2) as research/deeplab uses it, and MobileNet-EdgeTPU.

Source: tensorflow/models research/slim/nets/mobilenet/mobilenet_v3.py, research/deeplab/core/feature_extractor.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from common.nets.backbones.dense import dense_strides
from common.nets.backbones.efficientnet import squeeze_excite
from common.nets.backbones.mobilenet_v2 import ROOT_STRIDE, Activation, conv_bn, inverted_residual, slim_scopes
from common.nets.backbones.units import divisible
from common.tf1 import tf

SQUEEZE_FACTOR = 4  # channels of a unit, to those between the two convolutions of its squeeze and excitation
DIVISOR = 8  # channels are multiples of it


class Unit(NamedTuple):
    """A row of the tables: one inverted residual.

    Attributes:
      expansion: channels within, per channel of the input.
      channels: of the result.
      kernel, stride: of the depthwise convolution.
      squeezed: whether it has squeeze and excitation.
      swish: whether its activation is hard-swish instead of ReLU.
      fused: one convolution expands and moves, see `inverted_residual`.
      residual: whether it may have a shortcut.
    """

    expansion: float
    channels: int
    kernel: int = 3
    stride: int = 1
    squeezed: bool = False
    swish: bool = False
    fused: bool = False
    residual: bool = True


@dataclass(frozen=True)
class Network:
    """The first convolution, the units, and the last convolution of 1x1.

    Attributes:
      scope: the first part of all names.
      first, last: channels of the first and the last convolution.
      swish: whether their activation is hard-swish instead of ReLU.
      units: between them.
      low_level: by their stride, the units whose depthwise convolutions give a decoder its features.
    """

    scope: str
    first: int
    last: int
    swish: bool
    units: tuple[Unit, ...]
    low_level: Mapping[int, int]


# For segmentation, the last three units and the last convolution have half the channels (section 6.4 of the paper).
LARGE = Network(
    scope="MobilenetV3",
    first=16,
    last=480,
    swish=True,
    units=(
        Unit(1, 16),
        Unit(4, 24, stride=2),
        Unit(3, 24),
        Unit(3, 40, 5, 2, squeezed=True),
        *[Unit(3, 40, 5, squeezed=True)] * 2,
        Unit(6, 80, stride=2, swish=True),
        Unit(2.5, 80, swish=True),
        *[Unit(184 / 80, 80, swish=True)] * 2,
        *[Unit(6, 112, squeezed=True, swish=True)] * 2,
        Unit(3, 80, 5, 2, squeezed=True, swish=True),
        *[Unit(6, 80, 5, squeezed=True, swish=True)] * 2,
    ),
    low_level={4: 2, 8: 5, 16: 11},
)
SMALL = Network(
    scope="MobilenetV3",
    first=16,
    last=288,
    swish=True,
    units=(
        Unit(1, 16, stride=2, squeezed=True),
        Unit(72 / 16, 24, stride=2),
        Unit(88 / 24, 24),
        Unit(4, 40, 5, 2, squeezed=True, swish=True),
        *[Unit(6, 40, 5, squeezed=True, swish=True)] * 2,
        *[Unit(3, 48, 5, squeezed=True, swish=True)] * 2,
        Unit(3, 48, 5, 2, squeezed=True, swish=True),
        *[Unit(6, 48, 5, squeezed=True, swish=True)] * 2,
    ),
    low_level={4: 0, 8: 2, 16: 7},
)
# Plain convolutions expand in the early units, because an EdgeTPU computes them faster than depthwise ones.
EDGETPU = Network(
    scope="MobilenetEdgeTPU",
    first=32,
    last=1280,
    swish=False,
    units=(
        Unit(1, 16, fused=True),
        Unit(8, 32, stride=2, fused=True),
        *[Unit(4, 32, fused=True)] * 3,
        Unit(8, 48, stride=2, fused=True),
        *[Unit(4, 48, fused=True)] * 3,
        Unit(8, 96, stride=2),
        *[Unit(4, 96)] * 3,
        Unit(8, 96, residual=False),
        *[Unit(4, 96)] * 3,
        Unit(8, 160, 5, 2),
        *[Unit(4, 160, 5)] * 3,
        Unit(8, 192),
    ),
    low_level={},
)
NETWORKS = {"mobilenet_v3_large_seg": LARGE, "mobilenet_v3_small_seg": SMALL, "mobilenet_edgetpu": EDGETPU}


def hard_swish(net: tf.Tensor) -> tf.Tensor:
    """x * ReLU6(x + 3) / 6 (the paper's section 5.2)."""
    return net * tf.nn.relu6(net + 3.0) * (1 / 6)


def hard_sigmoid(net: tf.Tensor) -> tf.Tensor:
    """ReLU6(x + 3) / 6, with the factor that the original writes with five digits."""
    return tf.nn.relu6(net + 3.0) * 0.16667


def mobilenet_v3(
    images: tf.Tensor, network: Network, output_stride: int, depth_multiplier: float = 1.0, last_filters: int = 0
) -> tuple[tf.Tensor, dict[int, tf.Tensor]]:
    """The network up to its last convolution, strides past `output_stride` turned into rates.

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      network: one of `NETWORKS`.
      output_stride: 8, 16 or 32.
      depth_multiplier: of the channels of every layer.
      last_filters: channels of the last convolution, whatever the multiplier; 0 multiplies them too.

    Returns:
      Features [n, h / os, w / os, network.last * depth_multiplier], sizes rounded up at each stride, and the low-level
      features by their stride, of the units of `network.low_level`.
    """

    def channels(count: float) -> int:
        return divisible(count * depth_multiplier, DIVISOR)

    outer: Activation = hard_swish if network.swish else tf.nn.relu
    names = partial(slim_scopes, network=network.scope)
    net = conv_bn(images, channels(network.first), 3, names(None, ""), outer, stride=2)
    dense = dense_strides((unit.stride for unit in network.units), ROOT_STRIDE, output_stride)
    inner = []
    for i, (unit, (stride, rate)) in enumerate(zip(network.units, dense, strict=True)):
        width = divisible(int(net.shape[3]) * unit.expansion, DIVISOR)
        scope = names(i, "squeeze_excite")[0]
        net, within = inverted_residual(
            net,
            width,
            channels(unit.channels),
            partial(names, i),
            kernel=unit.kernel,
            stride=stride,
            rate=rate,
            activation_fn=hard_swish if unit.swish else tf.nn.relu,
            squeeze=partial(_squeeze_excite, scope=scope) if unit.squeezed else None,
            fused=unit.fused,
            residual=unit.residual,
        )
        inner.append(within)
    last = f"{network.scope}/Conv_1"
    net = conv_bn(net, last_filters or channels(network.last), 1, (last, f"{last}/BatchNorm"), outer)
    return net, {stride: inner[unit] for stride, unit in network.low_level.items()}


def _squeeze_excite(net: tf.Tensor, scope: str) -> tf.Tensor:
    depth = divisible(int(net.shape[3]) / SQUEEZE_FACTOR, DIVISOR)
    return squeeze_excite(net, depth, (f"{scope}/Conv", f"{scope}/Conv_1"), tf.nn.relu, hard_sigmoid)
