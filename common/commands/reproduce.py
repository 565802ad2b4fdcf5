"""`reproduce`: train, evaluate, record and draw in one go."""

import argparse
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import program
from common.commands.evaluate import evaluate_and_record
from common.commands.options import (
    add_init,
    add_own_settings,
    add_placement,
    hosts_of,
    is_asynchronous,
    open_init,
    open_placement,
)
from common.commands.train import report_training
from common.console import Progress, say, show, stage
from common.data.drawing import few_colours, overlay, sheet, two_a_row
from common.data.figures import png_note
from common.data.lists import Data, is_sample_set, open_data
from common.data.masks import colour_labels
from common.data.sample import SAMPLE
from common.data.split import Split
from common.errors import UserError
from common.files import atomic, check_writable, read_json, write_text
from common.inference import evaluation
from common.inference.metrics import METRICS_FILE
from common.inference.prediction import write_prediction
from common.recipe.recipe import Recipe
from common.reproduction import Reproduction
from common.results import records
from common.results.tables import write_results
from common.training import run_folder
from common.training.curve import plot_training_curve
from common.training.hosts import Hosts
from common.training.order import listed_pictures
from common.training.start import with_data_fields
from common.weights.checkpoint_files import delete, newest_checkpoint
from common.weights.weights import Weights

if TYPE_CHECKING:
    from common.training.train import Trained

ABOUT = "train, evaluate and draw, on the sample set or on real data"
EXAMPLE = "--data sample --steps 20 --set variant={variant}"
SHEET_PICTURES = 8


def add_arguments(parser: argparse.ArgumentParser, reproduction: Reproduction) -> None:
    """Add the options of `reproduce`."""
    whole = program.whole_number
    parser.add_argument(
        "--data", default=SAMPLE, metavar="DIR",
        help="data set folder, or your own dataset.yaml (default: the sample set)",
    )  # fmt: skip
    add_init(parser)
    parser.add_argument("--steps", type=whole(1), metavar="N", help="training steps (default: the recipe's)")
    parser.add_argument("--limit", type=whole(1), metavar="N", help="evaluate only the first N pictures")
    parser.add_argument("--run-dir", type=Path, metavar="DIR", help="the run's folder (default: below runs/)")
    add_placement(parser)
    program.add_record(parser)


def run(reproduction: Reproduction, args: argparse.Namespace) -> int:
    """Train (or go on training), evaluate before and after, record, draw; returns the exit status.

    The sample set takes the sample variants, one after the other, real data without `--init` the
    scratch variant, real data with weights to start from the default one; `--set` changes any of it.
    """
    if is_asynchronous(args.settings):
        raise UserError("--set update=asynchronous: no such run can be repeated, as reproduce does; take train")
    started = time.monotonic()
    hosts = hosts_of(args)
    data = open_data(args.data)  # a wrong folder is refused before weights are opened, which takes seconds
    init = open_init(args)
    add_own_settings(reproduction, args, data.card, init)
    in_tables = False
    for variant in _variants(reproduction, args, data, init):
        trained, recipe, summary, shown = _reproduce(reproduction, args, data, variant, init, hosts)
        if trained.stopped_by:
            return report_training(trained, recipe, args)
        if hosts and not hosts.is_chief:
            report_training(trained, recipe, args)
            continue
        show(summary)
        in_tables |= shown
    stage("making the tables")
    left_out = write_results() if in_tables else []
    if in_tables:
        show(f"table {records.results_dir()}/RESULTS.md")
    show(f"done in {time.monotonic() - started:.0f} s")
    return program.report_failures(left_out)


def _variants(
    reproduction: Reproduction, args: argparse.Namespace, data: Data, init: Weights | None
) -> tuple[str, ...]:
    is_sample = is_sample_set(data.folder)
    variants = reproduction.sample_variants if is_sample else (reproduction.scratch_variant,)
    if init:
        variants = (reproduction.default_variant,)
    if any(setting.strip().startswith("variant=") for setting in args.settings):
        variants = variants[:1]  # --set names another
    if args.run_dir and len(variants) > 1:
        raise UserError(
            f"--run-dir: one folder for {len(variants)} runs; choose one of them by --set variant={variants[0]}"
        )
    if not init and not is_sample:
        say("no --init: training starts from random weights, which no published number does", args.quiet)
    return variants


def _reproduce(
    reproduction: Reproduction,
    args: argparse.Namespace,
    data: Data,
    variant: str,
    init: Weights | None,
    hosts: Hosts | None,
) -> tuple["Trained", Recipe, str, bool]:
    """Make one run and all that follows from it; also what a person reads at its end, and whether tables show it."""
    steps = [f"num_steps={args.steps}"] if args.steps else []  # instead of a recipe's epochs
    recipe = reproduction.recipe_to_train([f"variant={variant}", *steps, *args.settings], init)
    train_split, val_split = (data.split_for(recipe, name) for name in (recipe.train_split, recipe.val_split))

    run_dir = args.run_dir or _run_dir(reproduction, recipe, train_split, data, args.steps)
    is_chief = hosts is None or hosts.is_chief
    if is_chief:
        check_writable(run_dir, f"--run-dir {run_dir}")

    from common.training.train import train

    recipe = with_data_fields(recipe, train_split, args.quiet)
    trained = train(
        reproduction.load_network(), recipe, train_split, run_dir,
        init=init, resume=True, keep=1, save_start=True, quiet=args.quiet, command=args.command_line,
        val_split=val_split, val_limit=args.limit, val_unseen=args.val_unseen, placement=open_placement(args, hosts),
    )  # fmt: skip
    if trained.stopped_by or not is_chief:
        return trained, recipe, "", False

    untrained = _miou_before_training(reproduction, recipe, run_dir / run_folder.START, val_split, args)
    before = f" (before training {untrained})" if untrained is not None else ""
    weights = Weights(trained.checkpoint)
    lines, ids, shown = [], [], False
    for changes in ({}, *reproduction.protocols):
        metrics, record = evaluate_and_record(
            reproduction, recipe.derive(**changes), val_split, weights, run_folder.evaluation_dir(run_dir, changes),
            limit=args.limit, save_labels=True, quiet=args.quiet, command=args.command_line, keep=args.record,
            val_seen=False if args.val_unseen else None,
        )  # fmt: skip
        ids.append(records.read_record(record)["id"])
        shown |= record.name != records.BESIDE
        how = f" with {', '.join(changes)}" if changes else before
        lines.append(f"mIoU {metrics['miou']}{how} over the classes that occur, {metrics['images']} pictures: {record}")
    figure = draw_sheet(reproduction, recipe, trained.checkpoint, val_split, run_dir, ids[:1])
    stage("drawing the training curve")
    plot_training_curve(run_dir, recipe, len(listed_pictures(train_split, recipe)), ids)
    if shown:
        _publish_figures(run_dir.name, figure, run_dir / run_folder.CURVE)
    else:
        lines.append("no table shows these, whose records lie beside the evaluations; --record changes that")
    title = f"{reproduction.title} {recipe.variant} on {val_split.title}"
    figures = [f"pictures {figure}, {run_dir}/predictions", f"curve {run_dir / run_folder.CURVE}"]
    words = [".venv/bin/python", "-m", reproduction.package, "predict", "photo.jpg"]
    words += ["--checkpoint", str(trained.checkpoint), "--out", "out"]
    following = [f"checkpoint {trained.checkpoint}", f"on your own photographs: {shlex.join(words)}"]
    return trained, recipe, "\n".join([title, *lines, *figures, *following]), shown


def _run_dir(reproduction: Reproduction, recipe: Recipe, split: Split, data: Data, steps: int | None) -> Path:
    words = [reproduction.name, recipe.variant]
    if not split.is_sample:
        words.append(data.folder.resolve().name)
    if steps:
        words.append(str(steps))
    return run_folder.RUNS / "-".join(words)


def _miou_before_training(
    reproduction: Reproduction, recipe: Recipe, start: Path, split: Split, args: argparse.Namespace
) -> float | None:
    """mIoU of the network as training found it; measured once, then its checkpoint makes room."""
    known = start / METRICS_FILE
    checkpoint = newest_checkpoint(start)
    if checkpoint:
        say("measuring the network as it was before training", args.quiet)
        with reproduction.open_segmenter(Weights(checkpoint), recipe.at_one_scale()) as segmenter:
            metrics = evaluation.evaluate(segmenter, split, limit=args.limit, quiet=args.quiet)
        write_text(known, records.dumps(metrics))
        say(f"the network before training: mIoU {metrics['miou']}, {metrics['images']} pictures", args.quiet)
        delete(checkpoint)
    return (read_json(known) or {}).get("miou")


def draw_sheet(
    reproduction: Reproduction, recipe: Recipe, checkpoint: Path, split: Split, run_dir: Path, ids: Sequence[str]
) -> Path:
    """Predict the first pictures of `split` into `run_dir/predictions` and put them on one sheet.

    The sheet carries `ids`, those of the records of the same evaluation.
    """
    palette, rows, present = split.card.palette, [], set()
    chosen = split.pairs[:SHEET_PICTURES]
    with (
        reproduction.open_segmenter(Weights(checkpoint), recipe) as segmenter,
        Progress("drawing the predictions", len(chosen), logs=False) as progress,
    ):
        for index, (image_path, _) in enumerate(chosen):
            image, mask = split.read(index)
            label = segmenter.label(image)
            write_prediction(run_dir / "predictions", image_path, image, label, split.card)
            maps = colour_labels(mask, palette), colour_labels(label, palette)
            rows.append([image, *maps, overlay(image, label, palette)])
            present |= set(label.ravel().tolist()) | set(mask.ravel().tolist())
            progress.advance(image_path.name)
    legend = sorted(present - {split.card.ignore_label})
    path = run_dir / "overlays.png"
    with atomic(path) as temporary:
        pairs, titles = two_a_row(rows, ["picture", "label", "prediction", "overlay"])
        page = few_colours(sheet(pairs, titles, legend, split.card), palette)
        page.save(temporary, pnginfo=png_note(ids))
    return path


def _publish_figures(name: str, *figures: Path) -> None:
    for figure in figures:
        with atomic(records.results_dir() / "figures" / f"{name}-{figure.name}") as temporary:
            temporary.write_bytes(figure.read_bytes())
