"""Files that a stranger made to do harm: one sentence, and nothing is read, written, filled or waited for."""

import resource
import subprocess
import sys
import threading
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from common.engines import limits, onnx_model, programs, tensorflow_graph, tensorflow_lite
from common.engines.harmless_ops import HARMLESS
from common.engines.interface import EngineError
from common.engines.programs import PROGRAMS
from common.tf1 import op_definition, tf

PICTURE = np.zeros((1, 8, 9, 3), np.uint8)
PICTURE[:, 2:5, 3:7, 0] = 200


def graph_of(build):
    """A graph whose labels are 1 where a picture is red, plus what `build` makes of the picture: a scalar."""
    with tf.Graph().as_default() as graph:
        picture = tf.placeholder(tf.uint8, [1, None, None, 3], "ImageTensor")
        tf.add(tf.cast(picture[..., 0] > 0, tf.int32), build(picture), "SemanticPredictions")
    return graph.as_graph_def()


def write_graph(path, build):
    path.write_bytes(graph_of(build).SerializeToString())
    return path


def labels_of(engine, picture=PICTURE):
    (port,) = engine.inputs
    (name,) = (port.name for port in engine.outputs if port.name in ("SemanticPredictions", "labels", "scores"))
    return engine.run({port.name: picture}, [name])[0]


def test_listed_ops_are_tensorflows_and_name_nothing_outside():
    """Assert, whose texts are shown when it fails, is the one that takes texts; variables name containers."""
    takes_text = {op for op in HARMLESS for part in op_definition(op).input_arg if part.type == tf.string}
    assert not takes_text
    names = ("path", "file", "memory_region", "shared_name", "table", "server", "token", "device")
    attributes = {
        op for op in HARMLESS for a in op_definition(op).attr for n in names if n in a.name.split("_") + [a.name]
    }
    assert attributes == {"VarHandleOp", "Variable", "VariableV2"}


def test_a_file_mapped_into_memory_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(48))
    mapped = {"dtype": tf.int32, "shape": [], "memory_region_name": str(secret)}
    path = write_graph(tmp_path / "g.pb", lambda _: tf.raw_ops.ImmutableConst(**mapped))
    with pytest.raises(EngineError, match=r"ops that no network of pictures needs \(ImmutableConst\), and is not run"):
        tensorflow_graph.open_frozen(path)


def harmful_function(name):
    """A graph whose function of this name reads a file."""

    @tf.function
    def reads(x):
        return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.int32)

    graph = graph_of(lambda picture: reads(tf.reduce_max(tf.cast(picture, tf.int32))))
    (function,) = graph.library.function
    for node in graph.node:
        if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
            node.attr["f"].func.name = name
    function.signature.name = name
    return graph


@pytest.mark.parametrize("name", ["reads", "Relu"])
def test_functions_are_looked_into(name, tmp_path):
    path = tmp_path / "g.pb"
    path.write_bytes(harmful_function(name).SerializeToString())
    with pytest.raises(EngineError, match=r"\(ReadFile, StringLength\)"):
        tensorflow_graph.open_frozen(path)


def detection_loop(picture):
    """As detection networks do: a condition, a check, an array of a loop, a map over pictures."""
    values = tf.cast(picture, tf.float32)
    with tf.control_dependencies([tf.Assert(tf.reduce_all(values >= 0), ["negative", values])]):
        values = tf.map_fn(lambda one: tf.image.resize_bilinear(one[None], [5, 5])[0], values)
    values = tf.cond(tf.reduce_max(values) > 1e6, lambda: values * 2, lambda: values)
    return 0 * tf.cast(tf.random_uniform([]) + tf.reduce_mean(values), tf.int32)


@pytest.mark.parametrize("version", [1, 2])
def test_loops_conditions_and_checks_run(version, tmp_path):
    is_new = tf.control_flow_v2_enabled()
    (tf.enable_control_flow_v2 if version == 2 else tf.disable_control_flow_v2)()
    try:
        path = write_graph(tmp_path / "g.pb", detection_loop)
    finally:
        (tf.enable_control_flow_v2 if is_new else tf.disable_control_flow_v2)()
    with tensorflow_graph.open_frozen(path) as engine:
        np.testing.assert_array_equal(labels_of(engine), PICTURE[..., 0] > 0)


def test_a_constant_larger_than_memory_is_refused(tmp_path):
    graph = graph_of(lambda _: tf.reduce_max(tf.constant([7], tf.int32, name="huge")))
    (node,) = (node for node in graph.node if node.name == "huge")
    node.attr["value"].tensor.tensor_shape.CopyFrom(tf.TensorShape([1000, 1000, 1000]).as_proto())
    (tmp_path / "g.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(EngineError, match="its constants have more than 536,870,912 bytes"):
        tensorflow_graph.open_frozen(tmp_path / "g.pb")


def test_a_tensor_larger_than_memory_is_refused(tmp_path):
    path = write_graph(tmp_path / "g.pb", lambda _: tf.reduce_max(tf.fill([1000, 1000, 1000], 7, name="huge")))
    with pytest.raises(EngineError, match="its huge has more than 1,073,741,824 bytes, and is not run"):
        tensorflow_graph.open_frozen(path)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_a_tensor_of_a_size_that_is_known_late_does_not_fill_the_memory(tmp_path):
    def build(picture):
        sides = tf.placeholder_with_default(tf.constant([1000, 1000, 1000]), [3])
        return tf.reduce_max(tf.fill(sides, tf.cast(picture[0, 0, 0, 0], tf.int32)))

    with tensorflow_graph.open_frozen(write_graph(tmp_path / "g.pb", build)) as engine:
        before = peak()
        with pytest.raises(EngineError, match="it takes more than .* MiB of memory for a picture of this size"):
            labels_of(engine)
    assert peak() - before < 1 << 30


@pytest.mark.parametrize("version", [1, 2])
def test_a_loop_without_end_ends(version, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorflow_graph, "MOST_SECONDS", 2)
    is_new = tf.control_flow_v2_enabled()
    (tf.enable_control_flow_v2 if version == 2 else tf.disable_control_flow_v2)()
    try:
        path = write_graph(
            tmp_path / "g.pb", lambda _: tf.while_loop(lambda i: i >= 0, lambda i: i * 0, [tf.constant(0)])
        )
    finally:
        (tf.enable_control_flow_v2 if is_new else tf.disable_control_flow_v2)()
    with (
        tensorflow_graph.open_frozen(path) as engine,
        pytest.raises(EngineError, match="it takes more than 2 seconds for one picture"),
    ):
        labels_of(engine)


@pytest.fixture
def saved_model(tmp_path):
    """A SavedModel with a variable, as TensorFlow 1's programs write it."""
    with tf.Graph().as_default(), tf.Session() as running:
        picture = tf.placeholder(tf.uint8, [1, None, None, 3], "ImageTensor")
        kernel = tf.get_variable("kernel", initializer=np.float32([1, 0, 0]))
        scores = tf.reduce_sum(tf.cast(picture, tf.float32) * kernel, axis=-1)
        labels = tf.cast(scores > 0, tf.int32)
        running.run(tf.global_variables_initializer())
        tf.saved_model.simple_save(running, str(tmp_path / "saved"), {"picture": picture}, {"labels": labels})
    return tmp_path / "saved"


def test_a_saved_model_with_variables_runs(saved_model):
    with tensorflow_graph.open_saved_model(saved_model) as engine:
        np.testing.assert_array_equal(labels_of(engine), PICTURE[..., 0] > 0)
        assert not [op.type for op in engine._session.graph.get_operations() if op.type.startswith("Save")]


PROGRAM = """
import sys, tensorflow as tf
class Model(tf.Module):
    def __init__(self):
        self.kernels = [tf.Variable([1.0, 0.0, 0.0]), tf.Variable([0.0, 0.0, 0.0])]
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8, name="picture")])
    def labels(self, picture):
        scores = tf.cast(picture, tf.float32)
        return {"labels": tf.cast(tf.reduce_sum(scores * self.kernels[0] + self.kernels[1], -1) > 0, tf.int32)}
model = Model()
tf.saved_model.save(model, sys.argv[1], signatures=model.labels)
"""


def test_a_saved_model_of_tensorflow_2_runs(tmp_path):
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "saved")], check=True, capture_output=True)
    with tensorflow_graph.open_saved_model(tmp_path / "saved") as engine:
        np.testing.assert_array_equal(labels_of(engine), PICTURE[..., 0] > 0)


def test_variables_that_are_cut_or_gone(saved_model):
    data = saved_model / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:5])
    with pytest.raises(EngineError, match=r"its weights, in variables/variables\.\*, are damaged or others"):
        tensorflow_graph.open_saved_model(saved_model)
    for file in (saved_model / "variables").iterdir():
        file.unlink()
    with pytest.raises(EngineError, match=r"its variables/variables.index, which holds its weights, is missing"):
        tensorflow_graph.open_saved_model(saved_model)


def change_saved_model(folder, change):
    file = folder / "saved_model.pb"
    model = tensorflow_graph.saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(model.meta_graphs[0])
    file.write_bytes(model.SerializeToString())


def test_a_saved_model_cannot_save_when_it_is_loaded(saved_model):
    def save_at_start(model):
        model.saver_def.restore_op_name = "save/SaveV2"

    change_saved_model(saved_model, save_at_start)
    with pytest.raises(EngineError, match=r"ops that no network of pictures needs \(.*SaveV2.*\), and is not run"):
        tensorflow_graph.open_saved_model(saved_model)


@pytest.mark.parametrize("place", [b"/etc/passwd", b"gs://bucket/weights"])
def test_a_saved_model_cannot_restore_other_files(place, saved_model):
    def name_a_file(model):
        for node in model.graph_def.node:
            if node.op == "Const" and node.attr["dtype"].type == tf.string.as_datatype_enum:
                node.attr["value"].tensor.string_val[:] = [place] * len(node.attr["value"].tensor.string_val)

    change_saved_model(saved_model, name_a_file)
    with pytest.raises(EngineError, match="it names a file of its own"):
        tensorflow_graph.open_saved_model(saved_model)


@pytest.fixture(scope="module")
def lite_file():
    with tf.Graph().as_default(), tf.Session() as running:
        picture = tf.placeholder(tf.float32, [1, 8, 9, 3], "picture")
        scores = tf.nn.conv2d(picture, tf.constant(np.eye(3, 4, dtype=np.float32)[None, None]), 1, "SAME")
        return tf.lite.TFLiteConverter.from_session(running, [picture], [tf.nn.relu(scores)]).convert()


def test_a_lite_file_runs_after_sessions_ran_here(lite_file, tmp_path):
    (tmp_path / "m.tflite").write_bytes(lite_file)
    engine = tensorflow_lite.TensorFlowLite(tmp_path / "m.tflite")
    picture = np.random.default_rng(0).random((1, 8, 9, 3), np.float32)
    np.testing.assert_allclose(
        engine.run({engine.inputs[0].name: picture}, [engine.outputs[0].name])[0][..., :3], picture
    )


def test_what_crashes_ends_a_copy_of_the_process():
    """The read of a place that is not there stands for the interpreter's, in files that are damaged just so."""
    import ctypes

    with pytest.raises(EngineError, match="its program crashes on it"):
        limits.try_first(lambda: ctypes.string_at(0), 1 << 30)


def test_a_lite_file_that_crashes_the_interpreter(lite_file, tmp_path, monkeypatch):
    import ctypes

    monkeypatch.setattr(tensorflow_lite, "_run_once", lambda data: ctypes.string_at(0))
    (tmp_path / "m.tflite").write_bytes(lite_file)
    with pytest.raises(EngineError, match="its program crashes on it"):
        tensorflow_lite.TensorFlowLite(tmp_path / "m.tflite")


def test_the_copy_has_limits(monkeypatch):
    monkeypatch.setattr(limits, "TRIAL_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(EngineError, match=r"takes more than 0.5 seconds"):
        limits.try_first(lambda: threading.Event().wait(60), 1 << 30)
    assert time.monotonic() - started < 10
    with pytest.raises(EngineError, match="it takes more than 1,024 MiB of memory"):
        limits.try_first(lambda: np.ones(1 << 28), 1 << 30)
    limits.try_first(lambda: np.ones(1 << 20), 1 << 30)


def test_the_memory_limit_ends_with_the_block():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(EngineError, match="it takes more than 256 MiB of memory"), limits.memory_limit(1 << 28):
        np.ones(1 << 27)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert np.ones(1 << 26).any()


def onnx_file(path, nodes, arrays=(), opsets=(("", 17),)):
    """A file that adds what `nodes` make, called `more`, to a picture."""
    nodes = [*nodes, helper.make_node("Cast", ["picture"], ["cast"], to=TensorProto.FLOAT),
             helper.make_node("Add", ["cast", "more"], ["scores"])]  # fmt: skip
    picture = helper.make_tensor_value_info("picture", TensorProto.UINT8, [1, "h", "w", 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, "h", "w", 3])
    graph = helper.make_graph(nodes, "graph", [picture], [scores], list(arrays))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*one) for one in opsets], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def open_onnx(path):
    return onnx_model.OnnxEngine(path, PROGRAMS["onnxruntime"])


def claimed(name="more", dims=(1 << 20, 1 << 20)):
    return TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)


def outside(name="more"):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def in_a_branch(node):
    """A condition that has the node in both of its branches."""
    value = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
    body = helper.make_graph([node], "body", [], [value])
    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("", TensorProto.BOOL, [], [1]))
    return [yes, helper.make_node("If", ["yes"], ["more"], then_branch=body, else_branch=body)]


OWN = helper.make_node("Evil", [], ["more"], domain="evil")
INNER_OWN = helper.make_node("Evil", [], ["inner"], domain="evil")
KEPT = helper.make_node("Constant", [], ["more"], value=outside())
HOSTILE = {
    "an op of its own": ([OWN], (), r"ops that are not ONNX's \(Evil of evil\), and is not run"),
    "one in a branch": (in_a_branch(INNER_OWN), (), r"ops that are not ONNX's \(Evil of evil\), and is not run"),
    "an op of the runtime that reads files": (
        [helper.make_node("EPContext", [], ["more"], domain="com.microsoft")], (), r"\(EPContext of com.microsoft\)"),
    "a node's array in a file": ([KEPT], (), r"it keeps values of its nodes in other files \(more\), and is not run"),
    "a huge array": ([], [claimed()], "its arrays have more than 536,870,912 bytes"),
    "many arrays": ([], [claimed(f"{n}", [1 << 20, 64]) for n in range(5)], "its arrays have more than"),
    "a huge array of a node": (
        [helper.make_node("Constant", [], ["more"], value=claimed())], (), "its arrays have more than"),
    "a side below zero": ([], [claimed(dims=[-4, -4])], r"its array more has the shape \[-4, -4\]"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_onnx_files_that_are_refused_when_they_are_opened(what, tmp_path):
    nodes, arrays, message = HOSTILE[what]
    path = onnx_file(tmp_path / "m.onnx", nodes, arrays, (("", 17), ("evil", 1), ("com.microsoft", 1)))
    with pytest.raises(EngineError, match=message):
        open_onnx(path)


def test_an_array_beside_it_that_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    tensor = outside()
    tensor.external_data[0].value = "folder"
    with pytest.raises(EngineError, match="it keeps arrays in folder, which is not beside it"):
        open_onnx(onnx_file(tmp_path / "m.onnx", [], [tensor]))


def test_onnx_values_larger_than_memory_are_not_made(tmp_path):
    sides = helper.make_tensor("sides", TensorProto.INT64, [3], [1000, 1000, 1000])
    nodes = [helper.make_node("ConstantOfShape", ["sides"], ["huge"]),
             helper.make_node("ReduceMax", ["huge"], ["more"], keepdims=0)]  # fmt: skip
    engine, before = open_onnx(onnx_file(tmp_path / "m.onnx", nodes, [sides])), peak()
    with pytest.raises(EngineError, match="it takes more than .* MiB of memory for a picture of this size"):
        labels_of(engine)
    assert peak() - before < 1 << 30


def test_functions_of_an_onnx_file_run(tmp_path):
    path = onnx_file(tmp_path / "m.onnx", [helper.make_node("Zero", [], ["more"], domain="own")], (),
                     (("", 17), ("own", 1)))  # fmt: skip
    model = onnx.load(path)
    zero = helper.make_node("Constant", [], ["z"], value=helper.make_tensor("", TensorProto.FLOAT, [], [0.0]))
    model.functions.append(helper.make_function("own", "Zero", [], ["z"], [zero], [helper.make_opsetid("", 17)]))
    onnx.save(model, path)
    np.testing.assert_array_equal(labels_of(open_onnx(path)), PICTURE)


def test_an_onnx_loop_without_end_ends(tmp_path, monkeypatch):
    truth = helper.make_tensor("truth", TensorProto.BOOL, [], [True])
    count = helper.make_tensor("count", TensorProto.INT64, [], [2**62])
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes_on"]), helper.make_node("Add", ["map", "map"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["count", "truth", "images"], ["scores"], body=body)
    shape = [1, "h", "w", 3]
    images, scores = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "scores"))
    graph = helper.make_graph([loop], "endless", [images], [scores], [truth, count])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    monkeypatch.setattr(programs, "MOST_SECONDS", 1)
    with pytest.raises(EngineError, match="it takes more than 1 seconds for one picture"):
        opened = onnx_model.OnnxEngine(tmp_path / "m.onnx", PROGRAMS["onnxruntime"])
        opened.run({"images": np.ones((1, 4, 4, 3), np.float32)}, ["scores"])
