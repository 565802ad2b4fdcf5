"""`python -m common.results.compare RUN_A RUN_B`: which classes and pictures differ, and whether by more than chance.

    python -m common.results.compare 3a6b3c5488 50f1e2f5fb
    python -m common.results.compare out_a out_b --pictures 20 --json changes.json
    python -m common.results.compare RUN_A RUN_B --data VOC2012 --out changes

A RUN is a record (its file, its id or the last ten characters of it), the folder that an evaluation wrote, or the
pictures.npz in it. The metric is the suite's: one confusion matrix over all pictures, IoU of the classes that occur in
the labels, and their mean. The interval is a paired bootstrap's: pictures are drawn with replacement, as many as there
are, the same for both runs, and the percentiles of the difference over the draws are its ends. A class that no label of
a draw holds is left out of that draw's mean, and its own interval is over the other draws.
"""

import argparse
import contextlib
import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common import program
from common.console import show, stage
from common.data.drawing import few_colours, sheet
from common.data.figures import png_note, refuse_foreign
from common.data.lists import open_split
from common.data.masks import colour_labels
from common.errors import UserError
from common.files import atomic, read_json, refuse_foreign_json, write_json
from common.inference.metrics import METRICS_FILE
from common.inference.picture_scores import LABELS_FOLDER, SCORES_FILE, PictureScores
from common.paths import ROOT
from common.results import records
from common.results.bootstrap import OVERALL, Difference, Margins, differences
from common.results.protocol import protocol_text
from common.results.records import results_dir
from common.text_table import aligned, percent

DRAWS, PICTURES = 2000, 10
MOST_DRAWS = 100_000  # minutes of work
PICTURES_FOR_INTERVALS = 30  # pictures, below which percentile intervals are too narrow
SHEET = "changed_pictures.png"
# The figures by which pictures are ranked: the suite's, computed for one picture alone.
MEASURES = {"miou": "mean IoU over the classes in its label", "pixel_accuracy": "pixel accuracy"}


@dataclass(frozen=True)
class Run:
    """An opened evaluation.

    Attributes:
      title: its name in tables.
      source: its name in messages.
      scores: of its pictures.
      classes: names by class id; None when nothing but the scores is known.
      folder: the evaluation's; None when only scores are known.
      record: its record, if it was opened by its record.
    """

    title: str
    source: str
    scores: PictureScores
    classes: tuple[str, ...] | None
    folder: Path | None = None
    record: dict[str, Any] | None = None


def open_run(argument: str) -> Run:
    """Open a run by its name on the command line. Raises UserError when there is none, or it kept no picture scores."""
    path = Path(argument)
    if path.is_dir() or path.name == METRICS_FILE:
        return _from_folder(path if path.is_dir() else path.parent)
    if path.suffix == ".npz":
        scores = PictureScores.load(path)
        return Run(argument, argument, scores, _class_names(scores, read_json(path.parent / METRICS_FILE)), path.parent)
    return _from_record(path if path.suffix == ".json" else _find_record(argument))


def _from_folder(folder: Path) -> Run:
    if not (folder / SCORES_FILE).is_file():
        raise UserError(
            f"{folder}: holds no {SCORES_FILE}; name the --out folder of `evaluate`, and evaluate again if it is old"
        )
    scores = PictureScores.load(folder / SCORES_FILE)
    return Run(str(folder), str(folder), scores, _class_names(scores, read_json(folder / METRICS_FILE)), folder)


def _find_record(name: str) -> Path:
    runs = results_dir() / "runs"
    found = [p for p in sorted(runs.glob("*.json")) if name in (p.stem, p.stem[-10:])] or _find_beside(name)
    if len(found) != 1:
        what = f"is the end of {len(found)} ids" if found else f"is no record in {runs}, no folder and no file"
        raise UserError(f"{name}: {what}; name a record by its id or the last ten characters of it")
    return found[0]


def _find_beside(name: str) -> list[Path]:
    """The records of this id that lie beside their evaluations, below `runs/` and `out/`; broken ones are left out."""
    found = []
    for path in sorted(path for folder in records.EVALUATIONS for path in Path(folder).glob(f"**/{records.BESIDE}")):
        with contextlib.suppress(UserError):
            record_id = records.read_record(path)["id"]
            found += [path] if name in (record_id, record_id[-10:]) else []
    return found


def _from_record(path: Path) -> Run:
    record = records.read_record(path)
    again = f"`{record['command']}` writes it again"
    if not record.get("evaluation"):
        raise UserError(f"{path}: was made before evaluations kept the scores of each picture; {again}")
    places = [Path(record["evaluation"]), ROOT / record["evaluation"]]
    folder = next((place for place in places if (place / SCORES_FILE).is_file()), None)
    if folder is None:
        raise UserError(
            f"{path}: its evaluation {record['evaluation']} is not here, gone or below another folder; {again}, or "
            f"name that folder itself"
        )
    scores = PictureScores.load(folder / SCORES_FILE)
    if scores.matrix().tolist() != record["confusion_matrix"]:
        raise UserError(f"{path}: {folder} holds a later evaluation than this one; {again}")
    title = f"{record['title']} {record['variant']}, {protocol_text(record['protocol'])} [{record['id'][-10:]}]"
    return Run(title, str(path), scores, _class_names(scores, record), folder, record)


def _class_names(scores: PictureScores, metrics: dict[str, Any] | None) -> tuple[str, ...] | None:
    names = tuple((metrics or {}).get("per_class_iou", ()))
    return names if len(names) == scores.classes else None


@dataclass(frozen=True)
class Change:
    """A picture: its figures in both runs, by MEASURES."""

    picture: str
    a: dict[str, float]
    b: dict[str, float]

    def by(self, measure: str) -> float:
        return self.b[measure] - self.a[measure]


@dataclass(frozen=True)
class Comparison:
    """The comparison of B with A.

    Attributes:
      classes: those that some label holds, the greatest difference first.
      overall: mIoU and pixel accuracy.
      changes: pictures of both runs with a labelled pixel, the greatest change first.
      shared: pictures in both runs.
      left_out: the number of pictures only in A, and only in B.
      other_labels: the number of pictures in which the two runs counted different labels.
    """

    classes: list[Difference]
    overall: list[Difference]
    changes: list[Change]
    shared: int
    left_out: tuple[int, int]
    other_labels: int


def compare(
    a: Run, b: Run, *, count: int = DRAWS, seed: int = 0, confidence: float = 0.95, by: str = "miou"
) -> Comparison:
    """Compare two runs on the pictures that both have, and rank the pictures by the measure `by`.

    Raises:
      UserError: the runs have different numbers of classes, no picture in common, or two pictures of one name.
    """
    if a.scores.classes != b.scores.classes:
        raise UserError(
            f"{b.source}: has {b.scores.classes} classes where {a.source} has {a.scores.classes}; compare runs on one "
            f"data set"
        )
    where_a, where_b = _positions(a), _positions(b)
    names = [name for name in where_a if name in where_b]
    if not names:
        raise UserError(f"{b.source}: has no picture in common with {a.source}; evaluate both on one split")
    of_a = Margins.of(a.scores, [where_a[name] for name in names])
    of_b = Margins.of(b.scores, [where_b[name] for name in names])
    class_names = a.classes or b.classes or [f"class {i}" for i in range(a.scores.classes)]
    found = differences(of_a, of_b, class_names, count=count, seed=seed, confidence=confidence)
    classes = [d for d in found[: -len(OVERALL)] if not (math.isnan(d.a) and math.isnan(d.b))]
    changes = [
        Change(name, dict(zip(MEASURES, row_a, strict=True)), dict(zip(MEASURES, row_b, strict=True)))
        for name, row_a, row_b in zip(names, of_a.overall().tolist(), of_b.overall().tolist(), strict=True)
        if np.isfinite(row_a + row_b).all()
    ]
    return Comparison(
        classes=sorted(classes, key=lambda d: math.inf if math.isnan(d.difference) else -abs(d.difference)),
        overall=found[-len(OVERALL) :],
        changes=sorted(changes, key=lambda change: -abs(change.by(by))),
        shared=len(names),
        left_out=(len(where_a) - len(names), len(where_b) - len(names)),
        other_labels=int((of_a.labels != of_b.labels).any(axis=1).sum()),
    )


def _positions(run: Run) -> dict[str, int]:
    positions = {name: i for i, name in enumerate(run.scores.names)}
    if len(positions) < len(run.scores.names):
        twice = next(name for i, name in enumerate(run.scores.names) if positions[name] != i)
        raise UserError(f"{run.source}: has more than one picture called {twice}; pictures are compared by name")
    return positions


def as_text(comparison: Comparison, runs: tuple[Run, Run], args: argparse.Namespace) -> str:
    """The text that the command prints."""
    only_a, only_b = comparison.left_out
    lines = [
        f"A  {runs[0].title}",
        f"B  {runs[1].title}",
        f"{comparison.shared} pictures in both; left out: {only_a} of A alone, {only_b} of B alone",
    ]
    if comparison.other_labels:
        lines.append(f"note: the runs did not count the same labels in {comparison.other_labels} pictures")
    if comparison.shared < PICTURES_FOR_INTERVALS:
        lines.append(f"note: intervals of fewer than {PICTURES_FOR_INTERVALS} pictures are too narrow")
    lines += [
        "",
        f"Per cent. Interval: {100 * args.confidence:g} % of {args.draws:,} paired draws of pictures;",
        "* where it excludes 0 and enough pictures hold the class",
        _differences_table(comparison.classes, "class"),
        "",
        _differences_table(comparison.overall, "overall"),
    ]
    if args.pictures and comparison.changes:
        lines += ["", f"The pictures that changed most, by their {MEASURES[args.by]}", _changes_table(comparison, args)]
    return "\n".join(lines)


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.2f}"


def _differences_table(rows: Sequence[Difference], title: str) -> str:
    return aligned(
        (title, "pictures", "A", "B", "B - A", "from", "to", ""),
        [
            (d.name, str(d.pictures), percent(d.a), percent(d.b), _signed(d.difference), _signed(d.low),
             _signed(d.high), "*" if d.excludes_zero else "")
            for d in rows
        ],
    )  # fmt: skip


def _changes_table(comparison: Comparison, args: argparse.Namespace) -> str:
    header = ["picture", *(f"{name} {run}" for name in ("mIoU", "pixel acc.") for run in ("A", "B", "B - A"))]
    rows = [
        [c.picture, *(text for m in MEASURES for text in (percent(c.a[m]), percent(c.b[m]), _signed(c.by(m))))]
        for c in comparison.changes[: args.pictures]
    ]
    return aligned(header, rows)


def as_json(comparison: Comparison, runs: tuple[Run, Run], args: argparse.Namespace) -> dict[str, Any]:
    """The content of `--json`: shares, not per cent; None where a figure does not exist."""
    return {
        "runs": [{"title": run.title, "source": run.source} for run in runs],
        "pictures": comparison.shared,
        "left_out": list(comparison.left_out),
        "other_labels": comparison.other_labels,
        "draws": args.draws,
        "seed": args.seed,
        "confidence": args.confidence,
        "overall": [_rounded(dataclasses.asdict(d)) for d in comparison.overall],
        "classes": [_rounded(dataclasses.asdict(d)) for d in comparison.classes],
        "changes_by": args.by,
        "changes": [
            {"picture": change.picture, "a": _rounded(change.a), "b": _rounded(change.b)}
            for change in comparison.changes[: args.pictures]
        ],
    }


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    def number(value: Any) -> Any:
        return (None if math.isnan(value) else round(value, 6)) if isinstance(value, float) else value

    return {key: number(value) for key, value in figures.items()}


def write_sheet(changes: Sequence[Change], runs: tuple[Run, Run], args: argparse.Namespace) -> Path:
    """Draw `--out`/changed_pictures.png: picture, label, A and B of each change.

    Raises:
      UserError: a label map is missing, or the data set does not have the pictures.
    """
    record = next((run.record for run in runs if run.record), None) or {}
    evaluated = record.get("data", {})
    dataset = args.dataset or evaluated.get("dataset") or "voc2012"
    split = open_split(args.data, args.split or evaluated.get("split") or "val", dataset)
    card = split.card
    places = {image.stem: i for i, (image, _) in enumerate(split.pairs)} | {name: i for i, name in enumerate(split.ids)}
    rows, present = [], set()
    for change in changes:
        if change.picture not in places:
            raise UserError(
                f"--data {args.data}: has no picture {change.picture} in {split.title}; name what was evaluated"
            )
        image, mask = split.read(places[change.picture])
        maps = [mask, *(_label_map(run, change.picture, mask.shape) for run in runs)]
        rows.append([image, *(colour_labels(label, card.palette) for label in maps)])
        present |= {int(class_id) for label in maps for class_id in np.unique(label)}
    legend = sorted(present & set(range(len(card.classes))))
    path = args.out / SHEET
    with atomic(path) as temporary:
        page = few_colours(sheet(rows, ("picture", "label", "A", "B"), legend, card), card.palette)
        page.save(temporary, pnginfo=png_note([run.record["id"] for run in runs if run.record]))
    return path


def _label_map(run: Run, picture: str, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 [h, w]: the class ids that the run gave a picture."""
    if run.folder is None or not (run.folder / LABELS_FOLDER).is_dir():
        folder = f"{run.folder}/{LABELS_FOLDER}"
        raise UserError(f"--out: {run.source} kept no label maps ({folder}); evaluate with --save-labels")
    path = run.folder / LABELS_FOLDER / f"{picture}.png"
    try:
        label = np.asarray(Image.open(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate again") from None
    if label.shape != shape:
        raise UserError(f"{path}: is {label.shape[1]}x{label.shape[0]}, not as large as its picture; evaluate again")
    return label


def _run(args: argparse.Namespace) -> None:
    if args.out and not args.data:
        raise UserError("--out: a sheet of pictures needs --data DIR, the data set that was evaluated")
    refuse_foreign(args.out and args.out / SHEET, f"--out {args.out}")
    refuse_foreign_json(args.json, f"--json {args.json}", "changes_by")
    runs = open_run(args.runs[0]), open_run(args.runs[1])
    stage("comparing the pictures")
    found = compare(*runs, count=args.draws, seed=args.seed, confidence=args.confidence, by=args.by)
    drawn = write_sheet(found.changes[: args.pictures], runs, args) if args.out else None
    if args.json:
        write_json(args.json, as_json(found, runs, args))
    show(as_text(found, runs, args))
    for path in filter(None, (args.json, drawn)):
        show(path)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and below 1, such as 0.95")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    whole = program.whole_number
    parser = program.ArgumentParser(
        prog="python -m common.results.compare",
        description="Differences of two evaluations by class, each with a paired bootstrap interval over pictures, and "
        "the pictures that changed most.",
        example="out/v3-evaluated out/v3plus-evaluated --data sample --out out/compared",
    )
    parser.add_argument(
        "runs", nargs=2, metavar="RUN", help="record (file, id or the id's last ten characters), folder or pictures.npz"
    )
    parser.add_argument(
        "--draws", type=whole(1, MOST_DRAWS), default=DRAWS, metavar="N", help=f"draws of pictures (default: {DRAWS})"
    )
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="seed of the draws (default: 0)")
    parser.add_argument(
        "--confidence", type=_share, default=0.95, metavar="C", help="confidence of the intervals (default: 0.95)"
    )
    parser.add_argument(
        "--pictures",
        type=whole(0),
        default=PICTURES,
        metavar="N",
        help=f"how many pictures to show, those that changed most first (default: {PICTURES})",
    )
    parser.add_argument("--by", choices=MEASURES, default="miou", help="what pictures are ranked by (default: miou)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to FILE too")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"draw those pictures into DIR/{SHEET}; needs --data")
    parser.add_argument("--data", metavar="DIR", help="the data set, its dataset.yaml, or 'sample'")
    parser.add_argument("--dataset", metavar="NAME", help="its name, if no RUN is a record (default: voc2012)")
    parser.add_argument("--split", metavar="NAME", help="its split, if no RUN is a record (default: val)")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
