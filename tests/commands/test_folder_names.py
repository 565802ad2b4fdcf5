"""Folders whose names hold characters that are special in patterns, shells or encodings."""

import json
import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from common.data import tfrecord
from common.inference.prediction import find_pictures
from common.report import __main__ as report
from common.results.records import read_records
from common.training import run_folder
from common.weights import checkpoint_files
from common.weights.weights import Weights
from tests.helpers.tiny import run

NAMES = {
    "brackets": "run [1]",
    "stars": "st*r?",
    "shell": "q\"u'ote $HOME `x`",
    "composed": "Grüße 中",
    "decomposed": unicodedata.normalize("NFD", "Grüße"),
    "gbk": os.fsdecode("中文".encode("gbk")),
}
SHORT = ("--set", "num_steps=4", "save_interval=2", "calibration_batches=0")


@pytest.fixture(params=NAMES)
def home(request, tmp_path, sample_set, monkeypatch):
    """A working folder, a data set and results in folders of that name."""
    folder = tmp_path / NAMES[request.param]
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system does not take the name")
    shutil.copytree(sample_set, folder / "data")
    monkeypatch.setenv("RESULTS_DIR", str(folder / "results"))
    monkeypatch.chdir(folder)
    return folder


def test_everything_works_in_such_folders(home):
    data, run_dir = home / "data", home / "run"
    train = ("train", "--data", data, "--run-dir", run_dir, "--quiet")
    assert run(*train, *SHORT) == 0
    straight = Weights(run_dir / "model.ckpt-4").value("conv1/weights")
    checkpoint_files.delete(run_dir / "model.ckpt-4")
    assert run(*train, "--resume") == 0
    weights = Weights(run_dir / "model.ckpt-4")
    assert np.array_equal(weights.value("conv1/weights"), straight)
    assert list(run_dir.glob("events.*"))
    assert len(weights.digest()) == 64
    assert [entry["step"] for entry in run_folder.read_log(run_dir)] == [1, 2, 3, 4]

    assert tfrecord.main(["build", "--data", str(data), "--split", "val", "--out", str(home / "records"),
                          "--shards", "1", "--quiet"]) == 0  # fmt: skip
    begin = ("--init", run_dir / "model.ckpt-2", "--run-dir", home / "second", "--quiet")
    assert run("train", "--data", home / "records", "--split", "val", *begin, *SHORT) == 0
    assert run("predict", data / "JPEGImages", "--checkpoint", run_dir, "--out", home / "out", "--quiet") == 2
    (run_dir / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-4"\n')
    assert run("predict", data / "JPEGImages", "--checkpoint", run_dir, "--out", home / "out", "--quiet") == 0
    assert len(list((home / "out").glob("*_overlay.png"))) == len(list((data / "JPEGImages").iterdir()))

    evaluate = ("evaluate", "--data", data, "--checkpoint", run_dir / "model.ckpt-4", "--limit", "2", "--quiet")
    assert run(*evaluate, "--record", "--out", home / "evaluated", "--save-labels") == 0
    (record,) = read_records()
    assert record["evaluation"] == "evaluated"
    assert record["training"]["command"]
    assert report.main(["--data", str(data), "--quiet"]) == 0
    assert not [path for path in home.rglob("*") if path.name.startswith((".saving", ".writing", "link-"))]


def test_pictures_of_such_names_are_kept_in_runs(home):
    """What was trained on is remembered by the names' own bytes; JSON stays UTF-8."""
    own, stem = home / "own", home.name
    for folder in ("photos", "masks"):
        (own / folder).mkdir(parents=True)
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 255, (70, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(own / f"photos/{stem}{i}.jpg")
        Image.fromarray(pixels[..., 0] % 3).save(own / f"masks/{stem}{i}.png")
    (own / "dataset.yaml").write_text("name: mine\nclasses: [a, b, c]\nimages: photos\nmasks: masks\n")
    assert run("train", "--data", own, "--run-dir", home / "run", "--quiet", *SHORT) == 0
    seen = run_folder.read_pictures(home / "run")
    assert seen
    assert all(name.startswith(stem) for name in seen)
    json.loads((home / "run/train.json").read_text(encoding="utf-8"))
    assert len(find_pictures([str(own / "photos")])) == 4
