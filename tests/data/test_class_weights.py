"""Class weights, void as background, and the random split that tonandr/deeplabv3plus_keras reports on."""

import json

import numpy as np
import pytest
from PIL import Image

from common.data import class_weights, random_split
from common.data import split as splits
from common.data.lists import card_by_name, read_split
from common.errors import UserError
from common.results import records
from common.training.batches import TrainingBatches
from common.training.start import with_data_fields
from common.weights.weights import Weights
from tests.helpers.own_data import drawn_set
from tests.helpers.tiny import SMALL, run

VOC = card_by_name("voc2012")


def counted(split):
    """Pixels by value, 0 to 255, by PIL's histogram."""
    return sum(np.array(Image.open(mask).convert("P").histogram()) for _, mask in split.pairs)


def test_shares_are_counted(sample_set, tmp_path, capsys):
    split = read_split(VOC, sample_set, "train")
    pixels = counted(split)
    wanted = pixels[:21] / pixels[:21].sum()
    np.testing.assert_allclose(class_weights.class_shares(split, SMALL, quiet=True), wanted, atol=1e-12)
    background = SMALL.derive(void_pixels="background")
    with_void = (pixels[:21] + np.eye(21)[0] * pixels[255]) / pixels.sum()
    np.testing.assert_allclose(class_weights.class_shares(split, background, quiet=True), with_void, atol=1e-12)
    out = tmp_path / "weights.json"
    arguments = ["--data", str(sample_set), "--split", "train", "--void", "background", "--out", str(out), "--quiet"]
    assert class_weights.main(arguments) == 0
    np.testing.assert_allclose(json.loads(out.read_text())["weights"], 1 - with_void, atol=1e-8)
    assert "--set class_weights=0." in capsys.readouterr().out


def test_what_data_and_split_may_be(tmp_path, monkeypatch, capsys):
    """As every program takes them: `sample`, and a person's own set, whose split is train."""
    monkeypatch.chdir(tmp_path)
    assert class_weights.main(["--data", "sample", "--quiet"]) == 0
    drawn_set(tmp_path / "own/finds")
    assert class_weights.main(["--data", "own/finds", "--quiet"]) == 0
    assert "coin" in capsys.readouterr().out
    assert class_weights.main(["--data", "own/finds", "--split", "random_train", "--quiet"]) == 2
    assert "random_train: is drawn from the splits train_aug and val, which must be there; " in capsys.readouterr().err


def test_auto_is_measured_when_training_starts(sample_set, tmp_path):
    split = read_split(VOC, sample_set, "train_aug")
    recipe = with_data_fields(SMALL.derive(class_weights="auto"), split, quiet=True)
    pixels = counted(split)[:21]
    np.testing.assert_allclose(recipe.class_weights, 1 - pixels / pixels.sum(), atol=1e-8)
    common = ["train", "--data", sample_set, "--run-dir", tmp_path / "r", "--quiet"]
    sets = ["--set", "class_weights=auto", "loss=class_balanced", "num_steps=2"]
    assert run(*common, *sets) == 0
    assert tuple(Weights(tmp_path / "r/model.ckpt-2").recipe()["class_weights"]) == recipe.class_weights
    assert run(*common, "--resume", *sets) == 0  # 'auto' is the same run


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "class_balanced"}, "needs class_weights, one per class from 0 to 1, or 'auto'"),
        ({"class_weights": (1.0, 2.0)}, "2 weights for 21 classes"),
        ({"class_weights": (-1.0, *[1.0] * 20)}, "must be at least 0"),
        ({"class_weights": (1.5, *[1.0] * 20), "loss": "class_balanced"}, "at most 1"),
    ],
)
def test_bad_weights_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        SMALL.derive(**settings)


def test_void_as_background(sample_set, tmp_path):
    """In training's labels and in the confusion matrix of an evaluation, whose record says so."""
    recipe = SMALL.derive(void_pixels="background", crop_padding="background", random_scale=False)
    with TrainingBatches(read_split(VOC, sample_set, "train"), recipe) as batches:
        assert next(batches)[1].max() < 21
    assert run("train", "--data", sample_set, "--run-dir", tmp_path / "r", "--quiet", "--set", "num_steps=1") == 0
    for name, sets in (("ignored", []), ("background", ["--set", "void_pixels=background"])):
        assert run("evaluate", "--data", sample_set, "--checkpoint", tmp_path / "r/model.ckpt-1", "--quiet",
                   "--out", tmp_path / name, *sets) == 0  # fmt: skip
    ignored, background = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("ignored", "background"))
    pixels = counted(read_split(VOC, sample_set, "val"))
    assert np.sum(ignored["confusion_matrix"]) == pixels[:21].sum()
    assert np.sum(background["confusion_matrix"]) == pixels.sum()
    assert background["protocol"]["void"] == "class 0"
    assert "void" not in ignored["protocol"]


def test_the_random_split_is_whole_disjoint_and_settled(sample_set, tmp_path):
    train, val = (read_split(VOC, sample_set, name) for name in splits.NAMES)
    everything = [p for s in ("train_aug", "val") for p in read_split(VOC, sample_set, s).pairs]
    assert sorted(train.pairs + val.pairs) == sorted(everything)
    assert (len(train.pairs), len(val.pairs)) == (72, 8)
    assert [p.stem[-2:] for p, _ in val.pairs] == ["65", "56", "12", "66", "41", "49", "61", "02"]  # on every machine
    assert records.marks(val, 8, tmp_path, False) == {"sample": True, "random_split": True}
    arguments = ["--data", str(sample_set), "--out", str(tmp_path / "lists")]
    assert random_split.main(arguments) == 0
    listed = read_split(VOC, sample_set, str(tmp_path / "lists/random_val.txt"))
    assert [p.name for p, _ in listed.pairs] == [p.name for p, _ in val.pairs]


def test_a_picture_in_both_lists_is_on_one_side(tmp_path):
    pairs = [(i, i) for i in range(20)] * 2
    parts = [splits.divide(pairs, name) for name in splits.NAMES]
    assert len(parts[0]) == 18
    assert sorted(parts[0] + parts[1]) == sorted(set(pairs))
