"""The receptive field: which pixels of the picture a score depends on, walked back through the graph.

The rows (and columns) that a score reads are an interval. Each op on the way to the picture widens, shifts or
stretches it; where paths meet, the union is taken. Borders are ignored, as in the theoretical receptive field.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.tf1 import tf


@dataclass(frozen=True)
class ReceptiveField:
    """In pixels of the network's input.

    Attributes:
      height, width: of the largest field of any score, by convolutions, pools and resizes.
      whole_picture: whether a mean over the picture adds to it, so that every pixel counts.
    """

    height: int
    width: int
    whole_picture: bool

    def __str__(self) -> str:
        size = str(self.width) if self.height == self.width else f"{self.height} x {self.width}"
        return f"whole picture ({size})" if self.whole_picture else size


@dataclass(frozen=True)
class Reach:
    """The part of a tensor along one axis that each score reads: rows `low` to `high`, int64 [scores].

    Between space_to_batch and batch_to_space rows are counted as they were before, and lie `block` apart.
    """

    low: np.ndarray
    high: np.ndarray
    block: int = 1

    def union(self, other: "Reach | None") -> "Reach":
        if other is None:
            return self
        if self.block != other.block:
            raise ValueError("paths meet that are divided into sub-maps differently")
        return Reach(np.minimum(self.low, other.low), np.maximum(self.high, other.high), self.block)


def receptive_field(scores: tf.Tensor, images: tf.Tensor) -> ReceptiveField:
    """The receptive field of `scores` [n, h, w, k] in `images` [n, H, W, c], both of static shape.

    Raises:
      ValueError: an op on the way is of a type without a rule.
    """
    path = ops_between(images, scores)
    (height, whole), (width, _) = (_walk(path, scores, images, axis) for axis in (1, 2))
    return ReceptiveField(height, width, whole)


def _walk(path: list[tf.Operation], scores: tf.Tensor, images: tf.Tensor, axis: int) -> tuple[int, bool]:
    """The largest extent along `axis` in pixels, and whether a mean over the picture was met."""
    rows = np.arange(int(scores.shape[axis]))
    reached, whole, read = {scores.op.name: Reach(rows, rows)}, False, {op.name for op in path}
    for op in reversed(path):  # every reader of an op comes before it
        reach = reached.pop(op.name, None)
        if reach is None:  # only a mean reads it
            continue
        if op.type not in RULES:
            raise ValueError(f"no rule for {op.type} ({op.name})")
        reach = RULES[op.type](op, axis, reach)
        whole = whole or reach is None
        for name in {source.op.name for source in op.inputs} if reach else ():
            if name in read or name == images.op.name:
                reached[name] = reach.union(reached.get(name))
    reach = reached.get(images.op.name)
    return (int((reach.high - reach.low).max()) + 1 if reach else 0), whole


def ops_between(images: tf.Tensor, scores: tf.Tensor) -> list[tf.Operation]:
    """The ops that carry pixels from `images` to `scores`, in the order of their making; sizes are no pixels."""
    carrying = {images.op.name}
    forward = []
    for op in images.graph.get_operations():
        if op.type not in SIZES and any(source.op.name in carrying for source in op.inputs):
            carrying.add(op.name)
            forward.append(op)
    wanted = {scores.op.name}
    for op in reversed(forward):
        if op.name in wanted:
            wanted |= {source.op.name for source in op.inputs}
    return [op for op in forward if op.name in wanted]


SIZES = ("Shape", "Size", "Rank")


WINDOWS = ("Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool")


def window(op: tf.Operation, axis: int) -> tuple[int, int]:
    """The extent of an op of `WINDOWS` along an axis (1 is height), its holes included, and its stride."""
    if "ksize" in op.node_def.attr:
        size, dilation = op.get_attr("ksize")[axis], 1
    else:
        size, dilation = int(op.inputs[1].shape[axis - 1]), op.get_attr("dilations")[axis]
    return (size - 1) * dilation + 1, op.get_attr("strides")[axis]


def _window(op: tf.Operation, axis: int, reach: Reach) -> Reach:
    """Convolutions and pools."""
    extent, stride = window(op, axis)
    inputs, outputs = int(op.inputs[0].shape[axis]), int(op.outputs[0].shape[axis])
    if op.get_attr("padding") == b"EXPLICIT":
        before = op.get_attr("explicit_paddings")[2 * axis]
    else:
        same = op.get_attr("padding") == b"SAME"
        before = max((outputs - 1) * stride + extent - inputs, 0) // 2 if same else 0
    if stride > 1 and reach.block > 1:
        raise ValueError(f"{op.name}: a stride within sub-maps")
    low, high = reach.low * stride - before * reach.block, reach.high * stride + (extent - 1 - before) * reach.block
    return Reach(low, high, reach.block)


def _pad(op: tf.Operation, axis: int, reach: Reach) -> Reach:
    before = int(static_value(op.inputs[1])[axis][0])
    return Reach(reach.low - before, reach.high - before, reach.block)


def _slice(op: tf.Operation, axis: int, reach: Reach) -> Reach:
    begin, strides = static_value(op.inputs[1]), static_value(op.inputs[3])
    if op.get_attr("ellipsis_mask") or op.get_attr("new_axis_mask") or op.get_attr("shrink_axis_mask"):
        raise ValueError(f"no rule for this StridedSlice ({op.name})")
    if axis >= len(begin):
        return reach
    start = 0 if op.get_attr("begin_mask") >> axis & 1 else int(begin[axis])
    start += int(op.inputs[0].shape[axis]) if start < 0 else 0
    return Reach(reach.low * int(strides[axis]) + start, reach.high * int(strides[axis]) + start, reach.block)


def _space_to_batch(op: tf.Operation, axis: int, reach: Reach) -> Reach:
    block, before = int(static_value(op.inputs[1])[axis - 1]), int(static_value(op.inputs[2])[axis - 1][0])
    return Reach(reach.low - before, reach.high - before, reach.block // block)


def _batch_to_space(op: tf.Operation, axis: int, reach: Reach) -> Reach:
    block, before = int(static_value(op.inputs[1])[axis - 1]), int(static_value(op.inputs[2])[axis - 1][0])
    return Reach(reach.low + before, reach.high + before, reach.block * block)


def _resize(op: tf.Operation, axis: int, reach: Reach) -> Reach:
    """Bilinear: the two rows around the source position, one where it is a row."""
    inputs, outputs = int(op.inputs[0].shape[axis]), int(op.outputs[0].shape[axis])
    if inputs == 1:
        return Reach(0 * reach.low, 0 * reach.high)
    if op.get_attr("half_pixel_centers"):  # (row + 1/2) inputs / outputs - 1/2
        stretch, shift, scale = 2 * inputs, inputs - outputs, 2 * outputs
    elif op.get_attr("align_corners") and outputs > 1:
        stretch, shift, scale = inputs - 1, 0, outputs - 1
    else:
        stretch, shift, scale = inputs, 0, outputs
    return Reach((reach.low * stretch + shift) // scale, -((-reach.high * stretch - shift) // scale))


def _reduce(op: tf.Operation, axis: int, reach: Reach) -> Reach | None:
    """None is the whole picture."""
    axes = np.atleast_1d(static_value(op.inputs[1]))
    axes = axes % op.inputs[0].shape.rank
    if op.inputs[0].shape.rank == 5:  # scales stacked in front
        axes = axes - 1
    return None if axis in axes else reach


def _concat(op: tf.Operation, axis: int, reach: Reach) -> Reach:
    if int(static_value(op.inputs[-1])) % op.outputs[0].shape.rank == axis:
        raise ValueError(f"no rule for {op.type} along the picture ({op.name})")
    return reach


def _mix(op: tf.Operation, axis: int, reach: Reach) -> Reach:
    """A matrix product over sub-maps (`dilation.group_interaction`): a row reads its neighbours in all of them."""
    if reach.block == 1:
        raise ValueError(f"no rule for {op.type} ({op.name})")
    block = reach.block
    return Reach(reach.low // block * block, reach.high // block * block + block - 1, block)


def _as_it_is(op: tf.Operation, axis: int, reach: Reach) -> Reach:
    return reach


def _reshape(op: tf.Operation, axis: int, reach: Reach) -> Reach:
    if reach.block == 1:
        raise ValueError(f"no rule for {op.type} ({op.name})")
    return reach  # on the way to `_mix`


ELEMENTWISE = (
    "Add", "AddN", "AddV2", "BiasAdd", "Cast", "FusedBatchNormV3", "Identity", "Maximum", "Minimum", "Mul", "Neg",
    "FakeQuantWithMinMaxVars", "Pack", "RealDiv", "Relu", "Relu6", "Softmax", "Sub",
)  # fmt: skip
Rule = Callable[[tf.Operation, int, Reach], Reach | None]
# By type: from what is read of an op's output along an axis to what that reads of its inputs.
RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _as_it_is),
    **dict.fromkeys(WINDOWS, _window),
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _pad),
    **dict.fromkeys(("Mean", "Max", "Cumsum"), _reduce),
    "StridedSlice": _slice,
    "SpaceToBatchND": _space_to_batch,
    "BatchToSpaceND": _batch_to_space,
    "ResizeBilinear": _resize,
    "ConcatV2": _concat,
    "MatMul": _mix,
    "Reshape": _reshape,
}


def static_value(tensor: tf.Tensor) -> np.ndarray:
    """The value of a tensor that is made of sizes and constants alone. Raises ValueError where it is not."""
    value = tf.get_static_value(tensor)
    if value is not None:
        return np.asarray(value)
    op = tensor.op
    if op.type not in ARITHMETIC:
        raise ValueError(f"{op.name} is known at run time only")
    values = [static_value(source) for source in op.inputs]
    return ARITHMETIC[op.type](op, values)


def _sliced(op: tf.Operation, values: list[np.ndarray]) -> np.ndarray:
    vector, (begin,), (end,), (step,) = values
    if op.get_attr("shrink_axis_mask"):
        return vector[begin]
    start, stop = op.get_attr("begin_mask"), op.get_attr("end_mask")
    return vector[None if start else begin : None if stop else end : step]


# What sizes go through on their way to a padding; tf.get_static_value does the rest.
ARITHMETIC: dict[str, Callable[[tf.Operation, list[np.ndarray]], np.ndarray]] = {
    "AddV2": lambda op, v: v[0] + v[1],
    "Sub": lambda op, v: v[0] - v[1],
    "Mul": lambda op, v: v[0] * v[1],
    "Neg": lambda op, v: -v[0],
    "FloorDiv": lambda op, v: v[0] // v[1],
    "FloorMod": lambda op, v: v[0] % v[1],
    "Maximum": lambda op, v: np.maximum(*v),
    "GreaterEqual": lambda op, v: v[0] >= v[1],
    "Cast": lambda op, v: v[0].astype(op.outputs[0].dtype.as_numpy_dtype),
    "Pack": lambda op, v: np.stack(v, op.get_attr("axis")),
    "StridedSlice": _sliced,
}
