"""The ONNX graph under construction, and the view of it that one Caffe layer gets."""

import math
from typing import Any, NoReturn

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnx.onnx_cpp2py_export.shape_inference import InferenceError

from common.errors import UserError
from converters.caffe_net import Layer, Net

OPSET = helper.make_opsetid("", 17)
IR_VERSION = 8  # what opset 17 came with
MAX_COUNT = 2**31 - 1  # values in one blob; Caffe counts them with an int
MAX_GEOMETRY = 2**20  # a kernel, stride, pad or dilation; images are smaller


class Graph:
    """Nodes and initialisers, with the type of every value inferred as its node is added.

    `reserved` names (the Caffe tops) are never given to anything else.
    """

    def __init__(self, reserved: set[str]):
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self._taken = dict.fromkeys(reserved, 1)
        self._node_names: dict[str, int] = {}
        self._of_blob: dict[tuple, str] = {}

    def add_input(self, name: str, shape: tuple[int, ...]) -> None:
        self.types[name] = helper.make_tensor_type_proto(TensorProto.FLOAT, shape)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(dim.dim_value for dim in self.types[name].tensor_type.shape.dim)

    def unique(self, name: str) -> str:
        """The name for a value, with `_2`, `_3`, ... behind it if it is taken."""
        return _unique(name, self._taken)

    def add_initializer(self, name: str, array: np.ndarray) -> str:
        """Store the array under this name, or one like it if that is taken."""
        name = self.unique(name)
        self.initializers[name] = numpy_helper.from_array(array, name)
        self.types[name] = helper.make_tensor_type_proto(self.initializers[name].data_type, array.shape)
        return name

    def add_blob(self, name: str, blob: np.ndarray, shape: tuple[int, ...]) -> str:
        """Store a layer's blob in this shape; one that several layers share only once."""
        key = (id(blob), shape)
        if key not in self._of_blob:
            self._of_blob[key] = self.add_initializer(name, blob.reshape(shape))
        return self._of_blob[key]

    def add_node(self, op: str, inputs: list[str], name: str, outputs: int, attributes: dict[str, Any]) -> list[str]:
        """Raises InferenceError when ONNX finds that the inputs do not fit together."""
        name = _unique(name, self._node_names)
        values = [self.unique(name if i == 0 else f"{name}/{i}") for i in range(outputs)]
        node = helper.make_node(op, inputs, values, name=name, **attributes)
        small = {i: self.initializers[i] for i in inputs if i in self.initializers and len(self.shape(i)) == 1}
        types = shape_inference.infer_node_outputs(
            onnx.defs.get_schema(op, OPSET.version, ""),
            node,
            {i: self.types[i] for i in inputs if i},
            {i: tensor for i, tensor in small.items() if tensor.data_type == TensorProto.INT64},
            opset_imports=[OPSET],
            ir_version=IR_VERSION,
        )
        for value in values:
            shape = types[value].tensor_type.shape.dim if value in types else []
            if value not in types or any(dim.dim_value < 1 for dim in shape):
                raise InferenceError(f"{op} leaves nothing of its input")
            if math.prod(dim.dim_value for dim in shape) > MAX_COUNT:
                raise InferenceError(f"{op} makes more than {MAX_COUNT} values")
        self.types.update(types)
        self.nodes.append(node)
        return values

    def rename(self, since: int, value: str, name: str) -> None:
        """Give a value made by a node from position `since` on another name."""
        self.types[name] = self.types.pop(value)
        for node in self.nodes[since:]:
            for field in (node.input, node.output):
                field[:] = [name if given == value else given for given in field]


def _unique(name: str, taken: dict[str, int]) -> str:
    given = name
    while name in taken:  # counting on from where this name was last taken
        taken[given] += 1
        name = f"{given}_{taken[given]}"
    taken[name] = 1
    return name


class Scope:
    """One layer at work: its parameters, its bottoms' values and shapes, and nodes added under its name."""

    def __init__(self, graph: Graph, net: Net, layer: Layer, bottoms: list[str]):
        self.graph, self.net, self.layer, self.bottoms = graph, net, layer, bottoms
        self.used_blobs: set[int] = set()

    def fail(self, reason: str) -> NoReturn:
        layer = self.layer
        raise UserError(f"{self.net.path}:{layer.line}: layer {layer.title}: {reason}")

    def param(self, name: str) -> Message:
        """The layer's parameter message; all defaults when the prototxt has none."""
        if name not in self.layer.proto.DESCRIPTOR.fields_by_name:
            self.fail(f"has no {name} in the V1 format")
        return getattr(self.layer.proto, name)

    def shape(self, bottom: int = 0) -> tuple[int, ...]:
        return self.graph.shape(self.bottoms[bottom])

    def image_shape(self, bottom: int = 0) -> tuple[int, int, int, int]:
        """The bottom's [n, c, h, w]."""
        shape = self.shape(bottom)
        if len(shape) != 4:
            self.fail(f"needs a bottom of 4 axes, not of shape {shape}")
        return shape

    def axis(self, axis: int, extent: int | None = None) -> int:
        """The axis counted from the front; `extent` says how many there are, if not bottom 0's."""
        extent = len(self.shape()) if extent is None else extent
        if not -extent <= axis < extent:
            self.fail(f"axis {axis} is outside a blob of {extent} axes")
        return axis % extent

    def values(self, index: int, shape: tuple[int, ...]) -> np.ndarray:
        """Blob `index` in this shape. Axes of size 1 may be missing or added, as in files of the old 4-D kind."""
        blobs, source = self.layer.blobs, self.net.weights_path or self.net.path
        if not blobs:
            self.fail(f"has no weights in {source}")
        if index >= len(blobs):
            self.fail(f"has {len(blobs)} blobs in {source}, needs {index + 1}")
        found = blobs[index].shape
        if [size for size in found if size != 1] != [size for size in shape if size != 1]:
            self.fail(f"blob {index} in {source} has shape {found}, the prototxt asks for {shape}")
        self.used_blobs.add(index)
        return blobs[index].reshape(shape)

    def blob(self, index: int, shape: tuple[int, ...], stored: tuple[int, ...] | None = None) -> str:
        """Blob `index`, checked against `shape`, as the initialiser `<layer>/<index>` of shape `stored`."""
        self.values(index, shape)
        shape = shape if stored is None else stored
        return self.graph.add_blob(f"{self.layer.name}/{index}", self.layer.blobs[index], shape)

    def constant(self, part: str, values: Any, dtype: type = np.float32) -> str:
        """A constant of the conversion, as the initialiser `<layer>/<part>`."""
        return self.graph.add_initializer(f"{self.layer.name}/{part}", np.array(values, dtype))

    def node(self, op: str, *inputs: str, part: str = "", outputs: int = 0, **attributes: Any) -> str | list[str]:
        """Add a node named as the layer, or `<layer>/<part>`; its output's name, or a list of `outputs` names."""
        name = f"{self.layer.name}/{part}" if part else self.layer.name
        try:
            values = self.graph.add_node(op, list(inputs), name, max(outputs, 1), attributes)
        except InferenceError as error:
            self.fail(" ".join(str(error).removeprefix("[ShapeInferenceError]").split()))
        return values if outputs else values[0]
