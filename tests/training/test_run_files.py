"""Damaged files of a run, and of the bench: one sentence with file and field or line, and nothing else stops."""

import json

import pytest

from common.errors import UserError
from common.report import folder, tables
from common.training import run_folder


@pytest.mark.parametrize(
    ("field", "value"),
    [("command", 3), ("init", ["x"]), ("data", None), ("val_limit", "ten"), ("images", {}), ("init_digest", 1.5)],
)
def test_a_field_of_train_json_that_is_wrong_is_named(tmp_path, field, value):
    (tmp_path / "train.json").write_text(json.dumps({"command": "x", "init": None, field: value}))
    with pytest.raises(UserError, match=rf"train\.json: {field}=.* is not what a training run writes"):
        run_folder.read_summary(tmp_path)


def test_a_summary_of_an_older_run_is_read(tmp_path):
    (tmp_path / "train.json").write_text('{"command": "x"}')
    assert run_folder.read_summary(tmp_path) == {"command": "x"}


@pytest.mark.parametrize("content", ["{}", "[1]", '{"miou": "high"}', '{"miou": 7}', '{"miou": true}'])
def test_the_untrained_networks_score(tmp_path, content):
    run_folder.check_untrained(tmp_path)
    (tmp_path / "start").mkdir()
    (tmp_path / "start/metrics.json").write_text(content)
    with pytest.raises(UserError, match=r"start/metrics\.json: has no miou from 0 to 1"):
        run_folder.check_untrained(tmp_path)
    (tmp_path / "start/metrics.json").write_text('{"miou": 0.03}')
    run_folder.check_untrained(tmp_path)


@pytest.mark.parametrize("name", [run_folder.LOG, run_folder.VALIDATION])
@pytest.mark.parametrize(
    "damage", ["\x00\x01", '{"step": "2"}', '{"step": 2, "loss": "low"}', '{"step": true}', "[" * 9999]
)
def test_a_damaged_line_of_a_log_is_named(tmp_path, capsys, name, damage):
    (tmp_path / name).write_text(f'{{"step": 1}}\n{damage}\n{{"step": 3}}\n')
    assert run_folder.read_log(tmp_path, name) == [{"step": 1}]
    said = capsys.readouterr().err
    assert said == f"{tmp_path / name}: line 2 is damaged; it and the 1 lines after it are left out\n"
    (tmp_path / name).write_text(f'{{"step": 1}}\n{damage}')  # as a killed run leaves it
    assert run_folder.read_log(tmp_path, name) == [{"step": 1}]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", ["[]", "{", "3"])
def test_a_bench_that_is_damaged_stops_no_other_table(tmp_path, results_dir, monkeypatch, content):
    results_dir.mkdir()
    (results_dir / "bench.json").write_text(content)
    with pytest.raises(UserError, match=r"bench\.json: is "):
        tables.bench()
    monkeypatch.setattr(tables, "published", lambda found: ["a table"])
    page = folder.collect([], (), tmp_path, quiet=True)
    assert page["bench"] is None
    assert any("bench.json: is " in missing["what"] for missing in page["missing"])
    assert page["published"] == ["a table"]
