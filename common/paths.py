"""Where this checkout and its caches lie, and names that come from files before they become paths."""

import os
import re
from pathlib import Path, PurePosixPath

from common.errors import UserError, quoted

ROOT = Path(__file__).resolve().parents[1]

LONGEST_PLAIN_NAME = 120  # bytes; file systems take 255, and endings and numbers are put behind a name
_SEPARATORS = re.compile(r"[/\\\x00-\x1f\x7f]")


def cache_folder() -> Path:
    """The folder that DEEPLAB_CACHE names, or `deeplab` in the folder of caches."""
    if given := os.environ.get("DEEPLAB_CACHE"):
        return Path(given)
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "deeplab"


def plain_name(text: str, what: str) -> str:
    """Return `text` if it can be part of a file's name.

    Args:
      text: a name from a file or an argument.
      what: the file or field that it comes from; it begins the message.

    Raises:
      UserError: it is empty or too long, begins with a dot, or holds a separator of folders or a control character.
    """
    if not text.strip() or text.startswith(".") or _SEPARATORS.search(text):
        wrong = "is no plain name (no slashes, no control characters, no dot in front)"
    elif len(text.encode("utf-8", "surrogateescape")) > LONGEST_PLAIN_NAME:
        wrong = f"is longer than {LONGEST_PLAIN_NAME} bytes"
    else:
        return text
    raise UserError(f"{what}: {quoted(text)} {wrong}; give it another")


def is_inside(text: str) -> bool:
    """Whether a relative path from a file stays below the folder it is put in."""
    path = PurePosixPath(text.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and "\0" not in text


def slug(text: str) -> str:
    """`text` as a part of a file's name: small letters, digits and underscores, at most 60 characters."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60]
