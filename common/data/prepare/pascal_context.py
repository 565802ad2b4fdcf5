"""PASCAL-Context: masks of 59 classes and the background, from its label files or from the list of PASCAL in Detail.

`labels` are the files of Mottaghi et al. (CVPR 2014): for each picture a .mat whose variable LabelMap holds a number of
labels.txt for each pixel, uint16 [h, w]. `json` is trainval_merged.json, which zhanghang1989/detail-api reads for
mmsegmentation and others: COCO's compressed regions under the same numbers; a later region covers an earlier one.
"""

import functools
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.console import say
from common.data.polygons.regions import region_mask
from common.data.prepare import listed, matlab, voc2010
from common.data.prepare.job import Job, PreparedSet
from common.data.prepare.origin import bring
from common.data.sets.pascal_context import LABELS, PASCAL_CONTEXT
from common.errors import UserError, brief
from common.files import read_json, read_text
from common.words import some

SOURCES = ("labels", "json")
MOST_LABELS = 459
LONGEST_SIDE = 500  # of VOC's pictures
JSON = "trainval_merged.json"
CLASS_IDS = np.zeros(MOST_LABELS + 1, np.uint8)  # by label; all that are not named are background
CLASS_IDS[list(LABELS)] = range(1, len(LABELS) + 1)


class Regions(NamedTuple):
    """A picture's annotations in the list: (label, COCO's region) in the file's order; `source` is for messages."""

    source: str
    height: int
    width: int
    regions: tuple[tuple[Any, Any], ...]


def prepare(job: Job, source: str | None = None) -> PreparedSet:
    """Make masks and lists on VOC 2010's pictures. `source` is one of SOURCES; None takes the first that can be had."""
    folder, splits = voc2010.fetch(job)
    masks = folder / PASCAL_CONTEXT.mask_folders[0]
    sources = {"labels": functools.partial(_fetch_labels, job), "json": lambda: job.fetch("pascal_detail") / JSON}
    origin, annotations = bring(masks, sources, source, job.quiet)
    note = f"the masks are from {origin}"
    if origin == "labels":
        files = {name: annotations / "trainval" / f"{name}.mat" for ids in splits.values() for name in ids}
        return listed.prepare(job, folder, PASCAL_CONTEXT, splits, files, read_labels, [note])
    say(f"reading {annotations}", job.quiet)
    regions = read_regions(annotations)
    there = {split: [name for name in ids if name in regions] for split, ids in splits.items()}
    return listed.prepare(job, folder, PASCAL_CONTEXT, there, regions, paint, [note])


def _fetch_labels(job: Job) -> Path:
    """The folder with trainval/ and labels.txt, whose names must be those of the card."""
    folder = job.fetch("pascal_context") / "labels"
    if (folder / "labels.txt").is_file():
        check_names(folder / "labels.txt")
    return folder


def check_names(path: Path) -> None:
    """Raise UserError when labels.txt, with a line `2: aeroplane` for each label, names another class than the card."""
    pairs = (line.partition(":") for line in read_text(path, "cannot be read as a list of labels").splitlines())
    names = {number.strip(): "".join(name.split()) for number, _, name in pairs}
    wrong = [f"{label} is {brief(names.get(str(label), 'missing'))} instead of {name}"
             for label, name in LABELS.items() if names.get(str(label)) != name]  # fmt: skip
    if wrong:
        raise UserError(f"{path}: are not PASCAL-Context's 459 labels: {some(wrong)}; take its own trainval.tar.gz")


def read_labels(path: Path) -> np.ndarray:
    """Read class ids, uint8 [h, w], of a label file. Raises UserError when it is no label map of PASCAL-Context."""
    return CLASS_IDS[matlab.read_label_map(path, "LabelMap", "a label map of PASCAL-Context", MOST_LABELS)]


def read_regions(path: Path) -> dict[str, Regions]:
    """The regions of all pictures of the list, by the picture's id. Raises UserError when it is no such list."""
    data = read_json(path)
    try:
        regions = defaultdict(list)
        for annotation in data["annos_segmentation"]:
            regions[annotation["image_id"]].append((annotation["category_id"], annotation["segmentation"]))
        return {
            Path(i["file_name"]).stem: Regions(
                f"{path}: the picture {i['file_name']}", i["height"], i["width"], tuple(regions[i["image_id"]])
            )
            for i in data["images"]
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: is no list of PASCAL in Detail ({brief(error)}); delete it and run this again"
        ) from None


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def paint(picture: Regions) -> np.ndarray:
    """Class ids, uint8 [h, w]. Raises UserError for a region that cannot be read, and for an unknown label."""
    size = picture.height, picture.width
    if not all(_is_whole(side, 1, LONGEST_SIDE) for side in size):
        raise UserError(f"{picture.source} has the size {brief(size)}; delete the file and run this again")
    label = np.zeros(size, np.uint8)
    for number, segmentation in picture.regions:
        if not _is_whole(number, 0, MOST_LABELS):
            raise UserError(f"{picture.source} has label {brief(number)}, and the labels go from 0 to {MOST_LABELS}")
        try:
            label[region_mask(segmentation, *size)] = CLASS_IDS[number]
        except Exception as error:  # pycocotools raises whatever its C code meets
            raise UserError(f"{picture.source} has no readable region of label {number} ({brief(error)})") from None
    return label
