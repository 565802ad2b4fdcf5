"""Faults of a data set: their kinds as a table, and the checks that find them in a survey."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from common.data.check.files import MaskFile
from common.data.check.survey import ROLES, Pair, Survey, SurveyedSplit, plain
from common.data.masks import IGNORE_COLOURS, SUFFIXES
from common.data.own import IGNORE_LABEL, black_and_white_hint
from common.words import some

MODES = {"1": "1 bit", "P": "palette", "L": "grey", "I;16": "16 bit", "I": "32 bit", "F": "float", "RGB": "colour",
         "LA": "grey with alpha", "PA": "palette with alpha", "RGBA": "colour with alpha"}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of fault: `sentence` says what is wrong and what to do.

    An error makes the exit status 2. A note does not: training takes the data as the sentence says."""

    name: str
    is_error: bool
    sentence: str


@dataclass(frozen=True)
class Fault:
    """One finding: its kind, its place (mostly a file below the data folder), and what is wrong there."""

    kind: Kind
    where: str
    detail: str


_ERRORS = {
    "unreadable-list": "lists that can't be read, and stop training; correct them",
    "empty-list": "lists that name no picture; fill or delete them",
    "bad-line": "lines that name no pair of picture and mask; correct them",
    "listed-twice": "pictures listed twice in a split, which count double; keep one line",
    "no-picture": "pictures of a split that are not there; restore them or take them out of the list",
    "no-mask": "pictures of a split without a mask; add the masks or take the pictures out of the list",
    "lone-mask": "masks without a picture; add the pictures or remove the masks",
    "unreadable": "files that can't be read completely; replace or remove them",
    "damaged": "damaged files that can still be read; fetch or export them again",
    "size": "masks whose size differs from their picture's; export both from the same picture",
    "not-turned": "pictures that are turned by their EXIF tag, but their mask is not; turn the mask, or remove the tag",
    "value": "masks with values that are neither a class nor the ignore label; correct the masks or the classes",
    "hidden-value": "palette masks with values that are no class but have a class's colour and are read as it; "
    "correct the values",
    "colour": "masks in colours that are not in the palette; save them without smoothing or compression loss",
    "ambiguous-colour": "masks with colours that have two meanings; give every class its own colour",
    "ambiguous-palette": "palette masks where one value is two classes: some are read by value and some by colour; "
    "save all as grey pictures of class ids",
    "unlabelled": "masks that hold only the ignore label; label them or take them out of the list",
    "one-class": "training masks that all show one and the same class; label the others, or say by "
    "label_map what the values stand for",
    "leak": "the same pictures, byte for byte, in splits that must not share any; remove them from one split",
}
_NOTES = {
    "no-labels": "splits without labels, for prediction only",
    "duplicate": "the same pictures, byte for byte, under several names in one split",
    "shared": "splits that share pictures",
    "lone-picture": "pictures without a mask that are in no split",
    "unlisted": "pictures with a mask that are in no split",
    "maybe-turned": "pictures turned or mirrored by their EXIF tag; sizes can't tell whether the mask is too: look",
    "stretched": "pictures that are not 8 or 16 bit unsigned: their 2nd and 98th percentiles become black and white",
    "three-channels": "masks with the class id in all three channels, read by value",
    "in-colour": "masks stored in colour: every pixel becomes the class that has its colour in the palette",
    "by-colour": "palette masks whose colours are the card's but in another order: read by colour, not by value",
    "other-mode": "masks stored in another mode than most; they are read by value like the others",
    "lossy": "masks stored as JPEG, which can change values; here all values are still classes",
    "ignored-only": "masks that hold only labels that the data set ignores",
    "never-shown": "classes that are in no mask",
    "never-trained": "classes that are in evaluation splits only",
}
KINDS = {name: Kind(name, table is _ERRORS, text) for table in (_ERRORS, _NOTES) for name, text in table.items()}

Findings = Iterator[tuple[str, Path | str, str]]  # kind, file, detail


def find_faults(survey: Survey) -> list[Fault]:
    """Find all faults, in the order of KINDS; files keep the order of the lists."""
    order = list(KINDS)
    found = dict.fromkeys(
        Fault(KINDS[kind], survey.name(file) if isinstance(file, Path) else file, detail)
        for check in CHECKS
        for kind, file, detail in check(survey)
    )
    return sorted(found, key=lambda fault: order.index(fault.kind.name))


def _lists(survey: Survey) -> Findings:
    for split in survey.splits:
        if split.unreadable:
            yield "unreadable-list", split.source, split.unreadable
        elif not split.pairs and not split.bad_lines:
            yield "empty-list", split.source, f"split '{split.name}'"
        for number, text in split.bad_lines:
            yield "bad-line", split.source, f"line {number}: {text}"
        for picture, times in Counter(picture for picture, _ in split.pairs).items():
            if times > 1:
                yield "listed-twice", picture, f"{times} times in {_where(survey, split)}"


def _missing(survey: Survey) -> Findings:
    for split in survey.splits:
        unlabelled = _is_unlabelled(survey, split)
        if unlabelled:
            yield "no-labels", _where(survey, split), f"{len(split.pairs)} pictures"
        for picture, mask in split.pairs:
            if picture not in survey.pictures:
                yield "no-picture", picture, f"in {_where(survey, split)}{_alike(survey, picture)}"
            if mask not in survey.masks and not unlabelled:
                yield "no-mask", picture, f"{survey.name(mask)} is not there{_alike(survey, mask)}"


def _lone_files(survey: Survey) -> Findings:
    """Find files in a split's folders that no list names; most pairs there tell how names of pairs are alike."""
    pairs = {pair for split in survey.splits for pair in split.pairs}
    listed = {path for pair in pairs for path in pair}
    rules: dict[tuple[Path, Path], Counter] = defaultdict(Counter)
    for picture, mask in pairs:
        same = len(os.path.commonprefix([picture.stem, mask.stem]))
        if same:
            rules[picture.parent, mask.parent][picture.stem[same:], mask.stem[same:]] += 1
    for (picture_folder, mask_folder), counts in sorted(rules.items()):
        ((picture_end, mask_end), _), *_ = counts.most_common(1)
        masks = _by_stem(survey, mask_folder, mask_end)
        pictures = _by_stem(survey, picture_folder, picture_end)
        if picture_folder == mask_folder:
            pictures = {stem: path for stem, path in pictures.items() if path not in masks.values()}
        for stem in sorted(masks.keys() - pictures.keys()):
            if masks[stem] not in listed:
                yield "lone-mask", masks[stem], f"no picture {survey.name(picture_folder / (stem + picture_end))}.*"
        if not survey.whole or any(split.unreadable for split in survey.splits):
            continue  # lists that were not read may name them
        for stem in sorted(pictures.keys()):
            if pictures[stem] not in listed and stem not in masks:
                yield "lone-picture", pictures[stem], f"no mask {survey.name(mask_folder / (stem + mask_end))}.*"
            elif pictures[stem] not in listed and masks[stem] not in listed:
                yield "unlisted", pictures[stem], survey.name(masks[stem])


def _sizes(survey: Survey) -> Findings:
    for picture_path, mask_path in _pairs(survey):
        picture, mask = survey.pictures.get(picture_path), survey.masks.get(mask_path)
        if not picture or not mask or not picture.size or not mask.size:
            continue
        turned = picture.orientation not in (0, 1)
        upright = f"{_by(picture.size)} upright, {_by(picture.stored)} as stored (EXIF {picture.orientation})"
        if mask.size == picture.size:
            if turned and mask.size == picture.stored:
                yield "maybe-turned", picture_path, f"EXIF orientation {picture.orientation}, {_by(mask.size)}"
        elif turned and mask.size == picture.stored:
            yield "not-turned", mask_path, f"is {_by(mask.size)}, its picture {survey.name(picture_path)} {upright}"
        else:
            is_now = upright if turned else _by(picture.size)
            yield "size", mask_path, f"is {_by(mask.size)}, its picture {survey.name(picture_path)} {is_now}"


def _levels(survey: Survey) -> Findings:
    for path, picture in survey.pictures.items():
        if picture.stretched:
            black, white = picture.stretched
            yield "stretched", path, f"{MODES.get(picture.mode, picture.mode)}, from {black:g} to {white:g}"


def _broken(survey: Survey) -> Findings:
    for path, file in (*survey.pictures.items(), *survey.masks.items()):
        if file.damage:
            yield "damaged", path, file.damage
        if file.problem and not (isinstance(file, MaskFile) and _strange(survey, file)):
            yield "unreadable", path, file.problem


def _values(survey: Survey) -> Findings:
    card, modes = survey.card, Counter(mask.mode for mask in survey.masks.values() if mask.values)
    usual = modes.most_common(1)[0][0] if modes else ""
    for path, mask in survey.masks.items():
        strange = _strange(survey, mask)
        if mask.problem and strange:
            yield ("value" if mask.values else "colour"), path, _named(strange)
        if mask.problem:
            continue
        hidden = _hidden(survey, mask)
        if hidden:
            yield "hidden-value", path, ", ".join(hidden)
        elif mask.in_all_channels:
            yield "three-channels", path, MODES.get(mask.mode, mask.mode)
        elif mask.colours and not card.raw_labels.colours:  # there the card says so
            yield "in-colour", path, MODES.get(mask.mode, mask.mode)
        elif _is_by_colour(survey, mask):
            entries = [f"{v} is {card.classes[i]}" for v, _, i in mask.entries if i != v and i < len(card.classes)]
            yield "by-colour", path, some(entries) or "only the ignore label"
        elif mask.values and mask.mode != usual:
            yield "other-mode", path, f"{MODES.get(mask.mode, mask.mode)} instead of {MODES.get(usual, usual)}"
        if mask.lossy:
            yield "lossy", path, f"values {_named(mask.values or mask.colours)}"


def _ambiguous_colours(survey: Survey) -> Findings:
    """Colours that the palette gives to two classes, or to a class and to pixels without one."""
    card, meanings = survey.card, defaultdict(list)
    if card.raw_labels.colours:  # they say it of every colour
        return
    for colour, name in (*zip(card.palette, card.classes, strict=True), *((c, "no class") for c in IGNORE_COLOURS)):
        meanings[tuple(colour)].append(name)
    for path, mask in survey.masks.items():
        by_colour = mask.colours or (_is_by_colour(survey, mask) and [colour for _, colour, _ in mask.entries])
        for colour in () if mask.problem else dict.fromkeys(by_colour or ()):
            if len(meanings[colour]) > 1:
                yield "ambiguous-colour", path, f"{colour} is {' and '.join(meanings[colour])}"


def _ambiguous_palettes(survey: Survey) -> Findings:
    """Find values that, in the same colour, become one class in one mask and another class in another mask."""
    read_as: dict[tuple, dict[int, Path]] = defaultdict(dict)
    for path, mask in survey.masks.items():
        if not mask.mapped and not _hidden(survey, mask):
            for value, colour, class_id in mask.entries:
                read_as[value, colour].setdefault(class_id, path)
    for (value, colour), first in read_as.items():
        if len(first) > 1:
            (one, one_path), (other, other_path) = list(first.items())[:2]
            yield (
                "ambiguous-palette",
                other_path,
                f"value {value} shown as {colour} is class {other} here and {one} in {survey.name(one_path)}",
            )


def _labels(survey: Survey) -> Findings:
    card = survey.card
    exempt = {mask for split in survey.splits if _is_unlabelled(survey, split) for _, mask in split.pairs}
    for path, mask in survey.masks.items():
        if set(mask.pixels) == {card.ignore_label} and path not in exempt:
            is_label = mask.mapped or set(mask.values) & set(card.ignored_classes)
            yield ("ignored-only" if is_label else "unlabelled"), path, f"{mask.pixels[card.ignore_label]:,} pixels"
    shown = {role: set() for role in ROLES}
    for split in survey.splits:
        for role in split.roles:
            for _, mask in split.pairs:
                shown[role] |= set(survey.masks[mask].pixels) if mask in survey.masks else set()
    everywhere = set().union(*(mask.pixels for mask in survey.masks.values())) - {card.ignore_label}
    trained = (shown["train"] or everywhere) - {card.ignore_label}
    if len(trained) == 1:
        values = {value for mask in survey.masks.values() for value in mask.values}
        hint = f"; {black_and_white_hint(card)}" if values == {0, IGNORE_LABEL} else ""
        yield "one-class", card.classes[min(trained)], f"class {min(trained)} of {len(card.classes)}{hint}"
    elif trained and card.source:  # of a known set it is a subset that lacks some
        for class_id in sorted({*range(len(card.classes))} - everywhere):
            yield "never-shown", card.classes[class_id], f"class {class_id}"
    if shown["train"]:
        for class_id in sorted((shown["val"] | shown["test"]) - shown["train"] - {card.ignore_label}):
            yield "never-trained", card.classes[class_id], f"class {class_id}"


def _shared_pictures(survey: Survey) -> Findings:
    splits = survey.splits
    places: dict[bytes, dict[int, list[Path]]] = defaultdict(dict)  # digest -> number of the split -> pictures
    for number, split in enumerate(splits):
        for picture in dict.fromkeys(picture for picture, _ in split.pairs):
            if picture in survey.pictures and survey.pictures[picture].digest:
                places[survey.pictures[picture].digest].setdefault(number, []).append(picture)
    for found in places.values():
        for number, (first, *again) in found.items():
            for picture in again:
                yield "duplicate", picture, f"the same as {survey.name(first)}"
            others = [other for other in found if _must_not_share(splits[other], splits[number])]
            for picture in (first, *again) if others else ():
                also = ", ".join(
                    f"in {splits[other].name}" + (f" as {survey.name(there[0])}" if picture not in there else "")
                    for other, there in ((other, found[other]) for other in others)
                )
                yield "leak", picture, f"in {splits[number].name}, also {also}"
    for one, other in combinations(range(len(splits)), 2):
        if splits[one].roles and splits[other].roles:
            continue  # their names say what they may share
        held = [{digest for digest, found in places.items() if number in found} for number in (one, other)]
        common = held[0] & held[1]
        if common and common not in held:  # a part of another shares by intent
            where = _where(survey, splits[other])
            yield "shared", _where(survey, splits[one]), f"{len(common)} pictures are in {where} too"


CHECKS: tuple[Callable[[Survey], Findings], ...] = (
    _lists, _missing, _lone_files, _broken, _sizes, _levels, _values, _ambiguous_colours, _ambiguous_palettes, _labels,
    _shared_pictures,
)  # fmt: skip


def _pairs(survey: Survey) -> Iterator[Pair]:
    yield from dict.fromkeys(pair for split in survey.splits for pair in split.pairs)


def _where(survey: Survey, split: SurveyedSplit) -> str:
    return survey.name(split.source) if split.source else f"split {split.name}"


def _is_unlabelled(survey: Survey, split: SurveyedSplit) -> bool:
    """Whether it is a test split without labels, as benchmarks publish them."""
    masks = [survey.masks[mask].pixels for _, mask in split.pairs if mask in survey.masks]
    is_empty = all(set(pixels) == {survey.card.ignore_label} for pixels in masks)
    return split.roles == {"test"} and bool(split.pairs) and is_empty


def _must_not_share(first: SurveyedSplit, later: SurveyedSplit) -> bool:
    """Whether `first` is for training or for choosing a model, and `later` for measuring it."""
    if not first.roles or not later.roles or first.roles & later.roles:
        return False
    return max(map(ROLES.index, first.roles)) < max(map(ROLES.index, later.roles))


def _strange(survey: Survey, mask: MaskFile) -> dict:
    """Count the pixels of each value, or colour, that has no meaning."""
    card, raw = survey.card, survey.card.raw_labels
    if mask.values:
        told, known = raw.values, raw.values or {*range(len(card.classes)), card.ignore_label}
    else:
        told, known = raw.colours, {*(raw.colours or card.palette), *IGNORE_COLOURS}
    if mask.mapped or (told and raw.others is not None):
        return {}
    return {v: n for v, n in (mask.values or mask.colours).items() if v not in known}


def _is_by_colour(survey: Survey, mask: MaskFile) -> bool:
    ignored = survey.card.ignored_classes
    return not mask.mapped and any(class_id != value for value, _, class_id in mask.entries if value not in ignored)


def _hidden(survey: Survey, mask: MaskFile) -> list[str]:
    """Find values without a meaning in a mask that should be read by value: its palette is the card's, or repeats a
    colour."""
    used = Counter(colour for _, colour, _ in mask.entries)
    strange = _strange(survey, mask)
    return [
        f"{value} ({strange[value]:,} pixels) is read as {class_id}"
        for value, colour, class_id in mask.entries
        if value in strange and (mask.own_palette or used[colour] > 1)
    ]


def _named(counts: dict) -> str:
    return some(f"{value} ({pixels:,} pixels)" for value, pixels in counts.items())


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _by_stem(survey: Survey, folder: Path, end: str) -> dict[str, Path]:
    paths = [folder / name for name in survey.listings[folder] if name.lower().endswith(SUFFIXES)]
    return {path.stem.removesuffix(end): path for path in paths if path.stem.endswith(end)}


def _alike(survey: Survey, path: Path) -> str:
    """Name files whose names differ only in the ending, its case or the form of letters with accents."""
    alike = survey.names_by_stem.get((path.parent, plain(path.stem)), ())
    return f"; there is {', '.join(alike)}, which a line 'picture mask' can name" if alike else ""
