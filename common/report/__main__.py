"""`python -m common.report`: results/report/index.html, to be opened from the disk."""

import argparse
import sys
from pathlib import Path

from common import program
from common.console import show, stage
from common.data.sample import SAMPLE, data_dir
from common.report import folder
from common.results import records


def main(arguments: list[str] | None = None) -> int:
    """Write the report; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.report",
        description="Write the report: tables, heat map, confusion matrices, curves, speed and a gallery in one folder "
        "that a browser opens without a server.",
        example="--out out/report",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the report's folder (default: results/report)")
    parser.add_argument(
        "--data", nargs="+", action="extend", default=[], metavar="DIR",
        help=f"data sets whose pictures the gallery shows; the sample set ('{SAMPLE}') is found by itself",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    data = [data_dir(name) for name in args.data]
    stage("collecting the records")
    page, left_out = folder.write_report(args.out or records.results_dir() / "report", data, args.quiet)
    show(page)
    return program.report_failures(left_out)


if __name__ == "__main__":
    sys.exit(main())
