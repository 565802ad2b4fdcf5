"""CONTRIBUTING.md: its lists of files are followed for a toy, in a copy of the checkout."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.helpers import toy
from tests.test_house import ROOMS

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COPIED = ("common", "converters", "reproductions", "results", "tests")
ITEM = r"^\d+\. `([^`]+)`"


def section(title: str) -> str:
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"CONTRIBUTING.md has no section {title}"
    return found[1]


def listed(title: str) -> list[str]:
    """The files of a section's list, for a thing that is called toy."""
    files = [path.replace("NAME", "toy") for path in re.findall(ITEM, section(title), re.MULTILINE)]
    assert len(files) == len(set(files)) == len(re.findall(r"^\d+\.", section(title), re.MULTILINE))
    return files


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout, in which the toys are added one after the other."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        generated = ("figures", "report") if name == "results" else ()
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", *generated))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    return copy


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextlib.contextmanager
def changes(checkout: Path) -> Iterator[list[str]]:
    """A list that, at the end of the block, holds every file that is new or another one now."""
    touched: list[str] = []
    before = contents(checkout)
    yield touched
    touched += sorted(name for name, content in contents(checkout).items() if before.get(name) != content)


def add(checkout: Path, files: toy.Files) -> None:
    """Write a toy's new files, and edit the others."""
    for name, change in files.items():
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = change if isinstance(change, str) else change(path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")


def run(checkout: Path, *arguments: object) -> str:
    """Run `python -m ...` in the copy; returns what it prints."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RESULTS_DIR", "PYTEST_ADDOPTS", "GOLDEN_DIR")}
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def follows_the_rules(checkout: Path, touched: list[str]) -> None:
    """The toy passes the linter, its own test, and the tests of the house."""
    run(checkout, "ruff", "check", "--quiet", *(name for name in touched if name.endswith(".py")))
    tests = [name for name in touched if Path(name).name.startswith("test_")]
    run(checkout, "pytest", "-q", "-p", "no:cacheprovider", "tests/test_house.py", *tests)


def test_the_rooms_are_those_of_the_house():
    rooms = re.findall(r"^- `([^`]+)`: (.+)$", section("The rooms"), re.MULTILINE)
    assert rooms == [*ROOMS.items()]


def test_every_path_that_is_named_is_there():
    paths = [path for path in re.findall(r"`([\w./-]+/[\w./-]*)`", TEXT) if "NAME" not in path]
    assert len(paths) > 10
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_a_backbone(checkout):
    with changes(checkout) as touched:
        add(checkout, toy.BACKBONE)
    assert touched == sorted(listed("A backbone of DeepLab v3+"))
    follows_the_rules(checkout, touched)
    described = run(checkout, "reproductions.v3plus", "describe", "--set", "variant=toy", "eval_size=65")
    assert json.JSONDecoder().raw_decode(described)[0]["backbone"] == "toy"
    assert "toy/conv2/weights" in described


def test_a_loss(checkout, tmp_path):
    with changes(checkout) as touched:
        add(checkout, toy.LOSS)
    assert touched == sorted(listed("A loss"))
    follows_the_rules(checkout, touched)
    run(checkout, "common.data.sample", "--out", tmp_path / "sample")
    steps = ("--set", "loss=toy", "num_steps=1", "calibration_batches=0", "--run-dir", tmp_path / "run", "--quiet")
    run(checkout, "tests.helpers.tiny", "train", "--data", tmp_path / "sample", *steps)


def test_a_data_set(checkout, tmp_path):
    with changes(checkout) as touched:
        add(checkout, toy.DATA_SET)
    assert touched == sorted(listed("A data set"))
    follows_the_rules(checkout, touched)
    program = f"from pathlib import Path; from tests.data.test_toy import draw; draw(Path({str(tmp_path / 'toy')!r}))"
    subprocess.run([sys.executable, "-c", program], cwd=checkout, check=True)
    chart = ("--out", tmp_path / "chart.png", "--workers", 1, "--quiet")
    checked = run(checkout, "common.data.check", tmp_path / "toy", "--dataset", "toy", *chart)
    assert "pear" in checked
    assert " 0 errors" in checked


def test_a_reproduction(checkout, tmp_path):
    with changes(checkout) as touched:
        np.savez(checkout / "tests/golden/toy.npz", **toy.original_answers())
        add(checkout, toy.REPRODUCTION)
    assert touched == sorted(listed("A reproduction"))
    follows_the_rules(checkout, touched)
    assert "scores/biases" in run(checkout, "reproductions.toy", "describe", "--set", "variant=sample")
    options = ("--data", "sample", "--run-dir", tmp_path / "run", "--set", "variant=sample", "--quiet")
    run(checkout, "reproductions.toy", "train", *options)
    assert list((tmp_path / "run").glob("model.ckpt-2.index"))
    shown = subprocess.run(["make", "-C", checkout, "help"], capture_output=True, text=True, check=True).stdout
    assert "reproduce-toy" in shown
    assert re.search(r"^toy +toy/toy", run(checkout, "tests.parity", "--list"), re.MULTILINE)


def test_a_published_number(checkout):
    run(checkout, "common.results")  # what else is new since the tables were written is no part of this
    with changes(checkout) as touched:
        add(checkout, toy.PUBLISHED)
        run(checkout, "common.results")
    assert touched == sorted(listed("A published number"))
    table = (checkout / "results/RESULTS.md").read_text().partition("### github toy/toy README\n")[2]
    assert re.search(r"^\| Two layers \|.*\| 12\.34 \|", table, re.MULTILINE)
