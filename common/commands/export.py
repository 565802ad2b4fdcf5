"""`export`: the network as a file that other programs run."""

import argparse
import json
import re
from typing import Any

from common import program
from common.commands.options import add_network, dataset_of, with_protocol
from common.console import say, show, stage
from common.data.lists import card_by_name, open_split
from common.data.sample import SAMPLE
from common.engines.interface import CLASSES, RECIPE, Size
from common.engines.network_file import SUMMARY
from common.errors import UserError, brief
from common.export.folder import refuse_foreign_files
from common.export.interface import ANY_SIZE, FILES, FIXED_SIZE, QUANTIZATIONS, RANGES
from common.files import check_writable
from common.recipe.recipe import Recipe
from common.reproduction import Reproduction
from common.text_table import aligned, percent
from common.weights.weights import Weights

ABOUT = "the network as a file that other programs run, compared with predict"
EXAMPLE = "--checkpoint runs/try-{name} --out out/{name}-exported --format frozen,onnx"
SIDE = 513  # pixels, of formats with one size where neither --size nor the recipe has one
LARGEST_SIDE = 4096
ANY = "any"


def add_arguments(parser: argparse.ArgumentParser, reproduction: Reproduction) -> None:
    """Add the options of `export`."""
    add_network(parser, reproduction)
    parser.add_argument(
        "--format", dest="formats", type=_formats, default=("frozen",), metavar="F,F",
        help=f"with commas between them and no blanks: {', '.join(FILES)} (default: frozen)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=_size, metavar="HxW|any",
        help=f"height x width of the pictures that the file takes, such as 513x1025, or any (default: any; "
        f"{', '.join(FIXED_SIZE)} has one size: the recipe's eval_size, else {SIDE}x{SIDE}; {', '.join(ANY_SIZE)} "
        "takes any)",
    )  # fmt: skip
    parser.add_argument(
        "--quantize", choices=QUANTIZATIONS, help="tflite: weights in 16 or 8 bits; int8: values too, from --data"
    )
    parser.add_argument(
        "--data", metavar="DIR",
        help=f"compare on pictures of the recipe's val_split there, calibrate int8 on its train_split: a data set's "
        f"folder, your own dataset.yaml, or '{SAMPLE}' (default: compare on drawn pictures)",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=program.whole_number(1), default=4, metavar="N", help="compare on N pictures (default: 4)"
    )


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    strange = [name for name in names if name not in FILES]
    if strange:
        raise argparse.ArgumentTypeError(f"'{brief(strange[0])}' is no format; there are {', '.join(FILES)}")
    return names


def _size(text: str) -> Size | str:
    if text == ANY:
        return ANY
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{brief(text)}' is not HEIGHTxWIDTH, such as 513x513, nor {ANY}")
    size = int(match[1]), int(match[2])
    if max(size) > LARGEST_SIDE:
        raise argparse.ArgumentTypeError(f"{text} is too large; take {LARGEST_SIDE} pixels a side at most")
    return size


def run(reproduction: Reproduction, args: argparse.Namespace) -> None:
    """Write each format, print how it compares with `predict`, and write that into the summary."""
    _check(args)
    weights = Weights(args.checkpoint)
    recipe = _recipe(reproduction, weights, args)
    dataset = dataset_of(weights, recipe)
    split = open_split(args.data, recipe.val_split, dataset) if args.data else None
    calibration = open_split(args.data, recipe.train_split, dataset) if args.quantize == "int8" else None
    check_writable(args.out, f"--out {args.out}")
    refuse_foreign_files(args.out, args.formats)

    from common.export.export import Exporter

    stage("building the network")
    exporter = Exporter(
        network=reproduction.load_network(),
        recipe=recipe,
        weights=weights,
        metadata=_metadata(reproduction.title, dataset, recipe),
        sizes=_sizes(recipe, args),
        quantization=args.quantize or (RANGES if recipe.quantised_from is not None else ""),
        split=split,
        count=args.limit,
        calibration=calibration,
        note=_note(reproduction.name, recipe, weights, args),
    )
    entries = exporter.export(args.out, args.quiet)
    show(table(entries))
    show(args.out / SUMMARY)


def _check(args: argparse.Namespace) -> None:
    """Raise UserError for options that contradict each other."""
    fixed = [name for name in args.formats if name in FIXED_SIZE]
    if args.size == ANY and fixed:
        raise UserError(f"--size any: {fixed[0]} takes pictures of one size; give it, such as --size {SIDE}x{SIDE}")
    if args.quantize and "tflite" not in args.formats:
        raise UserError(f"--quantize {args.quantize}: only tflite is quantised; add it to --format, or leave this out")
    if args.quantize == "int8" and not args.data:
        raise UserError("--quantize int8: is calibrated on pictures; name their folder by --data")


def _recipe(reproduction: Reproduction, weights: Weights, args: argparse.Namespace) -> Recipe:
    recipe = with_protocol(reproduction.recipe_to_run(args.settings, weights), args)
    if recipe.crf:
        raise UserError("crf=true: the CRF is no part of the network and cannot be exported; --set crf=false")
    if recipe.quantised_from is not None and args.quantize:
        raise UserError(f"--quantize {args.quantize}: the network has 8 bits and ranges of its own; leave this out")
    if recipe.precision != "fp32":
        say(f"precision={recipe.precision}: exported files compute in float32", args.quiet)
        recipe = recipe.derive(precision="fp32")
    return recipe


def _metadata(title: str, dataset: str, recipe: Recipe) -> dict[str, str]:
    """The texts that formats with room for them hold: name, description, classes, colours as JSON, and the recipe.

    Classes have numbers for names where the data set has another count of them.
    """
    card, count = card_by_name(dataset), recipe.num_classes
    is_its = len(card.classes) == count
    names = card.classes if is_its else map(str, range(count))
    return {
        "name": title,
        "description": f"semantic segmentation of RGB pictures into {count} classes ({recipe.variant})",
        CLASSES: "".join(f"{name}\n" for name in names),
        **({"palette": json.dumps(card.palette)} if is_its else {}),
        RECIPE: json.dumps(recipe.to_json()),
    }


def _sizes(recipe: Recipe, args: argparse.Namespace) -> dict[str, Size | None]:
    """Format -> the size of its pictures, or None for any."""
    if args.size and args.size != ANY:
        return {name: None if name in ANY_SIZE else args.size for name in args.formats}
    side = recipe.eval_size if isinstance(recipe.eval_size, int) else SIDE
    return {name: (side, side) if name in FIXED_SIZE else None for name in args.formats}


def _note(reproduction: str, recipe: Recipe, weights: Weights, args: argparse.Namespace) -> dict[str, Any]:
    """Collect the facts that the summary gives with each file, besides the comparison."""
    return {
        "reproduction": reproduction,
        "checkpoint": str(weights.path),
        "command": args.command_line,
        RECIPE: recipe.to_json(),
    }


def table(entries: dict[str, dict[str, Any]]) -> str:
    """The formats with their sizes, and how they compare with `predict`."""
    header = ("file", "pictures' size", "bytes", "labels equal %", "scores differ", "probabilities differ", "seconds",
              "predict's")  # fmt: skip
    rows = [
        (
            FILES[name],
            "any" if entry["size"] == "any" else "x".join(map(str, entry["size"])),
            f"{entry['bytes']:,}",
            percent(entry["agreement"]),
            f"{entry['largest_score_difference']:.2g} of {entry['largest_score']:.3g}",
            f"{entry['largest_probability_difference']:.2g}",
            f"{entry['seconds']:.3f}",
            f"{entry['predict_seconds']:.3f}",
        )
        for name, entry in entries.items()
    ]
    return aligned(header, rows)
