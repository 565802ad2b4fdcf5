"""The convolutions of a TensorFlow Lite file, and the recipe fields that the file tells beside their shapes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import UserError
from common.words import some
from converters.folded import KERNEL, OFFSET, scope_of
from converters.graph_facts import NOMINAL_STRIDE, RATES
from converters.tflite import Model, Op, Tensor


@dataclass(frozen=True)
class Convolution:
    """A convolution of the file: the scope of its layer, its op, its kernel [h, w, in, out] and its biases."""

    scope: str
    op: Op
    kernel: np.ndarray
    offset: np.ndarray | None

    @property
    def is_depthwise(self) -> bool:
        return self.op.name == "DEPTHWISE_CONV_2D"

    @property
    def parts(self) -> dict[str, np.ndarray]:
        return {KERNEL: self.kernel, **({OFFSET: self.offset} if self.offset is not None else {})}


def convolutions(model: Model) -> list[Convolution]:
    """The convolutions of the file in their order; one that is there for several scales comes once.

    Raises UserError when one has no constant kernel.
    """
    found: dict[str, Convolution] = {}
    weights: set[tuple[int, ...]] = set()  # kernel and biases, by number
    for op in model.ops:
        if op.name not in ("CONV_2D", "DEPTHWISE_CONV_2D") or op.inputs[1:] in weights:
            continue
        weights.add(op.inputs[1:])
        kernel = model.constant(op.inputs[1]) if len(op.inputs) > 1 else None
        if kernel is None or len(kernel.shape) != 4:
            raise UserError("has a convolution without a kernel of its own")
        bias = model.constant(op.inputs[2]) if len(op.inputs) > 2 else None
        names = (kernel.name, *(model.tensors[number].name for number in op.outputs if number >= 0))
        scope = next(filter(None, (scope_of(name.partition(";")[0]) for name in names)), "")  # a kernel may have none
        made = Convolution(scope, op, _kernel(kernel, op), None if bias is None else bias.numbers)
        if not scope:
            raise UserError("has a convolution whose names do not tell its layer")
        if scope in found:
            raise UserError(f"has two kernels of one name, {some([scope])}; its names do not tell its layers")
        found[scope] = made
    return list(found.values())


def _kernel(kernel: Tensor, op: Op) -> np.ndarray:
    """TensorFlow's layout of a kernel: of [out, h, w, in], or for a depthwise one of [1, h, w, in x multiplier]."""
    numbers = kernel.numbers
    if op.name == "CONV_2D":
        return numbers.transpose(1, 2, 3, 0)
    multiplier = max(op.options.get("multiplier", 1), 1)
    if kernel.shape[0] != 1 or kernel.shape[3] % multiplier:
        raise UserError(f"has a depthwise kernel of shape {kernel.shape}, which no network here has")
    return numbers.reshape(*kernel.shape[1:3], -1, multiplier)


def variable_shapes(layers: list[Convolution]) -> dict[str, tuple[int, ...]]:
    """The shapes of kernels and of the scores' biases, under slim's names, by which recipes are recognised."""
    shapes = {}
    for layer in layers:
        shapes[f"{layer.scope}/{'depthwise_' * layer.is_depthwise}weights"] = layer.kernel.shape
        if layer.offset is not None and "logits" in layer.scope.lower():
            shapes[f"{layer.scope}/biases"] = layer.offset.shape
    return shapes


def fields_from_file(model: Model, layers: list[Convolution]) -> dict[str, Any]:
    """The output stride, ASPP's rates, the resize of scores, the size of pictures and their preprocessing."""
    stride = stride_of(model)
    fields: dict[str, Any] = {"eval_output_stride": stride} if stride in (8, 16, 32) else {}
    rates = {int(m[1]): layer.op.options.get("rate", 1) for layer in layers if (m := RATES.fullmatch(layer.scope))}
    if rates and min(rates.values()) > 1:
        fields["atrous_rates"] = tuple(rates[branch] * stride // NOMINAL_STRIDE for branch in sorted(rates))
    if aligned := [op.options.get("aligned", 0) for op in model.ops if op.name == "RESIZE_BILINEAR"]:
        fields["align_corners"] = bool(aligned[-1])
    is_reversed = any(op.name == "REVERSE_V2" for op in model.ops)  # of channels, or of mirrored pictures
    if not is_reversed and sum(op.name in ("CONV_2D", "DEPTHWISE_CONV_2D") for op in model.ops) == len(layers):
        fields |= {"eval_scales": (1.0,), "eval_flip": False}
    picture = input_of(model)
    if picture.shape[1] == picture.shape[2]:
        fields["eval_size"] = picture.shape[1]
    if picture.quantization is not None and picture.dtype.kind in "iu" and picture.quantization.scale.size == 1:
        shift = 128 if picture.dtype == np.int8 else 0  # of what the file reads to a picture's numbers
        fields["pixel_mean"] = (float(picture.quantization.zero[0] + shift),) * 3
        fields["pixel_scale"] = float(picture.quantization.scale[0])
        if not is_reversed:
            fields["channel_order"] = "rgb"
    return fields


def input_of(model: Model) -> Tensor:
    """The tensor of the picture, [1, h, w, 3]. Raises UserError when the file takes anything else."""
    tensors = [model.tensors[number] for number in model.inputs if number >= 0]
    if len(tensors) != 1 or len(tensors[0].shape) != 4 or tensors[0].shape[0] != 1 or tensors[0].shape[3] != 3:
        shapes = some([tensor.shape for tensor in tensors])
        raise UserError(f"takes {shapes or 'nothing'}, and a network here takes one picture, [1, h, w, 3]")
    return tensors[0]


def stride_of(model: Model) -> int:
    """The greatest product of strides on a way from the picture to a convolution."""
    reached: dict[int, int] = {}
    for op in model.ops:
        before = max((reached.get(number, 1) for number in op.inputs), default=1)
        stride = op.options.get("stride", 1)
        for number in op.outputs:
            reached[number] = before * (stride if stride in (1, 2) else 1)
    return max(reached.values(), default=1)
