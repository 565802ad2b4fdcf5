"""Drawn weights of any network, for tests that want label maps with many classes."""

from pathlib import Path

import numpy as np

from common.nets.network import Network, build
from common.recipe.recipe import Recipe
from common.tf1 import tf


def write_random_weights(path: Path, network: Network, recipe: Recipe) -> Path:
    """Weights whose label maps have many classes: as the network starts, but with large scores and other statistics."""
    rng = np.random.RandomState(3)
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 33, 33, 3]), recipe)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            values = session.run({v.op.name: v.value() for v in tf.global_variables()})
    for name, value in values.items():
        if name.endswith(("moving_mean", "beta", "biases")):
            values[name] = (rng.randn(*value.shape) * 0.2).astype(np.float32)
    np.savez(path, **values)
    return path
