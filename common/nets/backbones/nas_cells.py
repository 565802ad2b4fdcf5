"""The cells of PNASNet-5 (arXiv 1712.00559) and Auto-DeepLab (arXiv 1901.02985), as research/deeplab names them.

A cell is a sum of two operations, five times, as `common.nets.backbones.nasnet` has it too: each operation is
(operation, kernel, operand). Operand 0 is the cell before, 1 the one before that, 2 and more are the sums so far.
"""

from collections.abc import Callable
from dataclasses import dataclass

from common.nets import layers
from common.nets.backbones.keras_layers import separable_conv2d
from common.tf1 import tf

Operation = tuple[str, int, int]
Genotype = tuple[tuple[Operation, Operation], ...]

PNASNET: Genotype = (
    (("separable", 5, 1), ("max_pool", 3, 1)),
    (("separable", 7, 0), ("max_pool", 3, 0)),
    (("separable", 5, 0), ("separable", 3, 0)),
    (("separable", 3, 4), ("max_pool", 3, 0)),
    (("separable", 3, 1), ("identity", 1, 0)),
)
AUTO_DEEPLAB: Genotype = (
    (("atrous", 5, 1), ("separable", 3, 0)),
    (("separable", 3, 1), ("atrous", 3, 0)),
    (("separable", 3, 3), ("separable", 3, 1)),
    (("separable", 5, 4), ("separable", 5, 2)),
    (("separable", 5, 3), ("atrous", 5, 5)),
)


@dataclass(frozen=True)
class DropPath:
    """ScheduledDropPath (arXiv 1707.07012): in training an operation of a cell is left out for some of the pictures.

    Attributes:
      keep_prob: share of the pictures that keep an operation of the last cell, at the end of training. It falls to
        this from 1 with the cell's number, and with the step.
      steps: of the training.
    """

    keep_prob: float
    steps: int

    def __call__(self, net: tf.Tensor, depth: float) -> tf.Tensor:
        """`net` [n, h, w, c], without some pictures; `depth` is the cell's number over that of the last one."""
        scope = tf.get_variable_scope().name
        keep_prob = 1 - depth * (1 - self.keep_prob)
        return layers.dropout(net, keep_prob, scope=scope, whole_pictures=True, reached_at=self.steps)


def cell(
    net: tf.Tensor,
    before: tf.Tensor,
    genotype: Genotype,
    depth: int,
    stride: int,
    drop: Callable[[tf.Tensor], tf.Tensor],
    scope: str,
) -> tf.Tensor:
    """A cell: the concatenation of its sums, before ReLU.

    Args:
      net: the cell before, [n, h, w, c].
      before: the one before that, [n, h, w, d].
      genotype: `PNASNET` or `AUTO_DEEPLAB`.
      depth: channels of each sum.
      stride: 1 or 2, of the operations on `net` and `before`.
      drop: applied to the result of each operation but the identity.
      scope: variables are `<scope>/1x1/weights`, `<scope>/comb_iter_<i>/left/...`.

    Returns:
      [n, ceil(h / stride), ceil(w / stride), len(genotype) * depth].
    """
    with tf.variable_scope(scope):
        if before.shape[3] != depth:
            before = _conv_bn(tf.nn.relu(before), depth, scope="prev_1x1", norm_scope="prev_bn")
        states = [_conv_bn(tf.nn.relu(net), depth, scope="1x1", norm_scope="beginning_bn"), before]
        for i, sides in enumerate(genotype):
            terms = []
            for side, (operation, kernel, operand) in zip(("left", "right"), sides, strict=True):
                with tf.variable_scope(f"comb_iter_{i}/{side}"):
                    term = OPERATIONS[operation](states[operand], depth, kernel, stride if operand < 2 else 1)
                    terms.append(term if operation == "identity" else drop(term))
            states.append(terms[0] + terms[1])
        return tf.concat(states[2:], axis=3)


def _conv_bn(net: tf.Tensor, depth: int, kernel: int = 1, *, scope: str, norm_scope: str, **options) -> tf.Tensor:
    return layers.batch_norm(layers.conv2d(net, depth, kernel, scope=scope, **options), scope=norm_scope)


def _separable(net: tf.Tensor, depth: int, kernel: int, stride: int) -> tf.Tensor:
    """Twice; the first one has the stride."""
    for i in (1, 2):
        name = f"{kernel}x{kernel}_{i}"
        net = separable_conv2d(
            tf.nn.relu(net), depth, kernel, stride=stride if i == 1 else 1, padding="even", scope=f"separable_{name}"
        )
        net = layers.batch_norm(net, scope=f"bn_sep_{name}")
    return net


def _atrous(net: tf.Tensor, depth: int, kernel: int, stride: int) -> tf.Tensor:
    """At rate 2; with a stride, an ordinary convolution on the halved features instead."""
    net = tf.nn.relu(net)
    if stride == 2:
        net = resized(net, layers.scaled_size(tf.shape(net)[1:3], 0.5, align_corners=True))
    name = f"{kernel}x{kernel}"
    return _conv_bn(net, depth, kernel, rate=2 // stride, scope=f"atrous_{name}", norm_scope=f"bn_atr_{name}")


def _max_pool(net: tf.Tensor, depth: int, kernel: int, stride: int) -> tf.Tensor:
    return layers.max_pool(net, kernel, stride)


def _identity(net: tf.Tensor, depth: int, kernel: int, stride: int) -> tf.Tensor:
    """The operand itself; with a stride, a convolution of it."""
    if stride == 1:
        return net
    return _conv_bn(tf.nn.relu(net), depth, stride=stride, scope="1x1", norm_scope="bn_1")


OPERATIONS = {"separable": _separable, "atrous": _atrous, "max_pool": _max_pool, "identity": _identity}


def resized(net: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """`net` [n, h, w, c] at `size` [2], bilinear, corners aligned."""
    outputs = layers.resize_bilinear(net, size, align_corners=True)
    outputs.set_shape([None, None, None, net.shape[3]])
    return outputs
