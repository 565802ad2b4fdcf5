"""A person's own data set: `dataset.yaml` makes its card.

    name: fruit
    classes: [background, apple, pear]
    images: photos
    masks: masks

common/data/README.md lists all keys. Every scalar is read as text, so that a class may be called `no` or `1e3`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import ImageColor

from common.data.card import DatasetCard, RawLabels, StemPairs
from common.data.sets.cards import CARDS
from common.data.sets.voc import voc_palette
from common.errors import UserError, brief, is_control
from common.files import YamlOfText, read_yaml
from common.words import nearest

DATASET_FILE = "dataset.yaml"
SUFFIXES = (".yaml", ".yml")
IGNORE, OTHERS = "ignore", "others"  # in label_map: the target that is no class, and the key for all other values
IGNORE_LABEL = 255  # of the card; the file's own ignore_label is what its masks hold
VAL_SHARE, SEED = 0.2, 1

_KEYS = (
    "name", "classes", "palette", "ignore_label", "label_map",
    "images", "masks", "mask_ending", "splits", "val_share", "seed",
)  # fmt: skip

Colour = tuple[int, int, int]


class _Wrong(Exception):
    """A fault of the file, as `key: what; what to do`."""


def locate(data: Path) -> tuple[DatasetCard | None, Path]:
    """Find the card of a dataset.yaml, or of a folder that holds one, and the data folder.

    Any other path is a folder in a known layout: no card, and the path as it is. Raises UserError as `read_card`.
    """
    if data.suffix.lower() in SUFFIXES and not data.is_dir():
        return read_card(data), data.parent
    if (data / DATASET_FILE).is_file():
        return read_card(data / DATASET_FILE), data
    return None, data


def read_card(path: Path) -> DatasetCard:
    """Read the card that a dataset.yaml describes. Pictures are not looked for: prediction does not need them.

    Raises:
      UserError: the file is missing or no YAML, or a key is unknown, missing or makes no sense; one sentence names
        the file, the key and what to do.
    """
    try:
        content = read_yaml(path, YamlOfText)
    except FileNotFoundError:
        what = f"--data, or --set dataset=, must name the data set's {DATASET_FILE}"
        raise UserError(f"{path}: no such file; {what}") from None
    try:
        return _card(content, Path(os.path.relpath(path)).as_posix())
    except _Wrong as wrong:
        raise UserError(f"{path}: {wrong}") from None


def training_settings(card: DatasetCard) -> list[str]:
    """The `--set` arguments that a person's own set adds when training begins; those of the user come after."""
    return [f"dataset={card.source}", f"num_classes={len(card.classes)}", "train_split=train", "val_split=val"]


def black_and_white_hint(card: DatasetCard) -> str:
    """Advice about masks of 0 and 255, where 255 is ignored."""
    meaning = f"label_map: {{0: {card.classes[0]}, {IGNORE_LABEL}: {card.classes[1]}}}"
    return (
        f"if masks are black and white, 0 and 255, 255 is ignored unless `{meaning}` in {DATASET_FILE} says what it is"
    )


def _card(content: Any, source: str) -> DatasetCard:
    if not isinstance(content, dict):
        raise _Wrong("holds no keys; begin with `name: mine` and `classes: [background, ...]`")
    for key in content:
        if key not in _KEYS:
            raise _Wrong(f"{brief(key)}: is no key of a data set; {nearest(key, _KEYS)}there are {', '.join(_KEYS)}")
    if isinstance(content.get("classes"), dict):
        content = content | {"classes": _numbered(content["classes"])}
    name = _name(content)
    classes = _classes(content)
    _refuse_controls(content)
    return DatasetCard(
        name=name,
        title=name,
        classes=classes,
        palette=_palette(content, classes),
        ignore_label=IGNORE_LABEL,
        list_folders=(),
        raw_labels=_raw_labels(content, classes),
        splits=_splits(content),
        source=source,
    )


def _refuse_controls(value: Any, key: str = "") -> None:
    """Raises _Wrong for a text anywhere in `value` that would steer a terminal or break a table."""
    if isinstance(value, str) and any(map(is_control, value)):
        raise _Wrong(f"{key}: '{brief(value)}' holds a character that can't be seen; write it without")
    for part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        _refuse_controls(part[0], key)
        _refuse_controls(part[1], key or brief(part[0]))


def _name(content: Mapping) -> str:
    name = _text(content, "name", "a word for tables, such as `name: fruit`")
    known = {_plain(word) for card in CARDS.values() for word in (card.name, card.title)}
    if _plain(name) in known:
        raise _Wrong(f"name: {brief(name)} is the name of a known data set; choose another")
    return name


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()) or name


def _classes(content: Mapping) -> tuple[str, ...]:
    value = content.get("classes")
    if not value:
        raise _Wrong("classes: is missing; list the names, the first for mask value 0: `classes: [background, apple]`")
    if not isinstance(value, list | dict) or not all(isinstance(name, str) and name.strip() for name in value):
        raise _Wrong("classes: must be a list of names, `[background, apple]`, or of `name: colour`")
    names = tuple(value)
    if not 2 <= len(names) <= IGNORE_LABEL:
        raise _Wrong(f"classes: are {len(names)}; there must be 2 to {IGNORE_LABEL}, including the background")
    twice = _twice(names)
    if twice:
        raise _Wrong(f"classes: {brief(twice)} is there twice; give every class its own name")
    if IGNORE in names:
        raise _Wrong(f"classes: `{IGNORE}` is no class; give pixels without a class ignore_label, or use label_map")
    return names


def _numbered(classes: Mapping) -> Mapping | list:
    """`{0: background, 1: apple}` as a list; any other mapping as it is, with colours."""
    are_numbers = classes and all(_is_whole(key, 65535) for key in classes)
    if not are_numbers or not all(isinstance(name, str) for name in classes.values()):
        return classes
    if all(_colour(name) for name in classes.values()):
        return classes
    names = {int(key): name for key, name in classes.items()}
    if sorted(names) != list(range(len(classes))):
        raise _Wrong(
            f"classes: their numbers must be 0 to {len(classes) - 1}; list the names, `[background, apple]`, and say "
            f"by label_map which mask values they have"
        )
    return [names[number] for number in range(len(names))]


def _palette(content: Mapping, classes: Sequence[str]) -> tuple[Colour, ...]:
    value, key = content.get("palette"), "palette"
    if isinstance(content["classes"], dict):
        if value is not None:
            raise _Wrong("palette: the classes have their colours already; remove one of the two")
        value, key = list(content["classes"].values()), "classes"
    if value is None:
        return voc_palette(len(classes))
    if not isinstance(value, list) or len(value) != len(classes):
        raise _Wrong(f"palette: must list {len(classes)} colours, one for each class, such as [[0, 0, 0], red]")
    palette = tuple(_colour(colour) for colour in value)
    if None in palette:
        wrong = palette.index(None)
        what = f"{brief(classes[wrong])}: {brief(value[wrong])}"
        raise _Wrong(f"{key}: {what} is no colour; write [r, g, b], red, or '#ff0000'")
    twice = _twice(palette)
    if twice:
        same = " and ".join(name for name, colour in zip(classes, palette, strict=True) if colour == twice)
        raise _Wrong(f"{key}: {brief(same)} have the same colour {list(twice)}; give each its own")
    return palette


def _colour(value: Any) -> Colour | None:
    """[r, g, b], `r,g,b`, `#rrggbb` or a name that CSS knows; None for what is no colour."""
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, list) and len(parts) == 3 and all(_is_whole(part, 255) for part in parts):
        return tuple(int(part) for part in parts)
    try:
        red, green, blue = ImageColor.getrgb(value)
    except (ValueError, AttributeError, TypeError):
        return None
    return red, green, blue


def _raw_labels(content: Mapping, classes: Sequence[str]) -> RawLabels:
    ignored = content.get("ignore_label", str(IGNORE_LABEL))
    if not _is_whole(ignored, 65535):
        raise _Wrong(f"ignore_label: {brief(ignored)} is no mask value; write a whole number, such as {IGNORE_LABEL}")
    ignored = int(ignored)
    if "label_map" in content:
        return _label_map(content, classes, ignored)
    if ignored < len(classes):
        raise _Wrong(
            f"ignore_label: {ignored} is the value of class {classes[ignored]}; take another, or say by label_map what "
            f"each value stands for"
        )
    if ignored == IGNORE_LABEL:
        return RawLabels()
    return RawLabels({**{i: i for i in range(len(classes))}, ignored: IGNORE_LABEL})


def _label_map(content: Mapping, classes: Sequence[str], ignored: int) -> RawLabels:
    entries = content["label_map"]
    if not isinstance(entries, dict) or not set(entries) - {OTHERS}:
        raise _Wrong("label_map: must say what mask values or colours stand for, such as `{0: background, 7: apple}`")
    values: dict[int, int] = {}
    colours: dict[Colour, int] = {}
    others = None
    for key, target in entries.items():
        label = _target(key, target, classes)
        if key == OTHERS:
            others = label
            continue
        is_value = _is_whole(key, 65535)
        known = values if is_value else colours
        raw = int(key) if is_value else _colour(key)
        if raw is None:
            raise _Wrong(
                f"label_map: {brief(key)} is neither a mask value nor a colour; write 7, red, '255,0,0' or '#ff0000'"
            )
        if raw in known:
            raise _Wrong(f"label_map: {brief(key)} is there twice, written in two ways; remove one")
        known[raw] = label
    if values:
        if "ignore_label" in content and values.get(ignored, IGNORE_LABEL) != IGNORE_LABEL:
            raise _Wrong(f"ignore_label: {ignored} is {classes[values[ignored]]} in label_map; remove one of the two")
        values = {ignored: IGNORE_LABEL} | values
    return RawLabels(values, colours, others)


def _target(key: str, target: Any, classes: Sequence[str]) -> int:
    if target == IGNORE:
        return IGNORE_LABEL
    if target in classes:
        return classes.index(target)
    if _is_whole(target, len(classes) - 1):
        return int(target)
    near = nearest(target, classes) if isinstance(target, str) else ""
    what = f"{brief(key)} stands for {brief(target)}"
    raise _Wrong(f"label_map: {what}, which is no class; {near}name one of classes, or `{IGNORE}`")


def _splits(content: Mapping) -> dict[str, StemPairs]:
    shared = _folders(content, "") if "images" in content or "masks" in content else {"images": None, "masks": None}
    ending = content.get("mask_ending", "")
    if not isinstance(ending, str):
        raise _Wrong(
            "mask_ending: must be the text that masks' names have after their pictures' names, such as `_mask`"
        )
    if "splits" not in content:
        if not shared["images"]:
            raise _Wrong("images: is missing; name the folders: `images: photos` and `masks: masks`")
        parts = {"": StemPairs(**shared, mask_ending=ending, val_share=_val_share(content), seed=_seed(content))}
    else:
        for key in ("val_share", "seed"):
            if key in content:
                raise _Wrong(f"{key}: the splits are given already; remove one of the two")
        if not isinstance(content["splits"], dict) or not content["splits"]:
            raise _Wrong("splits: must say what each split is, such as `{train: train.txt, val: val.txt}`")
        parts = {name: _split(name, value, shared, ending) for name, value in content["splits"].items()}
    for name, part in parts.items():
        if part.images is not None and os.path.normpath(part.images) == os.path.normpath(part.masks) and not ending:
            key = f"splits: {name}: masks" if name else "masks"
            raise _Wrong(f"{key}: is also the folder of the images; say by mask_ending how their names differ")
    if "" in parts:
        names = ("train", "val") if parts[""].val_share else ("train",)
        return dict.fromkeys(names, parts[""])
    return parts


def _split(name: str, value: Any, shared: Mapping, ending: str) -> StemPairs:
    key = f"splits: {brief(name)}: "
    if isinstance(value, str) and value:
        return StemPairs(**shared, mask_ending=ending, listed=value)
    if not isinstance(value, dict):
        raise _Wrong(f"{key}must be a list file, or `{{images: folder, masks: folder}}`")
    strange = next((k for k in value if k not in ("images", "masks")), None)
    if strange is not None:
        raise _Wrong(f"{key}{brief(strange)}: is no key of a split; there are images and masks")
    return StemPairs(**_folders(value, key), mask_ending=ending)


def _folders(content: Mapping, prefix: str) -> dict[str, str]:
    return {key: _text(content, key, f"a folder, such as `{key}: {key}`", prefix) for key in ("images", "masks")}


def _val_share(content: Mapping) -> float:
    text = content.get("val_share", str(VAL_SHARE))
    try:
        share = float(text)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share < 1:
        raise _Wrong(f"val_share: {brief(text)} is no share; write a number from 0 to below 1, such as {VAL_SHARE}")
    return share


def _seed(content: Mapping) -> int:
    seed = content.get("seed", str(SEED))
    if not _is_whole(seed, 2**32 - 1):
        raise _Wrong(f"seed: {brief(seed)} is no whole number from 0 to 2^32 - 1; write one, such as {SEED}")
    return int(seed)


def _text(content: Mapping, key: str, what: str, prefix: str = "") -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value.strip() or "\n" in value:
        raise _Wrong(f"{prefix}{key}: {'is missing' if value is None else 'is not a line of text'}; write {what}")
    return value


def _is_whole(text: Any, most: int) -> bool:
    return isinstance(text, str) and re.fullmatch(r"\s*[0-9]{1,10}\s*", text) is not None and int(text) <= most


def _twice(items: Sequence) -> Any:
    return next((item for i, item in enumerate(items) if item in items[:i]), None)
