"""Writing files so that nothing half-written stays behind, and holding a folder against other processes."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from common.errors import UserError

LOCK = ".lock"
# How names begin that are not whole yet: of files, checkpoints, what a registry's client brings, archives' folders.
WRITING, SAVING, FETCHING, UNPACKING = ".writing-", ".saving-", ".fetching-", ".unpacking-"
HALF_WRITTEN = (WRITING, SAVING, FETCHING, UNPACKING)

_held: set[Path] = set()  # folders that this process has locked


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path with the same ending beside `path`, renamed to it when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(prefix=WRITING, suffix=path.suffix, dir=path.parent)
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


def sweep(folder: Path, below: bool = False) -> None:
    """Remove what killed processes left half-written in `folder`, if there is one; with `below` in its folders too."""
    for left in [path for path in folder.glob("**/.*" if below else ".*") if path.name.startswith(HALF_WRITTEN)]:
        shutil.rmtree(left) if left.is_dir() else left.unlink()


@contextlib.contextmanager
def locked(
    folder: Path, busy: str, *, title: str = "", nested: bool = False, read_only: bool = False
) -> Iterator[None]:
    """Hold `folder` within the block, so that no other process works in it, and sweep it first.

    The folder is created, and removed again if the block leaves nothing in it. A killed process holds nothing.

    Args:
      folder: what is held, by the file LOCK in it.
      busy: what a process that holds it does and what to do then, such as "training in it; wait for it".
      title: how messages name the folder, such as "--out DIR"; its path by default.
      nested: whether this process may hold the folder already.
      read_only: whether a folder that can't be written to needs no lock, since nothing can be begun in it.

    Raises:
      UserError: another process holds the folder, or it can't be written to.
    """
    if nested and folder.resolve() in _held:
        yield
        return
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    title = title or str(folder)
    try:
        stream = _open_lock(folder, title, busy)
    except OSError as error:
        _remove_empty(missing)
        if not read_only or error.errno not in (errno.EROFS, errno.EACCES):
            raise UserError(f"{title}: cannot be written ({error.strerror})") from None
        stream = None
    if stream is None:
        yield
        return
    _held.add(folder.resolve())
    try:
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        sweep(folder)
        yield
    finally:
        _held.discard(folder.resolve())
        (folder / LOCK).unlink(missing_ok=True)  # while it is held: see _open_lock
        stream.close()
        _remove_empty(missing)


def _open_lock(folder: Path, title: str, busy: str) -> TextIO:
    """The lock's file, locked. Raises UserError when another process has it."""
    path = folder / LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with stream:
                stream.seek(0)
                holder = stream.read().strip()
            who = f"process {holder}" if holder else "another process"
            raise UserError(f"{title}: {who} is {busy}") from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                return stream
        stream.close()  # its holder has removed it since it was opened, and a new one may be locked by another


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # something lies in it
            folder.rmdir()
