"""Released DeepLab nets from .caffemodel to checkpoint, with the golden weights in them."""

import os
import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from google.protobuf import text_format

from common.errors import UserError
from common.inference.segmenter import Segmenter
from common.nets import dilation
from common.nets.network import build
from common.recipe.recipe import Recipe
from common.tf1 import session, tf
from common.weights import weights as checkpoints
from converters import caffe_to_tf, deploy
from converters.caffe_net import read_net
from converters.caffe_schema import NetParameter
from converters.caffe_to_onnx import convert as to_onnx
from converters.onnx_to_tf import convert, load_reproduction
from tests.conftest import ROOT
from tests.helpers import golden_cases
from tests.helpers.golden_cases import parsed, relative

CASES = {
    "deeplab_largefov": ("lfov", "a", ("w", "b")),
    "deeplabv2_resnet101": ("v2", "deeplab_a", ("weights", "biases")),
}


LARGEFOV_NAMES = [name for name, *_ in parsed(golden_cases.load("lfov")["a"]["variables"])]


def weight(name, shape):
    return golden_cases.weights.weight(name, shape)


def blobs_of(layer, depth, leaves):
    """The Caffe blobs of a layer that hold what the golden weights give its TensorFlow variables."""
    if layer.type == "Convolution":
        p = layer.convolution_param
        size, kernel = p.num_output, p.kernel_size[0]
        arrays = [weight(f"{layer.name}/{leaves[0]}", (kernel, kernel, depth, size)).transpose(3, 2, 0, 1)]
        return arrays + ([weight(f"{layer.name}/{leaves[1]}", (size,))] if p.bias_term else [])
    norm = layer.name.replace("scale", "bn", 1)
    if layer.type == "BatchNorm":
        # Stored as sums with the factor that divides them.
        factor = np.float32(2.0)
        statistics = [weight(f"{norm}/{n}", (depth,)) * factor for n in ("moving_mean", "moving_variance")]
        return [*statistics, factor.reshape(1)]
    return [weight(f"{norm}/{n}", (depth,)) for n in ("gamma", "beta")]


def write_caffemodel(folder, model, size):
    """The released net with golden weights: prototxt and binary caffemodel."""
    leaves = CASES[model][2] if model in CASES else ("w", "b")
    text = deploy.MODELS[model][2](size)
    net = text_format.Parse(text, NetParameter())
    depth = {"data": 3}
    for layer in net.layer:
        entering = depth[layer.bottom[0]]
        leaving = layer.convolution_param.num_output if layer.type == "Convolution" else entering
        for top in layer.top:
            depth[top] = leaving
        if layer.type not in ("Convolution", "BatchNorm", "Scale"):
            continue
        for array in blobs_of(layer, entering, leaves):
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(array.ravel())
    (folder / "net.prototxt").write_text(text)
    (folder / "net.caffemodel").write_bytes(net.SerializeToString())


@pytest.fixture(scope="module", params=CASES)
def released(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    write_caffemodel(folder, request.param, 97)
    yield request.param, folder
    for file in folder.iterdir():  # hundreds of megabytes
        file.unlink()


def run(module, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"converters.{module}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_conversion_and_parity(released, tmp_path):
    """Through the command line, within 2 GiB and 60 s; then the golden logits of the original from the checkpoint."""
    model, folder = released
    measure = (
        "import re, runpy, sys; sys.argv[0] = 'x'\n"
        "try: runpy.run_module('converters.caffe_to_tf', run_name='__main__')\n"
        "except SystemExit as e: status = e.code\n"
        # Not ru_maxrss: that is the greatest of this process and of the one that started it.
        "print('peak', int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)\n"
        "sys.exit(status)"
    )
    arguments = [
        "--model",
        model,
        "--caffemodel",
        folder / "net.caffemodel",
        "--size",
        "97",
        "--out",
        tmp_path / "c.ckpt",
    ]
    done = subprocess.run(
        [sys.executable, "-c", measure, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    peak = int(done.stdout.split("peak")[1].split()[0])
    assert peak < 2048, f"{peak} MiB"
    assert float(done.stdout.split("picture ")[1].split()[0]) < 1e-4

    reproduction = load_reproduction(deploy.MODELS[model][0])
    weights = checkpoints.Weights(tmp_path / "c.ckpt")
    recipe = reproduction.recipe_to_run([], weights)
    assert recipe == reproduction.variants[recipe.variant]
    assert recipe.variant == deploy.MODELS[model][1]
    # Weights from Caffe take Caffe's rules with them into a run of another variant, unless --set says otherwise.
    first = reproduction.default_variant
    field, caffes, other = {"v1": ("pooling", "caffe", "tensorflow"), "v2": ("batch_norm_epsilon", 1e-5, 0.001)}[
        reproduction.name
    ]
    assert getattr(reproduction.recipe_to_train([f"variant={first}"], weights), field) == caffes
    assert getattr(reproduction.recipe_to_train([f"{field}={other}"], weights), field) == other

    file, case, _ = CASES[model]
    golden = golden_cases.load(file)[case]
    about = parsed(golden["input"])
    image = golden_cases.weights.image(about["seed"], about["height"], about["width"], about["batch"])[0]

    def logits(**changes):
        segmenter = Segmenter(reproduction.load_network(), recipe.derive(eval_size="native", **changes), weights)
        values = segmenter.logits(image)
        segmenter.close()
        return values

    if model == "deeplab_largefov":
        caffe = golden_cases.load("caffe_largefov")[case]["logits"][0]
        assert relative(logits(), caffe) <= 2e-5  # real Caffe
        assert relative(logits(pooling="tensorflow"), golden["logits"][0]) <= 2e-5  # the TensorFlow original
    else:
        assert relative(logits(batch_norm_epsilon=0.001), golden["logits"][0]) <= 2e-5
        assert relative(logits(), golden["logits"][0]) > 1e-4  # Caffe's epsilon is another network


def test_logits_equal_opencvs(released, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is a test oracle")
    model, folder = released
    net = cv2.dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "net.caffemodel"))
    image = (golden_cases.weights.image(5, 97, 97)[0].astype(np.float32) - 110.0).transpose(2, 0, 1)[None]
    net.setInput(image)
    theirs = net.forward().transpose(0, 2, 3, 1)
    reproduction, variant, _ = deploy.MODELS[model]
    made = load_reproduction(reproduction)
    with tf.Graph().as_default(), session() as sess:
        logits = build(made.load_network(), tf.constant(image.transpose(0, 2, 3, 1)), made.variants[variant]).logits
        golden_cases.fill(sess)
        ours = sess.run(logits)
    assert relative(ours, theirs) <= 1e-4


def test_a_missing_classifier_can_be_left_out_and_nothing_else(tmp_path, capsys, monkeypatch):
    """vgg16_20M has no classifier: refused with its name, accepted with --not-loaded, then fit for --init."""
    write_caffemodel(tmp_path, "deeplab_largefov", 65)
    net = NetParameter.FromString((tmp_path / "net.caffemodel").read_bytes())
    del net.layer[-1]
    (tmp_path / "init.caffemodel").write_bytes(net.SerializeToString())
    arguments = ["x", "--model", "deeplab_largefov", "--caffemodel", f"{tmp_path}/init.caffemodel", "--size", "65"]
    arguments += ["--out", f"{tmp_path}/o/init.ckpt"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert caffe_to_tf.main() == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "fc8_voc12" in message
    assert not (tmp_path / "o").exists()
    monkeypatch.setattr(sys, "argv", [*arguments, "--not-loaded", "fc8_voc12"])
    assert caffe_to_tf.main() == 0
    assert "not run on a picture" in capsys.readouterr().out
    assert "fc8_voc12/w" not in checkpoints.Weights(tmp_path / "o/init.ckpt").shapes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name: "fc6" type: "Convolution" bottom: "pool5a" top: "fc6" convolution_param { num_output: 1024 '
         "kernel_size: 3 stride: 1 pad: 12 dilation: 12", None, "fc6: dilation [6, 6] in ONNX, [12, 12] in TensorFlow"),
        ("pool: MAX kernel_size: 3 stride: 2 pad: 1", "pool: MAX kernel_size: 2 stride: 2 pad: 0", "pooling: windows"),
    ],
)  # fmt: skip
def test_other_hyper_parameters_are_named(tmp_path, capsys, monkeypatch, old, new, message):
    write_caffemodel(tmp_path, "deeplab_largefov", 65)
    text = (tmp_path / "net.prototxt").read_text()
    assert old in text
    changed = text.replace(old, new or old.replace("pad: 12 dilation: 12", "pad: 6 dilation: 6"))
    (tmp_path / "other.prototxt").write_text(changed)
    monkeypatch.setattr(sys, "argv", [
        "x", "--model", "deeplab_largefov", "--caffemodel", f"{tmp_path}/net.caffemodel", "--size", "65",
        "--prototxt", f"{tmp_path}/other.prototxt", "--out", f"{tmp_path}/o/c.ckpt",
    ])  # fmt: skip
    assert caffe_to_tf.main() == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("alike", [True, False])
def test_a_multi_scale_train_prototxt(tmp_path, capsys, monkeypatch, alike):
    """Data layer and label branch are dropped, the branch of scale .5 is a copy; a copy that differs is left over."""
    write_caffemodel(tmp_path, "deeplab_largefov", 65)
    head, *layers = (tmp_path / "net.prototxt").read_text().splitlines()
    layers = [line for line in layers if line.startswith("layer")]
    half = [re.sub('(name|bottom|top): "([^"]+)"', r'\1: "\2_res05"', line) for line in layers]
    data = (
        'layer { name: "data" type: "ImageSegData" top: "data" top: "label" include { phase: TRAIN } '
        "transform_param { crop_size: 65 } }\n"
        'layer { name: "shrink" type: "Interp" bottom: "data" top: "data_res05" interp_param { height: 33 width: 33 } }'
    )
    fuse = (
        'layer { name: "up" type: "Interp" bottom: "fc8_voc12_res05" top: "up" interp_param { height: 9 width: 9 } }\n'
        'layer { name: "fuse" type: "Eltwise" bottom: "fc8_voc12" bottom: "up" top: "fuse" '
        "eltwise_param { operation: MAX } }\n"
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fuse" bottom: "label" top: "loss" }'
    )
    (tmp_path / "train.prototxt").write_text("\n".join([head, data, *layers, *half, fuse]))
    net = NetParameter.FromString((tmp_path / "net.caffemodel").read_bytes())
    for layer in list(net.layer):
        copy = net.layer.add()
        copy.CopyFrom(layer)
        copy.name += "_res05"
    if not alike:
        net.layer[-1].blobs[1].data[0] += 1
    (tmp_path / "train.caffemodel").write_bytes(net.SerializeToString())
    monkeypatch.setattr(sys, "argv", [
        "x", "--model", "deeplab_largefov", "--caffemodel", f"{tmp_path}/train.caffemodel", "--size", "65",
        "--prototxt", f"{tmp_path}/train.prototxt", "--out", f"{tmp_path}/o/c.ckpt",
    ])  # fmt: skip
    status, printed = caffe_to_tf.main(), capsys.readouterr()
    if alike:
        assert status == 0, printed.err
        assert checkpoints.Weights(tmp_path / "o/c.ckpt").names() == set(LARGEFOV_NAMES)
    else:
        assert status == 2
        assert "1 extra in the file: fc8_voc12_res05 (a layer)" in printed.err


def test_the_two_steps_apart(tmp_path):
    write_caffemodel(tmp_path, "deeplab_largefov", 65)
    pair = ["--prototxt", tmp_path / "net.prototxt", "--caffemodel", tmp_path / "net.caffemodel"]
    done = run("caffe_to_onnx", *pair, "--out", tmp_path / "net.onnx")
    assert done.returncode == 0, done.stderr
    done = run("onnx_to_tf", "--onnx", tmp_path / "net.onnx", "--reproduction", "v1", "--out", tmp_path / "c.ckpt")
    assert done.returncode == 0, done.stderr
    assert "largest difference" in done.stdout, done.stderr
    (tmp_path / "bad.onnx").write_bytes(b"\x00hello")
    done = run("onnx_to_tf", "--onnx", tmp_path / "bad.onnx", "--reproduction", "v1", "--out", tmp_path / "d.ckpt")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def largefov_onnx(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    write_caffemodel(folder, "deeplab_largefov", 33)
    return to_onnx(read_net(folder / "net.prototxt", folder / "net.caffemodel"))


def _rename(model):
    model.graph.node[0].name = ""


def _rank(model):
    tensor = next(t for t in model.graph.initializer if t.name == "conv1_1/0")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(9, np.float32), "conv1_1/0"))


def _huge(model):
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 200_000


def _no_input(model):
    del model.graph.input[:]


def _flat_input(model):
    del model.graph.input[0].type.tensor_type.shape.dim[2:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rename, "conv1_1: no node of that name"),
        (_rank, "weights of layer conv1_1 have 1 axes"),
        (_huge, "needs one input"),
        (_no_input, "needs one input"),
        (_flat_input, "needs one input"),
    ],
)
def test_onnx_graphs_from_elsewhere_are_refused(largefov_onnx, change, message):
    model = onnx.ModelProto()
    model.CopyFrom(largefov_onnx)
    change(model)
    with pytest.raises(UserError, match=message):
        convert(model, load_reproduction("v1"), source="x.onnx")


def test_missing_shapes_are_inferred_and_bad_patterns_named(largefov_onnx):
    model = onnx.ModelProto()
    model.CopyFrom(largefov_onnx)
    del model.graph.value_info[:]
    assert convert(model, load_reproduction("v1")).difference < 1e-4
    with pytest.raises(UserError, match=r"--not-loaded \(: is not a regular expression"):
        convert(largefov_onnx, load_reproduction("v1"), not_loaded=["("])


def test_where_dilation_is_decomposed_the_rates_are_compared_too(largefov_onnx, monkeypatch):
    monkeypatch.setattr(dilation, "native_dilation_trains", lambda: False)
    assert convert(largefov_onnx, load_reproduction("v1")).difference < 1e-4
    with pytest.raises(UserError, match=r"fc6: dilation \[12, 12\] in ONNX, \[6, 6\] in TensorFlow"):
        convert(largefov_onnx, load_reproduction("v1"), ["atrous_rate=6"])


def test_recipes_of_converted_weights_are_plain_recipes():
    for _, (reproduction, variant, _) in deploy.MODELS.items():
        assert isinstance(load_reproduction(reproduction).variants[variant], Recipe)
