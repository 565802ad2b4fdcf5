"""A command that is stopped leaves nothing half-written; what a killed one leaves, the next one removes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from common import files
from common.files import HALF_WRITTEN, WRITING, atomic, half_written
from common.report.folder import write_report
from common.weights import checkpoints
from tests.conftest import ROOT
from tests.helpers.leftovers import killed_name

WRITE_SLOWLY = """
import signal, sys, time
from pathlib import Path
from common import program
from common.files import atomic
from common.report import folder

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup

def collect(found, data, assets, quiet):
    print("writing", flush=True)
    time.sleep(60)

def text():
    with atomic(Path(sys.argv[2]) / "metrics.json"):
        collect(0, 0, 0, 0)

folder.collect = collect
sys.exit(program.run({"text": text, "report": lambda: folder.write_report(Path(sys.argv[2]) / "report")}[sys.argv[1]]))
"""


def stopped(what, folder, number):
    """A process that is in the middle of writing `what` into `folder` gets the signal."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_SLOWLY, what, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    process.send_signal(number)
    assert process.wait(20) == (-number if number == signal.SIGKILL else 128 + number)
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("what", ["text", "report"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_command_leaves_nothing(tmp_path, what, number):
    (tmp_path / "out").mkdir()
    assert stopped(what, tmp_path / "out", number) == []


@pytest.mark.parametrize("what", ["text", "report"])
def test_what_a_killed_command_leaves_goes_with_the_next(tmp_path, what):
    out = tmp_path / "out"
    out.mkdir()
    (left,) = stopped(what, out, signal.SIGKILL)
    assert left.startswith(WRITING)
    write_report(out / "report", quiet=True) if what == "report" else files.write_text(out / "metrics.json", "{}")
    assert [path.name for path in out.iterdir()] == ["report" if what == "report" else "metrics.json"]


def test_what_others_are_writing_stays(tmp_path, monkeypatch):
    """A process that lives, or one of another machine on the same disk, is still at it."""
    begins = half_written(WRITING, tmp_path)
    mine = tmp_path / f"{begins}a.json"
    with subprocess.Popen(["sleep", "60"]) as other:
        theirs = tmp_path / f"{begins.replace(str(os.getpid()), str(other.pid))}b.json"
        elsewhere = tmp_path / f"{WRITING}00000000-999999-c.json"
        for path in (mine, theirs, elsewhere):
            path.touch()
        monkeypatch.setattr(files, "_swept", set())
        with atomic(tmp_path / "metrics.json"):
            pass
        assert mine.exists()
        assert theirs.exists()
        assert elsewhere.exists()
        other.kill()
    time.sleep(0.1)
    monkeypatch.setattr(files, "_swept", set())
    checkpoints.write(tmp_path / "model.ckpt", {"a": np.ones(1, np.float32)})
    assert mine.exists()
    assert elsewhere.exists()
    assert not theirs.exists()


def test_a_folder_that_is_locked_is_swept_by_the_same_rule(tmp_path):
    """Another command may be writing into it: locks hold one kind of work, not all of them."""
    mine, dead = tmp_path / f"{half_written(WRITING, tmp_path)}a.json", tmp_path / killed_name(WRITING, "b.json")
    elsewhere = tmp_path / f"{WRITING}00000000-999999-c.json"
    for path in (mine, dead, elsewhere):
        path.touch()
    with files.locked(tmp_path, "busy"):
        assert mine.exists()
        assert elsewhere.exists()
        assert not dead.exists()


def test_git_ignores_what_is_half_written():
    for kind in HALF_WRITTEN:
        done = subprocess.run(["git", "check-ignore", "-q", f"results/{kind}x"], cwd=ROOT)
        assert done.returncode == 0, kind
