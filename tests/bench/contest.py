"""Contests: pieces of work done in turn by processes of their own, so that the machine's drift meets all alike.

Figures of a contestant: `median` and `minimum` seconds of a round, `processor` (median seconds of all its threads),
`peak_mib` of its process, preparation included, `rounds`, and for label maps `agreement`: the share of pixels that
equal the first contestant's. A contestant that cannot run has `skipped`, a sentence, instead.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.paths import ROOT

PAUSE = 0.3  # seconds between two rounds: threads that wait by spinning have gone to sleep
PEERS = ROOT / ".venv-bench" / "bin" / "python"
NOT_INSTALLED = "not installed; make setup-bench"


class CannotRun(Exception):
    """A contestant that failed while it prepared or ran; the message is its last line."""


@dataclass(frozen=True)
class Contestant:
    """One side of a contest.

    Attributes:
      function: `module:function` that prepares, see `tests.bench.worker`.
      fields: its arguments, plain JSON.
      package: of the peers' environment, in which it runs; empty for the product's own.
    """

    function: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    package: str = ""

    def command(self) -> list[str]:
        """The command line of its process."""
        python = str(PEERS) if self.package else sys.executable
        module, _, function = self.function.partition(":")
        return [python, "-m", "tests.bench.worker", module, function, json.dumps(dict(self.fields))]


class Worker:
    """A contestant's running process; a context manager that ends it."""

    def __init__(self, command: Sequence[str]):
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed on exit)
        self._process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )

    def ask(self, line: str = "") -> dict[str, Any]:
        """The answer to a line, or to none: that it is ready. Raises CannotRun when the process ended."""
        try:
            if line:
                print(line, file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError):
            self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().decode("utf-8", "replace").split("\n")
            said = next((text for text in reversed(lines) if text.strip()), "")
            raise CannotRun(said.strip()[:200] or f"ended with status {self._process.returncode}") from None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def contest(contestants: Mapping[str, Contestant], rounds: int, installed: Mapping[str, str]) -> dict[str, Any]:
    """Figures of each contestant, in the order given; the first is the product, which must run.

    Args:
      contestants: by name.
      rounds: how many are timed, after one that is not.
      installed: the peers' packages and their versions.

    Raises CannotRun when the product fails.
    """
    figures: dict[str, Any] = {}
    workers: dict[str, Worker] = {}
    try:
        for name, contestant in contestants.items():
            if contestant.package and contestant.package not in installed:
                figures[name] = {"skipped": NOT_INSTALLED}
            else:
                workers[name] = Worker(contestant.command())
        for name in list(workers):
            _or_skip(name, workers, figures, "")
        answers = _run(workers, figures, rounds)
        agreements = _agreements(workers, figures)
        for name in list(workers):
            peak = _or_skip(name, workers, figures, "end")
            if peak:
                figures[name] = summary(answers[name]) | peak | agreements.get(name, {})
    finally:
        for worker in workers.values():
            worker.__exit__()
    first = next(iter(contestants))
    if "skipped" in figures[first]:
        raise CannotRun(f"{first}: {figures[first]['skipped']}")
    return {name: figures[name] for name in contestants}


def _run(workers: dict[str, Worker], figures: dict[str, Any], rounds: int) -> dict[str, list[dict[str, float]]]:
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for turn in range(rounds + 1):
        for name in list(workers):
            time.sleep(PAUSE)
            answer = _or_skip(name, workers, figures, "run")
            if turn and answer:
                answers[name].append(answer)
    return answers


def _or_skip(name: str, workers: dict[str, Worker], figures: dict[str, Any], line: str) -> dict[str, Any] | None:
    """The worker's answer; one that fails leaves the contest and says why."""
    try:
        return workers[name].ask(line)
    except CannotRun as error:
        workers.pop(name).__exit__()
        figures[name] = {"skipped": str(error)}
        return None


def summary(answers: Sequence[Mapping[str, float]]) -> dict[str, float | int]:
    """Median and minimum of the seconds, the median of the processor seconds, and how many rounds."""
    seconds = [answer["seconds"] for answer in answers]
    return {
        "median": round(statistics.median(seconds), 4),
        "minimum": round(min(seconds), 4),
        "processor": round(statistics.median(answer["processor"] for answer in answers), 4),
        "rounds": len(answers),
    }


def _agreements(workers: dict[str, Worker], figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The share of each label map's pixels that equal the first contestant's; nothing for work without one."""
    with tempfile.TemporaryDirectory() as folder:
        maps = {}
        for place, name in enumerate(list(workers)):
            path = Path(folder) / f"{place}.npy"
            answer = _or_skip(name, workers, figures, f"save {path}")
            if answer and answer["saved"]:
                maps[name] = np.load(path)
    first = next(iter(maps.values()), None)
    for name, one in maps.items():
        if one.shape != first.shape:
            workers.pop(name).__exit__()
            figures[name] = {"skipped": f"its label map is of shape {one.shape}, not {first.shape}"}
    return {name: {"agreement": round(float((maps[name] == first).mean()), 5)} for name in maps if name in workers}


def processes(commands: Mapping[str, Sequence[str] | str], rounds: int) -> dict[str, Any]:
    """Figures of whole processes from their start to their end, run in turn; a text stands for one that is skipped."""
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    figures: dict[str, Any] = {name: {"skipped": c} for name, c in commands.items() if isinstance(c, str)}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            if name in figures:
                continue
            time.sleep(PAUSE)
            try:
                answer = process(command)
            except CannotRun as error:
                figures[name] = {"skipped": str(error)}
                continue
            if turn:
                answers[name].append(answer)
    for name in commands:
        if name not in figures:
            figures[name] = summary(answers[name]) | {"peak_mib": max(a["peak_mib"] for a in answers[name])}
    return {name: figures[name] for name in commands}


def process(command: Sequence[str]) -> dict[str, float]:
    """Figures of one whole process. Raises CannotRun with its last line when it fails."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise CannotRun((said.read().decode("utf-8", "replace").strip().split("\n")[-1])[:200])
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "processor": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss * unit // 2**20,
    }
