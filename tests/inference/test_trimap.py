"""mIoU near the boundaries: the bands, `evaluate --trimap`, and the plot of several evaluations."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from common.inference import trimap
from common.inference.metrics import ConfusionMatrix
from common.inference.trimap import BandMatrices, boundary_distance
from tests.helpers.tiny import run

NO_EDGE = np.zeros((3, 4), np.uint8)


@pytest.fixture(scope="module")
def checkpoint(sample_set, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    assert run("train", "--data", sample_set, "--run-dir", run_dir, "--quiet", "--set", "num_steps=20") == 0
    return run_dir / "model.ckpt-20"


def evaluate(sample_set, checkpoint, out, *arguments):
    common = ["--checkpoint", checkpoint, "--out", out, "--quiet", "--limit", "3"]
    return run("evaluate", "--data", sample_set, *common, *arguments)


def compare(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["trimap", *map(str, arguments)])
    try:
        return trimap.main()
    except SystemExit as exit_:
        return exit_.code


def evaluation(path, mious, miou=0.8, pixels=10):
    """A metrics.json with these mIoUs by width."""
    bands = {str(w): {"miou": v, "pixel_accuracy": v, "pixels": pixels * w} for w, v in mious.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"miou": miou, "trimap": bands}))
    return path


def test_distance_from_void_is_euclidean():
    mask = np.zeros((4, 5), np.uint8)
    mask[0, 0] = 255
    mask[3, 4] = 1  # next to other classes, but with void about only void is a boundary
    rows, columns = np.mgrid[:4, :5]
    np.testing.assert_allclose(boundary_distance(mask, 255), np.hypot(rows, columns))
    assert (boundary_distance(mask, 255) <= 1).sum() == 3  # the void pixel and the two beside it: a disc, no square


def test_without_void_a_band_is_as_wide_on_both_sides_of_a_change_of_class():
    mask = np.array([[0, 0, 0, 2, 2, 2, 2]] * 3, np.uint8)
    assert boundary_distance(mask, 255).tolist() == [[3, 2, 1, 1, 2, 3, 4]] * 3
    assert boundary_distance(mask.T, 255).tolist() == np.array([[3, 2, 1, 1, 2, 3, 4]] * 3).T.tolist()
    # as a line of void would give
    with_void = np.array([[0, 0, 0, 255, 2, 2, 2, 2]] * 3, np.uint8)
    assert boundary_distance(with_void, 255)[0].tolist() == [3, 2, 1, 0, 1, 2, 3, 4]


def test_diagonal_neighbours_are_no_change():
    mask = np.array([[1, 0], [0, 0]], np.uint8)
    np.testing.assert_allclose(boundary_distance(mask, 255), [[1, 1], [1, 2]])


@pytest.mark.parametrize("mask", [NO_EDGE, NO_EDGE[:1, :1], NO_EDGE[:0]])
def test_one_class_and_no_void_has_no_band(mask):
    assert np.isinf(boundary_distance(mask, 255)).all()
    bands = BandMatrices((1, 9999), 2, 255)
    bands.update(mask, mask)
    nothing = {"miou": None, "pixel_accuracy": None, "pixels": 0}
    assert bands.summary(("a", "b")) == {"1": nothing, "9999": nothing}


def test_nothing_but_void_counts_nothing():
    bands = BandMatrices((3,), 2, 255)
    bands.update(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    assert bands.summary(("a", "b"))["3"]["pixels"] == 0


def test_miou_by_hand():
    bands = BandMatrices((1, 2), 2, 255)
    label = np.array([[0, 0, 0, 255, 1, 1, 1]])
    bands.update(label, np.array([[1, 0, 1, 0, 1, 0, 0]]))
    first, second = bands.summary(("a", "b")).values()
    # width 1: labels 0 1, predictions 1 1; width 2: labels 0 0 1 1, predictions 0 1 1 0
    assert first == {"miou": 0.25, "pixel_accuracy": 0.5, "pixels": 2}
    assert second == {"miou": 0.333333, "pixel_accuracy": 0.5, "pixels": 4}
    bands.update(label, label)  # one matrix over pictures, as for the whole
    assert bands.summary(("a", "b"))["1"] == {"miou": 0.583333, "pixel_accuracy": 0.75, "pixels": 4}


def test_a_band_that_holds_everything_is_the_whole_picture():
    random = np.random.RandomState(0)
    bands, whole = BandMatrices((1, 50), 3, 255), ConfusionMatrix(3)
    for void in (True, False):
        label, prediction = random.randint(0, 3, (2, 20, 30)).astype(np.uint8)
        label[:, :12] = 1
        if void:
            label[5:8, 20] = 255
        bands.update(label, prediction)
        whole.update(label, prediction)
    figures = whole.summary(tuple("abc"))
    near, far = bands.summary(tuple("abc")).values()
    assert far == {k: figures[k] for k in ("miou", "pixel_accuracy")} | {"pixels": int(whole.counts.sum())}
    assert 0 < near["pixels"] < far["pixels"]


def test_evaluate_with_bands(sample_set, checkpoint, tmp_path, results_dir, capsys):
    assert evaluate(sample_set, checkpoint, tmp_path / "plain") == 0
    plain = json.loads((tmp_path / "plain/metrics.json").read_text())
    assert "trimap" not in plain
    assert not (tmp_path / "plain/trimap.png").exists()
    capsys.readouterr()
    assert evaluate(sample_set, checkpoint, tmp_path / "out", "--trimap", "999,2,10,2", "--record") == 0
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    bands = metrics.pop("trimap")
    assert metrics == plain
    assert list(bands) == ["2", "10", "999"]
    assert 0 < bands["2"]["pixels"] < bands["10"]["pixels"] < bands["999"]["pixels"]
    # every sample picture has void, so the widest band is all of it
    assert bands["999"]["pixels"] == np.sum(metrics["confusion_matrix"])
    assert bands["999"]["miou"] == metrics["miou"]
    assert bands["2"]["miou"] < bands["999"]["miou"]
    assert f"mIoU within 10 pixels of the boundaries {bands['10']['miou']}  pixels" in printed
    assert printed.rstrip().endswith("out/trimap.png")
    (record,) = (results_dir / "runs").glob("*.json")  # of the same name as without bands
    assert json.loads(record.read_text())["trimap"] == bands
    assert_is_a_plot(tmp_path / "out/trimap.png")


def test_bare_trimap_is_the_papers_range(sample_set, checkpoint, tmp_path):
    assert evaluate(sample_set, checkpoint, tmp_path, "--trimap") == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics["trimap"]) == ["1", "2", "5", "10", "20", "40"]


@pytest.mark.parametrize("widths", ["abc", "0", "1,,2", "1,2.5", "-1", "1,-3", "", "10000", "٣", "1 2"])
def test_wrong_widths(sample_set, checkpoint, tmp_path, capsys, widths):
    assert evaluate(sample_set, checkpoint, tmp_path / "out", f"--trimap={widths}") == 2
    message = capsys.readouterr().err
    assert f"argument --trimap: '{widths}' is not a list of whole numbers of pixels" in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def assert_is_a_plot(path):
    with Image.open(path) as page:
        assert page.format == "PNG"
        assert page.width >= 500
        assert page.height >= 400
        pixels = np.asarray(page.convert("RGB"))
    assert pixels.std() > 5  # something is drawn


def colours(path):
    """How many pixels have each of matplotlib's first two line colours."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return [(pixels == c).all(axis=-1).sum() for c in ((31, 119, 180), (255, 127, 14))]


def test_two_evaluations_in_one_plot(tmp_path, monkeypatch, capsys):
    a = evaluation(tmp_path / "a/metrics.json", {1: 0.5, 5: 0.6, 40: 0.75})
    b = evaluation(tmp_path / "b/metrics.json", {1: 0.45, 10: None, 40: 0.74})
    out = tmp_path / "new/plot.png"
    assert compare(monkeypatch, a, b, "--labels", "decoder, no decoder", "--out", out) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert_is_a_plot(out)
    assert min(colours(out)) > 300
    alone = tmp_path / "alone.png"
    assert compare(monkeypatch, a, "--out", alone) == 0
    assert colours(alone)[0] > 300
    assert colours(alone)[1] == 0
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["plot.png"]


def test_legend_and_axes(tmp_path, monkeypatch):
    from matplotlib import pyplot

    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    evaluations = [{"miou": 0.8, "trimap": {"10": {"miou": 0.5}, "2": {"miou": 0.25}, "3": {"miou": None}}}] * 3
    trimap.plot(tmp_path / "p.svg", evaluations, ["plain", "_hidden", "a$b$"])
    (figure,) = figures
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts == [f"{name} (whole pictures: 80.00 %)" for name in ("plain", "_hidden", r"a\$b\$")]
    (axes,) = figure.axes
    assert axes.lines[0].get_xydata().tolist() == [[2, 25], [10, 50]]
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")


def test_default_labels(tmp_path):
    paths = [tmp_path / "decoder/metrics.json", tmp_path / "plain/metrics.json", tmp_path / "v1-val-123.json"]
    assert trimap.default_labels(paths) == ["decoder", "plain", "v1-val-123"]
    alike = [tmp_path / "a/eval/metrics.json", tmp_path / "b/eval/metrics.json"]
    assert trimap.default_labels(alike) == [str(p) for p in alike]


def test_a_record_is_taken_too(sample_set, checkpoint, tmp_path, results_dir, monkeypatch):
    assert evaluate(sample_set, checkpoint, tmp_path / "out", "--trimap", "2,10", "--record") == 0
    (record,) = (results_dir / "runs").glob("*.json")
    both = (tmp_path / "out/metrics.json", record)
    assert compare(monkeypatch, *both, "--out", tmp_path / "plot.png") == 0
    assert_is_a_plot(tmp_path / "plot.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("{", "is not readable JSON"),
        ("[]", "holds no trimap; evaluate again with --trimap"),
        ('{"miou": 0.5}', "holds no trimap"),
        ('{"trimap": {}}', "was not written by evaluate"),
        ('{"trimap": [1]}', "was not written by evaluate"),
        ('{"trimap": {"x": {"miou": 0.5, "pixels": 1}}}', "was not written by evaluate"),
        ('{"trimap": {"1": {"miou": "a", "pixels": 1}}}', "was not written by evaluate"),
        ('{"trimap": {"1": {"miou": NaN, "pixels": 1}}}', "was not written by evaluate"),
        ('{"trimap": {"1": {"miou": 0.5}}}', "was not written by evaluate"),
        ('{"miou": "x", "trimap": {"1": {"miou": 0.5, "pixels": 1}}}', "was not written by evaluate"),
        ('{"trimap": {"1": {"miou": 0.5, "pixels": 11}}}', "counts 11 pixels at width 1 where"),
    ],
)
def test_bad_files(tmp_path, monkeypatch, capsys, text, message):
    good, bad = evaluation(tmp_path / "a/metrics.json", {1: 0.5}), tmp_path / "bad.json"
    if text is not None:
        bad.write_text(text)
    assert compare(monkeypatch, good, bad, "--out", tmp_path / "plot.png") == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {bad}: ")
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "plot.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "a,b", "--out", "plot.png"], "--labels a,b: needs 1 names"),
        (["--labels", "", "--out", "plot.png"], "needs 1 names"),
        (["--out", "plot.bmp"], "--out plot.bmp: a plot's name ends in .png, .pdf, .svg"),
        ([], "the following arguments are required: --out"),
    ],
)
def test_wrong_arguments(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    file = evaluation(tmp_path / "metrics.json", {1: 0.5})
    assert compare(monkeypatch, file, *arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir() if p.name != "results"] == ["metrics.json"]
