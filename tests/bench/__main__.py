"""`make bench`: how long things take and how much memory, beside the peers, into results/bench.json.

Seconds are wall clock unless they are `processor`'s; memory is in MiB; see `contest` for the figures. The file is
written at the end: a run that is stopped leaves it as it was. `--only` measures some parts and keeps the others.
"""

import argparse
import datetime
import os
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from common import program
from common.errors import UserError
from common.files import write_text
from common.results import records, speed
from common.words import nearest
from tests.bench.contest import CannotRun
from tests.bench.parts import PARTS, Workshop


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m tests.bench", description="Measure speed and memory, beside the peers of make setup-bench."
    )
    parser.add_argument(
        "--only", type=part_names, metavar="PARTS", help="with blanks or commas between them: " + ", ".join(PARTS)
    )
    parser.add_argument("--rounds", type=program.whole_number(1), default=5, metavar="N", help="default: %(default)s")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def part_names(text: str) -> list[str]:
    """Read the value of --only: names of parts, or their first words, such as export."""
    names = {}
    for name in text.replace(",", " ").split() or [text]:
        found = [part for part in PARTS if part == name or part.startswith(f"{name}_")]
        if not found:
            raise argparse.ArgumentTypeError(f"{name!r}: {nearest(name, PARTS)}there are {', '.join(PARTS)}")
        names |= dict.fromkeys(found)
    return list(names)


def _run(args: argparse.Namespace) -> None:
    kept = speed.read_bench() if args.only else None
    parts = dict(kept["parts"]) if kept else {}
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(Path(folder), args.rounds)
        if not shop.installed:
            print("note: the peers are not installed; make setup-bench installs them", flush=True)
        for name in args.only or PARTS:
            started = time.perf_counter()
            parts[name] = measured(name, shop)
            print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    parts = {name: parts[name] for name in PARTS if name in parts}
    write_text(speed.bench_path(), records.dumps({"schema": speed.SCHEMA, "parts": parts}))
    print(speed.section({"parts": parts}))


def measured(name: str, shop: Workshop) -> dict[str, Any]:
    """A part's figures and what they were measured with; `load` is the machine's over a minute, before and after."""
    before = os.getloadavg()[0]
    try:
        contestants = PARTS[name].measure(shop)
    except CannotRun as error:
        raise UserError(f"{name}: {error}; nothing was written") from None
    return {
        "title": PARTS[name].title,
        "contestants": contestants,
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
        "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": records.commit(),
        "cpu": records.cpu(),
        "cores": os.cpu_count(),
        "versions": records.versions() | shop.installed | {"tf2onnx": metadata.version("tf2onnx")},
    }


if __name__ == "__main__":
    sys.exit(main())
