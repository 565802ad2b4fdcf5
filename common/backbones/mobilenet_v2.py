"""MobileNetV2 (arXiv 1801.04381, table 2) up to its last inverted residual, as research/deeplab uses it."""

from common import layers
from common.backbones.dense import dense_strides
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
LOW_LEVEL = "expanded_conv_2/depthwise"  # stride 4, before the projection


def channels(count: float, multiplier: float) -> int:
    """slim's rounding: to multiples of 8 at multiplier 1, to whole channels otherwise (as research/deeplab asks)."""
    return divisible(count * multiplier, 8 if multiplier == 1 else 1)


def divisible(count: float, divisor: int) -> int:
    """The nearest multiple of `divisor`, at least one, and at least nine tenths of `count`."""
    rounded = max(divisor, int(count + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * count else rounded


def mobilenet_v2(
    images: tf.Tensor, output_stride: int, depth_multiplier: float = 1.0
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """The root and 17 inverted residuals, strides past `output_stride` turned into rates.

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      output_stride: 8, 16 or 32.
      depth_multiplier: of the channels of every layer.

    Returns:
      Features [n, h / os, w / os, 320 * depth_multiplier], sizes rounded up at each stride, and the
      end points by name: `expanded_conv_<i>` and `expanded_conv_<i>/depthwise`.
    """

    def conv_bn(inputs, depth, size, scope, activation_fn=tf.nn.relu6, **options):
        outputs = layers.conv2d(inputs, depth, size, scope=scope, **options)
        return layers.batch_norm(outputs, scope=f"{scope}/BatchNorm", activation_fn=activation_fn)

    net = conv_bn(images, channels(32, depth_multiplier), 3, f"{SCOPE}/Conv", stride=2)
    end_points = {}
    dense = dense_strides((stride for _, _, stride in UNITS), ROOT_STRIDE, output_stride)
    for i, ((expansion, count, _), (stride, rate)) in enumerate(zip(UNITS, dense, strict=True)):
        name = f"expanded_conv_{i}" if i else "expanded_conv"
        scope, inputs = f"{SCOPE}/{name}", net
        width = divisible(int(net.shape[3]) * expansion, 8 if expansion > 1 else 1)
        if width > net.shape[3]:
            net = conv_bn(net, width, 1, f"{scope}/expand")
        net = layers.depthwise_conv2d(net, 3, stride=stride, rate=rate, scope=f"{scope}/depthwise")
        net = layers.batch_norm(net, scope=f"{scope}/depthwise/BatchNorm", activation_fn=tf.nn.relu6)
        end_points[f"{name}/depthwise"] = net
        net = conv_bn(net, channels(count, depth_multiplier), 1, f"{scope}/project", activation_fn=None)
        if stride == 1 and net.shape[3] == inputs.shape[3]:
            net += inputs
        end_points[name] = net
    return net, end_points
