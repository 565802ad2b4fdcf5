"""Caffe's files as people have them: byte order marks, Windows' paths, several nets in one, HDF5, forks' fields."""

import re
import sys
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest

from common.errors import LONGEST_MESSAGE, UserError
from converters import caffe_to_tf, inspect
from converters.caffe_blobs import read_blobs
from converters.caffe_net import read_net
from converters.caffe_schema import NetParameter
from converters.caffe_to_onnx import convert, main
from converters.caffe_to_tf import by_place
from tests.converters.test_caffe_to_onnx import CLASSIFIER, noise, run_onnx
from tests.converters.test_caffe_to_tf import write_caffemodel
from tests.helpers.caffe_models import L, conv, pool, write_pair


def output(prototxt, caffemodel, **options) -> np.ndarray:
    (found,) = run_onnx(convert(read_net(prototxt, caffemodel, **options)), {"data": noise((1, 3, 12, 14))}).values()
    return found


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path, CLASSIFIER)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom"])
def test_a_byte_order_mark_changes_nothing(pair, encoding):
    expected, text = output(*pair), pair[0].read_text()
    marks = {"utf-16-le-bom": (b"\xff\xfe", "utf-16-le"), "utf-16-be-bom": (b"\xfe\xff", "utf-16-be")}
    mark, codec = marks.get(encoding, (b"", encoding))
    pair[0].write_bytes(mark + text.replace("\n", "\r\n").encode(codec))
    np.testing.assert_array_equal(output(*pair), expected)


PATHS = ["D:\\Users\\lab\\train.txt", "C:\\new\\text.txt", "\\\\server\\x\\n.txt", "D:\\\\escaped\\\\new.txt", "a\\qb"]


@pytest.mark.parametrize("path", PATHS)
def test_windows_paths_are_read_as_they_stand(pair, path):
    """Caffe refuses most of them; the conversion does not need them."""
    expected = output(*pair)
    data = f'layer {{ name: "d" type: "ImageData" top: "data" top: "label" image_data_param {{ source: "{path}" }} }}\n'
    text = re.sub(r"input.*\n", "", pair[0].read_text())
    pair[0].write_text(text.replace("layer {", data + "layer {", 1))
    shape = {"data": (1, 3, 12, 14)}
    (found,) = run_onnx(convert(read_net(*pair), shape), {"data": noise(shape["data"])}).values()
    np.testing.assert_array_equal(found, expected)


def test_a_path_that_ends_in_a_backslash_is_named(pair):
    pair[0].write_text('layer { name: "d" type: "Data" data_param { source: "D:\\data\\" } }\n' + pair[0].read_text())
    with pytest.raises(UserError, match=r"net.prototxt:1: .*write paths with /"):
        read_net(*pair)


@pytest.mark.parametrize("engine", ["MKL2017", '"MKLDNN"', "CUDNN", "CAFFE", "2"])
def test_engines_change_no_result(pair, engine):
    expected = output(*pair)
    pair[0].write_text(pair[0].read_text().replace("kernel_size: 3", f"kernel_size: 3\n engine: {engine}"))
    net = read_net(*pair)
    np.testing.assert_array_equal(output(*pair), expected)
    assert any("engine: " in note for note in net.notes) == (engine in ("MKL2017", '"MKLDNN"'))


def test_an_unknown_value_that_changes_a_result_is_refused(pair):
    pair[0].write_text(pair[0].read_text().replace("pool: MAX", "pool: MEDIAN"))
    with pytest.raises(UserError, match=r"net.prototxt:\d+: is no valid prototxt: .*MEDIAN"):
        read_net(*pair)


@pytest.mark.parametrize("words", ["round_mode: FLOOR", "ceil_mode: false", "ceil_mode: false round_mode: FLOOR"])
def test_a_pooling_that_rounds_down(tmp_path, words):
    """8 pixels by windows of 3 every 2: Caffe makes 4 of them, rounded down they are 3."""
    made = {}
    for said in ("", words, "ceil_mode: true", "round_mode: CEIL"):
        net = read_net(*write_pair(tmp_path, [pool(f"pool: MAX kernel_size: 3 stride: 2 {said}")], (1, 3, 8, 8)))
        (made[said],) = run_onnx(convert(net), {"data": noise((1, 3, 8, 8))}).values()
    assert [value.shape[2] for value in made.values()] == [4, 3, 4, 4]
    np.testing.assert_array_equal(made[words], made[""][:, :, :3, :3])
    contrary = write_pair(tmp_path, [pool("pool: MAX kernel_size: 3 ceil_mode: true round_mode: FLOOR")], (1, 3, 8, 8))
    with pytest.raises(UserError, match="has a round_mode and another ceil_mode"):
        convert(read_net(*contrary))


def test_names_without_end_are_quoted_in_part(tmp_path):
    """A type of a million characters made the message as long."""
    for layer in ('name: "x" type: "{}" bottom: "data" top: "a"', 'name: "{}" type: "ReLU" bottom: "b" top: "a"'):
        head, told = 'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }', layer.format("T" * 1_000_000)
        (tmp_path / "n.prototxt").write_text(f"{head} layer {{ {told} }}")
        with pytest.raises(UserError, match=r"layer .*TTT\.\.\.") as error:
            convert(read_net(tmp_path / "n.prototxt", None))
        assert len(str(error.value)) < LONGEST_MESSAGE


def test_unknown_fields_of_layers_that_are_converted_are_refused(pair):
    """Such a field may change what the layer computes: a dilation of a pooling, a quantisation, a new option."""
    text = pair[0].read_text()
    pair[0].write_text(text.replace("pool: MAX", "pool: MAX dilation: 2"))
    with pytest.raises(
        UserError, match=r"layer 'pooling2' \(Pooling\): has fields that are not known .*dilation \(line"
    ):
        convert(read_net(*pair))
    pair[0].write_text(text.replace('type: "Softmax"', 'type: "Softmax" quantization_param { bw: 8 }'))
    with pytest.raises(UserError, match="quantization_param"):
        convert(read_net(*pair))


def test_fields_of_training_and_of_precision_are_noted(pair):
    expected, text = output(*pair), pair[0].read_text()
    more = "forward_math: FLOAT16 weight_filler { type: 'msra' gain: 2 } bias_filler { kind: 1 }"
    param = "param { lr_mult: 1 sparse_mult: 3 } quick: 1".replace(" quick: 1", "")
    text = text.replace("kernel_size: 3", f"kernel_size: 3 {more}").replace(
        'top: "convolution0"', f'top: "convolution0" {param}', 1
    )
    pair[0].write_text("profile_info: true\n" + text)
    net = read_net(*pair)
    np.testing.assert_array_equal(output(*pair), expected)
    for name in ("profile_info", "forward_math", "gain", "kind", "sparse_mult"):
        assert any(name in note for note in net.notes), name


def test_a_layer_with_the_training_phase_of_its_own_is_refused(tmp_path):
    pair = write_pair(tmp_path, [L("Dropout", "phase: TRAIN")])
    with pytest.raises(UserError, match="has the phase TRAIN of its own"):
        convert(read_net(*pair))


ALL_IN_ONE = [
    conv("num_output: 4 kernel_size: 3", (4, 3, 3, 3), (4,)),
    L("Sigmoid", 'include { stage: "deploy" }', bottoms=("convolution0",), tops=("convolution0",)),
    L("TanH", 'include { phase: TEST not_stage: "deploy" }', bottoms=("convolution0",), tops=("convolution0",)),
    L("Power", "power_param { scale: 2 } include { min_level: 1 }", bottoms=("convolution0",), tops=("convolution0",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "stages", "layers"),
    [
        ("", (), ["convolution0", "tanh2"]),
        ("", ("deploy",), ["convolution0", "sigmoid1"]),
        ('state { stage: "deploy" }', (), ["convolution0", "sigmoid1"]),
        ('state { stage: "deploy" level: 1 }', (), ["convolution0", "sigmoid1", "power3"]),
        ("state { level: 2 phase: TRAIN }", (), ["convolution0", "tanh2", "power3"]),
        ("state { level: -1 }", ("other",), ["convolution0", "tanh2"]),
    ],
)
def test_the_nets_own_state_chooses_its_layers(tmp_path, state, stages, layers):
    pair = write_pair(tmp_path, ALL_IN_ONE)
    pair[0].write_text(f"{state}\n{pair[0].read_text()}")
    net = read_net(*pair, stages=stages)
    assert [layer.name for layer in net.layers] == layers
    assert any("--stage" in note for note in net.notes) == ("deploy" not in f"{state}{stages}")


def test_stages_are_given_on_the_command_line(tmp_path, capsys):
    pair = write_pair(tmp_path, ALL_IN_ONE)
    arguments = ["--prototxt", str(pair[0]), "--caffemodel", str(pair[1]), "--out", str(tmp_path / "x.onnx")]
    assert main([*arguments, "--stage", "deploy"]) == 0
    assert [node.op_type for node in onnx.load(tmp_path / "x.onnx").graph.node] == ["Conv", "Sigmoid"]


def test_a_python_layer_without_bottoms_brings_the_data(pair):
    """FCN's voc_layers: its first top is the picture, the second the label."""
    expected = output(*pair)
    data = 'layer { name: "d" type: "Python" top: "data" top: "label" python_param { module: "voc_layers" } }\n'
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "prob" bottom: "label" top: "loss" }\n'
    text = re.sub(r"input.*\n", "", pair[0].read_text())
    pair[0].write_text(text.replace("layer {", data + "layer {", 1) + loss)
    shape = {"data": (1, 3, 12, 14)}
    (found,) = run_onnx(convert(read_net(*pair), shape), {"data": noise(shape["data"])}).values()
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(UserError, match="does not say the shape of input 'data'; give it with --input-shape"):
        convert(read_net(*pair))


def snapshot(path: Path, blobs) -> Path:
    """As Net::ToHDF5 writes it."""
    with h5py.File(path, "w") as file:
        for layer, arrays in blobs.items():
            for i, array in enumerate(arrays):
                file[f"data/{layer}/{i}"] = array
    return path


def test_a_snapshot_in_hdf5(pair, tmp_path):
    expected, blobs = output(*pair), read_blobs(pair[1])
    path = snapshot(tmp_path / "net.caffemodel.h5", {**blobs, "inception_3a/1x1": blobs["convolution0"]})
    np.testing.assert_array_equal(output(pair[0], path), expected)
    names = [name for name, _ in inspect.arrays(path)]
    assert "convolution0/1" in names
    assert "inception_3a/1x1/0" in names


def test_hdf5_that_is_no_snapshot_is_one_sentence(pair, tmp_path):
    for name, blobs in {"keras": {}, "gap": None}.items():
        path = tmp_path / f"{name}.caffemodel.h5"
        with h5py.File(path, "w") as file:
            if blobs is None:
                file["data/convolution0/1"] = np.ones(4, np.float32)
            else:
                file["model_weights/a"] = np.ones(3)
        with pytest.raises(
            UserError, match=f"{name}.caffemodel.h5: (is no HDF5 snapshot|layer 'convolution0': blob 0 is)"
        ):
            read_net(pair[0], path)


RELEASED = ["conv1", "fc1_voc12_c0", "fc1_voc12_c1", "fc1_voc12_c2", "fc1_voc12_c3"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["conv1", *(f"fc1_mine_c{i}" for i in range(4))], {"fc1_mine": "fc1_voc12"}),
        (RELEASED, {}),
        (["conv1", "fc1_mine_c0"], {}),
        (["conv2", *(f"fc1_mine_c{i}" for i in range(4))], {}),
        (["conv1", "a_c0", "b_c1", "a_c2", "a_c3"], {}),
    ],
)
def test_the_last_layer_is_known_by_its_place(names, expected):
    assert by_place(names, RELEASED, "fc1_voc12") == expected


@pytest.mark.parametrize("said", [[], ["--rename", "fc8_mine=fc8_voc12"]])
@pytest.mark.parametrize("own_prototxt", [False, True])
def test_a_fine_tuned_net_with_a_last_layer_of_its_own(tmp_path, capsys, monkeypatch, said, own_prototxt):
    """5 classes in `fc8_mine`: converted, by the released prototxt or its own, with its class count in the recipe."""
    from common.weights.weights import Weights

    write_caffemodel(tmp_path, "deeplab_largefov", 65)
    net = NetParameter.FromString((tmp_path / "net.caffemodel").read_bytes())
    last = net.layer[-1]
    last.name = "fc8_mine"
    for blob, shape in zip(last.blobs, ((5, 1024, 1, 1), (5,)), strict=True):
        blob.shape.dim[:] = shape
        del blob.data[int(np.prod(shape)) :]
    (tmp_path / "mine.caffemodel").write_bytes(net.SerializeToString())
    text = (tmp_path / "net.prototxt").read_text()
    (tmp_path / "mine.prototxt").write_text(
        text.replace("fc8_voc12", "fc8_mine").replace("num_output: 21", "num_output: 5")
    )
    prototxt = ["--prototxt", f"{tmp_path}/mine.prototxt"] if own_prototxt else []
    monkeypatch.setattr(sys, "argv", [
        "x", "--model", "deeplab_largefov", "--caffemodel", f"{tmp_path}/mine.caffemodel", "--size", "65",
        "--out", f"{tmp_path}/o/c.ckpt", *prototxt, *said,
    ])  # fmt: skip
    assert caffe_to_tf.main() == 0
    printed = capsys.readouterr()
    assert "largest difference on a picture" in printed.out
    assert ("fc8_mine is taken for fc8_voc12" in printed.err) == (not said)
    weights = Weights(tmp_path / "o/c.ckpt")
    assert weights.shapes["fc8_voc12/w"] == (1, 1, 1024, 5)
    assert weights.recipe()["num_classes"] == 5
