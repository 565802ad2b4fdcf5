"""Half-written files and held folders."""

import fcntl
import os
import subprocess
import sys
import threading

import pytest

from common.errors import UserError
from common.files import HALF_WRITTEN, LOCK, locked, sweep
from tests.conftest import ROOT

BUSY = "at work in it; wait"


def test_a_held_folder_is_refused_by_name(tmp_path):
    with (
        locked(tmp_path, BUSY),
        pytest.raises(UserError, match=f"--out x: process {os.getpid()} is at work in it; wait"),
        locked(tmp_path, BUSY, title="--out x"),
    ):
        pass
    with locked(tmp_path, BUSY):
        pass
    assert not list(tmp_path.iterdir())


def test_an_unknown_holder(tmp_path):
    with (tmp_path / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f"{tmp_path}: another process is at work"), locked(tmp_path, BUSY):
            pass


def test_blocks_of_one_process_may_be_nested(tmp_path):
    with locked(tmp_path, BUSY), locked(tmp_path, BUSY, nested=True):
        pass


@pytest.mark.parametrize("fails", [False, True])
def test_a_block_that_leaves_nothing_leaves_no_folder(tmp_path, fails):
    folder = tmp_path / "a/b"
    with pytest.raises(UserError) if fails else locked(tmp_path / "other", BUSY), locked(folder, BUSY):
        assert folder.is_dir()
        if fails:
            raise UserError("refused")
    assert not list(tmp_path.iterdir())
    with locked(folder, BUSY):
        (folder / "x").touch()
    assert [path.name for path in folder.iterdir()] == ["x"]


def test_a_killed_process_leaves_no_lock_and_what_it_left_is_swept(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from common.files import locked\n"
        f"with locked(Path({str(tmp_path)!r}), 'busy'):\n"
        f"    for name in {HALF_WRITTEN!r}: Path({str(tmp_path)!r}, name + 'x').touch()\n"
        "    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1 + len(HALF_WRITTEN)
    with locked(tmp_path, BUSY):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_never_two_at_a_time(tmp_path):
    """Locks that are taken, removed and taken again by several at once: each is alone."""
    inside, refused = [], []

    def work():
        done = 0
        while done < 50:
            try:
                with locked(tmp_path / "x", BUSY):
                    inside.append(1)
                    assert len(inside) == 1
                    inside.pop()
                    done += 1
            except UserError as error:
                refused.append(str(error))

    failures = []
    threads = [threading.Thread(target=lambda: _catch(work, failures)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def _catch(function, failures):
    try:
        function()
    except BaseException as error:
        failures.append(error)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/x: cannot be written"), locked(tmp_path / "file/x", BUSY):
        pass


def test_sweeping_folders_below(tmp_path):
    for name in (".writing-a/b", "c/.saving-d/e", "c/.other", "f"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".other", ".saving-d", "c", "e", "f"]
    sweep(tmp_path, below=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".other", "c", "f"]
    sweep(tmp_path / "none", below=True)
