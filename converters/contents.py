"""The contents of a weight file of any format: its arrays, and what its format tells beside them."""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.engines.interface import OUTPUTS
from common.engines.network_file import format_of
from common.errors import UserError, brief
from common.reproduction import Shapes
from common.words import NAMED, some
from converters.exported import exported_recipe
from converters.origins import Facts

if TYPE_CHECKING:
    from converters.tfjs import GraphModel

Arrays = Iterator[tuple[str, np.ndarray]]
NOT_OURS = "RawSemanticProbabilities"  # research/deeplab's exporter has this too
CAFFE_TO_ONNX = "python -m converters.caffe_to_onnx --prototxt DEPLOY.prototxt --caffemodel {path} --out X.onnx"
CONVERT = "python -m converters.{command} {{path}} --to {{name}} --out CKPT"


@dataclass(frozen=True)
class Contents:
    """An opened file.

    Attributes:
      arrays: name and value of each array, in the file's order or by name.
      facts: what its format tells beside them.
      shapes: of arrays by the names by which programs are known, where these are not the file's.
    """

    arrays: Arrays
    facts: Facts = field(default_factory=Facts)
    shapes: Shapes = field(default_factory=dict)


def open_contents(path: Path) -> Contents:
    """Open a file of any known format, or a SavedModel's folder. Raises UserError for anything else."""
    return next(opened for is_it, opened in FORMATS if is_it(path))(path)


def _frozen(path: Path) -> Contents:
    from converters.frozen import is_variable, read_frozen
    from converters.frozen_to_tf import shapes_in_graph

    model = read_frozen(path)
    notes = list(_graph_notes(model))
    if any(is_variable(node) for node in model.graph.node):
        notes.append("its weights are not in it, but lie in its variables folder")
    nodes = {node.name for node in model.graph.node}
    facts = Facts(
        recipe=exported_recipe(path),
        exported=nodes >= set(OUTPUTS) and NOT_OURS not in nodes,
        notes=notes,
        runs=True,
        converter=CONVERT.format(command="frozen_to_tf"),
    )
    return Contents(iter(model.weights.items()), facts, shapes_in_graph(model))


def _graph_notes(model: "GraphModel") -> Iterator[str]:
    from common.tf1 import tf
    from converters.graph_facts import fields_from_graph, output_stride

    nodes, read = model.graph.node, {name.partition(":")[0] for node in model.graph.node for name in node.input}
    for node in nodes:
        if node.op == "Placeholder":
            sides = [str(side.size) if side.size >= 0 else "?" for side in node.attr["shape"].shape.dim]
            dtype = tf.as_dtype(node.attr["dtype"].type).name if node.attr["dtype"].type else "?"
            yield f"input: {brief(node.name)}, {dtype} {'x'.join(sides)}"
    ends = [node.name for node in nodes if node.name not in read and node.op not in ("Const", "NoOp", "Assert")]
    yield f"outputs: {some(ends, NAMED)}"
    if (stride := output_stride(model)) > 1:
        yield f"output stride: {stride}"
    fields = fields_from_graph(model)
    if isinstance(side := fields.get("eval_size"), int) and not fields.get("resize_range"):
        yield (
            f"pictures: up to {side}x{side}, which it pads; for larger ones add --set eval_size={side} "
            f"resize_range={side},{side}"
        )
    if any(node.op.startswith("FakeQuant") for node in nodes):
        yield "quantisation: trained for 8 bits, with the ranges in it"


def _tflite(path: Path) -> Contents:
    from converters.tflite import read_tflite
    from converters.tflite_layers import convolutions, stride_of, variable_shapes

    model = read_tflite(path)
    arrays = ((tensor.name, tensor.values) for tensor in model.tensors if tensor.values is not None)
    try:
        layers = convolutions(model)
    except UserError:
        layers = []  # the names do not tell them: the file runs, and no checkpoint is made of it
    ends = {model.tensors[number].name for number in model.outputs if number >= 0}
    notes = [
        *(f"{title}: {brief(t.name)}, {t.dtype} {'x'.join(map(str, t.shape))}"
          for title, numbers in (("input", model.inputs), ("output", model.outputs))
          for t in (model.tensors[number] for number in numbers if number >= 0)),
        f"output stride: {stride_of(model)}",
    ]  # fmt: skip
    if how := _quantisation(model):
        notes.append(f"quantisation: {how}")
    custom = sorted({op.name for op in model.ops if op.name.startswith("CUSTOM")})
    if custom:
        notes.append(f"ops that TensorFlow Lite does not have: {some(custom)}")
    facts = Facts(
        recipe=exported_recipe(path),
        exported=ends >= set(OUTPUTS),
        notes=notes,
        runs=True,
        converter=CONVERT.format(command="tflite_to_tf") if layers else "",
    )
    return Contents(arrays, facts, variable_shapes(layers))


def _quantisation(model) -> str:  # noqa: ANN001 (its module is loaded when it is needed)
    """How the kernels are stored, such as `uint8 by tensor`; empty when they are all float32."""
    kinds: Counter[str] = Counter()
    for op in model.ops:
        if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D") and len(op.inputs) > 1:
            kernel = model.constant(op.inputs[1])
            if kernel is not None:
                by = " by channel" if kernel.quantization and kernel.quantization.scale.size > 1 else " by tensor"
                kinds[f"{kernel.dtype}{by if kernel.quantization else ''}"] += 1
    return "" if set(kinds) <= {"float32"} else some(kind for kind, _ in kinds.most_common())


def _onnx(path: Path) -> Contents:
    from converters.onnx_to_tf import array_of, load_onnx

    model = load_onnx(path)
    graph, metadata = model.graph, {entry.key: entry.value for entry in model.metadata_props}
    weights = {tensor.name for tensor in graph.initializer}
    facts = Facts(
        recipe=_recipe(metadata.get("recipe", "")),
        notes=[
            f"input: {some(value.name for value in graph.input if value.name not in weights)}",
            f"output: {some(value.name for value in graph.output)}",
            *([f"written by: {brief(model.producer_name)}"] if model.producer_name else []),
        ],
        runs=True,
    )
    shapes = {tensor.name.removesuffix(":0"): tuple(tensor.dims) for tensor in graph.initializer}
    shapes |= {f"{node.name.removesuffix('/Conv2D')}/weights": () for node in graph.node if node.op_type == "Conv"}
    return Contents(((tensor.name, array_of(tensor, path)) for tensor in graph.initializer), facts, shapes)


def _recipe(text: str) -> dict | None:
    """The recipe that our exports hold as JSON; None for another text."""
    with contextlib.suppress(ValueError, RecursionError):
        recipe = json.loads(text)
        return recipe if isinstance(recipe, dict) else None
    return None


def _tfjs_graph(path: Path) -> Contents:
    from converters.frozen_to_tf import shapes_in_graph
    from converters.tfjs import read_graph_model

    model = read_graph_model(path)
    facts = Facts(notes=list(_graph_notes(model)), runs=False, converter=CONVERT.format(command="tfjs_to_tf"))
    return Contents(iter(model.weights.items()), facts, shapes_in_graph(model))


def _keras(path: Path) -> Contents:
    from converters.keras_weights import read_keras_weights

    layers = read_keras_weights(path)
    return Contents((f"{layer}/{name}", value) for layer, arrays in layers.items() for name, value in arrays.items())


def _caffe(path: Path) -> Contents:
    from converters.caffe_blobs import read_blobs

    arrays = ((f"{layer}/{i}", blob) for layer, blobs in read_blobs(path).items() for i, blob in enumerate(blobs))
    return Contents(arrays, Facts(program="Caffe", command=CAFFE_TO_ONNX))


def _torch(path: Path) -> Contents:
    from converters.torch_file import read_torch

    return Contents(iter(read_torch(path).items()))


def _checkpoint(path: Path) -> Contents:
    from common.weights.weights import Weights

    weights = Weights(path)
    notes = [f"step: {int(weights.value('global_step'))}"] if weights.shapes.get("global_step") == () else []
    arrays = ((name, weights.value(name)) for name in sorted(weights.shapes))
    return Contents(arrays, Facts(recipe=weights.recipe(), notes=notes))


def _is_frozen(path: Path) -> bool:
    from converters.tfjs import GRAPH_PB, MANIFEST

    if format_of(path) != "frozen":
        return format_of(path) == "savedmodel"
    return path.name != GRAPH_PB and not path.with_name(MANIFEST).is_file()


def _is_tfjs_graph(path: Path) -> bool:
    from converters.tfjs import GRAPH_JSON, GRAPH_PB, is_graph_file

    if path.is_dir():
        return (path / GRAPH_PB).is_file() or is_graph_file(path / GRAPH_JSON)
    return is_graph_file(path)


def _is_caffe(path: Path) -> bool:
    return path.name.lower().endswith((".caffemodel", ".caffemodel.h5"))


def _is_keras(path: Path) -> bool:
    return path.suffix.lower() in (".h5", ".hdf5", ".json", ".keras")


def _is_torch(path: Path) -> bool:
    from converters.torch_file import is_torch_file

    return is_torch_file(path)


# Whether a file is of a format, and what opens it; the first one counts.
FORMATS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Contents]], ...] = (
    (_is_frozen, _frozen),
    (_is_tfjs_graph, _tfjs_graph),
    (_is_caffe, _caffe),
    (_is_keras, _keras),
    (_is_torch, _torch),
    (lambda path: format_of(path) == "onnx", _onnx),
    (lambda path: format_of(path) == "tflite", _tflite),
    (lambda path: True, _checkpoint),
)
