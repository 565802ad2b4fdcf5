"""DeepLab-LargeFOV against the original program (TensorFlow 1.15) and against Caffe 1.0."""

import pytest

from tests.parity import v1, v1_caffe
from tests.parity.measurement import check

each_case = pytest.mark.parametrize("case", v1.CASES)


def test_cases_are_there():
    assert v1.CASES, "no lfov.npz or caffe_largefov.npz in GOLDEN_DIR"
    assert v1_caffe.CASES, "no lfov.npz or caffe_largefov.npz in GOLDEN_DIR"


@each_case
def test_variables(case):
    check(v1.variables(case))


@each_case
def test_logits_and_labels(case):
    check(v1.logits_and_labels(case))


@each_case
def test_adam_losses(case):
    """In TensorFlow 1.15's arithmetic, without oneDNN."""
    check(v1.training_steps_without_onednn(case))


@each_case
def test_adam_losses_with_onednn(case):
    """The default arithmetic: alike until near-ties of the max pools flip and Adam makes whole steps of them."""
    check(v1.training_steps(case))


@pytest.mark.parametrize("case", v1_caffe.CASES)
def test_the_paper_recipe_is_caffes_network(case):
    check(v1_caffe.logits(case))
    (other,) = v1_caffe.logits(case, pooling="tensorflow")
    assert other.difference > 0.05  # the average pool's borders reach every pixel
