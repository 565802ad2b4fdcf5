"""The one exception that reaches a user as a sentence instead of a traceback."""

import re
import reprlib
from typing import Any

LONGEST_QUOTE = 200  # characters of a person's text or value that a message quotes


class UserError(Exception):
    """Something the user can mend. The message is one clear sentence naming the file or flag and what to do."""


def brief(value: Any, most: int = LONGEST_QUOTE) -> str:
    """A value as a message quotes it: on one line, `most` characters at the most, control characters escaped.

    Large lists and mappings are never written out whole, so that a hostile file can't fill the memory by its message.
    """
    text = value[: most + 1] if isinstance(value, str) else _REPR.repr(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= most else text[: most - 3] + "..."


_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 12
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = LONGEST_QUOTE


def one_line(error: Exception) -> str:
    """The telling part of an error's text, on one line: TensorFlow puts it behind the node it was in."""
    text = str(error).strip()
    text = re.split(r"^Node: .*$", text, flags=re.MULTILINE)[-1].strip()
    line = (text.splitlines() or [type(error).__name__])[0]
    return line.rpartition("; ")[2].partition(": perhaps your file")[0][:300]
