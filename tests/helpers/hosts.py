"""Processes of a run on several hosts, all of this machine, each under a hard limit of time.

`python -m tests.helpers.hosts COMMANDS ADDRESSES TASK` runs several commands of the tiny reproduction, a JSON list of
lists of words, one after the other in one process, as `reproduce` does, and writes a line of JSON for each.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers.ports import free_addresses

LIMIT = 120.0  # seconds, for a start of all processes on a machine that is busy
TINY = (sys.executable, "-m", "tests.helpers.tiny")


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (-n by signal n), what it said, and when, by time.monotonic."""

    status: int
    out: str
    err: str
    at: float


class Host:
    """A process with a group of its own, whose output goes to files."""

    def __init__(self, command: Sequence[str], folder: Path, cwd: Path = ROOT, env: dict[str, str] | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "out", folder / "err"
        own = {"TF_CPP_MIN_LOG_LEVEL"}  # common.tf1 has set it in the process of the tests
        inherited = {name: value for name, value in os.environ.items() if name not in own}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*map(str, command)], cwd=cwd, env=inherited | (env or {}), stdout=out, stderr=err,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.ended: Ended | None = None

    def send(self, number: int) -> None:
        """Send a signal to the process, if it is still there."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def look(self) -> Ended | None:
        """How it ended, if it has."""
        if self.ended is None and self.process.poll() is not None:
            self.ended = Ended(self.process.returncode, self._out.read_text(), self._err.read_text(), time.monotonic())
        return self.ended

    def is_left(self) -> bool:
        """Whether any process of its group is there."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """End the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def started(
    folder: Path,
    count: int,
    *arguments: object,
    each: Sequence[Sequence[object]] = (),
    before: Sequence[Sequence[str]] = (),
    addresses: Sequence[str] = (),
    **options: object,
) -> Iterator[list[Host]]:
    """Start `train` on so many hosts with these arguments; whatever happens, none of them outlives the block.

    Args:
      folder: of their outputs.
      count: how many.
      arguments: of all.
      each: further arguments of each one.
      before: words before each one's command.
      addresses: theirs; by default free ones.
      options: of `Host`.
    """
    addresses = addresses or free_addresses(count)
    begun = time.monotonic_ns()
    with contextlib.ExitStack() as left:
        processes = []
        for task in range(count):
            place = ("--hosts", ",".join(addresses), "--task", task)
            command = [*TINY, "train", "--quiet", *arguments, *(each[task] if each else ()), *place]
            words = before[task] if before else ()
            processes.append(Host([*words, *command], folder / f"{begun}-{task}", **options))
            left.callback(processes[-1].kill)
        yield processes


def wait(processes: Sequence[Host], limit: float = LIMIT) -> list[Ended]:
    """Wait until all have ended. Fails the test when one has not within so many seconds."""
    until = time.monotonic() + limit
    while [process for process in processes if not process.look()]:
        if time.monotonic() > until:
            states = [process.ended or "hung" for process in processes]
            pytest.fail(f"not ended within {limit:g} s: {states}")
        time.sleep(0.02)
    assert not [process for process in processes if process.is_left()], "a process outlived the one that started it"
    return [process.ended for process in processes]


def train_on(folder: Path, count: int, *arguments: object, **options: object) -> list[Ended]:
    """Train on so many hosts to the end, as `started`."""
    with started(folder, count, *arguments, **options) as processes:
        return wait(processes)


def in_turn(folder: Path, commands: Sequence[Sequence[Sequence[object]]]) -> list[list[dict]]:
    """Run several trainings in one set of processes, one for each host, which has a list of commands of its own.

    Returns for each host the `status` and the `err` of each command.
    """
    addresses = ",".join(free_addresses(len(commands)))
    with contextlib.ExitStack() as left:
        processes = []
        for task, own in enumerate(commands):
            words = json.dumps([[str(word) for word in command] for command in own])
            command = [sys.executable, "-m", "tests.helpers.hosts", words, addresses, task]
            processes.append(Host(command, folder / f"turn-{time.monotonic_ns()}"))
            left.callback(processes[-1].kill)
        ended = wait(processes, LIMIT + 30 * len(commands[0]))
    assert [(e.status, e.err) for e in ended] == [(0, "")] * len(commands), ended
    return [[json.loads(line) for line in e.out.splitlines()] for e in ended]


def _run_in_turn(commands: list[list[str]], addresses: str, task: str) -> None:
    from tests.helpers.tiny import run

    for command in commands:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = run(*command, "--hosts", addresses, "--task", task)
        sys.stdout.write(json.dumps({"status": status, "err": said.getvalue()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _run_in_turn(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3])
