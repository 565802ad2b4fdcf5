"""The bench's machinery with toy contestants; no assertion on time."""

import argparse
import json
import sys
import time

import numpy as np
import pytest

from common.errors import UserError
from common.results import records, speed
from tests.bench import __main__ as command
from tests.bench import contest, worker
from tests.bench.__main__ import part_names
from tests.bench.contest import CannotRun, Contestant
from tests.bench.parts import PARTS, Part

TOY = "tests.bench.test_bench:"


def toy(value: int = 3, fail_at: int = 0, width: int = 1):
    """A contestant whose label map is a row of `value`; the unit number `fail_at` fails."""
    done = []
    print("a library's chatter on standard output")

    def work():
        done.append(0)
        if len(done) == fail_at:
            raise ValueError("the toy broke")
        return np.array([[3, value] * width], np.uint8)

    return work


def nothing():
    """A contestant without a label map."""
    return lambda: None


def test_a_worker_answers_each_line(tmp_path):
    with contest.Worker(Contestant(f"{TOY}toy", {"value": 5}).command()) as process:
        assert process.ask() == {"ready": True}
        assert set(process.ask("run")) == {"seconds", "processor"}
        assert process.ask(f"save {tmp_path / 'a b.npy'}") == {"saved": True}
        assert np.load(tmp_path / "a b.npy").tolist() == [[3, 5]]
        assert process.ask("end")["peak_mib"] > 0


def test_processor_seconds_are_those_of_the_work():
    answers = []

    class Answers:
        def write(self, text):
            answers.append(text)

        def flush(self):
            pass

    worker.serve(lambda: time.sleep(0.2), ["run\n", "end\n", "run\n"], Answers())
    said = [json.loads(text) for text in "".join(answers).splitlines()]
    assert len(said) == 3
    assert said[1]["seconds"] >= 0.2 > said[1]["processor"]


def test_a_contest_has_figures_of_all_in_the_order_given(monkeypatch):
    monkeypatch.setattr(contest, "PAUSE", 0)
    figures = contest.contest(
        {
            "product": Contestant(f"{TOY}toy"),
            "other": Contestant(f"{TOY}toy", {"value": 4}),
            "absent": Contestant(f"{TOY}toy", package="no-such-package"),
            "broken": Contestant(f"{TOY}toy", {"fail_at": 2}),
            "nameless": Contestant("tests.bench.no_such_module:toy"),
            "mapless": Contestant(f"{TOY}nothing"),
            "wide": Contestant(f"{TOY}toy", {"width": 2}),
        },
        rounds=3,
        installed={},
    )
    assert list(figures) == ["product", "other", "absent", "broken", "nameless", "mapless", "wide"]
    assert set(figures["product"]) == {"median", "minimum", "processor", "rounds", "peak_mib", "agreement"}
    assert figures["product"]["rounds"] == 3
    assert figures["product"]["agreement"] == 1
    assert figures["other"]["agreement"] == 0.5
    assert figures["absent"] == {"skipped": contest.NOT_INSTALLED}
    assert figures["broken"] == {"skipped": "ValueError: the toy broke"}
    assert "no_such_module" in figures["nameless"]["skipped"]
    assert "agreement" not in figures["mapless"]
    assert figures["wide"] == {"skipped": "its label map is of shape (1, 4), not (1, 2)"}


def test_the_product_must_run(monkeypatch):
    monkeypatch.setattr(contest, "PAUSE", 0)
    with pytest.raises(CannotRun, match="product: ValueError: the toy broke"):
        contest.contest({"product": Contestant(f"{TOY}toy", {"fail_at": 1})}, 1, {})


def test_medians_and_minima():
    answers = [{"seconds": s, "processor": 2 * s} for s in (3.0, 1.0, 2.0)]
    assert contest.summary(answers) == {"median": 2, "minimum": 1, "processor": 4, "rounds": 3}


def test_whole_processes(monkeypatch):
    monkeypatch.setattr(contest, "PAUSE", 0)
    figures = contest.processes(
        {
            "product": [sys.executable, "-c", "pass"],
            "broken": [sys.executable, "-c", "raise SystemExit('no such thing')"],
            "absent": "not installed",
        },
        rounds=2,
    )
    assert set(figures["product"]) == {"median", "minimum", "processor", "rounds", "peak_mib"}
    assert figures["broken"] == {"skipped": "no such thing"}
    assert figures["absent"] == {"skipped": "not installed"}


@pytest.fixture
def two_parts(monkeypatch):
    """The bench with two parts that measure nothing, whose figures count how often they were measured."""
    counts = {"one": 0, "two": 0}

    def part(name):
        def measure(shop):
            counts[name] += 1
            figures = {"median": float(counts[name]), "minimum": 1.0, "processor": 1.0, "rounds": shop.rounds}
            return {"product": figures | {"peak_mib": 9}}

        return Part(f"part {name}", measure)

    PARTS_BEFORE = dict(PARTS)
    PARTS.clear()
    PARTS.update({name: part(name) for name in counts})
    monkeypatch.setattr(contest, "PEERS", "/no/such/python")
    yield counts
    PARTS.clear()
    PARTS.update(PARTS_BEFORE)


def medians():
    return {n: p["contestants"]["product"]["median"] for n, p in speed.read_bench()["parts"].items()}


def test_only_keeps_the_other_parts(two_parts, capsys):
    assert command.main(["--rounds", "2"]) == 0
    assert medians() == {"one": 1, "two": 1}
    assert command.main(["--only", "two"]) == 0
    assert medians() == {"one": 1, "two": 2}
    part = speed.read_bench()["parts"]["two"]
    assert part["contestants"]["product"]["rounds"] == 5
    assert part["cpu"] == records.cpu()
    assert "part two" in capsys.readouterr().out
    for wrong in ("three", "two, three", "", " "):
        with pytest.raises(SystemExit):
            command.main(["--only", wrong])
        assert "there are one, two" in capsys.readouterr().err
    assert command.main(["--only", "one, two"]) == 0


def test_only_takes_the_first_words_of_parts():
    names = command.part_names("export ops")
    assert names[-1] == "ops"
    assert len(names) > 5
    assert all(name.startswith("export_") for name in names[:-1])


def test_a_run_that_fails_or_stops_leaves_the_file(two_parts, capsys):
    assert command.main([]) == 0
    before = speed.bench_path().read_bytes()

    def fails(shop):
        raise CannotRun("product: out of memory")

    def stops(shop):
        raise KeyboardInterrupt

    PARTS["two"] = Part("part two", fails)
    assert command.main([]) == 2
    assert "two: product: out of memory; nothing was written" in capsys.readouterr().err
    PARTS["two"] = Part("part two", stops)
    assert command.main([]) != 0
    assert speed.bench_path().read_bytes() == before


def test_only_refuses_a_broken_file_before_it_measures(two_parts, capsys):
    speed.bench_path().parent.mkdir()
    speed.bench_path().write_text('{"cores": 2}')
    assert command.main(["--only", "two"]) == 2
    assert "bench.json: schema is missing; measure again with `make bench`" in capsys.readouterr().err
    assert two_parts == {"one": 0, "two": 0}
    assert command.main([]) == 0
    assert set(medians()) == {"one", "two"}
    with pytest.raises(UserError):
        speed.bench_path().write_text("{")
        speed.read_bench()


def test_the_tables_know_the_contestants_and_parts():
    """What the README shows are parts of the bench."""
    assert {name for names in speed.LINES.values() for name in names} <= set(PARTS)


def test_a_word_stands_for_the_parts_that_begin_with_it():
    engines = part_names("engines")
    assert "engines_picture_mobilenetv2_os8" in engines
    assert "engines_start_mobilenetv2_os8" in engines
    assert part_names("crf_500x375, ops") == ["crf_500x375", "ops"]
    for text in ("engine", "", "crf_5"):
        with pytest.raises(argparse.ArgumentTypeError, match="there are picture_"):
            part_names(text)
