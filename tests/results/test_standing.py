"""Which records stand beside published rows: records and runs are written as commands write them."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from common.data.lists import card_by_name
from common.data.split import Split
from common.downloads.manifest import read_manifest
from common.downloads.origin import on_disk, origin_of, write_origin
from common.reproduction import reproductions
from common.results import eval_all, known, matching, records
from common.results.published import read_published
from common.training.run_folder import read_pictures
from common.training.start import write_summary
from common.weights import checkpoints
from common.weights.weights import Weights
from tests.helpers.tiny import run

TITLE = "arXiv 1706.05587 table 6"
ZOO = "tensorflow/models research/deeplab model zoo"


@pytest.fixture(scope="module")
def rows():
    return read_published()


@pytest.fixture
def folder(tmp_path, monkeypatch, results_dir):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(rows, source, miou, **protocol):
    (row,) = (
        r for r in rows
        if r.table.source == source and r.miou == miou and all(getattr(r.protocol, k) == v for k, v in protocol.items())
    )  # fmt: skip
    return row


def split_of(dataset, name, count=None):
    """A split of the official size, or of `count` pictures, which nobody reads."""
    card = card_by_name(dataset)
    count = card.split_sizes[name] if count is None else count
    return Split(card, name, tuple((Path(f"{name}{i}.jpg"), Path(f"{name}{i}.png")) for i in range(count)), False)


def weights_of(path, recipe=None, value=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.write(path, {"w": np.full(3, value, np.float32)}, recipe)
    return Weights(path)


def fetched(name, value=0.0, file=None, note=True):
    """Weights where `make weights NAME=...` puts them, with its note."""
    entry = read_manifest().entry(name)
    (weights,) = (w for w in entry.weights if file is None or file in w.path)
    pattern = weights.checkpoint or weights.path
    path = Path("weights", name, pattern.replace("**/", "").replace("*.ckpt*.index", "model.ckpt"))
    opened = weights_of(path, value=value)
    if note:
        write_origin(entry, weights, path)
    return opened


def evaluated(reproduction, recipe, weights, split=None, **options):
    """The record that `evaluate` writes of these weights."""
    split = split or split_of("voc2012", "val")
    metrics = {
        "protocol": recipe.at_evaluation().protocol(), "images": len(split.pairs), "miou": 0.5, "pixel_accuracy": 0.5,
        "per_class_iou": {"a": 0.5}, "confusion_matrix": [[1]],
    }  # fmt: skip
    known = records.facts(reproduction, recipe, split, weights, len(split.pairs), **options)
    how = records.circumstances(recipe, weights, 1, "python -m reproductions.v3 evaluate")
    is_beside = records.why_beside(known, weights.path, is_own=bool(split.card.source)) is not None
    path = records.write_record(known, metrics, how, Path("out"), is_beside)
    return records.read_record(path)


def trained(row, init, train_split=None, run_dir="runs/x", val_unseen=False, **changes):
    """The record of a run that trains as a row says, but for `changes` and the pictures, and is evaluated so."""
    reproduction = reproductions()[row.table.reproduction]
    nearest, settings = matching.recipe_for(row)
    recipe = nearest.derive(**{**settings, **row.protocol.changes(nearest), **changes})
    split = train_split or split_of(recipe.dataset, recipe.train_split)
    write_summary(Path(run_dir), split, init, "python -m reproductions.v3 train", None, val_unseen)
    weights = weights_of(Path(run_dir, f"model.ckpt-{recipe.num_steps}"), recipe)
    return evaluated(reproduction, recipe, weights)


def test_a_run_by_the_printed_command_fills_its_row(rows, folder):
    """Its first weights were fetched: what they have seen is known."""
    row = named(rows, TITLE, 77.21)
    record = trained(row, fetched("resnet_v1_101"))
    assert record["marks"] == {}
    assert record["training"]["init_origin"] == "resnet_v1_101/resnet_v1_101.ckpt"
    assert record["training"]["init_trained_on"] == ["imagenet"]
    assert matching.matches(row, record)
    assert not matching.matches(named(rows, TITLE, 78.51), record)


def test_a_run_from_a_fetched_run_s_weights_knows_too(rows, folder):
    row = named(rows, TITLE, 77.21)
    trained(row, fetched("resnet_v1_101"), run_dir="runs/first")
    again = trained(row, Weights(Path("runs/first/model.ckpt-30000")), run_dir="runs/second")
    assert again["marks"] == {}
    assert not matching.matches(row, again)  # from other weights than the row's


def test_weights_that_have_seen_val_are_marked_in_runs_too(rows, folder):
    """The user's word does not change that; another file in their place is unknown."""
    row, weights = named(rows, TITLE, 77.21), fetched("deeplabv3_pascal_trainval")
    assert trained(row, weights)["marks"] == {"val_seen": True}
    assert trained(row, weights, run_dir="runs/said", val_unseen=True)["marks"] == {"val_seen": True}
    other = weights_of(weights.path, value=1)
    assert trained(row, other, run_dir="runs/other")["marks"] == {"val_seen": "unknown"}


def test_weights_from_elsewhere_are_known_by_the_users_word(rows, folder):
    """`--val-unseen` of the run is remembered."""
    row = named(rows, TITLE, 77.21)
    mine = weights_of(Path("mine/model.ckpt"))
    assert trained(row, mine)["marks"] == {"val_seen": "unknown"}
    record = trained(row, mine, run_dir="runs/y", val_unseen=True)
    assert record["marks"] == {}
    assert record["training"]["init_val_unseen"] is True
    assert not matching.matches(row, record)


def test_train_takes_the_users_word(sample_set, tmp_path, capsys):
    """And with no weights to speak of it is refused."""
    arguments = ["train", "--data", sample_set, "--quiet", "--set", "num_steps=1"]
    assert run("train", "--data", sample_set, "--run-dir", tmp_path / "no", "--val-unseen") == 2
    assert "--val-unseen: speaks of the weights of --init" in capsys.readouterr().err
    assert run(*arguments, "--run-dir", tmp_path / "first") == 0
    (tmp_path / "first/pictures.txt").unlink()  # as weights from elsewhere
    (tmp_path / "first/train.json").unlink()
    init = tmp_path / "first/model.ckpt-1"
    for flags, unknown in (((), True), (("--val-unseen",), False)):
        run_dir = tmp_path / f"second{len(flags)}"
        assert run(*arguments[:4], "--init", init, *flags, *arguments[4:], "--run-dir", run_dir) == 0
        assert ("?" in read_pictures(run_dir)) is unknown


def test_what_runs_are_trained_on_decides(rows, folder):
    row, init = named(rows, TITLE, 77.21), fetched("resnet_v1_101")
    few = split_of("voc2012", "train_aug", count=12)
    others = [split_of("voc2012", "train"), few, Split(few.card, "train_aug", few.pairs, True)]
    for i, split in enumerate(others):
        assert not matching.matches(row, trained(row, init, split, run_dir=f"runs/{i}")), split.title
    assert matching.matches(row, trained(row, init, run_dir="runs/whole"))


@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": 0.001}, {"power": 1.0}, {"seed": 1}, {"pixel_mean": (1.0, 2.0, 3.0)}, {"momentum": 0.8},
        {"eval_padding": "around"}, {"picture_interpolation": "nearest"}, {"resize_rule": "fit"}, {"resize_factor": 8},
        {"resize_range": (257, 257)},
    ],
)  # fmt: skip
def test_a_field_that_the_row_does_not_tell_is_its_recipes(rows, folder, change):
    """Those of an evaluation that no protocol states too."""
    row = named(rows, TITLE, 77.21)
    assert not matching.matches(row, trained(row, fetched("resnet_v1_101"), **change)), change


def test_published_weights_are_known_by_their_digest(rows, folder):
    row = named(rows, ZOO, 75.32)
    v3plus = reproductions()["v3plus"]
    recipe = v3plus.variants["mnv2_pascal_train_aug"]
    recipe = recipe.derive(**row.protocol.changes(recipe))
    brought = fetched("deeplabv3_mnv2_pascal_train_aug")
    record = evaluated(v3plus, recipe, brought)
    assert record["marks"] == {}
    assert matching.matches(row, record)
    for change in ({"eval_padding": "around"}, {"picture_interpolation": "nearest"}, {"resize_factor": 8}):
        assert not matching.matches(row, evaluated(v3plus, recipe.derive(**change), brought)), change
    # Outside of the checkout, with the note that `make weights` wrote beside them.
    there = folder.parent / f"{folder.name}-elsewhere"
    brought.path.parent.rename(there)
    moved = evaluated(v3plus, recipe, Weights(there / brought.path.name))
    assert moved["checkpoint"]["path"] == brought.path.name
    assert matching.matches(row, moved)
    # Others in their place, or of their variant elsewhere, are no published ones.
    weights_of(there / brought.path.name, value=1)
    assert not matching.matches(row, evaluated(v3plus, recipe, Weights(there / brought.path.name), val_seen=False))
    mine = weights_of(Path("mine/model.ckpt"))
    assert not matching.matches(row, evaluated(v3plus, recipe, mine, val_seen=False))
    beside = weights_of(Path("weights/deeplabv3_mnv2_pascal_train_aug/mine.ckpt"))
    assert not matching.matches(row, evaluated(v3plus, recipe, beside, val_seen=False))


def test_a_start_that_only_has_the_name_is_another(rows, folder):
    row = named(rows, TITLE, 77.21)
    assert not matching.matches(row, trained(row, weights_of(Path("mine/resnet_v1_101.ckpt")), val_unseen=True))


def test_weights_that_came_before_there_were_notes_are_known_by_their_place(rows, folder):
    row = named(rows, TITLE, 77.21)
    assert matching.matches(row, trained(row, fetched("resnet_v1_101", note=False)))


def test_one_name_for_a_split(folder):
    """val_fine is val: the published weights say whether they have seen it, by whichever name."""
    names = ("deeplabv3_cityscapes_train", "deeplab_cityscapes_xception71_trainvalfine",
             "deeplabv3_xception_ade20k_train")  # fmt: skip
    for name in names:
        fetched(name)
    found = {c.path.parts[1]: c for c in known.fetched(reproductions(), read_manifest(), quiet=True)}
    assert set(found) == set(names)

    def flag(name, dataset, split):
        job = eval_all.Job(found[name], {}, {}, {}, "", 0)
        command = job.command(Path("d"), split, split_of(dataset, split, count=1))
        return next((word for word in command if word.startswith("--val-")), None)

    for split in ("val", "val_fine", "val_coarse"):
        assert flag("deeplabv3_cityscapes_train", "cityscapes", split) == "--val-unseen"
        assert flag("deeplab_cityscapes_xception71_trainvalfine", "cityscapes", split) == "--val-seen"
        assert flag("deeplabv3_xception_ade20k_train", "cityscapes", split) == "--val-unseen"
    for split in ("val", "validation"):
        assert flag("deeplabv3_xception_ade20k_train", "ade20k", split) == "--val-unseen"
    assert flag("deeplabv3_cityscapes_train", "cityscapes", "test") is None
    # Without the flag the record says the same.
    v3plus = reproductions()["v3plus"]
    recipe = v3plus.variants["xception71_dpc_cityscapes_trainvalfine"]
    seen = evaluated(v3plus, recipe, Weights(found[names[1]].path), split_of("cityscapes", "val_fine"))
    assert seen["marks"] == {"val_seen": True}


def test_a_note_stays_until_the_weights_are_made_anew(folder):
    weights = fetched("resnet50_keras")
    manifest = read_manifest()
    entry = manifest.entry("resnet50_keras")
    assert origin_of(weights.path, manifest).trained_on == ("imagenet",)
    weights_of(weights.path, value=1)
    write_origin(entry, entry.weights[0], weights.path)
    assert origin_of(weights.path, manifest) is None
    write_origin(entry, entry.weights[0], weights.path, anew=True)
    assert origin_of(weights.path, manifest).name == "resnet50_keras/model.ckpt"
    assert on_disk(entry, entry.weights[0]) == [weights.path]


def test_two_printed_commands_have_two_run_folders(rows):
    folders = {}
    for row in rows:
        needs = matching.what_it_needs(row)
        if needs.startswith("`make reproduce"):
            # The training; a row from COCO has another one before it.
            words = shlex.split([text for text in needs.split("`") if text.startswith("make reproduce")][-1])
            (folder,) = (word for word in words if word.startswith("RUN_DIR="))
            others = tuple(word for word in words if word != folder)
            assert folders.setdefault(folder, others) == others
            evaluates = row.protocol.is_ours  # others are told why not
            assert (folder.removeprefix("RUN_DIR=") + "/model.ckpt-" in needs) == evaluates
    assert len(folders) > 40
