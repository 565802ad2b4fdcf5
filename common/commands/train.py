"""`train`: a recipe into a run folder."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common import program
from common.commands.options import add_data, add_own_settings
from common.console import say
from common.data.lists import open_data, open_split
from common.errors import UserError
from common.recipe.recipe import Recipe
from common.reproduction import Reproduction
from common.training.run_folder import version_dir
from common.weights.checkpoint_files import BEST, checkpoints, newest_checkpoint
from common.weights.weights import Weights

if TYPE_CHECKING:
    from common.training.train import Trained

ABOUT = "train a recipe into a run folder"


def add_arguments(parser: argparse.ArgumentParser, reproduction: Reproduction) -> None:
    """Add the options of `train`."""
    add_data(parser, "train_split")
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="the run's folder (default: one for each recipe below runs/)"
    )
    parser.add_argument("--init", metavar="WEIGHTS", help="weights to start from")
    parser.add_argument(
        "--limit", type=program.whole_number(1), metavar="N", help="validate on the first N pictures only"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument(
        "--keep", type=program.whole_number(0), default=5, metavar="N",
        help="checkpoints to keep, 0 for all (default: 5)",
    )  # fmt: skip


def run(reproduction: Reproduction, args: argparse.Namespace) -> int:
    """Train, or go on; returns the exit status."""
    open_data(args.data)  # a wrong folder is refused before weights are opened, which takes seconds
    init = Weights(args.init) if args.init else None
    add_own_settings(reproduction, args, init)
    recipe = None if args.run_dir else reproduction.recipe_to_train(args.settings, init)
    run_dir = args.run_dir or version_dir(reproduction.name, recipe, [args.data, args.split, args.init])
    newest = newest_checkpoint(run_dir) if args.resume else None
    if newest:
        recipe = reproduction.recipe_to_resume(args.settings, Weights(newest))
    elif args.resume and not args.run_dir:
        raise UserError(
            f"--resume: there is no run of this recipe, data and start ({run_dir}); name its folder by --run-dir, or "
            f"say --set, --data, --split and --init as it was begun"
        )
    recipe = recipe or reproduction.recipe_to_train(args.settings, init)
    split = open_split(args.data, args.split or recipe.train_split, recipe.dataset)

    from common.training.start import with_data_fields
    from common.training.train import train
    from common.training.validation import validation_split

    recipe = with_data_fields(recipe, split, args.quiet)
    if not (init or args.resume or recipe.calibration_batches):
        say("no --init: training starts from random weights; variant=scratch is made for that", args.quiet)
    trained = train(
        reproduction.load_network(), recipe, split, run_dir,
        init=init, resume=args.resume, keep=args.keep, quiet=args.quiet, command=args.command_line,
        val_split=validation_split(recipe, args.data), val_limit=args.limit,
    )  # fmt: skip
    return report_training(trained, recipe, args)


def report_training(trained: "Trained", recipe: Recipe, args: argparse.Namespace) -> int:
    """Say how a training ended; returns the exit status: 0, or 128 + n when signal n stopped it."""
    if trained.stopped_by:
        print(
            f"stopped by signal {trained.stopped_by} after step {trained.step} of {recipe.num_steps}; "
            f"{trained.checkpoint} is saved, go on with --resume",
            file=sys.stderr,
        )
        return 128 + trained.stopped_by
    for best in checkpoints(trained.checkpoint.parent, BEST):
        say(f"{best}: the best by validation {recipe.best_by}", args.quiet)
    print(trained.checkpoint)
    return 0
