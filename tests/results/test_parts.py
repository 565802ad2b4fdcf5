"""Parts of an evaluation: they add up to the evaluation in one, and what does not belong together is refused."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from common.data import tfrecord
from common.data.lists import read_split
from common.data.sets.voc import VOC2012
from common.errors import UserError
from common.inference import evaluation
from common.inference.segmenter import Segmenter
from common.results import parts, records
from tests.conftest import ROOT
from tests.fuzz.mutations import damaged
from tests.helpers.tiny import SMALL, TINY, run
from tests.test_without_tensorflow import run_all

# Fields of a record that tell of one run alone.
OF_THE_RUN = ("seconds", "peak_memory_mib", "finished", "command", "evaluation", "digest")
FIGURES = ("--trimap", "2,5", "--save-labels", "--save-results")
PART, THIRD = "parts/part-2-of-3.json", "parts/part-3-of-3.json"


@pytest.fixture(scope="module")
def made(sample_set, tmp_path_factory):
    """A folder with the sample set, a tiny run, an evaluation in one, `whole`, and its three `parts`."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RESULTS_DIR", str(folder / "results"))
        shutil.copytree(sample_set, "sample")
        assert run("train", "--data", "sample", "--run-dir", "run", "--quiet", "--set", "num_steps=20") == 0
        assert evaluate("--out", "whole", *FIGURES) == 0
        for number in (1, 2, 3):
            assert evaluate("--out", "parts", *FIGURES, "--shard", f"{number}/3") == 0
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of `made`, as the working folder."""
    shutil.copytree(made, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def evaluate(*arguments):
    return run("evaluate", "--data", "sample", "--checkpoint", "run/model.ckpt-20", "--quiet", *arguments)


def merge(folder, *arguments):
    return run("evaluate", "--merge", folder, "--quiet", *arguments)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def record_of(folder):
    record = json.loads((folder / records.BESIDE).read_text())
    return {name: value for name, value in record.items() if name not in OF_THE_RUN}


def assert_same(whole, merged):
    """All files of an evaluation are the same, but for what the record says of its run, and the parts."""
    ours, theirs = contents(merged), contents(whole)
    found = {path for path in ours if not path.match("part-*")}
    assert found == theirs.keys()
    for path in found:
        assert path.name == records.BESIDE or ours[path] == theirs[path], path
    if (whole / records.BESIDE).exists():
        assert record_of(merged) == record_of(whole)


def refused(capsys, folder, *sentences):
    """Merging says one sentence with these words, and changes nothing."""
    capsys.readouterr()
    before = contents(folder)
    assert merge(folder) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert not printed.out
    for sentence in sentences:
        assert sentence in printed.err
    assert contents(folder) == before


def test_three_parts_are_the_whole(here):
    assert merge("parts") == 0
    assert_same(here / "whole", here / "parts")
    assert records.read_record(here / "parts" / records.BESIDE)["command"].endswith("--save-labels --save-results")


def test_one_part_is_the_whole(here):
    assert evaluate("--out", "one", *FIGURES, "--shard", "1/1") == 0
    assert not (here / "one/metrics.json").exists()
    assert merge("one") == 0
    assert_same(here / "whole", here / "one")


def test_every_part_writes_the_label_maps_of_its_own_pictures(here):
    names = [image.stem for image, _ in read_split(VOC2012, here / "sample", "val").pairs]
    for number in (1, 2, 3):
        assert evaluate("--out", "some", "--save-labels", "--limit", "8", "--shard", f"{number}/3") == 0
        mine = {f"{name}.png" for name in names[number - 1 : 8 : 3]}
        there = {path.name for path in (here / "some/labels").iterdir()}
        assert mine <= there
        assert len(there) == sum(len(names[first:8:3]) for first in range(number))
    assert merge("some") == 0
    record = records.read_record(here / "some" / records.BESIDE)
    assert record["data"]["images"] == 8
    assert record["marks"] == {"sample": True, "subset": 8}


def test_record_of_parts_goes_among_the_tables(here, results_dir):
    for number in (1, 2):
        assert evaluate("--out", "two", "--shard", f"{number}/2") == 0
    assert merge("two", "--record") == 0
    (record,) = records.read_records()
    assert not (here / "two" / records.BESIDE).exists()
    assert evaluate("--out", "two", "--record") == 0
    (again,) = records.read_records()
    assert {k: v for k, v in again.items() if k not in OF_THE_RUN} == {
        k: v for k, v in record.items() if k not in OF_THE_RUN
    }


def test_losses_of_parts_have_the_mean_of_the_whole(made):
    split = read_split(VOC2012, made / "sample", "val")
    with Segmenter(TINY.load_network(), SMALL, None) as segmenter:
        whole = evaluation.count(segmenter, split, trimap=(3,), with_loss=True, quiet=True)
        metrics = evaluation.evaluate(segmenter, split, trimap=(3,), with_loss=True, quiet=True)
        for count in (1, 3, 5):
            shards = [split.take(parts.Shard(number, count).places) for number in range(1, count + 1)]
            found = [evaluation.count(segmenter, s, trimap=(3,), with_loss=True, quiet=True) for s in shards]
            joined = evaluation.Counts.joined(found)
            assert joined.metrics(split.card.classes, SMALL.protocol()) == metrics
            assert joined.losses == whole.losses  # in their order, so that the mean has the same bits
    assert metrics["loss"] == np.mean(whole.losses)


def test_shards_of_tfrecords(here):
    assert tfrecord.main(["build", "--data", "sample", "--split", "val", "--shards", "3", "--out", "shards"]) == 0
    shard_of = ["--data", "shards", "--checkpoint", "run/model.ckpt-20", "--quiet", "--out"]
    assert run("evaluate", *shard_of, "records", *FIGURES) == 0
    for number in (1, 2):
        assert run("evaluate", *shard_of, "two", *FIGURES, "--shard", f"{number}/2") == 0
    assert merge("two") == 0
    assert_same(here / "records", here / "two")
    assert (here / "two/metrics.json").read_bytes() == (here / "whole/metrics.json").read_bytes()


@pytest.mark.parametrize("how", [["--engine", "onnxruntime"], ["--checkpoint", "net/model.onnx"]])
def test_shards_by_engines_and_of_networks_files(here, how):
    words = ["export", "--checkpoint", "run/model.ckpt-20", "--out", "net", "--format", "onnx", "--limit", "1"]
    assert run(*words, "--quiet") == 0
    assert evaluate("--out", "by", *how, "--limit", "5") == 0
    for number in (1, 2):
        assert evaluate("--out", "two", *how, "--limit", "5", "--shard", f"{number}/2") == 0
    assert merge("two") == 0
    assert_same(here / "by", here / "two")


def test_merging_needs_no_tensorflow(here):
    ((status, out, err),) = run_all([["tests.helpers.tiny", "evaluate", "--merge", "parts"]], here)
    assert status == 0, err
    assert "mIoU" in out
    assert_same(here / "whole", here / "parts")


def changed(path, change, again=True):
    """Change the content of a part; with `again` its digest fits."""
    content = json.loads(path.read_text())
    change(content)
    if again:
        content["digest"] = records.digest({k: v for k, v in content.items() if k != "digest"})
    path.write_text(json.dumps(content))


def set_in(*names, value):
    """A change that sets the field that `names` lead to."""

    def change(content):
        for name in names[:-1]:
            content = content[name]
        content[names[-1]] = value

    return change


def as_part_3(folder):
    for ending in ("json", "npz"):
        shutil.copy(folder / f"parts/part-2-of-3.{ending}", folder / f"parts/part-3-of-3.{ending}")


DAMAGES = {
    "missing": (lambda f: (f / PART).unlink(), "lacks 1 of its parts; evaluate --shard 2/3"),
    "doubled": (as_part_3, "part-3-of-3.json: is part 2/3, as part-2-of-3.json is"),
    "truncated": (lambda f: (f / PART).write_text((f / PART).read_text()[:2000]), "is no part that evaluate --shard"),
    "foreign": (lambda f: (f / PART).write_text('{"mine": "notes"}'), "part-2-of-3.json: schema is missing"),
    "foreign list": (lambda f: (f / PART).write_text("[1, 2]"), "is no part that evaluate --shard wrote"),
    "of tomorrow": (lambda f: changed(f / PART, set_in("schema", value=9)), "newer than this checkout"),
    "edited": (lambda f: changed(f / PART, set_in("known", "title", value="x"), again=False), "was changed after"),
    "no scores": (lambda f: (f / PART).with_suffix(".npz").unlink(), "part-2-of-3.npz: is missing"),
    "other scores": (
        lambda f: shutil.copy(f / "parts/part-1-of-3.npz", f / "parts/part-2-of-3.npz"), "not of the same evaluation"
    ),
    "other code": (lambda f: changed(f / PART, set_in("known", "code", value="0" * 64)), "in code;"),
    "other packages": (lambda f: changed(f / PART, set_in("how", "versions", "numpy", value="1")), "(numpy)"),
    "other classes": (lambda f: changed(f / PART, set_in("classes", 1, value="x")), "in classes;"),
    "other recipe": (lambda f: changed(f / PART, set_in("known", "recipe", "seed", value=9)), "in recipe (seed);"),
    "outside": (lambda f: changed(f / PART, set_in("known", "id", value="../../x")), "its id is no name of a file"),
    "bent": (lambda f: changed(f / PART, set_in("confusion_matrix", 0, value=[1])), "its matrices are not 21 x 21"),
    "shard": (lambda f: changed(f / PART, set_in("shard", value=[4, 3])), "shard is [4, 3], not a list of two"),
    "pictures": (lambda f: changed(f / PART, set_in("shard", value=[1, 3])), "does not have the pictures of part 1/3"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_parts_are_refused(here, capsys, what):
    damage, sentence = DAMAGES[what]
    damage(here)
    refused(capsys, here / "parts", sentence)


OTHERS = {
    "weights": (["--checkpoint", "other/model.ckpt-20"], "differs from part-1-of-3.json in weights;"),
    "protocol": (["--flip"], "in protocol (flip, scale_fusion)"),
    "recipe": (["--set", "batch_size=3"], "in recipe (batch_size)"),
    "limit": (["--limit", "12"], "in data (images)"),
    "split": (["--split", "train"], "in data ("),
    "pictures": (["--data", "sample_2"], "in pictures;"),
    "trimap": (["--trimap", "2"], "in trimap;"),
    "marks": (["--val-seen"], "in marks (val_seen)"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_parts_of_other_evaluations_are_refused(here, capsys, what):
    """Part 3 is evaluated again, in another way."""
    flags, sentence = OTHERS[what]
    if what == "weights":
        words = ["--data", "sample", "--run-dir", "other", "--quiet", "--set", "num_steps=20", "seed=7"]
        assert run("train", *words) == 0
    if what == "pictures":  # a mask that another program has written, of the same name
        shutil.copytree("sample", "sample_2")
        mask = next(iter(read_split(VOC2012, here / "sample_2", "val").pairs))[1]
        mask.write_bytes(mask.read_bytes() + b"\0")
    assert evaluate("--out", "parts", *FIGURES, "--shard", "3/3", *flags) == 0
    refused(capsys, here / "parts", "part-3-of-3.json: differs", sentence)


def test_parts_of_two_ns_are_refused(here, capsys):
    assert evaluate("--out", "parts", *FIGURES, "--shard", "1/2") == 0
    refused(capsys, here / "parts", "part-1-of-3.json: is part 1/3, and part-1-of-2.json is part 1/2")


def test_parts_of_another_reproduction_or_checkout_are_refused(here, capsys, monkeypatch):
    from common import cli
    from reproductions.v2 import REPRODUCTION

    assert cli.main(REPRODUCTION, ["evaluate", "--merge", "parts"]) == 2
    assert "its parts are of tiny, not of v2" in capsys.readouterr().err
    for number in (1, 2, 3):
        changed(here / f"parts/part-{number}-of-3.json", set_in("known", "code", value="0" * 64))
    refused(capsys, here / "parts", "evaluated by other code than this checkout has")


def test_machines_may_differ(here):
    """The record keeps what they share; seconds add up."""
    for number in (1, 2, 3):
        path = here / f"parts/part-{number}-of-3.json"
        changed(path, set_in("how", "seconds", value=number + 0.1))
        changed(path, set_in("how", "peak_memory_mib", value=100 * number))
        changed(path, set_in("how", "cpu", value=f"machine {number}"))
        changed(path, set_in("how", "cores", value=7))
    assert merge("parts") == 0
    record = records.read_record(here / "parts" / records.BESIDE)
    assert (record["seconds"], record["peak_memory_mib"], record["cpu"], record["cores"]) == (6.3, 300, None, 7)


def test_nothing_to_merge(here, capsys):
    (here / "empty").mkdir()
    refused(capsys, here / "empty", "--merge", "holds no parts")
    assert merge("nowhere") == 2
    assert "--merge nowhere: no such folder" in capsys.readouterr().err


def test_merging_replaces_no_foreign_file(here, capsys):
    for name in ("metrics.json", records.BESIDE, "pictures.npz"):
        (here / "parts" / name).write_text('{"mine": "notes"}')
        refused(capsys, here / "parts", name)
        (here / "parts" / name).unlink()
    assert merge("parts") == 0
    assert merge("parts") == 0  # its own it does


def test_a_part_replaces_no_foreign_file(here, capsys):
    for ending in ("json", "npz"):
        path = here / f"mine/part-1-of-3.{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"mine": "notes"}')
        assert evaluate("--out", "mine", "--shard", "1/3") == 2
        assert f"{path.name} is there, and not written by this command" in capsys.readouterr().err
        assert [path.read_text() for path in (here / "mine").iterdir()] == ['{"mine": "notes"}']
        path.unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "0/3"], "argument --shard: '0/3' is not I/N"),
        (["--shard", "4/3"], "argument --shard: '4/3' is not I/N"),
        (["--shard", "1"], "argument --shard: '1' is not I/N"),
        (["--shard", "1/3", "--record"], "--record: a part has no record"),
        (["--shard", "2/17"], "--shard 2/17: there are 16 pictures"),
        (["--shard", "1/4", "--limit", "3"], "--shard 1/4: there are 3 pictures"),
        (["--merge", "parts"], "argument --merge: not allowed with argument --data"),
    ],
)
def test_wrong_arguments(here, capsys, arguments, message):
    assert evaluate("--out", "out", *arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    "other",
    [["--out", "x"], ["--shard", "1/3"], ["--limit", "2"], ["--trimap"], ["--save-labels"], ["--set", "seed=1"],
     ["--val-unseen"], ["--val-seen"], ["--crf"], ["--engine", "auto"], ["--split", "val"]],
)  # fmt: skip
def test_merge_stands_alone(here, capsys, other):
    before = contents(here / "parts")
    for words in (["--merge", "parts", *other], [*other, "--merge", "parts"]):
        assert run("evaluate", *words) == 2
        assert f"argument --merge: not allowed with argument {other[0][:5]}" in capsys.readouterr().err
    assert contents(here / "parts") == before


def test_without_merge_arguments_are_required(capsys):
    assert run("evaluate", "--record") == 2
    assert "required: --data, --checkpoint, --out" in capsys.readouterr().err


def test_a_killed_part_is_run_again(here):
    """Killed after its first label map; the CRF gives the time for that. Each part is a process, as on machines."""
    how = ["--crf", "--save-labels", "--limit", "4", "--set", "crf_iterations=20"]
    assert evaluate("--out", "slow", *how) == 0
    words = ["evaluate", "--data", "sample", "--checkpoint", "run/model.ckpt-20", "--out", "two", "--quiet", *how]
    command = [sys.executable, "-m", "tests.helpers.tiny", *words, "--shard"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([*command, "1/2"], env=environment, capture_output=True).returncode == 0
    process = subprocess.Popen([*command, "2/2"], env=environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(list((here / "two/labels").glob("*.png"))) < 3 and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (here / "two/part-2-of-2.json").exists()
    assert merge("two") == 2
    assert subprocess.run([*command, "2/2"], env=environment, capture_output=True).returncode == 0
    assert merge("two") == 0
    assert_same(here / "slow", here / "two")


def test_killed_between_the_two_files_of_a_part(here):
    """The scores are there already, and are written again."""
    before = contents(here / "parts")
    (here / PART).unlink()
    assert evaluate("--out", "parts", *FIGURES, "--shard", "2/3") == 0
    after = contents(here / "parts")
    assert after.keys() == before.keys()
    assert merge("parts") == 0
    assert_same(here / "whole", here / "parts")


@pytest.mark.parametrize("seed", range(150))
def test_damaged_bytes_are_refused_or_change_nothing(made, tmp_path, seed):
    """With a digest that fits too: whoever made the file, joining ends in a sentence or in whole numbers."""
    rng = random.Random(seed)
    folder = shutil.copytree(made / "parts", tmp_path / "parts", ignore=lambda *_: ["labels", "results"])
    path = folder / f"part-2-of-3.{'npz' if seed % 5 == 0 else 'json'}"
    path.write_bytes(damaged(path.read_bytes(), rng))
    if path.suffix == ".json" and seed % 2:
        with contextlib.suppress(ValueError, RecursionError, TypeError, AttributeError):
            changed(path, lambda content: None)
    with contextlib.suppress(UserError):
        joined = parts.join(folder)
        assert joined.counts.matrix.counts.sum() >= 0
        assert joined.counts.images == 16
