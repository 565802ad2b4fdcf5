"""`python -m common.data.check DIR`: check whether a data set is fit for training and evaluation, and list its content.

Prints the splits, the classes and every fault with its file, and draws the classes' frequencies. Pictures and masks are
read as training reads them, so that data without an error can be trained on. The kinds of fault are listed in
`faults.py`.
"""

import argparse
import sys
from pathlib import Path

from common import program
from common.console import show
from common.data.card import DatasetCard
from common.data.check.faults import find_faults
from common.data.check.survey import survey_folder
from common.data.check.tables import as_json, class_table, fault_list, plot_classes, split_table
from common.data.figures import refuse_foreign
from common.data.lists import card_by_name
from common.data.own import DATASET_FILE, locate
from common.data.sets.cards import CARDS
from common.data.sets.voc import VOC2012
from common.errors import UserError, quoted
from common.files import refuse_foreign_json, write_json

CHART = "class_frequencies.png"


def find_data(path: Path, dataset: str | None) -> tuple[DatasetCard, Path]:
    """Find the card and the data folder of `path`. Raises UserError for an unknown data set, and as `own.read_card`
    does."""
    if dataset:
        return card_by_name(dataset), path
    card, folder = locate(path)
    return card or VOC2012, folder


def _run(args: argparse.Namespace) -> int:
    """Check the folder and print the result; returns the exit status, 2 when there are errors."""
    card, folder = find_data(args.data, args.dataset)
    chart = _chart_path(args.out, folder)
    if args.out:  # the default folder is the suite's own
        refuse_foreign(chart, f"--out {args.out}")
    refuse_foreign_json(args.json, f"--json {args.json}", "stored_values")
    survey = survey_folder(card, folder, args.split or (), args.workers, args.quiet, args.channels)
    faults = find_faults(survey)
    show(f"{split_table(survey)}\n\n{class_table(survey)}\n")
    if faults:
        show(f"{fault_list(faults)}\n")
    plot_classes(chart, survey)
    if args.json:
        write_json(args.json, as_json(survey, faults))
    errors = sum(fault.kind.is_error for fault in faults)
    show(f"{folder}: {errors:,} errors, {len(faults) - errors:,} notes; class frequencies in {chart}")
    return 2 if errors else 0


def _channels(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if len(numbers) != 3 or not all(number.isdecimal() and int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not three channels like 4,3,2")
    return tuple(map(int, numbers))


def _chart_path(out: Path | None, folder: Path) -> Path:
    if out is None:
        return Path("runs") / "check" / folder.resolve().name / CHART
    if out.is_dir() or not out.suffix:
        return out / CHART
    if out.suffix != ".png":
        raise UserError(f"--out {out}: the chart is a PNG; name a file that ends in .png, or a folder")
    return out


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.data.check",
        description=__doc__.partition("\n")[0],
        example="data/sample",
    )
    parser.add_argument("data", type=Path, metavar="DIR", help="data set folder, or a dataset.yaml")
    parser.add_argument(
        "--dataset", metavar="NAME",
        help=f"{', '.join(CARDS)} (default: the folder's {DATASET_FILE}, or else {VOC2012.name})",
    )  # fmt: skip
    parser.add_argument(
        "--split", nargs="+", action="extend", metavar="NAME", help="split names or list files (default: all)"
    )
    parser.add_argument(
        "--channels", type=_channels, default=(), metavar="R,G,B",
        help="red, green and blue of pictures with more channels, as --set channels=4,3,2 of a run",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="DIR|FILE.png", help="the chart (default: runs/check/<DIR's name>/)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write tables and faults as JSON")
    program.add_workers(parser)
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
