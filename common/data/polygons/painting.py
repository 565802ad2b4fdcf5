"""Paint outlines as masks, and write their dataset.yaml."""

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from PIL import Image

from common.console import Progress, say
from common.data import own
from common.data.masks import save_label_png, turned
from common.data.polygons.annotations import Annotated, embedded_picture
from common.data.polygons.regions import Picture, Region, paint, region_mask
from common.data.sets.cards import CARDS
from common.data.sets.voc import voc_palette
from common.errors import UserError
from common.files import WRITING, atomic, half_written, locked

MASKS, IMAGES = "masks", "images"
BACKGROUND = ("background", "_background_", "__background__")
IGNORED = ("ignore", "__ignore__", "_ignore_")
CROWDS = ("class", "ignore")


@dataclass(frozen=True)
class PaintedSet:
    """A painted data set.

    Attributes:
      path: the dataset.yaml.
      pixels, pictures: int64 [256], per mask value: pixels that hold it, pictures that show it.
      annotated: the pictures and shapes that it was painted from.
    """

    path: Path
    classes: tuple[str, ...]
    pixels: np.ndarray
    pictures: np.ndarray
    annotated: Sequence[Annotated]


def paint_set(
    pictures: Sequence[Annotated],
    classes: Sequence[str],
    out: Path,
    *,
    name: str = "",
    crowds: str = "class",
    quiet: bool = False,
) -> PaintedSet:
    """Paint the masks of `pictures` and write the dataset.yaml; `out` gets all of it, or stays as it was.

    In the folder of an earlier run masks are painted again; its dataset.yaml is kept with all changes made by hand.

    Args:
      pictures: as `annotations.read_annotations` gives them.
      classes: the background's name, then those of the labels. Without a background, pixels of no shape are ignored.
      out: the data folder.
      name: the data set's; by default the folder's, or `own_` and that where it is the name of a known data set.
      crowds: one of CROWDS.
      quiet: no progress.

    Raises:
      UserError: a label that is no class, a shape that can't be drawn, two pictures of one name, or masks or a
      dataset.yaml in `out` that are of other pictures or classes.
    """
    elsewhere = 0 if classes[0] in BACKGROUND else own.IGNORE_LABEL
    ids = {label: i for i, label in enumerate(classes)} | dict.fromkeys(BACKGROUND, elsewhere)
    ids |= dict.fromkeys(IGNORED, own.IGNORE_LABEL)
    _check_labels(pictures, ids)
    embedded = any(picture.image is None for picture in pictures)
    root = None if embedded else os.path.commonpath([p.image.parent for p in pictures])
    stems = _stems(pictures, root)
    content = {
        "name": name or _name(out.resolve().name),
        "classes": list(classes),
        "images": Path(os.path.relpath(root, out)).as_posix() if root else IMAGES,
        "masks": MASKS,
        "val_share": own.VAL_SHARE,
        "seed": own.SEED,
    }
    again = _refuse_other_set(out, content)
    pixels, shown = np.zeros(256, np.int64), np.zeros(256, np.int64)
    palette = voc_palette(len(classes))
    with _staged(out) as stage, Progress("masks", len(pictures), quiet=quiet) as progress:
        if not again:
            _write_card(stage / own.DATASET_FILE, content, out)
        for picture, stem in zip(pictures, stems, strict=True):
            label = turned(_paint(picture, ids, crowds, elsewhere), picture.turn)
            counts = np.bincount(label.ravel(), minlength=256)
            pixels += counts
            shown += counts > 0
            with atomic(stage / MASKS / f"{stem}.png") as temporary:
                save_label_png(temporary, label, palette)
            if embedded:
                _write_picture(picture, stage / IMAGES, stem)
            progress.advance()
    others = {p.relative_to(out / MASKS) for p in (out / MASKS).rglob("*.png")} - {Path(f"{s}.png") for s in stems}
    if others:
        say(
            f"{out / MASKS}: {len(others)} masks belong to pictures without annotations, such as {min(others)}",
            quiet,
        )
    return PaintedSet(out / own.DATASET_FILE, tuple(classes), pixels, shown, pictures)


def _name(folder: str) -> str:
    known = {word.lower() for card in CARDS.values() for word in (card.name, card.title)}
    return f"own_{folder}" if folder.lower() in known else folder


def class_names(labels: Sequence[str], wanted: Sequence[str] = (), pictures: Sequence[Annotated] = ()) -> list[str]:
    """List the background's name and then the classes: `wanted` in its order, or else all `labels` that are classes.

    Where all `pictures` come from files of `predict`, which say what its classes are, these come first, with the
    numbers that they had, and without a background where they had none.

    Raises UserError when there is none, or when the background is not first.
    """
    (predicted, *others) = dict.fromkeys(picture.classes for picture in pictures) or [()]
    if predicted and not (wanted or others):
        new = (label for label in labels if label not in (*predicted, *BACKGROUND, *IGNORED))
        return [*predicted, *new]
    names = list(wanted or (label for label in labels if label not in (*BACKGROUND, *IGNORED)))
    if not names:
        raise UserError("no shape has a label that is a class; draw some, or name them by --classes")
    if names[0] not in BACKGROUND:
        names.insert(0, BACKGROUND[0])
    later = [name for name in names[1:] if name in (*BACKGROUND, *IGNORED)]
    if later:
        raise UserError(f"--classes: {later[0]} can't be there; the background is first, `{IGNORED[0]}` is no class")
    return names


def _check_labels(pictures: Sequence[Annotated], ids: Mapping[str, int]) -> None:
    for picture in pictures:
        for shape in picture.shapes:
            if shape.label not in ids:
                raise UserError(
                    f"{picture.source}: the label of {picture.where(shape)} is none of --classes; correct it, or add "
                    f"it there"
                )


def _stems(pictures: Sequence[Annotated], root: str | None) -> list[str]:
    """The name of each mask: the picture's path below `root`, or its bare name, without the suffix."""
    stems: dict[str, Path] = {}
    for picture in pictures:
        path = os.path.relpath(picture.image, root) if root else PurePosixPath(picture.name).name
        stem = PurePosixPath(path).with_suffix("").as_posix()
        if stem in stems:
            raise UserError(f"{picture.source}: {picture.name} has the stem of a picture of {stems[stem]}; rename one")
        stems[stem] = picture.source
    return list(stems)


def _refuse_other_set(out: Path, content: Mapping[str, Any]) -> bool:
    """Whether `out` has a dataset.yaml of these classes and folders already. Another one is not written over."""
    path = out / own.DATASET_FILE
    if path.is_file():
        card = own.read_card(path)
        split = next(iter(card.splits.values()))
        there = {"classes": list(card.classes), "images": split.images, "masks": split.masks}
        for key, value in there.items():
            if value != content[key]:
                raise UserError(
                    f"{path}: has {key} {value}, now it is {content[key]}; delete it or choose another --out"
                )
        return True
    for folder in (MASKS, content["images"]):
        if folder in (MASKS, IMAGES) and (out / folder).is_dir() and any((out / folder).iterdir()):
            raise UserError(f"--out {out}: holds {folder} already, but no {own.DATASET_FILE}; choose another folder")
    return False


def _write_card(path: Path, content: Mapping[str, Any], out: Path) -> None:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    path.write_text(
        f"# Written by `python -m common.data.polygons`; see common/data/README.md\n{text}", encoding="utf-8"
    )
    try:
        own.read_card(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), str(out / own.DATASET_FILE))) from None


def _paint(picture: Annotated, ids: Mapping[str, int], crowds: str, elsewhere: int) -> np.ndarray:
    """uint8 class ids [h, w], `elsewhere` where no shape is. Raises UserError for what can't be drawn."""
    height, width = picture.height, picture.width
    if not picture.in_order:
        regions = tuple(
            Region(s.number, ids[s.label], s.is_crowd and crowds == "ignore", s.segmentation) for s in picture.shapes
        )
        try:
            return paint(Picture(picture.image, Path(), height, width, regions), elsewhere)
        except UserError as error:
            raise UserError(f"{picture.source}: {error}") from None
    label = np.full((height, width), elsewhere, np.uint8)
    for shape in picture.shapes:
        try:
            label[region_mask(shape.segmentation, height, width)] = ids[shape.label]
        except ValueError as error:
            raise UserError(f"{picture.source}: {picture.where(shape)} can't be drawn ({error}); correct it") from None
    return label


def _write_picture(picture: Annotated, folder: Path, stem: str) -> None:
    folder.mkdir(exist_ok=True)
    if picture.image:
        shutil.copyfile(picture.image, folder / f"{stem}{picture.image.suffix.lower()}")
        return
    data = embedded_picture(picture.source)
    with Image.open(io.BytesIO(data)) as image:
        suffix = {"JPEG": ".jpg"}.get(image.format, f".{image.format.lower()}")
    (folder / f"{stem}{suffix}").write_bytes(data)


@contextlib.contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A hidden folder in `out`: its files move to `out` when the block succeeds, and are deleted otherwise."""
    busy = "painting in it; wait for it or choose another folder"
    with (
        locked(out, busy, title=f"--out {out}"),
        tempfile.TemporaryDirectory(prefix=half_written(WRITING, out), dir=out) as name,
    ):
        stage = Path(name)
        yield stage
        files = sorted(path for path in stage.rglob("*") if path.is_file())
        # The card comes last: a folder that has it is complete.
        for path in sorted(files, key=lambda path: path.name == own.DATASET_FILE):
            target = out / path.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
