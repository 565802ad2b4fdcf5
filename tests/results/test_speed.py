"""The Speed section and the README's lines from a small bench.json; absent, old and broken ones."""

import json

import pytest

from common.errors import UserError
from common.results import __main__ as results_command
from common.results import readme, speed, tables
from common.results.records import dumps


def figures(median: float, peak: int = 100, **more) -> dict:
    return {"median": median, "minimum": median / 2, "processor": 2 * median, "peak_mib": peak, "rounds": 5, **more}


def part(title: str, contestants: dict, **more) -> dict:
    measured = {"load": [0.1, 1.6], "measured": "2026-11-27T10:00:00+00:00", "commit": "0123456789abcdef+changes"}
    machine = {"cpu": "AMD EPYC", "cores": 2, "versions": {"torch": "2"}}
    return {"title": title, "contestants": contestants, **measured, **machine, **more}


@pytest.fixture
def bench() -> dict:
    pictures = {
        "product": figures(0.5, 900, agreement=1.0),
        "product bf16": figures(0.25, 950, agreement=0.98),
        "onnxruntime": figures(0.4, 650, agreement=0.9999),
        "torch": {"skipped": "not installed | <b>"},
    }
    return {
        "schema": 1,
        "parts": {
            "picture_resnet101": part("513x513: v2", pictures),
            "update_resnet101": part("update: v2", {"product": figures(2.4), "torch": figures(3.0)}),
            "ops": part("ops: v2", {"side by side": figures(1.5)}),
        },
    }


@pytest.fixture
def written(bench, results_dir):
    results_dir.mkdir()
    speed.bench_path().write_text(dumps(bench))
    return bench


def rows(text: str, begin: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith(f"| {begin}")
    ]


def test_exported_files_have_a_table_of_their_own(bench):
    files = {"bytes": 6_235_989, "export_seconds": 9.87, "export_peak_mib": 1209}
    contestants = {"product": figures(0.5, agreement=1.0), "onnx": figures(0.25, 447, agreement=0.9999, **files)}
    alone = speed.section({"parts": {"export_simplified": part("simplified", contestants)}})
    assert rows(alone, "simplified") == [
        ["simplified", "suite", "100.00", "-", "0.500", "0.250", "100", "-", "-"],
        ["simplified", "onnx", "99.99", "6.2", "0.250", "0.125", "447", "9.87", "1209"],
    ]
    bench["parts"]["export_simplified"] = part("simplified", contestants)
    assert len(rows(speed.section(bench), "simplified")) == 2


def test_medians_stand_beside_the_products(bench):
    text = speed.section(bench)
    assert rows(text, " |") == 3 * [["", "suite", "suite, bf16", "ONNX Runtime", "torch"]]
    seconds, processor, memory = rows(text, "513x513")
    assert seconds == ["513x513: v2", "0.500", "0.250 (0.50, 98.0 % equal)", "0.400 (0.80)", "-"]
    assert processor == ["513x513: v2", "1.00", "0.500", "0.800", "-"]
    assert memory == ["513x513: v2", "900", "950", "650", "-"]
    assert rows(text, "update")[0] == ["update: v2", "2.40", "-", "-", "3.00 (1.25)"]
    assert rows(text, "ops") == [["ops: v2", "side by side", "1.50", "0.750", "3.00", "100"]]
    assert "- torch: not installed" in text
    assert "2 cores, AMD EPYC, torch 2, 2026-11-27, commit 0123456789ab+changes, load 0.1 to 1.6: 3 of the" in text


def test_the_readme_has_a_line_for_pictures_training_and_start(bench):
    text = speed.readme_lines(bench)
    assert "- One picture of 513x513, seconds: v2's ResNet-101 0.500, 0.250 in bf16 (ONNX Runtime 0.400)." in text
    assert "- Training, an update on 2 crops of 321, seconds: v2's ResNet-101 2.40 (torch 3.00)." in text
    assert "first label map" not in text  # not measured
    bench["parts"]["start_mobilenetv2_os8"] = part("start", {"product": figures(4.0), "openvino": figures(0.9)})
    lines = speed.readme_lines(bench).splitlines()
    assert lines[0].startswith("On 2 cores, AMD EPYC; ")
    assert len([line for line in lines if line.startswith("- ")]) == 3


def test_make_results_writes_section_and_lines(written, results_dir, tmp_path, capsys):
    path = tmp_path / "README.md"
    begin, end = readme.markers("speed")
    path.write_text(f"a\n{begin}\nold\n{end}\nb\n")
    speed.fill_readme(path)
    assert path.read_text() == f"a\n{begin}\n\n{speed.readme_lines(written)}\n\n{end}\nb\n"
    assert results_command.main([]) == 0
    section = (results_dir / "RESULTS.md").read_text().split("## Speed\n\n")[1]
    assert section == speed.section(written).replace("](results/", "](") + "\n"


def test_without_a_measurement_the_command_is_named(results_dir):
    assert speed.section(None) == speed.readme_lines(None) == speed.NONE_YET
    assert speed.section({"parts": {}}) == speed.NONE_YET
    assert tables.write_results() == []
    assert speed.NONE_YET in (results_dir / "RESULTS.md").read_text()


OLD = {"v2_forward_513": {"native": 1.065}, "cores": 2}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps(OLD), "schema is missing; measure again with `make bench`"),
        ("{", "is not readable JSON"),
        ("[1]", "is no table of figures"),
        ('{"schema": 2}', "is of schema 2, newer than this checkout"),
        ('{"schema": 1, "parts": []}', "parts is []"),
    ],
)
def test_an_old_or_broken_file_is_one_sentence(content, said, results_dir, capsys):
    results_dir.mkdir()
    speed.bench_path().write_text(content)
    assert results_command.main([]) == 2
    errors = capsys.readouterr().err
    assert errors.count("bench.json") == 1
    assert said in errors
    assert speed.NONE_YET in (results_dir / "RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("key", "value"),
    [("median", 0), ("median", -1.0), ("median", "fast"), ("minimum", None), ("agreement", 1.5), ("peak_mib", 1.5)],
)
def test_a_wrong_figure_is_named(key, value, bench, results_dir):
    bench["parts"]["ops"]["contestants"]["side by side"][key] = value
    results_dir.mkdir()
    speed.bench_path().write_text(json.dumps(bench))
    with pytest.raises(UserError, match=rf"bench.json: parts.ops.contestants.side by side.{key} is "):
        speed.read_bench()


def test_figures_may_be_missing(bench, results_dir):
    """A product that has no figure makes no ratio, and breaks no table."""
    bench["parts"]["update_resnet101"]["contestants"]["product"] = {}
    bench["parts"]["picture_resnet101"]["contestants"]["onnxruntime"] = {"median": 1.0}
    text = speed.section(bench)
    assert rows(text, "update")[0] == ["update: v2", "-", "-", "-", "3.00"]
    assert "update" not in speed.readme_lines(bench)
