"""Run trials: each in a process of its own, forked from one that has imported everything.

`python -m tests.fuzz --trials 5000 --seed 1`; `--only KIND` takes one kind, `--first N` begins at trial N.
"""

import argparse
import collections
import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common.errors import LONGEST_MESSAGE
from tests.conftest import ROOT
from tests.fuzz.kinds import KINDS, PROGRAMS, call, flags_of, hostile_command, write_right_files
from tests.fuzz.mutations import damaged

SECONDS, MEMORY = 20, 2 << 30  # what a trial may take
COMMAND_LINES = "command line"
RESERVE = 12 << 30  # of a process's addresses, so that a mistake here does not take the machine


class Fuzz:
    """Trials of one seed; trial number n is the same in every run."""

    def __init__(self, folder: Path, seed: int, only: str = ""):
        self.folder, self.seed = folder, seed
        self.right = folder / "right"
        if not (child := os.fork()):  # TensorFlow's threads, which a session starts, do not survive a fork
            _be_child(lambda: write_right_files(self.right), folder, folder / "out", folder / "err")
        _, status = os.waitpid(child, 0)
        if status:
            raise RuntimeError((folder / "err").read_text())
        self.flags = {name: flags_of(name) for name in PROGRAMS}
        shares = {name: kind.share for name, kind in KINDS.items()} | {COMMAND_LINES: 14}
        self.kinds = [name for name, share in shares.items() for _ in range(share) if only in ("", name)]

    def trial(self, number: int) -> tuple[str, str]:
        """The kind of a trial, and what is wrong; empty when nothing is."""
        rng = random.Random(f"{self.seed} {number}")
        kind = rng.choice(self.kinds)
        place = Path(tempfile.mkdtemp(dir=self.folder))
        work = place / "work"
        shutil.copytree(self.right, work)
        try:
            if kind == COMMAND_LINES:
                command, target = hostile_command(self.flags, rng), ""
            else:
                files = sorted(path for pattern in KINDS[kind].files for path in work.glob(pattern) if path.is_file())
                path = rng.choice(files)
                path.write_bytes(damaged(path.read_bytes(), rng))
                readers = [c for c in KINDS[kind].commands if any(w == path.relative_to(work).as_posix() for w in c)]
                command, target = rng.choice(readers or KINDS[kind].commands), path.name
            wrong = self._run(command, place, work)
            return kind, f"{wrong}\n    {target} {command!r:.600}" if wrong else ""
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def undamaged(self) -> list[str]:
        """What is wrong with the files before they are damaged: a reader that refuses them all finds nothing."""
        wrong = []
        for command in (command for name, kind in KINDS.items() if name in self.kinds for command in kind.commands):
            place = Path(tempfile.mkdtemp(dir=self.folder))
            shutil.copytree(self.right, place / "work")
            if said := self._run(command, place, place / "work", statuses=(0,)):
                wrong.append(f"{command}: {said}")
            shutil.rmtree(place)
        return wrong

    def _run(self, command: list[str], place: Path, work: Path, statuses: tuple[int, ...] = (0, 2)) -> str:
        out, err = self.folder / "out", self.folder / "err"
        start = time.monotonic()
        if not (child := os.fork()):
            _be_child(lambda: call(command), work, out, err)
        while True:
            ended, status, used = os.wait4(child, os.WNOHANG)
            if ended:
                break
            if time.monotonic() - start > SECONDS:
                os.kill(child, signal.SIGKILL)
                os.wait4(child, 0)
                return f"runs longer than {SECONDS} s"
            time.sleep(0.005)
        code, said = os.waitstatus_to_exitcode(status), err.read_text(encoding="utf-8", errors="replace")
        text = said + out.read_text(encoding="utf-8", errors="replace")
        if used.ru_maxrss << 10 > MEMORY:
            return f"takes {used.ru_maxrss >> 10} MiB"
        if code not in statuses or "unforeseen" in text or "Traceback" in text or "Warning:" in text:
            return f"status {code}: {said[-1500:].strip()}"
        if code == 2 and (sentences := number_of_errors(said, text)) != 1:
            return f"status 2 with {sentences} sentences: {said[-500:]!r}"
        if any(len(line) > LONGEST_MESSAGE + 200 for line in said.splitlines()):  # argparse adds where its help is
            return f"says {max(map(len, said.splitlines()))} characters in one line"
        if "\x1b" in text or "\x07" in text:
            return f"steers the terminal: {text[:300]!r}"
        if _names(place) != {"work"}:
            return f"writes outside its folder: {_names(place)}"
        return ""


def number_of_errors(said: str, text: str) -> int:
    """How many errors a command says that ends with status 2; `check`, whose table tells them on stdout, says one."""
    sentences = sum(line.startswith("error: ") for line in said.splitlines())
    return sentences or int(any(line.startswith("error") for line in text.splitlines()))


def files_of_checkout() -> dict[str, tuple[int, int]]:
    """Time and size of each file of the checkout, but for what Python and git keep for themselves."""
    found = {}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                found[str(path.relative_to(ROOT))] = (path.lstat().st_mtime_ns, path.lstat().st_size)
    return found


def changes_of_checkout(fuzz: Fuzz, number: int, before: dict[str, tuple[int, int]]) -> str:
    """Which files of the checkout a trial has made, or changes whenever it runs: a person may edit others meanwhile."""
    now = files_of_checkout()
    changed = sorted(now.keys() - before.keys())
    if not changed and now != before:
        fuzz.trial(number)
        changed = sorted(name for name, seen in files_of_checkout().items() if seen != now.get(name))
    return f"changes the checkout: {changed[:5]}" if changed else ""


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _be_child(work: Callable[[], int | None], place: Path, out: Path, err: Path) -> None:
    """Work as this process in the folder `place`, and end it."""
    status = 99
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (RESERVE, RESERVE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(place)
        os.environ |= {"RESULTS_DIR": str(place / "results"), "HOME": str(place)}
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout = open(1, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115, PTH123
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115, PTH123
        status = work() or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(seed: int, trials: int, first: int = 0, only: str = "", quiet: bool = False) -> dict[int, tuple[str, str]]:
    """The findings by number of trial: its kind and what is wrong."""
    findings: dict[int, tuple[str, str]] = {}
    counts: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        fuzz = Fuzz(Path(folder), seed, only)
        if refused := fuzz.undamaged():
            raise RuntimeError("\n".join(refused))
        before, start = _names(Path(folder)) | {"out", "err"}, time.monotonic()
        checkout = files_of_checkout()
        for number in range(first, first + trials):
            kind, wrong = fuzz.trial(number)
            counts[kind] += 1
            if not wrong and (strange := _names(Path(folder)) - before):
                wrong = f"writes outside its folder: {strange}"
                before |= strange
            wrong, checkout = wrong or changes_of_checkout(fuzz, number, checkout), files_of_checkout()
            if wrong:
                findings[number] = (kind, wrong)
                if not quiet:
                    print(f"trial {number}, {kind}: {wrong}", flush=True)
            if not quiet and (number + 1) % 500 == 0:
                print(
                    f"{number + 1 - first} trials, {time.monotonic() - start:.0f} s, {len(findings)} wrong", flush=True
                )
    if not quiet:
        print(f"seed {seed}: {trials} trials, {len(findings)} wrong")
        for kind, count in sorted(counts.items()):
            print(f"  {kind:14} {count:6,d} trials, {sum(k == kind for k, _ in findings.values())} wrong")
    return findings


def main(arguments: list[str] | None = None) -> int:
    """The command line; status 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first trial")
    parser.add_argument("--only", default="", choices=("", *KINDS, COMMAND_LINES), help="one kind")
    args = parser.parse_args(arguments)
    return int(bool(run(args.seed, args.trials, args.first, args.only)))


if __name__ == "__main__":
    sys.exit(main())
