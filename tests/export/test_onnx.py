"""ONNX: batch norms lie within the convolutions, weights are there once, and tf2onnx never holds the kernels."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import tf2onnx

from common.engines.interface import INPUT, OUTPUTS, SCORES
from common.export import formats
from common.export.constants import split_constants
from common.export.graph import for_other_programs, frozen_graph
from common.export.interface import Options
from common.nets import layers
from common.nets.network import Outputs
from common.tf1 import slim, tf
from common.weights.weights import Weights
from tests.helpers import tiny
from tests.helpers.random_weights import write_random_weights


def network(images, recipe, batch_statistics=False):
    """Batch norm after convolutions of all kinds, at a rate that differs by direction, and after a pooled vector."""
    with slim.arg_scope([layers.batch_norm], batch_statistics=batch_statistics, activation_fn=tf.nn.relu):
        net = layers.conv_bn_relu(images, 64, 3, scope="strided", stride=2)
        net += layers.separable_conv2d(net, 64, 3, scope="separable", rate=(1, 9))
        net += layers.separable_conv2d(net, 64, 3, scope="wide", rate=18)
        net = layers.conv_bn_relu(net, 64, 3, scope="atrous", rate=2)
        pooled = layers.conv_bn_relu(tf.reduce_mean(net, [1, 2], keepdims=True), 64, 1, scope="pooled")
        return Outputs(layers.conv2d(net + pooled, recipe.num_classes, 1, bias=True, scope="scores"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return Weights(write_random_weights(tmp_path_factory.mktemp("weights") / "w.npz", network, tiny.SMALL))


def graph_of(weights, **changes):
    recipe = tiny.SMALL.derive(**changes).at_evaluation()
    return frozen_graph(for_other_programs(network, fold=True), recipe, weights, 1, None)


def written(graph, path: Path) -> "onnx.GraphProto":
    formats.write_onnx(graph, path, Options())
    return onnx.load(path).graph


def test_batch_norms_are_part_of_the_convolutions(weights, tmp_path):
    graph = written(graph_of(weights), tmp_path / "m.onnx")
    ops = Counter(node.op_type for node in graph.node)
    assert ops["Conv"] == 8
    assert not ops.keys() & {"BatchNormalization", "SpaceToDepth", "DepthToSpace"}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    sums = [node for node in graph.node if node.op_type in ("Add", "Mul") and constants.keys() & set(node.input)]
    assert not [node for node in sums if any(onnx.numpy_helper.to_array(constants[n]).size == 64
                                             for n in node.input if n in constants)]  # fmt: skip
    assert constants.keys() <= {name for node in graph.node for name in node.input}
    dilations = [onnx.helper.get_node_attr_value(node, "dilations") for node in graph.node if node.op_type == "Conv"]
    assert [rates for rates in dilations if rates != [1, 1]] == [[1, 9], [18, 18], [2, 2]]


def test_weights_are_there_once(weights, tmp_path):
    one, many = tmp_path / "one.onnx", tmp_path / "many.onnx"
    written(graph_of(weights), one)
    graph = written(graph_of(weights, eval_scales=(0.5, 1.0, 1.5), eval_flip=True), many)
    assert len([node for node in graph.node if node.op_type == "Conv"]) == 3 * 8
    kernels = [tensor.dims for tensor in graph.initializer if len(tensor.dims) == 4 and tensor.dims[0] == 64]
    assert len(kernels) == 7
    assert many.stat().st_size < one.stat().st_size + 60_000


def test_tf2onnx_does_not_hold_the_kernels(weights, tmp_path, monkeypatch):
    """It copies constants thirty times: 9 GB for ResNet-50."""
    convert, given = tf2onnx.convert.from_graph_def, []

    def spied(graph, **options):
        given.append(graph.ByteSize())
        return convert(graph, **options)

    monkeypatch.setattr(tf2onnx.convert, "from_graph_def", spied)
    graph = graph_of(weights)
    written(graph, tmp_path / "m.onnx")
    assert given[0] < graph.ByteSize() / 4


def test_constants_are_computed_once_and_equal_ones_are_one():
    kernel = np.random.RandomState(0).randn(1, 1, 3, 2).astype(np.float32)
    with tf.Graph().as_default() as graph:
        picture = tf.placeholder(tf.float32, [1, 4, 4, 3], "picture")
        kernels = [tf.constant(kernel) * tf.sqrt([4.0, 9.0]) for _ in range(2)]
        tf.add_n([tf.nn.conv2d(picture, k, 1, "SAME") for k in kernels], name="sum")
    apart, found = split_constants(graph.as_graph_def())
    (value,) = found.values()
    np.testing.assert_allclose(value, kernel * [2, 3], rtol=1e-6)
    assert Counter(node.op for node in apart.node) == {"Placeholder": 2, "Conv2D": 2, "AddN": 1}
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(apart, name="")
        given = session.run("sum:0", {"picture:0": np.ones((1, 4, 4, 3)), **{f"{n}:0": v for n, v in found.items()}})
    np.testing.assert_allclose(given[0, 0, 0], 2 * value.sum((0, 1, 2)), rtol=1e-6)


def test_the_values_are_those_of_the_graph(weights, tmp_path):
    graph, picture = graph_of(weights), np.random.RandomState(1).randint(0, 256, (61, 47, 3), np.uint8)
    written(graph, tmp_path / "m.onnx")
    plain = frozen_graph(network, tiny.SMALL.at_evaluation(), weights, 1, None)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(plain, name="")
        wanted = session.run(f"{SCORES}:0", {f"{INPUT}:0": picture[None]})[0]
    with formats.ENGINES["onnx"](tmp_path / "m.onnx") as engine:
        assert {port.name for port in engine.outputs} == set(OUTPUTS)
        (given,) = engine.run({INPUT: picture[None]}, [SCORES])
    np.testing.assert_allclose(given[0], wanted, atol=1e-5 * abs(wanted).max())
