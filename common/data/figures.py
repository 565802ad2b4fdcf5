"""The note that every figure carries in its file: the program that drew it, and the records that it shows.

PNG has it as text, JPEG as comment, PDF and SVG as properties of the document.
"""

import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from common.errors import UserError

PROGRAM = "deeplab-reproductions"
RECORD = "Record"  # the key of PNG text
_NOTE = re.compile(rf"{PROGRAM}(?: records: ([\w.+-]+(?: [\w.+-]+)*))?")
_HEADER = 33  # bytes of a PNG before the chunks that may come in any order
_HEAD = 1 << 20  # bytes of a PDF or SVG that are searched


def note(records: Sequence[str] = ()) -> str:
    """`deeplab-reproductions records: <id> <id>`: the text of JPEG comments, PDF keywords and SVG identifiers."""
    return f"{PROGRAM} records: {' '.join(records)}" if records else PROGRAM


def png_note(records: Sequence[str] = ()) -> PngInfo:
    """The note of a PNG, for Pillow's `save(pnginfo=...)`."""
    info = PngInfo()
    for key, text in _png_texts(records).items():
        info.add_text(key, text)
    return info


def add_png_note(path: Path, records: Sequence[str] = ()) -> None:
    """Put the note into a PNG that is there; nothing else in it changes."""
    data = path.read_bytes()
    chunks = png_note(records).chunks
    text = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content, _ in chunks
    )
    path.write_bytes(data[:_HEADER] + text + data[_HEADER:])


def _png_texts(records: Sequence[str]) -> dict[str, str]:
    return {"Software": PROGRAM, **({RECORD: " ".join(records)} if records else {})}


def plot_note(path: Path, records: Sequence[str] = ()) -> dict[str, str]:
    """The note of a plot, for matplotlib's `savefig(metadata=...)`, as the ending of `path` needs it."""
    key = {".pdf": "Keywords", ".svg": "Identifier"}.get(path.suffix)
    return {key: note(records)} if key else _png_texts(records)


def drawn_by_us(path: Path) -> bool:
    """Whether a figure of any of these formats has a note; a file that cannot be read has none."""
    return _read_note(path) is not None


def refuse_foreign(path: Path | None, flag: str) -> None:
    """Raise UserError, which begins with `flag`, when a file is at `path` that this suite has not drawn."""
    if path and path.exists() and not drawn_by_us(path):
        raise UserError(f"{flag}: {path.name} is there, and not drawn by this suite; name another, or move it away")


def records_of(path: Path) -> tuple[str, ...]:
    """The ids of the records that a figure shows; none when it has no note, or shows none."""
    return tuple((_read_note(path) or "").split())


def _read_note(path: Path) -> str | None:
    """The ids in a figure's note with blanks between them, or None."""
    try:
        if path.suffix.lower() in (".pdf", ".svg"):
            text = path.read_bytes()[:_HEAD].decode("latin-1")
        else:
            with Image.open(path) as image:
                if image.format == "PNG":
                    info = image.info
                    return str(info.get(RECORD, "")) if info.get("Software") == PROGRAM else None
                text = bytes(image.info.get("comment", b"")).decode("latin-1")
    except Exception:  # Pillow's plugins raise whatever their parser meets
        return None
    match = _NOTE.search(text)
    return match and (match[1] or "")
