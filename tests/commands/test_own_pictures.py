"""Commands on a person's own data: masks with nothing to learn or to count, turned photographs, names of classes."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from common.data import tfrecord
from common.data.check.__main__ import main as check
from tests.helpers.own_data import drawn_set
from tests.helpers.tiny import run

SETTINGS = ("num_steps=2", "batch_size=2", "crop_size=33", "save_interval=2", "calibration_batches=0")


@pytest.fixture
def finds(tmp_path):
    """The dataset.yaml of six photographs."""
    return drawn_set(tmp_path / "finds", 6)


def void_masks(path):
    for mask in (path.parent / "masks").iterdir():
        Image.fromarray(np.full_like(np.asarray(Image.open(mask)), 255)).save(mask)


def train(path, run_dir, *settings):
    return run("train", "--data", path, "--run-dir", run_dir, "--quiet", "--set", *SETTINGS, *settings)


def test_masks_without_a_class(finds, tmp_path, results_dir, capsys):
    assert train(finds, tmp_path / "run") == 0
    checkpoint = tmp_path / "run/model.ckpt-2"
    void_masks(finds)
    capsys.readouterr()
    assert train(finds, tmp_path / "void", "class_weights=none") == 2
    assert not (tmp_path / "void").exists()
    assert "finds train: none of its 5 masks has a pixel of a class, so that there is nothing to learn" in (
        capsys.readouterr().err
    )
    assert run("evaluate", "--data", finds, "--checkpoint", checkpoint, "--out", tmp_path / "out", "--quiet") == 2
    assert "finds val: none of its 1 masks has a pixel of a class, so that nothing can be c" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not list(results_dir.rglob("*.json"))


def test_training_without_class_weights(finds, tmp_path):
    assert train(finds, tmp_path / "run", "class_weights=none") == 0
    assert '"class_weights": []' in (tmp_path / "run/recipe.json").read_text()


def test_predict_says_the_classes_of_each_picture(finds, tmp_path, capsys):
    assert train(finds, tmp_path / "run") == 0
    capsys.readouterr()
    arguments = ["--checkpoint", tmp_path / "run/model.ckpt-2", "--out", tmp_path / "out", "--quiet"]
    assert run("predict", finds.parent / "photos", *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[-1].startswith("6 of 6 pictures written to ")
    ids, counts = np.unique(np.asarray(Image.open(tmp_path / "out/find_00.png")), return_counts=True)
    names = ("background", "brick", "coin")
    expected = [f"{names[i]} {n / counts.sum():.0%}" for n, i in sorted(zip(counts, ids, strict=True), reverse=True)]
    assert lines[0] == f"find_00.jpg: {', '.join(expected)}"


def test_malformed_exif_stops_no_command(finds, tmp_path, capsys):
    """A photograph on its side whose EXIF has a text for a fraction; its mask is upright."""
    photo, mask = finds.parent / "photos/find_00.jpg", finds.parent / "masks/find_00.png"
    upright = np.asarray(Image.open(photo))
    stored = Image.fromarray(np.rot90(upright))
    stored.save(photo, quality=95)
    block = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\x1a\x01\x02\0\x03\0\0\0ab\0\0"
    data = photo.read_bytes()
    photo.write_bytes(data[:2] + b"\xff\xe1" + (len(block) + 6).to_bytes(2, "big") + block + bytes(4) + data[2:])
    assert Image.open(mask).size == upright.shape[1::-1]
    assert check([str(finds), "--quiet", "--out", str(tmp_path / "c.png")]) == 0
    assert "error" not in re.sub("0 errors", "", capsys.readouterr().out)
    assert train(finds, tmp_path / "run") == 0
    checkpoint = tmp_path / "run/model.ckpt-2"
    evaluation = ["--data", finds, "--split", "train", "--checkpoint", checkpoint, "--out", tmp_path / "e", "--quiet"]
    assert run("evaluate", *evaluation) == 0
    assert run("predict", photo.parent, "--checkpoint", checkpoint, "--out", tmp_path / "out", "--quiet") == 0
    assert Image.open(tmp_path / "out/find_00.png").size == upright.shape[1::-1]
    records = ["build", "--data", str(finds), "--split", "train", "--shards", "1", "--out", str(tmp_path / "records")]
    assert tfrecord.main(records) == 0
    assert "Warning" not in capsys.readouterr().err


def test_names_of_files_steer_no_terminal(finds, tmp_path, capsys):
    assert train(finds, tmp_path / "run") == 0
    (tmp_path / "p").mkdir()
    shutil.copy(finds.parent / "photos/find_00.jpg", tmp_path / "p/a\x1b[2J.jpg")
    (tmp_path / "p/b\x1b[2J.jpg").write_bytes(b"no picture")
    arguments = ["--checkpoint", tmp_path / "run/model.ckpt-2", "--out", tmp_path / "out", "--quiet"]
    assert run("predict", tmp_path / "p", *arguments) == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "a\\x1b[2J.jpg: " in said.out
    assert "b\\x1b[2J.jpg: " in said.err
