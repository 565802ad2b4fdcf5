"""Layer by layer, how far a TensorFlow Lite file is from the float network that was made of it, on one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.console import stage
from common.engines.interface import Port
from common.errors import UserError
from common.export.pictures import pictures
from common.inference.canvas import preprocess
from common.text_table import aligned
from converters.filling import Filling
from converters.folded import kernel_before, scope_of
from converters.tflite import MOST_BYTES, Model, Tensor
from converters.tflite_layers import Convolution
from converters.tflite_run import run

if TYPE_CHECKING:
    from common.tf1 import tf

MOVES = ("BATCH_TO_SPACE_ND",)  # ops of a file after which a layer's values lie as in the network
ACTIVATIONS = ("Relu", "Relu6")


@dataclass(frozen=True)
class Row:
    """A layer's comparison.

    Attributes:
      layer: its scope.
      shape: of its values.
      error: root mean square of the differences over that of the float network's values.
      largest: the largest difference over the largest of those values.
    """

    layer: str
    shape: tuple[int, ...]
    error: float
    largest: float

    def to_json(self) -> dict[str, Any]:
        """The row in JSON types."""
        return asdict(self)


def picture_for(path: Path | None, size: tuple[int, int]) -> np.ndarray:
    """A picture, or a drawn one without a path, resized to `size`: uint8 [h, w, 3]."""
    if path is None:
        return pictures(None, 1, size)[0]
    from PIL import Image

    from common.data.masks import read_image

    return np.asarray(Image.fromarray(read_image(path)).resize(size[::-1], Image.Resampling.BILINEAR))


def compare(
    path: Path, model: Model, layers: Sequence[Convolution], filling: Filling, picture: np.ndarray
) -> list[Row]:
    """Run the file with all tensors kept, and the network, on a picture of the file's size; compare every layer.

    Raises UserError when the file cannot be run.
    """
    if model.bytes_to_run > MOST_BYTES:
        raise UserError(f"its tensors have more than {MOST_BYTES:,} bytes, too many to run it with all of them kept; "
                        f"--no-report converts it without running it")  # fmt: skip
    stage("running the file")
    wanted = {layer.scope: _values_of(model, layer) for layer in layers}
    kept = run(path, _fed(model, filling, picture), list(wanted.values()))
    theirs = {scope: model.tensors[number].real(kept[number]) for scope, number in wanted.items()}
    ours = _network_values(filling, picture, {layer.scope: _has_activation(model, layer) for layer in layers})
    return [_row(scope, theirs[scope], ours[scope]) for scope in wanted if scope in ours]


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    header = ("layer", "values", "relative error", "largest")
    lines = [(row.layer, "x".join(map(str, row.shape)), f"{row.error:.2e}", f"{row.largest:.2e}") for row in rows]
    return aligned(header, lines)


def _row(scope: str, theirs: np.ndarray, ours: np.ndarray) -> Row:
    if theirs.shape != ours.shape:
        raise UserError(
            f"its layer {scope} gives values of shape {theirs.shape}, the network's {ours.shape}; its stride, its size "
            f"or its scales are not the recipe's: say --set, or --no-report"
        )
    if not np.isfinite(theirs).all():
        raise UserError(f"its layer {scope} gives values that are not finite; the file is damaged: fetch it again")
    difference = np.abs(theirs.astype(np.float64) - ours)
    size = np.sqrt(np.mean(np.square(ours, dtype=np.float64))) or 1.0
    largest = float(np.abs(ours).max()) or 1.0
    return Row(scope, ours.shape, float(np.sqrt(np.mean(difference**2)) / size), float(difference.max() / largest))


def _has_activation(model: Model, layer: Convolution) -> bool:
    """Whether the file cuts a layer's values at 0: by its op, or by a range that begins there, as TOCO leaves it."""
    tensor = model.tensors[layer.op.outputs[0]]
    is_quantised = tensor.quantization is not None and tensor.dtype in (np.uint8, np.int8)
    begins_at_0 = is_quantised and int(tensor.quantization.zero[0]) == np.iinfo(tensor.dtype).min
    return bool(layer.op.options.get("activation")) or begins_at_0


def _values_of(model: Model, layer: Convolution) -> int:
    """The number of the tensor that holds a layer's values."""
    number = layer.op.outputs[0]
    for op in model.ops:
        if op.name in MOVES and op.inputs[:1] == (number,):
            return op.outputs[0]
    return number


def _fed(model: Model, filling: Filling, picture: np.ndarray) -> np.ndarray:
    """The picture as the file takes it: its pixels, or preprocessed, and then perhaps quantised."""
    tensor: Tensor = model.tensors[model.inputs[0]]
    steps = tensor.quantization
    quantised = (float(steps.scale[0]), int(steps.zero[0])) if steps is not None else ()
    port = Port(tensor.name, tensor.dtype, tensor.shape, *quantised)
    values = picture if tensor.dtype == np.uint8 else preprocess(picture.astype(np.float32), filling.recipe)
    return port.of_picture(values)[None]


def _network_values(filling: Filling, picture: np.ndarray, has_activation: Mapping[str, bool]) -> dict[str, np.ndarray]:
    """Scope -> the values of the network's layer: after its batch norm or biases, and its activation where the file
    has one."""
    from common.nets import pictures as in_graph
    from common.nets.network import build
    from common.tf1 import session, tf

    stage("running the network")
    recipe = filling.recipe.at_evaluation().in_floats()
    with tf.Graph().as_default() as graph, session(graph) as running:
        preprocessed = in_graph.preprocess(tf.constant(picture[None]), recipe)
        build(filling.reproduction.load_network(), preprocessed, recipe)
        fed = {v.initializer.inputs[1]: filling.variables[v.op.name] for v in tf.global_variables()}
        running.run([v.initializer for v in tf.global_variables()], fed)
        values: dict[str, tf.Tensor] = {}
        for op in graph.get_operations():
            if op.type in ("FusedBatchNormV3", "BiasAdd"):
                scope = scope_of(kernel_before(op))
                values[scope] = _activated(op) if has_activation.get(scope) else op.outputs[0]
        return running.run({scope: tensor for scope, tensor in values.items() if scope in has_activation})


def _activated(op: "tf.Operation") -> "tf.Tensor":
    """The result of the activation that reads an op, or of the op if there is none."""
    after = [reader for reader in op.outputs[0].consumers() if reader.type in ACTIVATIONS]
    return after[0].outputs[0] if after else op.outputs[0]
