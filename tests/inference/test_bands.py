"""The first layers band by band: the same bits as in one piece."""

import numpy as np
import pytest

from common.inference import bands, segmenter
from common.inference.bands import find_cut
from common.inference.segmenter import Segmenter
from common.tf1 import tf
from tests.bench.networks import NETWORKS

RNG = np.random.RandomState(0)


@pytest.fixture(autouse=True)
def small_bands(monkeypatch):
    monkeypatch.setattr(bands, "BAND_PIXELS", 1)  # a band is as high as its margin


def convolve(x, kernel, channels, stride=1, padding="SAME", dilation=1):
    weights = tf.constant(RNG.randn(kernel, kernel, int(x.shape[3]), channels), tf.float32)
    return tf.nn.conv2d(x, weights, strides=stride, padding=padding, dilations=dilation)


def plain(x):
    x = convolve(x, 3, 16, stride=2)
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    return x + tf.nn.relu(convolve(x, 3, 16, dilation=2))


def valid(x):
    x = convolve(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 16, stride=2, padding="VALID")
    return tf.nn.relu(convolve(x, 5, 16, stride=2, padding="VALID"))


@pytest.mark.parametrize("first_layers", [plain, valid])
def test_every_height_gives_the_same_bits(first_layers):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, None, None, 3])
        scores = convolve(first_layers(x), 1, 2) * tf.reduce_mean(x)
        cut = find_cut(x, convolve(first_layers(x), 1, 2))
        assert cut.stride == 4
        assert cut.margin % 4 == 0
        for height in range(31, 80):
            pixels = RNG.randn(1, height, 21, 3).astype(np.float32)
            whole = session.run(cut.features, {x: pixels})
            banded = cut.run(session.run, pixels)
            assert len(list(cut.bands((height, 21)))) > 1
            np.testing.assert_array_equal(banded, whole)
        assert find_cut(x, scores) is None  # the mean reads the inputs too


def test_a_margin_that_is_not_worth_it():
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, None, None, 3])
        assert find_cut(x, convolve(convolve(x, 31, 4), 1, 2)) is None


@pytest.mark.parametrize("network", ["mobilenetv2_os8", "xception65", "largefov"])
def test_networks(network, monkeypatch):
    chosen = NETWORKS[network]
    pictures = [RNG.randint(0, 256, (*size, 3), np.uint8) for size in ((161, 97), (130, 64))]
    with Segmenter(chosen.load().load_network(), chosen.recipe(eval_size="native"), None) as it:
        whole = [it.logits(picture) for picture in pictures]
        monkeypatch.setattr(segmenter, "LARGEST_WHOLE", 0)
        for picture, logits in zip(pictures, whole, strict=True):
            np.testing.assert_array_equal(it.logits(picture), logits)
