"""MobileNetV2 (arXiv 1801.04381, table 2) up to its last inverted residual, as research/deeplab uses it, or Keras."""

from collections.abc import Callable
from dataclasses import dataclass

from common.nets import layers
from common.nets.backbones.dense import dense_strides
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
LOW_LEVEL = "expanded_conv_2/depthwise"  # stride 4, before the projection


def divisible(count: float, divisor: int) -> int:
    """The nearest multiple of `divisor`, at least one, and at least nine tenths of `count`."""
    rounded = max(divisor, int(count + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * count else rounded


@dataclass(frozen=True)
class Style:
    """How a program names the layers and rounds channels.

    Attributes:
      names: (unit, or None for the root; expand, depthwise or project) -> scopes of the layer and its batch norm.
      divisor: channels are multiples of it when the multiplier is not 1; with multiplier 1 they are multiples of 8.
    """

    names: Callable[[int | None, str], tuple[str, str]]
    divisor: int


def slim_scopes(unit: int | None, part: str) -> tuple[str, str]:
    """The names of research/slim."""
    block = f"expanded_conv_{unit}" if unit else "expanded_conv"
    scope = f"{SCOPE}/Conv" if unit is None else f"{SCOPE}/{block}/{part}"
    return scope, f"{scope}/BatchNorm"


def keras_scopes(unit: int | None, part: str) -> tuple[str, str]:
    """The names of tf.keras.applications."""
    if unit is None:
        return "Conv1", "bn_Conv1"
    scope = f"{f'block_{unit}' if unit else 'expanded_conv'}_{part}"
    return scope, f"{scope}_BN"


SLIM = Style(slim_scopes, divisor=1)  # as research/deeplab asks slim
KERAS = Style(keras_scopes, divisor=8)


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

    def conv_bn(
        inputs: tf.Tensor,
        depth: int,
        size: int,
        names: tuple[str, str],
        activation_fn: Callable[[tf.Tensor], tf.Tensor] | None = tf.nn.relu6,
        **options,
    ):
        outputs = layers.conv2d(inputs, depth, size, scope=names[0], **options)
        return layers.batch_norm(outputs, scope=names[1], activation_fn=activation_fn)

    net = conv_bn(images, channels(32), 3, style.names(None, ""), stride=2)
    end_points, table = {}, UNITS[:units]
    dense = dense_strides((stride for _, _, stride in table), ROOT_STRIDE, output_stride)
    for i, ((expansion, count, _), (stride, rate)) in enumerate(zip(table, dense, strict=True)):
        name, inputs = f"expanded_conv_{i}" if i else "expanded_conv", net
        width = divisible(int(net.shape[3]) * expansion, 8 if expansion > 1 else 1)
        if width > net.shape[3]:
            net = conv_bn(net, width, 1, style.names(i, "expand"))
        depthwise, norm = style.names(i, "depthwise")
        net = layers.depthwise_conv2d(net, 3, stride=stride, rate=rate, scope=depthwise)
        net = layers.batch_norm(net, scope=norm, activation_fn=tf.nn.relu6)
        end_points[f"{name}/depthwise"] = net
        net = conv_bn(net, channels(count), 1, style.names(i, "project"), activation_fn=None)
        if stride == 1 and net.shape[3] == inputs.shape[3]:
            net = layers.residual_sum(net, inputs, scope=f"{SCOPE}/{name}")
        end_points[name] = net
    return net, end_points
