"""Large pictures in overlapping tiles."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from common import console
from common.errors import UserError
from common.inference.tiles import spans, tiles_of
from common.nets.network import build
from common.recipe.recipe import Recipe
from common.tf1 import session, tf
from tests.helpers import small_v3plus
from tests.helpers.tiny import SMALL, network, run


def recipe(**changes):
    return Recipe(variant="x", **changes)


@pytest.mark.parametrize(("length", "tile", "overlap"), [(1000, 513, 128), (513, 513, 128), (60, 513, 9), (99, 10, 5)])
def test_tiles_cover_every_pixel_and_their_shares_add_up_to_one(length, tile, overlap):
    found = spans(length, tile, overlap)
    total = np.zeros(length)
    for span in found:
        total[span.pixels] += span.shares
        assert span.pixels.stop - span.pixels.start == min(tile, length)
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    shared = [a.pixels.stop - b.pixels.start for a, b in zip(found, found[1:], strict=False)]
    assert all(pixels >= overlap for pixels in shared)
    assert found[0].pixels.start == 0
    assert found[-1].pixels.stop == length


def test_shares_grow_from_a_tiles_border():
    first, second = spans(30, 20, 10)
    np.testing.assert_allclose(second.shares[:10], np.arange(1, 11) / 11, rtol=1e-6)
    np.testing.assert_allclose(first.shares[:10], 1)


def test_a_picture_that_one_tile_covers_is_whole():
    assert tiles_of(recipe(eval_tile=64, eval_overlap=9), (64, 50)) is None
    assert tiles_of(recipe(), (5000, 5000)) is None
    assert len(tiles_of(recipe(eval_tile=64, eval_overlap=9), (64, 65)).columns) == 2


def test_mean_probabilities_of_tiles():
    """A network that looks at one pixel gives the same in tiles; one that knows its place gives no seam."""
    picture = np.random.RandomState(0).randint(0, 256, (70, 90, 3), np.uint8)
    tiles = tiles_of(recipe(eval_tile=32, eval_overlap=16), (70, 90))
    pixelwise = tiles.probabilities(picture, lambda part: part / np.float32(255))
    np.testing.assert_allclose(pixelwise, picture / np.float32(255), atol=1e-6)
    np.testing.assert_array_equal(tiles.label(picture, lambda part: part / np.float32(255)), pixelwise.argmax(-1))

    count = iter(range(1000))
    steps = tiles.probabilities(picture, lambda part: np.full((*part.shape[:2], 1), next(count), np.float32))[..., 0]
    assert np.abs(np.diff(steps[0])).max() < 0.2, "neighbours differ by 1, and 16 pixels lie between them"


def test_tiles_are_counted_for_those_who_wait(monkeypatch):
    lines = []
    monkeypatch.setattr(console, "_hushed", False)
    monkeypatch.setattr(console, "LOG_EVERY_SECONDS", 0)
    monkeypatch.setattr(console, "say", lines.append)
    tiles = tiles_of(recipe(eval_tile=32, eval_overlap=16), (70, 30))
    tiles.label(np.zeros((70, 30, 3), np.uint8), lambda part: part / np.float32(255))
    assert [line.split(" (")[0].strip() for line in lines] == [f"tiles {i}/4" for i in range(1, 5)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eval_tile": 100}, "eval_overlap=128: must be at most half of eval_tile=100"),
        (
            {"eval_tile": 513, "eval_size": 513, "resize_range": (513, 513)},
            "eval_tile=513: is for pictures",
        ),
        ({"eval_tile": -1}, "eval_tile=-1: must be from 0 to"),
    ],
)
def test_tiles_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        recipe(**settings)


def test_of_a_network(tmp_path):
    """The same bits where one tile covers the picture; labels and probabilities belong together where it does not."""
    from reproductions.v3plus import REPRODUCTION

    weights = tmp_path / "w.npz"
    np.savez(weights, **small_v3plus.values(golden=True))
    picture = np.random.RandomState(1).randint(0, 256, (80, 120, 3), np.uint8)
    with (
        REPRODUCTION.segmenter(weights, eval_size="native") as whole,
        REPRODUCTION.segmenter(weights, eval_size="native", eval_tile=120, eval_overlap=8) as one,
    ):
        np.testing.assert_array_equal(one.label(picture), whole.label(picture))
    with REPRODUCTION.segmenter(weights, eval_size="native", eval_tile=65, eval_overlap=32, eval_flip=True) as cut:
        probabilities = cut.probabilities(picture)
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(cut.label(picture), probabilities.argmax(-1))
        assert cut.recipe.protocol()["eval_tile"] == 65


def test_predict_a_picture_of_the_earth(tmp_path, capsys):
    """Five channels of 16 bit, cut into tiles: its labels lie where it lies."""
    from common.data.tiff import place_of

    pixels = np.random.RandomState(2).randint(0, 4096, (90, 130, 5)).astype(np.uint16)
    place = [(33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 4e5, 5e6, 0.0), True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig", extratags=place)
    np.savez(tmp_path / "w.npz", **tiny_values())
    command = ["predict", tmp_path / "a.tif", "--checkpoint", tmp_path / "w.npz", "--out", tmp_path / "out", "--set"]
    tiles = ["channels=3,2,1", "eval_tile=65", "eval_overlap=16"]
    assert run(*command, *tiles) == 0
    with Image.open(tmp_path / "out" / "a.png") as png, Image.open(tmp_path / "out" / "a_labels.tif") as labels:
        assert png.size == (130, 90)
        np.testing.assert_array_equal(np.asarray(png), np.asarray(labels))
    assert [tag[3] for tag in place_of(tmp_path / "out" / "a_labels.tif")] == [tag[3] for tag in place]
    assert run(*command, *tiles, "--save-logits") == 2
    assert "--save-logits: are scores of whole pictures" in capsys.readouterr().err


def tiny_values():
    with tf.Graph().as_default() as graph:
        build(network, tf.zeros([1, 65, 65, 3]), SMALL)
        with session(graph) as running:
            running.run(tf.global_variables_initializer())
            return {v.op.name: running.run(v) for v in tf.global_variables()}
