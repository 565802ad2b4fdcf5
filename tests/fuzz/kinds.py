"""What is fuzzed: for each kind the files that are right, those to damage, and the command lines that read them."""

import contextlib
import gzip
import importlib
import io
import json
import pickle
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common import program
from common.results import published
from tests.conftest import ROOT
from tests.fuzz.mutations import hostile
from tests.helpers import archive_sets, caffe_models, tfjs_models, tiny
from tests.helpers.own_data import drawn_photos, drawn_set, write_labelme

Command = list[str]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
      files: patterns of the files of which one is damaged.
      commands: of which one reads them; the first word is a module, or the name of a function in CALLS.
      share: how often it is drawn.
    """

    files: tuple[str, ...]
    commands: tuple[Command, ...]
    share: int = 2


def _inspect(*names: str) -> tuple[Command, ...]:
    return tuple(["converters.inspect", name] for name in names)


PREDICT = ["tiny", "predict", "photos/find_01.png", "photos/exif.jpg", "photos/turned.tif", "--out", "out", "--quiet"]
PREDICT_ONE = ["tiny", "predict", "photos/find_01.png", "--out", "out", "--quiet"]
CHECK = ["common.data.check", "own/dataset.yaml", "--quiet", "--out", "c.png"]
KINDS = {
    "caffe": Kind(("net.*",), (
        ["converters.caffe_to_onnx", "--prototxt", "net.prototxt", "--caffemodel", "net.caffemodel", "--out", "o.onnx"],
        ["converters.inspect", "net.caffemodel"],
    ), 4),
    "onnx": Kind(("w.onnx",), _inspect("w.onnx")),
    "frozen": Kind(("g.pb",), _inspect("g.pb")),
    "tfjs": Kind(("model/*",), _inspect("model/model.json")),
    "arrays": Kind(("w.npz", "w.pickle", "w.h5"), _inspect("w.npz", "w.pickle", "w.h5"), 4),
    "checkpoint": Kind(("ck/*",), (*_inspect("ck/model.ckpt-1"), [*PREDICT, "--checkpoint", "ck/model.ckpt-1"])),
    "network file": Kind(("net/*",), tuple(
        [*PREDICT_ONE, "--checkpoint", f"net/{name}"] for name in ("model.pb", "model.onnx", "model.tflite")), 4),
    "SavedModel": Kind(("net/saved_model/saved_model.pb",), ([*PREDICT_ONE, "--checkpoint", "net/saved_model"],)),
    "dataset.yaml": Kind(("own/dataset.yaml",), (CHECK,), 4),
    "pictures": Kind(("own/photos/*", "own/masks/*"), (CHECK,), 3),
    "one picture": Kind(("photos/find_01.png", "photos/exif.*", "photos/turned.*"), (
        [*PREDICT, "--checkpoint", "ck/model.ckpt-1"],)),
    "lists": Kind(("own/list.txt",), (
        ["common.data.class_weights", "--data", "own/dataset.yaml", "--split", "own/list.txt"],)),
    "labelme": Kind(("outlines/*",), (["common.data.polygons", "outlines", "--out", "painted", "--quiet"],), 3),
    "coco": Kind(("coco/coco.json",), (["common.data.polygons", "coco/coco.json", "--out", "painted", "--quiet"],), 3),
    "published": Kind(("published.yaml",), (["published", "published.yaml"],), 3),
    "records": Kind(("results/runs/*",), (["common.results"],), 3),
    "recipe": Kind(("recipe.json",), (["recipe", "recipe.json"],), 3),
    "cell": Kind(("cell.json",), (["cell", "cell.json"],)),
    "design": Kind(("design.json",), (["design", "design.json"],)),
    "tfrecord": Kind(("shards/*",), (
        ["common.data.class_weights", "--data", "shards", "--split", "train", "--dataset", "own/dataset.yaml"],), 3),
    "archive": Kind(("a.zip", "a.tar", "a.tgz"), (["unpack", "a.zip"], ["unpack", "a.tar"], ["unpack", "a.tgz"]), 3),
    "scores": Kind(("scores.npz", "p.npy"), (
        ["common.results.compare", "scores.npz", "scores.npz", "--draws", "20"],
        ["common.inference.crf", "--image", "photos/find_01.png", "--probabilities", "p.npy", "--out", "x.png"])),
}  # fmt: skip


def _published(path: str) -> None:
    published.read_published(Path(path))


def _recipe(path: str) -> None:
    from common.files import read_json
    from reproductions.v3plus.variants import VARIANTS

    data = read_json(Path(path))
    type(VARIANTS["pascal"]).from_json(data if isinstance(data, dict) else {"variant": data}, path)


def _cell(path: str) -> None:
    from common.recipe.cell import given_cell, read_cell

    read_cell(given_cell(path))


def _design(path: str) -> None:
    from reproductions.v3plus_simplified.config import settings

    settings(Path(path))


def _unpack(path: str) -> None:
    from common.downloads.archives import unpack

    unpack(Path(path), Path("unpacked"))


CALLS: dict[str, Callable[..., None]] = {
    "published": _published, "recipe": _recipe, "cell": _cell, "design": _design, "unpack": _unpack,
}  # fmt: skip


def call(command: Command) -> int:
    """Run a command line in this process; returns its exit status."""
    name, *words = command
    if name in CALLS:
        return program.run(lambda: CALLS[name](*words))
    if name == "tiny":
        return tiny.run(*words)
    try:
        if name.startswith("reproductions.") and name.count(".") == 1:
            from common.cli import main

            return main(importlib.import_module(name).REPRODUCTION, words)
        return main_of(name)(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0


def main_of(name: str) -> Callable[[list[str]], int]:
    """The `main` of a program."""
    module = importlib.import_module(name)
    return getattr(module, "main", None) or importlib.import_module(f"{name}.__main__").main


PROGRAMS = (
    "common.data.check", "common.data.class_weights", "common.data.polygons", "common.data.prepare.coco",
    "common.data.random_split", "common.data.sample", "common.data.tfrecord", "common.inference.crf",
    "common.inference.trimap", "common.report", "common.results.compare", "converters.caffe_to_onnx",
    "converters.caffe_to_tf", "converters.frozen_to_tf", "converters.inspect", "converters.keras_to_tf",
    "converters.onnx_to_tf", "converters.tfjs_to_tf", "converters.tflite_to_tf", "converters.torch_to_tf",
    *(f"reproductions.{name} {command}" for name in ("v1", "v2", "v3", "v3plus", "v3plus_simplified")
      for command in ("train", "evaluate", "predict", "export", "describe", "reproduce")),
)  # fmt: skip
# Without these a program does at once what takes minutes: it trains on the sample set, or builds a network to describe.
ALWAYS = {"reproduce": ("--data", "nowhere"), "describe": ("--set", "num_steps=-1"), "train": ("--data", "nowhere")}


def flags_of(name: str) -> list[str]:
    """The flags that `--help` tells of a program."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        call([*name.split(), "--help"])
    return sorted(set(re.findall(r"--[a-z][a-z-]+", said.getvalue())) - {"--help"})


def hostile_command(flags: dict[str, list[str]], rng: random.Random) -> Command:
    """A command line of a program that has some of its flags with hostile values, some twice, and hostile words."""
    name = rng.choice(sorted(flags))
    words = name.split()
    command = words + [hostile(rng) for _ in range(rng.choice((0, 0, 1, 2)))]
    for _ in range(rng.randrange(1, 7)):
        flag = rng.choice(flags[name] or ["--nosuch"])
        command += [flag] if rng.random() < 0.15 else [flag, hostile(rng)]
    return command + list(ALWAYS.get(words[-1], ()))


def write_right_files(folder: Path) -> None:
    """The files of all kinds, whole."""
    folder.mkdir(parents=True)
    convolution = caffe_models.conv("num_output: 4 kernel_size: 3 pad: 1", (4, 3, 3, 3), (4,))
    caffe_models.write_pair(folder, [convolution, caffe_models.pool("kernel_size: 2 stride: 2")])
    pair = [f"--{name}={folder / f'net.{name}'}" for name in ("prototxt", "caffemodel")]
    call(["converters.caffe_to_onnx", *pair, f"--out={folder / 'w.onnx'}"])
    (folder / "g.pb").write_bytes(tfjs_models.small_graph(tfjs_models.constants()).SerializeToString())
    graph, values = tfjs_models.emptied(tfjs_models.small_graph(tfjs_models.constants()))
    tfjs_models.write_model(folder / "model", graph, values)
    arrays = {"conv/weights": np.ones((3, 3, 3, 8), np.float32), "conv/biases": np.zeros(8, np.float32)}
    np.savez(folder / "w.npz", **arrays)
    (folder / "w.pickle").write_bytes(pickle.dumps(arrays, protocol=2))
    _write_h5(folder / "w.h5", arrays)
    _write_data(folder)
    with Image.open(folder / "photos/find_01.png") as picture:
        np.save(folder / "p.npy", np.full((picture.height, picture.width, 3), 1 / 3, np.float32))
    _write_results(folder)
    cell = [{"op": "conv", "kernel": 3, "rate": [1, 6], "input": -1}]
    (folder / "cell.json").write_text(json.dumps([*cell, {"op": "pyramid_pooling", "grid_size": [4, 4], "input": 0}]))
    (folder / "a.zip").write_bytes(archive_sets.a_zip({"a/b.txt": b"x" * 500, "c.txt": b"y"}))
    tar = archive_sets.a_tar({"a/b.txt": b"x" * 500, "c.txt": b"y"})
    (folder / "a.tar").write_bytes(tar)
    (folder / "a.tgz").write_bytes(gzip.compress(tar, mtime=0))
    (folder / "file").write_text("words")
    (folder / "folder").mkdir()


def _write_h5(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = [name.encode() for name in arrays]
        for name, value in arrays.items():
            group.create_dataset(name, data=value)


def _write_data(folder: Path) -> None:
    drawn_set(folder / "own", count=6)
    (folder / "own/list.txt").write_text("".join(f"find_{i:02d}\n" for i in range(6)))
    photos = drawn_photos(folder / "photos", 2)
    write_labelme(drawn_photos(folder / "outlines", 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photos[0]) as picture:
        for name in ("exif.jpg", "turned.tif"):
            picture.convert("RGB").save(folder / "photos" / name, exif=exif)
    (folder / "coco").mkdir()
    shutil.copy(photos[1], folder / "coco/a.png")
    shape = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [[5, 5, 40, 5, 40, 40]]}
    run_length = {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 1}
    with Image.open(photos[1]) as picture:
        size = {"width": picture.width, "height": picture.height}
    run_length["segmentation"] = {"size": [size["height"], size["width"]], "counts": [size["height"] * size["width"]]}
    coco = {"images": [{"id": 1, "file_name": "a.png", **size}], "categories": [{"id": 1, "name": "coin"}]}
    (folder / "coco/coco.json").write_text(json.dumps(coco | {"annotations": [shape, run_length]}))
    build = ["common.data.tfrecord", "build", "--data", str(folder / "own/dataset.yaml"), "--split", "train"]
    assert call([*build, "--shards", "2", "--out", str(folder / "shards")]) == 0


def _write_results(folder: Path) -> None:
    from common.inference.picture_scores import PictureScores
    from common.nets.network import build
    from common.tf1 import tf
    from common.weights import checkpoints
    from reproductions.v3plus.variants import VARIANTS
    from tests.helpers.tiny import SMALL, TINY
    from tests.reproductions.test_v3plus_simplified import ARCH, CONF, HPS

    (folder / "results/runs").mkdir(parents=True)
    for path in sorted((ROOT / "results/runs").glob("*.json"))[:3]:
        shutil.copy(path, folder / "results/runs")
    shutil.copy(ROOT / "results/published.yaml", folder)
    (folder / "recipe.json").write_text(json.dumps(VARIANTS["pascal"].to_json()))
    (folder / "design.json").write_text(json.dumps({**CONF, "hps": HPS, "nn_arch": ARCH}))
    rng, scores = np.random.RandomState(1), PictureScores(3)
    for name in ("one", "two"):
        scores.add(name, rng.randint(3, size=(9, 9)), rng.randint(3, size=(9, 9)))
    scores.save(folder / "scores.npz")
    with tf.Graph().as_default():
        build(TINY.load_network(), tf.zeros([1, 65, 65, 3]), SMALL)
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    values = {name: np.full(shape, 0.1, np.float32) for name, shape in shapes.items()}
    checkpoints.write(folder / "ck/model.ckpt-1", values, SMALL)
    words = ["--format", "frozen,savedmodel,onnx,tflite", "--size", "65x65", "--limit", "1", "--quiet"]
    assert (
        call(["tiny", "export", "--checkpoint", str(folder / "ck/model.ckpt-1"), "--out", str(folder / "net"), *words])
        == 0
    )
