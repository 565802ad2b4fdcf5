"""Towers on graphics cards; skipped where there is none."""

import numpy as np
import pytest

from common.nets.replicas import ALONE
from common.tf1 import graphics_cards, session_config, tf
from common.training.step import train_step
from tests.helpers.tiny import SMALL, network

pytestmark = pytest.mark.skipif(not graphics_cards(), reason="no graphics card")
MIB = 1024  # of each logical card


def losses(devices):
    """Five steps, on the first card or on two logical ones that are made of it."""
    rng, recipe = np.random.RandomState(0), SMALL.derive(learning_rate=0.005)
    images, labels = rng.randn(4, 65, 65, 3), rng.randint(0, 21, (4, 65, 65, 1))
    config = session_config()
    if devices:
        config.gpu_options.experimental.virtual_devices.add().memory_limit_mb.extend([MIB] * len(devices))
    with tf.Graph().as_default() as graph, tf.Session(graph=graph, config=config) as session:
        step = train_step(
            network, tf.constant(images, tf.float32), tf.constant(labels, tf.uint8), recipe, ALONE, devices
        )
        session.run(tf.global_variables_initializer())
        values = {v: np.random.RandomState(i).randn(*v.shape) * 0.1 for i, v in enumerate(tf.trainable_variables())}
        session.run([v.assign(value) for v, value in values.items()])
        return [session.run((step.loss, step.update))[0] for _ in range(5)]


def test_two_logical_cards_are_one():
    """The processes of a machine divide its cards once: the division comes first."""
    np.testing.assert_allclose(losses(("/gpu:0", "/gpu:1")), losses(()), rtol=1e-5)
