"""The table of the official zoo has every checkpoint; each is read by the variant it names, and notes tell why not."""

import dataclasses
import re

import pytest

from common.downloads.manifest import read_manifest
from common.nets.network import build
from common.results import zoo
from common.tf1 import tf
from reproductions.v3plus.from_weights import fields_from_weights
from reproductions.v3plus.model import network

NOTES, TABLES = zoo.read_zoo()
CHECKPOINTS = [checkpoint for checkpoints in TABLES.values() for checkpoint in checkpoints]
STARTS = {c.weights: c for c in CHECKPOINTS if c.is_start}


def test_every_checkpoint_of_the_zoo_is_in_the_table():
    """All of the manifest's from the zoo's folder, those of 8 bit too, whose page is quantize.md."""
    official = re.compile(r"download\.tensorflow\.org/models/(deeplab|edgetpu-deeplab|xception_|resnet_v1_\d+_2018)")
    entries = read_manifest().entries
    wanted = {
        name
        for name, entry in entries.items()
        if any(official.search(source) for file in entry.files for source in file.sources)
    }
    assert wanted == {c.weights for c in CHECKPOINTS} - {"mobilenet_v2"}
    assert not [c.weights for c in CHECKPOINTS if entries[c.weights].unread]


def test_notes_are_all_used_and_all_there():
    used = {page["note"] for c in CHECKPOINTS for page in c.evaluated if "note" in page}
    assert used == NOTES.keys()


@pytest.mark.parametrize("name", STARTS)
def test_a_start_is_of_its_variants_backbone(name):
    """Names and shapes of the backbone's variables, which is all that ImageNet's checkpoints have for it."""
    recipe = STARTS[name].recipe
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 33, 33, 3]), recipe)
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
    read = {n: s for n, s in shapes.items() if not any(re.search(p, n) for p in recipe.init_not_loaded)}
    assert fields_from_weights(read)["backbone"] == recipe.backbone
    assert len({n.partition("/")[0] for n in read}) == 1


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("deeplabv3_mnv2_pascal_train_aug", ["2.15 | 23 | 16 | 1 | 2.74 | 2.75 | 0.997 |"]),
        ("edgetpu-deeplab-slim", ["2.10 |  | 32 | 1 | 3.43 | 3.5 | 0.979 [3] |", "2.10 |  | 16 | 1 | 4.32 | 4.3 |"]),
        ("xception_41", ["`model_b` (start) |"]),
    ],
)
def test_lines(monkeypatch, name, lines, tmp_path):
    chosen = [c for c in CHECKPOINTS if c.weights == name]
    chosen[0] = dataclasses.replace(chosen[0], evaluated=chosen[0].evaluated[: len(lines)])
    monkeypatch.setattr(zoo, "read_zoo", lambda: (NOTES, {"some": chosen}))
    monkeypatch.setenv("RESULTS_DIR", str(tmp_path))
    assert zoo.main(["--quiet"]) == 0
    page = (tmp_path / "zoo.md").read_text()
    assert all(line in page for line in lines), page


@pytest.mark.parametrize("name", ["edgetpu-deeplab", "edgetpu-deeplab-slim", "deeplabv3_mnv2_dm05_pascal_trainaug"])
def test_what_is_further_off_has_a_note(name):
    (checkpoint,) = (c for c in CHECKPOINTS if c.weights == name)
    for line in zoo.measure(checkpoint, {}):
        assert (abs(line.ratio - 1) > zoo.TOLERANCE) == ("note" in line.page)
