"""PASCAL-Person-Part: masks of six parts of persons, the ready-made ones or made of PASCAL-Part's annotations.

`ready-made` is the archive on the DeepLab project's page: masks, and lists of 1,716 and 1,817 pictures. `parts` are the
files of Chen et al. (CVPR 2014): a .mat for each picture of VOC 2010 with a struct `anno`, whose `objects` have a
`class` and `parts`, and these a `part_name` and a `mask`, uint8 [h, w]. The parts are merged as arXiv 1606.00915 says
(section 4.3). Where parts overlap, the later one is on top; no source states this. Of VOC's lists those pictures are
taken that show a part of a person.
"""

from pathlib import Path

import numpy as np

from common.console import Progress
from common.data.masks import read_mask
from common.data.prepare import listed, matlab, voc2010
from common.data.prepare.job import Job, PreparedSet
from common.data.prepare.origin import bring
from common.data.prepare.sbd import read_ids
from common.data.sets.pascal_person_part import PARTS, PASCAL_PERSON_PART
from common.errors import UserError
from common.parallel import parallel_map

SOURCES = ("ready-made", "parts")
CLASS_IDS = {name: i for i, names in enumerate(PARTS.values(), 1) for name in names.split()}
WHAT = "an annotation of PASCAL-Part"


def prepare(job: Job, source: str | None = None) -> PreparedSet:
    """Make masks and lists on VOC 2010's pictures. `source` is one of SOURCES; None takes the first that can be had."""
    folder, splits = voc2010.fetch(job)
    masks = folder / PASCAL_PERSON_PART.mask_folders[0]
    sources = {
        "ready-made": lambda: job.fetch("pascal_person_part") / "pascal_person_part",
        "parts": lambda: job.fetch("pascal_part") / "Annotations_Part",
    }
    origin, annotations = bring(masks, sources, source, job.quiet)
    if origin == "ready-made":
        lists = annotations / "pascal_person_part_trainval_list"
        splits = {split: read_ids(lists / f"{split}_id.txt") for split in splits}
        made_of, ending, label_of = annotations / "pascal_person_part_gt", ".png", read_ready_made
    else:
        splits = _with_persons(job, splits, annotations)
        made_of, ending, label_of = annotations, ".mat", read_parts
    files = {name: made_of / f"{name}{ending}" for ids in splits.values() for name in ids}
    note = f"the masks are from {origin}"
    return listed.prepare(job, folder, PASCAL_PERSON_PART, splits, files, label_of, [note])


def read_ready_made(path: Path) -> np.ndarray:
    """Read a mask of the archive as class ids, uint8 [h, w]. Raises UserError."""
    return read_mask(path, PASCAL_PERSON_PART)


def read_parts(path: Path) -> np.ndarray:
    """Merge the parts of all persons of an annotation into class ids, uint8 [h, w].

    Raises UserError when it is no annotation of PASCAL-Part, or has a part that is none of a person.
    """
    with matlab.opened(path, "anno", WHAT) as content:
        objects = content["objects"][0, 0].ravel()
        label = np.zeros(objects[0]["mask"].shape, np.uint8)
        for person in (one for one in objects if str(one["class"].item()) == "person"):
            for part in person["parts"].ravel():
                label[part["mask"] != 0] = CLASS_IDS[str(part["part_name"].item())]
    if label.ndim != 2:
        raise UserError(f"{path}: is not {WHAT}, whose masks have two dimensions")
    return label


def _shows_person(path: Path) -> bool:
    return bool(read_parts(path).any())


def _with_persons(job: Job, splits: dict[str, list[str]], annotations: Path) -> dict[str, list[str]]:
    """The pictures of `splits` that show a part of a person."""
    files = [annotations / f"{name}.mat" for ids in splits.values() for name in ids]
    with (
        parallel_map(job.workers, len(files)) as run,
        Progress("pictures that show persons", len(files), quiet=job.quiet) as progress,
    ):
        shown = set()
        for file, is_shown in zip(files, run(_shows_person, files), strict=True):
            shown |= {file.stem} if is_shown else set()
            progress.advance()
    return {split: [name for name in ids if name in shown] for split, ids in splits.items()}
