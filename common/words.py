"""Words of messages: the nearest name to a wrong one, and the first few of many."""

import difflib
from collections.abc import Collection, Iterable, Mapping

from common.errors import brief

LONGEST_LIST = 600  # characters of the names that a sentence lists
LONGEST_ITEM = 150  # characters of one of them


def nearest(word: str, words: Iterable[str], most: int = 1) -> str:
    """`did you mean NAME? `, with at most `most` of `words` that are like `word`; empty when none is."""
    close = difflib.get_close_matches(word, list(words), n=most, cutoff=0.5)
    return f"did you mean {' or '.join(close)}? " if close else ""


NAMED = 20  # variables, files or layers that a message names of each kind


def some(
    names: Iterable[object],
    most: int = 5,
    total: int | None = None,
    separator: str = ", ",
    longest: int = LONGEST_LIST,
) -> str:
    """`a, b, c and 4 more`: the first `most` of `names`, and how many others there are of all of them or of `total`.

    Fewer are named where they would take more than `longest` characters, but one always is. Long ones are cut, and
    control characters in them are escaped: they mostly come from files.
    """
    texts = [str(name) for name in names]
    shown, length = [], 0
    for text in (brief(text, LONGEST_ITEM) for text in texts[:most]):
        length += len(text) + len(separator)
        if shown and length > longest:
            break
        shown.append(text)
    others = (len(texts) if total is None else total) - len(shown)
    return separator.join(shown) + (f" and {others} more" if others > 0 else "")


def some_of_each(kinds: Mapping[str, Collection[object]]) -> str:
    """`2 missing: a, b; 1 extra: c`: some of the names of each kind; empty when there are none.

    The kinds share the characters that one list has.
    """
    found = {kind: names for kind, names in kinds.items() if names}
    longest = LONGEST_LIST // max(len(found), 1)
    return "; ".join(f"{len(names)} {kind}: {some(names, NAMED, longest=longest)}" for kind, names in found.items())
