"""Resizes of arrays without TensorFlow give TensorFlow's bits."""

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

from common.inference import canvas, engine_segmenter, resizing
from common.nets import layers, pictures, sizes
from common.recipe.recipe import Recipe
from common.tf1 import tf
from tests.conftest import ROOT

VALUES = np.random.RandomState(4).randn(9, 14, 3).astype(np.float32)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (9, 14), (33, 40)])
def test_bilinear(size, align_corners):
    given = resizing.resize_bilinear(VALUES, size, align_corners=align_corners)
    with tf.Graph().as_default(), tf.Session() as session:
        wanted = session.run(layers.resize_bilinear(VALUES[None], size, align_corners=align_corners))[0]
    np.testing.assert_allclose(given, wanted, atol=5e-7)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (9, 14), (33, 40)])
def test_nearest(size):
    labels = np.arange(9 * 14).reshape(9, 14)
    with tf.Graph().as_default(), tf.Session() as session:
        wanted = session.run(tf.image.resize_nearest_neighbor(labels[None, ..., None], size, align_corners=True))
    np.testing.assert_array_equal(resizing.resize_nearest(labels, size), wanted[0, ..., 0])


RECIPE = Recipe(variant="a", channel_order="bgr", pixel_mean=(10.0, 20.0, 30.0), pixel_scale=0.5)


def test_preprocessing():
    pixels = np.random.RandomState(1).randint(0, 256, (4, 5, 3)).astype(np.uint8)
    with tf.Graph().as_default(), tf.Session() as session:
        wanted = session.run(pictures.preprocess(tf.constant(pixels), RECIPE))
    np.testing.assert_array_equal(canvas.preprocess(pixels.astype(np.float32), RECIPE), wanted)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("scale", [0.37, 0.5, 1.0, 1.75])
def test_sizes_at_a_scale(scale, align_corners):
    with tf.Graph().as_default(), tf.Session() as session:
        wanted = session.run(layers.scaled_size(tf.constant([513, 7]), scale, align_corners=align_corners))
    assert canvas.scaled((513, 7), scale, RECIPE.derive(align_corners=align_corners)) == tuple(wanted)


def test_a_size_in_the_range_of_the_recipe():
    recipe = RECIPE.derive(resize_range=(97, 129), eval_size=129)
    assert resizing.size_in_evaluation((150, 200), recipe) == (97, 129)
    assert resizing.size_in_evaluation((150, 200), RECIPE) == (150, 200)


@pytest.mark.parametrize("rule", get_args(sizes.ResizeRule))
@pytest.mark.parametrize(("limits", "factor"), [((513, 513), 16), ((512, 2048), 0), ((300, 700), 8), ((1, 9), 0)])
def test_sizes_in_a_range(limits, factor, rule):
    sides = np.random.RandomState(0).randint(1, 3000, (1000, 2)).tolist()
    sides += [(1, 1), (1, 2999), (2999, 1), (513, 513), (512, 683), (1024, 2048), (375, 500), (497, 513)]
    with tf.Graph().as_default(), tf.Session() as session:
        given = tf.placeholder(tf.int32, [2])
        wanted = sizes.size_in_range(given, limits, factor, rule)
        for size in sides:
            found = resizing.size_in_range(tuple(size), limits, factor, rule)
            assert found == tuple(session.run(wanted, {given: size})), size


def test_a_size_in_a_range_needs_no_tensorflow():
    program = (
        "import sys\nfrom common.inference.resizing import size_in_range\n"
        "assert size_in_range((375, 500), (513, 513), 16, 'mended') == (385, 513)\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("own", [(100, 3000), (3000, 100), (700, 600), (60, 50)])
@pytest.mark.parametrize(
    "changes",
    [
        {"eval_size": "native"},
        {"eval_size": 513},
        {"eval_size": 513, "eval_scales": (0.5, 1.75), "eval_flip": True, "align_corners": True},
        {"eval_size": 513, "resize_range": (400, 900), "resize_factor": 16},
        {"eval_size": 300, "resize_range": (400, 2000), "eval_scales": (0.5,)},
    ],
)
def test_engines_take_the_pixels_that_the_network_gets(own, changes, monkeypatch):
    recipe, picture = RECIPE.derive(**changes), np.zeros((*own, 3), np.uint8)
    with tf.Graph().as_default(), tf.Session() as session:
        padded, _ = pictures.canvas(pictures.size_in_evaluation(tf.constant(own), recipe), recipe)
        size = layers.scaled_size(padded, max(recipe.eval_scales), align_corners=recipe.align_corners)
        pixels = int(session.run(tf.reduce_prod(size))) * (2 if recipe.eval_flip else 1)
    monkeypatch.setattr(engine_segmenter, "LARGEST_PIXELS", pixels)
    assert engine_segmenter.fits(picture, recipe)
    monkeypatch.setattr(engine_segmenter, "LARGEST_PIXELS", pixels - 1)
    assert not engine_segmenter.fits(picture, recipe)


def test_larger_pictures_fit_and_smaller_ones_stay():
    assert canvas.fitting((1026, 300), (513, 513)) == (513, 150)
    assert canvas.fitting((200, 300), (513, 513)) == (200, 300)
