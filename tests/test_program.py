"""What all command lines share: one sentence for an error, of bounded length, that steers no terminal."""

import argparse
import os
import re
import signal
import subprocess
import sys

import pytest

import common
from common import console, program
from common.errors import LONGEST_MESSAGE, UserError
from tests.conftest import ROOT
from tests.test_without_tensorflow import programs

BELL_AND_COLOUR = "a\x07b\x1b[31m"
ESCAPED = "a\\x07b\\x1b[31m"


def raising(error: BaseException):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError(BELL_AND_COLOUR), 2),
        (OSError(5, BELL_AND_COLOUR), 2),
        (OSError(5, "Input/output error", BELL_AND_COLOUR), 2),
        (RuntimeError(BELL_AND_COLOUR), 1),
    ],
)
def test_an_error_steers_no_terminal(capsys, monkeypatch, error, status):
    monkeypatch.delenv("TRACEBACK", raising=False)
    assert program.run(raising(error)) == status
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert ESCAPED in said
    assert "\x1b" not in said


# A module that every program imports: Ctrl-C comes while it is read.
INTERRUPTED = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(20)\n"


def heed_ctrl_c() -> None:
    """In a child: take SIGINT as a terminal's programs do. What a shell starts in the background ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("name", programs())
def test_ctrl_c_among_the_imports_is_one_word(tmp_path, name):
    (tmp_path / "argparse.py").write_text(INTERRUPTED)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
        preexec_fn=heed_ctrl_c,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "stopped\n")


WARNING = """import common, warnings
if __name__ == "__main__":
    warnings.warn("a library's", UserWarning)
"""


@pytest.mark.parametrize(("flags", "is_said"), [([], False), (["-W", "always"], True)])
def test_no_warning_of_a_library_reaches_a_person(tmp_path, flags, is_said):
    (tmp_path / "made").mkdir()
    for name in ("__init__.py", "__main__.py"):
        (tmp_path / "made" / name).write_text(WARNING)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, *flags, "-m", "made"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ("a library's" in done.stderr) == is_said


def test_whoever_imports_the_package_keeps_warnings():
    text = "import warnings; before = [*warnings.filters]; import common; assert warnings.filters == before"
    subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=True)


def test_whoever_imports_the_package_keeps_ctrl_c():
    text = "import common, signal; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=True, preexec_fn=heed_ctrl_c)


def test_ctrl_c_at_work_unwinds_and_is_one_word(capsys, monkeypatch):
    """Among the imports there was nothing to unwind."""
    monkeypatch.setattr(common, "stop", signal.getsignal(signal.SIGINT))  # as `python -m` has it
    done = []

    def work():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            done.append("unwound")

    assert program.run(work) == 130
    assert done == ["unwound"]
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(signal.SIGINT) is common.stop


@pytest.mark.parametrize("error", [UserError, OSError, RuntimeError])
def test_an_error_is_cut(capsys, monkeypatch, error):
    monkeypatch.delenv("TRACEBACK", raising=False)
    for text in ("x" * 1_000_000, "\x07" * 1_000_000, "\U000e0001" * 1_000_000):
        program.run(raising(error(text)))
        assert len(capsys.readouterr().err) <= LONGEST_MESSAGE + 1


def test_an_unforeseen_error_says_how_to_see_where(capsys, monkeypatch):
    monkeypatch.delenv("TRACEBACK", raising=False)
    assert program.run(raising(RuntimeError("x" * 1_000_000 + "\nmore"))) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: unforeseen RuntimeError: xxx")
    assert said.endswith("xxx...; TRACEBACK=1 shows where\n")


def test_failures_are_told_by_one_rule(capsys):
    assert program.report_failures([]) == 0
    assert program.report_failures([BELL_AND_COLOUR, "x" * 1_000_000]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"error: {ESCAPED}"
    assert len(second) <= LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "0 is not a whole number of at least 1"),
        ("²", "² is not a whole number"),
        ("11", "11 is too large; take 10 at most"),
        ("9" * 5000, "999... is not a whole number"),
    ],
)
def test_what_is_counted_has_bounds(text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(message)):
        program.whole_number(1, 10)(text)


def test_a_result_is_whole_and_steers_no_terminal(capsys):
    console.show(BELL_AND_COLOUR + "x" * 100_000)
    assert capsys.readouterr().out == f"{ESCAPED}{'x' * 100_000}\n"
