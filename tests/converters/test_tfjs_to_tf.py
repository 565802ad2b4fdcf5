"""TF.js graph models: their weights, their graphs, and folded batch norm in a checkpoint."""

import json
import sys

import numpy as np
import pytest

from common.downloads import fetch
from common.errors import UserError
from common.nets import layers
from common.tf1 import slim, tf
from common.weights.checkpoints import restore
from common.weights.weights import RECIPE_KEY, Weights
from converters import inspect, keras_to_tf, tfjs_to_tf
from converters.folded import Layer, to_variables, unit_variance
from converters.tfjs import read_graph_model, read_weights
from converters.tfjs_to_tf import TARGETS
from tests.conftest import damaged
from tests.helpers import golden_cases
from tests.helpers.golden_cases import parsed, relative
from tests.helpers.tfjs_models import OFFSET, constants, emptied, graph_of, run_graph, small_graph, write_model

LAYERS = (Layer("net/conv", 1e-3), Layer("net/unit/depthwise", 1e-5), Layer("logits", None))


@pytest.fixture
def small(tmp_path):
    """Writes the small model in the form asked for."""
    graph, values = emptied(small_graph(constants()))
    return lambda form="json", **options: write_model(tmp_path / form, graph, values, form, **options)


@pytest.mark.parametrize("form", ["json", "pb"])
@pytest.mark.parametrize("shards", [1, 3, 7])
def test_every_form_gives_the_same_weights_and_graph(small, form, shards):
    path = small(form, shards=shards)
    image = np.random.RandomState(1).uniform(0, 255, (1, 17, 19, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(small_graph(constants()), name="")
        expected = session.run("scores:0", {"image:0": image})
    for given in (path, path.parent, *([path.with_name("weights_manifest.json")] if form == "pb" else [])):
        model = read_graph_model(given)
        assert all(np.array_equal(model.weights[name], value) for name, value in constants().items())
        (scores,) = run_graph(model, ["scores"], {"image": image})
        assert np.array_equal(scores, expected)


@pytest.mark.parametrize(("how", "steps"), [("uint8", 255), ("uint16", 65535), ("float16", None)])
def test_quantised_weights_are_what_they_stand_for(small, how, steps):
    model = read_graph_model(small(how=how))
    for name, value in constants().items():
        read = model.weights[name]
        assert read.dtype == np.float32
        assert read.shape == value.shape
        if how == "float16":
            assert np.array_equal(read, value.astype(np.float16).astype(np.float32))
        else:  # half a step, and one rounding to float32
            assert np.abs(read - value).max() <= np.ptp(value) / steps / 2 + 2e-7 * np.abs(value).max()


def test_quantised_integers_and_by_hand(tmp_path):
    (tmp_path / "s").write_bytes(bytes([0, 1, 200]) + np.array([3, 60000], "<u2").tobytes() + b"\x01")
    weights = [
        {"name": "i", "shape": [3], "dtype": "int32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -3}},
        {"name": "f", "shape": [2], "dtype": "float32", "quantization": {"dtype": "uint16", "scale": 0.1, "min": 1}},
        {"name": "b", "shape": [], "dtype": "bool"},
    ]
    read = read_weights([{"paths": ["s"], "weights": weights}], tmp_path)
    assert read["i"].tolist() == [-3, -2, 97]
    assert read["i"].dtype == np.int32
    assert np.array_equal(read["f"], np.array([1 + 3 * 0.1, 1 + 60000 * 0.1], np.float32))
    assert read["b"].dtype == np.bool_
    assert read["b"]


def test_the_tensors_by_node_name(small, tmp_path, monkeypatch):
    assert convert(monkeypatch, small(how="float16"), "--out", tmp_path / "o.npz") == 0
    with np.load(tmp_path / "o.npz") as read:
        assert set(constants()) < set(read.files)
        assert all(read[name].dtype == np.float32 and read[name].shape == v.shape for name, v in constants().items())


def test_a_node_of_any_name_can_be_written(tmp_path):
    tfjs_to_tf.write_npz(tmp_path / "o.npz", {"file": np.arange(3), "arr_0": np.ones(2, bool)})
    with np.load(tmp_path / "o.npz") as read:
        assert read["file"].tolist() == [0, 1, 2]
        assert read["arr_0"].all()


@pytest.mark.parametrize("form", ["json", "pb"])
def test_inspect_lists_a_graph_model(small, form, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["inspect", str(small(form))])
    assert inspect.main() == 0
    assert "net/conv/Conv2D/merged_input" in capsys.readouterr().out


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1.001e-5, 1e-4])
def test_the_unit_variance_has_the_factor_one_exactly(epsilon):
    variance, raised = unit_variance(epsilon), np.float32(max(epsilon, 1.001e-5))
    assert variance.dtype == np.float32
    assert variance + raised == 1
    assert variance + np.float32(epsilon) == 1


@pytest.mark.parametrize("channels", [1, 3, 16, 21, 33, 256])
@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_batch_norm_of_the_unit_variance_only_scales_and_adds(channels, epsilon):
    rng = np.random.RandomState(channels)
    x, factor, beta = (rng.randn(*s).astype(np.float32) for s in ((2, 5, 7, channels), (channels,), (channels,)))
    with tf.Graph().as_default(), tf.Session() as session:
        fed = tf.placeholder(tf.float32, x.shape)
        y = layers.batch_norm(fed, epsilon=epsilon, scope="bn")
        for gamma in (np.ones_like(beta), factor):
            values = {"gamma": gamma, "beta": beta, "moving_mean": 0 * beta}
            values["moving_variance"] = np.full_like(beta, unit_variance(epsilon))
            for variable in tf.global_variables():
                session.run(variable.initializer, {variable.initializer.inputs[1]: values[variable.op.name[3:]]})
            computed, expected = session.run(y, {fed: x}), x * gamma + beta
            if gamma is factor:  # oneDNN rounds product and sum at once
                assert (np.abs(computed - expected) <= 2**-23 * (np.abs(x * gamma) + np.abs(beta))).all()
            else:
                assert np.array_equal(computed, expected)


def test_a_checkpoint_computes_what_the_folded_graph_does(small, tmp_path, monkeypatch):
    """Layer by layer, by the layers that every reproduction shares."""
    monkeypatch.setitem(TARGETS, "v3plus", LAYERS)
    path = small()
    assert convert(monkeypatch, path, "--out", tmp_path / "o/model.ckpt") == 0
    image = np.random.RandomState(1).uniform(0, 255, (1, 33, 41, 3)).astype(np.float32)
    expected = run_graph(read_graph_model(path), ["first", "second", "scores"], {"image": image})
    with tf.Graph().as_default(), tf.Session() as session:
        first = layers.conv2d(tf.constant(image - 127.5), 8, 3, stride=2, scope="net/conv")
        first = layers.batch_norm(first, scope="net/conv/BatchNorm", activation_fn=tf.nn.relu6)
        with tf.variable_scope("net/unit/depthwise"):
            kernel = slim.model_variable("depthwise_weights", [3, 3, 8, 1])
            second = tf.nn.depthwise_conv2d(first, kernel, [1, 1, 1, 1], "SAME")
            second = layers.batch_norm(second, epsilon=1e-5, scope="BatchNorm", activation_fn=tf.nn.relu6)
        scores = layers.conv2d(second, 4, 1, bias=True, scope="logits")
        assert restore(session, Weights(tmp_path / "o/model.ckpt"), tf.global_variables()) == 12
        for ours, theirs in zip(session.run([first, second, scores]), expected, strict=True):
            assert relative(ours, theirs) <= 1e-6


def test_names_and_shapes_are_those_of_the_official_graph():
    case = next((fields for name, fields in golden_cases.load("zoo").items() if "mnv2" in name), None)
    if not case:
        pytest.skip("no zoo.npz in GOLDEN_DIR")
    wanted = {name: tuple(shape) for name, shape, *_ in parsed(case["variables"])}
    made = {}
    for name, shape in wanted.items():
        scope, _, leaf = name.rpartition("/")
        if leaf == "weights" and not scope.startswith("logits"):
            made[f"{scope}/Conv2D/merged_input"] = ("Conv2D", np.ones(shape, np.float32))
        elif leaf in ("weights", "depthwise_weights"):
            made[name] = ("Conv2D" if leaf == "weights" else "DepthwiseConv2dNative", np.ones(shape, np.float32))
        elif leaf in ("beta", "biases"):
            made[f"{scope}/FusedBatchNorm/Offset" if leaf == "beta" else name] = ("AddV2", np.ones(shape, np.float32))
    variables = to_variables(graph_of(made), TARGETS["v3plus"])
    assert {name: value.shape for name, value in variables.items()} == wanted
    assert all(value.dtype == np.float32 for value in variables.values())


def test_convolutions_that_newer_tfjs_fuses_with_their_offset():
    kernel, offset = np.ones((1, 1, 2, 3), np.float32), np.arange(3, dtype=np.float32)
    model = graph_of({"logits/weights": ("_FusedConv2D", kernel), "logits/Conv2D_bn_offset": ("", offset)})
    model.graph.node[1].input.append("logits/Conv2D_bn_offset:0")
    del model.graph.node[3]
    assert np.array_equal(to_variables(model, (Layer("logits", None),))["logits/biases"], offset)


def convert(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tfjs_to_tf", *map(str, arguments)])
    return tfjs_to_tf.main()


def edit(path, change):
    """`change` the JSON of a model and write it back."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def weight(content, **changes):
    content["weightsManifest"][0]["weights"][0].update(changes)


FIRST_SHARD = "group1-shard1of3"
BROKEN_FILES = {
    "missing shard": (lambda p: p.with_name(FIRST_SHARD).unlink(), "shard1of3: this shard of the model is missing"),
    "short shard": (lambda p: p.with_name(FIRST_SHARD).write_bytes(b"1234"), "the shards end before "),
    "long shard": (lambda p: p.with_name(FIRST_SHARD).write_bytes(bytes(9999)), "the shards hold "),
    "no JSON": (lambda p: p.write_text("{"), "cannot be read as a TF.js graph model (Expecting"),
    "deep JSON": (lambda p: p.write_text("[" * 100000), "cannot be read as a TF.js graph model ("),
    "other JSON": (lambda p: p.write_text("[1]"), "(the model is no mapping)"),
    "no text": (lambda p: p.write_bytes(b"\xff\xfe\x00"), "cannot be read as a TF.js graph model ("),
    "no graph": (lambda p: edit(p, lambda c: c.pop("modelTopology") and c), "(the model has no modelTopology)"),
    "no nodes": (lambda p: edit(p, lambda c: c.update(modelTopology={"node": []})), "(its graph has no nodes)"),
    "no weights": (lambda p: edit(p, lambda c: c.pop("weightsManifest") and c), "(the model has no weightsManifest)"),
    "no names": (lambda p: edit(p, lambda c: c["weightsManifest"][0].pop("paths") and c), "has no paths"),
    "node of no kind": (lambda p: edit(p, lambda c: c["modelTopology"]["node"][0].update(op=3)), "graph model (Failed"),
    "strange dtype": (lambda p: edit(p, lambda c: weight(c, dtype="float3")), "is stored as float3, and only float32,"),
    "strange step": (
        lambda p: edit(p, lambda c: weight(c, quantization={"dtype": "int32", "scale": 1, "min": 0})),
        "mean: int32 is no quantisation of float32",
    ),
    "no step": (lambda p: edit(p, lambda c: weight(c, quantization={"dtype": "uint8"})), "quantization has no scale"),
    "infinite step": (
        lambda p: edit(p, lambda c: weight(c, quantization={"dtype": "uint8", "scale": float("inf"), "min": 0})),
        "mean: its scale inf and min 0 are not finite",
    ),
    "negative shape": (lambda p: edit(p, lambda c: weight(c, shape=[1, -1, -3])), "mean has the shape [1, -1, -3]"),
    "huge shape": (lambda p: edit(p, lambda c: weight(c, shape=[1 << 40, 1 << 40])), "the shards end before mean"),
    "shape in words": (lambda p: edit(p, lambda c: weight(c, shape=["3"])), "a side of its shape is no whole number"),
    "other shape": (lambda p: edit(p, lambda c: weight(c, shape=[3])), "1 of another shape: mean (3 in the file, 1x1"),
    "other name": (
        lambda p: edit(p, lambda c: weight(c, name="nobody")),
        "its weights are not its graph's: 1 missing in the file: mean; 1 extra in the file: nobody",
    ),
    "two of a name": (
        lambda p: edit(p, lambda c: c["weightsManifest"].append(c["weightsManifest"][0])), "there are two weights mean"
    ),
    "layers model": (
        lambda p: edit(p, lambda c: c.update(modelTopology={"model_config": {}})),
        "is a TF.js layers model, not a graph model; converters.keras_to_tf reads those",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN_FILES)
def test_broken_models_are_one_sentence(small, tmp_path, monkeypatch, capsys, what):
    path = small()
    change, message = BROKEN_FILES[what]
    change(path)
    for out in ("o/x.npz", "o/model.ckpt"):
        assert convert(monkeypatch, path, "--out", tmp_path / out) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.startswith(f"error: {tmp_path}")
        assert printed.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_missing_models_are_one_sentence(small, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "w.h5").touch()
    small("pb").with_name("weights_manifest.json").rename(tmp_path / "weights_manifest.json")
    for given, message in {
        "none": "no such model",
        "none.json": "no such model",
        "empty": "this folder holds no TF.js model (model.json or tensorflowjs_model.pb)",
        "w.h5": "is no TF.js model (its folder, model.json, tensorflowjs_model.pb, weights_manifest.json)",
        "pb": "weights_manifest.json: this part of the model is missing",
        "weights_manifest.json": "tensorflowjs_model.pb: this part of the model is missing",
    }.items():
        assert convert(monkeypatch, tmp_path / given, "--out", tmp_path / "o/x.npz") == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.startswith(f"error: {tmp_path}")
        assert printed.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_damaged_model_never_escapes(small):
    for form in ("json", "pb"):
        path, rng = small(form), np.random.RandomState(1)
        whole = path.read_bytes()
        for _ in range(150):
            path.write_bytes(damaged(whole, rng))
            try:
                read_graph_model(path)
            except UserError as error:
                assert "\n" not in str(error)


def test_a_graph_model_where_a_layers_model_is_needed(small, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["x", "--weights", str(small()), "--out", str(tmp_path / "o")])
    assert keras_to_tf.main() == 2
    printed = capsys.readouterr().err
    assert "is a TF.js graph model, not a layers model; converters.tfjs_to_tf reads those" in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_graph_that_is_not_recognised(small, tmp_path, monkeypatch, capsys):
    for arguments in (("--to", "v3plus", "--out", tmp_path / "o/x.npz"), ("--out", tmp_path / "o/model.ckpt")):
        assert convert(monkeypatch, small(), *arguments) == 2
        printed = capsys.readouterr().err
        assert "is not the network asked for" in printed
        assert "--out X.npz without --to" in printed
        assert printed.count("\n") == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("net/conv/Conv2D/merged_input"), "net/conv has no kernel"),
        (lambda m: m.pop(f"net/conv/{OFFSET}"), "net/conv has no offset"),
        (lambda m: m.update({"aspp1/weights": ("Conv2D", np.ones((3, 3, 8, 8)))}), "aspp1/weights is a kernel of no l"),
        (
            lambda m: m.update({"net/conv/alpha": ("Prelu", np.ones(8))}),
            "net/conv has no place for net/conv/alpha (read as Prelu)",
        ),
        (lambda m: m.update({"net/conv/more": ("AddV2", np.ones(8))}), "net/conv has no place for net/conv/more"),
        (lambda m: m.update({"logits/scale": ("Mul", np.ones(4))}), "logits has a factor where the network has biases"),
        (lambda m: m.update({"logits/biases": ("BiasAdd", np.ones(5))}), "logits has 4 channels and an array of 5 as"),
        (lambda m: m.update({"logits/weights": ("Conv2D", np.ones(5))}), "logits has a kernel of shape (5,)"),
        (lambda m: m.update({"logits/biases": ("BiasAdd", np.full(4, np.nan))}), "logits/biases is not finite"),
    ],
)  # fmt: skip
def test_graphs_that_do_not_fit_are_told_why(change, message):
    ops = {"merged_input": "Conv2D", "depthwise_weights": "DepthwiseConv2dNative", "weights": "Conv2D"}
    ops |= {"Offset": "Add", "Scaled": "Mul", "biases": "BiasAdd", "mean": "Sub"}
    made = {name: (ops[name.rpartition("/")[2]], value) for name, value in constants().items()}
    assert len(to_variables(graph_of(made), LAYERS)) == 12
    change(made)
    with pytest.raises(UserError) as error:
        to_variables(graph_of(made), LAYERS)
    assert f"does not fit the network: {message}" in str(error.value)
    assert ";" not in str(error.value)


@pytest.mark.full
def test_the_segmenter_of_the_npm_package(voc_subset, tmp_path):
    """Its graph gives the golden answers, its checkpoint has the official names and shapes."""
    from common.data.masks import read_image

    golden = golden_cases.load("mnv2_real").get("")
    if not golden:
        pytest.skip("no mnv2_real.npz in GOLDEN_DIR")
    try:
        fetched = fetch.fetch("max_image_segmenter", tmp_path / "w", quiet=True)
    except UserError as error:
        pytest.skip(f"the package can't be fetched here: {error}")
    case = next(fields for name, fields in golden_cases.load("zoo").items() if "mnv2" in name)
    wanted = {name: tuple(shape) for name, shape, *_ in parsed(case["variables"])}
    weights = Weights(fetched.ready[0].path)
    assert weights.shapes.keys() - wanted.keys() == {RECIPE_KEY}  # what it was converted for
    assert {name: weights.shapes[name] for name in wanted} == wanted

    model = read_graph_model(tmp_path / "w/tfjs")
    for name in (key for key in golden if not key.endswith("_logits")):
        pixels = read_image(voc_subset / f"JPEGImages/{name}.jpg")[None]
        logits, label = run_graph(model, ["logits/semantic/BiasAdd", "SemanticPredictions"], {"ImageTensor": pixels})
        assert (label[0] == golden[name]).mean() >= 0.999
        if f"{name}_logits" in golden:
            assert relative(logits[0], golden[f"{name}_logits"]) <= 2e-5
