"""Pairs of picture and mask by their stems: the splits of a person's own set."""

import dataclasses
import functools
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from common.console import Progress, say
from common.data.card import DatasetCard, StemPairs
from common.data.folders import files_below
from common.data.masks import SUFFIXES
from common.errors import UserError, brief
from common.files import read_text
from common.words import some

Pair = tuple[Path, Path]


def are_there(card: DatasetCard, data_dir: Path) -> bool:
    """Whether the files of any split of the card lie in `data_dir`, so that it is no folder of TFRecords."""
    sources = (split.listed or split.images for split in card.splits.values())
    return any((data_dir / source).exists() for source in sources)


def root(card: DatasetCard, data_dir: Path) -> Path:
    """The folder below which a picture's path without suffix is its own: that of the images if all splits have one."""
    folders = {split.images for split in card.splits.values()}
    return data_dir / (folders.pop() or "") if len(folders) == 1 else data_dir


def read_pairs(card: DatasetCard, data_dir: Path, name: str) -> tuple[Iterable[Pair], Path | None]:
    """The pairs of the split `name`, or of a list file of that path, and the list if there is one.

    Pairs of folders are in the order of their stems. Pictures without a mask, and masks without a picture, are left
    out, with a message on stderr.

    Raises:
      UserError: there is no such split, a folder is missing, two files have one stem, no pair fits, or a list is
        malformed or names files that are missing.
    """
    split = split_named(card, data_dir, name)
    if split.listed is not None:
        path = data_dir / split.listed
        return pairs_of(read_lines(card, data_dir, split, path), path), path
    pairs = _of_folders(card, data_dir, split)
    return [pairs[stem] for stem in _of_share(card, split, name, sorted(pairs))], None


def split_named(card: DatasetCard, data_dir: Path, name: str) -> StemPairs:
    """The split `name`, or that of a list file of this path. Raises UserError when there is neither, or no list."""
    split = card.splits.get(name)
    if split is None and Path(name).is_file():
        return dataclasses.replace(next(iter(card.splits.values())), listed=str(Path(name).absolute()), val_share=None)
    if split is None:
        raise UserError(
            f"--data {data_dir}: no split '{name}' of {card.name}; there are {', '.join(card.splits)}, or name a list "
            f"file{_how_to_have(card, name)}"
        )
    if split.listed is not None and not (data_dir / split.listed).is_file():
        raise UserError(
            f"{card.source}: splits: {name}: there is no list {data_dir / split.listed}; correct the path, which "
            f"starts at this file"
        )
    return split


def _how_to_have(card: DatasetCard, name: str) -> str:
    """Advice for the dataset.yaml: how it gets the split `train` or `val`."""
    if name not in ("train", "val"):
        return ""
    if next(iter(card.splits.values())).val_share is not None:
        return f"; {card.source}: val_share: 0 leaves none for {name}, write such as 0.2"
    return f"; {card.source}: splits: add `{name}: ` with a list or folders"


class Line(NamedTuple):
    """A line of a list that is not blank: the pair that it names, or else its text and what is wrong with it."""

    number: int
    pair: Pair | None = None
    text: str = ""
    problem: str = ""


def pairs_of(lines: Iterable[Line], path: Path) -> Iterator[Pair]:
    """The pairs of a list, one by one, since it may be long. Raises UserError at its end if lines of it are wrong."""
    first, others = None, []
    for line in lines:
        if first is None and not line.problem:
            yield line.pair
        elif first is None:
            first = line
        elif line.problem:
            others.append(line.number)
    if first:
        raise UserError(f"{path}: line {first.number} {first.problem}{f' (as lines {some(others)})' if others else ''}")


def list_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is not blank. Raises UserError when the file can't be read as text."""
    text = read_text(path, "cannot be read as a list")
    with Progress(f"reading {path.name}", text.count("\n") + 1) as progress:
        for number, line in enumerate(io.StringIO(text), 1):  # not all lines at once: there may be millions
            if number % LINES_A_TIME == 0:
                progress.advance(count=LINES_A_TIME)
            if len(stripped := line.strip()) > LONGEST_LINE:
                raise UserError(
                    f"{path}: line {number} has {len(stripped):,} characters, more than two paths can have: "
                    f"{brief(stripped)}; correct the list"
                )
            if stripped:
                yield number, stripped


LONGEST_LINE = 10_000  # characters of a list's line
LINES_A_TIME = 10_000  # of a list, between two looks at the clock
SPACES = "names with spaces quoted or with a tab between the two"
_WORD = re.compile(r"""(?:"([^"]+)"|'([^']+)'|(\S+))(?=\s|$)""")


def split_line(line: str) -> list[str]:
    """The words of a list's line: between tabs if there are any, or else between spaces that are not in quotes."""
    if "\t" in line:
        return [word.strip().strip("\"'") for word in line.split("\t") if word.strip()]
    return [next(filter(None, word.groups())) for word in _WORD.finditer(line)]


def _of_folders(card: DatasetCard, data_dir: Path, split: StemPairs) -> dict[str, Pair]:
    """All pairs by stem."""
    images, masks = data_dir / split.images, data_dir / split.masks
    ending = split.mask_ending
    pictures = _pictures(card, "images", images, masks, without=ending if images == masks else "")
    labels = _pictures(card, "masks", masks, images, ending)
    for key, found, folder in (("images", pictures, images), ("masks", labels, masks)):
        if not found:
            named = f" whose stems end in {ending}" if ending and folder == masks else ""
            raise UserError(
                f"{card.source}: {key}: {folder} holds no pictures{named}; correct the path or the files' names"
            )
    pairs = {stem: (path, labels[stem]) for stem, path in pictures.items() if stem in labels}
    if not pairs:
        first = [
            next(iter(found.values())).relative_to(folder) for found, folder in ((pictures, images), (labels, masks))
        ]
        raise UserError(
            f"{card.source}: images, masks: no picture in {images} has the path, without suffix, of a mask in {masks} "
            f"(the first are {first[0]} and {first[1]}); name the folders in which they are alike, or say mask_ending"
        )
    for found, folder, partner in ((pictures, images, "mask"), (labels, masks, "picture")):
        alone = [path.name for stem, path in found.items() if stem not in pairs]
        if alone and split.listed is None:
            _say_once(
                f"{card.source}: {len(alone)} files of {folder} have no {partner} and are left out: {some(alone)}"
            )
    return pairs


def _pictures(
    card: DatasetCard, key: str, folder: Path, other: Path, ending: str = "", without: str = ""
) -> dict[str, Path]:
    """The picture files below `folder` by stem, which is their path there without suffix and `ending`.

    Hidden files, those in the `other` folder if it lies in this one, and those that end in `without` are not taken.
    """
    if not folder.is_dir():
        raise UserError(
            f"{card.source}: {key}: there is no folder {folder}; correct the path, which starts at this file"
        )
    inside = other if other != folder and other.is_relative_to(folder) else None
    found: dict[str, Path] = {}
    for path in files_below(folder, SUFFIXES):
        if inside and path.is_relative_to(inside):
            continue
        stem = _normal(path.relative_to(folder).with_suffix("").as_posix())
        if not stem.endswith(ending) or (without and stem.endswith(without)):
            continue
        other_file = found.setdefault(stem.removesuffix(ending), path)
        if other_file != path:
            raise UserError(f"{other_file} and {path.name}: have the same stem; keep one, or rename it")
    return found


def _of_share(card: DatasetCard, split: StemPairs, name: str, stems: list[str]) -> list[str]:
    if not split.val_share:
        return stems
    count = max(1, round(split.val_share * len(stems)))
    if count == len(stems):
        raise UserError(
            f"{card.source}: val_share: {split.val_share} of {count} pictures leaves none to train on; add pictures, "
            f"or write val_share: 0"
        )
    order = np.random.RandomState(split.seed).permutation(len(stems))
    val = {stems[i] for i in order[:count]}
    return [stem for stem in stems if (stem in val) == (name == "val")]


def read_lines(card: DatasetCard, data_dir: Path, split: StemPairs, path: Path) -> Iterator[Line]:
    """The list `path`, line by line. Raises UserError as `read_pairs` for what is wrong with all of it."""
    known = _of_folders(card, data_dir, split) if split.images is not None else {}
    for number, line in list_lines(path):
        words, pair, problem = split_line(line), known.get(_stem(line, split)), ""
        if pair is None and len(words) == 2:
            pair = data_dir / words[0], data_dir / words[1]
        elif pair is None and split.images is None:
            problem = (
                f"is not `image mask`: {brief(line)}; write both, or give {card.source} the folders images and masks"
            )
        elif pair is None:
            folders = f"{data_dir / split.images} with a mask in {data_dir / split.masks}"
            problem = f"names no picture in {folders}: {brief(line)}; correct the list or add the files"
        if problem and len(words) > 2:
            problem += f"; of an image and its mask, {SPACES}"
        yield Line(number, pair, brief(line) if problem else "", problem)


def _stem(entry: str, split: StemPairs) -> str:
    """The stem that a line means, be it written with the picture's suffix or folder too."""
    path = PurePath(entry)
    if split.images is not None and path.is_relative_to(split.images):
        path = path.relative_to(split.images)
    return _normal((path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).as_posix())


def _normal(text: str) -> str:
    """The text with letters with accents in one form: some file systems store another form than was typed."""
    return unicodedata.normalize("NFC", text)


@functools.cache
def _say_once(text: str) -> None:
    say(text)
