"""`python -m converters.inspect FILE`: list the arrays in a weight file, say who made it and what runs or converts it.

Read are TensorFlow checkpoints (V2 prefix or V1 file), `.npz`, pickles of arrays, Keras `.h5`, PyTorch files (`.pth`,
`.pt`), TF.js models (`model.json` of either kind), frozen graphs (`.pb`), SavedModels (their folder), `.tflite`,
`.caffemodel`, `.onnx`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from common import program
from common.console import show, stage
from common.errors import brief
from converters.contents import Arrays, open_contents
from converters.origins import describe_origin


def arrays(path: Path) -> Arrays:
    """Name and value of every array, in the file's order or by name. Raises UserError for a file of no known format."""
    return open_contents(path).arrays


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m converters.inspect",
        description="The arrays of a weight file, who made it, and what runs or converts it.",
        example="weights/max_image_segmenter/model.ckpt",
    )
    parser.add_argument("file", type=Path)
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    stage("reading the file")
    contents = open_contents(args.file)
    shapes: dict[str, tuple[int, ...]] = {}
    total = 0
    for name, value in contents.arrays:
        value = np.asarray(value)
        shape = "x".join(map(str, value.shape)) or "scalar"
        with np.errstate(all="ignore"):  # sums may be nan or inf
            amount = f"{value.astype(np.float64).sum():.6g}" if value.dtype.kind in "fiu" else str(value.dtype)
        show(f"{brief(name):60s} {shape:>18s} {amount:>14s}")
        shapes[name], total = value.shape, total + value.size
    show(f"{len(shapes)} arrays, {total:,} values")
    for line in describe_origin(args.file, shapes | dict(contents.shapes), contents.facts):
        show(line)


if __name__ == "__main__":
    sys.exit(main())
