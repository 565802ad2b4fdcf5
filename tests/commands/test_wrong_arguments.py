"""A wrong argument is answered by the command that was called, and not by the one above it."""

import pytest
from PIL import Image

from common.commands.options import _scales
from common.inference import crf
from common.report import __main__ as report
from common.results import __main__ as results_command
from common.results import compare, eval_all
from tests.helpers.tiny import run

COMMANDS = ("train", "evaluate", "predict", "export", "describe", "reproduce")
NEEDED = {
    "train": ("--data", "x"),
    "evaluate": ("--data", "x", "--checkpoint", "x", "--out", "x"),
    "predict": ("x.jpg", "--checkpoint", "x", "--out", "x"),
    "export": ("--checkpoint", "x", "--out", "x"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("wrong", [("--nonsense",), ("--set",), ("--quiet", "--flp")])
def test_a_subcommand_answers_itself(command, wrong, capsys):
    assert run(command, *NEEDED.get(command, ()), *wrong) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert f"--help lists what python -m reproductions.tiny {command} takes" in error


@pytest.mark.parametrize("command", [c for c in COMMANDS if c in NEEDED])
def test_what_is_missing_too(command, capsys):
    assert run(command) == 2
    assert f"--help lists what python -m reproductions.tiny {command} takes" in capsys.readouterr().err


def test_a_wrong_subcommand_is_the_commands(capsys):
    assert run("pridect") == 2
    assert "--help lists what python -m reproductions.tiny takes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("main", "program", "needed"),
    [
        (crf.main, "common.inference.crf", ["--image", "a", "--probabilities", "b", "--out", "c"]),
        (report.main, "common.report", []),
        (results_command.main, "common.results", []),
        (compare.main, "common.results.compare", ["a", "b"]),
        (eval_all.main, "common.results.eval_all", []),
    ],
)
def test_other_commands(main, program, needed, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*needed, "--nonsense"])
    assert f"--help lists what python -m {program} takes" in capsys.readouterr().err


def test_help_says_how_scales_are_written(capsys):
    assert run("predict", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "numbers with commas between them and no blanks, such as 0.5,0.75,1" in text
    assert _scales("0.5,0.75,1") == (0.5, 0.75, 1.0)


@pytest.mark.parametrize("words", [
    ["--scales", "x" * 100_000], ["--checkpoint", "x" * 100_000], ["--set", "x" * 100_000],
    ["--set", "x" * 100_000 + "=1"], ["--set", "variant=" + "x" * 100_000], ["--set", "crop_size=" + "x" * 100_000],
])  # fmt: skip
def test_an_argument_of_any_length_leaves_room_for_the_advice(words, capsys, tmp_path):
    picture = tmp_path / "a.png"
    Image.new("RGB", (2, 2)).save(picture)
    assert run("predict", picture, "--checkpoint", "none", "--out", tmp_path / "o", *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "x..." in said
    assert not said.rstrip().endswith("x...")
    assert len(said) < 700
