"""`describe`: the resolved recipe, and what its network is made of."""

import argparse
import json
from pathlib import Path

from common import program
from common.errors import UserError
from common.nets import draw_cell
from common.reproduction import Reproduction

ABOUT = "the resolved recipe, its head's graph, variables, parameters, multiply-adds"


def add_arguments(parser: argparse.ArgumentParser, reproduction: Reproduction) -> None:
    """Add the options of `describe`."""
    parser.add_argument(
        "--draw", type=_png, metavar="FILE.png", help="draw the graph of a head that is designed in JSON"
    )
    parser.add_argument(
        "--size", type=program.whole_number(1), default=513, metavar="N",
        help="input side for multiply-adds (default: 513)",
    )  # fmt: skip
    parser.add_argument(
        "--table", action="store_true",
        help="the networks that the papers report instead: parameters, multiply-adds, receptive field beside what was "
        "published",
    )  # fmt: skip


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text} must end in .png")
    return Path(text)


def run(reproduction: Reproduction, args: argparse.Namespace) -> None:
    """Print the recipe as JSON, then the network's figures; or the table of the papers' networks."""
    if args.table:
        if args.settings or args.draw:
            raise UserError("--table: describes the papers' networks as they are; leave --set, --config and --draw out")
        from common.results.models import print_models

        print_models([reproduction], args.size, args.quiet)
        return
    recipe = reproduction.recipe_to_train(args.settings)
    if args.draw and not recipe.cell:
        raise UserError(f"--draw {args.draw}: the head of {recipe.variant} is not designed in JSON")
    print(json.dumps(recipe.to_json(), indent=1), flush=True)
    if recipe.cell:
        print("\n" + draw_cell.tree(recipe.cell))
    if args.draw:
        draw_cell.draw(recipe.cell, args.draw)
        print(f"\n{args.draw}")

    from common.nets.describe import describe

    print("\n" + describe(reproduction.load_network(), recipe, args.size))
