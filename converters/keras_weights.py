"""Reading Keras weights by layer name: `.h5` of Keras 2 and 3, `.npz`, and TF.js layers models."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from common.errors import UserError
from converters import tfjs

Layers = dict[str, dict[str, np.ndarray]]

# The order in which Keras lists a layer's variables, where a file gives only positions (Keras 3).
_POSITIONS = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}
EXPANSION = 20  # arrays may be compressed, but not without limit


def read_keras_weights(path: Path) -> Layers:
    """Layer name -> variable (kernel, bias, gamma, beta, moving_mean, moving_variance) -> array.

    Args:
      path: `.h5` (weights or whole model), `.npz` keyed `layer/variable`, or the `model.json` of a
        TF.js layers model with its shards beside it.

    Raises:
      UserError: missing, of another format, or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weight file")
    readers = {".h5": _read_h5, ".hdf5": _read_h5, ".keras": _refuse_zip, ".npz": _read_npz, ".json": _read_tfjs}
    if path.suffix not in readers:
        raise UserError(f"{path}: is none of {', '.join(readers)}")
    try:
        layers = readers[path.suffix](path)
    except UserError:
        raise
    except Exception as error:  # zip, JSON, HDF5 and numpy each have their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be read as Keras weights ({reason}); fetch or write it again") from None
    if not layers:
        raise UserError(f"{path}: holds no layer with weights")
    return layers


def _refuse_zip(path: Path) -> Layers:
    raise UserError(f"{path}: is a Keras 3 archive; unzip it and give its model.weights.h5")


def _read_h5(path: Path) -> Layers:
    """In a process of its own: libhdf5 crashes on some damaged files."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "layers.npz"
        program = "import sys; from converters.keras_weights import h5_to_npz; h5_to_npz(sys.argv[1], sys.argv[2])"
        done = subprocess.run(
            [sys.executable, "-c", program, str(path.resolve()), str(out)],
            cwd=Path(__file__).resolve().parent.parent, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["the HDF5 library crashed on it"]
            raise ValueError(lines[-1].partition(": ")[2] or lines[-1])
        return _read_npz(out)


def h5_to_npz(path: str, out: str) -> None:
    """Read a Keras `.h5` and write its arrays as `layer/variable`."""
    with h5py.File(path) as file:
        declared = []
        file.visititems(lambda _, item: declared.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
        if sum(declared) > EXPANSION * Path(path).stat().st_size:
            raise ValueError(f"it declares {sum(declared)} bytes of weights")
        root = file.get("model_weights", file)
        layers = _keras2(root) if "layer_names" in root.attrs else _keras3(root.get("layers", root))
        np.savez(
            out, **{f"{layer}/{name}": value for layer, values in layers.items() for name, value in values.items()}
        )


def _keras2(root: h5py.Group) -> Layers:
    """Groups by layer, their arrays named by the attribute `weight_names` (`res2a/kernel:0`)."""
    layers: Layers = {}
    for layer in (_text(n) for n in root.attrs["layer_names"]):
        for name in (_text(n) for n in root[layer].attrs["weight_names"]):
            leaf = name.rpartition("/")[2].partition(":")[0]
            layers.setdefault(layer, {})[leaf] = np.asarray(root[layer][name])
    return layers


def _keras3(root: h5py.Group) -> Layers:
    """Groups by layer, their arrays numbered below `vars`."""
    layers: Layers = {}
    for layer, group in root.items():
        variables = group.get("vars", {})
        names = _POSITIONS.get(len(variables), tuple(variables))
        for position, name in enumerate(names):
            layers.setdefault(layer, {})[name] = np.asarray(variables[str(position)])
    return layers


def _read_npz(path: Path) -> Layers:
    layers: Layers = {}
    with np.load(path, allow_pickle=False) as archive:
        for key in archive.files:
            layer, _, name = key.rpartition("/")
            layers.setdefault(layer, {})[name.partition(":")[0]] = archive[key]
    return layers


def _read_tfjs(path: Path) -> Layers:
    model = json.loads(path.read_text(encoding="utf-8"))
    if tfjs.is_graph_model(model):
        raise UserError(f"{path}: is a TF.js graph model, not a layers model; converters.tfjs_to_tf reads those")
    layers: Layers = {}
    for key, array in tfjs.read_weights(model["weightsManifest"], path.parent).items():
        layer, _, name = key.rpartition("/")
        layers.setdefault(layer, {})[name] = array
    return layers


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
