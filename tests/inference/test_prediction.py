"""Prediction continues when one picture fails."""

import numpy as np
import pytest
from PIL import Image

from common.commands.predict import with_names
from common.data.lists import read_split
from common.data.sets.voc import VOC2012
from common.errors import UserError
from common.inference import prediction
from common.inference.evaluation import evaluate
from common.inference.prediction import classes_line, predict
from common.inference.segmenter import Segmenter
from common.nets.network import build
from common.tf1 import tf
from tests.helpers.tiny import SMALL, TINY, run


@pytest.fixture(scope="module")
def segmenter():
    """The tiny network with its initial weights."""
    with Segmenter(TINY.load_network(), SMALL, None) as made:
        yield made


def starve(segmenter, monkeypatch, size):
    """No memory for pictures of this width and height."""
    run = segmenter._session.run

    def session_run(fetches, feeds):
        if segmenter._picture in feeds and feeds[segmenter._picture].shape[1::-1] == size:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return run(fetches, feeds)

    monkeypatch.setattr(segmenter._session, "run", session_run)


def test_a_picture_larger_than_the_memory_is_its_own_failure(tmp_path, segmenter, monkeypatch):
    starve(segmenter, monkeypatch, (60, 40))
    pictures = [tmp_path / "big.png", tmp_path / "small.png", tmp_path / "broken.png", tmp_path / ("x" * 248 + ".png")]
    for path, size in zip(pictures, ((60, 40), (30, 20), (30, 20), (30, 20)), strict=True):
        Image.new("RGB", size).save(path)
    pictures[2].write_bytes(b"x")
    failures = predict(segmenter, pictures, VOC2012, tmp_path / "out", quiet=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["small.png", "small_overlay.png"]
    big, broken, long = failures
    assert big.startswith(f"{pictures[0]}: 60x40 pixels need more memory than there is; make the picture smaller")
    assert broken.startswith(f"{pictures[2]}: cannot be read as a picture")
    assert long.startswith(f"{pictures[3]}: its name is too long for its results, which end in _overlay.png; rename it")


def test_classes_that_the_card_does_not_name_are_numbers(tmp_path):
    """Converted weights may be of a data set that has no card here, as COCO-Stuff's 182 classes."""
    label = np.array([[0, 181], [181, 181]], np.uint8)
    line = classes_line(tmp_path / "a.jpg", label, with_names(VOC2012, 182))
    assert line == "a.jpg: class 181 75%, class 0 25%"
    assert with_names(VOC2012, 21) is VOC2012
    assert with_names(VOC2012, 19).classes[18] == "class 18", "Cityscapes' classes have no names of VOC"


def test_memory_that_python_lacks(tmp_path, segmenter, monkeypatch):
    def label(picture):
        raise MemoryError

    monkeypatch.setattr(segmenter, "label", label)
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    (failure,) = predict(segmenter, [tmp_path / "a.png"], VOC2012, tmp_path / "out", quiet=True)
    assert failure.startswith(f"{tmp_path / 'a.png'}: 60x40 pixels need more memory than there is")


def test_an_evaluation_names_the_picture(sample_set, segmenter, monkeypatch):
    split = read_split(VOC2012, sample_set, "val")
    image, _ = split.read(0)
    starve(segmenter, monkeypatch, image.shape[1::-1])
    with pytest.raises(UserError, match=rf"^{split.pairs[0][0]}: \d+x\d+ pixels need more memory"):
        evaluate(segmenter, split, limit=1, quiet=True)
    assert np.prod(image.shape) > 0


@pytest.fixture(scope="module")
def huge_weights(tmp_path_factory):
    """Real and finite weights whose scores overflow."""
    path = tmp_path_factory.mktemp("huge") / "w.npz"
    with tf.Graph().as_default():
        build(TINY.load_network(), tf.zeros([1, 65, 65, 3]), SMALL)
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    np.savez(path, **{name: np.full(shape, 1e38, np.float32) for name, shape in shapes.items()})
    return path


@pytest.mark.parametrize("protocol", [[], ["--scales", "0.5,1"], ["--flip"]])
def test_scores_that_overflow_end_the_evaluation(sample_set, huge_weights, tmp_path, capsys, results_dir, protocol):
    words = ["--data", sample_set, "--checkpoint", huge_weights, "--out", tmp_path / "out", *protocol]
    assert run("evaluate", *words, "--set", "variant=small", "--save-results", "--quiet") == 2
    message = capsys.readouterr().err
    assert "network's scores of this picture are not finite" in message
    assert message.count("\n") == 1
    assert str(huge_weights) in message
    assert str(read_split(VOC2012, sample_set, "val").pairs[0][0]) in message
    assert not (tmp_path / "out").exists()
    assert not list(results_dir.rglob("*.json"))


def test_scores_that_overflow_end_the_prediction(huge_weights, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (30, 20), "red").save(tmp_path / name)
    words = [tmp_path, "--checkpoint", huge_weights, "--out", tmp_path / "out", "--set", "variant=small", "--quiet"]
    assert run("predict", *words) == 2
    message = capsys.readouterr().err
    assert f"{tmp_path / 'a.png'}: the network's scores" in message
    assert "b.png" not in message
    assert str(huge_weights) in message
    assert not (tmp_path / "out").exists()


def test_tiles_are_segmented_once_with_their_probabilities(tmp_path, segmenter, monkeypatch):
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (90, 60, 3), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(segmenter, "recipe", segmenter.recipe.derive(eval_tile=65, eval_overlap=16))
    passes, run = [], segmenter._pass
    monkeypatch.setattr(segmenter, "_pass", lambda *given: (passes.append(1), run(*given))[1])
    predict(segmenter, [tmp_path / "a.png"], VOC2012, tmp_path / "alone", quiet=True)
    once = len(passes)
    predict(segmenter, [tmp_path / "a.png"], VOC2012, tmp_path / "both", save_probabilities="float32", quiet=True)
    assert len(passes) == 2 * once
    assert (tmp_path / "alone/a.png").read_bytes() == (tmp_path / "both/a.png").read_bytes()


def test_probabilities_that_the_memory_cannot_hold(tmp_path, segmenter, monkeypatch):
    monkeypatch.setattr(prediction, "free_memory", lambda: 0.2)  # 60x40x21 floats twice are 0.38 MiB
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    (sentence,) = predict(
        segmenter, [tmp_path / "a.png"], VOC2012, tmp_path / "out", save_probabilities="float16", quiet=True
    )
    assert "--save-probabilities: those of 60x40 pixels and 21 classes take 0 MiB twice, more than is free" in sentence
    assert not (tmp_path / "out").exists()
