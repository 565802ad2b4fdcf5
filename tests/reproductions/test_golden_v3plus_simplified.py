"""The simplified v3+ against the original's answers (TensorFlow 2.3), by its configuration and its Keras names."""

import json

import numpy as np
import pytest

from common.nets.losses import pixel_loss
from common.nets.network import Outputs
from common.tf1 import session, tf
from reproductions.v3plus_simplified.recipe import VARIANTS, fields_from_weights
from tests.parity import v3plus_simplified
from tests.parity.measurement import check
from tests.parity.v3plus_simplified import CASES, FILE

each_case = pytest.mark.parametrize("case", CASES)


def test_cases_are_there():
    assert CASES, "no simplified.npz in GOLDEN_DIR"


@each_case
def test_every_variable_of_the_original_has_its_place(case):
    check(v3plus_simplified.variables(case))


@each_case
def test_probabilities_and_labels(case):
    check(v3plus_simplified.probabilities_and_labels(case))


@each_case
def test_class_balanced_loss(case):
    check(v3plus_simplified.class_balanced_loss(case))


@each_case
def test_names_and_shapes_settle_the_network(case):
    ours = v3plus_simplified.answers(case)
    settled = fields_from_weights(ours.shapes)
    for field in ("base_model", "output_stride", "boundary_refinement", "reduction_size", "concat_channels",
                  "num_classes", "bn_scale"):  # fmt: skip
        assert settled[field] == getattr(ours.recipe, field), field


def test_published_weights():
    if "class_weights" not in FILE:
        pytest.skip("no class weights in simplified.npz")
    check(v3plus_simplified.published_weights())


def test_loss_by_hand():
    """Two pixels, three classes: -(w y log p + (1 - w) (1 - y) log(1 - p)), summed over classes, by numpy."""
    rng = np.random.RandomState(0)
    logits, labels, w = rng.randn(1, 1, 2, 3).astype(np.float32), np.array([[[[2], [0]]]], np.uint8), (0.2, 0.9, 0.7)
    recipe = VARIANTS["xception"].derive(num_classes=3, class_weights=w)
    p = np.exp(logits) / np.exp(logits).sum(axis=3, keepdims=True)
    truth = np.eye(3)[labels[..., 0]]
    wanted = -(np.array(w) * truth * np.log(p) + (1 - np.array(w)) * (1 - truth) * np.log(1 - p)).sum(axis=3).mean()
    with tf.Graph().as_default(), session() as sess:
        loss = sess.run(pixel_loss(Outputs(tf.constant(logits)), tf.constant(labels), recipe))
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert json.loads(recipe.encoder_middle_conf)
