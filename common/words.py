"""Words of messages: the nearest name to a wrong one, and the first few of many."""

import difflib
from collections.abc import Iterable

from common.errors import printable

LONGEST = 500  # characters of one of them


def nearest(word: str, words: Iterable[str], most: int = 1) -> str:
    """`did you mean NAME? `, with at most `most` of `words` that are like `word`; empty when none is."""
    close = difflib.get_close_matches(word, list(words), n=most, cutoff=0.5)
    return f"did you mean {' or '.join(close)}? " if close else ""


NAMED = 20  # variables, files or layers that a message names of each kind


def some(names: Iterable[object], most: int = 5, total: int | None = None, separator: str = ", ") -> str:
    """`a, b, c and 4 more`: the first `most` of `names`, and how many others there are of all of them or of `total`.

    Control characters in them are escaped: they mostly come from files.
    """
    texts = [str(name) for name in names]
    others = (len(texts) if total is None else total) - most
    return separator.join(printable(text, LONGEST) for text in texts[:most]) + (
        f" and {others} more" if others > 0 else ""
    )
