"""Dilated depthwise convolution in two ways: TensorFlow's by sub-maps, and the op's own at inference."""

import numpy as np
import pytest

from common.nets import dilation
from common.tf1 import session, tf


def values(*shape):
    return tf.constant(np.random.RandomState(sum(shape)).randn(*shape).astype(np.float32))


def types(graph):
    return {op.type for op in graph.get_operations()}


@pytest.mark.parametrize("size", [(13, 9), (33, 33)])
@pytest.mark.parametrize("rate", [2, 4, 6])
def test_both_ways_give_the_same_values_and_gradients(size, rate):
    with tf.Graph().as_default() as graph, session(graph) as running:
        x, w, upstream = values(2, *size, 16), values(3, 3, 16, 1), values(2, *size, 16)
        found = []
        for largest in (dilation.LARGEST_NATIVE_EXTENT, 0):
            y = dilation.dilated_depthwise(x, w, (rate, rate), largest)
            found.append([y, *tf.gradients(y, [x, w], upstream)])
        native, by_sub_maps = running.run(found)
    for ours, theirs in zip(native, by_sub_maps, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * abs(theirs).max())


@pytest.mark.parametrize(
    ("rates", "largest", "is_native"),
    [((6, 6), 13, True), ((7, 7), 13, False), ((1, 6), 13, False), ((2, 2), 0, False)],
)
def test_the_op_dilates_at_inference_where_it_is_fast(rates, largest, is_native):
    with tf.Graph().as_default() as graph:
        dilation.dilated_depthwise(values(1, 33, 33, 4), values(3, 3, 4, 1), rates, largest)
        assert ("SpaceToBatchND" in types(graph)) != (is_native and dilation.native_depthwise_dilates())


def test_a_runtime_whose_op_ignores_rates_is_not_taken(monkeypatch):
    monkeypatch.setattr(dilation, "native_depthwise_dilates", lambda: False)
    with tf.Graph().as_default() as graph:
        dilation.dilated_depthwise(values(1, 33, 33, 4), values(3, 3, 4, 1), (2, 2), dilation.LARGEST_NATIVE_EXTENT)
        assert "SpaceToBatchND" in types(graph)


def test_for_other_programs_the_op_always_dilates(monkeypatch):
    monkeypatch.setattr(dilation, "native_depthwise_dilates", lambda: False)
    with tf.Graph().as_default() as graph:
        dilation.dilated_depthwise(values(1, 33, 33, 4), values(3, 3, 4, 1), (1, 18), dilation.ANY_EXTENT)
        assert "SpaceToBatchND" not in types(graph)
