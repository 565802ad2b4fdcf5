"""No command replaces or empties what it did not make: one sentence, status 2, and every file as it was."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from common.data import class_weights, random_split, sample, tfrecord
from common.data.check.__main__ import main as check
from common.data.figures import drawn_by_us
from common.errors import UserError
from common.inference import crf, trimap
from common.weights import checkpoints
from converters import caffe_to_onnx, tfjs_to_tf
from reproductions.v3plus import demo
from tests.helpers import tiny
from tests.helpers.own_data import drawn_set


@pytest.fixture(scope="module")
def made(sample_set, tmp_path_factory):
    """A folder with a tiny run, a data set of one's own, and an evaluation's figures."""
    folder = tmp_path_factory.mktemp("made")
    run = ["train", "--data", sample_set, "--run-dir", folder / "run", "--quiet", "--set", "num_steps=1"]
    assert tiny.run(*run) == 0
    drawn_set(folder / "own", 3)
    with Image.open(folder / "own/photos/find_00.jpg") as image:
        np.save(folder / "p.npy", np.full((image.height, image.width, 2), 0.5, np.float32))
    bands = {"1": {"miou": 0.5, "pixel_accuracy": 0.5, "pixels": 10}}
    (folder / "metrics.json").write_text(json.dumps({"miou": 0.8, "trimap": bands}))
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)


def text(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"mine": "notes"}')


def arguments_of(made, data, out):
    """For each command its function, its words, and the file of somebody else that it would replace."""
    evaluate = ["evaluate", "--data", data, "--checkpoint", made / "run/model.ckpt-1", "--out", out, "--quiet",
                "--limit", "2", "--save-labels", "--save-results", "--trimap"]  # fmt: skip
    stem = (data / "ImageSets/Segmentation/val.txt").read_text().split()[0] if data.is_dir() else ""
    train = ["train", "--data", data, "--quiet", "--set", "num_steps=1", "--run-dir", out]
    build = ["build", "--data", data, "--split", "val", "--shards", "2", "--out", out, "--quiet"]
    own = made / "own/dataset.yaml"
    field = ["describe", "--size", "33", "--limit", "1", "--receptive-field", out / "a.png"]
    photo = made / "own/photos/find_00.jpg"
    predict = ["predict", photo, "--checkpoint", made / "run/model.ckpt-1", "--out", out, "--quiet"]
    export = ["export", "--checkpoint", made / "run/model.ckpt-1", "--out", out, "--quiet", "--limit", "1"]
    refine = ["--image", photo, "--probabilities", made / "p.npy", "--out", out, "--iterations", "1"]
    return {
        "evaluate metrics": (tiny.run, evaluate, "metrics.json"),
        "evaluate labels": (tiny.run, evaluate, f"labels/{stem}.png"),
        "evaluate panels": (tiny.run, evaluate, f"results/{stem}.png"),
        "evaluate scores": (tiny.run, evaluate, "pictures.npz"),
        "evaluate record": (tiny.run, evaluate, "record.json"),
        "evaluate trimap": (tiny.run, evaluate, "trimap.png"),
        "export": (tiny.run, export, "model.pb"),
        "export summary": (tiny.run, export, "export.json"),
        "describe": (tiny.run, field, "a.png"),
        "train log": (tiny.run, train, "log.jsonl"),
        "train recipe": (tiny.run, train, "recipe.json"),
        "train summary": (tiny.run, [*train, "--resume"], "train.json"),
        "trimap": (trimap.main, [made / "metrics.json", "--out", out / "a.png"], "a.png"),
        "tfrecord": (tfrecord.main, build, "val.json"),
        "sample": (sample.main, ["--out", out], "ImageSets/Segmentation/train.txt"),
        "random_split": (random_split.main, ["--data", data, "--out", out], "random_val.txt"),
        "class_weights": (class_weights.main, ["--data", own, "--quiet", "--out", out / "w.json"], "w.json"),
        "check chart": (check, [own, "--quiet", "--out", out], "class_frequencies.png"),
        "check json": (check, [own, "--quiet", "--out", out / "c", "--json", out / "a.json"], "a.json"),
        "onnx": (caffe_to_onnx.main, ["--prototxt", "a", "--caffemodel", "b", "--out", out / "a.onnx"], "a.onnx"),
        "predict logits": (tiny.run, [*predict, "--save-logits"], "find_00.npy"),
        "predict probabilities": (tiny.run, [*predict, "--save-probabilities"], "find_00_probabilities.npy"),
        "crf marginals": (crf.main, [*refine, "--save-marginals"], "find_00.npy"),
        "demo sheet": (demo.main, [made / "own/photos", "--out", out, "--quiet"], "demo.png"),
        "demo figure": (demo.main, [made / "own/photos", "--out", out / "o", "--figure", out / "f.jpg"], "f.jpg"),
    }


@pytest.mark.parametrize("what", arguments_of(*[sample.SAMPLE_DIR] * 3))
def test_somebody_elses_file_stays(what, made, sample_set, tmp_path, capsys):
    out = tmp_path / "out"
    command, words, name = arguments_of(made, sample_set, out)[what]
    (picture if name.endswith((".png", ".jpg")) else text)(out / name)
    before = contents(tmp_path)
    assert command([*map(str, words)]) == 2 if command is not tiny.run else command(*words) == 2
    said = capsys.readouterr().err
    assert name.rpartition("/")[2] in said
    assert [line.startswith("error: ") for line in said.splitlines()] == [True]
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "what", ["predict logits", "predict probabilities", "crf marginals", "evaluate labels", "export", "describe",
             "trimap",
             "tfrecord", "sample", "random_split", "class_weights", "check chart", "check json"],
)  # fmt: skip
def test_ones_own_results_are_written_again(what, made, sample_set, tmp_path):
    out = tmp_path / "out"
    command, words, name = arguments_of(made, sample_set, out)[what]
    for _ in range(2):
        assert (command(*words) if command is tiny.run else command([*map(str, words)])) == 0
    if name.endswith(".png"):
        assert drawn_by_us(out / name)
    (out / "metrics.json").unlink(missing_ok=True)  # as when an evaluation was killed: its pictures have notes
    (out / "pictures.npz").unlink(missing_ok=True)
    assert (command(*words) if command is tiny.run else command([*map(str, words)])) == 0


def test_a_killed_drawing_of_the_sample_set_is_drawn_again(sample_set, tmp_path):
    shutil.copytree(sample_set / "JPEGImages", tmp_path / "JPEGImages")
    assert sample.main(["--out", str(tmp_path)]) == 0
    assert (tmp_path / sample.MARKER).exists()


def test_a_checkpoint_of_a_training_is_no_converters(made, tmp_path):
    before = contents(made / "run")
    with pytest.raises(UserError, match="no converter's checkpoint"):
        checkpoints.write(made / "run/model.ckpt-1", {"a": np.ones(1)})
    assert contents(made / "run") == before
    for value in (1.0, 2.0):
        checkpoints.write(tmp_path / "x", {"a": np.full(1, value)})


def test_an_npz_of_somebody_else_stays(tmp_path):
    np.savez(tmp_path / "a.npz", mine=1)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="not written by this converter"):
        tfjs_to_tf.write_npz(tmp_path / "a.npz", {})
    assert contents(tmp_path) == before
    for _ in range(2):
        tfjs_to_tf.write_npz(tmp_path / "b.npz", {"x": np.ones(2, np.float32)})
