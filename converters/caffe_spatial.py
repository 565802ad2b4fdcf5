"""The layer types that know of images: convolution, pooling, local normalisation, resizing and cropping."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from google.protobuf.message import Message

from converters.caffe_scope import MAX_GEOMETRY, Scope


def _pair(s: Scope, p: Message, name: str, prefix: str, default: int, least: int = 1) -> tuple[int, int]:
    """(height, width) of `<name>`, given once or per side, or of `<prefix>_h` and `<prefix>_w`."""
    sides = [f"{prefix}_h", f"{prefix}_w"]
    given = getattr(p, name)
    given = list(given) if hasattr(given, "append") else [given] * p.HasField(name)
    if f"{prefix}_h" in p.DESCRIPTOR.fields_by_name and any(p.HasField(side) for side in sides):
        if given:
            s.fail(f"has both {name} and {prefix}_h, {prefix}_w")
        given = [getattr(p, side) if p.HasField(side) else default for side in sides]
    if len(given) > 2:
        s.fail(f"has {len(given)} values of {name}; only images, with 2 axes, are read")
    height, width = (given or [default]) * (1 if len(given) == 2 else 2)
    if not (least <= height <= MAX_GEOMETRY and least <= width <= MAX_GEOMETRY):
        s.fail(f"{name} {height}x{width} is not between {least} and {MAX_GEOMETRY}")
    return height, width


def convolution(s: Scope) -> str:
    """Conv, or ConvTranspose for Deconvolution; `hole` is what the first DeepLab called the dilation."""
    p, transposed = s.param("convolution_param"), s.layer.type == "Deconvolution"
    channels = s.image_shape()[1]
    if s.axis(p.axis) != 1:
        s.fail("convolves over the channels only along axis 1")
    if p.num_output < 1 or p.group < 1 or channels % p.group or p.num_output % p.group:
        s.fail(f"{channels} channels and num_output {p.num_output} do not make {p.group} groups")
    kernel, pads = _pair(s, p, "kernel_size", "kernel", 0), _pair(s, p, "pad", "pad", 0, least=0)
    rates = {_pair(s, p, "dilation", "dilation", 1), _pair(s, p, "hole", "hole", 1)}
    if len(rates) > 1 and (1, 1) not in rates:
        s.fail("has a dilation and a different hole")
    shape = (channels, p.num_output // p.group) if transposed else (p.num_output, channels // p.group)
    weights = [s.blob(0, (*shape, *kernel))] + ([s.blob(1, (p.num_output,))] if p.bias_term else [])
    return s.node(
        "ConvTranspose" if transposed else "Conv", s.bottoms[0], *weights,
        kernel_shape=kernel, strides=_pair(s, p, "stride", "stride", 1), pads=pads * 2, dilations=max(rates),
        group=p.group,
    )  # fmt: skip


class _Side(NamedTuple):
    """Pooling along one axis: windows of `kernel` from `-pad` on, the last one ending `end` after the image."""

    size: int
    kernel: int
    stride: int
    pad: int
    out: int

    @property
    def end(self) -> int:
        return max(0, (self.out - 1) * self.stride + self.kernel - self.size - self.pad)

    def divisors(self) -> np.ndarray:
        """How many positions Caffe's AVE counts in each window: those up to the padding's end, image or not."""
        starts = np.arange(self.out) * self.stride - self.pad
        return np.minimum(starts + self.kernel, self.size + self.pad) - starts


def pooling(s: Scope) -> str:
    """MAX and AVE. Caffe rounds the number of windows up, then drops a last one that starts in the padding.

    With `round_mode: FLOOR` (BVLC) or `ceil_mode: false` (forks) it rounds down.
    """
    p = s.param("pooling_param")
    if p.HasField("round_mode") and p.HasField("ceil_mode") and (p.round_mode == 0) != p.ceil_mode:
        s.fail("has a round_mode and another ceil_mode")
    rounds_down = p.round_mode == 1 or not p.ceil_mode
    _, _, *sizes = s.image_shape()
    if p.pool == 2:
        s.fail("STOCHASTIC pooling draws at random; only MAX and AVE are converted")
    op = "AveragePool" if p.pool == 1 else "MaxPool"
    if p.global_pooling:
        return s.node(f"Global{op}", s.bottoms[0])
    kernel, strides = _pair(s, p, "kernel_size", "kernel", 0), _pair(s, p, "stride", "stride", 1)
    pads = _pair(s, p, "pad", "pad", 0, least=0)
    sides = []
    for size, k, stride, pad in zip(sizes, kernel, strides, pads, strict=True):
        span = size + 2 * pad - k
        out = (span // stride if rounds_down else -(-span // stride)) + 1
        if any(pads) and (out - 1) * stride >= size + pad:
            out -= 1
        if out < 1 or pad >= k or size > MAX_GEOMETRY:
            s.fail(f"cannot pool {sizes[0]}x{sizes[1]} by {kernel[0]}x{kernel[1]} with pad {pads[0]}x{pads[1]}")
        sides.append(_Side(size, k, stride, pad, out))
    return _max_pool(s, sides) if p.pool == 0 else _average_pool(s, s.bottoms[0], sides)


def _max_pool(s: Scope, sides: list[_Side]) -> str:
    x, pads = s.bottoms[0], [side.pad for side in sides] + [side.end for side in sides]
    if any(side.end >= side.kernel for side in sides):  # a window beside the image; Caffe leaves -FLT_MAX there
        around = s.constant("pads", [0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
        x = s.node("Pad", x, around, s.constant("lowest", np.finfo(np.float32).min), part="pad")
        pads = [0] * 4
    kernel, strides = [side.kernel for side in sides], [side.stride for side in sides]
    return s.node("MaxPool", x, kernel_shape=kernel, strides=strides, pads=pads)


def _average_pool(s: Scope, x: str, sides: list[_Side]) -> str:
    """The sum over kernel height x width, then put right where Caffe divides by less."""
    corrections = []
    for i, side in enumerate(sides):
        divisors = side.divisors()
        if divisors.min() < 1:
            s.fail("averages over a window that lies beside the image, which Caffe leaves undefined")
        if divisors.min() < side.kernel:
            corrections.append((i, side.kernel / divisors))
    y = s.node(
        "AveragePool", x, part="", count_include_pad=1,
        kernel_shape=[side.kernel for side in sides], strides=[side.stride for side in sides],
        pads=[side.pad for side in sides] + [side.end for side in sides],
    )  # fmt: skip
    for i, factor in corrections:
        name = ("rows", "columns")[i]
        y = s.node("Mul", y, s.constant(name, factor.reshape((1, 1, -1, 1) if i == 0 else (1, 1, 1, -1))), part=name)
    return y


def lrn(s: Scope) -> str:
    """Across channels is ONNX's LRN; within a channel, x times (1 + alpha * mean of squares) ** -beta, without k."""
    p, x = s.param("lrn_param"), s.bottoms[0]
    _, _, *sizes = s.image_shape()
    if p.local_size % 2 == 0 or p.local_size > MAX_GEOMETRY:
        s.fail(f"local_size {p.local_size} is not odd and below {MAX_GEOMETRY}")
    if min(p.alpha, p.beta) <= 0:
        s.fail(f"alpha {p.alpha:g} and beta {p.beta:g} are not both above 0, as ONNX Runtime needs")
    if p.norm_region == 0:
        return s.node("LRN", x, size=p.local_size, alpha=p.alpha, beta=p.beta, bias=p.k)
    pad = p.local_size // 2
    mean = s.node(
        "AveragePool", s.node("Mul", x, x, part="square"), part="pool",
        kernel_shape=[p.local_size] * 2, pads=[pad] * 4, count_include_pad=1,
    )  # fmt: skip
    base = s.node("Mul", mean, s.constant("alpha", p.alpha), part="by_alpha")
    base = s.node("Add", base, s.constant("one", 1), part="plus_one")
    return s.node("Mul", x, s.node("Pow", base, s.constant("beta", -p.beta), part="power"))


def interp(s: Scope) -> str:
    """Bilinear, corners aligned, after cropping by the (negative) pads. As in Caffe one factor goes before a size."""
    p, x = s.param("interp_param"), s.bottoms[0]
    sizes, pads = s.image_shape()[2:], (p.pad_beg, p.pad_end)
    if max(pads) > 0 or min(sizes) + sum(pads) < 1:
        s.fail(f"pad_beg {p.pad_beg} and pad_end {p.pad_end} do not crop {sizes[0]}x{sizes[1]}")
    if any(pads):
        sizes = [size + sum(pads) for size in sizes]
        x = _crop(s, x, (2, 3), [-p.pad_beg] * 2, sizes, part="crop")
    zoom, shrink = p.HasField("zoom_factor"), p.HasField("shrink_factor")
    if p.zoom_factor < 1 or p.shrink_factor < 1:
        s.fail("a zoom_factor or shrink_factor is below 1")
    if p.HasField("height") and p.HasField("width") and zoom == shrink:
        out = [p.height, p.width]
    elif zoom or shrink:
        out = [((size - 1) // p.shrink_factor) * p.zoom_factor + 1 for size in sizes]
    elif len(s.bottoms) == 2:
        out = s.image_shape(1)[2:]
    else:
        s.fail("does not say the size it makes")
    if min(out) < 1 or max(out) > MAX_GEOMETRY:
        s.fail(f"makes an image of {out[0]}x{out[1]}")
    target = s.constant("sizes", [*s.shape()[:2], *out], np.int64)
    return s.node("Resize", x, "", "", target, mode="linear", coordinate_transformation_mode="align_corners")


def _crop(s: Scope, x: str, axes: Sequence[int], starts: Sequence[int], sizes: Sequence[int], part: str = "") -> str:
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    bounds = {"starts": starts, "ends": ends, "axes": axes}
    return s.node("Slice", x, *(s.constant(name, value, np.int64) for name, value in bounds.items()), part=part)


def crop(s: Scope) -> str:
    """Bottom 0 cut to bottom 1's size in all axes from `axis` on, beginning at `offset`."""
    p, shape, other = s.param("crop_param"), s.shape(), s.shape(1)
    axes = range(s.axis(p.axis), len(shape))
    offsets = list(p.offset) or [0]
    if len(other) != len(shape) or len(offsets) not in (1, len(axes)):
        s.fail(f"cannot crop {shape} to {other} with {len(offsets)} offsets")
    starts = offsets * (1 if len(offsets) == len(axes) else len(axes))
    if any(start + other[axis] > shape[axis] for axis, start in zip(axes, starts, strict=True)):
        s.fail(f"{other} at {starts} is not within {shape}")
    return _crop(s, s.bottoms[0], axes, starts, [other[axis] for axis in axes])


def padding(s: Scope) -> str:
    """Zeros around the image, or with negative pads less of it: how the first DeepLab cuts scores to the picture."""
    p, sizes = s.param("padding_param"), s.image_shape()[2:]
    before, after = p.pad_beg, p.pad_end
    if before * after < 0 or max(before, after) > MAX_GEOMETRY or min(sizes) + before + after < 1:
        s.fail(f"cannot pad {sizes[0]}x{sizes[1]} by {before} and {after}")
    if min(before, after) < 0:
        return _crop(s, s.bottoms[0], (2, 3), [-before] * 2, [size + before + after for size in sizes])
    return s.node("Pad", s.bottoms[0], s.constant("pads", [0, 0, before, before, 0, 0, after, after], np.int64))
