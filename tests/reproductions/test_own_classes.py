"""The tutorial of common/data/README.md: from outlines on photographs, three classes, to predictions."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import cli
from common.data import class_weights, tfrecord
from common.data.check import __main__ as check
from common.data.lists import card_by_name, read_split
from common.data.polygons import __main__ as polygons
from common.downloads.fetch import folder_of
from common.downloads.manifest import read_manifest
from common.training import run_folder
from common.weights.weights import Weights
from reproductions.v3plus import REPRODUCTION
from tests.conftest import ROOT
from tests.helpers import own_data, tiny

# Small enough for a test; everything else is the tutorial's.
SMALL = ["backbone=mobilenet_v2", "atrous_rates=", "decoder=false", "crop_size=97", "eval_size=native", "batch_size=2",
         "save_interval=2"]  # fmt: skip


def v3plus(*arguments):
    try:
        return cli.main(REPRODUCTION, [str(a) for a in arguments])
    except SystemExit as exit_:
        return exit_.code


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """Photographs with labelme's files beside them, in a folder that is the working folder."""
    monkeypatch.chdir(tmp_path)
    own_data.write_labelme(own_data.drawn_photos(tmp_path / "photos"))
    return tmp_path


def test_the_readme_has_these_commands():
    text = (ROOT / "common/data/README.md").read_text()
    for command in (
        "python -m common.data.polygons photos --out their",
        "python -m common.data.check their/dataset.yaml",
        "make reproduce-v3plus DATA=their/dataset.yaml",
        "python -m reproductions.v3plus predict new/*.jpg --checkpoint RUN_DIR/model.ckpt-STEPS",
    ):
        assert command in text
    weights = read_manifest().entry("max_image_segmenter")
    assert f"INIT={folder_of(weights) / weights.weights[0].checkpoint} STEPS=300" in text
    settings = re.search(r'SET="([^"]*)"', text)[1].split()
    assert REPRODUCTION.recipe_to_train(settings).batch_size == 4  # every key is one


def test_from_outlines_to_predictions(labelled, capsys, monkeypatch):
    assert polygons.main(["photos", "--out", "their", "--classes", "brick,coin", "--quiet"]) == 0
    assert check.main(["their/dataset.yaml", "--quiet"]) == 0
    assert (
        v3plus(
            "reproduce", "--data", "their/dataset.yaml", "--run-dir", "run", "--steps", 2, "--quiet", "--set", *SMALL
        )
        == 0
    )
    weights = Weights("run/model.ckpt-2")
    assert weights.shapes["logits/conv/weights"][3] == 3
    assert len(weights.recipe()["class_weights"]) == 3
    metrics = json.loads(Path("run/evaluation/metrics.json").read_text())
    assert set(metrics["per_class_iou"]) == {"background", "brick", "coin"}
    assert metrics["images"] == 5
    assert v3plus("predict", "photos/find_00.jpg", "--checkpoint", "run/model.ckpt-2", "--out", "out", "--quiet") == 0
    assert np.asarray(Image.open("out/find_00.png")).max() < 3
    # Elsewhere, and when the data set is gone, the run folder's copy has the classes.
    (labelled / "elsewhere").mkdir()
    monkeypatch.chdir(labelled / "elsewhere")
    (labelled / "their/dataset.yaml").unlink()
    assert (
        v3plus("predict", "../photos/find_01.png", "--checkpoint", "../run/model.ckpt-2", "--out", "o", "--quiet") == 0
    )


def test_a_whole_network_keeps_all_but_its_last_layer(sample_set, labelled):
    """A checkpoint of VOC's 21 classes starts a training on three."""
    scratch = ["--set", "variant=scratch", "num_steps=1", *SMALL]
    assert v3plus("train", "--data", sample_set, "--run-dir", "voc", "--quiet", *scratch) == 0
    yaml = own_data.drawn_set(labelled / "their")
    assert v3plus("train", "--data", yaml, "--run-dir", "own", "--init", "voc/model.ckpt-1", "--quiet", "--set",
                  "num_steps=1", "learning_rate=1e-9", *SMALL) == 0  # fmt: skip
    before, after = Weights("voc/model.ckpt-1"), Weights("own/model.ckpt-1")
    assert before.shapes["logits/conv/weights"][3] == 21
    assert after.shapes["logits/conv/weights"][3] == 3
    for name in ("aspp_0/weights", "MobilenetV2/Conv/weights"):
        np.testing.assert_allclose(after.value(name), before.value(name), atol=1e-6)


def test_every_command_takes_the_file(labelled, capsys):
    """A folder that holds it is the same; a run goes on without its classes being said again."""
    yaml = own_data.drawn_set(labelled / "their")
    for data in (yaml, yaml.parent):
        run = labelled / f"run-{data.name}"
        assert (
            tiny.run("train", "--data", data, "--run-dir", run, "--quiet", "--set", "num_steps=3", "save_interval=1")
            == 0
        )
        assert run_folder.read_summary(run)["data"] == "finds train"
        for file in run.glob("model.ckpt-[23]*"):
            file.unlink()
        assert tiny.run("train", "--data", data, "--run-dir", run, "--quiet", "--resume") == 0
        assert tiny.run("evaluate", "--data", data, "--checkpoint", run / "model.ckpt-3", "--out", "e", "--quiet") == 0
    assert class_weights.main(["--data", str(yaml), "--split", "train", "--quiet"]) == 0
    assert "coin" in capsys.readouterr().out
    assert (
        tfrecord.main(
            ["build", "--data", str(yaml), "--split", "train", "--shards", "2", "--out", "records", "--quiet"]
        )
        == 0
    )
    records = read_split(card_by_name(str(yaml)), Path("records"), "train")
    folder = read_split(card_by_name(str(yaml)), yaml.parent, "train")
    assert len(records.pairs) == len(folder.pairs) == 19
    np.testing.assert_array_equal(records.read(3)[1], folder.read(3)[1])


def test_photographs_that_came_later_are_another_run(labelled, capsys):
    yaml = own_data.drawn_set(labelled / "their", 4)
    yaml.write_text(yaml.read_text() + "val_share: 0\n")
    arguments = ["train", "--data", yaml, "--run-dir", "run", "--quiet", "--set", "num_steps=2", "save_interval=1"]
    assert tiny.run(*arguments) == 0
    for file in Path("run").glob("model.ckpt-2*"):
        file.unlink()
    for folder, suffix in (("photos", ".jpg"), ("masks", ".png")):
        shutil.copy(labelled / f"their/{folder}/find_00{suffix}", labelled / f"their/{folder}/find_09{suffix}")
    assert tiny.run(*arguments, "--resume") == 2
    error = capsys.readouterr().err
    assert ", the pictures changed); resume with" in error


def test_pictures_of_one_stem_in_two_folders_are_two(labelled):
    """train/a.jpg and val/a.jpg are different pictures: nothing was seen."""
    for part in ("train", "val"):
        own_data.drawn_set(labelled / part, 6)
    folders = {part: {"images": f"{part}/photos", "masks": f"{part}/masks"} for part in ("train", "val")}
    Path("dataset.yaml").write_text(json.dumps({"name": "two", "classes": list(own_data.CLASSES), "splits": folders}))
    assert tiny.run("train", "--data", "dataset.yaml", "--run-dir", "run", "--quiet", "--set", "num_steps=1") == 0
    assert (
        tiny.run("evaluate", "--data", "dataset.yaml", "--checkpoint", "run/model.ckpt-1", "--out", "e", "--quiet") == 0
    )
    assert not (labelled / "results").exists()
    record = labelled / "e/record.json"
    assert json.loads(record.read_text())["marks"] == {}
