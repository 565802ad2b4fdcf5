"""One network on several devices of a process: a part of the batch on each, with the same weights."""

import itertools
from collections.abc import Sequence
from typing import Any

from common.nets.network import Network, Outputs, build
from common.nets.replicas import ALONE, Replicas
from common.recipe.recipe import Recipe
from common.tf1 import tf


def build_on(
    devices: Sequence[str],
    network: Network,
    images: tf.Tensor,
    recipe: Recipe,
    replicas: Replicas = ALONE,
    **batch: Any,
) -> Outputs:
    """`common.nets.network.build` on one device or more.

    Args:
      devices: such as `/gpu:0`; fewer than two leave the place to TensorFlow.
      network: a reproduction's network.
      images: float32 [n, h, w, 3], preprocessed; n is a multiple of the number of devices.
      recipe: of the run.
      replicas: of `images`, where hosts have further parts; with several devices there are none.
      batch: `batch_statistics` and `step`, as of `build`.

    Returns:
      The scores of all n images, on the device of the moment: the loss is that of one device.
    """
    if len(devices) < 2:
        return build(network, images, recipe, replicas=replicas, **batch)
    towers = []
    for index, (device, part) in enumerate(zip(devices, tf.split(images, len(devices)), strict=True)):
        updates = list(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        tower = Replicas(len(devices), index, device, numbers=itertools.count(1))
        with tf.device(device), tf.variable_scope(tf.get_variable_scope(), reuse=index > 0):
            towers.append(build(network, part, recipe, replicas=tower, **batch))
        if index:  # all have the same statistics of the batch: the first one stores them
            tf.get_collection_ref(tf.GraphKeys.UPDATE_OPS)[:] = updates
    auxiliary = zip(*(tower.auxiliary for tower in towers), strict=True)
    return Outputs(
        tf.concat([tower.logits for tower in towers], axis=0), tuple(tf.concat(scores, axis=0) for scores in auxiliary)
    )
