"""The first layers band by band: the same bits as in one piece."""

import numpy as np
import pytest

from common.inference import bands, segmenter
from common.inference.bands import Cut, find_cut
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
    chosen, bands_run = NETWORKS[network], []
    monkeypatch.setattr(Cut, "run", lambda *args, run=Cut.run: bands_run.append(args) or run(*args))
    pictures = [RNG.randint(0, 256, (*size, 3), np.uint8) for size in ((161, 97), (130, 64))]
    recipe = chosen.recipe(eval_size="native", eval_scales=(1.0, 1.25), eval_flip=True)
    with Segmenter(chosen.load().load_network(), recipe, None) as it:
        monkeypatch.setattr(segmenter, "LARGEST_PAIR", 0)
        whole = [it.fused(picture) for picture in pictures]
        assert not bands_run
        monkeypatch.setattr(segmenter, "LARGEST_WHOLE", 161 * 97)  # the first picture, enlarged, is larger
        for picture, fused in zip(pictures, whole, strict=True):
            np.testing.assert_array_equal(it.fused(picture), fused)
    assert len(bands_run) == 2  # as it stands, and mirrored


def test_the_networks_input_decides_what_is_large(monkeypatch):
    found = []
    monkeypatch.setattr(
        Cut, "run", lambda cut, fetch, inputs: found.append(inputs.shape) or fetch(cut.features, {cut.inputs: inputs})
    )
    monkeypatch.setattr(segmenter, "LARGEST_WHOLE", 150 * 150)
    network, picture = NETWORKS["mobilenetv2_os16"], RNG.randint(0, 256, (160, 160, 3), np.uint8)
    for change in ({"eval_size": 97, "resize_range": (97, 97)}, {"eval_size": 161}):
        with Segmenter(network.load().load_network(), network.recipe(**change), None) as it:
            it.logits(picture)
    assert found == [(1, 161, 161, 3)]
