"""Masks that can be made from several sources: which one is taken, and the note beside them that says so."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from common.console import say
from common.downloads.archives import BadArchive
from common.downloads.download import CannotFetch
from common.errors import UserError
from common.files import read_text, write_text

Brought = TypeVar("Brought")


def note_of(masks: Path) -> Path:
    """The file beside a folder of masks that holds the name of their source."""
    return masks.with_name(f"{masks.name}.origin")


def origin_of(masks: Path, wanted: str | None) -> str:
    """The source of the masks that are there, as their note says; "" without one.

    Raises UserError when it is another than the `wanted` one.
    """
    note = note_of(masks)
    origin = read_text(note).strip() if masks.is_dir() and note.is_file() else ""
    if origin and wanted and origin != wanted:
        raise UserError(
            f"{masks}: is from {origin}, not from {wanted}; delete it and run this again, or leave out --from"
        )
    return origin


def bring(
    masks: Path, sources: Mapping[str, Callable[[], Brought]], wanted: str | None, quiet: bool
) -> tuple[str, Brought]:
    """Call the function of the `wanted` source, of that of the masks that are there, or of the first that can be had.

    Returns the source's name and what its function returned. The name is written down before a mask is made, so that a
    killed process leaves no masks of unknown origin. Raises as `origin_of` and as the functions do.
    """
    given = origin_of(masks, wanted) or wanted
    name, brought = _first_to_be_had({given: sources[given]} if given in sources else sources, quiet)
    if not masks.is_dir():
        write_text(note_of(masks), f"{name}\n")
    return name, brought


def _first_to_be_had(sources: Mapping[str, Callable[[], Brought]], quiet: bool) -> tuple[str, Brought]:
    *others, last = sources
    for name in others:
        try:
            return name, sources[name]()
        except (CannotFetch, BadArchive) as error:
            say(f"{error}; taking another source instead", quiet)
    return last, sources[last]()
