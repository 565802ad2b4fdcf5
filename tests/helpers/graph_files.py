"""Small frozen graphs and the files made of them, for tests of what reads them."""

import numpy as np
import pytest

from common.export.graph import for_tensorflow, frozen_graph
from common.tf1 import tf
from common.weights.weights import Weights
from converters import filling
from reproductions.v3plus import REPRODUCTION as V3PLUS
from tests.conftest import SHARED
from tests.helpers import small_v3plus

GOLDEN = SHARED / "golden"
RECIPE = V3PLUS.variants["mnv2_dm05_pascal_trainaug"].derive(depth_multiplier=0.25, aspp_depth=8, eval_size=65)


def write_frozen(folder, recipe=RECIPE, reproduction=V3PLUS, values=None):
    """A frozen graph as `export` writes it; returns its path and its variables."""
    values = values or small_v3plus.values(golden=True)
    np.savez(folder / "w.npz", **values)
    network = for_tensorflow(reproduction.load_network())
    graph = frozen_graph(network, recipe.at_evaluation(), Weights(folder / "w.npz"), 1, None)
    path = folder / "model.pb"
    path.write_bytes(graph.SerializeToString())
    return path, values


def folded(graph):
    """The graph with batch norm folded into convolutions: the kernel scaled, the norm an addition."""
    nodes = {node.name: node for node in graph.node}

    def constant(name):
        node = nodes[name.partition(":")[0]]
        while node.op == "Identity":
            node = nodes[node.input[0].partition(":")[0]]
        return node

    def value(name):
        return tf.make_ndarray(constant(name).attr["value"].tensor)

    made = tf.GraphDef()
    for node in graph.node:
        if node.op != "FusedBatchNormV3":
            made.node.add().CopyFrom(node)
            continue
        convolution = nodes[node.input[0].partition(":")[0]]
        while convolution.op not in ("Conv2D", "DepthwiseConv2dNative"):
            convolution = nodes[convolution.input[0].partition(":")[0]]
        gamma, beta, mean, variance = (value(name) for name in node.input[1:5])
        factor = gamma / np.sqrt(variance + node.attr["epsilon"].f)
        kernel = constant(convolution.input[1])
        is_depthwise = convolution.op != "Conv2D"
        scaled = value(convolution.input[1]) * (factor[:, None] if is_depthwise else factor)
        target = next(n for n in (*made.node,) if n.name == kernel.name)
        target.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(scaled.astype(np.float32)))
        offset = made.node.add(name=f"{convolution.name}_bn_offset", op="Const")
        offset.attr["dtype"].type = tf.float32.as_datatype_enum
        offset.attr["value"].tensor.CopyFrom(tf.make_tensor_proto((beta - mean * factor).astype(np.float32)))
        addition = made.node.add(name=node.name, op="BiasAdd", input=[node.input[0], offset.name])
        addition.attr["T"].type = tf.float32.as_datatype_enum
    used = {name.lstrip("^").partition(":")[0] for node in made.node for name in node.input}
    statistics = [
        n for n in made.node if "/BatchNorm/" in n.name and n.name not in used and n.op in ("Const", "Identity")
    ]
    while statistics:
        for node in statistics:
            made.node.remove(node)
        used = {name.lstrip("^").partition(":")[0] for node in made.node for name in node.input}
        statistics = [
            n for n in made.node if "/BatchNorm/" in n.name and n.name not in used and n.op in ("Const", "Identity")
        ]
    return made


def refused(convert, path, tmp_path, capsys, *words):
    """The sentence with which `convert`, a test's command, refuses a file; nothing is left."""
    capsys.readouterr()
    assert convert(path, tmp_path / "o/model.ckpt", *words) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert not (tmp_path / "o").exists()
    return printed


@pytest.fixture
def remembered_structure(monkeypatch):
    """Networks are built once for each recipe, as thousands of damaged files would build the same one."""
    structure, known = filling.structure, {}

    def remembered(reproduction, recipe):
        key = reproduction.name, str(recipe.to_json())
        if key not in known:
            known[key] = structure(reproduction, recipe)
        return known[key]

    monkeypatch.setattr(filling, "structure", remembered)
