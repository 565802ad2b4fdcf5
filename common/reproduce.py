"""`reproduce`: train, evaluate, record and draw in one go."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import checkpoints, evaluation, records, results, run_folder, training, trimap
from common.console import say
from common.data.lists import Split, card_by_name, is_sample_set, read_split
from common.data.masks import colour_labels, save_label_png
from common.errors import UserError
from common.files import atomic, read_json, write_text
from common.inference import Segmenter
from common.picture_scores import FILE, LABELS, PictureScores
from common.prediction import write_prediction
from common.recipe import Recipe
from common.reproduction import Reproduction
from common.visualize import few_colours, overlay, picture_row, png_bytes, sheet, two_a_row

SHEET_PICTURES = 8
RESULTS = "results"  # folder of `evaluate --save-results`


def evaluate_and_record(
    reproduction: Reproduction,
    recipe: Recipe,
    split: Split,
    weights: checkpoints.Weights,
    out: Path,
    *,
    trimap_widths: Sequence[int] = (),
    limit: int | None = None,
    val_seen: bool | None = None,
    save_results: bool = False,
    save_labels: bool = False,
    quiet: bool = False,
    command: str = "",
) -> tuple[dict[str, Any], Path]:
    """Evaluate by the recipe's protocol; write `out/metrics.json`, `out/pictures.npz` and the record.

    Args:
      trimap_widths: measure mIoU in these bands around the boundaries too, and plot it.
      save_results: write picture, label, result and overlay of each picture side by side, `out/results/<stem>.png`.
      save_labels: write the label maps, `out/labels/<stem>.png`.

    Returns:
      The metrics, and the record's path.
    """
    palette, scores = split.card.palette, PictureScores(recipe.num_classes, split.card.ignore_label)

    def keep(index, image, mask, label):
        name = split.pairs[index][0].stem
        scores.add(name, mask, label)
        if save_results:
            panels = np.concatenate([picture_row(image, mask, label, palette), overlay(image, label, palette)], axis=1)
            with atomic(out / RESULTS / f"{name}.png") as temporary:
                temporary.write_bytes(png_bytes(panels))
        if save_labels:
            with atomic(out / LABELS / f"{name}.png") as temporary:
                save_label_png(temporary, label, palette)

    started = time.monotonic()
    run_folder.read_summary(weights.path.parent)  # before the work: the record needs it
    segmenter = Segmenter(reproduction.load_network(), recipe, weights)
    out.mkdir(parents=True, exist_ok=True)
    metrics = evaluation.evaluate(
        segmenter, split, scales=recipe.eval_scales, flip=recipe.eval_flip,
        trimap=trimap_widths, limit=limit, then=keep, quiet=quiet,
    )  # fmt: skip
    segmenter.close()
    write_text(out / "metrics.json", records.dumps(metrics))
    scores.save(out / FILE)
    record = records.write_record(
        reproduction=reproduction,
        recipe=recipe,
        split=split,
        weights=weights,
        metrics=metrics,
        seconds=time.monotonic() - started,
        command=command,
        val_seen=val_seen,
        evaluation=out,
    )
    if trimap_widths:
        trimap.plot(out / trimap.PLOT, [metrics], [f"{reproduction.title} {recipe.variant}"])
    return metrics, record


def reproduce(
    reproduction: Reproduction, args: argparse.Namespace, data: Path, init: checkpoints.Weights | None
) -> tuple[training.Trained, Recipe, str]:
    """Train (or go on training), evaluate before and after, record, draw. Returns the last line for the user too.

    The sample set takes the sample variants, one after the other, real data without `--init` the
    scratch variant, real data with weights to start from the default one; `--set` changes any of it.
    """
    is_sample = is_sample_set(data)
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
    summaries = []
    for variant in variants:
        trained, recipe, summary = _reproduce(reproduction, args, data, variant, init)
        if trained.stopped_by:
            return trained, recipe, ""
        summaries.append(summary)
    results.write_results()
    return trained, recipe, "\n".join([*summaries, f"table {records.results_dir()}/RESULTS.md"])


def _reproduce(
    reproduction: Reproduction, args: argparse.Namespace, data: Path, variant: str, init: checkpoints.Weights | None
) -> tuple[training.Trained, Recipe, str]:
    steps = [f"num_steps={args.steps}"] if args.steps else []  # instead of a recipe's epochs
    recipe = reproduction.recipe_to_train([f"variant={variant}", *steps, *args.settings], init)
    card = card_by_name(recipe.dataset)
    train_split, val_split = (read_split(card, data, name) for name in (recipe.train_split, recipe.val_split))
    recipe = training.for_data(recipe, train_split, args.quiet)
    name = "-".join([reproduction.name, recipe.variant, *([] if train_split.is_sample else [data.resolve().name])])
    run_dir = args.run_dir or Path("runs") / (name + (f"-{args.steps}" if args.steps else ""))

    trained = training.train(
        reproduction.load_network(), recipe, train_split, run_dir,
        init=init, resume=True, keep=1, save_start=True, quiet=args.quiet, command=args.command_line,
        val_split=val_split, val_limit=args.limit,
    )  # fmt: skip
    if trained.stopped_by:
        return trained, recipe, ""

    untrained = _miou_before_training(reproduction, recipe, run_dir / run_folder.START, val_split, args)
    before = f" (before training {untrained})" if untrained is not None else ""
    weights = checkpoints.Weights(trained.checkpoint)
    lines = []
    for changes in ({}, *reproduction.protocols):
        evaluated = recipe.derive(**changes)
        folder = run_dir / "-".join(["evaluation", *changes])
        metrics, record = evaluate_and_record(
            reproduction, evaluated, val_split, weights, folder,
            limit=args.limit, save_labels=True, quiet=args.quiet, command=args.command_line,
        )  # fmt: skip
        how = f" with {', '.join(changes)}" if changes else before
        lines.append(f"mIoU {metrics['miou']}{how} over the classes that occur, {metrics['images']} pictures: {record}")
    figure = draw_sheet(reproduction, recipe, trained.checkpoint, val_split, run_dir)
    _publish_figures(run_dir.name, figure, run_dir / "training_curve.png")
    summary = "\n".join(
        [
            f"{reproduction.title} {recipe.variant} on {val_split.title}",
            *lines,
            f"pictures {figure}, {run_dir}/predictions",
            f"curve {run_dir}/training_curve.png",
        ]
    )
    return trained, recipe, summary


def _miou_before_training(reproduction, recipe, start: Path, split: Split, args) -> float | None:
    """mIoU of the network as training found it; measured once, then its checkpoint makes room."""
    known = start / "metrics.json"
    checkpoint = checkpoints.newest_checkpoint(start)
    if checkpoint:
        say("the network before training:", args.quiet)
        segmenter = Segmenter(reproduction.load_network(), recipe, checkpoints.Weights(checkpoint))
        metrics = evaluation.evaluate(segmenter, split, limit=args.limit, quiet=args.quiet)
        segmenter.close()
        write_text(known, records.dumps(metrics))
        checkpoints.delete(checkpoint)
    return (read_json(known) or {}).get("miou")


def draw_sheet(reproduction: Reproduction, recipe: Recipe, checkpoint: Path, split: Split, run_dir: Path) -> Path:
    """Predict the first pictures of `split` into `run_dir/predictions` and put them on one sheet."""
    segmenter = Segmenter(reproduction.load_network(), recipe, checkpoints.Weights(checkpoint))
    palette, rows, present = split.card.palette, [], set()
    for index, (image_path, _) in enumerate(split.pairs[:SHEET_PICTURES]):
        image, mask = split.read(index)
        label = segmenter.label(image, recipe.eval_scales, recipe.eval_flip)
        write_prediction(run_dir / "predictions", image_path.stem, image, label, split.card)
        rows.append(
            [
                image,
                colour_labels(mask, palette),
                colour_labels(label, palette),
                overlay(image, label, palette),
            ]
        )
        present |= set(label.ravel().tolist()) | set(mask.ravel().tolist())
    segmenter.close()
    legend = sorted(present - {split.card.ignore_label})
    path = run_dir / "overlays.png"
    with atomic(path) as temporary:
        pairs, titles = two_a_row(rows, ["picture", "label", "prediction", "overlay"])
        few_colours(sheet(pairs, titles, legend, split.card), palette).save(temporary)
    return path


def _publish_figures(name: str, *figures: Path) -> None:
    for figure in figures:
        with atomic(records.results_dir() / "figures" / f"{name}-{figure.name}") as temporary:
            temporary.write_bytes(figure.read_bytes())
