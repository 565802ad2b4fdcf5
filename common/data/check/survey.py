"""A survey of a data folder: every split's pairs, and every picture and mask as training's readers read them."""

import functools
import hashlib
import io
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import filterfalse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.console import Progress
from common.data import lists, stems
from common.data.card import DatasetCard
from common.data.folders import is_file, is_hidden
from common.data.levels import find_levels, needs_levels
from common.data.lists import read_split
from common.data.masks import (
    ON_THEIR_SIDE,
    Encoded,
    kind_problem,
    opened,
    orientation,
    read_image,
    read_mask,
    stored_values,
)
from common.data.sets.cards import CARDS
from common.data.shards.index import holds_records, record_files
from common.errors import UserError, brief
from common.parallel import parallel_map

Pair = tuple[Path, Path]
Colour = tuple[int, int, int]

ROLES = ("train", "val", "test")  # what a split's name says it is for; in this order of use


@dataclass(frozen=True)
class PictureFile:
    """A picture as training reads it.

    Attributes:
      digest: SHA-256 of the file's bytes.
      size: width, height when upright, or None when it can't be read; stored: before the EXIF tag turns it.
      mode: Pillow's, or the channels that were chosen.
      orientation: the EXIF tag's value, 1 without a tag.
      stretched: the values that the percentiles make black and white, or None where the pixel type sets them.
      problem: why it can't be read, or "".
      damage: what is wrong with its bytes although it can be read, or "".
    """

    digest: bytes = b""
    size: tuple[int, int] | None = None
    stored: tuple[int, int] | None = None
    mode: str = ""
    orientation: int = 1
    stretched: tuple[float, float] | None = None
    problem: str = ""
    damage: str = ""


@dataclass(frozen=True)
class MaskFile:
    """A mask as training reads it. `mode`, `problem` and `damage` as in PictureFile.

    Attributes:
      size: width, height, or None when it can't be decoded.
      lossy: whether it is a JPEG.
      pixels: by class id as read, the ignore label among them; empty when it can't be read.
      values: pixels by stored value; empty for a mask that can only be read by its colours.
      colours: pixels by colour of such a mask, the 4096 most frequent ones at most.
      entries: of a palette mask, (value, the colour shown for it, class id as read) for the values in use; empty
        where the card says what each value stands for.
      own_palette: whether a palette mask shows the card's colours for the card's classes.
      mapped: whether the card's label map for the file's ending applies.
      in_all_channels: whether each of three equal channels holds the class id.
    """

    size: tuple[int, int] | None = None
    mode: str = ""
    lossy: bool = False
    pixels: dict[int, int] = field(default_factory=dict)
    values: dict[int, int] = field(default_factory=dict)
    colours: dict[Colour, int] = field(default_factory=dict)
    entries: tuple[tuple[int, Colour, int], ...] = ()
    own_palette: bool = False
    mapped: bool = False
    in_all_channels: bool = False
    problem: str = ""
    damage: str = ""


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
        for examine, path in zip((_examine_picture, _examine_mask), pair, strict=True)
    ]
    tasks = [task for task in dict.fromkeys(tasks) if is_file(task[1])]
    seen: dict[Callable, dict[Path, Any]] = {_examine_picture: {}, _examine_mask: {}}
    work = functools.partial(_examine, card=card, channels=channels)
    with (
        parallel_map(workers, len(tasks)) as run,
        Progress(f"files of {folder}", len(tasks), quiet=quiet) as progress,
    ):
        for (examine, path), result in zip(tasks, run(work, tasks), strict=True):
            seen[examine][path] = result
            progress.advance()
    return Survey(card, folder, tuple(splits), not names, seen[_examine_picture], seen[_examine_mask], listings)


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
    if channels and examine is _examine_picture:
        return _examine_channels(path, channels)
    try:
        file = Encoded(str(path), path.read_bytes())
    except OSError as error:  # no permission, a bad disk
        problem = f"cannot be read ({error.strerror or error})"
        return (PictureFile if examine is _examine_picture else MaskFile)(problem=problem)
    return examine(file, card)


def _examine_picture(file: Encoded, card: DatasetCard) -> PictureFile:
    digest = hashlib.sha256(file.data).digest()
    pixels, problem = _attempt(file, read_image, file)
    if problem:
        return PictureFile(digest, problem=problem)
    size = (pixels.shape[1], pixels.shape[0])
    with opened(file) as image:
        turn, stretched = orientation(image), None
        if needs_levels(image):
            image.load()
            levels = find_levels(image)
            stretched = (levels.black, levels.white) if levels.is_stretched else None
        return PictureFile(
            digest=digest,
            size=size,
            stored=size[::-1] if turn in ON_THEIR_SIDE else size,
            mode=image.mode,
            orientation=turn,
            stretched=stretched,
            damage=_damage(file.data),
        )


def _examine_channels(path: Path, channels: Sequence[int]) -> PictureFile:
    pixels, problem = _attempt(path, read_image, path, channels)
    if problem:
        return PictureFile(problem=problem)
    size = (pixels.shape[1], pixels.shape[0])
    return PictureFile(hashlib.sha256(path.read_bytes()).digest(), size, size, ",".join(map(str, channels)))


def _examine_mask(file: Encoded, card: DatasetCard) -> MaskFile:
    ids, problem = _attempt(file, read_mask, file, card)
    decoded, unreadable = _attempt(file, _decode, file)
    if unreadable:
        return MaskFile(problem=problem or unreadable)
    image, is_of_another_kind = decoded
    if is_of_another_kind:
        return MaskFile(image.size, image.mode, problem=problem, damage=_damage(file.data))
    pixels = {} if problem else _histogram(ids)
    values, entries, own_palette, in_all_channels, mode = {}, (), False, False, image.mode
    if card.raw_labels.colours and not card.raw_labels.values:
        image = image.convert("RGB")
    if image.mode in ("1", "P", "L") or image.mode.startswith("I"):  # as the reader has it
        stored = np.asarray(image)
        values = _histogram(stored)
        if image.mode == "P" and not problem and not card.raw_labels.values:
            flat = image.getpalette("RGB")
            palette = list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
            own_palette = all(shown == own for shown, own in zip(palette, card.palette, strict=False))
            palette += [(0, 0, 0)] * (256 - len(palette))
            read_as = _histogram(stored.astype(np.uint16) << 8 | ids)
            entries = tuple((both >> 8, palette[both >> 8], both & 255) for both in read_as)
    elif (stored := stored_values(image, card)) is not None:
        values, in_all_channels = _histogram(stored), True
    return MaskFile(
        size=image.size,
        mode=mode,
        lossy=Image.open(io.BytesIO(file.data)).format == "JPEG",
        pixels=pixels,
        values=values,
        colours={} if values else _colours(image.convert("RGB")),
        entries=entries,
        own_palette=own_palette,
        mapped=file.name.endswith(tuple(card.label_maps)),
        in_all_channels=in_all_channels,
        problem=problem,
        damage=_damage(file.data),
    )


def _attempt(file: Encoded | Path, read: Callable, *arguments: Any) -> tuple[Any, str]:
    """Run a reader; returns its result, or the message that would stop training, without the file's name."""
    try:
        return read(*arguments), ""
    except UserError as error:
        return None, str(error).removeprefix(f"{file}: ")
    except Exception as error:  # what a reader did not foresee would stop training too
        return None, f"cannot be read ({brief(str(error))})"


def _decode(file: Encoded) -> tuple[Image.Image, bool]:
    """Decode a mask; returns its pixels, and whether its kind of file can be no mask."""
    with opened(file) as image:
        is_of_another_kind = bool(kind_problem(image))
        image.load()
        return image.copy(), is_of_another_kind


def _damage(data: bytes) -> str:
    """Find damage that decoders do not report: a JPEG without its end, a PNG whose checksums are wrong."""
    image = Image.open(io.BytesIO(data))
    if image.format == "JPEG":  # its header is read now, up to where the pixels begin
        return "" if data.find(b"\xff\xd9", image.fp.tell()) >= 0 else "the JPEG has no end, its lower part is made up"
    try:
        image.verify()
    except Exception as error:
        return str(error)
    return ""


def _histogram(values: np.ndarray) -> dict[int, int]:
    if values.dtype.kind in "bu" and values.dtype.itemsize <= 2:
        counts = np.bincount(values.ravel())
        return {int(v): int(counts[v]) for v in np.flatnonzero(counts)}
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _colours(image: Image.Image, most: int = 4096) -> dict[Colour, int]:
    found = sorted(image.getcolors(image.width * image.height), reverse=True)
    return {colour: count for count, colour in found[:most]}
