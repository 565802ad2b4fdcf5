"""Records, the table, and `reproduce`."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common.data.sets.voc import VOC2012
from common.data.shards.build import build
from common.data.shards.index import Index, Shard
from common.data.split import Split
from common.errors import UserError
from common.inference.picture_scores import PictureScores
from common.paths import ROOT, is_inside, slug
from common.results import records, speed
from common.results import tables as results
from common.results.marks import MARKS, mark_names
from common.results.protocol import protocol_text
from common.results.published import read_published
from common.results.readme import markers
from common.weights import checkpoints
from common.weights.weights import Weights
from tests.helpers.tiny import run
from tests.results.test_published import made_up


@pytest.fixture
def reproduced(tmp_path, results_dir, monkeypatch):
    """The tiny network reproduced on the sample set, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    assert run("reproduce", "--quiet", "--steps", "4", "--limit", "2", "--record") == 0
    (record,) = (results_dir / "runs").glob("*.json")
    return record


def test_reproduce_draws_trains_evaluates_and_records(reproduced, tmp_path, results_dir):
    run_dir = tmp_path / "runs/tiny-small-4"
    assert (tmp_path / "data/sample/sample.json").is_file()
    assert {p.name for p in run_dir.glob("*.png")} == {"overlays.png", "training_curve.png"}
    assert (run_dir / "evaluation/metrics.json").is_file()
    assert len(list((run_dir / "predictions").iterdir())) == 16
    assert {p.name for p in (results_dir / "figures").iterdir()} == {
        "tiny-small-4-overlays.png",
        "tiny-small-4-training_curve.png",
    }
    record = json.loads(reproduced.read_text())
    assert record["marks"] == {"sample": True, "subset": 2}
    assert record["data"]["images"] == 2
    assert record["changed"] == ["num_steps"]
    assert record["recipe"]["num_steps"] == 4
    assert record["checkpoint"]["step"] == 4
    assert record["miou_before_training"] is not None
    assert record["training"]["split"] == "train_aug"
    assert record["command"] == "python -m reproductions.tiny reproduce --quiet --steps 4 --limit 2 --record"
    assert not (run_dir / "start/model.ckpt-0.index").exists()  # measured, then removed
    # Again: nothing to train, the same record but for its time, and the network before training is remembered.
    assert run("reproduce", "--quiet", "--steps", "4", "--limit", "2", "--record") == 0
    again = json.loads(reproduced.read_text())
    assert again["miou_before_training"] == record["miou_before_training"]
    assert again["miou"] == record["miou"]


def test_a_changed_record_is_refused(reproduced):
    text = reproduced.read_text()
    reproduced.write_text(text.replace('"images": 2', '"images": 1449'))
    with pytest.raises(UserError, match="was changed after its run wrote it"):
        records.read_records()
    reproduced.write_text("{")
    with pytest.raises(UserError, match="not readable JSON"):
        records.read_records()


def test_results_are_written_from_records_and_twice_alike(reproduced, tmp_path, results_dir):
    readme = tmp_path / "README.md"
    begin, end = markers("results")
    readme.write_text(f"# Head\n\n{begin}\nold\n{end}\n\ntail\n")
    results.write_results(readme)
    first = readme.read_text(), (results_dir / "RESULTS.md").read_text()
    stamps = readme.stat().st_mtime_ns, (results_dir / "RESULTS.md").stat().st_mtime_ns
    results.write_results(readme)
    assert (readme.read_text(), (results_dir / "RESULTS.md").read_text()) == first
    assert (readme.stat().st_mtime_ns, (results_dir / "RESULTS.md").stat().st_mtime_ns) == stamps
    assert first[0].startswith("# Head\n")
    assert first[0].endswith("\n\ntail\n")
    assert "old" not in first[0]
    record = json.loads(reproduced.read_text())
    row = next(line for line in first[1].splitlines() if record["id"] in line)
    assert f"{100 * record['miou']:.2f}" in row
    assert "`sample` `subset 2`" in row
    assert f"](runs/{record['id']}.json)" in row
    assert record["id"] not in first[0]
    real = first[1].split("## Sample runs")[0]
    assert record["id"] not in real
    assert "None yet." in real

    readme.write_text("no markers")
    with pytest.raises(UserError, match="has no lines"):
        results.write_results(readme)


def test_of_sample_runs_that_were_made_again_the_newest_is_shown(reproduced):
    record = json.loads(reproduced.read_text())
    again = record | {"id": "again", "finished": "2999-01-01T00:00:00+00:00", "miou": 0.5}
    other = record | {"id": "other", "changed": ["seed"]}
    assert {r["id"] for r in results._sample([again, record, other])} == {"again", "other"}
    real = [r | {"marks": {}} for r in (record, again)]
    assert results._sample(real) == []
    assert len(results._real(real)) == 2


@pytest.mark.parametrize(
    ("seen", "pictures", "evaluated", "said", "expected"),
    [
        (("a",), 1449, 1449, None, {}),
        (("a",), 1449, 20, None, {"subset": 20}),
        (("a",), 462, 462, None, {"subset": 462}),
        (("a", "p7"), 1449, 1449, None, {"val_seen": True}),
        (("a", "p7"), 1449, 7, None, {"subset": 7}),
        (("a",), 1449, 1449, True, {"val_seen": True}),
        ((), 1449, 1449, None, {"val_seen": "unknown"}),
        (("a", "?"), 1449, 1449, None, {"val_seen": "unknown"}),
        (("a", "?"), 1449, 1449, False, {}),
        (("p7", "?"), 1449, 1449, False, {"val_seen": True}),
        ((), 1449, 1449, False, {}),
        ((), 1449, 1449, True, {"val_seen": True}),
    ],
)
def test_marks(tmp_path, seen, pictures, evaluated, said, expected):
    made = Split(VOC2012, "val", tuple((Path(f"p{i}.jpg"), Path()) for i in range(pictures)), is_sample=False)
    if seen:
        (tmp_path / "pictures.txt").write_text("\n".join(seen))
    assert records.marks(made, evaluated, tmp_path, said) == expected


def test_marks_of_the_sample(tmp_path):
    made = Split(VOC2012, "val", ((Path("a"), Path("b")),) * 16, is_sample=True)
    assert records.marks(made, 16, tmp_path, True) == {"sample": True, "val_seen": True}


@pytest.mark.parametrize(
    ("trained", "asked", "protocol", "marks"),
    [
        ("fp32", None, "native, scale 1", {"sample": True}),
        ("fp32", "bf16", "native, scale 1, bf16", {"sample": True, "bf16": True}),
        ("bf16", None, "native, scale 1, bf16", {"sample": True, "bf16": True}),
        ("bf16", "fp32", "native, scale 1", {"sample": True, "bf16": True}),
    ],
)
def test_bf16_stands_in_the_record(sample_set, tmp_path, results_dir, trained, asked, protocol, marks):
    """A record tells the precision of the evaluation; its mark, that of the training too."""
    settings = ["--set", "num_steps=1", "calibration_batches=0", f"precision={trained}"]
    assert run("train", "--data", sample_set, "--run-dir", tmp_path / "r", "--quiet", *settings) == 0
    given = ["--checkpoint", tmp_path / "r/model.ckpt-1", "--quiet", *(["--precision", asked] if asked else [])]
    assert run("evaluate", "--data", sample_set, *given, "--out", tmp_path / "out") == 0
    record = records.read_record(tmp_path / "out" / records.BESIDE)
    assert protocol_text(record["protocol"]) == protocol
    assert record["marks"] == marks
    assert record["recipe"]["precision"] == (asked or trained)
    assert ("precision" in record["changed"]) == (record["recipe"]["precision"] == "bf16")


def test_records_hold_no_ones_home():
    words = records._public("python -m reproductions.v2 train --data /home/me/VOC2012 --set a=/b").split()
    assert "/home/me/VOC2012" not in words
    assert "VOC2012" in words


def test_readme_shows_the_best_ten_of_real_pictures_and_explains_marks_first(reproduced):
    record = json.loads(reproduced.read_text())
    marks = [{}, {"subset": 300}, {"subset": 200}, *[{"subset": 20}] * 15]
    real = [
        record | {"id": f"record{i:04d}", "marks": m, "data": record["data"] | {"images": m.get("subset", 1449)}}
        for i, m in enumerate(marks)
    ]
    text = results.readme_tables(real, read_published())
    table = [line for line in text.splitlines() if "](results/runs/" in line]
    assert len(table) == results.README_ROWS
    assert all(f"record000{i}" in text for i in range(3))
    assert all(f"`{name}" in text.partition("| model |")[0] for name in MARKS)
    assert mark_names({"subset": 20, "val_seen": "unknown"}) == {"subset": "subset 20", "val_seen?": "val_seen?"}


def test_a_record_stands_in_the_line_of_its_published_number(reproduced):
    """In RESULTS.md under its source, no longer under what is missing; in the README where it is a headline."""
    published = read_published()
    (row,) = (r for r in published if r.miou == 77.21 and r.headline)
    record = json.loads(reproduced.read_text())
    ours = made_up(row, miou=0.7700) | {key: record[key] for key in ("title", "pixel_accuracy", "command")}
    text, readme = results.results_text([ours], published), results.readme_tables([ours], published)
    beside = "| 77.21 | 70.63 (github NanqingD/DeepLabV3-Tensorflow)"
    reproduced_part, missing = text.split("## What is missing")
    (line,) = (li for li in reproduced_part.splitlines() if beside in li)
    assert "OS 16, native, scale 1" in line
    assert "[77.00](runs/" in line
    assert "| -0.21 | 1449 |" in line
    assert beside not in missing
    assert "**Published, and reproduced here**" in readme
    assert beside in readme
    assert "-0.21" in readme
    assert "None yet." in results.results_text([], published).split("## What is missing")[0]
    assert "reproduced here" not in results.readme_tables([], published)


def test_no_number_stands_without_a_record_or_a_source(reproduced, results_dir):
    """Every figure with two decimals in RESULTS.md is a record's or a published one, in a line that names which."""
    results.write_results()
    found, rows = records.read_records(), read_published()
    measured = {
        f"{100 * r[k]:.2f}" for r in found for k in ("miou", "pixel_accuracy", "miou_before_training") if k in r
    }
    values = [v for row in rows for v in (row.miou, row.pixel_accuracy, row.multiply_adds) if v is not None]
    published = {f"{value:.2f}" for value in values}
    section, shown = "", 0
    for line in (results_dir / "RESULTS.md").read_text().splitlines():
        section = line if line.startswith("##") else section
        if not line.startswith("|"):
            continue
        cells = line.split("|")
        cells = cells[3:5] if section.startswith("###") else cells  # paper and repository, without the protocols
        cells = [re.sub(r"by another protocol: [^)]*\)", "", cell) for cell in cells]
        numbers = {n for cell in cells for n in re.findall(r"(?<![\w.])\d+\.\d\d(?!\d)", cell)}
        shown += len(numbers)
        assert numbers <= (published if section.startswith("###") else measured), line
        assert not numbers or section.startswith("###") or "](runs/" in line
    assert shown > 200


def test_committed_results_are_what_the_committed_records_give(tmp_path):
    """Of the last commit, so that a user's own records and tables don't matter."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    try:
        paths = git("ls-tree", "--name-only", "HEAD", "results/runs/").split()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    committed = [json.loads(git("show", f"HEAD:{p}")) for p in paths]
    assert committed
    assert all(r["digest"] == records.digest(r) for r in committed)
    (tmp_path / "published.yaml").write_text(git("show", "HEAD:results/published.yaml"), encoding="utf-8")
    published = read_published(tmp_path / "published.yaml")
    has_bench = git("ls-tree", "--name-only", "HEAD", "results/bench.json")
    bench = json.loads(git("show", "HEAD:results/bench.json")) if has_bench else None
    assert git("show", "HEAD:results/RESULTS.md") == results.results_text(committed, published, bench)
    assert results.readme_tables(committed, published) in git("show", "HEAD:README.md")
    assert speed.readme_lines(bench) in git("show", "HEAD:README.md")


def test_reproduce_on_real_pictures(voc_subset, tmp_path, monkeypatch, results_dir):
    monkeypatch.chdir(tmp_path)
    assert run("reproduce", "--data", voc_subset, "--steps", "3", "--limit", "2", "--quiet", "--record") == 0
    (record,) = (results_dir / "runs").glob("*.json")
    assert json.loads(record.read_text())["marks"] == {"subset": 2}


def test_pictures_with_spaces_in_their_names_are_known_again(tmp_path):
    made = Split(VOC2012, "val", ((Path("my photo.jpg"), Path()),) * 1449, is_sample=False)
    (tmp_path / "pictures.txt").write_text("my photo\n")
    assert records.marks(made, 1449, tmp_path, None) == {"val_seen": True}


def test_a_checkpoint_cannot_say_where_its_record_is_written(reproduced, tmp_path, results_dir, capsys):
    """Its stored recipe names the record: a name with folders in it is refused before anything is evaluated."""
    source = Weights(tmp_path / "runs/tiny-small-4/model.ckpt-4")
    recipe = SimpleNamespace(to_json=lambda: source.recipe() | {"variant": "x/../../../../name"})
    checkpoints.write(tmp_path / "hostile" / "model.ckpt", {n: source.value(n) for n in source.names()}, recipe)
    before = sorted(tmp_path.rglob("*"))
    status = run("evaluate", "--data", "sample", "--limit", 1, "--quiet",
                 "--checkpoint", tmp_path / "hostile/model.ckpt", "--out", tmp_path / "out")  # fmt: skip
    assert status == 2
    assert "variant: 'x/../../../../name' is no plain name" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_names_from_files_are_slugged():
    assert slug("../../My Fruit: 2024\n val") == "my_fruit_2024_val"
    assert len(slug("fruit " * 100)) <= 60
    assert all(is_inside(name) for name in ("a", "a/b", "a..b"))
    assert not any(is_inside(name) for name in ("../a", "/a", "a/../../b", "..\\a"))


def test_a_split_that_is_no_plain_name_makes_no_records(tmp_path):
    split = Split(VOC2012, "../../outside", ((tmp_path / "a.jpg", tmp_path / "a.png"),), False)
    with pytest.raises(UserError, match="--split: '../../outside' is no plain name"):
        build(split, tmp_path / "records", 1, 1)
    assert not list(tmp_path.iterdir())


def test_an_index_names_only_shards_beside_it(tmp_path):
    shard = {"file": "../x.tfrecord", "records": 0, "bytes": 0, "sha256": "", "source": "",
             "offsets": [], "pictures": [], "masks": []}  # fmt: skip
    index = Index("voc2012", "val", False, 0, 1, (Shard(**shard),))
    index.write(tmp_path / "val.json")
    with pytest.raises(UserError, match="is not an index"):
        Index.read(tmp_path / "val.json")


def test_picture_scores_name_only_pictures_in_their_folder(tmp_path):
    scores = PictureScores(2)
    scores.add("../../secret", np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
    scores.save(tmp_path / "pictures.npz")
    with pytest.raises(UserError, match="names pictures outside its folder"):
        PictureScores.load(tmp_path / "pictures.npz")


def test_reproduce_says_what_it_has_and_what_to_do_with_it(tmp_path, monkeypatch, capsys):
    """The checkpoint, a command that takes it, and what the network scored before it was trained."""
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "my run"
    assert run("reproduce", "--steps", "4", "--limit", "2", "--run-dir", run_dir) == 0
    printed = capsys.readouterr()
    assert f"\ncheckpoint {run_dir}/model.ckpt-4\n" in printed.out
    following = re.search(r"^on your own photographs: \S+ -m \S+ (.*)$", printed.out, re.MULTILINE)[1]
    photograph = next((tmp_path / "data/sample/JPEGImages").iterdir())
    words = [str(photograph) if word == "photo.jpg" else word for word in shlex.split(following)]
    assert run(*words, "--quiet") == 0
    assert list((tmp_path / "out").glob("*_overlay.png"))
    assert re.search(r"^the network before training: mIoU [\d.]+, 2 pictures$", printed.err, re.MULTILINE)
    assert re.search(r"^training 1/4 .* s left\)$", printed.err, re.MULTILINE)  # from the first step on


def test_a_stride_that_is_not_told_has_its_place():
    """As a network's file of another program tells none."""
    first = records.read_records(ROOT / "results" / "runs")[0]
    strides = {"told": 16, "untold": None}
    made = [first | {"id": i, "protocol": first["protocol"] | {"output_stride": s}} for i, s in strides.items()]
    assert [record["id"] for record in sorted(made, key=results.record_order)] == ["untold", "told"]
