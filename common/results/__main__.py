"""`python -m common.results`: results/RESULTS.md, results/PARITY.md and the README's tables, from records alone."""

import argparse
import sys

from common import program
from common.results import parity
from common.results.records import results_dir
from common.results.tables import write_results


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.results", description="Write RESULTS.md, PARITY.md and the README's tables."
    )
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(_: argparse.Namespace) -> int:
    left_out = write_results()
    print(results_dir() / "RESULTS.md")
    page, others = parity.write_page()
    print(page)
    return program.report_failures([*left_out, *others])


if __name__ == "__main__":
    sys.exit(main())
