"""A network's file as `--checkpoint`: it gives what it gave where it was written, and harmful ones are refused."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from common.data import sample
from common.engines import network_file
from common.engines.programs import PROGRAMS
from common.errors import UserError
from common.inference.segmenter import Segmenter
from common.tf1 import tf
from common.weights.weights import Weights
from tests.conftest import ROOT, SHARED
from tests.export.test_export import write_random_weights
from tests.helpers import tiny

PICTURE = sample.draw(70)[0]
FILES = {"frozen": "model.pb", "savedmodel": "saved_model", "onnx": "model.onnx", "tflite": "model.tflite"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_random_weights(tmp_path_factory.mktemp("weights") / "tiny.npz", tiny.network, tiny.SMALL)


@pytest.fixture(scope="module")
def exported(weights, tmp_path_factory):
    """The folder of the four files of a tiny network."""
    out = tmp_path_factory.mktemp("exported")
    size = "x".join(map(str, PICTURE.shape[:2]))
    for words in (("--format", "frozen,savedmodel,onnx"), ("--format", "tflite", "--size", size)):
        assert tiny.run("export", "--checkpoint", weights, "--out", out, "--limit", 1, "--quiet", *words) == 0
    return out


def segmenter(path, **settings):
    return tiny.TINY.segmenter(path, **settings)


@pytest.fixture(scope="module")
def wanted(weights):
    with Segmenter(tiny.network, tiny.SMALL, Weights(weights)) as predicting:
        return predicting.label(PICTURE), predicting.probabilities(PICTURE), predicting.logits(PICTURE)


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_what_the_checkpoint_gives(name, exported, wanted):
    with segmenter(exported / FILES[name]) as running:
        assert running.recipe.variant == "small"
        assert (running.label(PICTURE) == wanted[0]).mean() > 0.999
        np.testing.assert_allclose(running.probabilities(PICTURE), wanted[1], atol=1e-4)
        label, logits = running.label_and_logits(PICTURE)
        np.testing.assert_allclose(logits, wanted[2], atol=1e-3)
        np.testing.assert_array_equal(label, running.label(PICTURE))


def test_scales_and_mirror_around_the_file(exported, weights):
    """Near: the file takes whole pixels, and its answers are mirrored back at the picture's size."""
    for how, least in (({"eval_flip": True}, 0.8), ({"eval_scales": (1.0, 1.5), "eval_flip": True}, 0.8)):
        with Segmenter(tiny.network, tiny.SMALL.derive(**how), Weights(weights)) as predicting:
            wanted = predicting.label(PICTURE)
        with segmenter(exported / "model.pb", **how) as running:
            assert (running.label(PICTURE) == wanted).mean() > least


def test_predict_and_evaluate_take_it(exported, sample_set, tmp_path, results_dir):
    picture = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(picture)
    assert tiny.run("predict", picture, "--checkpoint", exported / "model.onnx", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "a.png").is_file()
    words = ("--data", sample_set, "--limit", 3, "--record", "--quiet")
    assert tiny.run("evaluate", *words, "--checkpoint", exported / "saved_model", "--out", tmp_path / "e") == 0
    (record,) = (json.loads(path.read_text()) for path in (results_dir / "runs").glob("*.json"))
    assert record["protocol"]["network_file"].startswith("SavedModel; takes pixels, any size")
    assert record["checkpoint"]["sha256"] == network_file.digest(exported / "saved_model")
    assert record["marks"]["val_seen"] == "unknown"


def test_an_onnx_file_runs_without_tensorflow(exported, tmp_path):
    picture = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(picture)
    program = (
        "import sys\nfrom tests.helpers import tiny\n"
        f"assert tiny.run('predict', {str(picture)!r}, '--checkpoint', {str(exported / 'model.onnx')!r}, '--out', "
        f"{str(tmp_path / 'out')!r}) == 0\nassert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert (tmp_path / "out" / "a.png").is_file()


REFUSED = {
    "what is fixed inside": ("model.pb", {"eval_size": 257}, "eval_size: is fixed in .*model.pb"),
    "scales of a fixed size": ("model.tflite", {"eval_scales": (0.5,)}, "scales: .*model.tflite takes pictures of"),
    "an engine of another format": ("model.pb", {"engine": "onnxruntime"}, "engine=onnxruntime: .*is a frozen graph"),
    "bf16 of tflite": ("model.tflite", {"precision": "bf16"}, "precision=bf16: .*is a TFLite file"),
    "bf16 of ONNX Runtime": ("model.onnx", {"precision": "bf16"}, "precision=bf16: .*is an ONNX file"),
    "nodes that are not there": (
        "model.onnx",
        {"labels_node": "labels"},
        "has no labels_node labels; it has Image",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what, exported):
    name, settings, message = REFUSED[what]
    with pytest.raises(UserError, match=message):
        segmenter(exported / name, **settings)


@pytest.mark.parametrize(
    ("name", "words", "given"),
    [
        ("model.pb", ("--engine", "onnxruntime"), "--engine onnxruntime"),
        ("model.pb", ("--set", "engine=onnxruntime"), "engine=onnxruntime"),
        ("model.tflite", ("--precision", "bf16"), "--precision bf16"),
        ("model.tflite", ("--set", "precision=bf16"), "precision=bf16"),
    ],
)
def test_a_refusal_has_the_words_that_were_given(exported, tmp_path, capsys, name, words, given):
    picture = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(picture)
    assert tiny.run("predict", picture, "--checkpoint", exported / name, "--out", tmp_path / "out", *words) == 2
    assert capsys.readouterr().err.startswith(f"error: {given}: {exported / name} is ")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"none\.onnx: no such ONNX file"):
        segmenter(tmp_path / "none.onnx")


def foreign_onnx(path, channels_first=True, side=None, labels_alone=False, external=""):
    """As another program writes it: preprocessed float pictures, class 1 where a picture is red and 0 elsewhere."""
    axis, shape = (1, [1, 3, side or "h", side or "w"]) if channels_first else (3, [1, side or "h", side or "w", 3])
    kernel = np.zeros((2, 3, 1, 1), np.float32)
    kernel[1, 0] = 1
    tensor = helper.make_tensor("kernel", TensorProto.FLOAT, kernel.shape, kernel.tobytes(), raw=True)
    if external:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=external)
    nodes, source = [], "images"
    if not channels_first:
        nodes, source = [helper.make_node("Transpose", ["images"], ["first"], perm=[0, 3, 1, 2])], "first"
    nodes.append(helper.make_node("Conv", [source, "kernel"], ["map"]))
    if not channels_first:
        nodes.append(helper.make_node("Transpose", ["map"], ["scores"], perm=[0, 2, 3, 1]))
    nodes.append(helper.make_node("ArgMax", ["map" if channels_first else "scores"], ["labels"], axis=axis, keepdims=0))
    scores = [1, 2, None, None] if channels_first else [1, None, None, 2]
    outputs = [helper.make_tensor_value_info("labels", TensorProto.INT64, [1, None, None])]
    if not labels_alone:
        name = "map" if channels_first else "scores"
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, scores))
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "red", inputs, outputs, [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


RED = np.zeros((20, 30, 3), np.uint8)
RED[5:12, 8:25, 0] = 255
CENTRED = {"pixel_mean": (127.5, 127.5, 127.5), "pixel_scale": 1 / 127.5}


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("side", [None, 40])
def test_a_network_of_another_program(channels_first, side, tmp_path):
    path = foreign_onnx(tmp_path / "red.onnx", channels_first, side)
    with segmenter(path, **CENTRED) as running:
        assert running.recipe.num_classes == 2
        np.testing.assert_array_equal(running.label(RED), RED[..., 0] > 0)
        assert running.probabilities(RED).shape == (20, 30, 2)
    with segmenter(path, eval_flip=True, **CENTRED) as running:
        np.testing.assert_array_equal(running.label(RED), RED[..., 0] > 0)


def test_larger_pictures_are_resized_to_fit(tmp_path):
    with segmenter(foreign_onnx(tmp_path / "red.onnx", side=16), **CENTRED) as running:
        large = RED.repeat(4, axis=0).repeat(4, axis=1)
        label = running.label(large)
        assert label.shape == large.shape[:2]
        assert (label == (large[..., 0] > 0)).mean() > 0.9


def test_labels_alone(tmp_path):
    path = foreign_onnx(tmp_path / "red.onnx", labels_alone=True)
    with segmenter(path, num_classes=2, **CENTRED) as running:
        np.testing.assert_array_equal(running.label(RED), RED[..., 0] > 0)
        with pytest.raises(UserError, match="--save-logits: needs the network's scores, and .* gives labels alone"):
            running.logits(RED)
    for settings in ({"eval_flip": True}, {"eval_scales": (0.5,)}, {"crf": True}):
        with pytest.raises(UserError, match="needs the network's probabilities, and .* gives labels alone"):
            segmenter(path, **settings)
    with (
        segmenter(path, num_classes=1) as running,
        pytest.raises(UserError, match="gives class 1, and the rec"),
    ):
        running.label(RED)


@pytest.mark.parametrize("place", ["../kernel.bin", "/etc/passwd"])
def test_arrays_outside_the_folder_are_not_read(place, tmp_path):
    (tmp_path / "kernel.bin").write_bytes(bytes(24))
    (tmp_path / "model").mkdir()
    path = foreign_onnx(tmp_path / "model" / "red.onnx", external=place)
    with pytest.raises(UserError, match="it names a file outside its folder"):
        segmenter(path)


def test_arrays_beside_it_are(tmp_path):
    kernel = np.zeros((2, 3, 1, 1), np.float32)
    kernel[1, 0] = 1
    (tmp_path / "kernel.bin").write_bytes(kernel.tobytes())
    with segmenter(foreign_onnx(tmp_path / "red.onnx", external="kernel.bin"), **CENTRED) as running:
        np.testing.assert_array_equal(running.label(RED), RED[..., 0] > 0)


def graph_that(build, path):
    with tf.Graph().as_default() as graph:
        picture = tf.placeholder(tf.uint8, [1, None, None, 3], "ImageTensor")
        labels = tf.cast(picture[..., 0] > 0, tf.int32)
        with tf.control_dependencies([build()]):
            tf.identity(labels, "SemanticPredictions")
        path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


HARMS = {
    "writing a file": lambda path: tf.io.write_file(str(path), "harm"),
    "reading a file": lambda path: tf.io.read_file("/etc/passwd"),
    "running Python": lambda path: tf.py_func(lambda: np.int32(path.write_text("harm")), [], tf.int32),
    "printing": lambda path: tf.print("harm"),
}


@pytest.mark.parametrize("what", HARMS)
def test_graphs_that_could_do_harm_are_not_run(what, tmp_path):
    victim = tmp_path / "victim"
    path = graph_that(lambda: HARMS[what](victim), tmp_path / "graph.pb")
    with pytest.raises(UserError, match="it holds ops that no network of pictures needs"):
        segmenter(path)
    assert not victim.exists()


@pytest.mark.parametrize("name", ["frozen", "onnx", "tflite"])
def test_nodes_can_be_named(name, exported):
    names = {"input_node": "ImageTensor", "labels_node": "SemanticPredictions"}
    with segmenter(exported / FILES[name], **names) as running:
        assert running.label(PICTURE).shape == PICTURE.shape[:2]
        with pytest.raises(UserError, match="gives SemanticPredictions alone"):
            running.probabilities(PICTURE)


def test_a_file_of_two_inputs_is_refused(tmp_path):
    path = foreign_onnx(tmp_path / "red.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, []))
    onnx.save(model, path)
    with pytest.raises(UserError, match="takes more than a picture .images, scale., and cannot be run here"):
        segmenter(path)


@pytest.mark.parametrize("shape", [(1, 97), (97, 1), (1, 1)])
@pytest.mark.parametrize("name", ["frozen", "onnx"])
def test_pictures_of_one_pixel_a_side(shape, name, exported, weights):
    picture = np.full((*shape, 3), 90, np.uint8)
    with segmenter(exported / FILES[name]) as running, segmenter(weights) as predicting:
        np.testing.assert_array_equal(running.label(picture), predicting.label(picture))


def two_pictures(path):
    """A file of two inputs that could be the picture; one is not needed."""
    with tf.Graph().as_default() as graph:
        first, _ = (tf.placeholder(tf.uint8, [1, None, None, 3], name) for name in ("first", "second"))
        tf.cast(first[..., 0] > 0, tf.int32, "red")
        path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_a_name_tells_which_input_is_the_picture(tmp_path):
    path = two_pictures(tmp_path / "two.pb")
    with pytest.raises(UserError, match="several inputs that could be a picture .*--set input_node=NAME"):
        segmenter(path)
    with segmenter(path, input_node="first", num_classes=2) as running:
        np.testing.assert_array_equal(running.label(RED), RED[..., 0] > 0)


def test_a_node_of_another_shape_is_refused(tmp_path):
    path = foreign_onnx(tmp_path / "red.onnx")
    with pytest.raises(UserError, match="scores_node=labels: is of shape 1x.x. in .*, not .n, h, w, channels."):
        segmenter(path, scores_node="labels")


USELESS = {
    "preprocessing of a file that takes pixels": (
        "pascal.pb",
        {"pixel_mean": (1.0, 2.0, 3.0)},
        "pixel_mean: .* takes pixels",
    ),
    "classes that a file has not": ("red.onnx", {"num_classes": 5}, "num_classes=5: is 2 in .*red.onnx"),
    "what is the file's": ("red.onnx", {"network_file": "lies"}, "network_file=lies: is ONNX file"),
    "nearest pictures": (
        "red.onnx",
        {"picture_interpolation": "nearest"},
        "picture_interpolation=nearest: pictures for",
    ),
}


@pytest.mark.parametrize("what", USELESS)
def test_settings_that_would_do_nothing_are_refused(what, tmp_path):
    name, settings, message = USELESS[what]
    two_pictures(tmp_path / "pascal.pb")
    foreign_onnx(tmp_path / "red.onnx")
    names = {"input_node": "first"} if name == "pascal.pb" else {}
    with pytest.raises(UserError, match=message):
        segmenter(tmp_path / name, **names, **settings)


def test_what_a_file_does_not_tell_is_unknown():
    from reproductions.v3plus import REPRODUCTION as V3PLUS

    path = SHARED / "weights" / "coral_deeplabv3_mnv2_dm05_pascal_quant.tflite"
    if not path.is_file():
        pytest.skip("the real files are not on this machine")
    for settings, stride in (([], None), (["eval_output_stride=16"], 16)):
        protocol = V3PLUS.recipe_to_run(settings, network_file.open_weights(path)).at_evaluation().protocol()
        assert protocol["output_stride"] == stride


def test_scores_that_are_probabilities_stay_so(tmp_path):
    """Whatever their output is called."""
    from common.inference.file_segmenter import _probabilities

    values = np.float32([[[0.1, 0.9], [1.0, 0.0]]])
    np.testing.assert_array_equal(_probabilities(values), values)
    np.testing.assert_allclose(_probabilities(values * 3).sum(axis=-1), 1, atol=1e-6)


def test_small_pictures_of_a_file_that_was_exported_with_a_range(weights, tmp_path):
    """The recipe enlarges them; the file of one size gets them enlarged."""
    how = ("resize_range=65,65", "resize_rule=fit", "eval_size=65", "align_corners=true")
    words = ("--format", "tflite", "--limit", 1, "--quiet", "--set", *how)
    assert tiny.run("export", "--checkpoint", weights, "--out", tmp_path, *words) == 0
    settings = {"resize_range": (65, 65), "resize_rule": "fit", "eval_size": 65, "align_corners": True}
    small = PICTURE[:40, :50]
    with segmenter(tmp_path / "model.tflite") as running, segmenter(weights, **settings) as predicting:
        assert (running.label(small) == predicting.label(small)).mean() > 0.9


@pytest.mark.skipif(not PROGRAMS["openvino"].is_installed, reason="OpenVINO is not installed: make setup ENGINES=1")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_onnx_file_in_openvino(precision, exported, wanted):
    with segmenter(exported / "model.onnx", engine="openvino", precision=precision) as running:
        assert (running.label(PICTURE) == wanted[0]).mean() > (0.999 if precision == "fp32" else 0.9)
