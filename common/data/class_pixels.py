"""How many pixels of each class every mask of a split has: counted once, and kept in the folder of caches."""

import contextlib
import hashlib
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from common.console import Progress
from common.data.split import Split
from common.errors import UserError
from common.files import atomic
from common.paths import cache_folder
from common.recipe.recipe import Recipe

SCHEMA = 1
KEPT = 16  # files of the cache, those that were written last
VALUES = 256  # of a mask's pixels: class ids and the ignore label
Counts = tuple[np.ndarray, np.ndarray]  # the values that occur, and pixels by picture and value, uint32
_known: dict[str, Counts] = {}  # of this process, whether or not the cache can be written


def class_pixels(split: Split, recipe: Recipe, *, quiet: bool = False) -> np.ndarray:
    """Count the pixels of each class in each mask of `split`: int64 [pictures, classes].

    Void pixels count as class 0 where `recipe.void_pixels` is `background`. Raises UserError for a file that can't be
    read.
    """
    key = _key(split)
    if key not in _known:
        path = cache_folder() / f"class-pixels-{key}"
        found = _read(path, len(split.pairs))
        if found is None:
            found = _count(split, quiet)
            _write(path, found)
        _known[key] = found
    values, counts = _known[key]
    pixels = np.zeros([len(counts), VALUES], np.int64)
    np.add.at(pixels.T, recipe.class_ids(values), counts.T)
    return pixels[:, : len(split.card.classes)]


def _count(split: Split, quiet: bool) -> Counts:

    def count(index: int) -> np.ndarray:
        return np.bincount(split.read(index)[1].ravel(), minlength=VALUES)

    counts = np.zeros([len(split.pairs), VALUES], np.uint32)
    with ThreadPoolExecutor(2) as pool, Progress("counting classes", len(counts), quiet=quiet) as progress:
        for index, of_one in enumerate(pool.map(count, range(len(counts)))):
            counts[index] = of_one
            progress.advance()
    values = np.flatnonzero(counts.any(axis=0))
    return values.astype(np.uint8), counts[:, values]


def _key(split: Split) -> str:
    """A digest of the files that hold the masks, by their names, sizes and times, and of how the card reads them."""
    sha = hashlib.sha256(f"{SCHEMA} {split.card!r}\n".encode("utf-8", "surrogateescape"))
    for file, place in split.mask_places():
        with contextlib.suppress(OSError):  # reading it tells what is wrong
            status = file.stat()
            sha.update(
                f"{file.absolute()} {place} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
            )
    return sha.hexdigest()[:32]


def _read(path: Path, pictures: int) -> Counts | None:
    """The counts that a file of the cache holds; None where there is none or it is damaged."""
    try:
        data = path.read_bytes()
        digest, content = data[:32], data[32:]
        if hashlib.sha256(content).digest() != digest:
            return None
        found = np.load(io.BytesIO(content), allow_pickle=False)
        values, counts = found["values"], found["counts"]
    except (OSError, ValueError, KeyError):
        return None
    return (values, counts) if counts.shape == (pictures, len(values)) else None


def _write(path: Path, found: Counts) -> None:
    """Write the counts and remove the oldest files of their kind; a cache that cannot be written is left alone."""
    content = io.BytesIO()
    np.savez_compressed(content, values=found[0], counts=found[1])
    with contextlib.suppress(OSError, UserError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_bytes(hashlib.sha256(content.getvalue()).digest() + content.getvalue())
        for other in _oldest(path.parent.glob("class-pixels-*")):
            other.unlink(missing_ok=True)


def _oldest(files: Iterable[Path]) -> list[Path]:
    return sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)[KEPT:]
