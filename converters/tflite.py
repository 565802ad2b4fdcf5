"""Read TensorFlow Lite's files, without running them: tensors, their values, and the ops between them.

The numbers of fields, types and ops are those of TensorFlow Lite's schema.fbs (version 3).
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError, brief, plain_reason
from converters.flatbuffer import Table, root
from converters.formats import refuse_other_formats

MARK = b"TFL3"
TYPES: Mapping[int, type] = {
    0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 6: np.bool_, 7: np.int16, 9: np.int8,
}  # fmt: skip
CUSTOM = 32
OPS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE",
    17: "MAX_POOL_2D", 23: "RESIZE_BILINEAR", CUSTOM: "CUSTOM", 37: "BATCH_TO_SPACE_ND", 38: "SPACE_TO_BATCH_ND",
    40: "MEAN", 56: "ARG_MAX", 105: "REVERSE_V2", 114: "QUANTIZE",
}  # fmt: skip
# The fields of an op's options: its stride, its rate, what is computed after it, how many outputs a channel has.
CONV_FIELDS = {"stride": 1, "activation": 3, "rate": 4}
DEPTHWISE_FIELDS = {"stride": 1, "multiplier": 3, "activation": 4, "rate": 5}
OPTIONS: Mapping[str, Mapping[str, int]] = {
    "CONV_2D": CONV_FIELDS,
    "DEPTHWISE_CONV_2D": DEPTHWISE_FIELDS,
    "AVERAGE_POOL_2D": {"stride": 1},
    "MAX_POOL_2D": {"stride": 1},
    "RESIZE_BILINEAR": {"aligned": 2},
}
FORMS = {"activation": "<b", "aligned": "<b"}  # of options that are not four bytes
DEFAULTS = {"rate": 1}
MOST_SIDES, MOST_ENDS, MOST_SCALES = 8, 1000, 1 << 16  # of a tensor, of an op's inputs, of a tensor's channels
MOST_USES = 4  # of the file's bytes, for a constant may be that of several tensors
MOST_CONSTANTS = 1 << 30  # bytes of what the file holds, as tensors
MOST_BYTES = 2 << 30  # of all tensors together: what running the file with all of them kept takes


@dataclass(frozen=True)
class Quantization:
    """The real numbers that the whole numbers of a tensor stand for: scale x (number - zero).

    Attributes:
      scale, zero: one of each, or one for each slice along `axis`.
      axis: of the channels.
    """

    scale: np.ndarray
    zero: np.ndarray
    axis: int


@dataclass(frozen=True)
class Tensor:
    """A tensor; `values` are those that the file holds of it, or None for what is computed."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    values: np.ndarray | None
    quantization: Quantization | None

    @property
    def numbers(self) -> np.ndarray:
        """The real numbers, float32, that the values of a constant stand for."""
        return self.real(self.values)

    def real(self, values: np.ndarray) -> np.ndarray:
        """The real numbers, float32, that values of this tensor stand for."""
        if self.quantization is None or values.dtype.kind == "f":
            return values.astype(np.float32)
        scale, zero = self.quantization.scale, self.quantization.zero
        if scale.size > 1:
            shape = [-1 if side == self.quantization.axis else 1 for side in range(values.ndim)]
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        with np.errstate(over="ignore", invalid="ignore"):  # a damaged file's scales; what is not finite is refused
            return (values.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)


@dataclass(frozen=True)
class Op:
    """An op: its name in the schema, the numbers of the tensors it reads (-1 for none) and writes, its options."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int]


@dataclass(frozen=True)
class Model:
    """The network of a file: all tensors by number, the ops in their order, and which tensors go in and come out."""

    tensors: list[Tensor]
    ops: list[Op]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str

    def constant(self, number: int) -> Tensor | None:
        """A tensor whose values the file holds, also as float16 that an op widens; None for another."""
        if not 0 <= number < len(self.tensors):
            return None
        if self.tensors[number].values is not None:
            return self.tensors[number]
        source = self._widened.get(number, number)
        return self.tensors[source] if self.tensors[source].values is not None else None

    @property
    def bytes_to_run(self) -> int:
        """The bytes of all tensors, which running the file takes when all of them are kept."""
        return sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in self.tensors)

    @functools.cached_property
    def _widened(self) -> dict[int, int]:
        """Tensor -> the one that it is made of by an op which only widens it."""
        ops = (op for op in self.ops if op.name == "DEQUANTIZE" and len(op.inputs) == len(op.outputs) == 1)
        return {op.outputs[0]: op.inputs[0] for op in ops if op.inputs[0] >= 0}


def read_tflite(path: Path) -> Model:
    """The network of a `.tflite` file. Raises UserError when it is missing, damaged, too large or another format."""
    if not path.is_file():
        raise UserError(f"{path}: no such TensorFlow Lite file")
    refuse_other_formats(path, ".tflite")
    try:
        return parse(path.read_bytes())
    except OSError:
        raise
    except Exception as error:  # struct and numpy have their own
        raise UserError(
            f"{path}: cannot be read as a TensorFlow Lite file ({plain_reason(error)}); fetch or convert it again"
        ) from None


def parse(data: bytes) -> Model:
    """The network in the bytes of a file. Raises ValueError when it is none."""
    model = root(data, MARK)
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise ValueError(f"it has {len(graphs)} graphs, and files with one are read")
    codes = [_op_name(code) for code in model.tables(1)]
    buffers, graph = model.tables(4), graphs[0]
    tensors = [_tensor(tensor, buffers) for tensor in graph.tables(0)]
    stored = sum(tensor.values.nbytes for tensor in tensors if tensor.values is not None)
    if stored > MOST_CONSTANTS:
        raise ValueError(f"its arrays have more than {MOST_CONSTANTS:,} bytes")
    if stored > MOST_USES * len(data):
        raise ValueError("its tensors share what it holds")
    ops = [_op(op, codes) for op in graph.tables(3)]
    if not ops:
        raise ValueError("it has no ops")
    ends = [tuple(graph.array(field, np.int32, MOST_ENDS).tolist()) for field in (1, 2)]
    for numbers in (*ends, *(numbers for op in ops for numbers in (op.inputs, op.outputs))):
        if not all(-1 <= number < len(tensors) for number in numbers):
            raise ValueError("one of its ops reads or writes a tensor that is not there")
    return Model(tensors, ops, *ends, model.text(3))


def _op_name(code: Table) -> str:
    number = max(code.number(0, "<b"), code.number(3, "<i"))
    return f"CUSTOM {brief(code.text(1))}" if number == CUSTOM else OPS.get(number, f"op {number}")


def _op(op: Table, codes: list[str]) -> Op:
    code = op.number(0, "<I")
    if code >= len(codes):
        raise ValueError("one of its ops is of no kind")
    name, options = codes[code], op.table(4)
    fields = OPTIONS.get(name, {}) if options else {}
    read = {field: options.number(n, FORMS.get(field, "<i"), DEFAULTS.get(field, 0)) for field, n in fields.items()}
    inputs, outputs = (tuple(op.array(field, np.int32, MOST_ENDS).tolist()) for field in (1, 2))
    return Op(name, inputs, outputs, read)


def _tensor(tensor: Table, buffers: list[Table]) -> Tensor:
    name, number = brief(tensor.text(3), 500), tensor.number(2, "<I")
    shape = tuple(tensor.array(0, np.int32, MOST_SIDES).tolist())
    dtype = np.dtype(TYPES.get(tensor.number(1, "<b"), np.void))
    if min(shape, default=1) < 0:
        raise ValueError(f"its tensor {brief(name)} has the shape {shape}")
    if number >= len(buffers):
        raise ValueError(f"its tensor {brief(name)} has values that are not there")
    data = buffers[number].array(0, np.uint8)
    values = None
    if data.size and dtype.kind != "V":
        if tensor.table(6):
            raise ValueError(f"its tensor {brief(name)} is stored without its zeros, which is not read")
        if data.size != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"its tensor {brief(name)} of the shape {shape} has {data.size} bytes")
        values = data.view(dtype).reshape(shape)
    return Tensor(name, shape, dtype, values, _quantization(tensor.table(4), shape, name))


def _quantization(table: Table | None, shape: tuple[int, ...], name: str) -> Quantization | None:
    if table is None or not (scale := table.array(2, np.float32, MOST_SCALES)).size:
        return None
    zero, axis = table.array(3, np.int64, MOST_SCALES), table.number(6, "<i")
    zero = zero if zero.size else np.zeros(scale.size, np.int64)
    fits = scale.size == 1 or (0 <= axis < len(shape) and shape[axis] == scale.size)
    if not fits or zero.size not in (1, scale.size) or not np.isfinite(scale).all():
        raise ValueError(f"the scales of its tensor {brief(name)} do not fit")
    return Quantization(scale, np.broadcast_to(zero, scale.shape), axis)
