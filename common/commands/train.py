"""`train`: a recipe into a run folder."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from common import program
from common.commands.options import (
    add_data,
    add_init,
    add_own_settings,
    add_placement,
    hosts_of,
    open_init,
    open_placement,
)
from common.console import say, show
from common.data.lists import Data, open_data
from common.data.split import Split
from common.errors import UserError
from common.files import check_writable
from common.recipe.recipe import Recipe
from common.reproduction import Reproduction
from common.training.run_folder import version_dir
from common.training.start import checkpoint_to_resume, with_data_fields
from common.weights.checkpoint_files import BEST, checkpoints
from common.weights.weights import Weights

if TYPE_CHECKING:
    from common.training.train import Trained

ABOUT = "train a recipe into a run folder"
EXAMPLE = "--data sample --run-dir runs/try-{name} --set variant={variant} num_steps=20"


def add_arguments(parser: argparse.ArgumentParser, reproduction: Reproduction) -> None:
    """Add the options of `train`."""
    add_data(parser, "train_split")
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="the run's folder (default: one for each recipe below runs/)"
    )
    add_init(parser)
    parser.add_argument(
        "--limit", type=program.whole_number(1), metavar="N", help="validate on the first N pictures only"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument(
        "--keep", type=program.whole_number(0), default=5, metavar="N",
        help="checkpoints to keep, 0 for all (default: 5)",
    )  # fmt: skip
    add_placement(parser)


def run(reproduction: Reproduction, args: argparse.Namespace) -> int:
    """Train, or go on, or serve those that do; returns the exit status."""
    hosts = hosts_of(args)
    if hosts and hosts.is_server:  # it needs neither data nor weights
        return open_placement(args, hosts).serve(args.quiet)
    is_chief = hosts is None or hosts.is_chief
    data = open_data(args.data)  # a wrong folder is refused before weights are opened, which takes seconds
    init = open_init(args)
    add_own_settings(reproduction, args, data.card, init)
    recipe = None if args.run_dir else reproduction.recipe_to_train(args.settings, init)
    run_dir = args.run_dir or version_dir(reproduction.name, recipe, [args.data, args.split, args.init])
    newest = checkpoint_to_resume(run_dir, args.resume) if is_chief else None
    if newest:
        recipe = reproduction.recipe_to_resume(args.settings, Weights(newest))
    elif args.resume and not args.run_dir and is_chief:
        raise UserError(
            f"--resume: there is no run of this recipe, data and start ({run_dir}); name its folder by --run-dir, or "
            f"give the --set, --data, --split and --init that it began with"
        )
    recipe = recipe or reproduction.recipe_to_train(args.settings, init)
    split = data.split_for(recipe, args.split or recipe.train_split)

    if is_chief:
        check_writable(run_dir, f"--run-dir {run_dir}")
    val_split = validation_split(recipe, data)

    from common.training.asynchronous import train_asynchronously
    from common.training.train import train

    recipe = with_data_fields(recipe, split, args.quiet)
    if not (init or args.resume or recipe.calibration_batches):
        say("no --init: training starts from random weights; variant=scratch is made for that", args.quiet)
    placement = open_placement(args, hosts)
    training = train_asynchronously if placement.is_asynchronous else train
    trained = training(
        reproduction.load_network(), recipe, split, run_dir,
        init=init, resume=args.resume, keep=args.keep, quiet=args.quiet, command=args.command_line,
        val_split=val_split, val_limit=args.limit, val_unseen=args.val_unseen, placement=placement,
    )  # fmt: skip
    return report_training(trained, recipe, args)


def validation_split(recipe: Recipe, data: Data) -> Split | None:
    """The pictures of `--data` to validate on, if the recipe wants that. Raises UserError when there are none."""
    if not recipe.validation_interval:
        return None
    try:
        return data.split_for(recipe, recipe.val_split)
    except UserError as error:
        raise UserError(f"{error}; --set validation_interval=0 trains without validation") from None


def report_training(trained: "Trained", recipe: Recipe, args: argparse.Namespace) -> int:
    """Say how a training ended; returns the exit status: 0, or 128 + n when signal n stopped it."""
    kept = f"{trained.checkpoint} is saved" if trained.checkpoint else "the first host has saved it"
    if trained.stopped_by:
        say(
            f"stopped by signal {trained.stopped_by} after step {trained.step} of {recipe.num_steps}; {kept}, go on "
            f"with --resume"
        )
        return 128 + trained.stopped_by
    if not trained.checkpoint:
        say(f"trained {trained.step} steps; {kept}", args.quiet)
        return 0
    for best in checkpoints(trained.checkpoint.parent, BEST):
        say(f"{best}: the best by validation {recipe.best_by}", args.quiet)
    show(trained.checkpoint)
    return 0
