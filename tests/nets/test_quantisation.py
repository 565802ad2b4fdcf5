"""Layers that are rounded to 8 bits: values, ranges, their updates and their delay, as tf.contrib.quantize has them."""

import numpy as np
import pytest

from common.nets import layers
from common.nets.network import Outputs, build
from common.nets.quantisation import RANGES, Quantisation, first_ranges, rounded_by_parts
from common.tf1 import session, slim, tf
from tests.helpers.eight_bits import FLOAT

RNG = np.random.RandomState(0)
PICTURES = RNG.randn(2, 9, 9, 3).astype(np.float32)
AT_ONCE, LATER = FLOAT.derive(quantize_delay_step=0), FLOAT.derive(quantize_delay_step=3)


def network(images, recipe, batch_statistics=False):
    """Each kind of layer: convolution, depthwise convolution with a rate, residual sum, biases alone, and scores."""
    with slim.arg_scope([layers.batch_norm], batch_statistics=batch_statistics, trainable=True, decay=0.75):
        net = layers.conv_bn_relu(images, 4, 3, scope="conv", stride=2)
        inputs, net = net, layers.depthwise_conv2d(net, 3, scope="deep", rate=2)
        net = layers.residual_sum(layers.batch_norm(net, scope="deep/BatchNorm"), inputs, scope="block")
        net = layers.conv2d(net, 4, 1, scope="biased")
        net = layers.batch_norm(net, scope="biased/BatchNorm", biases_instead=True, activation_fn=tf.nn.relu6)
    return Outputs(layers.conv2d(net, 5, 1, bias=True, scope="scores"))


def evaluate(recipe, batch_statistics=False, step=None, steps=1, fetch=()):
    """Random weights of fixed seed through the network; the values after `steps` runs of its update ops."""
    with tf.Graph().as_default() as graph, session(graph) as running:
        at = None if step is None else tf.placeholder(tf.int64, [])
        logits = build(network, tf.constant(PICTURES), recipe, batch_statistics, at).logits
        rng = np.random.RandomState(1)
        running.run(tf.global_variables_initializer())
        for variable in sorted(tf.global_variables(), key=lambda v: v.op.name):
            name = variable.op.name
            if "_quant/" not in name:
                values = rng.uniform(0.5, 1.5, variable.shape) if name.endswith(("gamma", "variance")) else None
                variable.load(rng.randn(*variable.shape) / 2 if values is None else values, running)
        gradients = [g for g in tf.gradients(logits, tf.trainable_variables()) if g is not None]
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        for _ in range(steps):
            found = running.run([logits, gradients, updates], {} if at is None else {at: step})
        ends = {v.op.name: running.run(v) for v in tf.global_variables()}
        return found[0], found[1], ends, [op.type for op in graph.get_operations()]


def test_the_variables_and_their_first_values():
    _, _, values, _ = evaluate(AT_ONCE)
    floats = evaluate(FLOAT)[2]
    ranges = {name: float(value) for name, value in values.items() if name not in floats}
    kernels = [f"{layer}/weights_quant" for layer in ("conv", "deep", "biased", "scores")]
    acts = [f"{layer}/act_quant" for layer in ("conv", "deep", "biased", "scores")]
    wide = [*kernels, "block/post_activation_bypass_quant"]
    assert ranges == {f"{scope}/min": -6.0 for scope in wide} | {f"{scope}/min": 0.0 for scope in acts} | {
        f"{scope}/max": 6.0 for scope in (*wide, *acts)
    }


def test_evaluation_rounds_and_moves_nothing():
    scores, _, values, ops = evaluate(AT_ONCE, steps=2)
    assert len(np.unique(scores)) <= 256
    assert ops.count("FakeQuantWithMinMaxVars") == 9
    assert (values["scores/act_quant/min"], values["scores/act_quant/max"]) == (0, 6)
    assert np.abs(scores - evaluate(FLOAT)[0]).max() > 0.01


def test_training_moves_ranges_to_what_it_meets():
    """A kernel's at once, with 0 in it; values' by the moving average, which the step itself rounds by."""
    values, floats = evaluate(AT_ONCE, step=0)[2], evaluate(FLOAT)[2]
    factors = floats["conv/BatchNorm/gamma"] / np.sqrt(floats["conv/BatchNorm/moving_variance"] + 0.001)
    kernel = floats["conv/weights"] * factors
    assert values["conv/weights_quant/min"] == pytest.approx(kernel.min(), rel=1e-6)
    assert values["conv/weights_quant/max"] == pytest.approx(kernel.max(), rel=1e-6)
    assert values["conv/act_quant/min"] == 0
    first, second = (evaluate(AT_ONCE, step=0, steps=n)[2]["conv/act_quant/max"] for n in (1, 2))
    assert second == pytest.approx(first + (first - 6) / 2, rel=1e-5)  # half of the way each time
    assert first != 6


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_before_its_step_training_is_that_of_the_float_network(batch_statistics):
    """Also with the batch's statistics, whose part in the kernel is taken out again behind it; ranges move already."""
    early, floats = (evaluate(recipe, batch_statistics, step=2) for recipe in (LATER, FLOAT))
    np.testing.assert_allclose(early[0], floats[0], rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(early[1], floats[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4 * np.abs(theirs).max())
    for name, value in floats[2].items():
        np.testing.assert_allclose(early[2][name], value, rtol=1e-5, atol=1e-6)
    assert early[2]["conv/act_quant/max"] != 6


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_from_its_step_on_it_rounds(batch_statistics):
    late, at_once = (evaluate(recipe, batch_statistics, step=3) for recipe in (LATER, AT_ONCE))
    assert np.array_equal(late[0], at_once[0])
    assert len(np.unique(late[0])) <= 256
    assert np.abs(late[0] - evaluate(FLOAT, batch_statistics, step=3)[0]).max() > 1e-3
    assert all(np.abs(gradient).max() > 0 for gradient in late[1])


@pytest.mark.parametrize("narrow_range", [False, True])
@pytest.mark.parametrize("ends", [(-1.3, 0.7), (0, 5), (-0.2, 0), (0, 0)])
def test_rounding_by_parts_is_tensorflows(ends, narrow_range):
    values = np.random.RandomState(2).uniform(ends[0] - 0.3, ends[1] + 0.3, 3000).astype(np.float32)
    with tf.Graph().as_default() as graph, session(graph) as running:
        constants = [tf.constant(value, tf.float32) for value in (values, *ends)]
        ours = rounded_by_parts(*constants, narrow_range)
        theirs = tf.quantization.fake_quant_with_min_max_vars(*constants, narrow_range=narrow_range)
        found = running.run([ours, theirs])
    assert np.mean(np.abs(found[0] - found[1]) > 1e-6) < 1e-3  # halves


def test_names_of_ranges_that_start():
    ranges = ["a/weights_quant/min", "b/act_quant/max", "c/post_activation_bypass_quant/min"]
    assert first_ranges(["a/weights", "a/min"], ["a/weights", *ranges]) == ranges
    assert first_ranges(["a/weights_quant/min"], ranges) == []
    assert RANGES.endswith("$")


def test_a_range_needs_a_kind():
    with tf.Graph().as_default(), pytest.raises(KeyError):
        Quantisation().rounded(tf.zeros([1]), "layer/other_quant")
