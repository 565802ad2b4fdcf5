"""Measure batch norm's stored statistics on pictures, for networks without trained weights.

A frozen batch norm with mean 0 and variance 1 does nothing, and a hundred layers of random weights without
normalisation carry neither signal nor gradient.
"""

from collections.abc import Mapping

import numpy as np

from common.console import Progress
from common.data.split import Split
from common.nets import layers
from common.nets.network import Network, build
from common.recipe.recipe import Recipe
from common.tf1 import session, slim, tf
from common.training.batches import TrainingBatches


def calibrate(
    network: Network, recipe: Recipe, split: Split, weights: Mapping[str, np.ndarray], quiet: bool = False
) -> dict[str, np.ndarray]:
    """Average the batch statistics over the first `recipe.calibration_batches` training batches.

    All layers normalise by the same batch, so one pass calibrates every layer.

    Args:
      network: the reproduction's network.
      recipe: of the run.
      split: the training pictures.
      weights: values of all variables of the network, by name.
      quiet: no progress.

    Returns:
      moving_mean and moving_variance of every batch norm, by variable name.
    """
    count = recipe.calibration_batches
    one_pass = recipe.derive(grad_update_every=1)
    with tf.Graph().as_default(), session() as sess, TrainingBatches(split, one_pass, last_step=count) as batches:
        images = tf.placeholder(tf.float32, [None, *recipe.crop_size, 3])
        done = tf.placeholder(tf.float32, [])
        # A moving average with decay k / (k + 1) is the mean of k + 1 batches.
        with slim.arg_scope([layers.batch_norm], decay=done / (done + 1)):
            build(network, images, recipe.in_floats(), batch_statistics=True)
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        variables = tf.global_variables()
        sess.run(
            [v.initializer for v in variables],
            {v.initializer.inputs[1]: weights[v.op.name] for v in variables},
        )
        with Progress("calibrating batch norm", count, quiet=quiet) as progress:
            for k, (batch, _) in enumerate(batches):
                sess.run(updates, {images: batch, done: k})
                progress.advance()
        return sess.run({v.op.name: v for v in variables if v.op.name.rpartition("/")[2].startswith("moving_")})
