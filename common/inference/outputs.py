"""Further outputs of `predict` beside a label map: the data set's own ids, outlines, objects cut out."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.data.card import DatasetCard
from common.data.figures import add_png_note, png_note
from common.data.polygons.contours import Coco, labelme, outlines
from common.data.polygons.note import is_as_written, noted
from common.data.polygons.painting import BACKGROUND, IGNORED
from common.errors import UserError, brief
from common.files import atomic, read_json, write_text
from common.words import NAMED, nearest, some

LABEL_IDS, CUTOUT = "_labelIds.png", "_cutout.png"
LABELME, COCO, INSTANCES = "labelme", "coco", "instances.json"


class Output:
    """Something that is written for each picture.

    Attributes:
      ending: of its file's name after the picture's stem; empty where it has a folder of its own.
    """

    ending = ""

    def refuse(self, out: Path, pictures: Sequence[Path]) -> None:
        """Raise UserError where something is in the way that no prediction may overwrite."""

    def write(self, out: Path, path: Path, image: np.ndarray, label: np.ndarray) -> None:
        """Write it for a picture, uint8 [h, w, 3], and its label map, uint8 [h, w]."""
        raise NotImplementedError

    def finish(self, out: Path) -> None:
        """Write what is of all pictures together."""


@dataclasses.dataclass
class LabelIds(Output):
    """`<stem>_labelIds.png`: the data set's own ids, as its server takes them."""

    card: DatasetCard
    ending = LABEL_IDS

    def __post_init__(self):
        ids = self.card.label_maps.get(LABEL_IDS)
        if not ids:
            raise UserError(f"--label-ids: {self.card.title} has no ids but the classes' own, which <stem>.png holds")
        self._table = np.zeros(256, np.uint8)
        self._table[list(ids.values())] = list(ids)

    def write(self, out: Path, path: Path, image: np.ndarray, label: np.ndarray) -> None:
        """See `Output`."""
        with atomic(out / f"{path.stem}{LABEL_IDS}") as temporary:
            Image.fromarray(self._table[label]).save(temporary)
            add_png_note(temporary)


@dataclasses.dataclass
class Contours(Output):
    """`labelme/<stem>.json` for each picture, and `coco/instances.json` for all."""

    card: DatasetCard

    def __post_init__(self):
        self._names = {**dict(enumerate(self.card.classes)), self.card.ignore_label: IGNORED[0]}
        self._coco = Coco(self._names)

    def refuse(self, out: Path, pictures: Sequence[Path]) -> None:
        """Raise UserError for files that are there, unless they are as they were written: nobody corrected them."""
        for path in (*(out / LABELME / f"{picture.stem}.json" for picture in pictures), out / COCO / INSTANCES):
            if path.exists() and not is_as_written(path):
                raise UserError(f"--save-contours: {path} is there, and may hold corrections; choose another --out")
        listed = {image["file_name"] for image in (read_json(out / COCO / INSTANCES) or {}).get("images", ())}
        if others := listed - {picture.name for picture in pictures}:
            raise UserError(
                f"--save-contours: {out / COCO / INSTANCES} lists other pictures, such as {brief(min(others))}; choose "
                f"another --out"
            )

    def write(self, out: Path, path: Path, image: np.ndarray, label: np.ndarray) -> None:
        """See `Output`."""
        found = outlines(label, nothing(self.card))
        content = labelme(path.resolve(), (out / LABELME).resolve(), found, self._names, label.shape)
        self._write(out / LABELME / f"{path.stem}.json", content)
        self._coco.add(path.name, found, label.shape)

    def finish(self, out: Path) -> None:
        """See `Output`. Without a picture nothing is written."""
        if self._coco.count:
            self._write(out / COCO / INSTANCES, self._coco.content())

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        write_text(path, json.dumps(noted(content, self.card.classes), ensure_ascii=False))


@dataclasses.dataclass
class Cutout(Output):
    """`<stem>_cutout.png`: the picture, transparent where the label map has nothing."""

    card: DatasetCard
    ending = CUTOUT

    def write(self, out: Path, path: Path, image: np.ndarray, label: np.ndarray) -> None:
        """See `Output`."""
        alpha = np.where(label == nothing(self.card), np.uint8(0), np.uint8(255))
        with atomic(out / f"{path.stem}{CUTOUT}") as temporary:
            Image.fromarray(np.dstack([np.asarray(image), alpha])).save(temporary, pnginfo=png_note())


def has_background(card: DatasetCard) -> bool:
    """Whether class 0 is the background."""
    return card.classes[0] in BACKGROUND


def nothing(card: DatasetCard) -> int:
    """The value of pixels of no wanted class: the background, or the ignore label where the classes have none."""
    return 0 if has_background(card) else card.ignore_label


@dataclasses.dataclass(frozen=True)
class Kept:
    """The classes that are kept of a label map; all others become `nothing`."""

    card: DatasetCard
    names: Sequence[str]

    def __post_init__(self):
        for name in self.names:
            if name not in self.card.classes:
                raise UserError(
                    f"--classes {brief(name)}: is no class of {self.card.title}; "
                    f"{nearest(name, self.card.classes)}they are {some(self.card.classes, NAMED)}"
                )

    def __call__(self, label: np.ndarray) -> np.ndarray:
        if not self.names:
            return label
        table = np.full(256, nothing(self.card), np.uint8)
        ids = [self.card.classes.index(name) for name in self.names]
        table[ids] = ids
        return table[label]
