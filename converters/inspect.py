"""`python -m converters.inspect FILE`: list names, shapes and sums of the arrays in a weight file."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common import program
from common.console import show
from common.errors import brief
from converters.origins import describe_origin


def arrays(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Name and value of every array, in the file's order or by name.

    Accepted: TensorFlow checkpoints (V2 prefix or V1 file), `.npz`, pickles of arrays, Keras `.h5`, PyTorch files
    (`.pth`, `.pt`), TF.js models (`model.json` of either kind, `.pb`), `.caffemodel`, `.onnx`. Raises UserError for
    anything else.
    """
    from converters.tfjs import is_graph_file, read_graph_model
    from converters.torch_file import is_torch_file, read_torch

    if is_graph_file(path):
        yield from read_graph_model(path).weights.items()
    elif path.suffix in (".h5", ".hdf5", ".json", ".keras") and not path.name.endswith(".caffemodel.h5"):
        from converters.keras_weights import read_keras_weights

        for layer, variables in read_keras_weights(path).items():
            yield from ((f"{layer}/{name}", value) for name, value in variables.items())
    elif path.name.endswith((".caffemodel", ".caffemodel.h5")):
        from converters.caffe_blobs import read_blobs

        for layer, blobs in read_blobs(path).items():
            yield from ((f"{layer}/{i}", blob) for i, blob in enumerate(blobs))
    elif is_torch_file(path):
        yield from read_torch(path).items()
    elif path.suffix == ".onnx":
        from converters.onnx_to_tf import array_of, load_onnx

        yield from ((tensor.name, array_of(tensor, path)) for tensor in load_onnx(path).graph.initializer)
    else:
        from common.weights.weights import Weights

        weights = Weights(path)
        yield from ((name, weights.value(name)) for name in sorted(weights.shapes))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(description="Names, shapes and sums of a weight file.")
    parser.add_argument("file", type=Path)
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    total = 0
    for name, value in arrays(args.file):
        value = np.asarray(value)
        shape = "x".join(map(str, value.shape)) or "scalar"
        with np.errstate(all="ignore"):  # sums may be nan or inf
            amount = f"{value.astype(np.float64).sum():.6g}" if value.dtype.kind in "fiu" else str(value.dtype)
        show(f"{brief(name):60s} {shape:>18s} {amount:>14s}")
        shapes[name], total = value.shape, total + value.size
    show(f"{len(shapes)} arrays, {total:,} values")
    for line in describe_origin(args.file, shapes):
        show(line)


if __name__ == "__main__":
    sys.exit(main())
