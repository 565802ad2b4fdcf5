"""`python -m converters.tflite_to_tf`: make a checkpoint from a TensorFlow Lite file, quantised or not.

Whole numbers become what they stand for, scale x (number - zero), by tensor or by channel. For the batch norm that was
folded into a convolution `converters.folded` makes one that computes the same. What quantisation changes is measured:
both networks run on one picture, and each layer is compared.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common import files, program
from common.console import say, show
from common.reproduction import Reproduction, reproductions
from common.words import NAMED
from converters.exported import exported_recipe
from converters.filling import Filling, Source, add_arguments, errors_of, fill_from, write_checkpoint
from converters.folded import Layer, Parts, filled
from converters.tflite import Model, read_tflite
from converters.tflite_layers import Convolution, convolutions, fields_from_file, input_of, variable_shapes
from converters.tflite_ranges import ranges_of

LAYERS = ".layers.json"  # ends the name of the report beside the checkpoint
KEY = "layers"


def convert(
    model: Model,
    reproduction: Reproduction,
    settings: list[str],
    stored: Mapping[str, Any] | None = None,
    with_ranges: bool = False,
) -> Filling:
    """The variables of the reproduction's network, and the recipe that the file tells, or `stored` if it is given.

    `with_ranges` makes it an 8 bit network, which rounds as the file does.

    Raises UserError when the file is not of a network of the reproduction.
    """
    layers = convolutions(model)
    ranges = ranges_of(model, layers) if with_ranges else {}
    shapes = variable_shapes(layers) | {name: value.shape for name, value in ranges.items()}
    source = Source(shapes, fields_from_file(model, layers), stored)
    return fill_from(reproduction, source, settings, lambda wanted: _variables(layers, wanted) | ranges)


def _variables(layers: list[Convolution], wanted: tuple[Layer, ...]) -> dict[str, np.ndarray]:
    parts: Parts = {layer.scope: {} for layer in wanted}
    strange = [layer.scope for layer in layers if layer.scope not in parts]
    parts |= {layer.scope: layer.parts for layer in layers if layer.scope in parts}
    return filled(parts, [f"{scope} is a convolution of no layer" for scope in strange[:NAMED]], wanted)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m converters.tflite_to_tf",
        description="Make a checkpoint from a TensorFlow Lite file, quantised or not.",
        example="weights/coral_deeplabv3/deeplabv3_mnv2_pascal_quant.tflite --out out/coral.ckpt",
    )
    parser.add_argument("file", type=Path, metavar="X.tflite")
    add_arguments(parser)
    parser.add_argument(
        "--report", type=Path, metavar="PICTURE", help="compare the layers on this picture (default: a drawn one)"
    )
    parser.add_argument("--no-report", action="store_true", help="do not run the file, and compare nothing")
    parser.add_argument(
        "--ranges", action="store_true", help="keep the ranges of a file of 8 bits: the network then rounds as it does"
    )
    args = parser.parse_args(arguments)
    if args.report and args.no_report:
        parser.error("--report and --no-report: give one of them")
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    report = args.out.with_name(args.out.name + LAYERS)
    files.refuse_foreign_json(report, f"--out {args.out}", KEY)
    model = read_tflite(args.file)
    with errors_of(args.file):
        filling = convert(model, reproductions()[args.to], args.settings, exported_recipe(args.file), args.ranges)
        rows = [] if args.no_report else list(_compared(args, model, filling))
    write_checkpoint(args.out, filling)
    if rows:
        from converters.layer_report import table

        files.write_json(report, {"file": args.file.name, KEY: [row.to_json() for row in rows]})
        show(table(rows))
        show(f"{report}: the same, for programs")
    if getattr(filling.recipe, "decoder", False) and not filling.recipe.align_corners:
        say(f"{args.file}: its decoder resizes without aligned corners, the network here with them: scores differ")
    if doubts := filling.doubts(args.file):
        say(doubts)
    show(filling.summary(args.out))


def _compared(args: argparse.Namespace, model: Model, filling: Filling) -> Iterator[Any]:
    from converters.layer_report import compare, picture_for

    tensor = input_of(model)
    yield from compare(args.file, model, convolutions(model), filling, picture_for(args.report, tensor.shape[1:3]))


if __name__ == "__main__":
    sys.exit(main())
