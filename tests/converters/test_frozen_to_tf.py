"""Frozen graphs become checkpoints: the official exporter's, our own, folded ones; damaged ones are one sentence."""

import functools
import resource
import tarfile

import numpy as np
import pytest

from common.errors import UserError
from common.export.folder import publish
from common.nets import layers
from common.nets.network import build
from common.nets.pictures import canvas, preprocess, size_in_evaluation
from common.reproduction import reproductions
from common.tf1 import session, tf
from common.weights.checkpoints import restore
from common.weights.weights import Weights
from converters import frozen_to_tf
from converters.frozen import read_frozen
from converters.graph_facts import output_stride
from reproductions.v3plus import REPRODUCTION as V3PLUS
from tests.conftest import damaged
from tests.helpers import golden_cases, graph_files
from tests.helpers.golden_cases import inputs, parsed, relative
from tests.helpers.graph_files import GOLDEN, RECIPE, folded, remembered_structure, write_frozen  # noqa: F401

ANSWERS = {
    name: case
    for name, case in golden_cases.load("export_answers").items()
    if "error" not in case and str(case.get("graph", "")).endswith(".pb")
}
FLOAT = {name: case for name, case in ANSWERS.items() if "quantize_delay_step" not in parsed(case["config"])}


def convert(path, out, *words):
    return frozen_to_tf.main([str(path), "--out", str(out), *map(str, words)])


def recipe_and_weights(checkpoint, reproduction=V3PLUS):
    weights = Weights(checkpoint)
    return reproduction.recipe_to_run([], weights), weights


def variables(checkpoint):
    weights = Weights(checkpoint)
    return {name: weights.value(name) for name in weights.names()}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """The golden graphs' checkpoints by the graph's name."""
    folder, made = tmp_path_factory.mktemp("golden"), {}
    for graph in {str(case["graph"]) for case in ANSWERS.values()}:
        assert convert(GOLDEN / graph, folder / graph / "model.ckpt") == 0
        made[graph] = folder / graph / "model.ckpt"
    return made


@pytest.mark.skipif(not ANSWERS, reason="no export_answers.npz in GOLDEN_DIR")
def test_names_and_values_are_those_that_the_graph_was_frozen_with(checkpoints):
    for checkpoint in checkpoints.values():
        values = variables(checkpoint)
        values = {name: value for name, value in values.items() if "_quant/" not in name}
        assert len(values) == 272
        for name, value in values.items():
            assert np.array_equal(value, golden_cases.weights.weight(name, value.shape)), name


def labels_of_the_graph(segmenter, picture):
    """Labels as research/deeplab's exporter makes them: at the resized size, then brought back by the nearest one."""
    recipe = segmenter.recipe
    scores = segmenter.logits(picture)[None]
    with tf.Graph().as_default(), session() as running:
        own = tf.constant(picture.shape[:2])
        size = size_in_evaluation(own, recipe)
        padded, _ = canvas(size, recipe)
        stride = recipe.at_evaluation().output_stride
        for target in ((padded - 1) // stride + 1, padded):
            scores = layers.resize_bilinear(scores, target, align_corners=True)
        labels = tf.argmax(scores[0, : size[0], : size[1]], -1)
        labels = layers.resize_labels(labels[None, ..., None], own, align_corners=True)
        return running.run(labels)[0, ..., 0]


@pytest.mark.parametrize("name", FLOAT)
def test_the_official_exporters_answers(name, checkpoints):
    case = FLOAT[name]
    picture = inputs(case)[0][0]
    config = parsed(case["config"])
    with V3PLUS.segmenter(checkpoints[str(case["graph"])]) as segmenter:
        recipe = segmenter.recipe
        assert (recipe.num_classes, recipe.output_stride) == (config["num_classes"], config["os"])
        assert [recipe.eval_size] * 2 == config["crop_size"]
        assert list(recipe.resize_range) == [v for v in (config["min_resize_value"], config["max_resize_value"]) if v]
        wanted = case["SemanticPredictions"].squeeze()
        if recipe.resize_range:
            assert np.array_equal(labels_of_the_graph(segmenter, picture), wanted)
        else:
            assert np.array_equal(segmenter.label(picture), wanted)
        probabilities = segmenter.probabilities(picture)[::4, ::4]
    assert np.abs(probabilities - case["SemanticProbabilities_every_4th_pixel"].squeeze()).max() <= 1e-5


def test_a_graph_with_fake_quantisation_gives_its_float_network_where_that_is_asked_for(checkpoints, tmp_path, capsys):
    case = next(iter(golden_cases.load("quant_mnv2").values()), None)
    graph = next((graph for graph in checkpoints if "8bit" in graph), None)
    if case is None or graph is None:
        pytest.skip("no quant_mnv2.npz in GOLDEN_DIR")
    assert convert(GOLDEN / graph, tmp_path / "model.ckpt", "--set", "quantize_delay_step=-1") == 0
    assert "its fake quantisation is left out" in capsys.readouterr().err
    recipe, weights = recipe_and_weights(tmp_path / "model.ckpt")
    assert recipe.eval_output_stride == 16  # the graph's nodes are not in their order
    assert relative(scores(recipe, weights, inputs(case)[0]), case["float_logits"]) <= 2e-5


def scores(recipe, weights, pictures, reproduction=V3PLUS):
    with tf.Graph().as_default(), session() as running:
        evaluated = recipe.at_evaluation()
        computed = build(reproduction.load_network(), preprocess(tf.constant(pictures), evaluated), evaluated).logits
        restore(running, weights, tf.global_variables())
        return running.run(computed)


def test_our_own_export_comes_back(tmp_path):
    path, values = write_frozen(tmp_path)
    assert convert(path, tmp_path / "back/model.ckpt") == 0
    back = variables(tmp_path / "back/model.ckpt")
    assert back.keys() == values.keys()
    assert all(np.array_equal(back[name], values[name]) for name in values)
    recipe, _ = recipe_and_weights(tmp_path / "back/model.ckpt")
    assert (recipe.depth_multiplier, recipe.aspp_depth, recipe.decoder) == (0.25, 8, False)


SMALL = {
    "v1": "paper",
    "v2": "res50",
    "v3": "sample",
    "v3plus_simplified": None,
}


# Fields that none of the variants has, by which label maps change.
UNLIKE = {"pixel_mean": (90.0, 100.0, 120.0), "pixel_scale": 0.03, "eval_size": 97, "resize_range": (81, 97)}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.full) if n in ("v2", "v3") else n for n in sorted(reproductions())]
)
def test_every_reproductions_export_comes_back(name, tmp_path, capsys):
    """Its weights bit for bit, its recipe as a whole, and the labels that the exported file gives."""
    reproduction = reproductions()[name]
    wanted = SMALL.get(name)
    recipe = reproduction.variants[wanted if wanted in reproduction.variants else reproduction.default_variant]
    if hasattr(recipe, "msc_scales"):
        recipe = recipe.derive(msc_scales=(1.0,))
    order = "rgb" if recipe.channel_order == "bgr" else "bgr"
    recipe = recipe.derive(crf=False, eval_scales=(0.75, 1.0), eval_flip=True, channel_order=order, **UNLIKE)
    with tf.Graph().as_default():
        build(reproduction.load_network(), tf.zeros([1, 65, 65, 3]), recipe)
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    values = {n: golden_cases.weights.weight(n, shape) for n, shape in shapes.items()}
    path, _ = write_frozen(tmp_path, recipe, reproduction, values)
    publish(tmp_path, "frozen", path, {"recipe": recipe.to_json()})
    out = tmp_path / "back/model.ckpt"
    assert convert(path, out, "--to", name) == 0
    assert "does not tell" not in capsys.readouterr().err
    back = variables(out)
    assert back.keys() == values.keys()
    assert all(np.array_equal(back[n], values[n]) for n in values)
    found, _ = recipe_and_weights(out, reproduction)
    assert found == recipe
    picture = golden_cases.weights.image(11, 60, 83, 1)[0]
    with reproduction.segmenter(path) as file, reproduction.segmenter(out) as checkpoint:
        assert (file.label(picture) == checkpoint.label(picture)).mean() >= 0.999


def test_preprocessing_is_read_from_the_constants(tmp_path, capsys):
    """Of a graph without the summary; what it does not tell is named."""
    recipe = RECIPE.derive(channel_order="bgr", pixel_mean=(90.0, 100.0, 120.0), pixel_scale=0.03, eval_size="native")
    path, _ = write_frozen(tmp_path, recipe)
    assert convert(path, tmp_path / "back/model.ckpt") == 0
    assert "does not tell" not in capsys.readouterr().err
    found, _ = recipe_and_weights(tmp_path / "back/model.ckpt")
    for field in ("channel_order", "pixel_mean", "pixel_scale", "eval_size", "eval_scales", "eval_flip"):
        assert getattr(found, field) == getattr(recipe, field), field
    path, _ = write_frozen(tmp_path, recipe.derive(eval_size=97, eval_flip=True))
    assert convert(path, tmp_path / "back/model.ckpt") == 0
    said = capsys.readouterr().err
    assert f"{path}: does not tell eval_size, resize_range, eval_scales, eval_flip; the checkpoint has those of" in said
    assert (
        convert(path, tmp_path / "back/model.ckpt", "--set", "eval_size=97", "resize_range=[]", "eval_flip=true") == 0
    )
    assert "does not tell eval_scales; " in capsys.readouterr().err


def test_the_summary_of_another_file_or_reproduction_is_not_taken(tmp_path, capsys):
    path, _ = write_frozen(tmp_path)
    publish(tmp_path, "frozen", path, {"recipe": RECIPE.derive(eval_size=77).to_json()})
    assert convert(path, tmp_path / "back/model.ckpt", "--set", "eval_flip=true") == 0
    found, _ = recipe_and_weights(tmp_path / "back/model.ckpt")
    assert found == RECIPE.derive(eval_size=77, eval_flip=True)
    assert "was exported from v3plus; give --to v3plus" in refused(path, tmp_path, capsys, "--to", "v3")
    write_frozen(tmp_path, RECIPE.derive(eval_size=79))
    assert convert(path, tmp_path / "back/model.ckpt") == 0
    found, _ = recipe_and_weights(tmp_path / "back/model.ckpt")
    assert found.eval_size not in (77, 79)


def test_folded_batch_norm_becomes_one_that_computes_the_same(tmp_path):
    path, values = write_frozen(tmp_path)
    graph = folded(tf.GraphDef.FromString(path.read_bytes()))
    assert not [node for node in graph.node if node.op.startswith("FusedBatchNorm") or "moving_mean" in node.name]
    path.write_bytes(graph.SerializeToString())
    assert convert(path, tmp_path / "folded/model.ckpt") == 0
    pictures = golden_cases.weights.image(5, 65, 97, 1)
    recipe, weights = recipe_and_weights(tmp_path / "folded/model.ckpt")
    assert recipe.depth_multiplier == 0.25
    wanted = scores(RECIPE, Weights(tmp_path / "w.npz"), pictures)
    assert relative(scores(recipe, weights, pictures), wanted) <= 1e-5


@pytest.mark.parametrize("stride", [8, 16])
def test_strides_and_rates_are_read_from_the_ops(stride, tmp_path):
    recipe = V3PLUS.variants["xception65_pascal_train_aug"].derive(
        backbone="xception_41", aspp_depth=16, atrous_rates=(4, 8, 16), eval_output_stride=stride
    )
    with tf.Graph().as_default():
        build(V3PLUS.load_network(), tf.zeros([1, 65, 65, 3]), recipe)
        values = {v.op.name: np.ones(v.shape.as_list(), np.float32) for v in tf.global_variables()}
    path, _ = write_frozen(tmp_path, recipe, values=values)
    assert convert(path, tmp_path / "back/model.ckpt") == 0
    found, _ = recipe_and_weights(tmp_path / "back/model.ckpt")
    assert (found.backbone, found.eval_output_stride, found.decoder) == ("xception_41", stride, True)
    assert found.atrous_rates == (4, 8, 16)


def test_the_order_of_the_nodes_does_not_matter(tmp_path):
    path, _ = write_frozen(tmp_path)
    model = read_frozen(path)
    wanted = output_stride(model)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    assert output_stride(model) == wanted == 16


def test_an_archive_or_folder_with_one_graph(tmp_path, capsys):
    path, values = write_frozen(tmp_path)
    with tarfile.open(tmp_path / "zoo_2018.tar.gz", "w:gz") as archive:
        archive.add(path, "zoo/frozen_inference_graph.pb")
    (tmp_path / "one").mkdir()
    path.rename(tmp_path / "one/x.pb")
    for given in ("zoo_2018.tar.gz", "one"):
        assert convert(tmp_path / given, tmp_path / f"{given}-out/model.ckpt") == 0
        assert variables(tmp_path / f"{given}-out/model.ckpt").keys() == values.keys()
    (tmp_path / "one/y.pb").touch()
    assert "one: holds several graphs (x.pb, y.pb); give one" in refused(tmp_path / "one", tmp_path, capsys)
    (tmp_path / "none").mkdir()
    assert "none: holds no .pb" in refused(tmp_path / "none", tmp_path, capsys)


refused = functools.partial(graph_files.refused, convert)


def blocked(path, tmp_path, capsys):
    """The sentence for a folder whose name is a file's."""
    (tmp_path / "x.pth").touch()
    assert convert(path, tmp_path / "x.pth/model.ckpt") == 2
    return capsys.readouterr().err


def message(field, content):
    """A field of a protobuf message."""
    size, count = [], len(content)
    while count > 127:
        size.append(count & 127 | 128)
        count >>= 7
    return bytes([field << 3 | 2, *size, count]) + content


def test_files_that_are_no_such_graph(tmp_path, capsys):
    path, _ = write_frozen(tmp_path)
    whole = path.read_bytes()
    graph = tf.GraphDef.FromString(whole)
    without = tf.GraphDef()
    without.node.extend(node for node in graph.node if node.name != "aspp0/BatchNorm/beta")
    stray = tf.GraphDef.FromString(whole)
    stray.node.add(name="extra/weights", op="Const").attr["value"].tensor.CopyFrom(
        tf.make_tensor_proto(np.ones((1, 1, 8, 8), np.float32))
    )
    stray.node.add(name="extra/Conv2D", op="Conv2D", input=["x", "extra/weights"])
    variable = tf.GraphDef()
    variable.node.add(name="v", op="VarHandleOp")
    for content, sentence in {
        b"": "(it has no nodes",
        b"not a graph, but a text": "cannot be read as a frozen graph (",
        whole[: len(whole) // 2]: "(it ends within a node)",
        tf.GraphDef(node=[tf.NodeDef(name="x", op="Placeholder")]).SerializeToString(): "(xception_65/entry_flow",
        without.SerializeToString(): "aspp0 has no offset",
        stray.SerializeToString(): "it has kernels of no layer there: extra/weights",
        variable.SerializeToString(): "has its weights beside it, as variables",
        b"\x0a\x00" * 200_001: "it has more than 200,000 nodes",
        message(1, message(2, b"Add") + message(3, b"") * 300_000): "or a node has as many parts",
        message(1, message(5, message(1, b"a") + message(2, message(8, message(2, message(3, b"x" * (1 << 25))))))): (
            "bytes beside its values, more than 16,777,216"
        ),
    }.items():
        path.write_bytes(content)
        assert sentence in refused(path, tmp_path, capsys)
    path.write_bytes(whole)
    assert "is DeepLab v3 or v3+ of research/deeplab (the zoo); give --to v3plus" in refused(
        path, tmp_path, capsys, "--to", "v2"
    )
    assert "no such frozen graph" in refused(tmp_path / "nowhere.pb", tmp_path, capsys)
    assert "x.pth is a file, where a folder is needed; choose" in blocked(path, tmp_path, capsys)
    (tmp_path / "x.pth").touch()
    assert "python -m converters.torch_to_tf --weights" in refused(tmp_path / "x.pth", tmp_path, capsys)


def test_a_shape_that_claims_more_than_the_memory(tmp_path, capsys):
    graph = tf.GraphDef()
    node = graph.node.add(name="aspp0/weights", op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.float32(1)))
    for side in (1 << 20, 1 << 20):
        node.attr["value"].tensor.tensor_shape.dim.add(size=side)
    (tmp_path / "x.pb").write_bytes(graph.SerializeToString())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "its constants have more than 536,870,912 bytes" in refused(tmp_path / "x.pb", tmp_path, capsys)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


@pytest.mark.parametrize("trials", [40, pytest.param(1000, marks=pytest.mark.full)])
def test_a_damaged_graph_never_escapes(trials, tmp_path, remembered_structure):  # noqa: F811
    path, _ = write_frozen(tmp_path)
    whole, rng, failed = path.read_bytes(), np.random.RandomState(trials), 0
    for _ in range(trials):
        path.write_bytes(damaged(whole, rng))
        try:
            frozen_to_tf.convert(read_frozen(path), V3PLUS, [])
        except UserError as error:
            failed += 1
            assert "\n" not in str(error)
    assert failed > trials // 4
