"""Unpack archives from others: completely or not at all, only inside the folder, and without links."""

import contextlib
import fnmatch
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from common.downloads.download import BLOCK, Megabytes, write_all
from common.errors import UserError, quoted
from common.files import UNPACKING, half_written

MAX_BYTES = 100 << 30  # of all members together
MAX_RATIO = 200  # of all members' size to the archive's; pictures and weights are hardly compressed
MAX_MEMBERS = 1_000_000

# What a reader of a damaged archive may raise. Errors of writing are caught where files are written.
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)


class BadArchive(UserError):
    """The archive is damaged or malicious."""


@dataclass(frozen=True)
class Member:
    """One member; `kind` is 'file', 'folder' or the name of a kind that is refused."""

    name: str
    kind: str
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path, folder: Path, *, below: str = "", members: Sequence[str] = ("*",), quiet: bool = False
) -> None:
    """Unpack the members `below` a folder of the archive that match a glob of `members` into a new `folder`.

    Globs match the name after `below`; `*` also matches slashes. Files that macOS adds (`__MACOSX`, `._*`) are left
    out. Files get this process's own permissions. `folder` appears only when all is unpacked.

    Raises:
      BadArchive: it is cut short, damaged or encrypted; a name is absolute, has a drive letter or leaves the folder by
        `..`; a chosen member is a link or a device; or it is a bomb: more than MAX_RATIO times its size, MAX_BYTES or
        MAX_MEMBERS.
      UserError: `folder` exists, the disk has no room, the name is no archive's, or nothing matches.
    """
    read = _reader(archive)
    if read is None:
        raise UserError(f"{archive}: does not have the name of an archive; known are {', '.join(READERS)}")
    if folder.exists():
        raise UserError(f"{folder}: is already there; delete it to unpack {archive.name} again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=half_written(UNPACKING, folder.parent), dir=folder.parent))
    try:
        with archive.open("rb") as raw, Megabytes(f"unpacking {archive.name}", archive.stat().st_size, quiet) as bar:
            room = _Room(archive, folder.parent)
            chosen = 0
            for member in _reading(archive, read(raw)):
                path = _path(archive, member.name)
                if not _is_chosen(path, below, members):
                    continue
                chosen += 1
                if member.kind not in ("file", "folder"):
                    name = quoted(member.name)
                    raise BadArchive(f"{archive}: member {name} is {member.kind}; nothing was unpacked")
                _make(archive, member, temporary.joinpath(*path[len(_parts(below)) :]), room)
                if member.kind == "file":
                    bar.reached(raw.tell())
        if not chosen:
            raise UserError(f"{archive}: holds nothing like {' or '.join(members)} below {below or 'its top'}")
        temporary.chmod(0o755)  # mkdtemp's 0700 is for secrets
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _zip(raw: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(raw) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            kind = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "a symbolic link"}
            what = "folder" if info.is_dir() else kind.get(stat.S_IFMT(mode), "a device")
            yield Member(info.filename, what, lambda info=info: archive.open(info))


TAR_KINDS = {
    **dict.fromkeys(tarfile.REGULAR_TYPES, "file"),
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
}


def _tar(raw: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=raw, mode="r:*") as archive:
        for info in archive:
            kind = TAR_KINDS.get(info.type, "a device")
            yield Member(info.name, kind, lambda info=info: archive.extractfile(info))
        # tarfile takes a cut or a broken header for the end; the true end is a block of zeros. The padding after it is
        # read too, because gzip compares its checksum only at its end.
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(BLOCK)[: tarfile.BLOCKSIZE] != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("unexpected end of data")


READERS = {".zip": _zip, ".whl": _zip, ".tar": _tar, ".tar.gz": _tar, ".tgz": _tar}


def _reader(path: Path) -> Callable[[IO[bytes]], Iterator[Member]] | None:
    return next((reader for suffix, reader in READERS.items() if path.name.lower().endswith(suffix)), None)


def _reading(archive: Path, members: Iterator[Member]) -> Iterator[Member]:
    with _damaged(archive):
        for count, member in enumerate(members, 1):
            if count > MAX_MEMBERS:
                raise BadArchive(f"{archive}: has more than {MAX_MEMBERS} members; nothing was unpacked")
            yield member


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _path(archive: Path, name: str) -> list[str]:
    """Split a member's name into folders and name. Raises BadArchive when it would leave the folder."""
    name = name.replace("\\", "/")  # some Windows programs write them so
    parts = _parts(name)
    if name.startswith("/") or ".." in parts or re.match("[A-Za-z]:", name) or "\0" in name:
        raise BadArchive(f"{archive}: member {quoted(name)} would leave the folder; nothing was unpacked")
    return parts


def _is_chosen(path: list[str], below: str, members: Sequence[str]) -> bool:
    prefix = _parts(below)
    if path[: len(prefix)] != prefix or len(path) == len(prefix):
        return False
    if "__MACOSX" in path or any(part.startswith("._") for part in path):
        return False
    inside = "/".join(path[len(prefix) :])
    return any(fnmatch.fnmatchcase(inside, glob) for glob in members)


class _Room:
    """The size that may still be written: a bomb is stopped by its real output, whatever its headers say."""

    def __init__(self, archive: Path, disk: Path):
        self._archive = archive
        self._left, self._bound, self._kind = min(
            (MAX_RATIO * archive.stat().st_size, f"{MAX_RATIO} times its size", BadArchive),
            (MAX_BYTES, f"{MAX_BYTES} bytes", BadArchive),
            (shutil.disk_usage(disk).free, "the free space of the disk", UserError),
            key=lambda bound: bound[0],
        )

    def take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise self._kind(f"{self._archive}: holds more than {self._bound}; nothing was unpacked")


def _make(archive: Path, member: Member, path: Path, room: _Room) -> None:
    """Write one member. Only folders and plain files are ever made, so no path can lead through a link."""
    with _unwritten(archive, member):
        if member.kind == "folder":
            return path.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb", buffering=0)
    with file:
        for block in _blocks(archive, member):
            room.take(len(block))
            with _unwritten(archive, member):
                write_all(file, block)
    return None


def _blocks(archive: Path, member: Member) -> Iterator[bytes]:
    with _damaged(archive), member.open() as source:
        while block := source.read(BLOCK):
            yield block


@contextlib.contextmanager
def _damaged(archive: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise BadArchive(f"{archive}: is cut short or damaged ({' '.join(str(error).split()) or 'no end'})") from None


@contextlib.contextmanager
def _unwritten(archive: Path, member: Member) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{archive}: member {quoted(member.name)} could not be written ({error.strerror or error}); "
            f"nothing was unpacked"
        ) from None
