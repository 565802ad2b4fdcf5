"""Committed figures are as new as their records: each carries the ids of records that are committed too."""

import pytest

from common.data.figures import records_of
from common.results import records
from tests.conftest import ROOT
from tests.helpers.tiny import run

FIGURES = sorted((ROOT / "results/figures").iterdir())
# Of no evaluation: `make demo` and `predict` draw photographs, `describe --draw` a network.
WITHOUT = {"demo.jpg", "outputs.jpg", "v3plus_simplified-design.png"}
# Drawn before figures named their records, by a run whose folder is gone: it can only be trained again.
GONE = {"v3-voc_subset-training_curve.png"}


@pytest.mark.parametrize(
    "path", [path for path in FIGURES if path.name not in WITHOUT | GONE], ids=lambda path: path.name
)
def test_a_committed_figure_is_as_new_as_its_record(path):
    committed = {record["id"]: record for record in records.read_records(ROOT / "results/runs")}
    ids = records_of(path)
    assert ids, f"{path.name} names no record: draw it again by `reproduce` (evaluate --trimap draws a trimap)"
    assert set(ids) <= committed.keys()
    for found in (committed[name] for name in ids):
        assert path.name.startswith(f"{found['reproduction']}-")


def test_what_a_run_draws_names_its_records(tmp_path, results_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("reproduce", "--quiet", "--steps", "4", "--limit", "2", "--record") == 0
    (record,) = records.read_records()
    drawn = [*(results_dir / "figures").iterdir(), *(tmp_path / "runs/tiny-small-4").glob("*.png")]
    assert len(drawn) == 4
    assert all(records_of(path) == (record["id"],) for path in drawn)
    evaluate = ("evaluate", "--data", "sample", "--checkpoint", "runs/tiny-small-4/model.ckpt-4", "--limit", "2")
    assert run(*evaluate, "--quiet", "--trimap", "2", "--save-results", "--out", "e") == 0
    panels = [tmp_path / "e/trimap.png", *(tmp_path / "e/results").iterdir()]
    assert len(panels) == 3
    assert all(records_of(path) == (record["id"],) for path in panels)


def test_without_a_word_nothing_goes_into_tables(tmp_path, results_dir, monkeypatch, capsys):
    """A shortened run, and its evaluation: both beside the run, with no figure, no table."""
    monkeypatch.chdir(tmp_path)
    assert run("reproduce", "--quiet", "--steps", "4", "--limit", "2") == 0
    assert not results_dir.exists()
    (record,) = records.read_beside()
    assert record["evaluation"] == "runs/tiny-small-4/evaluation"
    assert "no table shows these" in capsys.readouterr().out
    evaluate = ("evaluate", "--data", "sample", "--checkpoint", "runs/tiny-small-4/model.ckpt-4", "--out", "out/e")
    assert run(*evaluate) == 0
    assert "--record puts it into" in capsys.readouterr().err
    assert len(records.read_beside()) == 2
    assert not results_dir.exists()
    assert run(*evaluate, "--quiet", "--record") == 0
    assert len(records.read_records()) == 1
    assert len(records.read_beside()) == 1  # the one that lay there has moved
