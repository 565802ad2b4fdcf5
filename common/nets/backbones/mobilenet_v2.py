"""MobileNetV2 (arXiv 1801.04381, table 2) up to its last inverted residual, as research/deeplab uses it, or Keras."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from common.nets import layers
from common.nets.backbones.dense import dense_strides
from common.nets.backbones.units import divisible
from common.tf1 import tf

# Rows of the paper's table: (expansion, channels, units, stride of the first unit).
ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
UNITS = tuple((t, c, s if u == 0 else 1) for t, c, n, s in ROWS for u in range(n))
ROOT_STRIDE = 2
SCOPE = "MobilenetV2"
# Units before the nominal stride grows beyond this one: where Keras' network is cut for features of that stride.
UNITS_TO = {8: 6, 16: 13}
# Where a decoder takes its features, by their stride: before the projection.
LOW_LEVEL = {4: "expanded_conv_2/depthwise", 8: "expanded_conv_5/depthwise", 16: "expanded_conv_12/depthwise"}


@dataclass(frozen=True)
class Style:
    """How a program names the layers and rounds channels.

    Attributes:
      names: (unit, or None for the root; expand, depthwise or project) -> scopes of the layer and its batch norm.
      divisor: channels are multiples of it when the multiplier is not 1; with multiplier 1 they are multiples of 8.
    """

    names: Callable[[int | None, str], tuple[str, str]]
    divisor: int


def slim_scopes(unit: int | None, part: str, network: str = SCOPE) -> tuple[str, str]:
    """The names of research/slim; `network` is the first part of them."""
    block = f"expanded_conv_{unit}" if unit else "expanded_conv"
    scope = f"{network}/Conv" if unit is None else f"{network}/{block}/{part}"
    return scope, f"{scope}/BatchNorm"


def keras_scopes(unit: int | None, part: str) -> tuple[str, str]:
    """The names of tf.keras.applications."""
    if unit is None:
        return "Conv1", "bn_Conv1"
    scope = f"{f'block_{unit}' if unit else 'expanded_conv'}_{part}"
    return scope, f"{scope}_BN"


SLIM = Style(slim_scopes, divisor=1)  # as research/deeplab asks slim
KERAS = Style(keras_scopes, divisor=8)


Activation = Callable[[tf.Tensor], tf.Tensor]


def conv_bn(
    inputs: tf.Tensor,
    depth: int,
    size: int,
    names: tuple[str, str],
    activation_fn: Activation | None = tf.nn.relu6,
    **options: int,
) -> tf.Tensor:
    """`layers.conv2d` and batch norm under the scopes `names`, then `activation_fn`: [n, h, w, depth]."""
    outputs = layers.conv2d(inputs, depth, size, scope=names[0], **options)
    return layers.batch_norm(outputs, scope=names[1], activation_fn=activation_fn)


def inverted_residual(
    inputs: tf.Tensor,
    width: int,
    depth: int,
    names: Callable[[str], tuple[str, str]],
    *,
    kernel: int = 3,
    stride: int = 1,
    rate: int = 1,
    activation_fn: Activation = tf.nn.relu6,
    squeeze: Activation | None = None,
    fused: bool = False,
    residual: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Expand, convolve each channel, and project, with a shortcut where the shapes allow it.

    Args:
      inputs: [n, h, w, c].
      width: channels between; there is no expansion unless they are more than c.
      depth: channels of the result.
      names: expand, depthwise or project -> scopes of the layer and its batch norm.
      kernel, stride, rate: of the depthwise convolution.
      activation_fn: after the expansion and the depthwise convolution.
      squeeze: applied before the projection (squeeze and excitation).
      fused: the expansion has the kernel and the stride, and there is no depthwise convolution.
      residual: whether there may be a shortcut.

    Returns:
      [n, ceil(h / stride), ceil(w / stride), depth], and the values before `squeeze`.
    """
    net = inputs
    if width > inputs.shape[3]:
        place = {"size": kernel, "stride": stride} if fused else {"size": 1}
        net = conv_bn(net, width, names=names("expand"), activation_fn=activation_fn, **place)
    if not fused:
        depthwise, norm = names("depthwise")
        net = layers.depthwise_conv2d(net, kernel, stride=stride, rate=rate, scope=depthwise)
        net = layers.batch_norm(net, scope=norm, activation_fn=activation_fn)
    inner = net
    net = conv_bn(squeeze(net) if squeeze else net, depth, 1, names("project"), activation_fn=None)
    if residual and stride == 1 and net.shape[3] == inputs.shape[3]:
        net = layers.residual_sum(net, inputs, scope=names("project")[0].rpartition("/")[0])
    return net, inner


def mobilenet_v2(
    images: tf.Tensor,
    output_stride: int,
    depth_multiplier: float = 1.0,
    style: Style = SLIM,
    units: int | None = None,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """The root and 17 inverted residuals, strides past `output_stride` turned into rates.

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      output_stride: 8, 16 or 32.
      depth_multiplier: of the channels of every layer.
      style: names and rounding.
      units: build only so many of the inverted residuals.

    Returns:
      Features [n, h / os, w / os, 320 * depth_multiplier], sizes rounded up at each stride, and the
      end points by name: `expanded_conv_<i>` and `expanded_conv_<i>/depthwise`.
    """

    def channels(count: float):
        return divisible(count * depth_multiplier, 8 if depth_multiplier == 1 else style.divisor)

    net = conv_bn(images, channels(32), 3, style.names(None, ""), stride=2)
    end_points, table = {}, UNITS[:units]
    dense = dense_strides((stride for _, _, stride in table), ROOT_STRIDE, output_stride)
    for i, ((expansion, count, _), (stride, rate)) in enumerate(zip(table, dense, strict=True)):
        name = f"expanded_conv_{i}" if i else "expanded_conv"
        width = divisible(int(net.shape[3]) * expansion, 8 if expansion > 1 else 1)
        net, end_points[f"{name}/depthwise"] = inverted_residual(
            net, width, channels(count), partial(style.names, i), stride=stride, rate=rate
        )
        end_points[name] = net
    return net, end_points
