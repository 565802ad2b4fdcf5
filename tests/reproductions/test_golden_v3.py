"""DeepLab v3 against the answers of the original program (TensorFlow 1.15)."""

import functools

import numpy as np
import pytest

from common.nets.network import build, preprocess
from common.tf1 import tf
from common.training.step import train_step
from reproductions.v3.model import network
from reproductions.v3.recipe import ASPP, ORIGINAL, fields_from_weights
from tests.helpers import golden_cases
from tests.helpers.golden_cases import fill, parsed, relative

CASES = golden_cases.load("v3")
each_case = pytest.mark.parametrize("case", CASES)


def test_cases_are_there():
    assert CASES, "no v3.npz in GOLDEN_DIR"


@functools.cache
def inputs(case):
    return golden_cases.inputs(CASES[case])


def recipe(case, **changes):
    """The recipe from what the file says of the case, and from the names of its variables."""
    about = parsed(CASES[case]["input"])
    settled = fields_from_weights({name: tuple(shape) for name, shape, *_ in parsed(CASES[case]["variables"])})
    assert settled["pixel_mean"] == ORIGINAL["pixel_mean"]  # known as the original's by its names
    told = {key: tuple(about[key]) for key in ("multi_grid", "atrous_rates") if key in about}
    return ASPP.derive(
        **settled | told,
        output_stride=about.get("output_stride", 16),
        learning_rate=about["learning_rate"],
        power=about["poly_power"],
        num_steps=about["poly_total_steps"],
        weight_decay=about["weight_decay"],
        batch_norm_decay=about["batch_norm_decay"],
        **changes,
    )


def pictures(case):
    return preprocess(tf.constant(inputs(case)[0]), recipe(case))


@each_case
def test_variables(case):
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 97, 97, 3]), recipe(case))
        ours = {v.op.name: [v.shape.as_list(), v.trainable] for v in tf.global_variables()}
    assert ours == {name: [shape, trainable] for name, shape, trainable in parsed(CASES[case]["variables"])}


@each_case
def test_logits_and_labels(case):
    golden = CASES[case]
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = build(network, pictures(case), recipe(case))
        labels = tf.argmax(tf.image.resize_bilinear(outputs.logits, inputs(case)[0].shape[1:3]), axis=3)
        fill(session)
        ours, predicted = session.run((outputs.logits, labels))
    assert relative(ours, golden["logits"]) <= 2e-5
    assert np.mean(predicted == golden["prediction"]) >= 0.999


@each_case
def test_batch_statistics_and_their_update(case):
    """Training mode: logits and pixel loss by the batch's statistics, and what one update stores."""
    golden, about = CASES[case], recipe(case)
    with tf.Graph().as_default(), tf.Session() as session:
        step = train_step(network, pictures(case), tf.constant(inputs(case)[1]), about)
        by_name = {v.op.name: v for v in tf.global_variables()}
        moving = [tf.norm(by_name[name].read_value()) for name in parsed(golden["moving_order"])]
        fill(session)
        loss, logits = session.run((step.pixel_loss, step.outputs.logits))
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        norms = session.run(moving)
    assert relative(logits, golden["train_mode_logits"]) <= 2e-3
    assert loss == pytest.approx(golden["loss_trainmode_frozen_reg"][0], rel=1e-4)
    np.testing.assert_allclose(norms, golden["moving_norms_after_one_update"], rtol=1e-5)


@each_case
def test_losses_gradients_and_training(case):
    """With stored statistics, gamma and beta trained: losses, every gradient, momentum steps."""
    golden, about = CASES[case], recipe(case, fine_tune_batch_norm=False)
    with tf.Graph().as_default(), tf.Session() as session:
        step = train_step(network, pictures(case), tf.constant(inputs(case)[1]), about)
        by_name = {v.op.name: v for v in tf.trainable_variables()}
        order = parsed(golden["gradient_order"])
        assert sorted(order) == sorted(by_name)
        norms = [tf.norm(g) for g in tf.gradients(step.loss, [by_name[n] for n in order])]
        fill(session)
        pixel_loss, loss, ours = session.run((step.pixel_loss, step.loss, norms))
        assert pixel_loss == pytest.approx(golden["loss_trainmode_frozen_reg"][1], rel=1e-4)
        assert loss - pixel_loss == pytest.approx(golden["loss_trainmode_frozen_reg"][2], rel=1e-4)
        np.testing.assert_allclose(ours, golden["gradient_norms"], rtol=1e-3)
        losses = [session.run((step.loss, step.update))[0] for _ in golden["train_losses"]]
    np.testing.assert_allclose(losses, golden["train_losses"], rtol=5e-4)
