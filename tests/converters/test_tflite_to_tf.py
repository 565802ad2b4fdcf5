"""TensorFlow Lite files become checkpoints: real ones, our own, quantised ones; damaged ones are one sentence."""

import functools
import json
import os
import shutil
import struct

import numpy as np
import pytest

from common.errors import UserError
from common.export.folder import publish
from common.export.formats import write_tflite
from common.export.graph import frozen_graph
from common.export.interface import Options
from common.tf1 import tf
from common.weights.weights import Weights
from converters import frozen_to_tf, inspect, tflite_run, tflite_to_tf
from converters.flatbuffer import root
from converters.tflite import MARK, parse, read_tflite
from converters.tflite_layers import convolutions
from converters.tflite_run import run
from reproductions.v3plus import REPRODUCTION as V3PLUS
from tests.conftest import SHARED, damaged
from tests.helpers import golden_cases, graph_files
from tests.helpers.golden_cases import inputs, parsed
from tests.helpers.graph_files import GOLDEN, RECIPE, remembered_structure, write_frozen  # noqa: F401

REAL = SHARED / "weights"
real = pytest.mark.skipif(not REAL.is_dir(), reason="no real files beside the checkout")
# File -> what its checkpoint's recipe says, the largest relative error of a layer, and that of the scores. EdgeTPU's
# file has steps of 1.7 in its first layers.
FILES = {
    "coral_deeplabv3_mnv2_dm05_pascal_quant": ({"depth_multiplier": 0.5, "pixel_mean": (128.0,) * 3}, 0.2, 0.1),
    "coral_deeplabv3_mnv2_pascal_quant": (
        {"depth_multiplier": 1.0, "pixel_scale": 1 / 128, "eval_size": 513},
        0.2,
        0.1,
    ),
    "deeplabv3_257_mv_gpu": ({"depth_multiplier": 0.5, "eval_output_stride": 8, "eval_size": 257}, 1e-5, 1e-5),
    "coral_deeplab_edgetpu_slim_cityscapes_quant": (
        {"backbone": "mobilenet_edgetpu", "depth_multiplier": 0.75, "last_layer_filters": 1280, "aspp_depth": 128},
        0.36,
        0.2,
    ),
    "mlperf_deeplabv3_mnv2_ade20k_uint8": ({"num_classes": 32, "eval_size": 512, "resize_range": ()}, 0.2, 0.1),
}


def convert(path, out, *words):
    return tflite_to_tf.main([str(path), "--out", str(out), *map(str, words)])


def errors(checkpoint):
    rows = json.loads(checkpoint.with_name(f"{checkpoint.name}.layers.json").read_text())["layers"]
    return {row["layer"]: row["error"] for row in rows}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small file of ours by its quantisation, and its variables."""
    folder = tmp_path_factory.mktemp("small")
    _, values = write_frozen(folder, RECIPE)
    graph = frozen_graph(V3PLUS.load_network(), RECIPE.at_evaluation(), Weights(folder / "w.npz"), 1, (65, 65))
    pictures = list(golden_cases.weights.image(7, 65, 65, 4))
    files = {}
    for how in ("", "float16", "dynamic", "int8"):
        files[how] = folder / f"{how or 'float'}.tflite"
        write_tflite(graph, files[how], Options(quantization=how, calibration=pictures if how == "int8" else ()))
    return files, values


# The largest error of a layer: the last bits of float32, and what 8 bits change, of kernels alone and of all values.
LARGEST = {"": 1e-5, "float16": 1e-5, "dynamic": 0.2, "int8": 0.5}


@pytest.mark.parametrize("how", LARGEST)
def test_our_own_file_comes_back(how, small, tmp_path, capsys):
    files, values = small
    out = tmp_path / "model.ckpt"
    assert convert(files[how], out) == 0
    printed = capsys.readouterr().out
    assert "logits/semantic" in printed
    weights = Weights(out)
    assert weights.names() == values.keys()
    recipe = V3PLUS.recipe_to_run([], weights)
    assert (recipe.depth_multiplier, recipe.aspp_depth, recipe.eval_size) == (0.25, 8, 65)
    found = errors(out)
    assert len(found) == 55
    assert 0 < max(found.values()) <= LARGEST[how]
    kernel, wanted = weights.value("logits/semantic/weights"), values["logits/semantic/weights"]
    step = np.ptp(wanted) / 250 if how in ("dynamic", "int8") else 1e-3 * np.abs(wanted).max()
    assert np.abs(kernel - wanted).max() <= step


def test_a_file_of_several_scales_has_each_layer_once(tmp_path, capsys):
    """Our export of scales and mirrored pictures, as a graph and as TensorFlow Lite's file."""
    recipe = RECIPE.derive(eval_scales=(0.5, 1.0), eval_flip=True)
    path, values = write_frozen(tmp_path, recipe)
    graph = frozen_graph(V3PLUS.load_network(), recipe.at_evaluation(), Weights(tmp_path / "w.npz"), 1, (65, 65))
    write_tflite(graph, tmp_path / "x.tflite", Options())
    assert frozen_to_tf.main([str(path), "--out", str(tmp_path / "frozen.ckpt")]) == 0
    assert convert(tmp_path / "x.tflite", tmp_path / "lite.ckpt", "--no-report") == 0
    for name in ("frozen", "lite"):
        assert Weights(tmp_path / f"{name}.ckpt").names() == values.keys()
    assert "or its scales are not the recipe's" in refused(tmp_path / "x.tflite", tmp_path, capsys)


def test_our_own_file_with_its_summary_keeps_the_recipe(small, tmp_path, capsys):
    """And the labels are the file's, of a picture of its size."""
    recipe = RECIPE.derive(eval_size="native")
    shutil.copy(small[0][""], tmp_path / "model.tflite")
    publish(tmp_path, "tflite", tmp_path / "model.tflite", {"recipe": recipe.to_json()})
    assert convert(tmp_path / "model.tflite", tmp_path / "model.ckpt", "--no-report") == 0
    assert "does not tell" not in capsys.readouterr().err
    assert V3PLUS.recipe_to_run([], Weights(tmp_path / "model.ckpt")) == recipe
    picture = golden_cases.weights.image(9, 65, 65, 1)[0]
    with V3PLUS.segmenter(tmp_path / "model.tflite") as file, V3PLUS.segmenter(tmp_path / "model.ckpt") as checkpoint:
        assert (file.label(picture) == checkpoint.label(picture)).mean() >= 0.999


def test_a_float_file_gives_the_probabilities_of_its_network(small, tmp_path):
    files, _ = small
    assert convert(files[""], tmp_path / "model.ckpt", "--no-report") == 0
    assert not (tmp_path / "model.ckpt.layers.json").exists()
    picture = golden_cases.weights.image(9, 65, 65, 1)[0]
    with V3PLUS.segmenter(tmp_path / "model.ckpt") as ours:
        given = ours.probabilities(picture)
    interpreter = tf.lite.Interpreter(model_path=str(files[""]))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None])
    interpreter.invoke()
    output = next(o for o in interpreter.get_output_details() if o["name"] == "SemanticProbabilities")
    assert np.abs(interpreter.get_tensor(output["index"])[0] - given).max() <= 1e-5


@real
@pytest.mark.parametrize("name", FILES)
def test_real_files(name, tmp_path, capsys):
    fields, largest, of_scores = FILES[name]
    out = tmp_path / "model.ckpt"
    assert convert(REAL / f"{name}.tflite", out) == 0
    untold = "channel_order, pixel_mean, pixel_scale" if "gpu" in name else ""
    assert ("does not tell" in (said := capsys.readouterr().err)) == bool(untold)
    assert untold in said
    recipe = V3PLUS.recipe_to_run([], Weights(out))
    assert {field: getattr(recipe, field) for field in fields} == fields
    found = errors(out)
    assert max(found.values()) <= largest
    assert found["logits/semantic"] <= of_scores


@real
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("coral_mobilenet_v2_imagenet_quant", "is MobileNetV2 for ImageNet of slim"),
    ],
)
def test_real_files_of_other_networks(name, what, tmp_path, capsys):
    assert what in refused(REAL / f"{name}.tflite", tmp_path, capsys)


def test_the_official_converters_file(tmp_path):
    """Dequantised, it is the network whose ranges it was made with, but for the last bit of a range."""
    case = golden_cases.load("export_answers").get("tflite_dm05_8bit")
    if case is None:
        pytest.skip("no export_answers.npz in GOLDEN_DIR")
    from PIL import Image

    picture = tmp_path / "picture.png"
    Image.fromarray(inputs(case)[0][0]).save(picture)
    out = tmp_path / "model.ckpt"
    assert convert(GOLDEN / str(case["graph"]), out, "--report", picture) == 0
    found = errors(out)
    assert found["logits/semantic"] < 0.02
    assert max(found.values()) < 0.3
    recipe = V3PLUS.recipe_to_run([], Weights(out))
    config = parsed(case["config"])
    assert (recipe.num_classes, recipe.eval_output_stride) == (config["num_classes"], config["os"])
    assert recipe.pixel_mean == (config["mean_values"],) * 3
    assert recipe.pixel_scale == 1 / config["std_dev_values"]


def test_whole_numbers_stand_for_what_the_interpreter_takes_them_for(small):
    """By tensor or by channel, read here and by TensorFlow Lite."""
    path = small[0]["int8"]
    model = read_tflite(path)
    interpreter = tf.lite.Interpreter(model_path=str(path))
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    assert any(layer.op.name == "DEPTHWISE_CONV_2D" for layer in convolutions(model))
    for number, tensor in enumerate(model.tensors):
        detail = details[number]
        assert (tensor.name, tensor.shape) == (detail["name"], tuple(detail["shape"]))
        scales = detail["quantization_parameters"]["scales"]
        if tensor.quantization is not None:
            assert np.array_equal(tensor.quantization.scale, scales)
            assert np.array_equal(tensor.quantization.zero, detail["quantization_parameters"]["zero_points"])
        else:
            assert not len(scales)


refused = functools.partial(graph_files.refused, convert)


def test_files_that_are_no_such_network(small, tmp_path, capsys):
    whole, path = small[0][""].read_bytes(), tmp_path / "x.tflite"
    for content, message in {
        b"": "it does not have the mark TFL3",
        b"x" * 99: "it does not have the mark TFL3",
        whole[:1000]: "(it leads to a place beyond its end)",
        struct.pack("<I4s", 1 << 31, MARK) + bytes(40): "(it leads to a place beyond its end)",
        struct.pack("<I4s", 8, MARK) + bytes(40): "(it has 0 graphs, and files with one are read)",
    }.items():
        path.write_bytes(content)
        assert message in refused(path, tmp_path, capsys)
    assert "no such TensorFlow Lite file" in refused(tmp_path / "nowhere.tflite", tmp_path, capsys)
    assert "(the zoo); give --to v3plus" in refused(small[0][""], tmp_path, capsys, "--to", "v2")
    (tmp_path / "x.pth").touch()
    assert "python -m converters.torch_to_tf --weights" in refused(tmp_path / "x.pth", tmp_path, capsys)


def test_sizes_that_claim_more_than_the_memory(small, tmp_path, capsys):
    data = bytearray(small[0][""].read_bytes())
    tensors = root(bytes(data), MARK).tables(2)[0].tables(0)
    place = tensors[0].array(0, np.int32)
    at = place.__array_interface__["data"][0] - np.frombuffer(tensors[0].data, np.uint8).__array_interface__["data"][0]
    whole = bytes(data)
    data[at : at + 16] = struct.pack("<4i", 1, 1 << 15, 1 << 15, 3)
    (tmp_path / "x.tflite").write_bytes(bytes(data))
    assert "its tensors have more than 2,147,483,648 bytes" in refused(tmp_path / "x.tflite", tmp_path, capsys)
    assert inspect.main([str(tmp_path / "x.tflite")]) == 0  # which does not run it
    data = bytearray(whole)
    data[at - 4 : at] = struct.pack("<i", 9)  # sides
    (tmp_path / "x.tflite").write_bytes(bytes(data))
    assert "a list of more than 8 numbers where nothing has as many" in refused(tmp_path / "x.tflite", tmp_path, capsys)


def test_a_file_that_tensorflow_lite_refuses_is_one_sentence(small, tmp_path, capsys):
    """The file runs in a process of its own."""
    model = read_tflite(small[0][""])
    with pytest.raises(UserError, match="TensorFlow Lite cannot run it"):
        run(small[0][""], np.zeros((1, 7, 7, 3), np.uint8), [model.ops[0].outputs[0]])


def end(*arguments):
    """What a damaged file may do to the process that runs it."""
    os._exit(3)


def test_a_file_that_ends_the_process_is_one_sentence(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tflite_run, "_run", end)
    assert "TensorFlow Lite cannot run it (it ends the process)" in refused(small[0][""], tmp_path, capsys)


def test_somebody_elses_file_beside_the_checkpoint_stays(small, tmp_path, capsys):
    (tmp_path / "model.ckpt.layers.json").write_text("[]")
    assert convert(small[0][""], tmp_path / "model.ckpt") == 2
    assert "not written by this command" in capsys.readouterr().err
    assert (tmp_path / "model.ckpt.layers.json").read_text() == "[]"


@pytest.mark.parametrize("trials", [40, pytest.param(1000, marks=pytest.mark.full)])
def test_a_damaged_file_never_escapes(trials, small, remembered_structure):  # noqa: F811
    whole, rng, failed = small[0]["int8"].read_bytes(), np.random.RandomState(trials), 0
    for _ in range(trials):
        data = bytearray(damaged(whole, rng))
        for place in rng.randint(1, min(60_000, len(data)), 6):  # where the tables are
            data[-place] = rng.choice((0, 127, 128, 255))
        try:
            tflite_to_tf.convert(parse(bytes(data)), V3PLUS, [])
        except (UserError, ValueError) as error:
            failed += 1
            assert "\n" not in str(error)
    assert failed > trials // 4
