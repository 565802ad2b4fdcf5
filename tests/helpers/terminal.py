"""A pseudo terminal: what a command writes to a person's, and what is left on the screen."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from typing import Self

from tests.conftest import ROOT

COLUMNS = 100


class Terminal:
    """A terminal that is open within `with`; `stream` writes to it.

    Attributes:
      written: all that was written, complete after the block.
    """

    def __enter__(self) -> Self:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self._bytes = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def _read(self) -> None:
        while True:
            try:
                found = os.read(self._master, 1 << 16)
            except OSError:  # Linux' way to say that nobody has it open for writing
                return
            if not found:
                return
            self._bytes += found

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self._reader.join()
        os.close(self._master)

    @property
    def written(self) -> str:
        return self._bytes.decode()

    @property
    def screen(self) -> list[str]:
        """The lines that a person sees in the end, without blanks at their ends."""
        lines, column = [""], 0
        for character in self.written:
            if character == "\n":
                lines.append("")
            elif character == "\r":
                column = 0
            else:
                line = lines[-1].ljust(column)
                lines[-1] = line[:column] + character + line[column + 1 :]
                column += 1
        return [line.rstrip() for line in lines if line.strip()]


def run(module: str, *arguments: object) -> tuple[int, Terminal]:
    """Run a command as a person does, with all its output on a terminal; returns its status and the terminal."""
    words = [sys.executable, "-m", module, *map(str, arguments)]
    with Terminal() as terminal:
        process = subprocess.Popen(words, cwd=ROOT, stdout=terminal.stream, stderr=terminal.stream)
        status = process.wait()
    return status, terminal
