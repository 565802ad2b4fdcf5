"""A share of the fuzz; `make fuzz` runs the rest."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.fuzz.mutations import damaged, hostile


def test_a_share_of_the_fuzz():
    """Damaged files and hostile command lines: status 0, or 2 and a sentence; no hang, no memory, nothing outside.

    In a process of its own, since TensorFlow must not run before it forks.
    """
    words = ["-m", "tests.fuzz", "--trials", "150", "--seed", "7"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 7: 150 trials, 0 wrong" in done.stdout


@pytest.mark.parametrize("content", [b'{"a": [1, {"b": 2}]}', b"", bytes(range(256)), b"a b c"])
def test_trials_are_the_same_in_every_run(content):
    import random

    first, second = (
        [(damaged(content, rng), hostile(rng)) for rng in [random.Random(number) for number in range(200)]]
        for _ in range(2)
    )
    assert first == second
    assert len(set(first)) > 20
