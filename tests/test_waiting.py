"""People who wait: a terminal says from the beginning what a command does, and keeps none of it."""

import itertools
import sys

import pytest

from common import console, program
from tests.helpers import terminal, tiny


@pytest.fixture
def shown():
    """What a function writes to a terminal on stderr, run as commands are."""

    def shown(function, is_quiet=False):
        with terminal.Terminal() as made, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", made.stream)
            console.hush(is_quiet)
            program.run(function)
            console.hush(False)
        return made

    return shown


@pytest.fixture(scope="module")
def trained(sample_set, tmp_path_factory):
    """A run of two steps, made by a person at a terminal."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = ["--set", "num_steps=2", "--data", sample_set]
    status, made = terminal.run("tests.helpers.tiny", "train", *settings, "--run-dir", folder)
    assert status == 0, made.written
    return folder / "model.ckpt-2", made


def in_order(text: str, parts: list[str]) -> bool:
    """Whether the text has these parts, one after the other."""
    places = [text.find(part) for part in parts]
    return places[0] >= 0 and all(a < b for a, b in itertools.pairwise(places))


def steps():
    console.stage("loading")
    console.stage("building the whole of it")
    console.stage("short")


def test_a_stage_takes_the_place_of_the_last_one(shown):
    made = shown(steps)
    assert in_order(made.written, ["loading ...", "building the whole of it ...", "short ..."])
    assert made.screen == []
    assert "\x1b" not in made.written


def test_a_line_leaves_the_stage_below_it(shown):
    def work():
        console.stage("a rather long stage")
        console.say("a note")
        assert console._line._text == "a rather long stage"

    made = shown(work)
    assert made.screen == ["a note"]
    assert in_order(made.written, ["a rather long stage", "a note"])
    assert made.written.count("a rather long stage ...") == 2


def test_a_step_goes_back_to_its_stage(shown):
    def work():
        console.stage("exporting")
        console.step("restoring")
        console.step()
        console.stage("after")
        console.step()

    written = shown(work).written
    assert in_order(written, ["exporting ...", "restoring ...", "after ..."])
    assert (written.count("exporting ..."), written.count("after ...")) == (2, 2)


def test_an_error_and_ctrl_c_leave_no_stage(shown):
    def fail():
        console.stage("building what cannot be built at all")
        raise program.UserError("x: cannot be built")

    def stop():
        console.stage("building")
        sys.stderr.write("^C")  # the terminal echoes it
        raise KeyboardInterrupt

    assert shown(fail).screen == ["error: x: cannot be built"]
    assert shown(stop).screen == ["stopped"]


def test_a_stage_is_cut_to_the_terminal(shown):
    made = shown(lambda: console.stage("long " * 100))
    assert max(map(len, made.written.split("\r"))) < terminal.COLUMNS
    assert made.screen == []


def test_a_bar_takes_the_place_of_stages_and_goes_when_it_was_brief(shown, monkeypatch):
    def count():
        console.stage("building")
        with console.Progress("counting", 3) as progress:
            console.stage("never shown beside a bar")
            for _ in range(3):
                progress.advance()
        console.stage("after")

    made = shown(count)
    assert in_order(made.written, ["building ...", "counting:   0%", "| 0/3", "after ..."])
    assert "never" not in made.written
    assert made.screen == []
    monkeypatch.setattr(console, "BRIEF", 0)
    assert [line[:14] for line in shown(count).screen] == ["counting: 100%"]


def test_one_thing_is_a_stage_and_not_a_bar(shown):
    def count():
        with console.Progress("segmenting", 1) as progress:
            progress.advance()

    made = shown(count)
    assert "segmenting ..." in made.written
    assert "%" not in made.written
    assert made.screen == []


def test_quiet_shows_nothing(shown):
    def count():
        steps()
        with console.Progress("counting", 3, at_once=True) as progress:
            progress.advance()

    assert shown(count, is_quiet=True).written == ""


def test_logs_have_no_stages(capsys):
    program.run(steps)
    assert capsys.readouterr().err == ""


def test_nothing_is_shown_outside_of_commands(shown):
    with terminal.Terminal() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", made.stream)
        steps()
    assert made.written == ""


def test_bars_of_work_with_lines_of_its_own_stay_out_of_logs(capsys, monkeypatch):
    monkeypatch.setattr(console, "LOG_EVERY_SECONDS", 0)
    with console.Progress("evaluations", 2, at_once=True, logs=False) as progress:
        progress.advance()
    assert capsys.readouterr().err == ""


def test_train_says_what_it_does(trained):
    _, made = trained
    stages = ["reading train_aug.txt", "loading TensorFlow ...", "building the network for training ..."]
    assert in_order(made.written, [*stages, "training:   0%", "training: 100%", "drawing the training curve ..."])
    assert [line for line in made.screen if "..." in line] == []


def test_predict_says_what_it_does(trained, sample_set, tmp_path):
    pictures = sample_set / "JPEGImages/sample_00000*.jpg"
    status, made = terminal.run(
        "tests.helpers.tiny", "predict", pictures, "--checkpoint", trained[0], "--out", tmp_path
    )
    assert status == 0, made.written
    stages = ["opening the weights ...", "loading TensorFlow ...", "building the network ..."]
    assert in_order(made.written, [*stages, "restoring the weights ...", "predicting:   0%", "pictures written to"])
    assert made.written.lstrip("\r").startswith("opening the weights ...")
    assert [line for line in made.screen if "..." in line or "predicting" in line] == []
    assert len([line for line in made.screen if line.startswith("sample_")]) == len(made.screen) - 1


def test_predict_keeps_quiet(trained, sample_set, tmp_path, shown):
    words = ["predict", sample_set / "JPEGImages/sample_000001.jpg", "--checkpoint", trained[0], "--out", tmp_path]
    assert "building the network ..." in shown(lambda: tiny.run(*words)).written
    assert shown(lambda: tiny.run(*words, "--quiet")).written == ""


def test_predict_writes_no_stages_to_a_pipe(trained, sample_set, tmp_path, capsys):
    picture = sample_set / "JPEGImages/sample_000001.jpg"
    assert tiny.run("predict", picture, "--checkpoint", trained[0], "--out", tmp_path) == 0
    assert capsys.readouterr().err == ""
