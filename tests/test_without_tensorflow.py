"""Commands that need no network, and refusals, do without TensorFlow: here importing it fails."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from common.cli import COMMANDS
from common.inference.picture_scores import SCORES_FILE, PictureScores
from common.reproduction import reproductions
from common.results.records import digest, dumps
from tests.conftest import ROOT
from tests.helpers.file_server import a_zip, serving
from tests.helpers.own_data import drawn_photos, drawn_set, write_labelme

# Runs each command line that it reads, a JSON list of words, and answers with its status and what it wrote.
PROGRAM = """
import contextlib, io, json, runpy, sys, warnings
for name in ("tensorflow", "tf_slim", "keras"):
    sys.modules[name] = None
warnings.simplefilter("ignore")  # runpy's, of a module that another one has imported
answers = []
if sys.argv[1:] == ["parse"]:
    import common.program
    common.program.run = lambda work: 0  # every command hands it its work when its arguments are parsed
for words in json.load(sys.stdin):
    sys.argv, status, out, err = list(words), 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            status = repr(error)
    answers.append([status, out.getvalue(), err.getvalue()])
json.dump(answers, sys.stdout)
"""
PACKAGES = ("common", "converters", "reproductions")


def run_all(commands, folder, parse_only=False):
    """[status, stdout, stderr] of each command line, run one after the other in `folder` by one process.

    With `parse_only` each command reads its arguments and does nothing.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *(["parse"] if parse_only else [])],
        input=json.dumps([[str(word) for word in words] for words in commands]),
        capture_output=True, text=True, cwd=folder, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # what their own children print stands above


def programs():
    """The modules that `python -m` runs: those that begin something when they are the program."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    begin = [path for path in paths if re.search(r"^if __name__ == .__main__.:", path.read_text(), re.MULTILINE)]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for path in begin]


def test_every_help(tmp_path):
    """Of every program and of every subcommand."""
    names = programs()
    assert {"common.results", "converters.caffe_to_tf", "reproductions.v1", "reproductions.v3plus.demo"} <= set(names)
    answers = run_all([[name, "--help"] for name in names], tmp_path)
    for name, (status, out, err) in zip(names, answers, strict=True):
        assert (status, err) == (0, ""), (name, status, out, err)
        assert out.startswith("usage: "), (name, status, out, err)
    helps = {name: out for name, (_, out, _) in zip(names, answers, strict=True)}
    # A subcommand's name stands in front of its help.
    subcommands = [
        [name, word, "--help"]
        for name, text in helps.items() if " COMMAND " in text
        for word in re.findall(r"^ {4}([a-z_]+)(?: |$)", text, re.MULTILINE)
    ]  # fmt: skip
    assert len(subcommands) >= len(COMMANDS) * len(reproductions()) + 1  # that of common.data.tfrecord
    for words, (status, out, err) in zip(subcommands, run_all(subcommands, tmp_path), strict=True):
        assert (status, err) == (0, ""), (words, status, out, err)
        assert out.startswith("usage: "), (words, status, out, err)
        helps[" ".join(words[:-1])] = out
    examples = {command: example_of(command, text) for command, text in helps.items()}
    for words, (status, out, err) in zip(
        examples.values(), run_all(examples.values(), tmp_path, parse_only=True), strict=True
    ):
        assert (status, out, err) == (0, "", ""), words
    assert not list(tmp_path.iterdir())


def example_of(command, text):
    """The words behind `python -m` of the example that ends a command's help; they begin with the command's own."""
    assert text.count("\nexample: ") == 1, text
    python, dash_m, *words = shlex.split(text.splitlines()[-1].removeprefix("example: "))
    assert (python, dash_m) == (".venv/bin/python", "-m"), text
    assert words[: len(command.split())] == command.split(), text
    return words


NO_CHECKPOINTS = {
    "words": b"once upon a time",
    "empty": b"",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(99),
    "noise": bytes(range(256)),
    "cut.index": b"\0\x10" + bytes(60),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with data of several kinds, weights that no network has, and two evaluations."""
    folder = tmp_path_factory.mktemp("work")
    np.savez(folder / "weights.npz", **{"conv/weights": np.zeros((3, 3, 3, 8), np.float32)})
    (folder / "file").write_text("in the way of a folder")
    for name, content in NO_CHECKPOINTS.items():
        (folder / name).write_bytes(content)
    (folder / "run").mkdir()
    for name in ("checkpoint", "model.ckpt-5.index", "model.ckpt-5.data-00000-of-00001"):
        (folder / "run" / name).write_text('model_checkpoint_path: "model.ckpt-5"\n')
    drawn_set(folder / "own", count=8)
    return folder


def test_commands_that_need_no_network(folder, results_dir):
    shutil.copytree(ROOT / "results/runs", results_dir / "runs")
    for name in ("published.yaml", "published_models.yaml", "models.json"):
        shutil.copy(ROOT / "results" / name, results_dir)
    ids = [evaluation(folder / name, results_dir, seed) for seed, name in enumerate(("a", "b"))]
    write_labelme(drawn_photos(folder / "outlines", 4))
    commands = [
        ["common.data.sample", "--out", "sample"],
        ["common.data.check", "sample"],
        ["common.data.check", "own"],
        ["common.data.class_weights", "--data", "sample"],
        ["common.data.class_weights", "--data", "own/dataset.yaml"],
        ["common.data.random_split", "--data", "sample", "--out", "lists"],
        ["common.data.polygons", "outlines", "--out", "painted"],
        ["common.data.prepare", "--list"],
        ["converters.fetch", "--list"],
        ["converters.inspect", "weights.npz"],
        ["common.results"],
        ["common.results.compare", *ids, "--draws", 20],
        ["common.results.compare", "a", "b", "--draws", 20],
        ["common.report", "--out", "report"],
    ]
    for words, (status, out, err) in zip(commands, run_all(commands, folder), strict=True):
        assert status == 0, (words, status, out, err)


def evaluation(folder, results_dir, seed):
    """An evaluation's folder and its record; returns the record's id."""
    rng, scores = np.random.RandomState(seed), PictureScores(21)
    for name in ("one", "two", "three"):
        scores.add(name, rng.randint(21, size=(9, 9)), rng.randint(21, size=(9, 9)))
    folder.mkdir()
    scores.save(folder / SCORES_FILE)
    record = json.loads(sorted((ROOT / "results/runs").glob("*.json"))[0].read_text())
    matrix = scores.matrix().tolist()
    record |= {"id": f"an evaluation {folder.name}", "evaluation": str(folder), "confusion_matrix": matrix}
    path = results_dir / "runs" / f"{record['id']}.json"
    path.write_text(dumps(record | {"digest": digest(record)}))
    shutil.copy(path, folder / "metrics.json")
    return record["id"]


def test_weights_are_fetched_without_up_to_their_conversion(tmp_path, monkeypatch):
    """That is a process of its own."""
    np.savez(tmp_path / "given.npz", **{"conv/weights": np.zeros((3, 3, 3, 8), np.float32)})
    archive = a_zip(tmp_path / "served.zip", {"top/w.npz": (tmp_path / "given.npz").read_bytes()})
    with serving(monkeypatch) as server:
        server.files["w.zip"] = archive.read_bytes()
        file = {"name": "w.zip", "sources": [server.url("w.zip")], "unpack": {"to": "w", "below": "top"}}
        weights = {"path": "w/*.npz", "trained_on": ["imagenet"], "checkpoint": "w.ckpt"}
        weights["convert"] = "python -m converters.inspect {path}"
        entry = {"kind": "weights", "title": "a thing", "licence": "unknown", "preprocessing": "caffe"}
        entry |= {"files": [file], "weights": [weights]}
        manifest = {"preprocessing": {"caffe": {}}, "training_sets": {"imagenet": []}, "entries": {"thing": entry}}
        (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(manifest))
        (tmp_path / "fetching.py").write_text(FETCHING)
        ((status, out, err),) = run_all([["fetching"]], tmp_path)
    assert (status, out) == (0, "weights/thing/w.ckpt\n"), err
    assert (tmp_path / "weights/thing/w/w.npz").is_file()


FETCHING = """
from pathlib import Path
from common.downloads.fetch import fetch
from common.downloads.manifest import read_manifest
print(fetch("thing", quiet=True, manifest=read_manifest(Path("manifest.yaml"))).ready[0].path)
"""


def refusals():
    """Command lines of v2 (and what only others have) that are refused, with a part of the sentence."""
    settings = {
        "nosuch=1": "no such field",
        "variant=nosuch": "no such variant",
        "num_steps=many": "needs a whole number",
        "num_steps=0": "must be at least 1",
        "num_steps": "write it as key=value",
    }
    weights = ["--checkpoint", "weights.npz"]
    whole = {
        "train": ["--data", "sample"],
        "evaluate": ["--data", "sample", "--out", "out", *weights],
        "predict": ["sample/JPEGImages", "--out", "out", *weights],
        "export": ["--out", "out", *weights],
        "describe": [],
        "reproduce": ["--data", "sample"],
    }
    for command, words in whole.items():
        yield [command, *words, "--nosuch"], "unrecognized arguments: --nosuch"
        for setting, reason in settings.items():
            yield [command, *words, "--set", setting], reason
    for command in ("train", "evaluate", "reproduce"):
        yield [command, *whole[command], "--set", "num_classes=7"], "the network's classes are not the 21 of"
        yield [command, *whole[command], "--data", "nowhere"], "--data nowhere: no such folder"
    for command in ("train", "evaluate"):
        yield [command, *whole[command], "--split", "nosuch"], "no split 'nosuch'"
    yield ["evaluate", "--merge", "nowhere"], "--merge nowhere: no such folder"
    yield ["evaluate", "--merge", "own"], "--merge own: holds no parts"
    yield ["evaluate", *whole["evaluate"], "--shard", "3/2"], "'3/2' is not I/N"
    for command in ("train", "reproduce"):
        yield [command, *whole[command], "--init", "nowhere"], "nowhere: no such weights"
        yield [command, *whole[command], "--init", "sample/sample.json"], "is no checkpoint"
        yield [command, *whole[command], "--run-dir", "file"], "--run-dir file: cannot be written"
        yield [command, *whole[command], "--run-dir", "file/run"], "--run-dir file/run: cannot be written"
    for name in (*NO_CHECKPOINTS, "cut"):
        reason = f"{name.removesuffix('.index')}: is not a readable TensorFlow checkpoint (it"
        yield ["predict", *whole["predict"], "--checkpoint", name], reason
        yield ["train", *whole["train"], "--init", name], reason
    yield ["predict", *whole["predict"], "--checkpoint", "own"], "it is a folder without checkpoints"
    yield ["train", *whole["train"], "--run-dir", "run"], "go on with --resume or choose another folder"
    yield ["train", *whole["train"], "--resume"], "--resume: there is no run"
    yield ["train", *whole["train"], "--limit", "0"], "0 is not a whole number"
    yield ["train", *whole["train"], "--set", "validation_interval=1", "val_split=nosuch"], "no split 'nosuch'"
    for command in ("evaluate", "predict"):
        yield [command, *whole[command], "--checkpoint", "nowhere"], "nowhere: no such weights"
        yield [command, *whole[command], "--checkpoint", "sample/sample.json"], "is no checkpoint"
        yield [command, *whole[command], "--out", "file"], "--out file: cannot be written"
        yield [command, *whole[command], "--scales", "big"], "big is not a list of numbers"
        yield [command, *whole[command], "--scales", "99"], "needs factors from 0.01 to 16"
    yield ["export", *whole["export"], "--checkpoint", "nowhere"], "nowhere: no such weights"
    yield ["export", *whole["export"], "--out", "file"], "--out file: cannot be written"
    yield ["export", *whole["export"], "--format", "onyx"], "'onyx' is no format"
    yield ["export", *whole["export"], "--format", "tflite", "--size", "any"], "takes pictures of one size"
    yield ["evaluate", *whole["evaluate"], "--trimap", "0"], "'0' is not a list of whole numbers"
    yield ["predict", "nowhere.jpg", *whole["predict"]], "nowhere.jpg: no such file, folder or pattern"
    yield ["predict", "own/masks", "--out", "own/masks", *weights], "would be overwritten"
    yield ["describe", "--draw", "head.png"], "is not designed in JSON"
    yield ["describe", "--table", "--set", "crf=true"], "--table: describes the networks of the papers"


def other_refusals():
    """Of the other programs."""
    simplified, tfrecord = "reproductions.v3plus_simplified", ["common.data.tfrecord", "build", "--split", "val"]
    to_tf = ["converters.caffe_to_tf", "--model", "deeplab_largefov", "--out", "x"]
    yield [simplified, "describe", "--config", "nowhere.json"], "--config nowhere.json: cannot be read"
    yield [simplified, "describe", "--config", "file"], "--config file: cannot be read"
    yield ["reproductions.v3plus", "reproduce", "--run-dir", "x"], "choose one of them by --set variant="
    yield ["reproductions.v3plus.demo", "nowhere.jpg"], "nowhere.jpg: no such file, folder or pattern"
    yield ["reproductions.v3plus.demo", "sample/JPEGImages", "--out", "file"], "--out file: cannot be written"
    yield [*tfrecord, "--data", "nowhere", "--out", "x", "--shards", 2], "--data nowhere: no such folder"
    yield [*tfrecord, "--data", "sample", "--out", "file", "--shards", 2], "--out file: cannot be written"
    yield [*tfrecord, "--data", "sample", "--out", "x", "--shards", 500], "--shards 500: must be from 1 to"
    yield [*tfrecord, "--data", "sample", "--out", "sample", "--shards", 2], "is the data folder itself"
    yield ["common.data.check", "nowhere"], "nowhere"
    yield ["common.data.class_weights", "--data", "nowhere"], "--data nowhere: no such folder"
    yield ["common.data.polygons", "nowhere", "--out", "x"], "nowhere: no such file or folder"
    yield ["common.data.prepare", "nosuch"], "invalid choice: 'nosuch'"
    yield ["common.data.prepare.coco", "--data", "nowhere", "--split", "val2017"], "nowhere"
    yield ["common.inference.crf", "--image", "a.png", "--probabilities", "a.npy", "--out", "x.png"], "no such file"
    yield ["common.inference.trimap", "a.json", "--out", "x.png"], "a.json: no such file"
    yield ["common.results.compare", "nosuch", "b"], "nosuch: is no record"
    yield ["common.results.eval_all", "--data", "nowhere"], "--data nowhere: no such folder"
    yield ["common.results.models", "nosuch"], "nosuch: no such reproduction"
    yield ["converters.fetch", "nosuch"], "nosuch is not in the manifest"
    yield ["converters.inspect", "nowhere"], "nowhere: no such weights"
    yield [*to_tf, "--caffemodel", "nowhere"], "nowhere"
    yield ["converters.caffe_to_onnx", "--prototxt", "nowhere", "--out", "x"], "nowhere"
    yield ["converters.onnx_to_tf", "--onnx", "nowhere", "--reproduction", "v1", "--out", "x"], "nowhere"
    yield ["converters.keras_to_tf", "--weights", "nowhere", "--out", "x"], "nowhere: no such weight file"
    yield ["converters.tfjs_to_tf", "nowhere", "--out", "x"], "nowhere: no such model"
    yield ["converters.torch_to_tf", "--weights", "nowhere", "--out", "x"], "nowhere: no such weight file"
    yield ["converters.torch_to_tf", "--weights", "file", "--out", "x"], "file: is not a PyTorch file"


def test_every_refusal(folder):
    """Status 2 and one sentence that names what is wrong; nothing is left behind."""
    cases = [(["reproductions.v2", *words], reason) for words, reason in refusals()]
    cases += other_refusals()
    drawn = [["common.data.sample", "--out", "sample"]]
    before = sorted(folder.rglob("*"))
    answers = run_all(drawn + [words for words, _ in cases], folder)[1:]
    for (words, reason), (status, out, err) in zip(cases, answers, strict=True):
        assert status == 2, (words, status, out, err)
        assert not out, (words, status, out, err)
        assert err.startswith("error: "), (words, status, out, err)
        assert err.count("\n") == 1, (words, status, out, err)
        assert reason in err, (words, err)
    left = [path for path in sorted(folder.rglob("*")) if path not in before and "sample" not in path.parts]
    assert not left
