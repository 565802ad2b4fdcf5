"""DeepLab v3 against the answers of the original program (TensorFlow 1.15)."""

import pytest

from reproductions.v3.recipe import ORIGINAL
from tests.parity import v3
from tests.parity.measurement import check

each_case = pytest.mark.parametrize("case", v3.CASES)


def test_cases_are_there():
    assert v3.CASES, "no v3.npz in GOLDEN_DIR"


@each_case
def test_variables(case):
    assert v3.settled(case)["pixel_mean"] == ORIGINAL["pixel_mean"]  # known as the original's by its names
    check(v3.variables(case))


@each_case
def test_logits_and_labels(case):
    check(v3.logits_and_labels(case))


@each_case
def test_batch_statistics_and_their_update(case):
    """Training mode: logits and pixel loss by the batch's statistics, and what one update stores."""
    check(v3.batch_statistics(case))


@each_case
def test_losses_gradients_and_training(case):
    """With stored statistics, gamma and beta trained: losses, every gradient, momentum steps."""
    check(v3.losses_gradients_and_training(case))
