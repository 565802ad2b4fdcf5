"""The table and the page of equality, made of records, and the command that writes them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from common.errors import UserError
from common.files import write_text
from common.results import __main__ as results_command
from common.results import parity, readme, records
from tests.conftest import ROOT
from tests.parity import __main__ as command
from tests.parity.measurement import Measurement, Skipped, by_each, by_largest, by_name, by_pixel, check


def measured(what="logits", difference=1.2e-6, tolerance=2e-5, **changes):
    about = {"case": "a", "measure": "largest", "count": 4641} | changes
    return Measurement(what=what, difference=difference, tolerance=tolerance, **about)


@pytest.fixture
def record(results_dir, monkeypatch):
    """Writes the record of a program from its measurements, as the command does; returns the records so far."""
    monkeypatch.setattr(command, "code_version", lambda module: "of no matter")

    def write(program, *found, skipped=()):
        command._write(program, list(found), list(skipped), 12.34)
        return parity.read_records()

    return write


def row(table, name):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {parity.PROGRAMS[name].name}")]
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_a_row_is_what_was_measured(record):
    found = record(
        "v2",
        measured("variables", 0, 0, measure="names"),
        measured(),
        measured(difference=2.5e-6, case="b"),
        measured("label maps", 0.0, 1e-3, measure="pixels"),
        measured("losses", 3e-6, 1e-4, measure="each"),
        measured("gradients", 4e-4, 1e-3, measure="each"),
        measured("training steps", 5e-6, 5e-4, measure="each"),
    )
    table = parity.readme_table(found)
    assert row(table, "v2")[1:] == ["equal", "2.5e-6", "100 %", "loss 3e-6, gradient norms 4e-4", "loss 5e-6", "-"]
    assert found[0]["compared"]["logits"]["cases"] == 2
    assert found[0]["compared"]["logits"]["tolerance"] == 2e-5
    assert "2e-5" not in table  # a tolerance is no figure


def test_a_pixel_that_differs_is_not_rounded_away(record):
    found = record("v3", measured("label maps", 1e-7, 1e-3, measure="pixels"))
    assert row(parity.readme_table(found), "v3")[3] == "99.999 %"


def test_programs_without_a_record_are_named(record):
    assert parity.readme_table([]) == parity.NONE_YET
    assert "make parity" in parity.NONE_YET
    table = parity.readme_table(record("v3", measured()))
    assert all(f"(`{name}`)" in table.partition("Not measured yet: ")[2] for name in parity.PROGRAMS if name != "v3")
    assert "(`v3`)" not in table.partition("Not measured yet: ")[2]


def test_an_exception_is_shown_with_its_figures_and_is_no_figure_of_the_row(record):
    odd = {"measure": "each", "exception": "Near-ties flip."}
    found = record(
        "v1",
        measured("training steps", 5e-7, 5e-4, measure="each"),
        measured("training steps", 1.6e-3, 1e-2, detail="step 4, with oneDNN", **odd),
        measured("rounding alone", 2e-3, None, detail="ours against ours", **odd),
    )
    table = parity.readme_table(found)
    assert row(table, "v1")[5] == "loss 5e-7¹"
    assert row(table, "v1")[4] == "²"
    assert "¹ Training steps: 1.6e-3 (a, step 4, with oneDNN). Near-ties flip." in table
    assert "² Rounding alone: 2e-3 (a, ours against ours). Near-ties flip." in table


def test_a_difference_beyond_its_tolerance_stands_out(record):
    found = record("v2", measured(difference=3e-5), measured(difference=float("nan"), case="b"))
    assert row(parity.readme_table(found), "v2")[2] == "**nan**"
    page = parity.page(found)
    assert "| **3e-5** | 2e-5 |" in page


def test_what_was_skipped_is_said(record):
    found = record("v3plus_zoo", measured(), skipped=[Skipped("real label maps", "the weights are not to be had")])
    table = parity.readme_table(found)
    assert row(table, "v3plus_zoo")[6] == "¹"
    assert "¹ Not measured: the weights are not to be had." in table
    page = parity.page(found)
    assert "Not measured, real label maps: the weights are not to be had." in page


def test_the_page_has_every_case(record):
    found = record("v3", measured(), measured("moving statistics", 2e-7, 1e-5, detail="after one update", case="b"))
    page = parity.page(found)
    assert "| a | logits | - | 4,641 | largest | 1.2e-6 | 2e-5 |" in page
    assert "| b | norms of moving statistics | after one update | 4,641 | largest | 2e-7 | 1e-5 |" in page
    assert all(f"*{name}*" in page for name in parity.MEASURES)
    assert "](results/" not in page


def test_the_readme_is_filled_between_its_markers(record, tmp_path):
    found, path, (begin, end) = record("v3", measured()), tmp_path / "README.md", readme.markers("parity")
    path.write_text(f"a\n{begin}\nold\n{end}\nb\n")
    for _ in range(2):
        parity.write_page(path)
        assert path.read_text() == f"a\n{begin}\n\n{parity.readme_table(found)}\n\n{end}\nb\n"
    path.write_text(f"only {begin}\n")
    with pytest.raises(UserError, match="README.md: has no lines '<!-- parity: begin"):
        parity.write_page(path)


def test_results_write_the_page_and_the_readme(record, results_dir, tmp_path, capsys):
    found, path = record("v3", measured()), tmp_path / "README.md"
    path.write_text("\n".join(readme.markers("parity")))
    assert parity.write_page(path) == (results_dir / "PARITY.md", [])
    assert parity.readme_table(found) in path.read_text()
    before = (ROOT / "README.md").read_bytes()
    assert results_command.main([]) == 0
    assert f"{results_dir / 'PARITY.md'}\n" in capsys.readouterr().out
    assert (ROOT / "README.md").read_bytes() == before


def test_the_committed_page_and_readme_are_what_the_committed_records_give():
    found = parity.read_records(ROOT / "results/parity")
    path, table = ROOT / "README.md", parity.readme_table(found)
    assert [record["program"] for record in found] == list(parity.PROGRAMS)
    assert readme.filled(path, "parity", table) == path.read_text(encoding="utf-8")
    assert parity.page(found) == (ROOT / "results/PARITY.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 1.5}, "was changed after `make parity` wrote it"),
        ({"compared": {"logits": 0}}, "compared.logits is 0, not a mapping"),
        ({"schema": 2, "digest": None}, "is of schema 2"),
        ({"program": "v3", "digest": None}, "its name is not its program's"),
        ({"cpu": None, "digest": None}, "cpu is None, not a text"),
    ],
)
def test_bad_records_are_refused(record, change, message):
    record("v2", measured())
    path = parity.record_path("v2")
    content = json.loads(path.read_text()) | change
    if content["digest"] is None:
        content["digest"] = records.digest(content)
    write_text(path, json.dumps(content))
    with pytest.raises(UserError, match="v2.json: ") as error:
        parity.read_records()
    assert message in str(error.value)


def test_measurements_measure():
    ours, theirs = {"a": [1], "b": [2], "d": None}, {"a": [1], "b": [3], "c": None}
    assert by_name("x", ours, theirs).difference == 3
    assert by_name("x", theirs, theirs).holds
    assert by_pixel("x", np.array([1, 2, 3, 4]), np.array([[1], [2], [3], [5]])).difference == 0.25
    assert by_largest("x", "logits", [1.0, 2.0], np.array([1.0, 4.0])).difference == 0.5
    assert by_each("x", "losses", [1.0, 0.0], [2.0, 0.0]).difference == 0.5
    assert by_each("x", "losses", [1.0], [0.0]).difference == float("inf")
    assert not by_each("x", "losses", [float("nan")], [1.0]).holds
    with pytest.raises(AssertionError):
        by_largest("x", "logits", [[1.0]], np.array([1.0]))
    for wrong in ([], [measured(difference=1.0)]):
        with pytest.raises(AssertionError):
            check(wrong)


def test_the_command_lists_its_programs_without_tensorflow():
    program = (
        "import sys; from tests.parity.__main__ import main; status = main(['--list']); "
        "assert 'tensorflow' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(parity.PROGRAMS)


def test_every_program_has_its_comparisons():
    assert all((ROOT / f"tests/parity/{name}.py").is_file() for name in parity.PROGRAMS)


def test_a_wrong_program_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["v9"])
    message = capsys.readouterr().err
    assert end.value.code == 2
    assert message.startswith("error: PROGRAM v9: there are v1, ")


def test_the_command_writes_a_record_and_its_status_says_whether_all_is_equal(results_dir, monkeypatch, capsys):
    for difference, status in ((1e-6, 0), (1e-3, 1)):
        module = type("", (), {"measurements": staticmethod(lambda d=difference: iter([measured(difference=d)]))})
        monkeypatch.setattr(command.importlib, "import_module", lambda name, found=module: found)
        assert command.main(["v1_caffe"]) == status
        (found,) = parity.read_records()
        assert found["compared"]["logits"]["largest"] == difference
    assert "a: logits: 0.001, allowed 2e-05" in capsys.readouterr().out


def test_a_program_without_answers_is_one_sentence_and_writes_nothing(results_dir, monkeypatch, capsys):
    module = type("", (), {"measurements": staticmethod(lambda: iter([]))})
    monkeypatch.setattr(command.importlib, "import_module", lambda name: module)
    assert command.main(["v2"]) == 2
    assert "has no answers of zhengyang-wang" in capsys.readouterr().err
    assert not results_dir.exists()
