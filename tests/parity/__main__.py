"""`make parity`: every comparison with an original program, measured and recorded in results/parity/<program>.json."""

import dataclasses
import datetime
import importlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import program
from common.errors import UserError
from common.files import write_text
from common.paths import ROOT
from common.results import parity, records
from common.results.code_version import code_version
from tests.conftest import GOLDEN_DIR
from tests.parity.measurement import Measurement, Skipped, arithmetic


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 all equal, 1 a difference beyond its tolerance, 2 wrong arguments."""
    parser = program.ArgumentParser(
        prog="python -m tests.parity", description="Compare the suite with the original programs and record it."
    )
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="default: all; --list shows them")
    parser.add_argument("--list", action="store_true", help="show the programs and whether they have a record")
    parser.add_argument(
        "--jobs", type=program.whole_number(1), default=2, metavar="N", help="programs at a time (default: %(default)s)"
    )
    args = parser.parse_args(arguments)
    unknown = [name for name in args.programs if name not in parity.PROGRAMS]
    if unknown:
        parser.error(f"PROGRAM {unknown[0]}: there are {', '.join(parity.PROGRAMS)}")
    return program.run(lambda: _list() if args.list else _compare(args.programs or [*parity.PROGRAMS], args.jobs))


def _list() -> None:
    for name, original in parity.PROGRAMS.items():
        there = "recorded" if parity.record_path(name).is_file() else "no record"
        print(f"{name:18} {original.name}, {original.ran_under}: {there}")


def _compare(programs: list[str], jobs: int) -> int:
    """One program in this process; several in processes of their own, because each fills a machine's memory."""
    if len(programs) == 1:
        return _measure(programs[0])
    with ThreadPoolExecutor(jobs) as pool:
        statuses = list(pool.map(_in_own_process, programs))
    return max(statuses)


def _in_own_process(name: str) -> int:
    command = [sys.executable, "-m", "tests.parity", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, end="", flush=True)
    if done.returncode not in (0, 1) or not done.stdout:
        print(f"{name}: {done.stderr}", file=sys.stderr, flush=True)
    return done.returncode


def _measure(name: str) -> int:
    """Measure one program, write its record, and say what is beyond its tolerance."""
    started, module = time.monotonic(), importlib.import_module(f"tests.parity.{name}")
    found = list(module.measurements())
    measured = [m for m in found if isinstance(m, Measurement)]
    skipped = [s for s in found if isinstance(s, Skipped)]
    if not measured:
        raise UserError(f"{name}: {GOLDEN_DIR} has no answers of {parity.PROGRAMS[name].name}; set GOLDEN_DIR")
    beyond = [m for m in measured if not m.holds]
    seconds = time.monotonic() - started
    path = _write(name, measured, skipped, seconds)
    print(f"{name}: {len(measured)} comparisons, {len(beyond)} beyond what is allowed, {seconds:.0f} s, {path}")
    for line in [*beyond, *(f"{s.what}: not measured: {s.why}" for s in skipped)]:
        print(f"  {line}")
    return 1 if beyond else 0


def _write(name: str, measured: list[Measurement], skipped: list[Skipped], seconds: float) -> Path:
    measurements = [dataclasses.asdict(m) for m in measured]
    original = parity.PROGRAMS[name]
    record = {
        "schema": parity.SCHEMA,
        "program": name,
        "original": original.name,
        "ran_under": original.ran_under,
        "compared": parity.compared(measurements),
        "measurements": measurements,
        "skipped": [dataclasses.asdict(s) for s in skipped],
        "arithmetic": arithmetic(),
        "seconds": round(seconds, 1),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "code": code_version(f"tests.parity.{name}"),
        "versions": records.versions(),
        "cpu": records.cpu(),
        "cores": os.cpu_count(),
    }
    path = parity.record_path(name)
    write_text(path, records.dumps({**record, "digest": records.digest(record)}))
    return path


if __name__ == "__main__":
    sys.exit(main())
