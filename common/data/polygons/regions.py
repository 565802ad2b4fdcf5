"""COCO's instance annotations: which pictures show classes of PASCAL VOC, and their masks.

`common/data/prepare/coco.py` explains the rules and names their sources.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.sets.voc import VOC2012
from common.errors import UserError, brief
from common.files import read_json

# VOC's names for what COCO calls otherwise; the other fourteen are the same in both.
COCO_NAMES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
VOC_IDS = {COCO_NAMES.get(name, name): i for i, name in enumerate(VOC2012.classes) if i}


@dataclass(frozen=True)
class Region:
    """One annotation of a VOC class: `segmentation` is COCO's polygons, or its RLE, plain or compressed."""

    annotation_id: int
    class_id: int
    is_crowd: bool
    segmentation: Any


@dataclass(frozen=True)
class Picture:
    """A picture that shows VOC classes, where its mask goes, and its regions in the file's order."""

    image: Path
    mask: Path
    height: int
    width: int
    regions: tuple[Region, ...]


def read_pictures(annotations: Path, images: Path, masks: Path) -> tuple[list[Picture], int]:
    """The pictures with VOC classes, by name, and the number of those without.

    Raises UserError for a file that is missing, broken, or no instances file.
    """
    data = read_json(annotations)
    if data is None:
        raise UserError(f"{annotations}: no such file; unpack COCO's annotations_trainval zip into the data folder")
    try:
        class_ids = {c["id"]: VOC_IDS[c["name"]] for c in data["categories"] if c["name"] in VOC_IDS}
        regions = defaultdict(list)
        for a in data["annotations"]:
            if a["category_id"] in class_ids:
                region = Region(a["id"], class_ids[a["category_id"]], bool(a.get("iscrowd")), a["segmentation"])
                regions[a["image_id"]].append(region)
        pictures = [
            Picture(
                images / i["file_name"],
                masks / f"{Path(i['file_name']).stem}.png",
                i["height"],
                i["width"],
                tuple(regions[i["id"]]),
            )
            for i in data["images"]
            if i["id"] in regions
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{annotations}: is no COCO instances file ({brief(error)}); take the one of COCO's zip"
        ) from None
    if not class_ids:
        raise UserError(f"{annotations}: has none of VOC's classes among its categories; take the one of COCO's zip")
    return sorted(pictures, key=lambda p: p.image), len(data["images"]) - len(pictures)


def paint(picture: Picture, elsewhere: int = 0) -> np.ndarray:
    """uint8 class ids [h, w]: `elsewhere`, over it crowds as the ignore label, then the instances, the smallest last.

    Raises UserError naming the annotation whose segmentation is broken.
    """
    label = np.full((picture.height, picture.width), elsewhere, np.uint8)
    instances = []
    for region in picture.regions:
        try:
            inside = region_mask(region.segmentation, picture.height, picture.width)
        except Exception as error:  # pycocotools raises whatever its C code meets
            where = f"annotation {region.annotation_id} of {picture.image.name}"
            raise UserError(f"{where} has no readable segmentation ({error}); correct it") from None
        if region.is_crowd:
            label[inside] = VOC2012.ignore_label
        else:
            instances.append((inside, region.class_id))
    for inside, class_id in sorted(instances, key=lambda i: -np.count_nonzero(i[0])):
        label[inside] = class_id
    return label


def region_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """bool [h, w] of polygons [[x, y, x, y, ...], ...] or of an RLE; polygons of fewer than three points are empty."""
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"its size [h, w] is {segmentation['size']}, the picture's is {[height, width]}")
        if isinstance(segmentation["counts"], list):
            if sum(segmentation["counts"]) != height * width:
                raise ValueError("its counts do not add up to the picture")
            segmentation = coco_mask.frPyObjects(segmentation, height, width)
    else:
        polygons = [p for p in segmentation if len(p) >= 6]  # pycocotools takes four numbers for a box
        if not polygons:
            return np.zeros((height, width), bool)
        # pycocotools walks along the outline: a far point takes all the memory, a NaN too.
        if not all(np.abs(np.asarray(p, float)).max() <= 4 * max(height, width) for p in polygons):
            raise ValueError("a point lies far outside of the picture")
        segmentation = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    inside = coco_mask.decode(segmentation)
    if inside.max(initial=0) > 1:  # where a compressed RLE ends early, pycocotools leaves memory unset
        raise ValueError("its counts do not add up to the picture")
    return inside.astype(bool)
