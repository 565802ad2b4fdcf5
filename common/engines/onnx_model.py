"""ONNX files: what they say of their inputs and outputs, and the part of a file that some outputs need."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from common.engines.interface import Engine, EngineError, Port, engine_errors
from common.engines.programs import Program
from common.words import some


class OnnxEngine(Engine):
    """An ONNX file in ONNX Runtime or OpenVINO.

    The part of it that some outputs need is loaded when they are first asked for.
    """

    def __init__(self, path: Path, program: Program, precision: str = "fp32"):
        """Read the file. Raises EngineError when it is none."""
        self.title, self._program, self._precision = program.title, program, precision
        self._model, self._runs = load_model(path), {}
        self.metadata = {entry.key: entry.value for entry in self._model.metadata_props}
        given = {tensor.name for tensor in self._model.graph.initializer}  # old files list weights as inputs too
        self.inputs = [port for port in _ports(self._model.graph.input) if port.name not in given]
        self.outputs = _ports(self._model.graph.output)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The values of the outputs."""
        key, (values,) = tuple(outputs), inputs.values()
        with engine_errors():
            if key not in self._runs:
                self._runs[key] = self._program.load(part_for(self._model, outputs), self._precision)
            return self._runs[key](values)

    def close(self) -> None:
        self._runs.clear()


def load_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, with arrays that it keeps in files beside it.

    Raises EngineError when it is none, or names files outside its folder.
    """
    with engine_errors():
        model = onnx.load_model(str(path), load_external_data=False)
        if not model.graph.node or not model.graph.output:
            raise EngineError("it holds no network")
        _load_files_beside(model, path.parent)
    return model


def _load_files_beside(model: onnx.ModelProto, folder: Path) -> None:
    tensors = [tensor for tensor in model.graph.initializer if onnx.external_data_helper.uses_external_data(tensor)]
    for tensor in tensors:
        named = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        if not (folder / named).resolve().is_relative_to(folder.resolve()):
            raise EngineError(f"it names a file outside its folder ({some([named])}), and is not run")
        onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        tensor.data_location = onnx.TensorProto.DEFAULT


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
            needed.update(node.input, _names_in_bodies(node))
    part = onnx.ModelProto()
    part.CopyFrom(model)
    for kept, these in (
        (part.graph.node, nodes),
        (part.graph.output, [value for name in outputs for value in model.graph.output if value.name == name]),
        (part.graph.initializer, [tensor for tensor in model.graph.initializer if tensor.name in needed]),
    ):
        del kept[:]
        kept.extend(these)
    return part.SerializeToString()


def _names_in_bodies(node: onnx.NodeProto) -> set[str]:
    """The names that the bodies of an If or a Loop take, some of them from around."""
    bodies = [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    inner = [one for body in bodies for one in body.node]
    return {name for one in inner for name in (*one.input, *_names_in_bodies(one))} | {
        value.name for body in bodies for value in body.output
    }
