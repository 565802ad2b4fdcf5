"""ONNX files: what they say of their inputs and outputs, and the part of a file that some outputs need."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import Message

from common.engines.interface import Engine, EngineError, Port, engine_errors
from common.engines.limits import memory_for, memory_limit
from common.engines.programs import Program
from common.errors import brief
from common.words import some

LARGEST_ARRAYS = 1 << 29  # bytes of all together: a shape may claim more values than the file has
LARGEST_FILE = 1 << 29  # bytes of one beside it
RUNTIME_DOMAIN = "com.microsoft"  # ONNX Runtime's own ops
RUNTIME_FILES = ("EPContext",)  # those of them that read files


class OnnxEngine(Engine):
    """An ONNX file in ONNX Runtime or OpenVINO.

    The part of it that some outputs need is loaded when they are first asked for.
    """

    def __init__(self, path: Path, program: Program, precision: str = "fp32"):
        """Read the file. Raises EngineError when it is none."""
        self.title, self._program, self._precision = program.title, program, precision
        self._model, self._runs = load_model(path), {}
        self._weights = self._model.ByteSize()
        self.metadata = {entry.key: entry.value for entry in self._model.metadata_props}
        given = {tensor.name for tensor in self._model.graph.initializer}  # old files list weights as inputs too
        self.inputs = [port for port in _ports(self._model.graph.input) if port.name not in given]
        self.outputs = _ports(self._model.graph.output)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The values of the outputs."""
        key, (values,) = tuple(outputs), inputs.values()
        pixels = values.size // (3 if 3 in values.shape else 1)
        with engine_errors(), memory_limit(memory_for(self._weights, pixels)):
            if key not in self._runs:
                self._runs[key] = self._program.load(part_for(self._model, outputs), self._precision)
            return self._runs[key](values)

    def close(self) -> None:
        self._runs.clear()


def load_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, with arrays that it keeps in files beside it.

    Raises EngineError when it is none, names files outside its folder, has ops of its own, or claims huge arrays.
    """
    with engine_errors():
        model = onnx.load_model(str(path), load_external_data=False)
        if not model.graph.node or not model.graph.output:
            raise EngineError("it holds no network")
        _refuse_custom_ops(model)
        _refuse_large_arrays(model)
        _load_files_beside(model, path.parent)
    return model


def _graphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    """The bodies of these nodes' branches and loops, and of the nodes in them."""
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield graph
            yield from _graphs(graph.node)


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of the network, of its bodies, and of its functions."""
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        yield from nodes
        for graph in _graphs(nodes):
            yield from graph.node


def _refuse_custom_ops(model: onnx.ModelProto) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    used = {("" if node.domain == "ai.onnx" else node.domain, node.op_type)
            for node in _all_nodes(model)}  # fmt: skip
    strange = [
        f"{op} of {domain or 'ai.onnx'}"
        for domain, op in sorted(used - own)
        if not onnx.defs.has(op, domain) and (domain != RUNTIME_DOMAIN or op in RUNTIME_FILES)
    ]
    if strange:
        raise EngineError(f"it holds ops that are not ONNX's ({some(strange)}), and is not run")


def _inner_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The arrays that are not the network's own initialisers: those of nodes and of bodies."""
    for attribute in (attribute for node in _all_nodes(model) for attribute in node.attribute):
        sparse = [
            *attribute.sparse_tensors,
            *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
        ]
        yield from (*attribute.tensors, *([attribute.t] if attribute.HasField("t") else []))
        yield from (part for tensor in sparse for part in (tensor.values, tensor.indices))
    for graph in _graphs(_all_nodes(model)):
        yield from graph.initializer


def _refuse_large_arrays(model: onnx.ModelProto) -> None:
    """Raise EngineError for arrays that claim more than a network has, and for inner ones in other files."""
    sparse = model.graph.sparse_initializer
    inner = [*_inner_tensors(model), *(part for tensor in sparse for part in (tensor.values, tensor.indices))]
    if outside := [tensor.name for tensor in inner if onnx.external_data_helper.uses_external_data(tensor)]:
        raise EngineError(f"it keeps values of its nodes in other files ({some(outside)}), and is not run")
    room = LARGEST_ARRAYS
    for tensor in (*model.graph.initializer, *inner, *sparse):
        if min(tensor.dims, default=1) < 0:
            raise EngineError(f"its array {brief(_name(tensor))} has the shape {brief(list(tensor.dims))}")
        room -= math.prod(tensor.dims) * _item_size(tensor)
        if room < 0:
            raise EngineError(f"its arrays have more than {LARGEST_ARRAYS:,} bytes")


def _name(tensor: onnx.TensorProto | onnx.SparseTensorProto) -> str:
    return tensor.name if isinstance(tensor, onnx.TensorProto) else tensor.values.name


def _item_size(tensor: onnx.TensorProto | onnx.SparseTensorProto) -> int:
    kind = tensor.data_type if isinstance(tensor, onnx.TensorProto) else tensor.values.data_type
    return onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize or 1


def _load_files_beside(model: onnx.ModelProto, folder: Path) -> None:
    tensors = [tensor for tensor in model.graph.initializer if onnx.external_data_helper.uses_external_data(tensor)]
    for tensor in tensors:
        named = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        file = (folder / named).resolve()
        if not file.is_relative_to(folder.resolve()):
            raise EngineError(f"it names a file outside its folder ({some([named])}), and is not run")
        if not file.is_file():
            raise EngineError(f"it keeps arrays in {brief(named)}, which is not beside it")
        if file.stat().st_size > LARGEST_FILE:
            raise EngineError(f"its {brief(named)} has more than {LARGEST_FILE:,} bytes")
        onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        tensor.data_location = onnx.TensorProto.DEFAULT
        if len(tensor.raw_data) > LARGEST_ARRAYS:
            raise EngineError(f"its arrays have more than {LARGEST_ARRAYS:,} bytes")


def _ports(values: Sequence[onnx.ValueInfoProto]) -> list[Port]:
    """The inputs or outputs of a graph. Those of texts, sequences and maps are left out."""
    found = []
    for value in values:
        kind = value.type.tensor_type
        if kind.elem_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
            continue
        shape = tuple(side.dim_value if side.HasField("dim_value") else None for side in kind.shape.dim)
        found.append(Port(value.name, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type), shape))
    return found


def part_for(model: onnx.ModelProto, outputs: Sequence[str]) -> bytes:
    """The bytes of the model with these outputs alone, and with the nodes that they need.

    ONNX Runtime runs a node whether its result is asked for or not.
    """
    needed, nodes = set(outputs), []
    for node in reversed(model.graph.node):  # they are sorted: what makes a value stands before what takes it
        if needed.intersection(node.output):
            nodes.insert(0, node)
            needed.update(node.input)
            for body in _graphs([node]):  # of an If or a Loop; some of the names are from around it
                needed.update(value.name for value in body.output)
                needed.update(name for inner in body.node for name in inner.input)
    part = _without(model, "graph")
    part.graph.MergeFrom(_without(model.graph, "node", "output", "initializer"))
    part.graph.node.extend(nodes)
    part.graph.output.extend(value for name in outputs for value in model.graph.output if value.name == name)
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    return part.SerializeToString()


def _without(message: Message, *left_out: str) -> Message:
    """A copy of a message without these fields. What they hold is not copied: weights are large."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name in left_out:
            continue
        if isinstance(value, str | bytes | int | float):
            setattr(copy, field.name, value)
        else:
            getattr(copy, field.name).MergeFrom(value)
    return copy
