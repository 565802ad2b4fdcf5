"""Metrics, inference over sizes, scales and mirrors, prediction, and their command lines."""

import contextlib
import json

import numpy as np
import pytest
from PIL import Image

from common.data.lists import read_split
from common.data.masks import read_mask
from common.data.sets.voc import VOC2012
from common.errors import UserError
from common.inference.evaluation import read_ahead
from common.inference.metrics import ConfusionMatrix
from common.inference.prediction import find_pictures
from common.inference.segmenter import Segmenter
from tests.helpers.tiny import SMALL, TINY, run


@pytest.fixture(scope="module")
def checkpoint(sample_set, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    assert run("train", "--data", sample_set, "--run-dir", run_dir, "--quiet", "--set", "num_steps=40") == 0
    return run_dir / "model.ckpt-40"


@pytest.fixture(scope="module")
def segmenter():
    """The tiny network with its initial weights."""
    made = Segmenter(TINY.load_network(), SMALL, None)
    yield made
    made.close()


def picture(height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def test_confusion_matrix_by_hand():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([[0, 0, 1, 1], [2, 2, 255, 255]]), np.array([[0, 1, 1, 1], [0, 2, 0, 3]]))
    assert matrix.counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    # 0: 1 / (1 + 1 + 1); 1: 2 / (2 + 1); 2: 1 / 2; 3 does not occur
    np.testing.assert_allclose(matrix.iou[:3], [1 / 3, 2 / 3, 1 / 2])
    assert np.isnan(matrix.iou[3])
    assert matrix.miou == pytest.approx(0.5)
    assert matrix.pixel_accuracy == 4 / 6
    summary = matrix.summary(("a", "b", "c", "d"))
    assert summary["per_class_iou"]["d"] is None
    assert summary["miou"] == 0.5
    assert summary["mean_accuracy"] == pytest.approx((1 / 2 + 2 / 2 + 1 / 2) / 3, abs=1e-6)
    assert summary["frequency_weighted_iou"] == pytest.approx((2 / 3 + 2 * 2 / 3 + 2 / 2) / 6, abs=1e-6)


def test_one_matrix_over_pictures_is_not_the_mean_over_pictures():
    matrix = ConfusionMatrix(2)
    matrix.update(np.zeros(10, int), np.zeros(10, int))
    matrix.update(np.array([0, 1]), np.array([1, 1]))
    np.testing.assert_allclose(matrix.iou, [10 / 11, 1 / 2])


def test_nothing_but_void():
    matrix = ConfusionMatrix(2)
    matrix.update(np.full(3, 255), np.zeros(3, int))
    assert np.isnan(matrix.miou)
    nothing = ("miou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")
    assert all(matrix.summary(("a", "b"))[name] is None for name in nothing)


@contextlib.contextmanager
def by(segmenter, **protocol):
    """The segmenter with another protocol for a while: the graph is the same."""
    recipe, segmenter.recipe = segmenter.recipe, segmenter.recipe.derive(**protocol)
    yield
    segmenter.recipe = recipe


def fused_at_each(segmenter, image, scales):
    """What each scale alone gives."""
    found = []
    for scale in scales:
        with by(segmenter, eval_scales=(scale,)):
            found.append(segmenter.fused(image))
    return found


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 5), (33, 64), (101, 67)])
def test_any_size(segmenter, size):
    image = picture(*size)
    assert segmenter.label(image).shape == size
    with by(segmenter, eval_scales=(0.5, 1.25), eval_flip=True):
        assert segmenter.label(image).shape == segmenter.probabilities(image).shape[:2] == size
    assert segmenter.logits(image).shape == (-(-size[0] // 8), -(-size[1] // 8), 21)


def test_label_and_logits_agree(segmenter):
    image = picture(33, 41)
    label, logits = segmenter.label_and_logits(image)
    assert np.array_equal(label, segmenter.label(image))
    assert np.array_equal(logits, segmenter.logits(image))


def test_fusion_is_the_mean_of_probabilities_over_scales_and_mirrors():
    # With aligned corners the resize of mirrored scores is the mirrored resize.
    image = picture(40, 48)
    with Segmenter(TINY.load_network(), SMALL.derive(align_corners=True), None) as made:
        parts = fused_at_each(made, image, (0.5, 1.0))
        with by(made, eval_scales=(0.5, 1.0)):
            np.testing.assert_allclose(made.fused(image), np.mean(parts, axis=0), rtol=1e-5)
        np.testing.assert_allclose(parts[0].sum(-1), 1, rtol=1e-5)
        mirrored = made.fused(image[:, ::-1])[:, ::-1]
        expected = (parts[1] + mirrored) / 2
        with by(made, eval_flip=True):
            np.testing.assert_allclose(made.fused(image), expected, rtol=1e-3, atol=1e-5)


def test_maximum_fusion():
    recipe = SMALL.derive(scale_fusion="max_logits", eval_scales=(0.5, 1.0))
    with Segmenter(TINY.load_network(), recipe, None) as made:
        parts = fused_at_each(made, picture(24, 24), (0.5, 1.0))
        np.testing.assert_allclose(made.fused(picture(24, 24)), np.maximum(*parts))
        probabilities = made.probabilities(picture(24, 24))
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
        assert np.array_equal(probabilities.argmax(-1), made.label(picture(24, 24)))


def test_padding_to_eval_size_is_by_the_mean_and_cropped_back(segmenter):
    padded = Segmenter(TINY.load_network(), SMALL.derive(eval_size=65), None)
    image = picture(33, 41)
    by_hand = np.full((65, 65, 3), 110, np.uint8)  # SMALL's mean
    by_hand[:33, :41] = image
    assert np.array_equal(padded.label(image), segmenter.label(by_hand)[:33, :41])
    assert padded.logits(image).shape == (9, 9, 21)
    assert padded.label(picture(90, 70)).shape == (90, 70)  # larger ones are not cut
    padded.close()


def test_read_ahead_keeps_the_order_and_raises_in_place():
    assert list(read_ahead(lambda x: x * 2, range(20))) == list(range(0, 40, 2))
    results = read_ahead(lambda x: 1 // x, [1, 0])
    with pytest.raises(ZeroDivisionError):
        list(results)


def evaluate(sample_set, checkpoint, out, *arguments):
    common = ["--split", "val", "--checkpoint", checkpoint, "--out", out, "--quiet"]
    return run("evaluate", "--data", sample_set, *common, *arguments)


def test_evaluate_equals_a_count_by_hand(sample_set, checkpoint, tmp_path, results_dir):
    assert evaluate(sample_set, checkpoint, tmp_path / "out", "--record") == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    pairs = read_split(VOC2012, sample_set, "val").pairs
    run("predict", sample_set / "JPEGImages", "--checkpoint", checkpoint, "--out", tmp_path / "p", "--quiet")
    labels = np.concatenate([read_mask(mask, VOC2012).ravel() for _, mask in pairs])
    predictions = np.concatenate([np.asarray(Image.open(tmp_path / f"p/{i.stem}.png")).ravel() for i, _ in pairs])
    counted = labels != 255
    ious = []
    for c in np.unique(labels[counted]):
        mine, theirs = predictions[counted] == c, labels[counted] == c
        ious.append((mine & theirs).sum() / (mine | theirs).sum())
    assert metrics["miou"] == pytest.approx(np.mean(ious), abs=1e-5)
    assert metrics["pixel_accuracy"] == pytest.approx((predictions == labels)[counted].mean(), abs=1e-5)
    assert metrics["images"] == len(pairs)
    assert np.sum(metrics["confusion_matrix"]) == counted.sum()
    assert metrics["protocol"]["scales"] == [1.0]
    assert not metrics["protocol"]["flip"]
    assert len(list((results_dir / "runs").glob("tiny-small-sample_set_val-*.json"))) == 1


def test_scales_mirror_and_limit(sample_set, checkpoint, tmp_path, results_dir):
    assert evaluate(sample_set, checkpoint, tmp_path, "--scales", "0.75,1", "--flip", "--limit", "3", "--record") == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["images"] == 3
    assert metrics["protocol"]["scales"] == [0.75, 1.0]
    assert metrics["protocol"]["flip"]
    (record,) = (results_dir / "runs").glob("*.json")
    assert json.loads(record.read_text())["marks"] == {"sample": True, "subset": 3}


def test_crf_from_the_command_line(sample_set, checkpoint, tmp_path, results_dir):
    assert evaluate(sample_set, checkpoint, tmp_path / "o", "--crf", "--limit", "2", "--set", "crf_iterations=3") == 0
    metrics = json.loads((tmp_path / "o/metrics.json").read_text())
    assert metrics["protocol"]["crf"]["iterations"] == 3
    assert metrics["protocol"]["crf"]["bilateral_sxy"] == 67.0
    arguments = [sample_set / "JPEGImages/sample_000064.jpg", "--checkpoint", checkpoint, "--quiet"]
    for out, extra in (("plain", []), ("crf", ["--crf", "--save-logits"])):
        assert run("predict", *arguments, "--out", tmp_path / out, *extra) == 0
    plain, refined = (np.asarray(Image.open(tmp_path / o / "sample_000064.png")) for o in ("plain", "crf"))
    assert 0 < (plain != refined).mean() < 0.5
    assert (tmp_path / "crf/sample_000064.npy").is_file()
    assert evaluate(sample_set, checkpoint, tmp_path / "bad", "--crf", "--set", "crf_bilateral_srgb=-1") == 2


def test_predict_files_folders_and_globs(sample_set, checkpoint, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(picture(20, 30)).save(folder / "a.png")
    Image.fromarray(picture(20, 30)[..., 0]).save(folder / "b.tif")
    (folder / "notes.txt").write_text("no picture")
    arguments = ["--checkpoint", checkpoint, "--out", tmp_path / "out", "--quiet", "--save-logits"]
    assert run("predict", folder, f"{sample_set}/JPEGImages/*00000[12].jpg", folder / "a.png", *arguments) == 0
    stems = {"a", "b", "sample_000001", "sample_000002"}
    wanted = {f"{s}{e}" for s in stems for e in (".png", "_overlay.png", ".npy")}
    assert {p.name for p in (tmp_path / "out").iterdir()} == wanted
    with Image.open(tmp_path / "out/a.png") as label:
        assert label.mode == "P"
        assert label.size == (30, 20)
    logits = np.load(tmp_path / "out/a.npy")
    assert logits.dtype == np.float32
    assert logits.shape == (3, 4, 21)


def test_find_pictures_refuses(tmp_path):
    (tmp_path / "z").mkdir()
    (tmp_path / "z/readme").touch()
    for arguments, message in [
        (["none.jpg"], "no such file, folder or pattern"),
        ([f"{tmp_path}/z"], "folder without pictures"),
        ([f"{tmp_path}/pi***/x"], "no such file, folder or pattern"),
    ]:
        with pytest.raises(UserError, match=message):
            find_pictures(arguments)


def test_one_bad_picture_does_not_stop_the_others(checkpoint, tmp_path, capsys):
    (tmp_path / "bad.jpg").write_text("no picture")
    Image.fromarray(picture(9, 9)).save(tmp_path / "good.png")
    status = run("predict", tmp_path, "--checkpoint", checkpoint, "--out", tmp_path / "out", "--quiet")
    printed = capsys.readouterr()
    assert status == 2
    assert "bad.jpg: cannot be read" in printed.err
    assert "1 of 2 pictures" in printed.out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"good.png", "good_overlay.png"}


@pytest.mark.parametrize(
    ("names", "out", "message"),
    [
        (["a.png"], ".", "a.png is one of the pictures"),
        (["a.jpg", "a_overlay.png"], ".", "a_overlay.png is one of the pictures"),
        (["a.jpg", "a.png"], "out", "would both write a.png"),
        (["a.jpg", "a_overlay.jpg"], "out", "would both write a_overlay.png"),
    ],
)
def test_a_result_overwrites_no_picture_and_no_other_result(checkpoint, tmp_path, capsys, names, out, message):
    for name in names:
        Image.fromarray(picture(9, 9)).save(tmp_path / name)
    before = {p.name for p in tmp_path.iterdir()}
    files = [tmp_path / n for n in names]
    assert run("predict", *files, "--checkpoint", checkpoint, "--out", tmp_path / out) == 2
    assert message in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == before


def test_somebody_elses_masks_are_not_overwritten(checkpoint, tmp_path, capsys):
    """A folder of photographs and masks as --out: the masks stay; predict's own results are written again."""
    Image.fromarray(picture(9, 9)).save(tmp_path / "a.jpg")
    Image.fromarray(picture(9, 9)[..., 0]).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    arguments = ("predict", tmp_path / "a.jpg", "--checkpoint", checkpoint, "--quiet", "--out")
    assert run(*arguments, tmp_path) == 2
    assert "a.png is there, and no prediction of this suite" in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == before
    assert run(*arguments, tmp_path / "out") == 0
    assert run(*arguments, tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "not a whole number of at least 1"),
        (["--scales", "a"], "a is not a list of numbers"),
        (["--scales", "0"], "needs factors from 0.01 to 16"),
        (["--scales", "nan"], "must be finite"),
        (["--split", "tset"], "no split 'tset'"),
        (["--checkpoint", "nowhere"], "nowhere: no such weights"),
        (["--flp"], "unrecognized arguments: --flp"),
        (["--set", "num_classes=5"], "num_classes=5: the network's classes are not the 21 of voc2012"),
        (["--val-seen", "--val-unseen"], "not allowed with"),
        (["--set", "dataset=cityscapes", "num_classes=19"], "no split 'val' of Cityscapes; looked for"),
    ],
)
def test_wrong_arguments(sample_set, checkpoint, tmp_path, capsys, arguments, message):
    assert evaluate(sample_set, checkpoint, tmp_path / "out", *arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_checkpoint_with_one_missing_and_one_extra(sample_set, checkpoint, tmp_path, capsys):
    from common.weights.weights import Weights

    weights = Weights(checkpoint)
    values = {n: weights.value(n) for n in weights.names()} | {"stray/weights": np.zeros(2)}
    del values["conv2/weights"]
    np.savez(tmp_path / "w.npz", **values)
    assert evaluate(sample_set, tmp_path / "w.npz", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "1 missing in the file: conv2/weights" in message
    assert "1 extra in the file: stray/weights" in message


def test_describe(capsys):
    assert run("describe", "--set", "width=8", "--size", "65") == 0
    text = capsys.readouterr().out
    recipe = json.loads(text[: text.index("\n}\n") + 2])
    assert recipe["width"] == 8
    kernels = 3 * 3 * 3 * 8 + 2 * 3 * 3 * 8 * 8 + 3 * 3 * 8 * 21
    assert f"parameters: {kernels + 21 + 3 * 4 * 8:,} ({kernels + 21:,} trained)" in text
    positions = (33 * 33, 17 * 17, 9 * 9, 9 * 9)
    adds = sum(p * k for p, k in zip(positions, (216, 576, 576, 1512), strict=True))
    assert f"multiply-adds at 65x65: {adds / 1e9:.2f} G" in text
    assert "9x9x21" in text
