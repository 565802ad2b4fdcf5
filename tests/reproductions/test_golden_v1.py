"""DeepLab-LargeFOV against the original program (TensorFlow 1.15) and against Caffe 1.0."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from common.nets.network import build, preprocess
from common.tf1 import session, tf
from common.training.step import train_step
from reproductions.v1.model import network
from reproductions.v1.recipe import ORIGINAL, PAPER
from tests.conftest import ROOT
from tests.helpers import golden_cases
from tests.helpers.golden_cases import fill, parsed, relative

CASES, CAFFE = golden_cases.load("lfov"), golden_cases.load("caffe_largefov")
each_case = pytest.mark.parametrize("case", CASES)


def test_cases_are_there():
    assert CASES and CAFFE, "no lfov.npz or caffe_largefov.npz in GOLDEN_DIR"


def picture(about):
    return golden_cases.weights.image(about["seed"], about["height"], about["width"], about["batch"])


def label(about):
    size = about["seed"], about["height"], about["width"], about["batch"]
    return golden_cases.weights.label(*size, ignore=False)


def logits_and_labels(image, recipe):
    with tf.Graph().as_default(), tf.Session() as session:
        logits = build(network, preprocess(tf.constant(image), recipe), recipe).logits
        labels = tf.argmax(tf.image.resize_bilinear(logits, image.shape[1:3]), axis=3)
        fill(session)
        return session.run((logits, labels))


@each_case
def test_variables(case):
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 97, 97, 3]), ORIGINAL)
        ours = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
        assert all(v.trainable for v in tf.global_variables())
    assert ours == {name: shape for name, shape, *_ in parsed(CASES[case]["variables"])}


@each_case
def test_logits_and_labels(case):
    golden = CASES[case]
    recipe = ORIGINAL.derive(num_classes=golden["logits"].shape[-1])
    logits, labels = logits_and_labels(picture(parsed(golden["input"])), recipe)
    assert relative(logits, golden["logits"]) <= 2e-5
    assert np.mean(labels == golden["prediction"][..., 0]) >= 0.999


def adam_losses(case):
    golden, about = CASES[case], parsed(CASES[case]["input"])
    recipe = ORIGINAL.derive(
        num_classes=golden["logits"].shape[-1],
        keep_prob=about["keep_prob"],
        learning_rate=about["learning_rate"],
        weight_decay=float(about["weight_decay"]),
    )
    with tf.Graph().as_default(), session() as sess:
        images = preprocess(tf.constant(picture(about)), recipe)
        step = train_step(network, images, tf.constant(label(about)), recipe)
        fill(sess)
        return [float(sess.run((step.loss, step.update))[0]) for _ in golden["train_losses"]]


@each_case
def test_adam_losses(case):
    """In TensorFlow 1.15's arithmetic, without oneDNN: a process of its own, because it is chosen at the import."""
    program = f"from tests.reproductions.test_golden_v1 import adam_losses; print(adam_losses({case!r}))"
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    losses, golden = json.loads(done.stdout), CASES[case]["train_losses"]
    np.testing.assert_allclose(losses, golden, rtol=5e-4)
    assert losses[0] == pytest.approx(golden[0], rel=1e-4)


@each_case
def test_adam_losses_with_onednn(case):
    """The default arithmetic: alike until near-ties of the max pools flip and Adam makes whole steps of them."""
    losses, golden = adam_losses(case), CASES[case]["train_losses"]
    np.testing.assert_allclose(losses[:3], golden[:3], rtol=5e-4)
    np.testing.assert_allclose(losses, golden, rtol=1e-2)


@pytest.mark.parametrize("case", CAFFE)
def test_the_paper_recipe_is_caffes_network(case):
    golden = CAFFE[case]
    image = picture(parsed(golden["input"]))
    recipe = PAPER.derive(num_classes=golden["logits"].shape[-1])
    logits, _ = logits_and_labels(image, recipe)
    assert relative(logits, golden["logits"]) <= 2e-5
    other, _ = logits_and_labels(image, recipe.derive(pooling="tensorflow"))
    assert relative(other, golden["logits"]) > 0.05  # the average pool's borders reach every pixel
