"""Losses by hand: void pixels, hard pixels, class weights."""

import numpy as np
import pytest

from common.errors import UserError
from common.nets.losses import LOSSES, mean_loss
from common.recipe.recipe import Recipe
from common.tf1 import tf
from tests.helpers.tiny import SMALL


def loss_of(logits, labels, step=0, **settings):
    """The mean loss of a row of pixels: scores [pixels][classes] and labels [pixels]."""
    classes = len(logits[0])
    recipe = Recipe(variant="x", num_classes=classes, **settings)
    with tf.Graph().as_default(), tf.Session() as session:
        logits = tf.constant(np.array(logits, np.float32).reshape(1, 1, -1, classes))
        labels = tf.constant(np.array(labels, np.uint8).reshape(1, 1, -1, 1))
        return float(session.run(mean_loss(logits, labels, recipe, tf.constant(step, tf.int64))))


def probabilities(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_the_softmax_loss_is_tensorflows_and_its_gradient_too():
    """Also where the scores are so far apart that probabilities are 0."""
    rng = np.random.RandomState(0)
    logits, labels = (rng.randn(2, 9, 7, 5) * 60).astype(np.float32), rng.randint(0, 5, (2, 9, 7))
    with tf.Graph().as_default(), tf.Session() as session:
        scores, truth, weights = tf.constant(logits), tf.constant(labels, tf.int32), tf.constant(rng.rand(2, 9, 7))
        ours = LOSSES["softmax"](scores, truth, Recipe(variant="x", num_classes=5))
        other = tf.nn.sparse_softmax_cross_entropy_with_logits(logits=scores, labels=truth)
        found = [
            session.run((loss, tf.gradients(loss * tf.cast(weights, tf.float32), scores)[0])) for loss in (ours, other)
        ]
    for mine, expected in zip(*found, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-7)


def test_void_pixels_masked_or_averaged():
    equal, labels = np.zeros((4, 3)), [0, 1, 255, 255]
    assert loss_of(equal, labels) == pytest.approx(np.log(3))
    assert loss_of(equal, labels, void_pixels="averaged") == pytest.approx(np.log(3) / 2)
    assert loss_of(equal, [255] * 4) == 0


def test_void_pixels_of_the_seed_have_the_loss_of_equal_scores():
    easy = [[9, 0], [0, 9], [5, 5], [5, 5]]
    mean_valid = loss_of(easy, [0, 1, 255, 255])
    assert loss_of(easy, [0, 1, 255, 255], void_pixels="constant") == pytest.approx((mean_valid + np.log(2)) / 2)


def test_hard_pixels_by_hand():
    """Losses of four pixels, the last one void: log(1 + e^-d) for scores that differ by d."""
    scores, labels = [[0, 0], [1, 0], [3, 0], [0, 9]], [0, 0, 0, 255]
    losses = [np.log1p(np.exp(-d)) for d in (0, 1, 3)]
    assert loss_of(scores, labels, top_k_percent_pixels=0.25) == pytest.approx(losses[0])
    assert loss_of(scores, labels, top_k_percent_pixels=0.5) == pytest.approx(np.mean(losses[:2]))
    # All four: the void one has no loss and does not count.
    gradual = {"top_k_percent_pixels": 0.25, "hard_example_mining_step": 100}
    assert loss_of(scores, labels, step=0, **gradual) == pytest.approx(np.mean(losses))
    assert loss_of(scores, labels, step=70, **gradual) == pytest.approx(np.mean(losses[:1]))
    assert loss_of(scores, labels, step=50, **gradual) == pytest.approx(np.mean(losses[:2]))
    with pytest.raises(UserError, match="top_k_percent_pixels=0.0: is a share"):
        SMALL.derive(top_k_percent_pixels=0)


def test_weights_multiply_the_softmax_loss():
    """The mean over the pixels that have a class, of weighted losses, by numpy."""
    logits, weights = np.random.RandomState(0).randn(3, 21), tuple(np.linspace(0.1, 2.1, 21).round(3).tolist())
    log_p = np.log(probabilities(logits))
    wanted = -(weights[2] * log_p[0, 2] + weights[0] * log_p[1, 0]) / 2
    assert loss_of(logits, [2, 0, 255], class_weights=weights) == pytest.approx(wanted, rel=1e-5)


def test_the_class_balanced_loss_by_numpy():
    """Binary cross-entropies of all classes: a pixel's own class by its weight w, each other class by 1 - w."""
    logits, weights = np.random.RandomState(1).randn(3, 4), (0.9, 0.2, 0.6, 0.4)
    labels = [2, 0, 255]
    truth = np.eye(4)[labels[:2]]
    p, w = probabilities(logits)[:2], np.array(weights)
    wanted = -(w * truth * np.log(p) + (1 - w) * (1 - truth) * np.log(1 - p)).sum() / 2
    found = loss_of(logits, labels, loss="class_balanced", class_weights=weights)
    assert found == pytest.approx(wanted, rel=1e-5)


def test_every_loss_can_be_chosen():
    for name in LOSSES:
        assert SMALL.derive(loss=name, class_weights=(0.5,) * 21).loss == name
    with pytest.raises(UserError, match="loss"):
        SMALL.derive(loss="other")
