"""Write files so that nothing half-written stays, read files that people wrote, and lock folders."""

import codecs
import contextlib
import errno
import fcntl
import json
import os
import platform
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import yaml

from common.errors import UserError, brief, plain_reason

LOCK = ".lock"
LARGEST_YAML = 1 << 18  # characters: a second of reading
# How names begin that are not whole yet: of files, checkpoints, what a registry's client brings, archives' folders.
WRITING, SAVING, FETCHING, UNPACKING = ".writing-", ".saving-", ".fetching-", ".unpacking-"
HALF_WRITTEN = (WRITING, SAVING, FETCHING, UNPACKING)

_held: set[Path] = set()  # folders that this process has locked
_swept: set[Path] = set()  # folders that this process has looked through for what killed ones left


def half_written(kind: str, folder: Path) -> str:
    """The beginning of the names of unfinished files that this process writes in `folder`: `kind`, machine and process.

    The folder is swept first, once in a process.
    """
    here = folder.absolute()
    if here not in _swept:
        _swept.add(here)
        sweep(folder)
    return f"{kind}{_machine()}-{os.getpid()}-"


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode('utf-8', 'surrogateescape')):08x}"


def sweep(folder: Path, below: bool = False) -> None:
    """Remove what killed processes left half-written in `folder`, if there is one; with `below` in its folders too.

    What a living process writes stays, and so does what one of another machine on the same disk wrote.
    """
    kinds = "|".join(map(re.escape, HALF_WRITTEN))
    for path in list(folder.glob("**/.*" if below else ".*")):
        match = re.match(rf"(?:{kinds}){_machine()}-(\d+)-", path.name)
        if match and not _is_alive(int(match[1])):
            _remove(path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another person's
        return True
    return True


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # another process is quicker, or it is another person's
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path with the same ending beside `path`, renamed to it when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        prefix = half_written(WRITING, path.parent)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
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
    """Write atomically; a file that already holds `text` is not touched. Names that are no UTF-8 keep their bytes."""
    data = text.encode("utf-8", "surrogateescape")
    if path.is_file() and path.read_bytes() == data:
        return
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, data: Any) -> None:
    """Write atomically, indented, with a final newline."""
    write_text(path, json_text(data) + "\n")


def json_text(data: Any) -> str:
    """Indented JSON; bytes of names that are no UTF-8 are written as escapes, which `json.loads` gives back."""
    text = json.dumps(data, indent=1, ensure_ascii=False)
    return re.sub(r"[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def read_json(path: Path) -> Any:
    """The content, or None when the file is missing. Raises UserError when it is no JSON."""
    try:
        return json.loads(read_text(path, wrong="is not readable JSON"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not readable JSON ({plain_reason(error)}); correct it or restore a copy") from None


def refuse_foreign_json(path: Path | None, flag: str, key: str) -> None:
    """Raise UserError, which begins with `flag`, when a file is at `path` that is no JSON object with `key`."""
    if not path or not path.exists():
        return
    try:
        found = read_json(path)
    except (UserError, OSError):
        found = None
    if not isinstance(found, dict) or key not in found:
        raise UserError(f"{flag}: {path.name} is there, and not written by this command; name another, or move it away")


class _Strict:
    """For YAML: a key that comes twice is an error, and so is an alias, since a few of them can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "it has an alias, *name; write out what that is", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{brief(key.value)} is there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class Yaml(_Strict, yaml.SafeLoader):
    """YAML with numbers, dates and so on."""


class YamlOfText(_Strict, yaml.BaseLoader):
    """YAML in which every scalar is text."""


def read_yaml(path: Path, loader: type[Yaml | YamlOfText] = Yaml) -> Any:
    """The content of a small YAML file.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: it is no YAML, has a key twice, an alias, or more than LARGEST_YAML characters; the message names the
        line.
    """
    wrong = "cannot be read as YAML"
    text = read_text(path, wrong)
    if len(text) > LARGEST_YAML:
        raise UserError(f"{path}: {wrong} (it has {len(text):,} characters, more than {LARGEST_YAML:,}); shorten it")
    try:
        return yaml.load(text, loader)  # noqa: S506 (both are safe)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None)
        reason = brief(problem) if problem else plain_reason(error)
        raise UserError(f"{path}: {where}{wrong} ({reason}); correct it there") from None


# The marks that files begin with, the longer ones first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(path: Path, wrong: str = "cannot be read as text") -> str:
    """A text file that a person or another program wrote: UTF-8 with or without a mark, or UTF-16 by its mark.

    Lines end in a newline alone. `wrong` begins what messages say of the file.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: it can't be read, or is in another encoding, which the message names by what it likely is.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: {wrong} ({error.strerror or error})") from None
    mark, encoding = next((pair for pair in _MARKS if data.startswith(pair[0])), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if mark:
            reason = f"it begins as {encoding.upper()}, which byte {len(mark) + error.start} is not"
            raise UserError(f"{path}: {wrong} ({reason}); save it as UTF-8") from None
        likely = likely_encoding(data)
        raise UserError(
            f"{path}: {wrong} (it is not UTF-8, but likely {likely}); save it as UTF-8, as any editor does, or by "
            f"`iconv -f {likely} -t UTF-8`"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def likely_encoding(data: bytes) -> str:
    """The name of the encoding that a text, which is no UTF-8, likely has: a guess, for messages."""
    data = data[: 1 << 16]
    if b"\0" in data:
        return "UTF-16BE" if data[::2].count(0) > data[1::2].count(0) else "UTF-16LE"
    runs = [len(run) % 2 == 0 for run in re.findall(rb"[\x80-\xff]+", data)]
    in_pairs, mostly = all(runs), 2 * sum(runs) >= len(runs)
    has_controls = re.search(rb"[\x81-\x9f]", data) is not None  # no letters where one byte is a letter
    guesses = (("gb2312", "GBK", in_pairs), ("shift_jis", "SHIFT_JIS", has_controls), ("gb18030", "GBK", mostly))
    for codec, name, may_be in guesses:
        with contextlib.suppress(UnicodeDecodeError):
            if may_be and data.decode(codec):
                return name
    return "WINDOWS-1252"


@contextlib.contextmanager
def plain_folder(folder: Path) -> Iterator[Path]:
    """A path to `folder` that holds nothing but plain characters: itself, or within the block a link to it.

    For libraries that read a path as a pattern (TensorFlow: brackets, stars) or as UTF-8.
    """
    if is_plain(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="link-") as place:
        link = Path(place) / "folder"
        link.symlink_to(folder.resolve(), target_is_directory=True)
        yield link


def is_plain(path: Path) -> bool:
    """Whether every library reads the path literally: it has only letters, digits and . _ - + = , @ ~ of ASCII."""
    return re.fullmatch(r"[A-Za-z0-9._+=,@~/-]*", str(path)) is not None


def check_writable(folder: Path, title: str) -> None:
    """Refuse a folder that can't be made or written to, before long work begins. Nothing is made.

    Raises UserError, which calls the folder by `title`, such as "--out DIR".
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(f"{title}: cannot be written ({error.strerror}); choose another folder") from None


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
