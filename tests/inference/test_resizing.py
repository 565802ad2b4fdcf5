"""Resizes of arrays without TensorFlow give TensorFlow's bits."""

import numpy as np
import pytest

from common.inference import canvas, resizing
from common.nets import layers, pictures
from common.recipe.recipe import Recipe
from common.tf1 import tf

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


def test_larger_pictures_fit_and_smaller_ones_stay():
    assert canvas.fitting((1026, 300), (513, 513)) == (513, 150)
    assert canvas.fitting((200, 300), (513, 513)) == (200, 300)
