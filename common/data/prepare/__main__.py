"""`python -m common.data.prepare NAME`: fetch, unpack, check and prepare a public data set for training.

Files that are right are kept. After a stop at any point the same command continues and ends with the same files.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from common import program
from common.console import show
from common.data.prepare.datasets import DATA, PREPARATIONS, prepare
from common.data.prepare.job import PreparedSet
from common.downloads.manifest import MANIFEST, read_manifest
from common.errors import UserError

SOURCES = {name: preparation.sources for name, preparation in PREPARATIONS.items() if preparation.sources}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 all done, 2 wrong arguments or something missing, 130 on Ctrl-C."""
    parser = program.ArgumentParser(
        prog="python -m common.data.prepare",
        description="Fetch, unpack, check and prepare a public data set; what is there and right is kept.",
        example="voc-aug",
    )
    parser.add_argument("name", nargs="?", choices=PREPARATIONS, metavar="NAME", help=", ".join(PREPARATIONS))
    parser.add_argument("--out", type=Path, default=DATA, metavar="DIR",
                        help="the folder that the data sets lie in (default: %(default)s)")  # fmt: skip
    choices = "; ".join(f"{name}: {' or '.join(sources)}" for name, sources in SOURCES.items())
    parser.add_argument("--from", dest="source", choices=sum(SOURCES.values(), ()),
                        help=f"the source of the masks (default: the first that can be had); {choices}")  # fmt: skip
    parser.add_argument("--allow-partial", action="store_true", help="accept splits that are not of the official size")
    parser.add_argument("--workers", type=program.whole_number(1, program.MOST_WORKERS), default=os.cpu_count(),
                        metavar="N",
                        help="how many files to work on at once (default: as many as processors)")  # fmt: skip
    parser.add_argument("--manifest", type=Path, default=MANIFEST, metavar="FILE",
                        help="manifest of the files' sources, for your own mirrors (default: the suite's)")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the data sets")
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    if bool(args.name) == args.list:
        parser.error("give either a NAME or --list")
    if args.source and args.name not in SOURCES:
        parser.error(f"--from is for {', '.join(SOURCES)}")
    if args.source and args.source not in SOURCES[args.name]:
        parser.error(f"--from {args.source} is no source of {args.name}, which has {' and '.join(SOURCES[args.name])}")
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    if args.list:
        for name, preparation in PREPARATIONS.items():
            show(f"{name:18} {preparation.about}")
        return
    prepared = prepare(
        args.name,
        args.out,
        source=args.source,
        allow_partial=args.allow_partial,
        workers=args.workers,
        quiet=args.quiet,
        manifest=read_manifest(args.manifest),
    )
    show("\n".join(_table(prepared)))
    if prepared.unfinished:
        raise UserError(prepared.unfinished)


def _table(prepared: PreparedSet) -> Iterator[str]:
    yield str(prepared.folder)
    for split, count in prepared.splits.items():
        yield f"  {split:12} {count:9,d} pictures"
    yield from (f"  {note}" for note in prepared.notes)
    yield f"next: {prepared.following}"


if __name__ == "__main__":
    sys.exit(main())
