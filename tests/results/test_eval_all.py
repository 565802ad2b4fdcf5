"""eval-all: what is known is evaluated once, by every protocol, and a run that was killed leaves only the rest."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.data.lists import card_by_name, read_split
from common.downloads import manifest as manifests
from common.errors import UserError
from common.reproduction import reproductions
from common.results import eval_all, known, records
from common.results.protocol import Protocol
from common.results.published import PublishedRow, Source, Training
from common.training import run_folder
from tests.conftest import ROOT
from tests.helpers.tiny import SMALL, TINY, run

# Two sample runs and, besides the recipe's own protocol, two more.
TWO = dataclasses.replace(
    TINY,
    variants={r.variant: r for r in (SMALL, SMALL.derive(variant="wide", width=24))},
    sample_variants=("small", "wide"),
    protocols=({"eval_flip": True},),
)
# Published of it, on VOC, which stands for the sample set: mirrored, as reproduce evaluates too, and at two scales.
SOURCE = Source(source="s", reproduction="tiny", data="VOC2012", split="val", classes=21)
ROWS = [
    PublishedRow(table=SOURCE, model="m", miou=50, protocol=how, trained=Training(init="x", fields={"width": 99}))
    for how in (
        Protocol(size=513, mirror=True),
        Protocol(size=513, scales=(0.75, 1.0)),
        Protocol(size=513, mirror=True),
    )
]


@pytest.fixture
def tiny_suite(tmp_path, monkeypatch):
    """A working folder, and the tiny network as the only reproduction."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(eval_all, "reproductions", lambda: {"tiny": TWO})
    monkeypatch.setattr(eval_all, "read_published", lambda: ROWS)
    return tmp_path


def runs_of(results_dir):
    return {path.name: path.stat().st_mtime_ns for path in (results_dir / "runs").glob("*.json")}


@pytest.fixture
def two_runs(tiny_suite):
    """Both sample runs, trained here: `reproduce` of a process of its own knows but one of them."""
    from common import cli

    for variant in TWO.sample_variants:
        assert cli.main(TWO, ["reproduce", "--quiet", "--set", f"variant={variant}"]) == 0
    return tiny_suite


def test_everything_is_evaluated_once(two_runs, results_dir, capsys):
    before = runs_of(results_dir)
    assert len(before) == 4  # what reproduce evaluates: its own protocol, and mirrored
    assert eval_all.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("to evaluate") == 2
    assert listed.count("has its record") == 4
    assert eval_all.main(["--quiet"]) == 0
    printed = capsys.readouterr().out
    after = runs_of(results_dir)
    assert len(after) == 6
    assert {n: after[n] for n in before} == before
    assert printed.count("evaluated") == 2
    assert printed.count("was there") == 4
    assert "scales 0.75 1" in printed
    for record in records.read_records():
        assert (Path(record["evaluation"]) / "pictures.npz").is_file()
        assert len(list((Path(record["evaluation"]) / "labels").iterdir())) == 16
    assert eval_all.main(["--quiet"]) == 0  # the second time nothing is left
    assert runs_of(results_dir) == after
    assert capsys.readouterr().out.count("was there") == 6


def titles(listed):
    """The evaluations that `--list` names, without their state."""
    return [line[15:] for line in listed.splitlines()]


def test_shards_take_every_nth_evaluation(two_runs, results_dir, capsys):
    assert eval_all.main(["--list"]) == 0
    every = titles(capsys.readouterr().out)
    tables = [results_dir / name for name in ("RESULTS.md", "runs")]
    before = tables[0].read_bytes()
    for number in (1, 2, 3, 4):
        assert eval_all.main(["--list", "--shard", f"{number}/4"]) == 0
        mine = titles(capsys.readouterr().out)
        assert mine == every[number - 1 :: 4]
        assert eval_all.main(["--quiet", "--shard", f"{number}/4"]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert len(printed) == 1 + len(mine) + 1  # a title, its own evaluations, and what is left to do
        assert all(any(title in line for line in printed) for title in mine)
        assert printed[-1].startswith(f"shard {number}/4: {len(mine)} of 6 evaluations; `make results` writes")
    assert len(runs_of(results_dir)) == 6
    assert tables[0].read_bytes() == before  # others may run still
    assert eval_all.main(["--list"]) == 0
    assert capsys.readouterr().out.count("has its record") == 6


def test_a_shard_trains_no_missing_run(tiny_suite, capsys, monkeypatch):
    monkeypatch.setattr(eval_all, "train", None)
    assert eval_all.main(["--shard", "1/2"]) == 2
    printed = capsys.readouterr()
    assert "--shard 1/2: 2 runs on the sample set are not trained yet" in printed.err
    assert printed.err.count("\n") == 1
    assert eval_all.main(["--list", "--shard", "1/2"]) == 0
    assert "to train        tiny small" in capsys.readouterr().out


def test_records_beside_evaluations_are_not_enough_for_record(two_runs, results_dir, monkeypatch):
    for name in runs_of(results_dir):  # as if no table were to show them
        record = json.loads((results_dir / "runs" / name).read_text())
        Path(record["evaluation"], records.BESIDE).write_text((results_dir / "runs" / name).read_text())
        (results_dir / "runs" / name).unlink()
    for flags, waiting in ([], 2), (["--record"], 6):
        done = []
        monkeypatch.setattr(
            eval_all, "run", lambda jobs, where, *_, done=done: done.extend((j, j.command(*where)) for j in jobs)
        )
        eval_all.main(["--quiet", *flags])
        assert sum(job.record is None for job, _ in done) == waiting
        assert all(("--record" in command) == bool(flags) for _, command in done)


def test_other_code_is_another_number(two_runs, results_dir, monkeypatch, capsys):
    monkeypatch.setattr(eval_all, "code_version", lambda module, by_engine: "later")
    assert eval_all.main(["--list"]) == 0
    assert capsys.readouterr().out.count("to evaluate") == 6


def test_another_engine_is_another_number(two_runs, results_dir, capsys):
    assert eval_all.main(["--list", "--engine", "onnxruntime"]) == 0
    assert capsys.readouterr().out.count("to evaluate") == 6
    assert eval_all.main(["--quiet", "--engine", "onnxruntime"]) == 0
    assert capsys.readouterr().out.count("evaluated") == 6
    found = records.read_records()
    assert len(found) == 4 + 6
    assert sum(record["protocol"].get("engine") == "onnxruntime" for record in found) == 6
    assert len({record["evaluation"] for record in found}) == 10
    assert eval_all.main(["--list", "--engine", "auto"]) == 0
    assert capsys.readouterr().out.count("has its record") == 6
    assert eval_all.main(["--list"]) == 0
    assert capsys.readouterr().out.count("to evaluate") == 2


def test_missing_runs_are_found(tiny_suite, capsys, monkeypatch):
    assert eval_all.main(["--list"]) == 0
    assert "to train        tiny small" in capsys.readouterr().out
    trained = []
    monkeypatch.setattr(eval_all, "train", lambda reproduction, variant, quiet: trained.append(variant))
    eval_all.main(["--quiet"])
    assert trained == ["small", "wide"]


def test_a_run_is_trained_by_reproduce(tiny_suite):
    one = dataclasses.replace(TWO, sample_variants=("small",))
    assert [v for _, v in eval_all.missing_runs([one])] == ["small"]
    eval_all.train(one, "small", quiet=True)
    assert eval_all.missing_runs([one]) == []


def test_a_run_that_fails_is_named(tiny_suite, monkeypatch):
    monkeypatch.setattr(eval_all.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 2))
    with pytest.raises(UserError, match="reproduce --set variant=small: ended with status 2"):
        eval_all.train(TWO, "small", quiet=True)


PROGRAM = """
import sys
from common.results import eval_all
from tests.results.test_eval_all import ROWS, TWO
eval_all.reproductions = lambda: {"tiny": TWO}
eval_all.read_published = lambda: ROWS
sys.exit(eval_all.main(["--jobs", "1"]))
"""


def processes_in(folder):
    """The processes whose working folder it is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.name != str(os.getpid()) and (process / "cwd").resolve() == folder.resolve():
                found.append(process.name)
    return found


@pytest.mark.parametrize("how", [pytest.param(signal.SIGTERM, marks=pytest.mark.full), signal.SIGKILL])
def test_a_killed_run_leaves_only_the_rest(two_runs, results_dir, how):
    """Killed after its first record; its child ends with it, the next run does the other."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, text=True, env=os.environ)
    for line in process.stderr:
        if line.startswith("1/2"):
            time.sleep(1)  # the next one has begun
            process.send_signal(how)
            break
    assert process.wait(60) != 0
    process.stderr.close()
    time.sleep(1)
    assert not processes_in(two_runs)
    some = runs_of(results_dir)
    assert len(some) == 5
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0
    assert "1 evaluations, 5 have their records" in done.stderr
    assert len(runs_of(results_dir)) == 6
    assert {n: runs_of(results_dir)[n] for n in some} == some


def test_one_that_fails_does_not_stop_the_others(two_runs, results_dir, capsys):
    (data,) = (two_runs / "runs/tiny-small").glob("model.ckpt-8.data-*")
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    assert eval_all.main(["--quiet"]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("tiny-wide") == 3
    assert "failed" not in captured.out
    assert "runs/tiny-small/model.ckpt-8" in captured.err
    assert "1 checkpoints could not be made or read" in captured.err
    data.write_bytes(whole)
    (two_runs / "runs/tiny-small/evaluation-eval_scales_0_75_1_0").write_text("in the way of its folder")
    assert eval_all.main(["--quiet"]) == 2
    captured = capsys.readouterr()
    assert "failed: " in captured.out
    assert "1 of 6 evaluations failed, 0 checkpoints" in captured.err


def test_memory_limits_what_runs_together(two_runs, monkeypatch):
    """With no memory to spare the jobs run one after the other."""
    monkeypatch.setattr(eval_all, "free_memory", lambda: 5000.0)  # for one of 3000, not for two
    together, start = [], eval_all._start

    def watched(job, *arguments):
        started = start(job, *arguments)
        together.append(sum(j.process is not None and j.process.poll() is None for j in jobs))
        return started

    monkeypatch.setattr(eval_all, "_start", watched)
    split = read_split(card_by_name("voc2012"), Path("data/sample"), "val")
    jobs = [job for c in known.trained({"tiny": TWO}) for job in eval_all.jobs_of(c, split, [], ROWS)]
    eval_all.run(jobs[:2], (Path("data/sample"), "val", split), most=3, quiet=True)
    assert together == [1, 1]


def test_real_data_takes_runs_on_real_data_and_fetched_weights(
    tiny_suite, voc_subset, results_dir, capsys, monkeypatch
):
    """A run on the sample set is not evaluated on photographs; weights of the manifest say what they have seen."""
    one = dataclasses.replace(TWO, protocols=())
    monkeypatch.setattr(eval_all, "reproductions", lambda: {"tiny": one})
    monkeypatch.setattr(eval_all, "read_published", lambda: [])
    few = tiny_suite / "few.txt"
    few.write_text(
        "".join(f"{line}\n" for line in (voc_subset / "ImageSets/Segmentation/val.txt").read_text().split()[:2])
    )
    assert run("train", "--data", "sample", "--run-dir", "runs/drawn", "--quiet", "--set", "num_steps=1") == 0
    arguments = ["--data", str(voc_subset), "--split", str(few), "--quiet"]
    assert eval_all.main(arguments) == 2
    assert "no checkpoint to evaluate on VOC2012 few" in capsys.readouterr().err
    assert run("train", "--data", voc_subset, "--run-dir", "runs/real", "--quiet", "--set", "num_steps=1") == 0
    seeded = ["--set", "num_steps=1", "seed=7"]
    assert run("train", "--data", voc_subset, "--run-dir", "theirs", "--quiet", *seeded) == 0
    Path("weights/theirs").mkdir(parents=True)
    for file in Path("theirs").glob("model.ckpt-1.*"):
        file.rename(Path("weights/theirs") / file.name)
    weights = manifests.Weights(path="model.ckpt-1.index", trained_on=("t",), reproduction="tiny", variant="small")
    entry = manifests.Entry(name="theirs", kind="weights", title="t", licence="l", files=(), weights=(weights,))
    made = manifests.Manifest(preprocessing={}, training_sets={"t": ["voc2012/few"]}, entries={"theirs": entry})
    monkeypatch.setattr(eval_all, "read_manifest", lambda: made)
    assert eval_all.main(arguments) == 0
    assert not (results_dir / "runs").exists()  # two pictures are none for the tables
    found = {r["checkpoint"]["path"]: r["marks"] for r in records.read_beside()}
    assert set(found) == {"runs/real/model.ckpt-1", "weights/theirs/model.ckpt-1"}
    assert found["weights/theirs/model.ckpt-1"]["val_seen"] is True
    assert "val_seen" not in found["runs/real/model.ckpt-1"]
    capsys.readouterr()
    assert eval_all.main([*arguments, "--list"]) == 0  # those beside their evaluations are found again
    assert capsys.readouterr().out.count("has its record") == 2


def test_protocols_of_every_paper_are_told_apart():
    """v2's multi-scale inputs too, which are fused inside the network."""
    for reproduction in reproductions().values():
        recipe = reproduction.variants[reproduction.sample_variants[0]]
        ways = ({}, *reproduction.protocols)
        told = {json.dumps(recipe.derive(**changes).at_evaluation().protocol()) for changes in ways}
        assert len(told) == len(ways), reproduction.name


def test_evaluations_by_other_values_lie_in_other_folders():
    """Two lists of scales, as Cityscapes has, and two strides."""
    ways = [{"eval_scales": (0.75, 1.0)}, {"eval_scales": (0.5, 1.0)}, {"eval_output_stride": 8}, {}]
    assert len({run_folder.evaluation_dir(Path("runs/x"), changes) for changes in ways}) == 4
    assert run_folder.evaluation_dir(Path("runs/x"), {}) == Path("runs/x/evaluation")


def test_all_reproductions_are_found():
    assert list(reproductions()) == ["v1", "v2", "v3", "v3plus", "v3plus_simplified"]
    assert all(r.package == f"reproductions.{name}" for name, r in reproductions().items())


def test_the_manifest_names_real_variants():
    ours = reproductions()
    named = [w for e in manifests.read_manifest().entries.values() for w in e.weights if w.variant]
    assert len(named) > 15
    assert all(w.variant in ours[w.reproduction].variants for w in named)


def test_records_of_an_earlier_schema_are_read(results_dir):
    """Those of the checkout, from before `code` and `evaluation`; with a later schema it says to update."""
    old = sorted((ROOT / "results/runs").glob("*.json"))[0]
    record = json.loads(old.read_text()) | {"schema": 1}
    for name in records.ABSENT:
        record.pop(name, None)
    path = results_dir / "runs" / old.name
    path.parent.mkdir(parents=True)
    path.write_text(records.dumps(record | {"digest": records.digest(record)}))
    (read,) = records.read_records()
    assert read["code"] is None
    assert read["miou"] == record["miou"]
    record["schema"] = records.SCHEMA + 1
    path.write_text(records.dumps(record | {"digest": records.digest(record)}))
    with pytest.raises(UserError, match="newer than this checkout"):
        records.read_records()
