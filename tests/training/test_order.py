"""Which pictures a run sees: repeated ones, class-balanced ones, and that both repeat and resume."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from common.data import class_pixels as counting
from common.data import tfrecord
from common.data.class_pixels import class_pixels
from common.data.lists import read_split
from common.data.masks import save_label_png
from common.data.sets.voc import VOC2012
from common.errors import UserError
from common.nets.replicas import Replicas
from common.training import run_folder
from common.training.batches import TrainingBatches
from common.training.order import balanced_order, listed_pictures, picture_order
from common.training.start import with_data_fields
from common.weights import checkpoint_files
from reproductions.v3.recipe import VARIANTS as V3
from tests.helpers.tiny import SMALL, run

HARD = SMALL.derive(repeated_classes=("bicycle", "3"), repeat_count=3)
BALANCED = SMALL.derive(sampling="class_balanced")


@pytest.fixture
def split(sample_set):
    return read_split(VOC2012, sample_set, "train")


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Counts of other tests in this process."""
    monkeypatch.setattr(counting, "_known", {})


def masks(split):
    return [split.read(index)[1] for index in range(len(split.pairs))]


def some_class(split):
    """A class that some pictures have and others lack."""
    has = class_pixels(split, SMALL) > 0
    return next(c for c in range(1, 21) if 0 < has[:, c].sum() < len(has))


def test_pixels_are_those_of_the_masks(split):
    pixels = class_pixels(split, SMALL)
    assert pixels.shape == (len(split.pairs), 21)
    for row, mask in zip(pixels, masks(split), strict=True):
        assert list(row) == [(mask == c).sum() for c in range(21)]
    void = class_pixels(split, SMALL.derive(void_pixels="background"))
    assert list(void[0] - pixels[0]) == [(masks(split)[0] == 255).sum(), *[0] * 20]


def test_masks_are_counted_once(split, cache, monkeypatch):
    """By this process and by the next one; a damaged file of the cache and another mask are counted again."""
    counted = class_pixels(split, SMALL)
    (file,) = cache.iterdir()
    monkeypatch.setattr(type(split), "read", lambda self, index: pytest.fail("a mask is read again"))
    assert np.array_equal(class_pixels(split, SMALL), counted)
    counting._known.clear()
    assert np.array_equal(class_pixels(split, SMALL), counted)
    monkeypatch.undo()
    counting._known.clear()
    monkeypatch.setenv("DEEPLAB_CACHE", str(cache))
    file.write_bytes(file.read_bytes()[:-1])
    assert np.array_equal(class_pixels(split, SMALL), counted)
    counting._known.clear()
    monkeypatch.setenv("DEEPLAB_CACHE", str(file))  # no folder: nothing is kept
    assert np.array_equal(class_pixels(split, SMALL), counted)


def test_a_changed_mask_is_counted_again(split, tmp_path):
    (picture, mask), copy = split.pairs[0], tmp_path / "copy.png"
    copy.write_bytes(mask.read_bytes())
    one = dataclasses.replace(split, pairs=((picture, copy),))
    before = class_pixels(one, SMALL)
    save_label_png(copy, np.full_like(masks(split)[0], 20), VOC2012.palette)
    after = class_pixels(one, SMALL)
    assert before[0, 20] < after[0, 20] == after.sum()


def test_pictures_of_hard_classes_stand_several_times_in_the_list(split):
    name = VOC2012.classes[some_class(split)]
    recipe = SMALL.derive(repeated_classes=(name,), repeat_count=3)
    has = class_pixels(split, SMALL)[:, VOC2012.classes.index(name)] > 0
    listed = listed_pictures(split, recipe)
    assert Counter(listed.tolist()) == {i: 3 if hard else 1 for i, hard in enumerate(has)}
    by_id = listed_pictures(split, recipe.derive(repeated_classes=(str(some_class(split)),)))
    assert np.array_equal(by_id, listed)
    epoch = picture_order(split, recipe, 0, len(listed))
    assert sorted(epoch) == sorted(listed)
    assert list(listed_pictures(split, SMALL)) == list(range(len(split.pairs)))


def test_an_epoch_is_as_long_as_the_list(split):
    name = VOC2012.classes[some_class(split)]
    recipe = SMALL.derive(repeated_classes=(name,), epochs=2, save_interval=-1)
    steps = -(-len(listed_pictures(split, recipe)) // recipe.batch_size)
    found = with_data_fields(recipe, split, quiet=True)
    assert (found.num_steps, found.save_interval) == (2 * steps, steps)
    assert steps > -(-len(split.pairs) // recipe.batch_size)


def test_classes_are_drawn_alike_and_so_are_the_pictures_of_each():
    has_class = np.zeros([100, 4], bool)
    has_class[:, 0], has_class[:9, 1], has_class[50, 2] = True, True, True  # class 3 has no picture
    order = balanced_order(1, has_class, 0, 60_000)
    counts = np.bincount(order, minlength=100)
    np.testing.assert_allclose(counts[50], 20_000 + 200, rtol=0.03)
    np.testing.assert_allclose(counts[:9], 20_000 / 9 + 200, rtol=0.1)
    np.testing.assert_allclose(counts[60:], 200, rtol=0.35)
    for first, last in ((0, 1), (5000, 9001), (4096, 8192), (7, 7)):
        assert np.array_equal(balanced_order(1, has_class, first, last), order[first:last])
    assert not np.array_equal(balanced_order(2, has_class, 0, 100), order[:100])


@pytest.mark.parametrize("recipe", [HARD.derive(repeated_classes=("person", "bird", "cat", "car")), BALANCED])
def test_batches_resume_and_are_divided(split, recipe):
    straight = list(TrainingBatches(split, recipe))
    for a, b in zip(straight[5:], TrainingBatches(split, recipe, first_step=5), strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    parts = zip(*(TrainingBatches(split, recipe, replicas=Replicas(2, index)) for index in (0, 1)), strict=True)
    for whole, part in zip(straight, parts, strict=True):
        assert np.array_equal(whole[0], np.concatenate([images for images, _ in part]))
    uniform = list(TrainingBatches(split, SMALL))
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(straight, uniform, strict=True))


def test_records_are_drawn_like_their_folder(split, sample_set, tmp_path):
    out = str(tmp_path / "r")
    arguments = ["build", "--data", str(sample_set), "--split", "train", "--shards", "2", "--out", out, "--quiet"]
    assert tfrecord.main(arguments) == 0
    records = read_split(VOC2012, tmp_path / "r", "train")
    assert type(records) is not type(split)
    assert np.array_equal(picture_order(records, BALANCED, 0, 500), picture_order(split, BALANCED, 0, 500))


def test_a_resumed_run_is_the_straight_one(sample_set, tmp_path):
    sets = ["--set", "sampling=class_balanced", "slow_start_step=3", "end_learning_rate=0.001"]
    losses = []
    for name in ("straight", "killed"):
        arguments = ["train", "--data", sample_set, "--run-dir", tmp_path / name, "--quiet", *sets]
        assert run(*arguments) == 0
        if name == "killed":
            checkpoint_files.delete(tmp_path / name / "model.ckpt-8")
            assert run(*arguments, "--resume") == 0
        losses.append([entry["loss"] for entry in run_folder.read_log(tmp_path / name)])
    assert losses[0] == losses[1]
    rates = [entry["learning_rate"] for entry in run_folder.read_log(tmp_path / "straight")]
    np.testing.assert_allclose(rates[:4], [1e-4, 1e-4, 1e-4, SMALL.learning_rate], rtol=1e-6)


def test_classes_that_are_not_there_are_refused(split, sample_set, tmp_path, capsys):
    with pytest.raises(UserError, match=r"repeated_classes=sofaa: VOC2012 has no such class; did you mean sofa\?"):
        listed_pictures(split, SMALL.derive(repeated_classes=("sofaa",)))
    with pytest.raises(UserError, match="repeated_classes=21: VOC2012 has no such class"):
        listed_pictures(split, SMALL.derive(repeated_classes=("21",)))
    absent = next(VOC2012.classes[c] for c in range(21) if not class_pixels(split, SMALL)[:, c].any())
    with pytest.raises(UserError, match=f"no picture has one of the repeated_classes, {absent}"):
        listed_pictures(split, SMALL.derive(repeated_classes=(absent,)))
    arguments = ["train", "--data", sample_set, "--run-dir", tmp_path / "r", "--set", "repeated_classes=sofaa"]
    assert run(*arguments) == 2
    assert "error: repeated_classes=sofaa: " in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_v3s_bootstrapping_is_of_voc():
    recipe = V3["bootstrapping"]
    assert set(recipe.repeated_classes) == {"bicycle", "chair", "diningtable", "pottedplant", "sofa"}
    assert set(recipe.repeated_classes) <= set(VOC2012.classes)
    assert recipe.derive(variant="phase2", repeated_classes=()) == V3["phase2"]
