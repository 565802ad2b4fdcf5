"""Exports of 8 bit networks: TensorFlow Lite computes in integers by their ranges, ONNX rounds as TensorFlow does."""

import json

import numpy as np
import pytest

from common.engines.interface import INPUT, OUTPUTS, SCORES
from common.engines.tensorflow_lite import TensorFlowLite
from common.tf1 import tf
from tests.helpers import eight_bits


@pytest.fixture(scope="module")
def trained(sample_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    words = ["variant=at_once", "num_steps=40", "save_interval=40"]
    assert eight_bits.run("train", "--data", sample_set, "--run-dir", folder, "--quiet", "--set", *words) == 0
    return folder / "model.ckpt-40"


@pytest.fixture(scope="module")
def exported(trained, sample_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    words = ["--format", "tflite,onnx,frozen", "--size", "129x129", "--data", sample_set, "--quiet", "--limit", 2]
    assert eight_bits.run("export", "--checkpoint", trained, "--out", out, *words) == 0
    return out


def test_every_format_agrees(exported):
    entries = json.loads((exported / "export.json").read_text())["exports"]
    assert {name: entry["quantization"] for name, entry in entries.items()} == {
        "tflite": "ranges", "onnx": None, "frozen": None,
    }  # fmt: skip
    assert min(entry["agreement"] for entry in entries.values()) >= 0.99
    assert {entry["least_agreement"] for entry in entries.values()} == {0.9}


def test_tensorflow_lite_computes_in_integers(exported):
    """All kernels have one byte a number, and only the first layers, which read pixels, have floats."""
    with TensorFlowLite(exported / "model.tflite") as engine:
        assert engine.number_type == "8 bit"
        port = engine.port(SCORES)
        assert (port.dtype, port.scale > 0) == (np.uint8, True)
        picture = np.random.RandomState(0).randint(0, 255, (1, 129, 129, 3), np.uint8)
        labels, probabilities, scores = engine.run({INPUT: picture}, OUTPUTS)
    assert (labels.shape, probabilities.shape, scores.dtype) == ((1, 129, 129), (1, 129, 129, 21), np.uint8)
    interpreter = tf.lite.Interpreter(model_path=str(exported / "model.tflite"))
    convolutions = [op for op in interpreter._get_ops_details() if op["op_name"] == "CONV_2D"]
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    kinds = [details[op["inputs"][1]]["dtype"] for op in convolutions]
    assert kinds[1:] == [np.uint8] * (len(kinds) - 1)


def test_onnx_has_no_quantisation_of_its_own(exported):
    import onnx

    ops = {node.op_type for node in onnx.load(exported / "model.onnx").graph.node}
    assert "Floor" in ops
    assert not [op for op in ops if "Quantize" in op]


def test_another_quantisation_is_refused(trained, tmp_path, capsys):
    words = ["--format", "tflite", "--quantize", "float16"]
    assert eight_bits.run("export", "--checkpoint", trained, "--out", tmp_path / "out", *words) == 2
    assert "--quantize float16: the network has 8 bits and ranges of its own" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
