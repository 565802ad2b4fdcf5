"""Small Caffe nets: prototxt and caffemodel pairs with random weights in every form the format has, and test cases."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from converters.caffe_schema import NetParameter, Weights

# V1's number and name of the types that the tests write (BVLC/caffe caffe.proto, V1LayerParameter.LayerType).
V1_TYPES = {
    "Convolution": (4, "CONVOLUTION"), "InnerProduct": (14, "INNER_PRODUCT"), "Pooling": (17, "POOLING"),
    "ReLU": (18, "RELU"), "Softmax": (20, "SOFTMAX"),
}  # fmt: skip


@dataclass
class L:
    """A layer: `params` is prototxt text, `blobs` the shapes of its blobs, or arrays.

    Without a name it is `<type><position>`; without bottoms it reads what the layer before made; without tops it makes
    a blob of its own name.
    """

    type: str
    params: str = ""
    blobs: tuple = ()
    name: str = ""
    bottoms: tuple[str, ...] | None = None
    tops: tuple[str, ...] | None = None


def completed(layers: list[L]) -> list[L]:
    """The layers with names, bottoms and tops filled in."""
    done, before = [], ("data",)
    for i, layer in enumerate(layers):
        name = layer.name or f"{layer.type.lower()}{i}"
        bottoms = before if layer.bottoms is None else layer.bottoms
        tops = (name,) if layer.tops is None else layer.tops
        done.append(L(layer.type, layer.params, layer.blobs, name, bottoms, tops))
        before = tops[:1]
    return done


def random_blobs(layers: list[L], seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Weights for completed layers; a BatchNorm's variance is positive and its count is 2."""
    rng, blobs = np.random.default_rng(seed), {}
    for layer in layers:
        arrays = [
            blob if isinstance(blob, np.ndarray) else rng.standard_normal(blob, dtype=np.float32) * 0.5
            for blob in layer.blobs
        ]
        if layer.type == "BatchNorm":
            arrays[1] = np.abs(arrays[1]) + 0.5
            if not isinstance(layer.blobs[2], np.ndarray):
                arrays[2] = np.array([2], np.float32)
        if arrays:
            blobs[layer.name] = arrays
    return blobs


def prototxt(layers: list[L], shape: tuple[int, ...] | None = (1, 3, 12, 14), v1: bool = False) -> str:
    """The text of a net with one input, `data`."""
    lines = ['name: "tiny"']
    if shape:
        lines += ['input: "data"', *(f"input_dim: {size}" for size in shape)]
    for layer in layers:
        kind = V1_TYPES[layer.type][1] if v1 else f'"{layer.type}"'
        ends = [f'  {end}: "{name}"' for end in ("bottom", "top") for name in getattr(layer, f"{end}s")]
        head = [f"layer{'s' * v1} {{", f'  name: "{layer.name}"', f"  type: {kind}"]
        lines += [*head, *ends, *([f"  {layer.params}"] if layer.params else []), "}"]
    return "\n".join(lines) + "\n"


def caffemodel(layers: list[L], blobs: dict[str, list[np.ndarray]], form: str = "v2") -> bytes:
    """The weights' file.

    Args:
        form: `v2`; `v1` (V1 layers, 4-D blobs); `double` (double_data); `unpacked` (floats one by one, as the first
            Caffe wrote them); `text`.
    """
    net = Weights() if form == "unpacked" else NetParameter(name="tiny")
    for layer in layers:
        message = (net.layers if form == "v1" else net.layer).add()
        if form == "unpacked":
            message.name = layer.name.encode()
        else:
            message.name = layer.name
            message.bottom.extend(layer.bottoms)
            message.top.extend(layer.tops)
        if form == "v1":
            message.MergeFromString(bytes([5 << 3, V1_TYPES[layer.type][0]]))  # field 5, the enumerated type
        elif form != "unpacked":
            message.type = layer.type
        for array in blobs.get(layer.name, []):
            blob = message.blobs.add()
            if form == "v1":
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
            else:
                blob.shape.dim.extend(array.shape)
            if form == "unpacked":  # field 5 as single floats, which Weights carries along as an unknown field
                blob.MergeFromString(b"".join(b"\x2d" + value.tobytes() for value in array.astype("<f4").ravel()))
            else:
                (blob.double_data if form == "double" else blob.data).extend(array.ravel().tolist())
    return text_format.MessageToString(net).encode() if form == "text" else net.SerializeToString()


def write_pair(
    folder: Path, layers: list[L], shape: tuple[int, ...] | None = (1, 3, 12, 14), form: str = "v2", seed: int = 0
) -> tuple[Path, Path]:
    """Write net.prototxt and net.caffemodel; returns their paths."""
    layers, paths = completed(layers), (folder / "net.prototxt", folder / "net.caffemodel")
    paths[0].write_text(prototxt(layers, shape, v1=form == "v1"))
    paths[1].write_bytes(caffemodel(layers, random_blobs(layers, seed), form))
    return paths


def conv(params: str, *blobs: tuple[int, ...], **ends) -> L:
    return L("Convolution", f"convolution_param {{ {params} }}", blobs, **ends)


def deconv(params: str, *blobs: tuple[int, ...]) -> L:
    return L("Deconvolution", f"convolution_param {{ {params} }}", blobs)


def pool(params: str) -> L:
    return L("Pooling", f"pooling_param {{ {params} }}")


def two(*layers: L) -> list[L]:
    """Layers after a branch of two, `a` and `b`."""
    return [L("ReLU", name="a"), L("TanH", name="b", bottoms=("data",)), *layers]


def eltwise(params: str, *bottoms: str) -> list[L]:
    return two(L("Eltwise", f"eltwise_param {{ {params} }}", bottoms=bottoms))


def norm(params: str, scales: int) -> L:
    return L("Normalize", f"norm_param {{ {params} }}", ((scales,),))


BLOCK = [
    conv("num_output: 8 kernel_size: 3 pad: 1 bias_term: false", (8, 3, 3, 3), tops=("c",)),
    L("BatchNorm", "batch_norm_param { use_global_stats: true }", ((8,), (8,), (1,)), bottoms=("c",), tops=("c",)),
    L("Scale", "scale_param { bias_term: true }", ((8,), (8,)), bottoms=("c",), tops=("c",)),
    L("ReLU", name="r", bottoms=("c",), tops=("c",)),
    conv("num_output: 8 kernel_size: 3 pad: 2 dilation: 2", (8, 8, 3, 3), (8,), name="d", bottoms=("c",)),
    L("Eltwise", bottoms=("c", "d"), tops=("sum",), name="sum"),
    L("Dropout", bottoms=("sum",), tops=("sum",), name="drop"),
    L("Softmax", bottoms=("sum",)),
]

# Layers, and the shape of `data`. OpenCV reads the same two files.
OPENCV = {
    "conv": ([conv("num_output: 4 kernel_size: 3", (4, 3, 3, 3), (4,))], (1, 3, 13, 14)),
    "conv rectangular": (
        [conv("num_output: 4 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 2 stride_h: 2 stride_w: 1 bias_term: false",
              (4, 3, 3, 1))],
        (2, 3, 13, 14),
    ),
    "conv grouped dilated": (
        [conv("num_output: 8 kernel_size: 3 pad: 2 dilation: 2 group: 2", (8, 2, 3, 3), (8,))], (1, 4, 13, 14)
    ),
    "conv depthwise": (
        [conv("num_output: 4 kernel_size: 3 pad: 1 stride: 2 group: 4", (4, 1, 3, 3), (4,))], (1, 4, 13, 14)
    ),
    "conv dilated strided": (
        [conv("num_output: 8 kernel_size: 3 pad: 4 dilation: 4 stride: 2", (8, 4, 3, 3), (8,))], (1, 4, 13, 14)
    ),
    "conv hole": ([conv("num_output: 8 kernel_size: 3 pad: 3 hole: 3", (8, 4, 3, 3), (8,))], (1, 4, 13, 14)),
    "deconv": ([deconv("num_output: 6 kernel_size: 4 stride: 2 pad: 1", (4, 6, 4, 4), (6,))], (1, 4, 5, 6)),
    "deconv depthwise": (
        [deconv("num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4 bias_term: false", (4, 1, 4, 4))], (1, 4, 5, 6)
    ),
    "deconv grouped": ([deconv("num_output: 6 kernel_size: 3 stride: 2 group: 2", (4, 3, 3, 3), (6,))], (1, 4, 5, 6)),
    "relu": ([L("ReLU")], (1, 3, 8, 8)),
    "relu slope": ([L("ReLU", "relu_param { negative_slope: 0.1 }")], (1, 3, 8, 8)),
    "prelu": ([L("PReLU", blobs=((3,),))], (1, 3, 8, 8)),
    "prelu shared": ([L("PReLU", "prelu_param { channel_shared: true }", ((1,),))], (1, 3, 8, 8)),
    "sigmoid": ([L("Sigmoid")], (1, 3, 8, 8)),
    "tanh": ([L("TanH")], (1, 3, 8, 8)),
    "batch norm": ([L("BatchNorm", "batch_norm_param { eps: 0.01 }", ((3,), (3,), (1,)))], (2, 3, 8, 8)),
    "scale": ([L("Scale", blobs=((3,),))], (2, 3, 8, 8)),
    "scale bias": ([L("Scale", "scale_param { bias_term: true }", ((3,), (3,)))], (2, 3, 8, 8)),
    "scale all axes": ([L("Scale", "scale_param { num_axes: -1 }", ((3, 8, 9),))], (2, 3, 8, 9)),
    "scale by bottom": (
        [pool("pool: AVE global_pooling: true"), L("Flatten"),
         L("Scale", "scale_param { axis: 0 }", bottoms=("data", "flatten1"))],
        (1, 3, 8, 9),
    ),
    "eltwise sum": (eltwise("", "a", "b", "data"), (2, 3, 8, 8)),
    "eltwise coefficients": (eltwise("operation: SUM coeff: 1 coeff: -0.5", "a", "b"), (2, 3, 8, 8)),
    "eltwise product": (eltwise("operation: PROD", "a", "b"), (2, 3, 8, 8)),
    "eltwise max": (eltwise("operation: MAX", "a", "b", "data"), (2, 3, 8, 8)),
    "concat": (two(L("Concat", bottoms=("a", "b"))), (2, 3, 8, 8)),
    "concat axis": (two(L("Concat", "concat_param { axis: -1 }", bottoms=("a", "b"))), (2, 3, 8, 8)),
    "concat dim": (two(L("Concat", "concat_param { concat_dim: 1 }", bottoms=("a", "b"))), (2, 3, 8, 8)),
    "slice": (
        [L("Slice", "slice_param { slice_point: 1 slice_point: 3 }", tops=("x", "y", "z")),
         L("ReLU", bottoms=("x",)), L("TanH", bottoms=("y",)), L("Sigmoid", bottoms=("z",))],
        (2, 4, 8, 8),
    ),
    "slice evenly": (
        [L("Slice", "slice_param { axis: 2 }", tops=("x", "y")), L("ReLU", bottoms=("x",)), L("TanH", bottoms=("y",))],
        (2, 4, 8, 8),
    ),
    "split": ([L("Split", tops=("x", "y")), L("ReLU", bottoms=("x",)), L("TanH", bottoms=("y",))], (2, 4, 8, 8)),
    "dropout": ([L("ReLU"), L("Dropout"), L("TanH")], (2, 4, 8, 8)),
    "inner product": ([L("InnerProduct", "inner_product_param { num_output: 5 }", ((5, 60), (5,)))], (2, 3, 4, 5)),
    "inner product axis": (
        [L("InnerProduct", "inner_product_param { num_output: 6 axis: 2 bias_term: false }", ((6, 20),))], (2, 3, 4, 5)
    ),
    "flatten": ([L("Flatten")], (2, 3, 4, 5)),
    "flatten end axis": ([L("Flatten", "flatten_param { axis: 1 end_axis: 2 }")], (2, 3, 4, 5)),
    "reshape": ([L("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 5 } }")], (2, 3, 4, 5)),
    "reshape axes": (
        [L("Reshape", "reshape_param { shape { dim: 2 dim: -1 } axis: 2 num_axes: 1 }")], (2, 3, 4, 5)
    ),
    "permute": ([L("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }")], (2, 3, 4, 5)),
    "softmax": ([L("Softmax")], (2, 3, 4, 5)),
    "softmax axis": ([L("Softmax", "softmax_param { axis: 2 }")], (2, 3, 4, 5)),
    "power": ([L("Power", "power_param { power: 2 scale: 0.5 shift: 1 }")], (2, 7, 4, 5)),
    "power linear": ([L("Power", "power_param { scale: 0.5 shift: 1 }")], (2, 7, 4, 5)),
    "lrn within": (
        [L("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 norm_region: WITHIN_CHANNEL }")], (2, 7, 4, 5)
    ),
    "lrn across, k = 1": ([L("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 }")], (2, 7, 4, 5)),
    "normalize channels": ([norm("across_spatial: false channel_shared: false", 3)], (2, 3, 4, 5)),
    "normalize shared": ([norm("across_spatial: false", 1)], (2, 3, 4, 5)),
    "normalize all": ([norm("", 1)], (1, 3, 4, 5)),
    "interp zoom": ([L("Interp", "interp_param { zoom_factor: 8 }")], (2, 3, 4, 5)),
    "interp size": ([L("Interp", "interp_param { height: 11 width: 6 }")], (2, 3, 4, 5)),
    "crop": (
        [pool("kernel_size: 3"), L("Crop", "crop_param { offset: 1 offset: 2 }", bottoms=("data", "pooling0"))],
        (2, 3, 9, 13),
    ),
    "block": (BLOCK, (1, 3, 9, 10)),
    "pooling MAX global": ([pool("pool: MAX global_pooling: true")], (1, 3, 7, 8)),
    "pooling AVE global": ([pool("pool: AVE global_pooling: true")], (1, 3, 7, 8)),
}  # fmt: skip
POOLS = {
    f"pooling {kind} {k} stride {s} pad {p} of {n}": (
        [pool(f"pool: {kind} kernel_size: {k} stride: {s} pad: {p}")], (1, 3, n, n + 1)
    )
    for kind in ("MAX", "AVE")
    for k, s, p in ((2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (2, 2, 1), (2, 3, 1), (5, 3, 2))
    for n in (7, 8, 9)
}  # fmt: skip
RECTANGLE = "pool: AVE kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0"
POOLS["pooling AVE rectangular"] = ([pool(RECTANGLE)], (1, 3, 8, 8))
OPENCV |= POOLS


def caffe_pool(x, layer, _blobs):
    """PoolingLayer::Reshape and Forward_cpu, loop for loop."""
    words = dict(zip(layer.params.split()[2:-1:2], layer.params.split()[3:-1:2], strict=True))

    def sides(name, prefix, default):
        return [int(words.get(f"{prefix}_{side}:", words.get(f"{name}:", default))) for side in "hw"]

    kernel, stride, pad = sides("kernel_size", "kernel", 0), sides("stride", "stride", 1), sides("pad", "pad", 0)
    size, out = x.shape[2:], []
    for i in range(2):
        span = (size[i] + 2 * pad[i] - kernel[i]) / stride[i]
        out.append(int(np.floor(span) if words.get("round_mode:") == "FLOOR" else np.ceil(span)) + 1)
        if any(pad) and (out[i] - 1) * stride[i] >= size[i] + pad[i]:
            out[i] -= 1
    made = np.zeros((*x.shape[:2], *out), np.float32)
    for row in range(out[0]):
        for column in range(out[1]):
            start = [row * stride[0] - pad[0], column * stride[1] - pad[1]]
            end = [min(start[i] + kernel[i], size[i] + pad[i]) for i in range(2)]
            count = (end[0] - start[0]) * (end[1] - start[1])
            window = x[:, :, max(start[0], 0) : min(end[0], size[0]), max(start[1], 0) : min(end[1], size[1])]
            if words.get("pool:") == "AVE":
                made[:, :, row, column] = window.sum((2, 3)) / count
            else:
                made[:, :, row, column] = window.max((2, 3), initial=np.finfo(np.float32).min)
    return made


def align_corners(x, height, width):
    for axis, out in ((2, height), (3, width)):
        size = x.shape[axis]
        at = np.arange(out) * ((size - 1) / (out - 1) if out > 1 else 0)
        low = np.minimum(at.astype(int), size - 1)
        high = np.minimum(low + 1, size - 1)
        part = (at - low).reshape((-1, 1) if axis == 2 else (-1,))
        x = x.take(low, axis) * (1 - part) + x.take(high, axis) * part
    return x


def dilated_deconvolution(x, _layer, blobs):
    weights, bias = blobs
    made = np.zeros((1, 6, 9, 10)) + bias.reshape(-1, 1, 1)
    for i in range(3):
        for j in range(3):
            spread = np.einsum("nchw,co->nohw", x, weights[:, :, i, j])
            made[:, :, 2 * i : 2 * i + 5, 2 * j : 2 * j + 6] += spread
    return made


def last_argmax(x, axis):
    return x.shape[axis] - 1 - np.flip(x, axis).argmax(axis)


def lrn_across(x, _layer, _blobs):
    squares = np.pad(x**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return x * (2 + 0.5 / 3 * (squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:])) ** -0.6


TIES = np.array([0, 2, 2, 1, 2, 0], np.float32).reshape(1, 6, 1, 1)

# What OpenCV 4.10 does not do, or not as Caffe does: against Caffe's rule, as a function of (x, layer, blobs).
NUMPY = {
    "pooling MAX floor": ([pool("pool: MAX kernel_size: 3 stride: 2 round_mode: FLOOR")], (1, 3, 8, 8), caffe_pool),
    "pooling MAX beside the image": ([pool("pool: MAX kernel_size: 1 stride: 2")], (1, 3, 8, 7), caffe_pool),
    "deconv dilated": (  # OpenCV drops the dilation
        [deconv("num_output: 6 kernel_size: 3 dilation: 2", (4, 6, 3, 3), (6,))], (1, 4, 5, 6), dilated_deconvolution
    ),
    "inner product transposed": (  # OpenCV ignores `transpose`
        [L("InnerProduct", "inner_product_param { num_output: 5 transpose: true }", ((60, 5), (5,)))],
        (2, 3, 4, 5),
        lambda x, _, blobs: x.reshape(2, 60) @ blobs[0] + blobs[1],
    ),
    "lrn across, k = 2": (  # OpenCV ignores `k`
        [L("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }")], (2, 7, 4, 5), lrn_across
    ),
    "normalize all, per channel": (  # OpenCV takes one scale only
        [norm("across_spatial: true channel_shared: false eps: 0.1", 3)],
        (2, 3, 4, 5),
        lambda x, _, blobs: x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + 0.1) * blobs[0].reshape(3, 1, 1),
    ),
    "concat dim 2": (  # OpenCV ignores `concat_dim`
        two(L("Concat", "concat_param { concat_dim: 2 }", bottoms=("a", "b"))),
        (2, 3, 4, 5),
        lambda x, *_: np.concatenate([np.maximum(x, 0), np.tanh(x)], 2),
    ),
    "bias": ([L("Bias", blobs=((3,),))], (2, 3, 8, 8), lambda x, _, blobs: x + blobs[0].reshape(3, 1, 1)),
    "bias by bottom": (
        [L("Bias", "bias_param { axis: 0 }", bottoms=("data", "data"))], (2, 3, 4, 5), lambda x, *_: x + x
    ),
    "permute partly": (
        [L("Permute", "permute_param { order: 0 order: 3 }")], (2, 3, 4, 5), lambda x, *_: x.transpose(0, 3, 1, 2)
    ),
    "argmax axis": (
        [L("ArgMax", "argmax_param { axis: 1 }")], (2, 3, 4, 5), lambda x, *_: last_argmax(x, 1)[:, None]
    ),
    "argmax of equals": ([L("ArgMax", "argmax_param { axis: 1 }")], TIES, lambda *_: np.full((1, 1, 1, 1), 4)),
    "argmax value": (
        [L("ArgMax", "argmax_param { axis: 1 out_max_val: true }")], (2, 3, 4, 5), lambda x, *_: x.max(1, keepdims=True)
    ),
    "argmax of all": (
        [L("ArgMax")], (2, 3, 4, 5), lambda x, *_: last_argmax(x.reshape(2, -1), 1).reshape(2, 1, 1, 1)
    ),
    "argmax of all, value": (
        [L("ArgMax", "argmax_param { out_max_val: true }")],
        (2, 3, 4, 5),
        lambda x, *_: np.stack([last_argmax(x.reshape(2, -1), 1), x.max((1, 2, 3))], 1).reshape(2, 2, 1, 1),
    ),
    "interp shrink": (
        [L("Interp", "interp_param { shrink_factor: 2 }")], (2, 3, 9, 12), lambda x, *_: align_corners(x, 5, 6)
    ),
    "interp shrink and zoom": (
        [L("Interp", "interp_param { shrink_factor: 4 zoom_factor: 2 }")],
        (2, 3, 9, 12),
        lambda x, *_: align_corners(x, 5, 5),
    ),
    "interp crop": (  # OpenCV ignores the pads
        [L("Interp", "interp_param { height: 11 width: 6 pad_beg: -1 pad_end: -2 }")],
        (2, 3, 7, 8),
        lambda x, *_: align_corners(x[:, :, 1:-2, 1:-2], 11, 6),
    ),
    "interp to a pixel": (
        [L("Interp", "interp_param { height: 1 width: 1 }")], (2, 3, 7, 8), lambda x, *_: x[:, :, :1, :1]
    ),
    "interp as bottom": (
        [pool("kernel_size: 2 stride: 2"), L("Interp", bottoms=("pooling0", "data"))],
        (2, 3, 9, 12),
        lambda x, *_: align_corners(caffe_pool(x, pool("kernel_size: 2 stride: 2"), ()), 9, 12),
    ),
    "padding": (
        [L("Padding", "padding_param { pad_beg: 1 pad_end: 2 }")],
        (2, 3, 4, 5),
        lambda x, *_: np.pad(x, ((0, 0), (0, 0), (1, 2), (1, 2))),
    ),
    "padding that cuts": (
        [L("Padding", "padding_param { pad_end: -3 }")], (2, 3, 4, 5), lambda x, *_: x[:, :, :-3, :-3]
    ),
    "batch norm of no batches": (  # a count of 0 makes Caffe use mean 0, variance 0
        [L("BatchNorm", "batch_norm_param { eps: 0.01 }", ((3,), (3,), np.zeros(1, np.float32)))],
        (2, 3, 4, 5),
        lambda x, *_: x * 10,
    ),
    **{f"{name}, in numpy": (*case, caffe_pool) for name, case in POOLS.items()},
}  # fmt: skip
