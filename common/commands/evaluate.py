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
from common.console import say, show, stage
from common.data.drawing import Palette, overlay, picture_row, png_bytes
from common.data.figures import add_png_note, refuse_foreign
from common.data.lists import check_classes, no_class_error, open_data
from common.data.masks import save_label_png
from common.data.split import Split
from common.errors import UserError, brief, quoted
from common.export.choice import TENSORFLOW, Opened
from common.files import atomic, check_writable, refuse_foreign_json, write_text
from common.inference import trimap
from common.inference.evaluation import count
from common.inference.metrics import METRICS_FILE
from common.recipe.recipe import Recipe
from common.reproduction import Reproduction
from common.results import parts, records
from common.results.code_version import code_version

ABOUT = "mIoU of a checkpoint on a split, with a record"
EXAMPLE = "--data sample --checkpoint runs/try-{name} --out out/{name}-evaluated --trimap --save-labels"
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
    parser.add_argument(
        "--shard", type=parts.shard, metavar="I/N",
        help="evaluate only the pictures I, I + N, I + 2 N, ..., with I from 1 to N, and write them into --out as "
        "part-I-of-N.json, which --merge joins with the others; a part has no metrics and no record, so that --record "
        "is refused",
    )  # fmt: skip
    parser.add_argument(
        "--merge", type=Path, metavar="DIR", action=program.Alone, beside=("record", "quiet"),
        help="join the parts in DIR, the --out of --shard, and write there what an evaluation of all pictures writes; "
        "takes the place of all arguments but --record and --quiet, and the others are refused",
    )  # fmt: skip
    program.add_record(parser)


def _widths(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9][0-9]{0,3}(,[1-9][0-9]{0,3})*", text):
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not a list of whole numbers of pixels, 1 to 9999, like 1,2,5"
        )
    return tuple(sorted({int(part) for part in text.split(",")}))


def run(reproduction: Reproduction, args: argparse.Namespace) -> None:
    """Evaluate, record, and print the figures; or write a part, or join parts."""
    if args.merge:
        _merge(reproduction, args)
        return
    if args.shard and args.record:
        raise UserError("--record: a part has no record; give it with --merge, which writes that of all parts")
    data = open_data(args.data)  # a wrong folder is refused before weights are opened, which takes seconds
    choice = choose(reproduction, args, TENSORFLOW)
    split = data.split_for(choice.recipe, args.split or choice.recipe.val_split)
    check_writable(args.out, f"--out {args.out}")
    shard = args.shard or parts.WHOLE
    evaluated = split.take(slice(args.limit))
    if shard.count > len(evaluated.pairs):
        raise UserError(f"--shard {shard}: there are {len(evaluated.pairs)} pictures; make so many parts at most")
    _refuse_foreign_pictures(evaluated.take(shard.places), args)
    check_classes(choice.recipe, split.card)
    choice.settle((evaluated.read(index)[0] for index in range(len(evaluated.pairs))), args.quiet)
    recipe = choice.recipe
    if split.card.source:
        recipe = recipe.derive(dataset=split.card.source)
    part = evaluate_part(
        reproduction, recipe, split, choice.weights, args.out, shard=shard,
        trimap_widths=args.trimap, limit=args.limit, val_seen=args.val_seen, quiet=args.quiet,
        save_results=args.save_results, save_labels=args.save_labels, command=args.command_line,
    )  # fmt: skip
    if args.shard:
        show(part.save(args.out))
        say(f"part {shard}, {part.counts.images} of {len(evaluated.pairs)} pictures; when all {shard.count} are there, "
            f"evaluate --merge {args.out} joins them", args.quiet)  # fmt: skip
    else:
        _report(part, *_write(part, args.out, args.record), args)
    if args.save_results:
        show(args.out / PANELS_FOLDER)


def _merge(reproduction: Reproduction, args: argparse.Namespace) -> None:
    """Join the parts in a folder, and write there what an evaluation in one writes."""
    flag, out = f"--merge {args.merge}", args.merge
    if not out.is_dir():
        raise UserError(f"{flag}: no such folder; name the --out of evaluate --shard")
    check_writable(out, flag)
    part = parts.join(out)
    name, by_engine = part.known["reproduction"], bool({"engine", "network_file"} & part.known["protocol"].keys())
    if name != reproduction.name:
        raise UserError(f"{flag}: its parts are of {brief(name)}, not of {reproduction.name}; merge them with that")
    if part.known["code"] != code_version(reproduction.module, by_engine):
        raise UserError(f"{flag}: its parts were evaluated by other code than this checkout has; merge them with that")
    if _refuse_foreign(out, flag) and part.counts.bands.matrices:
        refuse_foreign(out / trimap.PLOT, flag)
    if part.counts.matrix.counts.sum() == 0:
        raise UserError(f"{flag}: none of {part.counts.images} masks has a pixel of a class; nothing can be counted")
    _report(part, *_write(part, out, args.record), args)


def _report(part: parts.Part, metrics: dict[str, Any], record: Path, args: argparse.Namespace) -> None:
    """Print the figures of an evaluation, and the files that it wrote."""
    out = args.merge or args.out
    for name, iou in metrics["per_class_iou"].items():
        if iou is not None:
            show(f"{name:>15s} {iou:.4f}")
    for width, band in metrics.get("trimap", {}).items():
        show(f"mIoU within {width} pixels of the boundaries {band['miou']}  pixels {band['pixels']}")
    show(f"mIoU {metrics['miou']}  pixel accuracy {metrics['pixel_accuracy']}  pictures {metrics['images']}")
    show(f"{out / METRICS_FILE}\n{record}")
    if record.name == records.BESIDE:
        say(f"the record lies beside the evaluation, and no table shows it: it is of {part.why_beside}; --record puts "
            f"it into {records.results_dir() / 'runs'}", args.quiet)  # fmt: skip
    if "trimap" in metrics:
        show(out / trimap.PLOT)


def _refuse_foreign(out: Path, flag: str) -> bool:
    """Raise UserError when metrics, scores or record would replace what no evaluation wrote.

    Returns whether figures may be foreign too: a metrics.json of ours marks the whole folder.
    """
    from common.inference.picture_scores import SCORES_FILE

    refuse_foreign_json(out / METRICS_FILE, flag, "per_class_iou")
    if (out / METRICS_FILE).exists():
        return False
    if (out / SCORES_FILE).exists():
        raise UserError(
            f"{flag}: {SCORES_FILE} is there, but no {METRICS_FILE}; choose another folder, or move it away"
        )
    refuse_foreign_json(out / records.BESIDE, flag, "digest")
    return True


def _refuse_foreign_pictures(split: Split, args: argparse.Namespace) -> None:
    """Raise UserError when a result of `split` would replace what no evaluation wrote.

    Without a metrics.json, as when an evaluation was killed, or is of parts, each picture is read.
    """
    from common.inference.picture_scores import LABELS_FOLDER

    flag, out = f"--out {args.out}", args.out
    if args.shard:
        parts.refuse_foreign(args.shard.path(out), flag)
    if not _refuse_foreign(out, flag):
        return
    folders = [name for name, used in ((LABELS_FOLDER, args.save_labels), (PANELS_FOLDER, args.save_results)) if used]
    drawn = [out / folder / f"{image.stem}.png" for folder in folders for image, _ in split.pairs]
    for path in [*drawn, *([out / trimap.PLOT] if args.trimap else [])]:
        refuse_foreign(path, flag)


def evaluate_and_record(
    reproduction: Reproduction, recipe: Recipe, split: Split, weights: Opened, out: Path, *, keep: bool = False,
    **options: Any,
) -> tuple[dict[str, Any], Path]:  # fmt: skip
    """Evaluate by the recipe's protocol; write `out/metrics.json`, `out/pictures.npz` and the record.

    Args:
      reproduction, recipe, split, weights, out, options: as of `evaluate_part`.
      keep: put the record among the tables' whatever it is of.

    Returns:
      The metrics, and the record's path.
    """
    return _write(evaluate_part(reproduction, recipe, split, weights, out, **options), out, keep)


def evaluate_part(
    reproduction: Reproduction,
    recipe: Recipe,
    split: Split,
    weights: Opened,
    out: Path,
    *,
    shard: parts.Shard = parts.WHOLE,
    trimap_widths: Sequence[int] = (),
    limit: int | None = None,
    val_seen: bool | None = None,
    save_results: bool = False,
    save_labels: bool = False,
    quiet: bool = False,
    command: str = "",
) -> parts.Part:
    """Evaluate by the recipe's protocol; write the label maps and panels that are asked for.

    Args:
      reproduction: whose network it is.
      recipe: the whole recipe, with the protocol.
      split: the pictures.
      weights: the checkpoint.
      out: folder for the results.
      shard: only these of the pictures.
      trimap_widths: measure mIoU in these bands around the boundaries too.
      limit: only the first so many pictures, of which the shard is one.
      val_seen: whether the weights were trained on the pictures; None if unknown.
      save_results: write picture, label, result and overlay of each picture side by side, `out/results/<stem>.png`.
      save_labels: write the label maps, `out/labels/<stem>.png`.
      quiet: no progress.
      command: the command line, for the record, which leaves out `--shard`.
    """
    # Imported here so that other commands, and refusals, need not wait for SciPy and TensorFlow.
    from common.inference.picture_scores import LABELS_FOLDER, PictureScores

    evaluated, card = split.take(slice(limit)), split.card
    mine = evaluated.take(shard.places)
    stage("preparing the record")
    known = records.facts(reproduction, recipe, split, weights, len(evaluated.pairs), val_seen)
    scores = PictureScores(recipe.num_classes, card.ignore_label)

    def save(index: int, image: np.ndarray, mask: np.ndarray, label: np.ndarray) -> None:
        name = mine.pairs[index][0].stem
        scores.add(name, mask, label)
        if save_results:
            _save_panels(out / PANELS_FOLDER / f"{name}.png", (image, mask, label), card.palette, known["id"])
        if save_labels:
            with atomic(out / LABELS_FOLDER / f"{name}.png") as temporary:
                save_label_png(temporary, label, card.palette)
                add_png_note(temporary, [known["id"]])

    started = time.monotonic()
    with reproduction.open_segmenter(weights, recipe) as segmenter:
        counts = count(segmenter, mine, trimap=trimap_widths, then=save, quiet=quiet)
    stage("writing the results")
    if shard == parts.WHOLE and not counts.matrix.counts.any():
        raise no_class_error(split, counts.images, "nothing can be counted")
    command = re.sub(r" --shard[ =][0-9]+/[0-9]+", "", command)
    return parts.Part(
        shard, known, records.why_beside(known, weights.path, bool(card.source)), card.classes,
        parts.digest_of_pictures(evaluated),
        records.circumstances(recipe, weights, time.monotonic() - started, command), counts, scores,
    )  # fmt: skip


def _write(part: parts.Part, out: Path, keep: bool) -> tuple[dict[str, Any], Path]:
    """Write the files of a whole evaluation and its record; returns the metrics and the record's path."""
    from common.inference.picture_scores import SCORES_FILE

    known, metrics = part.known, part.counts.metrics(part.classes, part.known["protocol"])
    write_text(out / METRICS_FILE, records.dumps({"record": known["id"], **metrics}))
    part.scores.save(out / SCORES_FILE)
    is_beside = not keep and part.why_beside is not None
    record = records.write_record(known, metrics, part.how, out, is_beside)
    if "trimap" in metrics:
        names = [f"{known['title']} {known['variant']}"]
        trimap.plot(out / trimap.PLOT, [metrics], names, records=[known["id"]])
    return metrics, record


def _save_panels(path: Path, shown: tuple[np.ndarray, np.ndarray, np.ndarray], palette: Palette, record: str) -> None:
    """Write picture, mask, label map and overlay side by side; the PNG names its record."""
    image, _, label = shown
    panels = np.concatenate([picture_row(*shown, palette), overlay(image, label, palette)], axis=1)
    with atomic(path) as temporary:
        temporary.write_bytes(png_bytes(panels, records=[record]))
