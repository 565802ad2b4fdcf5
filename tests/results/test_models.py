"""Receptive fields, multiply-adds and the table of models: by hand, by gradients, and against published figures."""

import json

import numpy as np
import pytest

from common.files import read_json
from common.nets import layers
from common.nets.describe import describe, measure, multiply_adds
from common.nets.dilation import decomposed
from common.nets.receptive_field import receptive_field
from common.recipe.settings import apply_settings
from common.reproduction import reproductions
from common.results import models as model_table
from common.tf1 import session, slim, tf
from tests.helpers import tiny

ONES = {"weights_initializer": tf.initializers.ones()}


def field_of(network, size=65):
    """The receptive field of a function from images [1, size, size, 3] to scores."""
    with tf.Graph().as_default(), slim.arg_scope([layers.conv2d, layers.depthwise_conv2d], **ONES):
        images = tf.placeholder(tf.float32, [1, size, size, 3])
        return receptive_field(network(images), images)


def conv(inputs, size, scope, **options):
    return layers.conv2d(inputs, 2, size, scope=scope, **options)


def strides(images):
    net = conv(images, 3, "a", stride=2)  # 3
    net = conv(net, 3, "b", stride=2, padding="even")  # 3 + 2 * 2
    return conv(net, 3, "c", padding="none")  # 7 + 2 * 4


def two_paths(images):
    net = conv(images, 5, "root", stride=2)  # 5
    branches = [conv(net, 1, "one"), conv(net, 3, "three", rate=6)]  # 5 and 5 + 12 * 2
    net = conv(tf.concat(branches, axis=3), 1, "fused")
    return net + conv(net, 3, "residual")  # 29 + 2 * 2


def pools(images):
    net = layers.max_pool(images, 3, 2, rule="caffe")  # 3
    net = layers.average_pool(net, 3)  # 3 + 2 * 2
    return layers.average_pool(net, 5, rule="caffe")  # 7 + 4 * 2


def subsampled(images):
    """As NASNet's adjustments: even pixels and odd ones."""
    odd = tf.pad(images, [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1:, 1:]
    return tf.concat([conv(p[:, ::2, ::2], 1, f"{i}") for i, p in enumerate((images, odd))], axis=3)  # 2


def enlarged(images):
    """Four pixels behind one: the two neighbours of a position lie 4 apart, and see 3 each."""
    small = conv(images, 3, "a", stride=4)
    return layers.resize_bilinear(small, images.shape[1:3].as_list(), align_corners=True)  # 3 + 4


def atrous_height(images):
    return layers.depthwise_conv2d(images, 3, rate=(2, 5), scope="depthwise")  # 1 + 2 * 2, 1 + 2 * 5


@pytest.mark.parametrize(
    ("network", "expected"),
    [(strides, "15"), (two_paths, "33"), (pools, "15"), (subsampled, "2"), (enlarged, "7"), (atrous_height, "5 x 11")],
)
def test_by_hand(network, expected):
    assert str(field_of(network)) == expected


@pytest.mark.parametrize("rate", [1, 2, 7])
@pytest.mark.parametrize("size", [64, 65])
def test_dilation_in_every_form(rate, size):
    def by_sub_maps(images):
        return decomposed(images, tf.ones([3, 3, 3, 2]), rate)

    for network in (
        lambda images: conv(images, 3, "native", rate=rate),
        lambda images: layers.depthwise_conv2d(images, 3, rate=rate, scope="depthwise"),
        by_sub_maps,
    ):
        assert str(field_of(network, size)) == str(2 * rate + 1)


def test_smoothing_mixes_the_sub_maps():
    """Groups interact within cells of rate x rate: the three cells that a row reads are seen whole."""
    assert field_of(lambda images: conv(images, 3, "gi", rate=4, dilated_type="smooth_GI")).width == 3 * 4
    assert field_of(lambda images: conv(images, 3, "ssc", rate=4, dilated_type="smooth_SSC")).width == 9 + 6


def test_image_pooling_sees_the_whole_picture():
    def network(images):
        from common.nets import heads

        net = conv(images, 3, "a", stride=2)
        return tf.concat([heads.image_pooling(net, 4, "pool"), conv(net, 3, "b")], axis=3)

    field = field_of(network)
    assert field.whole_picture
    assert field.width == 7
    assert str(field) == "whole picture (7)"


def test_an_op_without_a_rule_is_said():
    with pytest.raises(ValueError, match="no rule for ReverseV2"):
        field_of(lambda images: tf.reverse(images, axis=[1]))

    def network(images, recipe, batch_statistics=False):
        outputs = tiny.network(images, recipe, batch_statistics)
        return type(outputs)(tf.reverse(outputs.logits, axis=[1]))

    assert describe(network, tiny.SMALL, 33).splitlines()[-1] == "receptive field: unknown"


def everything(images):
    """A decoder on an atrous encoder in small: every way in which pixels reach a score, but maxima."""
    net = low = conv(images, 3, "root", stride=2, padding="even")
    net = layers.average_pool(conv(net, 3, "down", stride=2), 3, rule="caffe")
    net = net + layers.depthwise_conv2d(net, 3, rate=(2, 3), scope="depthwise")
    net = tf.concat([conv(net, 1, "one"), conv(net, 3, "atrous", rate=2)], axis=3)
    enlarged = layers.resize_bilinear(net, low.shape[1:3].as_list(), align_corners=True)
    return conv(tf.concat([enlarged, conv(low, 1, "low")], axis=3), 3, "scores")


def two_scales(images):
    halved = layers.rescale(images, 0.5, align_corners=False)
    scores = [strides(images)]
    with tf.variable_scope("half"):
        scores.append(layers.resize_bilinear(strides(halved), scores[0].shape[1:3].as_list()))
    return tf.add_n(scores)


@pytest.mark.parametrize(("network", "size"), [(everything, 97), (two_scales, 128)])
def test_gradients_reach_as_far(network, size):
    """The extent of the pixels with a gradient, the largest of many scores far from the borders."""
    with tf.Graph().as_default() as graph, slim.arg_scope([layers.conv2d, layers.depthwise_conv2d], **ONES):
        images = tf.placeholder(tf.float32, [1, size, size, 3])
        scores = network(images)
        field = receptive_field(scores, images)
        row = tf.placeholder(tf.int32, [])
        (gradient,) = tf.gradients(scores[0, row, row, 0], images)
        with session(graph) as running:
            running.run(tf.global_variables_initializer())
            extents = []
            middle = int(scores.shape[1]) // 2
            for position in range(middle - 4, middle + 4):
                seen = running.run(gradient, {images: np.ones(images.shape), row: position})[0].any(axis=2)
                sides = [np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0)]
                assert all(side[0] > 0 and side[-1] < size - 1 for side in sides)  # no border in the way
                extents.append([side[-1] - side[0] + 1 for side in sides])
    assert np.max(extents, axis=0).tolist() == [field.height, field.width]


@pytest.mark.parametrize("rate", [2, 6, 12])
def test_padded_multiply_adds_are_those_of_space_to_batch(rate):
    counts = []
    for build in (
        lambda images, weights: tf.nn.conv2d(images, weights, 1, "SAME", dilations=rate),
        lambda images, weights: decomposed(images, weights, rate),
    ):
        with tf.Graph().as_default() as graph:
            build(tf.zeros([1, 33, 33, 8]), tf.zeros([3, 3, 8, 4]))
            counts.append((multiply_adds(graph), multiply_adds(graph, padded=True)))
    side = rate * -(-33 // rate)
    assert counts == [(33 * 33 * 9 * 8 * 4, side * side * 9 * 8 * 4)] * 2


def test_depthwise_multiply_adds_do_not_count_what_is_cut_away():
    with tf.Graph().as_default() as graph:
        layers.depthwise_conv2d(tf.zeros([1, 33, 33, 8]), 3, rate=12, scope="depthwise")
        assert multiply_adds(graph) == 33 * 33 * 9 * 8
        assert multiply_adds(graph, padded=True) == 36 * 36 * 9 * 8


def test_checkpoint_is_as_large_as_said(tmp_path):
    with tf.Graph().as_default() as graph:
        figures, variables, scores = measure(tiny.network, tiny.SMALL, 65)
        with session(graph) as running:
            running.run(tf.global_variables_initializer())
            tf.train.Saver(variables).save(running, str(tmp_path / "model"), write_meta_graph=False)
    (data,) = tmp_path.glob("model.data-*")
    assert figures.checkpoint_bytes == data.stat().st_size == 4 * figures.parameters
    assert figures.output_stride == 8
    assert str(figures.receptive_field) == str(15 + 2 * 2 * 8)
    assert scores.shape.as_list() == [1, 9, 9, 21]


def test_describe_says_all_of_it():
    lines = describe(tiny.network, tiny.SMALL, 65).splitlines()
    assert "output stride: 8" in lines
    assert "receptive field: 47" in lines
    assert any(line.startswith("checkpoint: 0.0 MB") for line in lines)


def test_every_entry_names_a_recipe_and_a_source():
    models = model_table.read_models()
    known = reproductions()
    assert models.keys() == known.keys()
    for name, entries in models.items():
        for entry in entries:
            apply_settings(known[name].variants, entry["variant"], entry.get("settings", ()))
            assert entry.keys() <= {"model", "variant", "settings", *model_table.PUBLISHED}
            for key in model_table.PUBLISHED.keys() & entry.keys():
                assert entry[key]["value"] > 0
                assert entry[key]["source"]
                assert entry[key].keys() <= {"value", "source", "note"}


@pytest.fixture
def only(monkeypatch):
    """Leave only the entries of these variants, by reproduction."""
    models = model_table.read_models()

    def leave(**variants):
        kept = {name: [e for e in models[name] if e["variant"] in wanted] for name, wanted in variants.items()}
        monkeypatch.setattr(model_table, "read_models", lambda: kept)
        return [reproductions()[name] for name in variants]

    return leave


def test_ours_agree_with_what_was_published(only):
    """The zoo's MobileNetV2 and Xception-65, LargeFOV's parameters; dilation counted as TensorFlow 1 computes it."""
    which = only(v1=["paper"], v3plus=["mnv2_pascal_train_aug", "table5_separable_os16"])
    large_fov, xception, mobilenet = model_table.measure_models(which, quiet=True)
    assert large_fov.figures.trained / 1e6 == pytest.approx(20.5, abs=0.05)
    assert mobilenet.figures.trained / 1e6 == pytest.approx(2.11, abs=0.005)
    assert mobilenet.ratio("parameters") == pytest.approx(1, abs=0.003)
    for row, published in ((mobilenet, 2.75), (xception, 54.17)):
        assert row.published["multiply_adds"]["value"] == published
        assert row.figures.padded_multiply_adds / 1e9 == pytest.approx(published, rel=0.004)
        assert row.ratio("multiply_adds") == pytest.approx(1, abs=0.004)
    assert [row.figures.output_stride for row in (large_fov, xception, mobilenet)] == [8, 16, 16]
    assert str(large_fov.figures.receptive_field) == "435"  # by hand: 227 before the average pool, 243, and 24 * 8
    assert str(mobilenet.figures.receptive_field) == "whole picture (491)"
    assert xception.figures.receptive_field.whole_picture


def test_networks_that_enlarge_their_scores_and_those_of_several_scales(only):
    which = only(v2=["deeplab", "deeplab_msc"], v3plus_simplified=["mobilenetv2", "nasnetmobile"])
    one, three, mobilenet, nasnet = (row.figures for row in model_table.measure_models(which, size=257, quiet=True))
    assert (one.output_stride, three.output_stride, mobilenet.output_stride, nasnet.output_stride) == (8, 8, 16, 16)
    assert one.parameters == three.parameters
    assert one.multiply_adds * 1.5 < three.multiply_adds
    assert one.receptive_field.width == 1027 + 2 * 24 * 8  # ResNet-101's known one, and the widest branch
    assert 2 * one.receptive_field.width < three.receptive_field.width < 2.2 * one.receptive_field.width
    assert nasnet.receptive_field.height > 1000
    assert not nasnet.receptive_field.whole_picture


def test_atrous_backbones_see_as_much_at_either_stride():
    """ResNet's known field, what multi-grid (1, 2, 4) adds to it, and ASPP's widest rate."""
    v3 = reproductions()["v3"]
    for variant, depth, alone in (("table6_os16", 50, 483), ("table6_os8", 50, 483), ("table6_os16", 101, 1027)):
        recipe = v3.variants[variant].derive(depth=depth).at_evaluation()
        with tf.Graph().as_default():
            figures, _, _ = measure(v3.load_network(), recipe, 129)
        assert figures.receptive_field.width == alone + (1 + 2 + 4 - 3) * 2 * 32 + 2 * 18 * 16
        assert figures.output_stride == recipe.output_stride


def test_command_prints_and_writes(only, results_dir, capsys):
    only(v1=["paper"])
    assert model_table.main(["v1", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "20.5 (1.000) [1]" in text
    assert "[1] arXiv 1606.00915 table 1" in text
    assert not results_dir.exists()
    assert model_table.main(["--write", "--quiet"]) == 0
    assert text.strip() in capsys.readouterr().out
    page = (results_dir / "models.md").read_text()
    assert "| LargeFOV | 8 | 435 | 224 (1.942) [1][2] |" in page
    assert "- [1] arXiv 1606.00915 table 1" in page
    (model,) = read_json(results_dir / "models.json")["models"]
    assert model["parameters"] == model["trained"] == 20505429
    assert model["output_stride"] == 8
    assert model["receptive_field"] == {"height": 435, "width": 435, "whole_picture": False}
    assert model["published"]["parameters"]["ratio"] == pytest.approx(1, abs=0.001)
    assert json.dumps(model)  # plain types


def test_published_multiply_adds_stand_only_beside_their_size(only):
    which = only(v3plus=["mnv2_pascal_train_aug"])
    (row,) = model_table.measure_models(which, size=65, quiet=True)
    assert row.published.keys() == {"parameters", "checkpoint"}
    assert "65x65" in model_table.as_text([row], 65)
    assert "2.75" not in model_table.as_text([row], 65)


def test_wrong_arguments(capsys):
    assert model_table.main(["v9"]) == 2
    assert "v9: no such reproduction; there are v1, v2" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        model_table.main(["v1", "--write"])
    assert exit_.value.code == 2
