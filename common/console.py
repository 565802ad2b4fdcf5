"""Progress for people and for logs, and stopping on a signal."""

import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Self

from common.errors import LONGEST_MESSAGE, printable, visible

LOG_EVERY_SECONDS = 10

_hushed = False


def hush(quiet: bool) -> None:
    """Show neither progress nor remarks from now on, or show them again."""
    global _hushed
    _hushed = quiet


class Progress:
    """A bar on a terminal, a line every LOG_EVERY_SECONDS elsewhere, nothing when quiet. All on stderr.

    Both show the time left. Work that ends within a few seconds shows nothing, unless `at_once` shows it from the
    beginning, for work that takes minutes.
    """

    def __init__(self, what: str, total: int, done: int = 0, quiet: bool = False, at_once: bool = False):
        self._what, self._total, self._done, self._begun = what, total, done, done
        self._quiet, self._bar = quiet or _hushed, None
        self._start = time.monotonic()
        self._last = self._start - (LOG_EVERY_SECONDS if at_once else 0)
        if not self._quiet and sys.stderr.isatty():
            from tqdm import tqdm  # here and in `say`: commands that show nothing need not wait for it

            self._bar = tqdm(total=total, initial=done, desc=what, dynamic_ncols=True, delay=0 if at_once else 5)

    def advance(self, note: str = "", count: int = 1) -> None:
        """Count `count` more as done; `note` is shown after the count."""
        self._done += count
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        now = time.monotonic()
        if self._bar is None and not self._quiet and now - self._last >= LOG_EVERY_SECONDS:
            self._last = now
            spent = now - self._start
            left = spent / (self._done - self._begun) * (self._total - self._done)
            say(f"{self._what} {self._done}/{self._total} {note} ({spent:.0f} s, {left:.0f} s left)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def say(text: str, quiet: bool = False) -> None:
    """Write one line to stderr; stdout is for results."""
    if not quiet:
        from tqdm import tqdm

        tqdm.write(printable(text, LONGEST_MESSAGE), file=sys.stderr)


def remark(text: str) -> None:
    """Write one line to stderr, unless the process is hushed: for places that no `quiet` reaches."""
    say(text, _hushed)


def show(result: object) -> None:
    """Print a result to stdout, at once and whole; what would steer a terminal is escaped, since names may hold it."""
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
