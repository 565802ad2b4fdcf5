"""The gallery: choose its pictures and write their small copies within a budget of bytes."""

import io
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.console import Progress
from common.data.card import DatasetCard
from common.data.lists import is_sample_set, open_split
from common.data.masks import IGNORE_COLOURS
from common.data.sample import SAMPLE, data_dir
from common.data.split import Split
from common.errors import UserError
from common.report.evaluations import Evaluated
from common.report.tables import MissingPart
from common.words import some

SIDE = 240  # pixels of a copy's longer side, at most
PICTURES = 120  # of one data set; of more pictures, those with the worst and best scores
BUDGET = 3_600_000  # bytes of all copies; the rest of the report is below 1 MB
FOLDER = "pictures"


def galleries(
    evaluated: Sequence[Evaluated], data: Sequence[Path], assets: Path, quiet: bool
) -> tuple[list[dict[str, Any]], list[MissingPart]]:
    """One gallery for each data set and split that evaluations with label maps share; writes `assets/pictures/*`.

    A gallery: `title`, `classes`, `colours`, `evaluations` (places), and `pictures` with `name`, `image`, `label` and
    `maps` (evaluation -> file), `miou` (evaluation -> number) and `present` (class ids in any of its maps).

    Args:
      evaluated: the evaluations.
      data: the data sets' folders; the sample set's own is added where it is needed.
      assets: the folder that `pictures/` is made in.
      quiet: no progress.
    """
    groups: dict[tuple[str, str], list[Evaluated]] = {}
    for one in evaluated:
        if one.has_labels:
            groups.setdefault((one.record["data"]["dataset"], one.record["data"]["title"]), []).append(one)
    (assets / FOLDER).mkdir(parents=True)
    shown, missing, left = [], [], BUDGET
    for number, ((dataset, title), group) in enumerate(groups.items()):
        names = chosen_pictures(group)
        split = _find_split(group[0], names, data)
        if split is None:
            missing.append(
                MissingPart(
                    "gallery",
                    f"The pictures of {title} ({dataset}), of which {len(group)} evaluations have label maps.",
                    "Name the folder of the data set:",
                    ("python -m common.report --data DIR",),
                )
            )
            continue
        gallery, left_out, used = _gallery(group, names, split, assets, number, left // (len(groups) - number), quiet)
        left -= used
        shown.append({"title": title, **gallery})
        missing += left_out
    return shown, missing


def chosen_pictures(group: Sequence[Evaluated]) -> list[str]:
    """Choose the names of at most PICTURES pictures; the worst and best of every class in every evaluation come
    first."""
    every = list(dict.fromkeys(name for one in group for name in one.scores.names))
    if len(every) <= PICTURES:
        return every
    ends = [[name for name, _ in found[end]] for one in group for found in one.extremes for end in ("worst", "best")]
    by_rank = [name for rank in zip_longest(*ends) for name in rank if name is not None]
    return list(dict.fromkeys(by_rank + every))[:PICTURES]


def _find_split(one: Evaluated, names: Sequence[str], data: Sequence[Path]) -> Split | None:
    """Find the split that has most of the pictures among the folders; None when none has any."""
    is_sample = bool(one.record["marks"].get("sample"))
    folders = [folder for folder in data if is_sample_set(folder) == is_sample]
    if is_sample and not folders:
        folders = [data_dir(SAMPLE)]
    candidates = []
    for folder in folders:
        try:
            split = open_split(str(folder), one.record["data"]["split"], one.record["data"]["dataset"])
        except UserError:  # another data set's folder
            continue
        if split.card.name == one.record["data"]["dataset"]:
            candidates.append(split)
    counts = [len(_positions(split).keys() & set(names)) for split in candidates]
    return candidates[int(np.argmax(counts))] if any(counts) else None


def _positions(split: Split) -> dict[str, int]:
    """Position in the split by a picture's stem, and by its id where folders repeat stems."""
    stems = {image.stem: i for i, (image, _) in enumerate(split.pairs)}
    return stems | {name: i for i, name in enumerate(split.ids)}


def _gallery(
    group: Sequence[Evaluated],
    names: Sequence[str],
    split: Split,
    assets: Path,
    number: int,
    budget: int,
    quiet: bool,
) -> tuple[dict[str, Any], list[MissingPart], int]:
    positions, pictures, used, unread = _positions(split), [], 0, []
    card, classes = split.card, group[0].scores.classes
    with Progress(f"pictures of {split.title}", len(names), quiet=quiet) as progress:
        for name in names:
            progress.advance()
            try:
                picture, files = _picture(group, name, split, positions[name], f"{number}-{len(pictures)}")
            except (KeyError, UserError):
                unread.append(name)
                continue
            if used + sum(map(len, files.values())) > budget:
                break
            used += sum(map(len, files.values()))
            for file, content in files.items():
                (assets / file).write_bytes(content)
            pictures.append((positions[name], picture))
    missing = []
    if unread:
        what = f"{len(unread)} pictures of {split.title}: {some(unread)}."
        missing.append(MissingPart("gallery", what, "Their files, or the evaluations' label maps, cannot be read."))
    total = len({name for one in group for name in one.scores.names})
    return (
        {
            "classes": [card.classes[i] if i < len(card.classes) else str(i) for i in range(classes)],
            "colours": [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in card.palette],
            "evaluations": [one.place for one in group],
            "total": total,
            "pictures": [picture for _, picture in sorted(pictures, key=lambda pair: pair[0])],
        },
        missing,
        used,
    )


def _picture(
    group: Sequence[Evaluated], name: str, split: Split, position: int, stem: str
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The page's entry for a picture, and the picture's files below the assets folder."""
    image, mask = split.read(position)
    card, files, present = split.card, {}, set()

    def keep(label: np.ndarray, file: str) -> str:
        if label.shape != mask.shape:
            raise UserError(f"{name}: its label map is of another picture; evaluate again")
        small = Image.fromarray(label).resize(size, Image.Resampling.NEAREST)
        present.update(np.unique(small).tolist())
        return store(file, label_png(np.asarray(small), card))

    def store(file: str, content: bytes) -> str:
        files[f"{FOLDER}/{file}"] = content
        return f"assets/{FOLDER}/{file}"

    thumbnail = Image.fromarray(image)
    thumbnail.thumbnail((SIDE, SIDE))
    size = thumbnail.size
    picture = {
        "name": name,
        "size": size,
        "image": store(f"{stem}.jpg", _jpeg(thumbnail)),
        "label": keep(mask, f"{stem}-label.png"),
        "maps": {
            one.place: keep(_read_label(path), f"{stem}-{one.place}.png")
            for one in group
            if (path := one.label_map(name)).is_file()
        },
        "miou": {one.place: one.picture_miou(name) for one in group},
    }
    return {**picture, "present": sorted(present - {card.ignore_label})}, files


def _read_label(path: Path) -> np.ndarray:
    """Read a label map that `evaluate` wrote: its values are class ids, whatever the card says of raw masks."""
    try:
        with Image.open(path) as image:
            return np.asarray(image).astype(np.uint8)
    except Exception as error:  # Pillow's plugins raise whatever their parser meets
        raise UserError(f"{path}: cannot be read as a label map ({error}); evaluate again") from None


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=80, optimize=True)
    return buffer.getvalue()


def label_png(label: np.ndarray, card: DatasetCard) -> bytes:
    """Encode uint8 class ids [h, w] as a PNG with the colours of its classes alone; a black class 0 is transparent."""
    ids, places = np.unique(label, return_inverse=True)
    colours = list(_colours(ids.tolist(), card))
    image = Image.fromarray(places.reshape(label.shape).astype(np.uint8), "P")
    image.putpalette([value for colour in colours for value in colour])
    options = {"transparency": 0} if ids[0] == 0 and colours[0] == (0, 0, 0) else {}
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True, **options)
    return buffer.getvalue()


def _colours(ids: Sequence[int], card: DatasetCard) -> Iterator[tuple[int, int, int]]:
    for class_id in ids:
        yield tuple(card.palette[class_id]) if class_id < len(card.palette) else IGNORE_COLOURS[0]
