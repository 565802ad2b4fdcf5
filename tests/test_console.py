"""Progress, and the flag that turns it off."""

import pytest

from common import console, program


@pytest.fixture
def told(monkeypatch):
    """The lines of progress that are shown, at each look at the clock."""
    lines = []
    monkeypatch.setattr(console, "LOG_EVERY_SECONDS", 0)
    monkeypatch.setattr(console, "say", lambda text: lines.append(text))
    return lines


def work() -> None:
    """Deep work, which knows nothing of the command line."""
    with console.Progress("reading a list", 3) as progress:
        progress.advance()


def parser() -> program.ArgumentParser:
    made = program.ArgumentParser(prog="made")
    made.add_subparsers().add_parser("check").add_argument("--quiet", action="store_true")
    return made


def test_quiet_reaches_work_that_is_not_told_of_it(told):
    parser().parse_args(["check", "--quiet"])
    work()
    assert told == []


def test_the_next_command_speaks_again(told):
    parser().parse_args(["check", "--quiet"])
    parser().parse_args(["check"])
    work()
    assert len(told) == 1
    assert told[0].startswith("reading a list 1/3")
