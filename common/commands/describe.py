"""`describe`: the resolved recipe, and what its network is made of."""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from common import program
from common.console import Progress, show, stage
from common.data.figures import plot_note, refuse_foreign
from common.data.lists import open_split
from common.errors import UserError
from common.nets import draw_cell
from common.recipe.recipe import Recipe
from common.reproduction import Reproduction
from common.weights.weights import Weights

LARGEST_SIDE = 20_000  # pixels
SIDE = 513
ABOUT = "the resolved recipe, its head's graph, variables, parameters, multiply-adds"
EXAMPLE = "--set variant={variant}"


def add_arguments(parser: argparse.ArgumentParser, reproduction: Reproduction) -> None:
    """Add the options of `describe`."""
    parser.add_argument(
        "--draw", type=_png, metavar="FILE.png", help="draw the graph of a head that is designed in JSON"
    )
    parser.add_argument(
        "--size", type=program.whole_number(1, LARGEST_SIDE), metavar="N",
        help=f"input side for multiply-adds (default: {SIDE}, or the least that the network takes)",
    )  # fmt: skip
    parser.add_argument(
        "--receptive-field", type=_png, metavar="FILE.png",
        help="draw the effective receptive field at --size: how much each pixel moves the score at the centre",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", metavar="WEIGHTS",
        help="describe the network of these weights; --receptive-field is measured with them (default: random ones)",
    )  # fmt: skip
    parser.add_argument(
        "--data", metavar="DIR", help="--receptive-field: average over pictures of the recipe's val_split there "
        "(default: over pictures of noise)",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=program.whole_number(1), default=8, metavar="N",
        help="--receptive-field: over how many pictures (default: 8)",
    )  # fmt: skip
    parser.add_argument(
        "--table", action="store_true",
        help="show the networks of the papers instead: parameters, multiply-adds and receptive field, beside what was "
        "published",
    )  # fmt: skip


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text} must end in .png")
    return Path(text)


def run(reproduction: Reproduction, args: argparse.Namespace) -> None:
    """Print the recipe as JSON, then the network's figures; or the table of the papers' networks."""
    if args.table:
        if args.settings or args.draw or args.receptive_field or args.checkpoint:
            raise UserError("--table: describes the networks of the papers; leave the other options out")
        from common.results.models import print_models

        print_models([reproduction], args.size or SIDE, args.quiet)
        return
    if args.data and not args.receptive_field:
        raise UserError("--data: only --receptive-field reads pictures; add it, or leave --data out")
    refuse_foreign(args.draw, f"--draw {args.draw}")
    refuse_foreign(args.receptive_field, f"--receptive-field {args.receptive_field}")
    weights = Weights(args.checkpoint) if args.checkpoint else None
    if weights:
        recipe = reproduction.recipe_to_run(args.settings, weights)
    else:
        recipe = reproduction.recipe_to_train(args.settings)
    args.size = args.size or max(SIDE, *(recipe.least_input or (0,)))
    recipe.check_input(args.size, args.size, f"--size {args.size}")
    if args.draw and not recipe.cell:
        raise UserError(f"--draw {args.draw}: the head of {recipe.variant} is not designed in JSON")
    show(json.dumps(recipe.to_json(), indent=1))
    if recipe.cell:
        show("\n" + draw_cell.tree(recipe.cell))
    if args.draw:
        draw_cell.draw(recipe.cell, args.draw, plot_note(args.draw))
        show(f"\n{args.draw}")

    from common.nets.describe import describe

    stage("building the network")
    show("\n" + describe(reproduction.load_network(), recipe, args.size))
    if args.receptive_field:
        _draw_field(reproduction, recipe, weights, args)


def _draw_field(reproduction: Reproduction, recipe: Recipe, weights: Weights | None, args: argparse.Namespace) -> None:
    from common.nets import effective_field

    pictures = _pictures(recipe, args)
    with Progress("pictures", len(pictures), quiet=args.quiet) as progress:
        seen = _counted(pictures, progress)
        field = effective_field.effective_field(reproduction.load_network(), recipe, args.size, seen, weights)
    of = args.checkpoint or "random weights"
    title = f"{reproduction.title}, {recipe.variant}: {of}"
    effective_field.draw(field, title, args.receptive_field, plot_note(args.receptive_field))
    spread = "" if weights else "; random weights spread it over the whole picture"
    show(
        f"effective receptive field: {field.side:.0f} x {field.side:.0f} pixels (a square of as many as have "
        f"{effective_field.FELT:.2%} or more of the largest gradient{spread})"
        f"\n{args.receptive_field}"
    )


def _counted(pictures: Iterable[np.ndarray], progress: Progress) -> Iterator[np.ndarray]:
    """The pictures; each counts as done when the next one is asked for."""
    for picture in pictures:
        yield picture
        progress.advance()


def _pictures(recipe: Recipe, args: argparse.Namespace) -> list[np.ndarray]:
    """Pictures of `--size`, uint8 [size, size, 3]: noise, or the centres of the first pictures of `--data`."""
    if not args.data:
        rng = np.random.RandomState(recipe.seed)
        return [rng.randint(0, 256, (args.size, args.size, 3)).astype(np.uint8) for _ in range(args.limit)]
    split = open_split(args.data, recipe.val_split, recipe.dataset)
    return [_centre(split.read(i)[0], args.size) for i in range(min(args.limit, len(split.pairs)))]


def _centre(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle of a picture [h, w, 3], mirrored at its borders where it is smaller: [size, size, 3]."""
    missing = [max(0, size - side) for side in picture.shape[:2]]
    padded = np.pad(picture, [*((m // 2, m - m // 2) for m in missing), (0, 0)], mode="symmetric")
    top, left = ((side - size) // 2 for side in padded.shape[:2])
    return padded[top : top + size, left : left + size]
