"""The note in outlines of `predict`: what its classes are, and whether somebody has corrected the file since."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.data.figures import PROGRAM
from common.errors import UserError
from common.files import read_json

DRAWN = ("shapes", "annotations", "categories")  # what a person corrects, in labelme's files and in COCO's


def noted(content: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """The content of a file of labelme or COCO with a note, which these programs leave alone."""
    return {**content, PROGRAM: {"classes": list(classes), "digest": _digest(content)}}


def is_as_written(path: Path) -> bool:
    """Whether the file holds what `noted` gave, so that no correction is in it."""
    try:
        content = read_json(path)
        return content.pop(PROGRAM)["digest"] == _digest(content)
    except (UserError, KeyError, TypeError, AttributeError):  # another program's
        return False


def classes_of(content: dict[str, Any]) -> tuple[str, ...]:
    """The classes that the note names; none where there is no note."""
    note = content.get(PROGRAM)
    classes = note.get("classes") if isinstance(note, dict) else None
    return tuple(map(str, classes)) if isinstance(classes, list) else ()


def _digest(content: dict[str, Any]) -> str:
    drawn = {key: content.get(key) for key in DRAWN}
    return hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()[:16]
