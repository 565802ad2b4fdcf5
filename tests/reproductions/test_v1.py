"""The networks on VGG-16: their choice by weights, the features of several layers, and what a start settles."""

import numpy as np
import pytest

from common.nets.network import build
from common.tf1 import session, tf
from common.training.step import multiplier, train_step
from common.weights.weights import Weights
from reproductions.v1 import REPRODUCTION
from reproductions.v1.model import network
from reproductions.v1.recipe import VARIANTS, fields_from_weights
from tests.helpers import golden_cases
from tests.helpers.golden_cases import relative

NARROW = {"fc6_channels": 8}


def variables(recipe):
    """Name -> shape of the recipe's network."""
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 33, 33, 3]), recipe)
        return {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}


@pytest.mark.parametrize("variant", ["paper", "deeplab", "deeplab_7x7", "msc", "msc_largefov", "aspp_l"])
def test_weights_tell_their_network(variant):
    recipe = VARIANTS[variant]
    fields = fields_from_weights(variables(recipe.derive(num_classes=7)))
    assert fields.pop("num_classes") == 7
    found = VARIANTS["paper"].derive(**fields)
    for name in ("branches", "fc6_kernel", "fc6_channels", "pool5a", "multi_scale_features"):
        assert getattr(found, name) == getattr(recipe, name), name


def test_weights_of_other_programs_tell_nothing():
    assert fields_from_weights({"vgg_16/fc6/weights": (7, 7, 512, 4096), "fc6/w": (25088, 4096)}) == {}


def write_start(folder, variant, without=()):
    """Weights of a variant with its recipe, as a run or the converter writes them."""
    recipe = VARIANTS[variant].derive(**NARROW)
    shapes = {n: s for n, s in variables(recipe).items() if not any(part in n for part in without)}
    from common.weights.checkpoints import write

    write(folder / "start.ckpt", {n: np.zeros(s, np.float32) for n, s in shapes.items()}, recipe)
    return Weights(folder / "start.ckpt")


def test_a_start_without_classifier_leaves_the_rates_to_the_variant(tmp_path):
    """The archive of ASPP-L has the start of ASPP-S too; trained weights keep their rates."""
    start = write_start(tmp_path, "aspp_l", without=["fc8"])
    recipe = REPRODUCTION.recipe_to_train(["variant=aspp_s"], start)
    assert (recipe.atrous_rates, recipe.fc6_channels) == ((2, 4, 8, 12), 8)
    trained = write_start(tmp_path / "whole", "aspp_l")
    assert REPRODUCTION.recipe_to_train(["variant=aspp_s"], trained).atrous_rates == (6, 12, 18, 24)
    assert REPRODUCTION.recipe_to_train([], trained).branches == VARIANTS["aspp_l"].branches


def test_msc_starts_from_a_trained_network_and_trains_what_is_added(tmp_path):
    start = write_start(tmp_path, "paper")
    recipe = REPRODUCTION.recipe_to_train(["variant=msc_largefov"], start)
    assert recipe.multi_scale_features
    assert recipe.branches == {"": 12}
    rates = {name: multiplier(recipe, name) for name in variables(recipe)}
    added = {name for name in rates if name not in start.shapes}
    assert len(added) == 5 * 3 * 2
    assert {name for name, rate in rates.items() if rate} == added
    assert rates["data_conv/w"] == rates["pool4_ms/w"] == 1
    assert rates["pool1_fc/b"] == 2
    rates = {name: multiplier(VARIANTS["msc"], name) for name in rates}
    assert {name for name, rate in rates.items() if rate} == {*added, "fc8_voc12/w", "fc8_voc12/b"}


def test_fine_fusion_subsampled_is_the_one_trained():
    """At the pixels of stride 8 enlarged scores are the scores, and a strided layer is the dense one subsampled."""
    recipe = VARIANTS["msc_largefov"].derive(**NARROW)
    picture = np.random.default_rng(0).normal(size=(1, 65, 65, 3)).astype(np.float32) * 50
    with tf.Graph().as_default(), session() as sess:
        images = tf.constant(picture)
        scores = [build(network, images, recipe.derive(fusion_stride=stride)).logits for stride in (8, 4, 1)]
        golden_cases.fill(sess)
        coarse, middle, fine = sess.run(scores)
    assert (coarse.shape, middle.shape, fine.shape) == ((1, 9, 9, 21), (1, 65, 65, 21), (1, 65, 65, 21))
    assert relative(fine[:, ::8, ::8], coarse) < 1e-5
    assert relative(fine, middle) > 1e-4  # between them the finer layers count


@pytest.mark.parametrize("variant", ["msc", "aspp_s"])
def test_a_step_trains(variant):
    recipe = VARIANTS[variant].derive(**NARROW, crop_size=(33, 33), batch_size=1)
    with tf.Graph().as_default(), session() as sess:
        images, labels = tf.ones([1, 33, 33, 3]), tf.ones([1, 33, 33, 1], tf.uint8)
        step = train_step(network, images, labels, recipe)
        sess.run(tf.global_variables_initializer())
        before = sess.run({v.op.name: v for v in tf.trainable_variables()})
        sess.run(step.update)
        after = sess.run({v.op.name: v for v in tf.trainable_variables()})
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved <= {name for name in before if multiplier(recipe, name)}
    assert {name for name in moved if name.startswith("fc8_voc12")}
    assert ("data_ms/w" in moved) == recipe.multi_scale_features


def test_the_picture_may_have_any_size():
    for variant in ("msc", "aspp_s"):
        recipe = VARIANTS[variant].derive(**NARROW)
        for each in (recipe, recipe.at_evaluation()):
            with tf.Graph().as_default(), session() as sess:
                logits = build(network, tf.ones([1, 40, 51, 3]), each).logits
                sess.run(tf.global_variables_initializer())
                assert np.isfinite(sess.run(logits)).all()


def test_records_of_before_the_other_networks_keep_their_ids():
    recipe = VARIANTS["paper"]
    assert not {*type(recipe).FC6_FIELDS, *type(recipe).MSC_FIELDS} & recipe.identity().keys()
    assert VARIANTS["aspp_l"].identity()["atrous_rates"] == [6, 12, 18, 24]
