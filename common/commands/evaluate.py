"""`evaluate`: mIoU of a checkpoint on a split, with a record."""

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import program
from common.commands.options import add_data, add_inference, choose
from common.console import say, show
from common.data.drawing import Palette, overlay, picture_row, png_bytes
from common.data.figures import add_png_note, refuse_foreign
from common.data.lists import check_classes, no_class_error, open_data
from common.data.masks import save_label_png
from common.data.split import Split
from common.engines.network_file import NetworkFile
from common.errors import UserError, quoted
from common.export.cache import CachedNetwork
from common.export.choice import TENSORFLOW
from common.files import atomic, check_writable, refuse_foreign_json, write_text
from common.inference import trimap
from common.inference.evaluation import evaluate
from common.inference.metrics import METRICS_FILE
from common.recipe.recipe import Recipe
from common.reproduction import Reproduction
from common.results import records
from common.training import run_folder
from common.weights.weights import Weights

ABOUT = "mIoU of a checkpoint on a split, with a record"
TRIMAP_WIDTHS = "1,2,5,10,20,40"  # a bare --trimap; arXiv 1802.02611 figure 5 goes to 40
PANELS_FOLDER = "results"  # of --save-results


def add_arguments(parser: argparse.ArgumentParser, reproduction: Reproduction) -> None:
    """Add the options of `evaluate`."""
    add_data(parser, "val_split")
    add_inference(parser, reproduction, TENSORFLOW)
    parser.add_argument("--limit", type=program.whole_number(1), metavar="N", help="only the first N pictures")
    parser.add_argument(
        "--save-results", action="store_true",
        help=f"write picture, label, result and overlay side by side, into {PANELS_FOLDER}/ below --out",
    )  # fmt: skip
    parser.add_argument("--save-labels", action="store_true", help="write label maps into labels/, for reports")
    parser.add_argument(
        "--trimap", type=_widths, nargs="?", const=TRIMAP_WIDTHS, default=(), metavar="W,W",
        help=f"measure mIoU within W pixels of the labels' boundaries too, and plot it (without W: {TRIMAP_WIDTHS})",
    )  # fmt: skip
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument(
        "--val-seen", action="store_true", default=None, help="the weights were trained on these pictures"
    )
    seen.add_argument(
        "--val-unseen", dest="val_seen", action="store_false",
        help="they were not; without either flag, weights from elsewhere are marked val_seen?",
    )  # fmt: skip
    program.add_record(parser)


def _widths(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9][0-9]{0,3}(,[1-9][0-9]{0,3})*", text):
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not a list of whole numbers of pixels, 1 to 9999, like 1,2,5"
        )
    return tuple(sorted({int(part) for part in text.split(",")}))


def run(reproduction: Reproduction, args: argparse.Namespace) -> None:
    """Evaluate, record, and print the figures."""
    data = open_data(args.data)  # a wrong folder is refused before weights are opened, which takes seconds
    choice = choose(reproduction, args, TENSORFLOW)
    split = data.split_for(choice.recipe, args.split or choice.recipe.val_split)
    check_writable(args.out, f"--out {args.out}")
    _refuse_foreign_results(split, args)
    check_classes(choice.recipe, split.card)
    choice.settle((split.read(index)[0] for index in range(len(split.pairs[: args.limit]))), args.quiet)
    weights, recipe = choice.weights, choice.recipe
    if split.card.source:
        recipe = recipe.derive(dataset=split.card.source)
    metrics, record = evaluate_and_record(
        reproduction, recipe, split, weights, args.out,
        trimap_widths=args.trimap, limit=args.limit, val_seen=args.val_seen, quiet=args.quiet,
        save_results=args.save_results, save_labels=args.save_labels, command=args.command_line, keep=args.record,
    )  # fmt: skip
    for name, iou in metrics["per_class_iou"].items():
        if iou is not None:
            show(f"{name:>15s} {iou:.4f}")
    for width, band in metrics.get("trimap", {}).items():
        show(f"mIoU within {width} pixels of the boundaries {band['miou']}  pixels {band['pixels']}")
    show(f"mIoU {metrics['miou']}  pixel accuracy {metrics['pixel_accuracy']}  pictures {metrics['images']}")
    show(f"{args.out / METRICS_FILE}\n{record}")
    if record.name == records.BESIDE:
        why = records.why_beside(records.read_record(record), weights.path, bool(split.card.source))
        say(f"the record lies beside the evaluation, and no table shows it: it is of {why}; --record puts it into "
            f"{records.results_dir() / 'runs'}", args.quiet)  # fmt: skip
    if args.save_results:
        show(args.out / PANELS_FOLDER)
    if args.trimap:
        show(args.out / trimap.PLOT)


def _refuse_foreign_results(split: Split, args: argparse.Namespace) -> None:
    """Raise UserError when a result would replace what no evaluation wrote.

    A metrics.json of ours marks the whole folder; without one, as when an evaluation was killed, each picture is read.
    """
    from common.inference.picture_scores import LABELS_FOLDER, SCORES_FILE

    flag, out = f"--out {args.out}", args.out
    refuse_foreign_json(out / METRICS_FILE, flag, "per_class_iou")
    if (out / METRICS_FILE).exists():
        return
    if (out / SCORES_FILE).exists():
        raise UserError(
            f"{flag}: {SCORES_FILE} is there, but no {METRICS_FILE}; choose another folder, or move it away"
        )
    refuse_foreign_json(out / records.BESIDE, flag, "digest")
    folders = [name for name, used in ((LABELS_FOLDER, args.save_labels), (PANELS_FOLDER, args.save_results)) if used]
    drawn = [out / folder / f"{image.stem}.png" for folder in folders for image, _ in split.pairs[: args.limit]]
    for path in [*drawn, *([out / trimap.PLOT] if args.trimap else [])]:
        refuse_foreign(path, flag)


def evaluate_and_record(
    reproduction: Reproduction,
    recipe: Recipe,
    split: Split,
    weights: Weights | NetworkFile | CachedNetwork,
    out: Path,
    *,
    trimap_widths: Sequence[int] = (),
    limit: int | None = None,
    val_seen: bool | None = None,
    save_results: bool = False,
    save_labels: bool = False,
    quiet: bool = False,
    command: str = "",
    keep: bool = False,
) -> tuple[dict[str, Any], Path]:
    """Evaluate by the recipe's protocol; write `out/metrics.json`, `out/pictures.npz` and the record.

    Args:
      reproduction: whose network it is.
      recipe: the whole recipe, with the protocol.
      split: the pictures.
      weights: the checkpoint.
      out: folder for the results.
      trimap_widths: measure mIoU in these bands around the boundaries too, and plot it.
      limit: only the first so many pictures.
      val_seen: whether the weights were trained on the pictures; None if unknown.
      save_results: write picture, label, result and overlay of each picture side by side, `out/results/<stem>.png`.
      save_labels: write the label maps, `out/labels/<stem>.png`.
      quiet: no progress.
      command: the command line, for the record.
      keep: put the record among the tables' whatever it is of.

    Returns:
      The metrics, and the record's path.
    """
    # Imported here so that other commands, and refusals, need not wait for SciPy and TensorFlow.
    from common.inference.picture_scores import LABELS_FOLDER, SCORES_FILE, PictureScores

    count = len(split.pairs[:limit])
    record_id = records.record_id(reproduction, recipe, split, weights, count, recipe.at_evaluation().protocol())
    scores = PictureScores(recipe.num_classes, split.card.ignore_label)

    def save(index: int, image: np.ndarray, mask: np.ndarray, label: np.ndarray) -> None:
        name = split.pairs[index][0].stem
        scores.add(name, mask, label)
        if save_results:
            _save_panels(out / PANELS_FOLDER / f"{name}.png", (image, mask, label), split.card.palette, record_id)
        if save_labels:
            with atomic(out / LABELS_FOLDER / f"{name}.png") as temporary:
                save_label_png(temporary, label, split.card.palette)
                add_png_note(temporary, [record_id])

    started = time.monotonic()
    run_folder.read_summary(weights.path.parent)  # before the work: the record needs both
    run_folder.check_untrained(weights.path.parent)
    with reproduction.open_segmenter(weights, recipe) as segmenter:
        metrics = evaluate(segmenter, split, trimap=trimap_widths, limit=limit, then=save, quiet=quiet)
    if metrics["miou"] is None:
        raise no_class_error(split, metrics["images"], "nothing can be counted")
    write_text(out / METRICS_FILE, records.dumps({"record": record_id, **metrics}))
    scores.save(out / SCORES_FILE)
    record = records.write_record(
        reproduction=reproduction, recipe=recipe, split=split, weights=weights, metrics=metrics, evaluation=out,
        seconds=time.monotonic() - started, command=command, val_seen=val_seen, keep=keep,
    )  # fmt: skip
    if trimap_widths:
        names = [f"{reproduction.title} {recipe.variant}"]
        trimap.plot(out / trimap.PLOT, [metrics], names, records=[record_id])
    return metrics, record


def _save_panels(path: Path, shown: tuple[np.ndarray, np.ndarray, np.ndarray], palette: Palette, record: str) -> None:
    """Write picture, mask, label map and overlay side by side; the PNG names its record."""
    image, _, label = shown
    panels = np.concatenate([picture_row(*shown, palette), overlay(image, label, palette)], axis=1)
    with atomic(path) as temporary:
        temporary.write_bytes(png_bytes(panels, records=[record]))
