"""Writing files so that nothing half-written stays behind."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path with the same ending beside `path`, renamed to it when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        error.filename = str(path)  # not the temporary one's
        raise
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(0o644)  # mkstemp's 0600 is for secrets
        yield temporary
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say what it was full for
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write atomically; a file that already holds `text` is not touched."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write atomically, indented, with a final newline."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The content, or None when the file is missing. Raises UserError when it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: is not readable JSON ({error}); delete it or restore it") from None
