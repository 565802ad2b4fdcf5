"""Caffe's layer types in ONNX: one small function a type, and the table that names them.

Every function takes a `Scope`, adds nodes to its graph and returns the name of the value that is the layer's top, or a
list of them. The arithmetic is Caffe's (BVLC/caffe src/caffe/layers; Padding: deeplab-public; Interp:
deeplab-public-ver2; Normalize, Permute: SSD), also where ONNX has an operator of the same name that rounds or divides
differently. The types that know of images are in caffe_spatial.py.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from google.protobuf.message import Message
from onnx import TensorProto

from converters.caffe_scope import Scope
from converters.caffe_spatial import convolution, crop, interp, lrn, padding, pooling


def relu(s: Scope) -> str:
    slope = s.param("relu_param").negative_slope
    return s.node("LeakyRelu", s.bottoms[0], alpha=slope) if slope else s.node("Relu", s.bottoms[0])


def prelu(s: Scope) -> str:
    """PRelu. Its slopes, one per channel or one for all, are stored as [c, 1, 1] (for a 4-D blob)."""
    shape = s.shape()
    channels = 1 if s.param("prelu_param").channel_shared else shape[s.axis(1)]
    return s.node("PRelu", s.bottoms[0], s.blob(0, (channels,), (channels,) + (1,) * (len(shape) - 2)))


def batch_norm(s: Scope) -> str:
    """Normalise by the stored statistics: blobs 0 and 1 are sums of means and variances, blob 2 is how many were
    summed."""
    p = s.param("batch_norm_param")
    if p.HasField("use_global_stats") and not p.use_global_stats:
        s.net.notes.append(f"{s.layer.name}: use_global_stats: false is for training; the stored statistics are used")
    channels = s.shape()[s.axis(1)]
    count = s.values(2, (1,))[0]
    with np.errstate(over="ignore", invalid="ignore"):  # with damaged weights
        scale = np.float32(1 / count if count else 0)
        mean, variance = (s.values(i, (channels,)) * scale for i in (0, 1))
    ones, zeros = s.constant("scale", np.ones(channels)), s.constant("bias", np.zeros(channels))
    statistics = s.constant("0", mean), s.constant("1", variance)
    return s.node("BatchNormalization", s.bottoms[0], ones, zeros, *statistics, epsilon=p.eps)


def _broadcast(s: Scope, axis: int, num_axes: int, index: int) -> str:
    """Blob `index` over `num_axes` axes of bottom 0 from `axis` on (-1: all), stored so that it broadcasts."""
    shape, start = s.shape(), s.axis(axis)
    stop = len(shape) if num_axes == -1 else start + num_axes
    if not start <= stop <= len(shape):
        s.fail(f"num_axes {num_axes} from axis {axis} is outside a blob of shape {shape}")
    covered = shape[start:stop]
    return s.blob(index, covered, covered + (1,) * (len(shape) - stop))


def _second_bottom(s: Scope, axis: int) -> str:
    """Bottom 1, aligned with bottom 0 from `axis` on."""
    shape, other = s.shape(), s.shape(1)
    start = s.axis(axis) if other else 0
    if other != shape[start : start + len(other)]:
        s.fail(f"bottoms of shape {shape} and {other} do not match from axis {axis} on")
    if start + len(other) == len(shape):
        return s.bottoms[1]
    target = s.constant("shape", other + (1,) * (len(shape) - start - len(other)), np.int64)
    return s.node("Reshape", s.bottoms[1], target, part="reshape")


def scale(s: Scope) -> str:
    """Mul, named as the layer, and Add, `<layer>/bias`. The factor is blob 0, or the second bottom."""
    p = s.param("scale_param")
    two, num_axes = len(s.bottoms) == 2, p.num_axes
    if two:
        num_axes, factor = len(s.shape(1)), _second_bottom(s, p.axis)
    else:
        factor = _broadcast(s, p.axis, num_axes, 0)
    y = s.node("Mul", s.bottoms[0], factor)
    return s.node("Add", y, _broadcast(s, p.axis, num_axes, 0 if two else 1), part="bias") if p.bias_term else y


def bias(s: Scope) -> str:
    p = s.param("bias_param")
    two = len(s.bottoms) == 2
    return s.node("Add", s.bottoms[0], _second_bottom(s, p.axis) if two else _broadcast(s, p.axis, p.num_axes, 0))


def eltwise(s: Scope) -> str:
    """Apply the operation from left to right; the last node has the layer's name, and `<layer>/by<i>` multiplies bottom
    i."""
    p = s.param("eltwise_param")
    op = ("Mul", "Add", "Max")[p.operation]
    if len({s.shape(i) for i in range(len(s.bottoms))}) > 1:
        s.fail(f"bottoms differ in shape: {[s.shape(i) for i in range(len(s.bottoms))]}")
    if p.coeff and (op != "Add" or len(p.coeff) != len(s.bottoms)):
        s.fail(f"has {len(p.coeff)} coefficients for {len(s.bottoms)} bottoms; SUM takes one for each, others none")
    values = [
        x if factor == 1 else s.node("Mul", x, s.constant(f"coeff{i}", factor), part=f"by{i}")
        for i, (x, factor) in enumerate(zip(s.bottoms, p.coeff or [1] * len(s.bottoms), strict=True))
    ]
    total = values[0]
    for i, value in enumerate(values[1:], 2):
        total = s.node(op, total, value, part="" if i == len(values) else f"to{i}")
    return total if len(values) > 1 else s.node("Identity", total)


def _axis_or_dim(s: Scope, p: Message, dim: str) -> int:
    if p.HasField("axis") and p.HasField(dim):
        s.fail(f"has both axis and {dim}")
    return s.axis(getattr(p, dim) if p.HasField(dim) else p.axis)


def concat(s: Scope) -> str:
    axis = _axis_or_dim(s, s.param("concat_param"), "concat_dim")
    rest = {s.shape(i)[:axis] + s.shape(i)[axis + 1 :] for i in range(len(s.bottoms))}
    if len(rest) > 1:
        s.fail(f"bottoms differ beside axis {axis}: {[s.shape(i) for i in range(len(s.bottoms))]}")
    return s.node("Concat", *s.bottoms, axis=axis)


def slice_(s: Scope) -> list[str]:
    """ONNX's Split; without slice_point, into equal parts."""
    p, tops = s.param("slice_param"), len(s.layer.tops)
    axis = _axis_or_dim(s, p, "slice_dim")
    extent = s.shape()[axis]
    points = list(p.slice_point) or [extent // tops * i for i in range(1, tops)]
    sizes = np.diff([0, *points, extent])
    if len(sizes) != tops or sizes.min() < 1 or (not p.slice_point and extent % tops):
        s.fail(f"cannot slice {extent} at {list(p.slice_point)} into {tops} tops")
    return s.node("Split", s.bottoms[0], s.constant("split", sizes, np.int64), outputs=tops, axis=axis)


def copies(s: Scope) -> list[str]:
    return [s.node("Identity", s.bottoms[0], part=str(i) if i else "") for i in range(len(s.layer.tops))]


def inner_product(s: Scope) -> str:
    """Gemm over all axes from `axis` on. Weights are [num_output, k], or [k, num_output] with `transpose`."""
    p, shape = s.param("inner_product_param"), s.shape()
    axis = s.axis(p.axis)
    lead, k = shape[:axis], math.prod(shape[axis:])
    if p.num_output < 1:
        s.fail("has no num_output")
    weights = s.blob(0, (k, p.num_output) if p.transpose else (p.num_output, k))
    inputs = [weights] + ([s.blob(1, (p.num_output,))] if p.bias_term else [])
    x = s.bottoms[0] if len(shape) == 2 and axis == 1 else s.node("Flatten", s.bottoms[0], part="flatten", axis=axis)
    y = s.node("Gemm", x, *inputs, transB=0 if p.transpose else 1)
    return y if axis == 1 else _reshape(s, y, (*lead, p.num_output), part="reshape")


def _reshape(s: Scope, x: str, shape: tuple[int, ...], part: str = "") -> str:
    return s.node("Reshape", x, s.constant("shape", shape, np.int64), part=part)


def flatten(s: Scope) -> str:
    p, shape = s.param("flatten_param"), s.shape()
    start, stop = s.axis(p.axis), s.axis(p.end_axis) + 1
    if stop <= start:
        s.fail(f"end_axis {p.end_axis} comes before axis {p.axis}")
    return _reshape(s, s.bottoms[0], (*shape[:start], math.prod(shape[start:stop]), *shape[stop:]))


def reshape(s: Scope) -> str:
    """Axes `axis` to `axis + num_axes` become `shape`, where 0 copies the bottom's axis and -1 takes what is left."""
    p, shape = s.param("reshape_param"), s.shape()
    start = p.axis if p.axis >= 0 else len(shape) + p.axis + 1
    stop = len(shape) if p.num_axes == -1 else start + p.num_axes
    dims = list(p.shape.dim)
    if not 0 <= start <= stop <= len(shape) or dims.count(-1) > 1 or any(dim < -1 for dim in dims):
        s.fail(f"cannot put {dims} for axes {p.axis} and on of {shape}")
    for i, dim in enumerate(dims):
        if dim == 0:
            dims[i] = shape[s.axis(start + i)]
    whole, known = math.prod(shape[start:stop]), math.prod(dim for dim in dims if dim != -1)
    dims = [whole // known if dim == -1 else dim for dim in dims]
    if math.prod(dims) != whole:
        s.fail(f"cannot reshape {shape} to {(*shape[:start], *p.shape.dim, *shape[stop:])}")
    return _reshape(s, s.bottoms[0], (*shape[:start], *dims, *shape[stop:]))


def permute(s: Scope) -> str:
    """Transpose; axes that `order` leaves out follow in their own order."""
    order, axes = list(s.param("permute_param").order), len(s.shape())
    if len(set(order)) < len(order) or any(axis >= axes for axis in order):
        s.fail(f"order {order} does not permute {axes} axes")
    return s.node("Transpose", s.bottoms[0], perm=order + [axis for axis in range(axes) if axis not in order])


def softmax(s: Scope) -> str:
    return s.node("Softmax", s.bottoms[0], axis=s.axis(s.param("softmax_param").axis))


def power(s: Scope) -> str:
    """(shift + scale * x) ** power, without the steps that change nothing."""
    p, y = s.param("power_param"), s.bottoms[0]
    steps = [("Mul", "scale", p.scale, 1), ("Add", "shift", p.shift, 0), ("Pow", "power", p.power, 1)]
    steps = [(op, name, value) for op, name, value, neutral in steps if value != neutral]
    for i, (op, name, value) in enumerate(steps, 1):
        y = s.node(op, y, s.constant(name, value), part="" if i == len(steps) else f"by_{name}")
    return y if steps else s.node("Identity", y)


def normalize(s: Scope) -> str:
    """x / sqrt(sum of squares + eps) over the channels, or over the whole example, times a learned scale."""
    p, x = s.param("norm_param"), s.bottoms[0]
    channels = s.image_shape()[1]
    axes = s.constant("axes", [1, 2, 3] if p.across_spatial else [1], np.int64)
    total = s.node("ReduceSum", s.node("Mul", x, x, part="square"), axes, part="sum", keepdims=1)
    norm = s.node("Sqrt", s.node("Add", total, s.constant("eps", p.eps), part="plus_eps"), part="norm")
    factors = 1 if p.channel_shared else channels
    return s.node("Mul", s.node("Div", x, norm), s.blob(0, (factors,), (factors, 1, 1)), part="scale")


def argmax(s: Scope) -> str:
    """Indices as floats, along `axis` or over a whole example. Of equal values Caffe's sort puts the last first."""
    p, x, shape = s.param("argmax_param"), s.bottoms[0], s.shape()
    if p.top_k != 1:
        s.fail(f"top_k is {p.top_k}; only 1 is converted")
    axis = s.axis(p.axis) if p.HasField("axis") else 1
    if not p.HasField("axis"):
        x = s.node("Flatten", x, part="flatten", axis=1)
    elif p.out_max_val:
        return s.node("ReduceMax", x, axes=[axis], keepdims=1)
    index = s.node("ArgMax", x, part="" if p.HasField("axis") else "index", axis=axis, keepdims=1, select_last_index=1)
    index = s.node("Cast", index, part="cast", to=TensorProto.FLOAT)
    if p.HasField("axis"):
        return index
    if p.out_max_val:
        index = s.node("Concat", index, s.node("ReduceMax", x, part="max", axes=[1], keepdims=1), part="both", axis=1)
    return _reshape(s, index, (shape[0], 2 if p.out_max_val else 1) + (1,) * max(1, len(shape) - 2))


class Row(NamedTuple):
    """How a layer type is converted, and how many bottoms and tops it may have."""

    convert: Callable[[Scope], str | list[str]]
    bottoms: tuple[int, int] = (1, 1)
    tops: tuple[int, int] = (1, 1)


def _same(op: str) -> Row:
    return Row(lambda s: s.node(op, s.bottoms[0]))


MAX_BLOBS = 1024  # bottoms or tops of a layer that takes any number of them

LAYERS = {
    "ArgMax": Row(argmax),
    "BatchNorm": Row(batch_norm),
    "Bias": Row(bias, bottoms=(1, 2)),
    "Concat": Row(concat, bottoms=(1, MAX_BLOBS)),
    "Convolution": Row(convolution),
    "Crop": Row(crop, bottoms=(2, 2)),
    "Deconvolution": Row(convolution),
    "Dropout": _same("Identity"),
    "Eltwise": Row(eltwise, bottoms=(1, MAX_BLOBS)),
    "Flatten": Row(flatten),
    "InnerProduct": Row(inner_product),
    "Interp": Row(interp, bottoms=(1, 2)),
    "LRN": Row(lrn),
    "Normalize": Row(normalize),
    "PReLU": Row(prelu),
    "Padding": Row(padding),
    "Permute": Row(permute),
    "Pooling": Row(pooling),
    "Power": Row(power),
    "ReLU": Row(relu),
    "Reshape": Row(reshape),
    "Scale": Row(scale, bottoms=(1, 2)),
    "Sigmoid": _same("Sigmoid"),
    "Slice": Row(slice_, tops=(1, MAX_BLOBS)),
    "Softmax": Row(softmax),
    "Split": Row(copies, tops=(1, MAX_BLOBS)),
    "TanH": _same("Tanh"),
}
