"""NASNet-A (arXiv 1707.07012, figure 4) as Keras names it, cut where tonandr/deeplabv3plus_keras cuts it."""

from dataclasses import dataclass

from common.nets import layers
from common.nets.backbones.keras_layers import separable_conv2d
from common.tf1 import tf


@dataclass(frozen=True)
class Plan:
    """The sizes of a network.

    Attributes:
      stem_depth: channels of the first convolution.
      depth: of the normal cells at stride 8; doubled at each reduction after them.
      normal_cells: at each stride.
      skip_reduction: whether the second input of the first cell after a reduction is the last but one of the cells
        before the reduction, instead of the last.
    """

    stem_depth: int
    depth: int
    normal_cells: int
    skip_reduction: bool


PLANS = {
    "nasnetmobile": Plan(stem_depth=32, depth=44, normal_cells=4, skip_reduction=False),
    "nasnetlarge": Plan(stem_depth=96, depth=168, normal_cells=6, skip_reduction=True),
}

# The two cells as sums of two operations each: (operation, kernel, operand), over h (the cell before), p (the one
# before that) and the sums so far; a `left` of None is the operand itself.
NORMAL = (
    (("separable", 5, "h"), ("separable", 3, "p")),
    (("separable", 5, "p"), ("separable", 3, "p")),
    (("average", 3, "h"), (None, 1, "p")),
    (("average", 3, "p"), ("average", 3, "p")),
    (("separable", 3, "h"), (None, 1, "h")),
)


def nasnet(images: tf.Tensor, plan: Plan, output_stride: int) -> tf.Tensor:
    """The adjusted features that the reduction after `output_stride`, 8 or 16, would read, after ReLU.

    Args:
      images: float32 [n, h, w, 3], preprocessed. The first convolution is not padded.
      plan: of `PLANS`.
      output_stride: 8 or 16.

    Returns:
      [n, h / os, w / os, 2 or 4 * plan.depth] for sides that are multiples of 32, from the last normal cell but one.
    """
    net = layers.conv2d(images, plan.stem_depth, 3, stride=2, padding="none", scope="stem_conv1")
    net = layers.batch_norm(net, scope="stem_bn1")
    net, before = reduction_cell(net, net, plan.depth // 4, "stem_1"), net
    before = _reduced(before, plan.depth // 2, "stem_2")
    net, before = reduction_cell(net, before, plan.depth // 2, "stem_2"), net
    depth, cells = plan.depth, plan.normal_cells
    for stride, cell in ((8, 0), (16, cells + 1)):
        for i in range(cells):
            if stride == output_stride and i == cells - 1:  # nothing reads the last one here
                return tf.nn.relu(_projected(net, 2 * depth, f"reduce_{cells * stride // 8}"))
            adjusted = (_reduced if i == 0 else _projected)(before, depth, str(cell + i))
            net, before = normal_cell(net, adjusted, depth, str(cell + i)), net
        depth *= 2
        adjusted = _projected(before, depth, f"reduce_{cells}")
        last, net = net, reduction_cell(net, adjusted, depth, f"reduce_{cells}")
        before = before if plan.skip_reduction else last
    raise ValueError(f"no features of output stride {output_stride}")


def normal_cell(net: tf.Tensor, before: tf.Tensor, depth: int, name: str) -> tf.Tensor:
    """[n, h, w, 6 * depth] from the cell before [n, h, w, c] and the one before that [n, h, w, depth]."""
    values = {"h": _squeeze(net, depth, f"normal_{{}}_1_{name}"), "p": before}

    def apply(side: str, number: int, operation: str, kernel: int, operand: tf.Tensor):
        if operation == "separable":
            return _separable(values[operand], depth, kernel, 1, f"normal_{side}{number}_{name}")
        return layers.average_pool(values[operand], kernel) if operation else values[operand]

    sums = [apply("left", i, *left) + apply("right", i, *right) for i, (left, right) in enumerate(NORMAL, 1)]
    return tf.concat([before, *sums], axis=3)


def reduction_cell(net: tf.Tensor, before: tf.Tensor, depth: int, name: str) -> tf.Tensor:
    """[n, h / 2, w / 2, 4 * depth] from the same two."""
    h = _squeeze(net, depth, f"reduction_{{}}_1_{name}")
    # Padded by zeros, which then count: in the mean, and where all of a window is negative.
    even = tf.shape(h)[1:3] % 2
    padded = tf.pad(h, [[0, 0], [even[0], 1], [even[1], 1], [0, 0]])
    padded.set_shape([h.shape[0], None, None, h.shape[3]])
    largest = tf.nn.max_pool2d(padded, ksize=3, strides=2, padding="VALID")
    mean = tf.nn.avg_pool2d(padded, ksize=3, strides=2, padding="VALID")

    def separable(inputs: tf.Tensor, kernel: int, stride: int, side: str):
        return _separable(inputs, depth, kernel, stride, f"reduction_{side}_{name}")

    first = separable(h, 5, 2, "left1") + separable(before, 7, 2, "right1")
    second = largest + separable(before, 7, 2, "right2")
    third = mean + separable(before, 5, 2, "right3")
    fourth = second + layers.average_pool(first, 3)
    fifth = separable(first, 3, 1, "left4") + largest
    return tf.concat([second, third, fourth, fifth], axis=3)


def _squeeze(net: tf.Tensor, depth: int, name: str):
    net = layers.conv2d(tf.nn.relu(net), depth, 1, scope=name.format("conv"))
    return layers.batch_norm(net, scope=name.format("bn"))


def _separable(net: tf.Tensor, depth: int, kernel: int, stride: int, name: str):
    for i in (1, 2):
        net = separable_conv2d(
            tf.nn.relu(net), depth, kernel, stride=stride if i == 1 else 1, scope=f"separable_conv_{i}_{name}"
        )
        net = layers.batch_norm(net, scope=f"separable_conv_{i}_bn_{name}")
    return net


def _reduced(before: tf.Tensor, depth: int, name: str):
    """At half its size and at `depth`: the even pixels, and the odd ones, through a convolution each."""
    before = tf.nn.relu(before)
    odd = tf.pad(before, [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1:, 1:]
    halves = [
        layers.conv2d(pixels[:, ::2, ::2], depth // 2, 1, scope=f"adjust_conv_{i}_{name}")
        for i, pixels in enumerate((before, odd), 1)
    ]
    return layers.batch_norm(tf.concat(halves, axis=3), scope=f"adjust_bn_{name}")


def _projected(before: tf.Tensor, depth: int, name: str):
    """At `depth`, which it may have already."""
    if before.shape[3] == depth:
        return before
    before = layers.conv2d(tf.nn.relu(before), depth, 1, scope=f"adjust_conv_projection_{name}")
    return layers.batch_norm(before, scope=f"adjust_bn_{name}")
