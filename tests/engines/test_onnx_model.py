"""The part of an ONNX file that some outputs need."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from common.engines.onnx_model import part_for
from common.engines.programs import PROGRAMS

LARGE = 16 << 20  # values of an array that only one output needs


def port(name, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, [None])


@pytest.fixture(scope="module")
def model():
    """Two outputs: one needs arrays through the bodies of an If in an If, the other one a large array."""
    deepest = helper.make_graph([helper.make_node("Mul", ["x", "deep"], ["d"])], "deepest", [], [port("d")])
    inner = helper.make_node("If", ["yes"], ["i"], then_branch=deepest, else_branch=deepest)
    near = helper.make_graph([helper.make_node("Mul", ["x", "near"], ["n"])], "near", [], [port("n")])
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["value"]),
        helper.make_node("Cast", ["value"], ["yes"], to=TensorProto.BOOL),
        helper.make_node("If", ["yes"], ["small"], then_branch=helper.make_graph([inner], "far", [], [port("i")]),
                         else_branch=near),
        helper.make_node("Mul", ["x", "huge"], ["large"]),
    ]  # fmt: skip
    arrays = {"deep": np.float32([3]), "near": np.float32([5]), "huge": np.ones(LARGE, np.float32)}
    weights = [numpy_helper.from_array(values, name) for name, values in {**arrays, "first": np.int64(0)}.items()]
    graph = helper.make_graph(nodes, "graph", [port("x")], [port("small"), port("large")], weights)
    model = helper.make_model(graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="recipe", value="{}")
    return model


def test_a_part_has_what_its_outputs_need(model):
    content = part_for(model, ["small"])
    part = onnx.load_from_string(content)
    assert [tensor.name for tensor in part.graph.initializer] == ["deep", "near", "first"]
    assert [value.name for value in part.graph.output] == ["small"]
    assert [node.op_type for node in part.graph.node] == ["Gather", "Cast", "If"]
    (values,) = PROGRAMS["onnxruntime"].load(content, "fp32")(np.float32([1, 2]))
    np.testing.assert_array_equal(values, [3, 6])
    for whole, its in ((model, part), (model.graph, part.graph)):
        kept = {field.name for field, _ in whole.ListFields()}
        assert {field.name for field, _ in its.ListFields()} == kept
    assert (part.producer_name, part.ir_version, part.opset_import[0].version) == ("tests", 8, 17)
    assert part.metadata_props[0].key == "recipe"


def peak() -> int:
    """The largest memory in bytes since it was last cleared."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10


def test_a_part_copies_no_other_weights(model):
    Path("/proc/self/clear_refs").write_text("5")  # clears the peak
    before = peak()
    part_for(model, ["small"])
    assert peak() - before < LARGE
