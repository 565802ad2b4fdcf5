"""Batch norm within the convolution before it gives the values of batch norm."""

import numpy as np
import pytest

from common.nets import layers
from common.nets.network import Outputs, build
from common.tf1 import session, slim, tf
from tests.helpers.tiny import SMALL


def network(images, recipe, batch_statistics=False):
    with slim.arg_scope([layers.batch_norm], batch_statistics=batch_statistics):
        return scores_of(images)


def scores_of(images):
    net = layers.conv_bn_relu(images, 8, 3, scope="strided", stride=2, padding="even")
    for rate in (1, 2, 9):  # the last one by sub-maps
        net = layers.depthwise_conv2d(net, 3, scope=f"rate{rate}", rate=rate)
        net += layers.batch_norm(net, scope=f"rate{rate}/BatchNorm", epsilon=0.01)
    return Outputs(layers.batch_norm(net, scope="alone/BatchNorm", scale=False, activation_fn=tf.nn.relu6))


@pytest.fixture(scope="module")
def scores():
    """The scores and their gradients, without and with folding, both in float32."""
    rng = np.random.RandomState(0)
    with tf.Graph().as_default() as graph, session(graph) as running:
        images, found = tf.constant(rng.randn(2, 33, 21, 3), tf.float32), {}
        for precision in ("fp32", "bf16"):
            with tf.variable_scope("", reuse=tf.AUTO_REUSE):
                found[precision] = build(network, images, SMALL.derive(precision=precision)).logits
        for variable in tf.global_variables():
            is_factor = variable.op.name.endswith(("gamma", "variance"))
            values = rng.uniform(0.5, 1.5, variable.shape) if is_factor else rng.randn(*variable.shape) / 2
            variable.load(values.astype(np.float32), running)
        kernels = [v for v in tf.global_variables() if "weights" in v.op.name]
        gradients = {precision: tf.gradients(scores, [images, *kernels]) for precision, scores in found.items()}
        return running.run([found, gradients])


def test_the_same_values_and_gradients_but_for_rounding(scores):
    values, gradients = scores
    assert len(np.unique(values["fp32"])) > 100
    np.testing.assert_allclose(values["bf16"], values["fp32"], rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(gradients["bf16"], gradients["fp32"], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * abs(theirs).max())


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_live_batch_norm_stays(batch_statistics):
    with tf.Graph().as_default() as graph:
        build(network, tf.zeros([1, 33, 33, 3]), SMALL.derive(precision="bf16"), batch_statistics)
        assert ("Rsqrt" in {op.type for op in graph.get_operations()}) != batch_statistics
