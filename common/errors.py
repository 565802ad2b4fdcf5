"""The one exception that reaches a user as a sentence instead of a traceback."""

import re
import reprlib
import sys
import unicodedata
from typing import Any

LONGEST_MESSAGE = 1000  # characters of a sentence to a person, whatever a file made of it
LONGEST_QUOTE = 200  # characters of a person's text or value that a message quotes


class UserError(Exception):
    """An error that the user can correct. The message is one clear sentence: the file or flag, and what to do."""


class WeightsError(UserError):
    """The weights are at fault, not the picture, so that the next picture would fail alike."""


def brief(value: Any, most: int = LONGEST_QUOTE) -> str:
    """A value as a message quotes it: on one line, `most` characters at the most, control characters escaped.

    Large lists and mappings are never written out whole, so that a hostile file can't fill the memory by its message.
    """
    text = value[: most + 1] if isinstance(value, str) else _REPR.repr(value)
    return _cut(on_one_line(text), most)


def quoted(value: Any, most: int = 60) -> str:
    """A value as `brief` has it; a text stands in quotes, so that it is told from a number, or is seen when empty."""
    return f"'{brief(value, most)}'" if isinstance(value, str) else brief(value, most)


def printable(text: str, most: int) -> str:
    """`most` characters of a text at the most, as `visible` shows it."""
    return _cut(visible(text[: most + 1]), most)


def on_one_line(text: str) -> str:
    """The text with line ends escaped too."""
    return visible(text).replace("\n", "\\n")


def visible(text: str) -> str:
    """The text with all that would steer a terminal, but line ends, escaped."""
    if text.isprintable():  # as nearly all are, at once
        return text
    return "".join(c if c == "\n" or not is_control(c) else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def is_control(character: str) -> bool:
    """Whether a character is none that is seen: it steers a terminal or the direction of text, or ends a line.

    The joiners that some scripts and emoji need are none, nor are the halves of characters that stand for the bytes of
    a name that is no UTF-8.
    """
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") and character not in "\u200c\u200d"


_REPR = reprlib.Repr()
_REPR.maxlevel = 3
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 12
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = LONGEST_QUOTE


def plain_reason(error: Exception) -> str:
    """The reason that a reader of files gives, as a message quotes it, without advice that only programmers can use."""
    if "set_int_max_str_digits" in str(error):
        return f"it holds a number of more than {sys.get_int_max_str_digits():,} digits"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return brief(" ".join(str(error).split()) or type(error).__name__)


def one_line(error: Exception) -> str:
    """The telling part of an error's text, on one line: TensorFlow puts it behind the node it was in."""
    text = str(error).strip()
    text = re.split(r"^Node: .*$", text, flags=re.MULTILINE)[-1].strip()
    line = (text.splitlines() or [type(error).__name__])[0]
    return brief(line.rpartition("; ")[2].partition(": perhaps your file")[0])
