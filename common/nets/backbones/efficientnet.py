"""EfficientNet (arXiv 1905.11946, table 1) as Keras names it, cut after the last unit of a stride."""

import math
from typing import Literal

from common.nets import layers
from common.nets.backbones.keras_layers import conv_bn
from common.nets.backbones.mobilenet_v2 import Activation
from common.nets.backbones.units import divisible
from common.tf1 import tf

# Rows of B0's table: (kernel, expansion, channels, units, stride of the first unit).
ROWS = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
STEM_DEPTH = 32
ROWS_TO = {8: 3, 16: 5}  # rows up to that output stride
SQUEEZE = 0.25  # channels between the two convolutions of squeeze and excitation, as a share of the unit's input
DROP_RATE = 0.2  # a unit's branch is dropped at this rate times its number / the number of units

# Factors of B0's channels and of its units (section 4): compound scaling by alpha 1.2 and beta 1.1, rounded.
SCALES = {
    "efficientnetb0": (1.0, 1.0),
    "efficientnetb1": (1.0, 1.1),
    "efficientnetb2": (1.1, 1.2),
    "efficientnetb3": (1.2, 1.4),
    "efficientnetb4": (1.4, 1.8),
    "efficientnetb5": (1.6, 2.2),
    "efficientnetb6": (1.8, 2.6),
    "efficientnetb7": (2.0, 3.1),
}
IMAGENET_STDDEV = (0.229, 0.224, 0.225)

Input = Literal["imagenet", "original"]


def scaled_rows(width: float, depth: float) -> list[tuple[int, int, int, int, int]]:
    """`ROWS` with channels times `width`, to multiples of 8, and units times `depth`, rounded up."""
    return [(k, e, divisible(channels * width, 8), math.ceil(units * depth), s) for k, e, channels, units, s in ROWS]


def stem_depth(width: float) -> int:
    """Channels of the first convolution."""
    return divisible(STEM_DEPTH * width, 8)


def efficientnet(
    images: tf.Tensor, scales: tuple[float, float], output_stride: int, reads: Input = "imagenet"
) -> tf.Tensor:
    """The sum of the last unit at `output_stride`, 8 or 16.

    Args:
      images: float32 [n, h, w, 3], preprocessed to [-1, 1].
      scales: factors of the channels and of the units; see `SCALES`.
      output_stride: 8 or 16.
      reads: see `normalise`.

    Returns:
      [n, h / os, w / os, c], sizes rounded up at each stride.
    """
    width, depth = scales
    rows = scaled_rows(width, depth)
    total = sum(units for _, _, _, units, _ in rows)
    net = conv_bn(normalise(images, reads), stem_depth(width), 3, stride=2, scope="stem_conv",
                  norm_scope="stem_bn", activation_fn=swish)  # fmt: skip
    number = 0
    for row, (kernel, expansion, channels, units, stride) in enumerate(rows[: ROWS_TO[output_stride]], 1):
        for unit in range(units):
            scope = f"block{row}{chr(ord('a') + unit)}"
            net = inverted_residual(
                net, kernel, expansion, channels, 1 if unit else stride, scope=scope, drop=DROP_RATE * number / total
            )
            number += 1
    return net


def normalise(images: tf.Tensor, reads: Input) -> tf.Tensor:
    """Keras' first layers: division by 255, then by the stored mean and variance `normalization/{mean,variance}` [3].

    Args:
      images: [n, h, w, 3] in [-1, 1].
      reads: `imagenet` gives the input that the ImageNet weights were trained on. Their files hold the standard
        deviation in place of the variance, so Keras divides by its root once more (since TensorFlow 2.9). `original`
        is tonandr/deeplabv3plus_keras under TensorFlow 2.4: it takes [-1, 1] for 0..255, and divides once.
    """
    with tf.variable_scope("normalization"):
        mean, variance = (
            tf.get_variable(name, [3], initializer=initializer(), trainable=False, collections=COLLECTIONS)
            for name, initializer in (("mean", tf.initializers.zeros), ("variance", tf.initializers.ones))
        )
    if reads == "original":
        return (images / 255 - mean) / tf.sqrt(variance)
    return (0.5 * images + 0.5 - mean) / tf.sqrt(variance * IMAGENET_STDDEV)


COLLECTIONS = [tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES]


def inverted_residual(
    net: tf.Tensor, kernel: int, expansion: int, channels: int, stride: int, *, scope: str, drop: float
) -> tf.Tensor:
    """Expand, convolve each channel, weigh the channels, project; a shortcut where the shapes allow.

    Args:
      net: [n, h, w, c].
      kernel, stride: of the depthwise convolution.
      expansion: its channels per channel of `net`.
      channels: of the result [n, ceil(h / stride), ceil(w / stride), channels].
      scope: how the names of its layers begin.
      drop: share of the pictures of a training batch for which only the shortcut is taken.
    """
    inputs, depth = net, int(net.shape[3])
    if expansion != 1:
        net = conv_bn(net, depth * expansion, 1, scope=f"{scope}_expand_conv", norm_scope=f"{scope}_expand_bn",
                      activation_fn=swish)  # fmt: skip
    net = layers.depthwise_conv2d(net, kernel, stride=stride, scope=f"{scope}_dwconv")
    net = layers.batch_norm(net, scope=f"{scope}_bn", activation_fn=swish)
    net = squeeze_excite(net, max(1, int(depth * SQUEEZE)), (f"{scope}_se_reduce", f"{scope}_se_expand"))
    net = conv_bn(net, channels, 1, scope=f"{scope}_project_conv", norm_scope=f"{scope}_project_bn")
    if stride == 1 and depth == channels:
        net = inputs + layers.dropout(net, 1 - drop, scope=f"{scope}_drop", whole_pictures=True)
    return net


def squeeze_excite(
    net: tf.Tensor, depth: int, scopes: tuple[str, str], activation_fn: Activation | None = None,
    gate: Activation = tf.sigmoid,
) -> tf.Tensor:  # fmt: skip
    """`net` [n, h, w, c] times a weight per channel, made of the channels' means through `depth` channels.

    `scopes` are of the two convolutions, `activation_fn` (None is swish) and `gate` follow them.
    """
    means = tf.reduce_mean(net, [1, 2], keepdims=True)
    means = (activation_fn or swish)(layers.conv2d(means, depth, 1, bias=True, scope=scopes[0]))
    return net * gate(layers.conv2d(means, int(net.shape[3]), 1, bias=True, scope=scopes[1]))


def swish(net: tf.Tensor) -> tf.Tensor:
    """x * sigmoid(x), of plain ops: tf.nn.swish hides its input in an op that no walk through the graph can read."""
    return net * tf.sigmoid(net)
