"""A share of the fuzz; `make fuzz` runs the rest."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.fuzz import __main__ as fuzz
from tests.fuzz.__main__ import number_of_errors
from tests.fuzz.mutations import damaged, hostile


def test_a_share_of_the_fuzz():
    """Damaged files and hostile command lines: status 0, or 2 and a sentence; no hang, no memory, nothing outside.

    In a process of its own, since TensorFlow must not run before it forks.
    """
    words = ["-m", "tests.fuzz", "--trials", "100", "--seed", "7"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 7: 100 trials, 0 wrong" in done.stdout


@pytest.mark.parametrize("content", [b'{"a": [1, {"b": 2}]}', b"", bytes(range(256)), b"a b c"])
def test_trials_are_the_same_in_every_run(content):
    import random

    first, second = (
        [(damaged(content, rng), hostile(rng)) for rng in [random.Random(number) for number in range(200)]]
        for _ in range(2)
    )
    assert first == second
    assert len(set(first)) > 20


@pytest.mark.parametrize(
    ("said", "text", "count"),
    [
        ("error: a: is bad; mend it\n", "", 1),
        ("error: a\nerror: b\n", "", 2),
        ("note: all is well\n", "", 0),
        ("", "errors:\n  mask missing\n", 1),
    ],
)
def test_status_2_has_one_sentence(said, text, count):
    assert number_of_errors(said, said + text) == count


def test_the_checkout_is_watched(tmp_path, monkeypatch):
    """A trial that writes into it is found; a file that a person edits meanwhile is not the trial's."""

    class Trials:
        def __init__(self, written):
            self.written = written

        def trial(self, number):
            (tmp_path / "old").write_text(self.written)

    monkeypatch.setattr(fuzz, "ROOT", tmp_path)
    (tmp_path / "old").write_text("1")
    before = fuzz.files_of_checkout()
    assert fuzz.changes_of_checkout(Trials("333"), 5, before) == ""
    (tmp_path / "old").write_text("22")
    assert "old" in fuzz.changes_of_checkout(Trials("333"), 5, before)
    monkeypatch.setattr(Trials, "trial", lambda self, number: None)
    assert fuzz.changes_of_checkout(Trials("333"), 5, before) == ""
    (tmp_path / "new").write_text("1")
    assert "new" in fuzz.changes_of_checkout(Trials("333"), 5, before)
