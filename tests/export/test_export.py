"""`export`: each file gives what `predict` gives, by the official names, or it does not appear."""

import json
import zipfile

import numpy as np
import pytest

from common.cli import main
from common.data import sample
from common.engines.interface import INPUT, LABELS, OUTPUTS, PROBABILITIES, SCORES
from common.errors import UserError
from common.export import export as exporting
from common.export import formats
from common.export.graph import frozen_graph
from common.export.interface import Options
from common.inference.segmenter import Segmenter
from common.nets import layers
from common.nets.network import Outputs, build
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.weights.weights import Weights
from reproductions.v3plus import REPRODUCTION as V3PLUS
from tests.conftest import SHARED, files_no_larger_than
from tests.golden.weights import image, weight
from tests.helpers import tiny
from tests.helpers.random_weights import write_random_weights

PICTURE = sample.draw(70)[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_random_weights(tmp_path_factory.mktemp("weights") / "tiny.npz", tiny.network, tiny.SMALL)


def export(weights, out, *words):
    return tiny.run("export", "--checkpoint", weights, "--out", out, "--quiet", "--limit", 2, *words)


def answers(out, name, picture):
    with formats.ENGINES[name](out / exporting.FILES[name]) as engine:
        given = engine.run({INPUT: picture[None]}, OUTPUTS)
        return {role: answer[0] for role, answer in zip(OUTPUTS, given, strict=True)}


def segmenter(weights, **changes):
    return Segmenter(tiny.network, tiny.SMALL.derive(**changes), Weights(weights))


PROTOCOLS = {
    "one pass": {},
    "padded": {"eval_size": 257, "padding_pixel": (10.0, 200.0, 30.0), "eval_padding": "around"},
    "resized": {"resize_range": (97, 129), "eval_size": 129, "align_corners": True, "channel_order": "bgr"},
    "many passes": {"eval_scales": (0.5, 1.25), "eval_flip": True},
    "highest scores": {"eval_scales": (1.0, 1.25), "eval_flip": True, "scale_fusion": "max_logits"},
}


def settings(changes):
    texts = [f"{k}={','.join(map(str, v)) if isinstance(v, tuple) else str(v).lower()}" for k, v in changes.items()]
    return ["--set", *texts] if texts else []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_frozen_graph_does_what_predict_does(protocol, weights, tmp_path):
    changes = PROTOCOLS[protocol]
    assert export(weights, tmp_path, *settings(changes)) == 0
    given = answers(tmp_path, "frozen", PICTURE)
    with segmenter(weights, **changes) as predicting:
        assert len(np.unique(given[LABELS])) > 2
        np.testing.assert_array_equal(given[LABELS], predicting.label(PICTURE))
        np.testing.assert_allclose(given[PROBABILITIES], predicting.probabilities(PICTURE), atol=1e-5)
        np.testing.assert_allclose(given[SCORES], predicting.logits(PICTURE), atol=1e-4)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_onnx_too(protocol, weights, tmp_path):
    """With atrous convolutions at any size, and whole numbers divided as Python does."""
    changes = PROTOCOLS[protocol]
    assert export(weights, tmp_path, "--format", "onnx", *settings(changes)) == 0
    given = answers(tmp_path, "onnx", PICTURE)
    with segmenter(weights, **changes) as predicting:
        assert (given[LABELS] == predicting.label(PICTURE)).mean() > 0.999
        np.testing.assert_allclose(given[SCORES], predicting.logits(PICTURE), atol=1e-3)
    import onnx

    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert facts["classes"].split()[:2] == ["background", "aeroplane"]
    assert json.loads(facts["palette"])[1] == [128, 0, 0]
    assert json.loads(facts["recipe"])["variant"] == "small"


def test_onnx_takes_any_size(weights, tmp_path):
    assert export(weights, tmp_path, "--format", "onnx,frozen", "--size", "97x129") == 0
    summary = json.loads((tmp_path / "export.json").read_text())["exports"]
    assert {name: entry["size"] for name, entry in summary.items()} == {"frozen": [97, 129], "onnx": "any"}


def test_onnx_divides_negative_numbers_downwards(tmp_path):

    def network(pictures):
        sides = tf.shape(pictures)[1:3]
        return tf.cast(pictures, tf.float32) + tf.cast(-(-sides[0] // 2), tf.float32)

    formats.write_onnx(graph_of(network), tmp_path / "model.onnx", Options())
    assert answers(tmp_path, "onnx", np.zeros((3, 5, 3), np.uint8))[SCORES].max() == 2


def graph_of(network):
    """The graph of any function of pictures; all outputs are its result."""
    with tf.Graph().as_default() as graph:
        result = network(tf.placeholder(tf.uint8, [1, None, None, 3], INPUT))
        for name in OUTPUTS:
            tf.identity(result, name)
        return graph.as_graph_def()


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_the_op_that_a_format_lacks_is_named(name, tmp_path, capfd):
    graph = graph_of(lambda pictures: tf.betainc(*[tf.cast(pictures, tf.float32) / 300] * 3))
    with pytest.raises(UserError, match=rf"{name}: cannot be made of this network \(.*Betainc"):
        formats.WRITERS[name](graph, tmp_path / "file", Options())
    assert not capfd.readouterr().err
    assert not (tmp_path / "file").exists()


def test_the_official_way_of_calling(weights, tmp_path):
    """As research/deeplab's notebook has it."""
    assert export(weights, tmp_path) == 0
    graph_def = tf.GraphDef.FromString((tmp_path / "model.pb").read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with tf.Session(graph=graph) as session:
        batch = session.run("SemanticPredictions:0", feed_dict={"ImageTensor:0": [PICTURE]})
        types = {name: graph.get_tensor_by_name(f"{name}:0").dtype.as_numpy_dtype for name in ("ImageTensor", *OUTPUTS)}
    assert batch.shape == (1, *PICTURE.shape[:2])
    assert list(types.values()) == [np.uint8, np.int32, np.float32, np.float32]
    assert not [node.name for node in graph_def.node if "_gradient_op_type" in node.attr]


def test_a_saved_model_takes_pictures_of_one_size_together(weights, tmp_path):
    assert export(weights, tmp_path, "--format", "savedmodel", "--scales", "0.5,1", "--flip") == 0
    pictures = np.stack([PICTURE, PICTURE[::-1], PICTURE[:, ::-1]])
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.load(session, ["serve"], str(tmp_path / "saved_model"))
        signature = loaded.signature_def["serving_default"]
        assert sorted(signature.outputs) == sorted(OUTPUTS)
        labels = session.run(signature.outputs[LABELS].name, {signature.inputs["ImageTensor"].name: pictures})
    with segmenter(weights, eval_scales=(0.5, 1.0), eval_flip=True) as predicting:
        np.testing.assert_array_equal(labels, [predicting.label(picture) for picture in pictures])


def test_all_formats_and_their_summary(weights, tmp_path, capsys):
    words = ["--format", "tflite,savedmodel,frozen", "--size", "97x129", "--scales", "1,0.75", "--flip"]
    assert export(weights, tmp_path / "out", *words) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["model.tflite", "97x129"] in [words[:2] for words in shown]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["model.pb", "model.tflite", "saved_model", "export.json"]
    )
    summary = json.loads((tmp_path / "out/export.json").read_text())["exports"]
    assert list(summary) == ["frozen", "savedmodel", "tflite"]
    for entry in summary.values():
        assert entry["agreement"] >= 0.999
        assert entry["largest_score_difference"] <= 1e-4 * entry["largest_score"]
        assert entry["largest_probability_difference"] < 1e-4
        assert entry["recipe"]["eval_flip"] is True
    assert summary["tflite"]["bytes"] == (tmp_path / "out/model.tflite").stat().st_size
    with zipfile.ZipFile(tmp_path / "out/model.tflite") as archive:
        assert archive.read("labels.txt").decode().split()[:2] == ["background", "aeroplane"]


def test_a_later_export_keeps_the_other_files(weights, tmp_path):
    """And writes its own anew."""
    assert export(weights, tmp_path, "--format", "frozen,savedmodel") == 0
    before = (tmp_path / "model.pb").read_bytes()
    assert export(weights, tmp_path, "--format", "savedmodel", "--flip") == 0
    assert (tmp_path / "model.pb").read_bytes() == before
    summary = json.loads((tmp_path / "export.json").read_text())["exports"]
    assert [entry["recipe"]["eval_flip"] for entry in summary.values()] == [False, True]


@pytest.fixture(scope="module")
def trained(sample_set, tmp_path_factory):
    """Quantised labels agree where the scores are not drawn by lot."""
    folder = tmp_path_factory.mktemp("run")
    words = ["--set", "num_steps=40", "save_interval=40"]
    assert tiny.run("train", "--data", sample_set, "--run-dir", folder, "--quiet", *words) == 0
    return folder / "model.ckpt-40"


@pytest.mark.parametrize("quantization", ["float16", "dynamic", "int8"])
def test_quantised(quantization, trained, sample_set, tmp_path, capfd):
    words = ["--format", "tflite", "--size", "129x129", "--quantize", quantization, "--data", sample_set]
    assert export(trained, tmp_path, *words) == 0
    assert not capfd.readouterr().err
    entry = json.loads((tmp_path / "export.json").read_text())["exports"]["tflite"]
    assert entry["quantization"] == quantization
    assert entry["agreement"] >= 0.99
    assert entry["largest_score_difference"] > 0


def test_a_file_that_disagrees_does_not_appear(weights, tmp_path, monkeypatch, capsys):
    right = exporting.frozen_graph

    def with_another_mean(network, recipe: Recipe, *rest):
        return right(network, recipe.derive(pixel_mean=(0.0, 0.0, 0.0)), *rest)

    monkeypatch.setattr(exporting, "frozen_graph", with_another_mean)
    assert export(weights, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: model.pb: agrees with predict on ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["frozen", "savedmodel", "onnx", "tflite"])
def test_a_full_disk_leaves_nothing(name, weights, tmp_path, capfd):
    with files_no_larger_than(4096):
        assert export(weights, tmp_path / "out", "--format", name) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert exporting.FILES[name] in error
    assert not (tmp_path / "out").exists()


def test_a_size_that_the_network_cannot_take(tmp_path):
    def network(images, recipe, batch_statistics=False):
        return Outputs(layers.conv2d(images, recipe.num_classes, 7, padding="none", scope="scores"))

    np.savez(tmp_path / "w.npz", **{"scores/weights": np.ones((7, 7, 3, 21), np.float32)})
    weights = Weights(tmp_path / "w.npz")
    with pytest.raises(UserError, match="--size 5x9: the network cannot take pictures of this size"):
        frozen_graph(network, tiny.SMALL, weights, 1, (5, 9))
    assert frozen_graph(network, tiny.SMALL.derive(eval_size=9), weights, 1, (5, 9)).node


FAULTS = {
    "--format frozen,caffe": "'caffe' is no format; there are frozen, savedmodel, onnx, tflite",
    "--format ,": "'' is no format",
    "--size 12": "'12' is not HEIGHTxWIDTH",
    "--size 0x5": "'0x5' is not HEIGHTxWIDTH",
    "--size 5000x5": "5000x5 is too large",
    "--format tflite --size any": "--size any: tflite takes pictures of one size",
    "--quantize int8": "--quantize int8: only tflite is quantised",
    "--format tflite --quantize int8": "--quantize int8: is calibrated on pictures",
    "--quantize int4": "invalid choice: 'int4'",
    "--set crf=true": "crf=true: the CRF is no part of the network",
    "--checkpoint nowhere": "nowhere: no such weights",
    "--data nowhere": "--data nowhere: no such folder",
    "--set num_classes=20": "does not fit this network",
}


@pytest.mark.parametrize("words", FAULTS)
def test_faults(words, weights, tmp_path, capsys):
    assert export(weights, tmp_path / "out", *words.split()) == 2
    error = capsys.readouterr().err
    assert FAULTS[words] in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model.pb", "saved_model", "export.json"])
def test_somebody_elses_file_stays(name, weights, tmp_path, capsys):
    mine = tmp_path / name / "notes.txt" if name == "saved_model" else tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    assert export(weights, tmp_path, "--format", "frozen,savedmodel") == 2
    assert f"{name} is there, and not written by this command" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_a_file_that_was_changed_is_somebodys(weights, tmp_path, capsys):
    assert export(weights, tmp_path, "--format", "savedmodel") == 0
    (tmp_path / "saved_model/notes.txt").write_text("mine")
    assert export(weights, tmp_path, "--format", "savedmodel") == 2
    assert "saved_model is there, and not written by this command" in capsys.readouterr().err


def test_mobilenet(tmp_path):
    """Depthwise and atrous convolutions, image pooling: at one size, at any, and as TensorFlow Lite has them."""
    recipe = V3PLUS.variants["mnv2_dm05_pascal_trainaug"].derive(eval_size=97)
    path = write_random_weights(tmp_path / "w.npz", V3PLUS.load_network(), recipe)
    words = ["export", "--checkpoint", path, "--out", tmp_path / "out", "--format", "frozen,onnx,tflite", "--limit", 1,
             "--quiet", "--set", "variant=mnv2_dm05_pascal_trainaug", "eval_size=97"]  # fmt: skip
    assert main(V3PLUS, [*map(str, words)]) == 0
    summary = json.loads((tmp_path / "out/export.json").read_text())["exports"]
    assert [entry["size"] for entry in summary.values()] == ["any", "any", [97, 97]]
    assert min(entry["agreement"] for entry in summary.values()) >= 0.999
    graph = tf.GraphDef.FromString((tmp_path / "out/model.pb").read_bytes())
    depthwise = [node for node in graph.node if node.op == "DepthwiseConv2dNative"]
    assert len(depthwise) == 17
    assert not [node for node in depthwise if max(node.attr["dilations"].list.i, default=1) > 1]  # see for_tensorflow


OFFICIAL = SHARED / "golden/export_mnv2_dm05_os16.pb"


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="the official exporter's graphs are not on this machine")
def test_the_official_exporters_answers(tmp_path):
    """research/deeplab's export_model.py on the same weights: one interface, one answer."""
    recipe = V3PLUS.variants["mnv2_dm05_pascal_trainaug"].derive(eval_size=129)
    with tf.Graph().as_default():
        build(V3PLUS.load_network(), tf.zeros([1, 33, 33, 3]), recipe)
        np.savez(tmp_path / "w.npz", **{v.op.name: weight(v.op.name, v.shape) for v in tf.global_variables()})
    ours = frozen_graph(V3PLUS.load_network(), recipe.at_evaluation(), Weights(tmp_path / "w.npz"), 1, None)
    answers = []
    for graph in (tf.GraphDef.FromString(OFFICIAL.read_bytes()), ours):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.import_graph_def(graph, name="")
            answers.append(session.run([f"{LABELS}:0", f"{PROBABILITIES}:0"], {f"{INPUT}:0": image(83, 65, 90)}))
    (official, probabilities), (labels, given) = answers
    assert labels.dtype == official.dtype
    np.testing.assert_array_equal(labels, official)
    np.testing.assert_allclose(given, probabilities, atol=1e-6)
