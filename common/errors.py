"""The one exception that reaches a user as a sentence instead of a traceback."""

import re


class UserError(Exception):
    """Something the user can mend. The message is one clear sentence naming the file or flag and what to do."""


def one_line(error: Exception) -> str:
    """The telling part of an error's text, on one line: TensorFlow puts it behind the node it was in."""
    text = str(error).strip()
    text = re.split(r"^Node: .*$", text, flags=re.MULTILINE)[-1].strip()
    line = (text.splitlines() or [type(error).__name__])[0]
    return line.rpartition("; ")[2].partition(": perhaps your file")[0][:300]
