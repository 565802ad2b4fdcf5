"""A quarter of the zoo's MobileNetV2, for tests that want weights of v3+ within a second."""

import numpy as np

from common.nets.network import build
from common.tf1 import session, tf
from reproductions.v3plus.model import network
from reproductions.v3plus.variants import PASCAL
from tests.helpers import golden_cases


def values(golden: bool = False) -> dict[str, np.ndarray]:
    """Variable -> value: as they are drawn for training, or the golden weights, by which pictures get many classes."""
    recipe = PASCAL.derive(
        names="zoo", backbone="mobilenet_v2", depth_multiplier=0.25, aspp_depth=8, atrous_rates=(), decoder=False
    )
    with tf.Graph().as_default() as graph:
        build(network, tf.zeros([1, 33, 33, 3]), recipe)
        with session(graph) as running:
            if golden:
                golden_cases.fill(running)
            else:
                running.run(tf.global_variables_initializer())
            return {v.op.name: running.run(v) for v in tf.global_variables()}
