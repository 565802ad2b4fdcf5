"""`python -m common.data.class_weights`: measure each class's share of a split's pixels, and its weight.

A class's weight is 1 - its share of the pixels, as in cal_ss_class_imbalance_weights of tonandr/deeplabv3plus_keras.
The class-balanced loss weighs the class's own pixels by it, and all others by 1 - weight. Softmax cross-entropy weighs
the class's pixels by it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from common import program
from common.console import show
from common.data.class_pixels import class_pixels
from common.data.lists import open_data
from common.data.own import black_and_white_hint
from common.data.split import Split
from common.errors import UserError
from common.files import refuse_foreign_json, write_json
from common.recipe.recipe import Recipe

VOID = {"ignored": "masked", "background": "background"}


def class_shares(split: Split, recipe: Recipe, *, quiet: bool = False) -> np.ndarray:
    """Measure the share of each class in the labelled pixels of `split`: float64 [classes] of sum 1.

    Void pixels count as class 0 where `recipe.void_pixels` is `background`. Raises UserError when fewer than
    two classes occur.
    """
    pixels = class_pixels(split, recipe, quiet=quiet).sum(axis=0)
    if not pixels.sum():
        raise UserError(f"{split.title}: no pixel has a class; class weights need labelled pixels")
    if np.count_nonzero(pixels) == 1:
        raise UserError(
            f"{split.title}: no class but {split.card.classes[pixels.argmax()]} occurs, so there is nothing to weigh; "
            f"label the others; {black_and_white_hint(split.card)}"
        )
    return pixels / pixels.sum()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.data.class_weights",
        description="Measure class weights; `--set class_weights=auto` does the same when a training starts.",
        example="--data sample",
    )
    parser.add_argument("--data", required=True, metavar="DIR",
                        help="data set folder, TFRecords of it, your own dataset.yaml, or `sample`")  # fmt: skip
    parser.add_argument("--dataset", default="voc2012", help="its card (default: %(default)s)")
    parser.add_argument("--split", help="split name or list file (default: train_aug; for your own set train)")
    parser.add_argument("--void", choices=VOID, default="ignored", help="what void pixels are (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write them as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    refuse_foreign_json(args.out, f"--out {args.out}", "weights")
    data = open_data(args.data)
    split = data.split(args.split or ("train" if data.card else "train_aug"), args.dataset)
    card = split.card
    recipe = Recipe(variant="any", num_classes=len(card.classes), void_pixels=VOID[args.void])
    shares = class_shares(split, recipe, quiet=args.quiet)
    weights = [round(float(1 - share), 8) for share in shares]
    width = max(map(len, card.classes))
    for name, share, weight in zip(card.classes, shares, weights, strict=True):
        show(f"{name:{width}s}  share {share:.8f}  weight {weight:.8f}")
    show(f"--set class_weights={','.join(map(str, weights))}")
    if args.out:
        write_json(args.out, {"data": split.title, "images": len(split.pairs), "void": args.void, "weights": weights})


if __name__ == "__main__":
    sys.exit(main())
