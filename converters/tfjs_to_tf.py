"""`python -m converters.tfjs_to_tf`: convert a TF.js graph model to its tensors by node name, or to a checkpoint.

TF.js folds batch norm into the convolution before it; `converters.folded` says how it is undone.
"""

import argparse
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import files, program
from common.console import show, stage
from common.errors import UserError
from converters.folded import Layer, to_variables
from converters.tfjs import read_graph_model

if TYPE_CHECKING:
    from common.recipe.recipe import Recipe

MARK = b"converters.tfjs_to_tf"  # the comment of the .npz that it writes


def _mobilenet_v2_layers() -> tuple[Layer, ...]:
    """DeepLab v3 with MobileNetV2 and image pooling, as the official zoo exports it (research/deeplab)."""
    units = [
        f"expanded_conv{f'_{unit}' if unit else ''}/{part}"
        for unit in range(17)
        for part in ("expand", "depthwise", "project")[not unit :]
    ]
    return (
        # slim's default epsilon in the backbone; model.py sets 1e-5 in the head.
        *(Layer(f"MobilenetV2/{scope}", 1e-3) for scope in ("Conv", *units)),
        *(Layer(scope, 1e-5) for scope in ("image_pooling", "aspp0", "concat_projection")),
        Layer("logits/semantic", None),
    )


# Reproduction -> the layers of its network that comes as a TF.js graph.
TARGETS = {"v3plus": _mobilenet_v2_layers()}


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` atomically; unlike np.savez it takes any name, also `file`."""
    if path.exists() and not (zipfile.is_zipfile(path) and zipfile.ZipFile(path).comment == MARK):
        raise UserError(f"{path}: is there, and not written by this converter; name another, or move it away")
    with files.atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.comment = MARK
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, value, allow_pickle=False)


def _recipe(arrays: Mapping[str, np.ndarray]) -> "Recipe":
    """The recipe that belongs to the weights: they bring their network, preprocessing and output stride."""
    from reproductions.v3plus.from_weights import fields_from_weights
    from reproductions.v3plus.variants import VARIANTS

    settled = fields_from_weights({name: value.shape for name, value in arrays.items()})
    half = settled.get("depth_multiplier") == 0.5
    return VARIANTS["mnv2_dm05_pascal_trainval" if half else "mnv2_pascal_trainval"].derive(**settled)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m converters.tfjs_to_tf",
        description="Convert a TF.js graph model to an .npz or a TensorFlow checkpoint.",
        example="weights/max_image_segmenter/tfjs/model.json --out out/mobilenet_v2.ckpt",
    )
    parser.add_argument(
        "model", type=Path, help="its folder, model.json, tensorflowjs_model.pb or weights_manifest.json"
    )
    parser.add_argument(
        "--to", choices=TARGETS, help="network to fill (default: v3plus, or none when OUT ends in .npz)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="checkpoint prefix, or an .npz: by node name, with --to by variable"
    )
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    is_npz = args.out.suffix == ".npz"
    target = args.to or (None if is_npz else next(iter(TARGETS)))
    stage("reading the file")
    model = read_graph_model(args.model)
    if target:
        try:
            arrays = to_variables(model, TARGETS[target])
        except UserError as error:
            raise UserError(f"{args.model}: {error}; --out X.npz without --to writes its tensors") from None
    else:
        arrays = {n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in model.weights.items()}
    if is_npz:
        write_npz(args.out, arrays)
    else:
        from common.weights.checkpoints import write

        write(args.out, arrays, _recipe(arrays))
    noun = "variables" if target else "tensors"
    show(f"{args.out}: {len(arrays)} {noun}, {sum(v.size for v in arrays.values()):,} values")


if __name__ == "__main__":
    sys.exit(main())
