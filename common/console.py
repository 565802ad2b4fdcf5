"""Progress for people and for logs, and stopping on a signal."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

from common.errors import LONGEST_MESSAGE, printable, visible

LOG_EVERY_SECONDS = 10
ECHO = "^C"  # what a terminal adds to the line when it is typed
BRIEF = 5  # seconds; a bar of work that took less does not stay

_hushed = False


def hush(quiet: bool) -> None:
    """Show neither progress nor remarks from now on, or show them again."""
    global _hushed
    _hushed = quiet


def hush_libtiff(library: str) -> None:
    """Let libtiff write nothing to stderr about damaged files and strange tags; `library` is linked with it.

    Pillow raises what matters of it.
    """
    import ctypes  # few commands read pictures

    with contextlib.suppress(OSError, AttributeError):  # without libtiff, or with one that shows no names
        loaded = ctypes.CDLL(library)
        for setter in (loaded.TIFFSetErrorHandler, loaded.TIFFSetWarningHandler):
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)


class _Line:
    """The last line of a terminal, which names the stage of a command until something else is shown there.

    It is drawn and wiped without control sequences, so that any terminal and any recording of one can show it.

    Attributes:
      is_wanted: whether a command runs, which wipes the line at its end.
      bars: how many bars are shown; they take the line's place.
    """

    def __init__(self) -> None:
        self.is_wanted, self.bars = False, 0
        self._stage, self._text, self._width = "", "", 0

    def begin(self, stage: str) -> None:
        """Name a stage, in the place of the one before it; an empty one leaves the line empty."""
        self._stage = stage
        self.show(stage)

    def step(self, text: str) -> None:
        """Name a step within the stage, or the stage itself again."""
        self.show(text or self._stage)

    def show(self, text: str) -> None:
        """Replace the text, whatever the stage is; an empty one leaves the line empty."""
        if self._text:
            sys.stderr.write(f"\r{' ' * self._width}\r")
            sys.stderr.flush()
        is_shown = self.is_wanted and not (self.bars or _hushed) and sys.stderr.isatty()
        self._text = text if is_shown else ""
        if self._text:
            most = max(_columns() - 1 - len(ECHO), 4)  # what wraps into the next line could not be wiped
            shown = printable(f"{text} ...", most)
            self._width = len(shown) + len(ECHO)
            sys.stderr.write(f"\r{shown}")
            sys.stderr.flush()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the line empty within the block."""
        text = self._text
        self.show("")
        try:
            yield
        finally:
            self.show(text)


_line = _Line()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80  # some terminals don't know their size
    except (OSError, ValueError):
        return 80


def stage(what: str = "") -> None:
    """Say on a terminal what a command is doing now, in a line that whatever is shown next replaces.

    Without an argument the line becomes empty. Logs and other programs never see it.
    """
    _line.begin(what)


def step(what: str = "") -> None:
    """Say on a terminal that the stage takes a longer step; without an argument, that the step is over."""
    _line.step(what)


@contextlib.contextmanager
def stages() -> Iterator[None]:
    """Show stages within the block, and leave none behind."""
    before, _line.is_wanted = _line.is_wanted, True
    try:
        yield
    finally:
        stage()
        _line.is_wanted = before


class Progress:
    """A bar on a terminal, a line every LOG_EVERY_SECONDS elsewhere, nothing when quiet. All on stderr.

    Both show the time left. A terminal shows a bar from the beginning where there is more than one thing to count,
    and wipes it when the work ends within a few seconds. Elsewhere such work shows nothing. `at_once` shows it from the
    beginning everywhere, for work that takes minutes, and its bar stays. Without `logs` there is a bar or nothing, for
    work that writes a line of its own on each thing that is done. `within` is for parts of one thing that another bar
    counts: the bar comes after a few seconds, and is always wiped.
    """

    def __init__(
        self,
        what: str,
        total: int,
        done: int = 0,
        quiet: bool = False,
        at_once: bool = False,
        logs: bool = True,
        within: bool = False,
    ):
        is_terminal = sys.stderr.isatty()
        self._what, self._total, self._done, self._begun = what, total, done, done
        self._quiet, self._bar, self._stays = quiet or _hushed or not (logs or is_terminal), None, at_once
        self._start = time.monotonic()
        self._last = self._start - (LOG_EVERY_SECONDS if at_once else 0)
        self._is_within, self._is_drawn = within, False
        self._delay = 0 if at_once or (total > 1 and not within) else BRIEF
        if not self._quiet and is_terminal:
            from tqdm import tqdm  # here and in `say`: commands that show nothing need not wait for it

            if not within:
                stage(what if self._delay and total else "")
            self._make_room()
            self._bar = tqdm(total=total, initial=done, desc=what, dynamic_ncols=True, delay=self._delay)

    def _make_room(self) -> None:
        """Empty the line of stages when the bar is about to be drawn there."""
        if not self._is_drawn and time.monotonic() - self._start >= self._delay:
            stage()
            _line.bars += 1
            self._is_drawn = True

    def advance(self, note: str = "", count: int = 1) -> None:
        """Count `count` more as done; `note` is shown after the count."""
        self._done += count
        if self._bar is not None:
            self._make_room()
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        now = time.monotonic()
        if self._bar is None and not self._quiet and now - self._last >= LOG_EVERY_SECONDS:
            self._last = now
            spent = now - self._start
            left = spent / (self._done - self._begun) * (self._total - self._done)
            count = f"{self._what} {self._done}/{self._total}"
            say(f"{count}{note and f' {note}'} ({spent:.0f} s, {left:.0f} s left)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            is_long = time.monotonic() - self._start >= BRIEF
            self._bar.leave = self._stays or (is_long and not self._is_within)
            self._bar.close()
            _line.bars -= self._is_drawn
            self._is_drawn = False
            if not self._is_within:
                stage()


def say(text: str, quiet: bool = False) -> None:
    """Write one line to stderr; stdout is for results."""
    if not quiet:
        from tqdm import tqdm

        with _line.aside():
            tqdm.write(printable(text, LONGEST_MESSAGE), file=sys.stderr)


def remark(text: str) -> None:
    """Write one line to stderr, unless the process is hushed: for places that no `quiet` reaches."""
    say(text, _hushed)


def show(result: object) -> None:
    """Print a result to stdout, at once and whole; what would steer a terminal is escaped, since names may hold it."""
    stage()
    print(visible(str(result)), flush=True)


class StopSignal:
    """Within the block, SIGINT and SIGTERM set `received` instead of ending the process.

    A second signal ends it at once, as it would have without the block.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> Self:
        self.received: int | None = None
        self._previous = {s: signal.getsignal(s) for s in self.SIGNALS}
        for s in self.SIGNALS:
            signal.signal(s, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for s, handler in self._previous.items():
            signal.signal(s, handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
