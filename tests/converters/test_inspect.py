"""`converters.inspect` says who made a file, what it holds, and what runs or converts it, by names and by formats."""

import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from common.errors import UserError
from common.export.folder import publish
from common.export.formats import write_saved_model, write_tflite
from common.export.interface import Options
from common.recipe.recipe import Recipe
from common.reproduction import reproductions
from common.tf1 import tf
from common.weights.checkpoints import recipe_text, write
from converters import caffe_to_onnx, inspect, tflite_to_tf
from converters.origins import Facts, describe_origin, refuse_foreign
from converters.programs import ORIGINS, origin_of
from tests.conftest import SHARED
from tests.helpers import golden_cases, small_v3plus
from tests.helpers.golden_cases import parsed
from tests.helpers.graph_files import GOLDEN, RECIPE, write_frozen
from tests.helpers.tfjs_models import constants, emptied, small_graph, write_model

# Golden file -> who wrote such variables, and the reproduction that takes them.
PROGRAMS = {
    "lfov": ("DrSleep/tensorflow-deeplab-lfov", "v1"),
    "v2": ("zhengyang-wang/Deeplab-v2--ResNet-101--Tensorflow", "v2"),
    "v3": ("NanqingD/DeepLabV3-Tensorflow", "v3"),
    "v3plus": ("asahi417/SemanticSegmentation", "v3plus"),
    "simplified": ("tonandr/deeplabv3plus_keras", "v3plus_simplified"),
    "zoo": ("research/deeplab (the zoo)", "v3plus"),
}
CASES = [
    (name, program, takes, case) for name, (program, takes) in PROGRAMS.items() for case in golden_cases.load(name)
]


def shapes_of(case):
    return {variable[0]: tuple(variable[1]) for variable in parsed(case["variables"])}


@pytest.mark.parametrize(("name", "program", "takes", "case"), CASES, ids=[f"{n}-{c}" for n, *_, c in CASES])
def test_the_originals_are_known_by_their_names(name, program, takes, case):
    fields = golden_cases.load(name)[case]
    if "variables" not in fields:
        pytest.skip("a case without variables")
    lines = list(describe_origin(Path("w.ckpt"), shapes_of(fields)))
    assert lines[0].startswith(f"made by: {program}")
    assert f"run: python -m reproductions.{takes} predict PICTURE --checkpoint w.ckpt --out DIR" in lines
    assert not [line for line in lines if line.startswith("convert: ")]


@pytest.mark.parametrize("case", golden_cases.load("zoo_more"))
def test_networks_of_the_zoo_that_are_here_and_those_that_are_not(case):
    fields = golden_cases.load("zoo_more")[case]
    variant = parsed(fields["config"])["v"]
    lines = list(describe_origin(Path("w.ckpt"), shapes_of(fields)))
    assert lines[0] == "made by: research/deeplab (the zoo)"
    is_here = not variant.startswith(("nas_", "resnet_v1_18"))
    assert lines[-1].startswith("run: python -m reproductions.v3plus" if is_here else "convert: nothing here reads it")


@pytest.mark.parametrize(
    ("names", "program", "command"),
    [
        (["resnet_v2_101/conv1/weights", "aspp/conv_3x3_1/weights", "upsampling_logits/conv_1x1/biases"],
         "rishizek/tensorflow-deeplab-v3", "python -m reproductions.v3 "),
        (["resnet_v2_101/conv1/weights", "aspp/conv_3x3_1/weights", "decoder/low_level_features/conv_1x1/weights"],
         "rishizek/tensorflow-deeplab-v3-plus", "python -m reproductions.v3plus "),
        (["resnet_v2_101/conv1/weights", "resnet_v2_101/logits/weights"], "slim", "reproductions.v3 train --init"),
        (["resnet_v1_101/conv1/weights", "resnet_v1_101/logits/weights"], "slim", "reproductions.v3 train --init"),
        (["MobilenetV2/Conv/weights", "MobilenetV2/Logits/Conv2d_1c_1x1/weights"], "slim", "v3plus train --init"),
        (["res2a_branch2a/kernel", "fc1000/kernel"], "Keras applications", "keras_to_tf --weights f --model res50"),
        (["conv5_3/0", "fc8_voc12/0"], "Caffe", "caffe_to_tf --model deeplab_largefov --caffemodel f --out CKPT"),
        (["res5c_branch2c/0", "fc1_voc12_c3/0"], "Caffe", "caffe_to_tf --model deeplabv2_resnet101 --caffemodel f"),
        (["conv5_3/0", "fc6_4/0", "fc8_voc12_4/0"], "Caffe", "caffe_to_tf --model deeplabv2_vgg16 --caffemodel f"),
        (["conv5_3/0", "data_conv/0", "pool4_ms/0", "fc8_voc12/0"], "Caffe", "caffe_to_tf --caffemodel f --out CKPT"),
        (["conv5_3/0", "fc6/0", "fc8_pascal/0"], "Caffe", "caffe_to_tf --caffemodel f --out CKPT"),
        (["conv5_3/0", "fc6/0", "fc7/0"], "Caffe", "caffe_to_tf --caffemodel f --out CKPT --not-loaded fc8"),
    ],
)  # fmt: skip
def test_other_programs(names, program, command):
    lines = list(describe_origin(Path("f"), dict.fromkeys(names, (21,))))
    assert lines[0] == f"made by: {program}"
    assert command in lines[-1]


def test_every_origin_says_what_to_do_with_its_files():
    for origin in ORIGINS:
        assert origin.marks
        assert not (origin.takes and origin.command), origin
        names = [origin.takes, origin.starts]
        assert all(name in ("", "v1", "v2", "v3", "v3plus", "v3plus_simplified") for name in names), origin


def test_classes_training_state_and_paths_with_blanks():
    shapes = {"conv1_1/w": (3, 3, 3, 64), "fc8_voc12/w": (1, 1, 1024, 7), "fc8_voc12/b": (7,), "fc7/w/Momentum": (1,)}
    lines = list(describe_origin(Path("my files/w"), shapes))
    assert lines[1] == "holds: DeepLab LargeFOV, 7 classes"
    assert "training state: momentum" in lines
    assert "--checkpoint 'my files/w'" in lines[-1]


def lines_of(path, capsys):
    assert inspect.main([str(path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(printed) if line.endswith(" values"))
    return printed[start + 1 :]


def test_our_own_checkpoint(tmp_path, capsys):
    write(tmp_path / "model.ckpt", {**small_v3plus.values(), "global_step": np.int64(7)}, RECIPE)
    lines = lines_of(tmp_path / "model.ckpt", capsys)
    assert lines[0] == "made by: this suite, reproduction v3plus"
    assert "num_classes=21, backbone=mobilenet_v2, depth_multiplier=0.25" in lines[1]
    assert "step: 7" in lines
    assert lines[-1].startswith("run: python -m reproductions.v3plus predict PICTURE --checkpoint ")


@pytest.mark.parametrize("name", ["v1", "v2", "v3", "v3plus", "v3plus_simplified"])
def test_a_stored_recipe_tells_its_reproduction(name):
    recipe: Recipe = next(iter(reproductions()[name].variants.values()))
    lines = list(describe_origin(Path("w"), {}, Facts(recipe=recipe.to_json())))
    assert lines[0] == f"made by: this suite, reproduction {name}"


def test_our_exports(tmp_path, capsys):
    path, _ = write_frozen(tmp_path)
    graph = tf.GraphDef.FromString(path.read_bytes())
    write_saved_model(graph, tmp_path / "saved_model", Options())
    metadata = {"recipe": recipe_text(RECIPE)}
    for given in (path, tmp_path / "saved_model"):
        lines = lines_of(given, capsys)
        assert lines[0] == "made by: this suite's export, by the names of research/deeplab (the zoo)"
        assert "21 classes, backbone=mobilenet_v2, depth_multiplier=0.25" in lines[1]
        assert "output stride: 16" in lines
        assert lines[-1] == f"convert: python -m converters.frozen_to_tf {given} --to v3plus --out CKPT"
    value = helper.make_tensor_value_info("SemanticPredictions", TensorProto.INT32, [1])
    node = helper.make_node("Identity", ["w"], ["SemanticPredictions"])
    weight = helper.make_tensor("w", TensorProto.INT32, [1], [3])
    model = helper.make_model(helper.make_graph([node], "g", [], [value], [weight]), producer_name="tf2onnx")
    helper.set_model_props(model, metadata)
    onnx.save(model, tmp_path / "model.onnx")
    lines = lines_of(tmp_path / "model.onnx", capsys)
    assert lines[0] == "made by: this suite's export, reproduction v3plus"
    assert "output: SemanticPredictions" in lines
    helper.set_model_props(model, {"recipe": "[" * 100_000})
    onnx.save(model, tmp_path / "model.onnx")
    assert lines_of(tmp_path / "model.onnx", capsys)[0] == "made by: no program known here"


def write_lite_file(path, kernel, convolution):
    """A convolution, with our outputs, whose kernel and op have these names."""
    with tf.Graph().as_default() as graph:
        picture = tf.placeholder(tf.float32, [1, 8, 8, 3], "ImageTensor")
        values = tf.constant(np.ones((1, 1, 3, 4), np.float32), name=kernel)
        scores = tf.nn.conv2d(picture, values, 2, "SAME", name=convolution)
        for name in ("SemanticPredictions", "SemanticProbabilities", "RawSemanticPredictions"):
            tf.identity(scores * 2, name)
    write_tflite(graph.as_graph_def(), path, Options())
    return path


def test_a_tensorflow_lite_file(tmp_path, capsys):
    path = write_lite_file(tmp_path / "x.tflite", "logits/semantic/weights", "logits/semantic/Conv2D")
    lines = lines_of(path, capsys)
    assert lines[0] == "made by: no program known here"
    assert "input: ImageTensor, float32 1x8x8x3" in lines
    assert "output stride: 2" in lines
    assert not [line for line in lines if line.startswith("quantisation")]
    assert lines[-1].startswith("run: python -m reproductions.v3plus predict PICTURE --checkpoint ")


@pytest.mark.skipif(not (SHARED / "weights").is_dir(), reason="no real files beside the checkout")
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("coral_deeplabv3_mnv2_dm05_pascal_quant", ("21 classes, backbone=mobilenet_v2, depth_multiplier=0.5",
                                                    "quantisation: uint8 by tensor", "converters.tflite_to_tf")),
        ("coral_deeplab_edgetpu_slim_cityscapes_quant", ("MobileNetEdgeTPU", "19 classes", "run: python",
                                                           "--set num_classes=19 dataset=cityscapes",
                                                           "backbone=mobilenet_edgetpu, depth_multiplier=0.75",
                                                           "converters.tflite_to_tf")),
        ("coral_mobilenet_v2_imagenet_quant", ("MobileNetV2 for ImageNet, 1001 classes",
                                                "convert: nothing here reads it")),
        ("mlperf_deeplabv3_mnv2_ade20k_uint8", ("32 classes", "--set num_classes=32 dataset=ade20k")),
        ("deeplabv3_257_mv_gpu", ("output stride: 8", "1x257x257x3")),
    ],
)  # fmt: skip
def test_real_files(name, wanted, capsys):
    text = "\n".join(lines_of(SHARED / f"weights/{name}.tflite", capsys))
    assert all(part in text for part in wanted), text


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the official exporter's graphs are not on this machine")
def test_the_official_exporters_graph_with_quantisation(capsys):
    lines = lines_of(GOLDEN / "export_mnv2_dm05_8bit.pb", capsys)
    assert lines[0] == "made by: research/deeplab (the zoo)"
    assert "quantisation: trained for 8 bits, with the ranges in it" in lines
    assert "output stride: 16" in lines
    assert "input: ImageTensor, uint8 1x?x?x3" in lines


CAFFE = sorted((SHARED / "caffe").rglob("*.caffemodel"))


@pytest.mark.skipif(not CAFFE, reason="no Caffe nets beside the checkout")
def test_caffe_nets_are_converted_to_onnx(tmp_path, capsys):
    """By the command that is printed, where a prototxt lies beside the net."""
    for path in CAFFE:
        lines = lines_of(path, capsys)
        assert lines[0] == "made by: Caffe"
        assert lines[-1].startswith("convert: python -m converters.caffe_to_onnx --prototxt DEPLOY.prototxt ")
    words = shlex.split(lines[-1].replace("DEPLOY.prototxt", str(path.with_suffix(".prototxt"))))
    assert caffe_to_onnx.main([*words[words.index("converters.caffe_to_onnx") + 1 : -1], str(tmp_path / "x.onnx")]) == 0


def test_our_exports_are_known_by_the_recipe_beside_them(tmp_path, capsys):
    recipe = next(iter(reproductions()["v3"].variants.values()))  # whatever the names in the graph are
    path, _ = write_frozen(tmp_path)
    publish(tmp_path, "frozen", path, {"recipe": recipe.to_json()})
    lines = lines_of(path, capsys)
    assert lines[0] == "made by: this suite's export, reproduction v3"
    assert lines[-2] == f"run: python -m reproductions.v3 predict PICTURE --checkpoint {path} --out DIR"
    assert lines[-1] == f"convert: python -m converters.frozen_to_tf {path} --to v3 --out CKPT"


def test_endings_in_capitals_and_folders(tmp_path, capsys):
    path, _ = write_frozen(tmp_path)
    path = path.rename(tmp_path / "X.PB")
    assert "output stride: 16" in lines_of(path, capsys)
    graph, values = emptied(small_graph(constants()))
    for form in ("json", "pb"):
        file = write_model(tmp_path / form, graph, values, form)
        assert lines_of(file.parent, capsys) == lines_of(file, capsys)


def test_our_simplified_network_is_known_by_its_names():
    shapes = {"Conv1/weights": (3, 3, 3, 8), "aspp0/weights": (1, 1, 8, 8), "logits/weights": (1, 1, 8, 5)}
    shapes |= {"concat_projection/weights": (1, 1, 8, 8)}
    lines = list(describe_origin(Path("x.pb"), shapes, Facts(exported=True, runs=True)))
    assert lines[0] == "made by: this suite's export, reproduction v3plus_simplified"
    assert "5 classes" in lines[1]
    assert "reproductions.v3plus_simplified predict" in lines[-1]
    with pytest.raises(UserError, match="give --to v3plus_simplified"):
        refuse_foreign(shapes, "v3plus")


def test_a_lite_file_whose_names_do_not_tell_its_layers_only_runs(tmp_path, capsys):
    """Such as those of v3plus_simplified."""
    recipe = next(iter(reproductions()["v3plus_simplified"].variants.values()))
    path = write_lite_file(tmp_path / "model.tflite", "kernel", "convolution")
    publish(tmp_path, "tflite", path, {"recipe": recipe.to_json()})
    lines = lines_of(path, capsys)
    assert lines[0] == "made by: this suite's export, reproduction v3plus_simplified"
    assert lines[-1] == f"run: python -m reproductions.v3plus_simplified predict PICTURE --checkpoint {path} --out DIR"
    assert tflite_to_tf.main([str(path), "--to", "v3plus_simplified", "--out", str(tmp_path / "c"), "--no-report"]) == 2
    assert "do not tell" in capsys.readouterr().err


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the official exporter's graphs are not on this machine")
def test_a_graph_that_only_pads_says_how_larger_pictures_are_run(capsys):
    wanted = "pictures: up to 129x129, which it pads; for larger ones add --set eval_size=129 resize_range=129,129"
    assert wanted in lines_of(GOLDEN / "export_mnv2_dm05_os16.pb", capsys)
    assert not [line for line in lines_of(GOLDEN / "export_mnv2_dm05_os8_resize.pb", capsys) if "pictures:" in line]


def test_a_file_that_no_program_here_wrote():
    assert origin_of({"w": (1,)}) is None
    assert list(describe_origin(Path("w.npz"), {"w": (1,)})) == [
        "made by: no program known here; nothing here converts it"
    ]


def test_our_export_without_its_summary_does_not_name_a_reproduction():
    lines = list(describe_origin(Path("x.tflite"), {"w": (1,)}, Facts(exported=True, runs=True)))
    assert lines[0].startswith("made by: this suite's export; export.json, which says of which reproduction, is not")
    assert lines[-1] == "run: python -m reproductions.NAME predict PICTURE --checkpoint x.tflite --out DIR"
