"""Read TF.js models: weights by name from a manifest and its shards, and the graph of a graph model.

A manifest is a list of groups. A group's weights follow each other in its shards; a weight may cross from one shard to
the next.
"""

import contextlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError, plain_reason
from common.files import read_text
from converters.formats import refuse_other_formats

if TYPE_CHECKING:
    from common.tf1 import tf

GRAPH_JSON, GRAPH_PB, MANIFEST = "model.json", "tensorflowjs_model.pb", "weights_manifest.json"
_DTYPES = {
    "float32": np.float32, "float16": np.float16, "int32": np.int32, "uint8": np.uint8, "uint16": np.uint16,
    "bool": np.bool_,
}  # fmt: skip


@dataclass(frozen=True)
class GraphModel:
    """A TF.js graph model: the Const nodes of `graph` are empty, and `weights` holds their values by name."""

    graph: "tf.GraphDef"
    weights: dict[str, np.ndarray]


def read_graph_model(path: Path) -> GraphModel:
    """The graph model at `path`: its folder, its `model.json`, or either file of the older pair.

    The older pair is `tensorflowjs_model.pb` (a GraphDef) and `weights_manifest.json`; shards lie beside them.

    Raises:
      UserError: missing, a layers model, or damaged; a Const without weights, weights without a Const, or weights of
        another shape than their Const says.
    """
    path = _find(path)
    try:
        if path.suffix == ".pb":
            graph, manifest = path.read_bytes(), _load(path.with_name(MANIFEST))
        else:
            content = _load(path)
            graph = _field(content, "modelTopology", dict, "the model")
            if not is_graph_model(content):
                raise UserError(
                    f"{path}: is a TF.js layers model, not a graph model; converters.keras_to_tf reads those"
                )
            manifest = _field(content, "weightsManifest", list, "the model")
        return _joined(path, _parse(graph), read_weights(manifest, path.parent))
    except (UserError, OSError):
        raise
    except Exception as error:  # JSON, protobuf and numpy each have their own
        raise UserError(
            f"{path}: cannot be read as a TF.js graph model ({plain_reason(error)}); fetch it again"
        ) from None


def _find(path: Path) -> Path:
    """The file that holds the graph. Raises UserError when there is none."""
    names = (GRAPH_JSON, GRAPH_PB)
    if path.is_dir():
        if not (found := [path / name for name in names if (path / name).is_file()]):
            raise UserError(f"{path}: this folder holds no TF.js model ({' or '.join(names)})")
        path = found[0]
    if not path.is_file():
        raise UserError(f"{path}: no such model")
    refuse_other_formats(path, ".pb", ".h5", ".hdf5")
    if path.suffix not in (".json", ".pb"):
        raise UserError(f"{path}: is no TF.js model (its folder, {', '.join((*names, MANIFEST))})")
    if path.name == MANIFEST:
        path = path.with_name(GRAPH_PB)
    if path.name != GRAPH_PB and path.suffix == ".pb" and not path.with_name(MANIFEST).is_file():
        raise UserError(
            f"{path}: is a frozen graph or a SavedModel's, which converters.frozen_to_tf reads; TF.js models are "
            f"{GRAPH_JSON}, or {GRAPH_PB} with {MANIFEST}"
        )
    for file in (path, path.with_name(MANIFEST)) if path.suffix == ".pb" else ():
        if not file.is_file():
            raise UserError(f"{file}: this part of the model is missing; fetch the whole folder")
    return path


def is_graph_model(content: Any) -> bool:
    """Whether the JSON of a `model.json` is that of a graph model, not of a layers model (Keras)."""
    topology = content.get("modelTopology") if isinstance(content, dict) else None
    return isinstance(topology, dict) and "node" in topology


def is_graph_file(path: Path) -> bool:
    """Whether a file is a graph model's, and not a layers model's or any other; nothing else of it need be there."""
    if path.suffix != ".json" or path.name == MANIFEST:
        return path.suffix in (".json", ".pb")
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return is_graph_model(_load(path))
    return False


def _parse(graph: bytes | dict) -> "tf.GraphDef":
    from google.protobuf import json_format

    from common.tf1 import tf

    if isinstance(graph, bytes):
        return tf.GraphDef.FromString(graph)
    return json_format.ParseDict(graph, tf.GraphDef(), ignore_unknown_fields=True)


def _joined(path: Path, graph: "tf.GraphDef", weights: dict[str, np.ndarray]) -> GraphModel:
    """Join graph and weights if they agree on every Const; otherwise raise UserError."""
    from common.weights.checkpoints import describe_difference

    if not graph.node:
        raise ValueError("its graph has no nodes")
    wanted = {
        node.name: tuple(dim.size for dim in node.attr["value"].tensor.tensor_shape.dim)
        for node in graph.node
        if node.op == "Const"
    }
    if difference := describe_difference(wanted, {name: value.shape for name, value in weights.items()}):
        raise UserError(f"{path}: its weights are not its graph's: {difference}")
    return GraphModel(graph, weights)


def read_weights(manifest: Any, folder: Path) -> dict[str, np.ndarray]:
    """Name -> array of every weight of a manifest; quantised ones as what they stand for (float32 or int32).

    Args:
      manifest: the JSON of `weights_manifest.json`, or `weightsManifest` of a `model.json`.
      folder: where the shards lie.

    Raises:
      ValueError: the manifest is malformed, or it and the shards disagree in size.
      UserError: a shard is missing.
    """
    weights: dict[str, np.ndarray] = {}
    for group in _typed(manifest, list, "the manifest"):
        shards = [_typed(name, str, "a shard's name") for name in _field(group, "paths", list, "a group of weights")]
        data = b"".join(_shard(folder / Path(name).name) for name in shards)
        offset = 0
        for weight in _field(group, "weights", list, "a group of weights"):
            name = _field(weight, "name", str, "a weight")
            if name in weights:
                raise ValueError(f"there are two weights {name}")
            weights[name], offset = _weight(name, weight, data, offset)
        if offset != len(data):
            raise ValueError(f"the shards hold {len(data)} bytes, their weights {offset}")
    return weights


def _weight(name: str, weight: dict, data: bytes, offset: int) -> tuple[np.ndarray, int]:
    """The array of one weight that starts at `offset`, and where the next one starts."""
    shape = [_typed(side, int, f"{name}: a side of its shape") for side in _field(weight, "shape", list, name)]
    quantization = _typed(weight.get("quantization", {}), dict, f"{name}: its quantization")
    dtype, stored = _dtype(name, weight), _dtype(name, quantization or weight)
    if min(shape, default=1) < 0:
        raise ValueError(f"{name} has the shape {shape}")
    end = offset + math.prod(shape) * stored.itemsize
    if end > len(data):
        raise ValueError(f"the shards end before {name}")
    array = np.frombuffer(data[offset:end], stored).reshape(shape)
    return (_dequantised(name, array, dtype, quantization) if quantization else array), end


def _dtype(name: str, holder: dict) -> np.dtype:
    dtype = _field(holder, "dtype", str, name)
    if dtype not in _DTYPES:
        raise ValueError(f"{name} is stored as {dtype}, and only {', '.join(_DTYPES)} are read")
    return np.dtype(_DTYPES[dtype])


def _dequantised(name: str, array: np.ndarray, dtype: np.dtype, quantization: dict) -> np.ndarray:
    """Dequantise as TF.js does: stored * scale + min in double precision, rounded once; float16 is only widened."""
    if array.dtype == np.float16:
        return array.astype(dtype)
    if array.dtype not in (np.uint8, np.uint16) or dtype not in (np.float32, np.int32):
        raise ValueError(f"{name}: {array.dtype} is no quantisation of {dtype}")
    scale, low = (_field(quantization, key, (int, float), f"{name}: its quantization") for key in ("scale", "min"))
    if not math.isfinite(scale) or not math.isfinite(low):
        raise ValueError(f"{name}: its scale {scale} and min {low} are not finite")
    values = array * float(scale) + float(low)
    return (np.floor(values + 0.5) if dtype == np.int32 else values).astype(dtype)


def _shard(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path}: this shard of the model is missing; fetch the whole folder")
    return path.read_bytes()


def _load(path: Path) -> Any:
    return json.loads(read_text(path, "cannot be read as a TF.js graph model"))


def _field(holder: Any, key: str, kind: type | tuple[type, ...], what: str) -> Any:
    if key not in _typed(holder, dict, what):
        raise ValueError(f"{what} has no {key}")
    return _typed(holder[key], kind, f"{what}: {key}")


def _typed(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        names = {list: "list", dict: "mapping", str: "text", int: "whole number"}
        raise ValueError(f"{what} is no {names.get(kind, 'number')}")
    return value
