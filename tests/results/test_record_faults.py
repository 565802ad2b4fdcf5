"""Broken records: every one is named with its file and field, and the others are read, by every command."""

import copy
import json
import random

import pytest

from common.errors import UserError
from common.report import __main__ as report
from common.report import tables as report_tables
from common.results import __main__ as results_command
from common.results import eval_all, parity, records, tables
from common.results.published import read_published
from tests.conftest import ROOT

RUNS = sorted((ROOT / "results/runs").glob("*.json"))
GONE = object()


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def wrong_values():
    """Values that some field does not take; lists and mappings are new ones each time."""
    return (GONE, None, 0, -1, 3.5, "text", "", "a\0b", "\ud800", [], {}, [None], {"x": 1}, True, False, float("nan"),
            float("inf"), 10**300, 1e300, deep(60), "x" * 200_000, [0] * 10_000, "-", "../../x")  # fmt: skip


def places(value, path=()):
    """The paths to all values; of lists and of classes the first alone."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in list(value)[:1] if path == ("per_class_iou",) else value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def mutants(record):
    """Each value replaced by each wrong one, with a digest that fits, as a program that writes them would do it."""
    for path in places(record):
        for number, wrong in enumerate(wrong_values()):
            mutant = copy.deepcopy(record)
            holder = mutant
            for key in path[:-1]:
                holder = holder[key]
            if wrong is not GONE:
                holder[path[-1]] = wrong
            elif isinstance(holder, dict):
                del holder[path[-1]]
            if path != ("digest",):
                try:
                    mutant["digest"] = records.digest(mutant)
                except (RecursionError, UnicodeEncodeError):
                    mutant["digest"] = "none"
            yield ".".join(map(str, path)), number, mutant


def read_or_named(path, record, read, field):
    """The record read; None when a sentence refuses it, which must name the file and the field."""
    path.write_text(json.dumps(record))
    try:
        return read()
    except UserError as error:
        text = str(error)
        assert text.startswith(f"{path}: ")
        assert "\n" not in text
        assert len(text) < 700
        head = field.split(".")[0]
        assert head in text or "was changed" in text or "schema" in text or "its name is not" in text, (field, text)
        return None


@pytest.mark.parametrize("number", [*(pytest.param(n, marks=pytest.mark.full) for n in (0, 3)), -1])
def test_any_mutation_of_a_record_is_read_or_named(tmp_path, number):
    record, published = json.loads(RUNS[number].read_text()), read_published()
    counts = {True: 0, False: 0}
    for field, _, mutant in mutants(record):
        found = read_or_named(tmp_path / "m.json", mutant, lambda: records.read_record(tmp_path / "m.json"), field)
        counts[found is not None] += 1
        if found is not None:  # then everything that reads records takes it
            tables.results_text([found], [])
            tables.readme_tables([found], [])
            json.dumps(report_tables.evaluation(found), allow_nan=False)
            [tables.matching_record(row, [found]) for row in published[:1]]
    assert counts[False] > 800
    assert counts[True] > 50


def test_any_mutation_of_a_parity_record_is_read_or_named(tmp_path):
    path = tmp_path / "v3.json"
    record = json.loads((ROOT / "results/parity/v3.json").read_text())
    record["measurements"] = record["measurements"][:2]
    refused = 0
    for field, _, mutant in mutants(record):
        found = read_or_named(path, mutant, lambda: parity.read_records(tmp_path), field)
        refused += found is None
        if found is not None:
            parity.page(found)
    assert refused > 400


def test_any_cut_or_scrambled_record_is_one_sentence(tmp_path):
    text = RUNS[0].read_bytes()
    rng = random.Random(1)
    path = tmp_path / "m.json"
    for _ in range(150):
        data = bytearray(text[: rng.randrange(len(text))] if rng.random() < 0.5 else text)
        for _ in range(rng.randrange(1, 4) if data else 0):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(bytes(data))
        if bytes(data) != text:
            with pytest.raises(UserError, match="m.json: "):
                records.read_record(path)


@pytest.fixture
def with_broken_ones(results_dir, tmp_path, monkeypatch):
    """Two good records among three broken ones, and a good parity record beside half a one."""
    monkeypatch.chdir(tmp_path)
    (results_dir / "runs").mkdir(parents=True)
    (results_dir / "parity").mkdir()
    for path in RUNS[:2]:
        (results_dir / "runs" / path.name).write_bytes(path.read_bytes())
    record = json.loads(RUNS[2].read_text())
    del record["miou"]
    (results_dir / "runs/lacks.json").write_text(json.dumps(record | {"digest": records.digest(record)}))
    (results_dir / "runs/half.json").write_bytes(RUNS[3].read_bytes()[:700])
    (results_dir / "runs/twice.json").write_bytes(RUNS[0].read_bytes())
    (results_dir / "parity/v3.json").write_bytes((ROOT / "results/parity/v3.json").read_bytes())
    (results_dir / "parity/v2.json").write_bytes((ROOT / "results/parity/v2.json").read_bytes()[:99])
    return {path.stem for path in RUNS[:2]}


def test_the_others_are_shown_and_the_broken_ones_named(with_broken_ones, results_dir, tmp_path, capsys):
    assert results_command.main([]) == 2
    error = capsys.readouterr().err
    assert "lacks.json: miou is missing; run it again or delete it; left out" in error
    assert "half.json: is not readable JSON" in error
    assert "v2.json: is not readable JSON" in error
    assert error.count("left out") == 4
    text = (results_dir / "RESULTS.md").read_text()
    assert all(name in text for name in with_broken_ones)
    assert "NanqingD" in (results_dir / "PARITY.md").read_text()
    assert report.main(["--quiet"]) == 2
    assert "lacks.json: miou is missing" in capsys.readouterr().err
    page = (results_dir / "report/assets/data.js").read_text()
    assert all(name in page for name in with_broken_ones)


def test_eval_all_goes_on_without_the_broken_ones(with_broken_ones, monkeypatch, capsys):
    monkeypatch.setattr(eval_all, "reproductions", dict)
    assert eval_all.main(["--list"]) == 2
    assert "half.json: is not readable JSON" in capsys.readouterr().err
