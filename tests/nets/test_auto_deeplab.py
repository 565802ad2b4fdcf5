"""PNASNet and Auto-DeepLab: shapes, low-level features, pictures of every size, ScheduledDropPath, weight files."""

import dataclasses
import re

import numpy as np
import pytest

from common.nets import layers
from common.nets.backbones.nas_cells import DropPath
from common.nets.backbones.nas_networks import PLANS, nas_network
from common.nets.network import build
from common.tf1 import slim, tf
from reproductions.v3plus.auto_deeplab import AUTO_DEEPLAB
from reproductions.v3plus.from_weights import fields_from_weights
from reproductions.v3plus.model import network
from reproductions.v3plus.variants import PASCAL, VARIANTS

SMALL = PASCAL.derive(
    backbone="nas_hnasnet", names="zoo", nas_stem_filters=2, aspp_depth=4, decoder_projection_filters=4, num_classes=3
)


def features(name, size, **options):
    """The network with two stem filters on black pictures of `size`."""
    return nas_network(tf.zeros([1, *size, 3]), PLANS[name], stem_filters=2, **options)


@pytest.mark.parametrize(
    ("name", "stride", "head", "reached", "depth"),
    [
        ("nas_pnasnet", 16, False, 16, 40),
        ("nas_pnasnet", 32, False, 32, 80),
        ("nas_pnasnet", 16, True, 16, 2048),
        ("nas_hnasnet", 8, False, 8, 20),
        ("nas_hnasnet", 32, True, 32, 2048),
    ],
)
def test_strides(name, stride, head, reached, depth):
    """A path that returns keeps its strides; a classification head goes down to the output stride."""
    with tf.Graph().as_default():
        net, low_level = features(name, (129, 65), output_stride=stride, classification_head=head)
    assert net.shape.as_list() == [1, 128 // reached + 1, 64 // reached + 1, depth]
    assert sorted(low_level) == [4, 8, 16]
    for its, values in low_level.items():
        lies_at = its if name == "nas_hnasnet" else min(its, stride)
        assert values.shape.as_list()[1:3] == [128 // lies_at + 1, 64 // lies_at + 1]


def test_removed_stride():
    with tf.Graph().as_default():
        net, _ = features("nas_pnasnet", (65, 65), output_stride=32, remove_os32_stride=True)
    assert net.shape.as_list() == [1, 5, 5, 80]


def test_every_size():
    """Sides other than 32 k + 1, here 16 k + 1 on a short path, are padded by 0, and the results are cut."""
    plan = dataclasses.replace(PLANS["nas_hnasnet"], path=(4, 8, 16, 8), end_points={4: 0, 8: 1, 16: 2})
    pictures = np.random.RandomState(0).randn(1, 20, 33, 3).astype(np.float32)
    padded = np.pad(pictures, [(0, 0), (0, 33 - 20), (0, 0), (0, 0)])
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, None, None, 3])
        net, low_level = nas_network(images, plan, output_stride=8, stem_filters=1)
        session.run(tf.global_variables_initializer())
        fetches = [net, low_level[4], low_level[16]]
        ours, whole = (session.run(fetches, {images: values}) for values in (pictures, padded))
    for values, reference, stride in zip(ours, whole, (8, 4, 16), strict=True):
        height = -(-20 // stride)
        assert values.shape[1:3] == (height, 32 // stride + 1)
        assert reference.shape[1] == 32 // stride + 1
        np.testing.assert_array_equal(values, reference[:, :height])


def test_output_stride_is_the_paths():
    """Without the head Auto-DeepLab ends at stride 8, and the rates of ASPP are those of 8."""
    assert SMALL.derive(output_stride=16).output_stride == SMALL.at_evaluation().output_stride == 8
    assert SMALL.rates() == (12, 24, 36)
    assert SMALL.derive(nas_classification_head=True, output_stride=32).output_stride == 32


def dropped(step, depth, keep_prob=0.5, pictures=4000):
    """What remains of ones at a step, one value for each picture."""
    with tf.Graph().as_default(), tf.Session() as session:
        seed = tf.stack([tf.constant(7, tf.int64), tf.constant(step, tf.int64)])
        with slim.arg_scope([layers.dropout], seed=seed), tf.variable_scope("x"):
            values = session.run(DropPath(keep_prob, steps=100)(tf.ones([pictures, 2, 2, 3]), depth))
    assert (values == values[:, :1, :1, :1]).all()  # whole pictures
    return values[:, 0, 0, 0]


@pytest.mark.parametrize(("step", "depth", "keep"), [(0, 1, 1), (50, 1, 0.75), (100, 0.25, 0.875), (300, 1, 0.5)])
def test_drop_path_grows_with_step_and_depth(step, depth, keep):
    values = dropped(step, depth)
    np.testing.assert_allclose(values[values > 0], 1 / keep, rtol=1e-6)
    assert (values > 0).mean() == pytest.approx(keep, abs=0.03)


def test_drop_path_is_a_function_of_seed_and_step():
    assert (dropped(50, 1) == dropped(50, 1)).all()
    assert (dropped(50, 1) != dropped(51, 1)).any()


def test_drop_path_is_for_training():
    """Each operation but the identity has a mask of its own; without a step there is none."""
    recipe = SMALL.derive(drop_path_keep_prob=0.5, image_pooling=False)
    count = {}
    for step in (None, tf.int64):
        with tf.Graph().as_default() as graph:
            build(network, tf.zeros([1, 33, 33, 3]), recipe, step=step and tf.constant(1, tf.int64))
            keys = [op for op in graph.get_operations() if op.type == "StatelessRandomUniformV2"]
            count[step] = len(keys)
    assert count == {None: 0, tf.int64: 12 * 10 + 1}  # cells, operations; the head's dropout


@pytest.mark.parametrize("name", PLANS)
def test_names_tell_the_network(name):
    about = {"backbone": name, "nas_stem_filters": 3, "nas_classification_head": True}
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 33, 33, 3]), SMALL.derive(**about, aspp_separable=False))
        told = fields_from_weights({v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()})
    assert {key: told[key] for key in about} == about
    assert not told["aspp_separable"]


def test_decay_reaches_the_cells_depthwise_kernels():
    """The original regularises them in the cells alone."""
    pattern = VARIANTS["auto_deeplab_s"].weight_decay_on
    decayed = ("hnasnet/cell_0/comb_iter_0/left/separable_3x3_1/depthwise_weights", "hnasnet/conv0/weights")
    assert all(re.search(pattern, name) for name in decayed)
    assert not re.search(pattern, "decoder/decoder_conv0_depthwise/depthwise_weights")
    assert set(AUTO_DEEPLAB) <= set(VARIANTS)
