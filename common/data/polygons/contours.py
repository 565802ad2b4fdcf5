"""From label maps to outlines: labelme's JSON, one file a picture, and COCO's, all pictures in one.

Outlines follow the pixels' borders. A region is painted without its holes, and what lies in them is painted over it, so
`common.data.polygons` makes the same label map of them again.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.polygons.painting import BACKGROUND, IGNORED

LABELME_VERSION = "5.5.0"  # whose format it is; labelme warns about files without one


@dataclass(frozen=True)
class Outline:
    """A region of one class, with what it encloses.

    Attributes:
      class_id: the class.
      points: int [n, 2], the corners (x, y), clockwise; they lie between pixels.
      area: pixels.
      box: x, y, width, height.
    """

    class_id: int
    points: np.ndarray
    area: int
    box: tuple[int, int, int, int]


def outlines(label: np.ndarray, nothing: int) -> list[Outline]:
    """The regions of a label map, uint8 [h, w], from the largest to the smallest; each is painted over those before it.

    `nothing` is the value of the background, which needs no outline but in a hole of something else.
    """
    from scipy import ndimage  # few commands need it

    regions = []
    for class_id in np.unique(label).tolist():
        numbers, _ = ndimage.label(label == class_id)
        for number, place in enumerate(ndimage.find_objects(numbers), 1):
            filled = ndimage.binary_fill_holes(numbers[place] == number)
            regions.append((int(filled.sum()), class_id, place, filled))
    painted, found = np.zeros(label.shape, bool), []
    for area, class_id, (rows, columns), filled in sorted(regions, key=lambda region: -region[0]):
        if class_id != nothing:
            painted[rows, columns] |= filled
        elif not painted[rows, columns][filled].any():
            continue
        box = columns.start, rows.start, filled.shape[1], filled.shape[0]
        found.append(Outline(class_id, _corners(filled) + (columns.start, rows.start), area, box))
    return found


def _corners(filled: np.ndarray) -> np.ndarray:
    """The corners (x, y) of the one border of a region without holes, bool [h, w], whose pixels share sides."""
    inside = np.pad(filled, 1)
    middle = inside[1:-1, 1:-1]
    sides = {  # direction (x, y) of a side -> the neighbour that must be outside, and the corner where the side begins
        (1, 0): (inside[:-2, 1:-1], (0, 0)),
        (0, 1): (inside[1:-1, 2:], (1, 0)),
        (-1, 0): (inside[2:, 1:-1], (1, 1)),
        (0, -1): (inside[1:-1, :-2], (0, 1)),
    }
    leaving: dict[tuple[int, int], tuple[int, int]] = {}
    for direction, (neighbour, (x, y)) in sides.items():
        rows, columns = np.nonzero(middle & ~neighbour)
        leaving |= dict.fromkeys(zip((columns + x).tolist(), (rows + y).tolist(), strict=True), direction)
    corners, place, before = [], min(leaving), None
    for _ in range(len(leaving)):
        direction = leaving[place]
        if direction != before:
            corners.append(place)
        place, before = (place[0] + direction[0], place[1] + direction[1]), direction
    return np.array(corners)


def labelme(
    picture: Path, folder: Path, found: Sequence[Outline], names: Mapping[int, str], size: tuple[int, int]
) -> dict[str, Any]:
    """The content of labelme's file in `folder` for a picture of `size` [h, w]."""
    shapes = [
        {"label": names[one.class_id], "points": one.points.tolist(), "group_id": None, "description": "",
         "shape_type": "polygon", "flags": {}}
        for one in found
    ]  # fmt: skip
    return {
        "version": LABELME_VERSION, "flags": {}, "shapes": shapes, "imagePath": os.path.relpath(picture, folder),
        "imageData": None, "imageHeight": size[0], "imageWidth": size[1],
    }  # fmt: skip


@dataclass
class Coco:
    """COCO's instances file, picture by picture.

    Attributes:
      names: of the class ids; a category's id is the class id plus 1, since COCO's begin with 1.
    """

    names: Mapping[int, str]

    def __post_init__(self):
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return len(self._images)

    def add(self, name: str, found: Sequence[Outline], size: tuple[int, int]) -> None:
        """Add a picture of `size` [h, w], and its outlines."""
        image = len(self._images) + 1
        self._images.append({"id": image, "file_name": name, "height": size[0], "width": size[1]})
        for one in found:
            self._annotations.append({
                "id": len(self._annotations) + 1, "image_id": image, "category_id": one.class_id + 1,
                "segmentation": [one.points.ravel().tolist()], "area": one.area, "bbox": list(one.box), "iscrowd": 0,
            })  # fmt: skip

    def content(self) -> dict[str, Any]:
        """The file's content. Names that mean no class, and that no outline has, are no categories."""
        used = {a["category_id"] - 1 for a in self._annotations}
        categories = [
            {"id": i + 1, "name": name, "supercategory": ""}
            for i, name in self.names.items()
            if i in used or name not in (*BACKGROUND, *IGNORED)
        ]
        return {"images": self._images, "annotations": self._annotations, "categories": categories}
