"""`python -m common.results`: RESULTS.md, PARITY.md and the README's tables, from records and the bench alone."""

import argparse
import sys

from common import program
from common.console import show, stage
from common.results import parity, speed
from common.results.records import results_dir
from common.results.tables import write_results


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.results",
        description="Write RESULTS.md, PARITY.md and the README's tables.",
        example="",
    )
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(_: argparse.Namespace) -> int:
    stage("making the tables")
    left_out = write_results()
    show(results_dir() / "RESULTS.md")
    page, others = parity.write_page()
    show(page)
    speed.fill_readme()
    return program.report_failures([*left_out, *others])


if __name__ == "__main__":
    sys.exit(main())
