"""The parts that all command lines share: one-sentence errors and exit statuses."""

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

import common
from common.console import hush, stage, stages
from common.errors import LONGEST_MESSAGE, UserError, brief, printable, quoted

MOST = 10**9  # of anything that an argument counts
MOST_WORKERS = 1024


class ArgumentParser(argparse.ArgumentParser):
    """A parser that answers wrong arguments in one sentence and takes no abbreviated flags.

    `example` is arguments that show the command at work: `--help` ends with the whole command line. An empty one shows
    the command alone, None nothing.
    """

    def __init__(self, *args: Any, example: str | None = None, **kwargs: Any):
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        self.example = example

    def format_help(self) -> str:
        """Return argparse's help, and below it the example in one line, which can be copied."""
        text = super().format_help()
        if self.example is None:
            return text
        return f"{text}\nexample: {f'.venv/bin/{self.prog} {self.example}'.rstrip()}\n"

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:
        """Parse as argparse does; with `--quiet` no progress is shown, however deep the work lies."""
        parsed = super().parse_args(args, namespace)
        hush(getattr(parsed, "quiet", False))
        return parsed

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does; an argument of the action `Alone` is refused beside others."""
        known, others = super().parse_known_args(args, namespace)
        self._refuse_beside_alone(known)
        return known, others

    def _refuse_beside_alone(self, known: argparse.Namespace) -> None:
        actions: dict[str, list[argparse.Action]] = {}
        for action in self._actions:
            actions.setdefault(action.dest, []).append(action)
        given = {
            dest: "/".join(flag for action in same for flag in action.option_strings)
            for dest, same in actions.items()
            if getattr(known, dest, same[0].default) != same[0].default  # the first one's default counts
        }
        for alone in (action for action in self._actions if isinstance(action, Alone) and action.dest in given):
            others = [flags for dest, flags in given.items() if dest not in (alone.dest, *alone.beside)]
            if others:
                self.error(f"argument {given[alone.dest]}: not allowed with argument {others[0]}")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {printable(message, LONGEST_MESSAGE)}; --help lists what {self.prog} takes\n")

    def add_subparsers(self, **kwargs: Any) -> argparse._SubParsersAction:
        """Add subcommands as argparse does; each one answers for its own wrong arguments."""
        return super().add_subparsers(**{"parser_class": _Subcommand, **kwargs})


class Alone(argparse.Action):
    """An argument that takes the place of all others, the required ones too, but of those that `beside` names."""

    def __init__(self, *args: Any, beside: Sequence[str] = (), **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.beside = beside

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, _: Any) -> None:
        for action in parser._actions:
            action.required = False
        setattr(namespace, self.dest, values)


class _Subcommand(ArgumentParser):
    """A subcommand's parser: it answers for unknown arguments itself. argparse leaves them to the main parser, whose
    help lacks this subcommand's flags."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        known, others = super().parse_known_args(args, namespace)
        if others:
            self.error(f"unrecognized arguments: {' '.join(others)}")
        return known, others


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add `--workers` and `--quiet` to a command that works in many processes."""
    parser.add_argument(
        "--workers",
        type=whole_number(0, MOST_WORKERS),
        default=os.cpu_count(),
        metavar="N",
        help="processes (default: all)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")


def add_record(parser: argparse.ArgumentParser) -> None:
    """Add `--record`."""
    parser.add_argument(
        "--record", action="store_true",
        help="put the record into results/runs, which the tables are made of (or RESULTS_DIR/runs), also of a data set "
        "of your own, of a subset of fewer than 100 pictures, of a run that is not finished or was changed; without "
        "it such a record lies beside the evaluation",
    )  # fmt: skip


def whole_number(least: int, most: int = MOST) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"[0-9]{1,20}", text) else -1
        if number < least:
            raise argparse.ArgumentTypeError(f"{brief(text, 60)} is not a whole number of at least {least}")
        if number > most:
            raise argparse.ArgumentTypeError(f"{number} is too large; take {most:,} at most")
        return number

    return parse


def names(text: str) -> tuple[str, ...]:
    """The type of an argument that is a list of different names with commas between them."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a list of different names like apple,pear")
    return found


def report_failures(sentences: Sequence[str]) -> int:
    """Say on stderr what failed while the rest went on; returns the exit status: 2 if anything did, else 0."""
    for sentence in sentences:
        _tell(f"error: {sentence}")
    return 2 if sentences else 0


def _tell(text: str) -> None:
    stage()
    print(printable(text, LONGEST_MESSAGE), file=sys.stderr)


@contextlib.contextmanager
def _unwinding() -> Iterator[None]:
    """Within the block these signals end the program as an exception does: it removes what is half-written.

    Signals that somebody has a handler for, or that are ignored as by nohup, stay as they are.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    changes = (
        (signal.SIGINT, common.stop, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL, end),
        (signal.SIGHUP, signal.SIG_DFL, end),
    )
    is_main = threading.current_thread() is threading.main_thread()
    ours = [change for change in changes if is_main and signal.getsignal(change[0]) is change[1]]
    for number, _, handler in ours:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before, _ in ours:
            signal.signal(number, before)


def run(program: Callable[[], int | None]) -> int:
    """Run `program`; returns the exit status: its own, 2 after a user's error, 130 on Ctrl-C.

    An error is one sentence on stderr. An unforeseen error is one sentence too (status 1), unless TRACEBACK is set.
    """
    with contextlib.suppress(AttributeError):  # of what stands for it in tests
        sys.stdout.reconfigure(errors="surrogateescape")  # names that are no UTF-8 keep their bytes
    try:
        with _unwinding(), stages():
            return program() or 0
    except UserError as error:
        _tell(f"error: {error}")
    except BrokenPipeError:  # the reader has seen enough
        sys.stdout = None
        return 0
    except OSError as error:  # a full disk, a folder without permission
        _tell(f"error: {brief(error.filename or 'writing')}: {error.strerror or error}")
    except KeyboardInterrupt:
        _tell("stopped")
        return 130
    except Exception as error:
        if os.environ.get("TRACEBACK"):
            raise
        reason = brief((str(error).strip().splitlines() or [""])[0])
        _tell(f"error: unforeseen {type(error).__name__}: {reason}; TRACEBACK=1 shows where")
        return 1
    return 2
