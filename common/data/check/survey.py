"""A survey of a data folder: every split's pairs, and every picture and mask as training's readers read them."""

import functools
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path
from typing import Any

from common.console import Progress
from common.data import lists, stems
from common.data.card import DatasetCard
from common.data.check.files import MaskFile, PictureFile, examine_channels, examine_mask, examine_picture
from common.data.folders import is_file, is_hidden
from common.data.lists import read_split
from common.data.masks import Encoded
from common.data.sets.cards import CARDS
from common.data.shards.index import holds_records, record_files
from common.errors import UserError
from common.parallel import parallel_map

Pair = tuple[Path, Path]

ROLES = ("train", "val", "test")  # what a split's name says it is for; in this order of use


@dataclass(frozen=True)
class SurveyedSplit:
    """The pairs of a split, including those whose files are missing.

    Attributes:
      source: the list file, or None when the split is read from the card's folders.
      unreadable: why the list can't be read, or "".
      bad_lines: (line number, text) of lines that name no pair.
    """

    name: str
    source: Path | None
    pairs: tuple[Pair, ...]
    unreadable: str = ""
    bad_lines: tuple[tuple[int, str], ...] = ()

    @property
    def roles(self) -> frozenset[str]:
        """The uses (`train`, `val`, `test`) that are in the name: `trainval` has two, `mine` none."""
        return frozenset(role for role in ROLES if role in self.name.lower())


@dataclass(frozen=True)
class Survey:
    """The result of a survey.

    Attributes:
      whole: whether all splits were read, not only those that were named.
      pictures, masks: by path, without missing files.
      listings: the file names in every folder where a split's files should be.
    """

    card: DatasetCard
    folder: Path
    splits: tuple[SurveyedSplit, ...]
    whole: bool
    pictures: dict[Path, PictureFile]
    masks: dict[Path, MaskFile]
    listings: dict[Path, tuple[str, ...]]

    @functools.cached_property
    def names_by_stem(self) -> dict[tuple[Path, str], list[str]]:
        """The names of `listings` by folder and by each part of theirs that ends before a dot, as `plain` has it."""
        found: dict[tuple[Path, str], list[str]] = {}
        for folder, names in self.listings.items():
            for name in names:
                words = plain(name).split(".")
                for count in range(1, len(words)):
                    found.setdefault((folder, ".".join(words[:count])), []).append(name)
        return found

    def name(self, path: Path) -> str:
        """The path below the data folder."""
        return str(path.relative_to(self.folder) if path.is_relative_to(self.folder) else path)


def plain(name: str) -> str:
    """A name without what file systems differ in: case, and the form of letters with accents."""
    return unicodedata.normalize("NFC", name).lower()


def survey_folder(
    card: DatasetCard,
    folder: Path,
    names: Sequence[str] = (),
    workers: int = 1,
    quiet: bool = False,
    channels: Sequence[int] = (),
) -> Survey:
    """Read the splits `names` (default: all) and every file that they name, each file once.

    Pictures are read by `channels`, as `read_image` has them.

    Raises:
      UserError: no such folder or split, or a folder of TFRecords.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; point it at the data set in {card.title}'s layout")
    splits = [_survey_split(card, folder, name) for name in names or _names(card, folder)]
    if not names:
        splits = _distinct(splits)
    listings = {
        parent: tuple(sorted(filterfalse(is_hidden, os.listdir(parent)))) if parent.is_dir() else ()  # noqa: PTH208
        for parent in {path.parent for split in splits for pair in split.pairs for path in pair}
    }
    # Picture by picture, so that the progress is even.
    tasks = [
        (examine, path)
        for pair in dict.fromkeys(pair for split in splits for pair in split.pairs)
        for examine, path in zip((examine_picture, examine_mask), pair, strict=True)
    ]
    tasks = [task for task in dict.fromkeys(tasks) if is_file(task[1])]
    seen: dict[Callable, dict[Path, Any]] = {examine_picture: {}, examine_mask: {}}
    work = functools.partial(_examine, card=card, channels=channels)
    with (
        parallel_map(workers, len(tasks)) as run,
        Progress(f"files of {folder}", len(tasks), quiet=quiet) as progress,
    ):
        for (examine, path), result in zip(tasks, run(work, tasks), strict=True):
            seen[examine][path] = result
            progress.advance()
    return Survey(card, folder, tuple(splits), not names, seen[examine_picture], seen[examine_mask], listings)


def _names(card: DatasetCard, folder: Path) -> list[str]:
    """The names of all splits: lists in the list folders (in the data folder itself only known names), and those that
    the card reads from folders."""
    found = list(card.splits) or _found(card, folder)
    if not found:
        if record_files(folder):
            raise _of_records(folder)
        others = [f"--dataset {other.name}" for other in CARDS.values() if _found(other, folder)]
        looked_for = [f"{'' if f == '' else f + '/'}<split>.txt" for f in card.list_folders]
        looked_for += sorted({part.images for parts in card.folders.values() for part in parts})
        raise UserError(
            f"{folder}: no split of {card.title}; looked for {', '.join(looked_for)}; "
            + (f"it looks like {' or '.join(others)}" if others else "--dataset names the layout")
        )
    return found


def _found(card: DatasetCard, folder: Path) -> list[str]:
    known = dict.fromkeys((*card.folders, *card.split_sizes, *ROLES, "trainval"))
    names = [name for name, parts in card.folders.items() if any(any(folder.glob(p.images)) for p in parts)]
    names += [name for name in known if any((folder / f / f"{name}.txt").is_file() for f in card.list_folders)]
    # A data folder itself also holds texts that are no lists.
    names += [p.stem for f in card.list_folders if f for p in sorted((folder / f).glob("*.txt"))]
    order = [*known, *sorted(names)]
    return sorted(set(names), key=order.index)


def _distinct(splits: Sequence[SurveyedSplit]) -> list[SurveyedSplit]:
    """Keep the first name of each folder, without folders whose pictures have masks in another one only."""
    with_masks = [split for split in splits if any(is_file(mask) for _, mask in split.pairs)]
    labelled = {picture for split in with_masks for picture, _ in split.pairs}
    kept: dict[tuple[Pair, ...], SurveyedSplit] = {}
    for split in splits:
        if split.source:
            kept[split.source, split.pairs] = split
        elif split in with_masks or not labelled.issuperset(picture for picture, _ in split.pairs):
            kept.setdefault(split.pairs, split)
    return list(kept.values())


def _survey_split(card: DatasetCard, folder: Path, name: str) -> SurveyedSplit:
    """Read a split as training does (`lists.read_split`); where that refuses, go line by line, to see every fault."""
    candidates = [folder / f / f"{name}.txt" for f in card.list_folders]
    from_files = any(p.is_file() for p in candidates) or stems.are_there(card, folder)
    if not from_files and holds_records(folder, name):
        raise _of_records(folder)
    if card.splits:
        return _survey_own(card, folder, name)
    source = next((p for p in [*candidates, Path(name)] if p.is_file()), None)
    try:
        split = read_split(card, folder, name)
        return SurveyedSplit(split.name, source, split.pairs)
    except UserError as error:
        if source:
            return _survey_list(source.stem, source, lambda: lists.read_lines(card, folder, source))
        pairs = tuple(lists.pairs_in_folders(card, folder, name))
        if not pairs:
            raise UserError(str(error).removeprefix("--data ")) from None
        return SurveyedSplit(name, None, pairs)


def _survey_list(name: str, source: Path, read_lines: Callable[[], Iterator[stems.Line]]) -> SurveyedSplit:
    try:
        lines = list(read_lines())
    except UserError as error:
        return SurveyedSplit(name, source, (), str(error).removeprefix(f"{source}: "))
    pairs = tuple(line.pair for line in lines if line.pair)
    return SurveyedSplit(name, source, pairs, bad_lines=tuple((x.number, x.text) for x in lines if not x.pair))


def _survey_own(card: DatasetCard, folder: Path, name: str) -> SurveyedSplit:
    """Read a split of a person's own set."""
    split = stems.split_named(card, folder, name)
    if split.listed is None:
        return SurveyedSplit(name, None, tuple(stems.read_pairs(card, folder, name)[0]))
    source = folder / split.listed
    read_lines = functools.partial(stems.read_lines, card, folder, split, source)
    return _survey_list(name if name in card.splits else source.stem, source, read_lines)


def _of_records(folder: Path) -> UserError:
    return UserError(
        f"{folder}: holds TFRecords, which `python -m common.data.tfrecord build` checks when it is run again; "
        f"check the folder they were built from"
    )


def _examine(task: tuple[Callable, Path], card: DatasetCard, channels: Sequence[int] = ()) -> PictureFile | MaskFile:
    examine, path = task
    if channels and examine is examine_picture:
        return examine_channels(path, channels)
    try:
        file = Encoded(str(path), path.read_bytes())
    except OSError as error:  # no permission, a bad disk
        problem = f"cannot be read ({error.strerror or error})"
        return (PictureFile if examine is examine_picture else MaskFile)(problem=problem)
    return examine(file, card)
