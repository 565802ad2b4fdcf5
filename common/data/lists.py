"""From a data folder and a split's name to pairs of files."""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from common.data import masks, stems
from common.data.card import DatasetCard, RawLabels
from common.data.folders import is_file, is_hidden
from common.data.own import DATASET_FILE, locate
from common.data.sample import data_dir
from common.data.sets.cards import CARDS
from common.data.shards import index
from common.data.split import MARKER, NAMES, SOURCES, Split, divide
from common.errors import UserError, brief
from common.recipe.recipe import Recipe
from common.words import NAMED, some


def card_by_name(name: str) -> DatasetCard:
    """The card of a known data set, or of a person's own by the path of its dataset.yaml or of the folder it is in.

    Raises UserError for a name without a card, and as `own.read_card`.
    """
    card = CARDS.get(name) or locate(Path(name))[0]
    if card is None:
        known = ", ".join(CARDS)
        raise UserError(f"dataset={name}: no such data set; there are {known}, or the path of a {DATASET_FILE}")
    return card


class Data(NamedTuple):
    """The data set that `--data` names: a person's own card, None in a known layout, and the folder."""

    card: DatasetCard | None
    folder: Path

    def split(self, name: str, dataset: str) -> Split:
        """The split `name`; `dataset` names the card where there is no own one. Raises as `open_split`."""
        return read_split(self.card or card_by_name(dataset), self.folder, name)

    def split_for(self, recipe: Recipe, name: str) -> Split:
        """The split `name` of a data set with the recipe's classes. Raises as `check_classes`, then as `split`."""
        check_classes(recipe, self.card or card_by_name(recipe.dataset))  # before a list that may be long
        return replace(self.split(name, recipe.dataset), channels=recipe.channels)


def open_data(argument: str) -> Data:
    """Resolve `--data`; `sample` draws the sample set first.

    Raises UserError when there is no such folder, and as `own.read_card`.
    """
    card, folder = locate(data_dir(argument))
    if not folder.is_dir():
        raise UserError(f"--data {argument}: no such folder; point it at a data set's folder or a dataset.yaml")
    return Data(card, folder)


def open_split(argument: str, split: str, dataset: str) -> Split:
    """The split that `--data`, `--split` and the name of a data set mean.

    Args:
      argument: of `--data`: a data set's folder, a folder of TFRecords, a dataset.yaml or its folder, or `sample`.
      split: a name or a list file, as `read_split` takes it.
      dataset: the data set's name; a dataset.yaml goes before it.

    Raises:
      UserError: as `open_data`, `card_by_name` and `read_split`.
    """
    return open_data(argument).split(split, dataset)


def check_classes(recipe: Recipe, card: DatasetCard) -> None:
    """Raises UserError when the network's classes are not the data set's."""
    if recipe.num_classes != len(card.classes):
        raise UserError(
            f"num_classes={recipe.num_classes}: the network's classes are not the {len(card.classes)} of "
            f"{card.name}; set dataset and num_classes together"
        )


def no_class_error(split: Split, count: int, consequence: str) -> UserError:
    """The error of a split whose masks, `count` that were read, have nothing but void pixels."""
    return UserError(
        f"{split.title}: none of its {count} masks has a pixel of a class, so that {consequence}; "
        f"`python -m common.data.check` shows what they hold"
    )


def is_sample_set(data_dir: Path) -> bool:
    """Whether the folder is the drawn sample set, or holds TFRecords of it."""
    return (data_dir / MARKER).is_file() or index.is_sample(data_dir)


def read_split(card: DatasetCard, data_dir: Path, split: str) -> Split:
    """The pairs of `split` in `data_dir`.

    `split` is a name, looked up as `<list folder>/<split>.txt` and then in the card's folders, or
    the path of a list file. A line holds an ImageSets id, or `image mask` relative to `data_dir`
    (without a leading slash, as in the original). CRLF and blank lines are allowed.
    A person's own set is read by `stems.read_pairs`, a folder of TFRecords by `shards.examples.read_records`.

    Raises:
      UserError: there is no such folder or list, the list is empty or malformed, or files are missing.
    """
    if split in NAMES and not Path(split).is_file():
        return _random(card, data_dir, split)
    if not data_dir.is_dir():
        raise UserError(f"--data {data_dir}: no such folder; point it at the data set in {card.title}'s layout")
    candidates = [data_dir / folder / f"{split}.txt" for folder in card.list_folders]
    from_files = any(p.is_file() for p in candidates) or stems.are_there(card, data_dir)
    if not from_files and index.holds_records(data_dir, split):
        from common.data.shards.examples import read_records  # with protobuf, which lists do without

        return read_records(replace(card, raw_labels=RawLabels()), data_dir, split)  # records hold class ids
    if card.splits:
        pairs, path = stems.read_pairs(card, data_dir, split)
    else:
        path = next((p for p in [*candidates, Path(split)] if p.is_file()), None)
        if path:
            pairs = stems.pairs_of(read_lines(card, data_dir, path), path)
        else:
            pairs = pairs_in_folders(card, data_dir, split)
    pairs = _existing(pairs, f"{path or data_dir}", split)
    if not pairs and path:
        raise UserError(f"{path}: split '{split}' is empty; it must name at least one picture")
    if not pairs:
        looked_for = [str(p.relative_to(data_dir)) for p in candidates]
        looked_for += [folders.images for folders in card.folders.get(split, ())]
        raise UserError(f"--data {data_dir}: no split '{split}' of {card.title}; looked for {', '.join(looked_for)}")
    name = path.stem if path and split not in card.splits else split
    root = stems.root(card, data_dir) if card.splits else None
    return Split(card, name, tuple(pairs), (data_dir / MARKER).is_file(), root=root)


def _existing(pairs: Iterable[stems.Pair], source: str, split: str) -> list[stems.Pair]:
    """All pairs, if their files are there. Raises UserError that names NAMED of those that are not.

    They are looked up one by one, and none is kept behind a missing one: a wrong list may have millions.
    """
    found: list[stems.Pair] = []
    missing, named = 0, []
    for pair in pairs:
        gone = [path for path in pair if not is_file(path)]
        if not gone and not missing:
            found.append(pair)
        missing += len(gone)
        named += map(str, gone[: NAMED - len(named)])
    if not missing:
        return found
    forms = [Path(unicodedata.normalize(form, name)) for name in named for form in ("NFC", "NFD")]
    hint = "; letters with accents are stored in another form there than in the list: write both alike"
    raise UserError(
        f"{source}: {missing} files of split '{split}' are missing: {some(map(brief, named), NAMED, missing)}"
        f"{hint if any(map(is_file, forms)) else ''}"
    )


def _random(card: DatasetCard, data_dir: Path, name: str) -> Split:
    try:
        parts = [read_split(card, data_dir, source) for source in SOURCES]
    except UserError as error:
        needed = " and ".join(SOURCES)
        raise UserError(f"{name}: is drawn from the splits {needed}, which must be there; {error}") from None
    if not all(type(part) is Split for part in parts):
        raise UserError(f"--data {data_dir}: holds TFRecords; {name} is drawn from the data set's folder")
    pairs = divide([pair for part in parts for pair in part.pairs], name)
    return Split(card, name, tuple(pairs), parts[0].is_sample)


def read_lines(card: DatasetCard, data_dir: Path, path: Path) -> Iterator[stems.Line]:
    """A list in a known layout, line by line. Raises UserError when it can't be read as text."""
    mask_folders = [f for f in card.mask_folders if (data_dir / f).is_dir()] or [card.mask_folders[0]]
    for number, line in stems.list_lines(path):
        match stems.split_line(line):
            case [path_only] if path_only.lower().endswith(masks.SUFFIXES):
                problem = f"names no mask: {brief(line)}; predict takes pictures without masks"
                yield stems.Line(number, None, brief(line), problem)
                continue
            case [image_id]:
                image = f"{card.image_folder}/{image_id}{card.image_suffix}"
                mask = f"{mask_folders[0]}/{image_id}.png"
            case [image, mask]:
                pass
            case _:
                problem = f"is neither an id nor 'image mask', {stems.SPACES}: {brief(line)}"
                yield stems.Line(number, None, brief(line), problem)
                continue
        pair = data_dir / image.lstrip("/"), _existing_variant(card, data_dir / mask.lstrip("/"))
        yield stems.Line(number, pair)


def pairs_in_folders(card: DatasetCard, data_dir: Path, split: str) -> list[tuple[Path, Path]]:
    """The pairs of a split that the card reads from its folders; none for another."""
    pairs = []
    for folders in card.folders.get(split, ()):
        for image in sorted(path for path in data_dir.glob(folders.images) if not is_hidden(path.name)):
            mask = image.relative_to(data_dir).as_posix()
            for old, new in folders.replace:
                mask = mask.replace(old, new)
            pairs.append((image, _existing_variant(card, data_dir / mask)))
    return pairs


def _existing_variant(card: DatasetCard, mask: Path) -> Path:
    """The mask itself or, when only unmapped labels are there, their file (Cityscapes: _labelIds.png)."""
    if not card.label_maps:
        return mask
    stem = mask.name.rpartition("_")[0]
    variants = [mask, *(mask.with_name(stem + ending) for ending in card.label_maps)]
    return next(filter(is_file, variants), mask)
