"""The faster ways to the same label maps: bands of rows, pairs, work in the background."""

import numpy as np
import pytest

from common.inference import fusion, segmenter
from common.inference.evaluation import Behind
from common.inference.segmenter import Segmenter
from common.nets import layers
from common.tf1 import session, tf
from tests.helpers.tiny import SMALL, TINY

PROTOCOLS = {
    "one pass": {},
    "scales and mirrors": {"eval_scales": (0.5, 1.25), "eval_flip": True},
    "highest scores": {"eval_scales": (0.5, 1.0), "eval_flip": True, "scale_fusion": "max_logits"},
    "resized": {"resize_range": (40, 60), "eval_flip": True},
    "padded around": {"eval_size": 129, "eval_padding": "around", "align_corners": True},
}


def picture(height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def made(**protocol):
    return Segmenter(TINY.load_network(), SMALL.derive(**protocol), None)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(
    ("small", "size"), [((9, 7), (65, 51)), ((30, 20), (13, 11)), ((5, 5), (5, 5)), ((4, 6), (1, 9))]
)
def test_rows_of_a_resize_are_the_same_bits(small, size, align_corners):
    values = (np.random.RandomState(0).randn(2, *small, 21) * 5).astype(np.float32)
    first, last = size[0] // 3, size[0] // 3 + max(1, size[0] // 2)
    with tf.Graph().as_default() as graph, session(graph) as running:
        whole = layers.resize_bilinear(tf.constant(values), size, align_corners=align_corners)
        rows = layers.resized_rows(
            tf.constant(values), tf.constant(size), tf.constant([first, last]), align_corners=align_corners
        )
        whole, rows = running.run((whole, rows))
    assert np.array_equal(whole[:, first:last], rows)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_bands_and_pairs_give_the_same_label_map(protocol, monkeypatch):
    image = picture(61, 83)
    with made(**protocol) as whole:
        expected, highest = whole.label(image), whole.fused(image).argmax(-1)
        assert np.array_equal(expected, highest)
        monkeypatch.setattr(fusion, "WHOLE_VALUES", 0)
        monkeypatch.setattr(fusion, "BAND_VALUES", 7 * 83 * 21)
        assert len(whole._fusion(whole.recipe).bands((61, 83))) > 5
        assert np.array_equal(whole.label(image), expected)
        monkeypatch.setattr(segmenter, "LARGEST_PAIR", 0)
        assert np.array_equal(whole.label(image), expected)


def test_background_work_is_in_order_and_its_errors_are_raised():
    done = []
    with Behind() as behind:
        for i in range(5):
            behind.do(done.append, i)
    assert done == list(range(5))
    with pytest.raises(ZeroDivisionError), Behind() as behind:
        behind.do(lambda: 1 / 0)
    with pytest.raises(KeyError), Behind() as behind:
        behind.do(lambda: 1 / 0)
        raise KeyError
