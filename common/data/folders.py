"""Files in users' folders: links are followed; hidden files and dead links are left out."""

import glob
import os
from collections.abc import Collection
from pathlib import Path


def is_hidden(name: str) -> bool:
    """Whether a name is that of a hidden file, such as `._a.jpg`, which macOS writes beside a.jpg on foreign disks."""
    return name.startswith(".")


def is_file(path: Path) -> bool:
    """Whether a file is there; also for names that no file system takes, which `Path.is_file` raises for."""
    try:
        return os.access(path, os.F_OK) and path.is_file()  # access is quick where nothing is
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder is there; also for names that no file system takes, as `is_file`."""
    try:
        return path.is_dir()
    except OSError:
        return False


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files directly in a folder that end in one of the lower-case `suffixes`, in any case, sorted by name."""
    paths = (path for path in folder.iterdir() if not is_hidden(path.name))
    return sorted(path for path in paths if path.suffix.lower() in suffixes and is_file(path))


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """`files_in` the folder and in all below it, linked ones among them; a link that leads back up is not followed."""
    found = files_in(folder, suffixes)
    waiting = [(folder, (os.path.realpath(folder),))]
    while waiting:
        parent, above = waiting.pop()
        for path in parent.iterdir():
            real = os.path.realpath(path)
            if not is_hidden(path.name) and path.is_dir() and real not in above:
                found += files_in(path, suffixes)
                waiting.append((path, (*above, real)))
    return sorted(found)


def files_of_pattern(pattern: str) -> list[Path]:
    """The files that a shell's pattern names (** for folders below), sorted by name.

    A part of the pattern that exists under this very name is no pattern: `data [2024]/*.jpg`.
    """
    path = Path(pattern)
    escaped = Path(path.anchor)
    literal = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        literal = literal / part
        escaped = escaped / (glob.escape(part) if os.path.lexists(literal) else part)
    names = glob.glob(str(escaped), recursive=True)  # noqa: PTH207 (pathlib's takes hidden names too)
    return sorted({path for path in map(Path, names) if is_file(path)})
