"""A watch over the other hosts of a run: whether each of them is there, and who answers at its address.

TensorFlow's worker retries a lost chief for ever: no time limit of an op, of a run or of a session ends that, nor does
a signal reach Python. So a thread looks at the others, and ends this process when TensorFlow does not.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

from common.errors import UserError
from common.program import report_failures
from common.training.hosts import Hosts

EVERY = 1.0  # seconds between two looks at a host
ANSWER = 2.0  # seconds in which it answers one
PATIENCE = 15.0  # seconds without an answer from a host that was met: a link is cut, or its process is stopped
REFUSALS = 2  # looks in a row that found nobody listening where somebody was: the process has ended
GRACE = 4.0  # seconds for TensorFlow to notice a loss by itself, or for a look to find one that it has noticed
AGAIN = "start all of them again with --resume"

# RFC 9113, 3.4: with this a client of HTTP/2, which gRPC speaks, begins; the server answers with settings of its own.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS, TYPE_AT, HEADER = 4, 3, 9


class OtherProgramError(Exception):
    """Something answers at an address, but it is no server of TensorFlow's."""


def look_at(address: str) -> None:
    """Ask whether TensorFlow's server is there. Raises OSError when nobody answers, and OtherProgramError."""
    host, _, port = address.rpartition(":")
    try:
        opened = socket.create_connection((host, int(port)), timeout=ANSWER)
    except UnicodeError as error:  # a name that no host can have
        raise OSError(str(error)) from None
    with opened as connection:
        if connection.getsockname() == connection.getpeername():  # Linux joins a socket to itself where nobody listens
            raise ConnectionRefusedError("nobody listens")
        connection.sendall(HELLO)
        answer = b""
        while len(answer) < HEADER:
            part = connection.recv(HEADER - len(answer))
            if not part:
                raise ConnectionResetError("the connection was closed")
            answer += part
    if answer[TYPE_AT] != SETTINGS:
        raise OtherProgramError


class Watch:
    """Looks at every other host once a second, each on a thread of its own.

    Attributes:
      lost: a sentence on the first host that was lost; None while all are there.
    """

    def __init__(self, hosts: Hosts):
        self.lost: str | None = None
        self._waited = {a: "nobody answers" for a in hosts.addresses if a != hosts.own}  # for whom, and why
        self._stopped = threading.Event()
        self._inside: float | None = None  # since when the main thread is in TensorFlow's hands
        self._ending = threading.Lock()  # by either thread, so that one sentence is said
        self._limit, self._late = float("inf"), ""
        for work in (*(lambda a=address: self._follow(a) for address in self._waited), self._guard):
            threading.Thread(target=work, daemon=True).start()

    def meet(self, seconds: float) -> None:
        """Wait until all hosts are there. Raises UserError for those that don't come within so many seconds."""
        begun = time.monotonic()
        while (waited := dict(self._waited)) and not self.lost:
            if time.monotonic() - begun > seconds:
                missing, reason = next(iter(waited.items()))
                more = f" and {len(waited) - 1} more" if len(waited) > 1 else ""
                raise UserError(
                    f"--hosts {missing}{more}: did not come within {seconds:g} s ({reason}); start the same command "
                    f"there, or wait longer by --hosts-wait"
                )
            time.sleep(0.1)
        self.refuse_lost()

    def refuse_lost(self) -> None:
        """Raise UserError when a host was lost."""
        if self.lost:
            raise UserError(self.lost)

    @contextlib.contextmanager
    def waiting(self, limit: float = float("inf"), late: str = "") -> Iterator[None]:
        """The block in which TensorFlow waits for the others; it ends the process with the sentence `late` at a limit.

        Raises UserError for a host that was lost before.
        """
        self._limit, self._late, self._inside = limit, late, time.monotonic()
        try:
            self.refuse_lost()
            yield
        finally:
            with self._ending:
                self._inside = None

    def name_lost(self) -> str | None:
        """`lost`, after some time to find it out."""
        until = time.monotonic() + GRACE
        while not self.lost and time.monotonic() < until:
            time.sleep(0.1)
        return self.lost

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _follow(self, address: str) -> None:
        refusals, seen, pause = 0, time.monotonic(), 0.0
        while not self._stopped.wait(pause):
            pause = EVERY
            try:
                look_at(address)
            except OtherProgramError:
                self._lose(f"--hosts {address}: another program answers there, not a training of this suite")
            except OSError as error:
                refusals = refusals + 1 if isinstance(error, ConnectionError) else 0
                reason = error.strerror or str(error)
                if address in self._waited:
                    self._waited[address] = reason
                elif refusals >= REFUSALS or time.monotonic() - seen > PATIENCE:
                    self._lose(f"host {address} was lost ({reason}); its own output says why; {AGAIN}")
            else:
                refusals, seen = 0, time.monotonic()
                self._waited.pop(address, None)

    def _lose(self, sentence: str) -> None:
        if not self._stopped.is_set():
            self.lost = self.lost or sentence

    def _guard(self) -> None:
        """End the process when the main thread doesn't come back from TensorFlow after a loss, or within its limit."""
        lost_since = None
        while not self._stopped.wait(0.2):
            with self._ending:
                inside, now = self._inside, time.monotonic()
                lost_since = (lost_since or now) if self.lost else None
                if inside is None:
                    continue
                if self.lost and now - max(inside, lost_since) > GRACE:
                    os._exit(report_failures([self.lost]))
                if now - inside > self._limit:
                    os._exit(report_failures([self._late]))
