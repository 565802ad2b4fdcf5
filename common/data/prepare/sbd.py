"""SBD, the Semantic Boundaries Dataset: masks of 11,355 VOC pictures in Matlab files.

Source: Hariharan et al., "Semantic contours from inverse detectors", ICCV 2011. `dataset/cls/<id>.mat` holds a struct
GTcls with the fields Boundaries, Segmentation (uint8 [h, w], VOC's class ids, no border label) and CategoriesPresent.
"""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.prepare import matlab
from common.data.prepare.job import Job, PreparedSet, Problem
from common.data.sets.voc import VOC2012
from common.data.stems import list_lines
from common.errors import UserError

SIZES = {"train": 8498, "val": 2857}


def prepare(job: Job) -> PreparedSet:
    """Fetch SBD and check every mask."""
    dataset = fetch(job)
    ids = {split: read_ids(dataset / f"{split}.txt") for split in SIZES}
    job.expect(dataset, {split: len(names) for split, names in ids.items()}, SIZES)
    stems = [stem for names in ids.values() for stem in names]
    job.check("SBD's masks", stems, functools.partial(_problem, dataset), lambda file: dataset)
    return PreparedSet(
        dataset,
        {split: len(names) for split, names in ids.items()},
        f"python -m common.data.prepare voc-aug --out {job.data} --from sbd",
        ("SBD is no set to train on by itself: voc-aug makes VOC2012's train_aug of it",),
    )


def fetch(job: Job) -> Path:
    """The folder with cls, img, train.txt and val.txt."""
    return job.fetch("sbd") / "dataset"


def read_ids(path: Path) -> list[str]:
    """Read the ids of a list. A line holds an id, or begins with the path of a picture, whose stem is the id."""
    return [Path(line.split()[0]).name.removesuffix(VOC2012.image_suffix) for _, line in list_lines(path)]


def read_segmentation(path: Path) -> np.ndarray:
    """Read the class ids, uint8 [h, w], of a .mat file in `cls`. Raises UserError when it is no mask of SBD."""
    with matlab.opened(path, "GTcls", "a mask of SBD") as struct:
        label = np.ascontiguousarray(struct["Segmentation"][0, 0], np.uint8)
    if label.ndim != 2 or label.max(initial=0) >= len(VOC2012.classes):
        raise UserError(f"{path}: holds no mask of VOC's classes, but {label.shape} up to {label.max(initial=0)}")
    return label


def _problem(dataset: Path, stem: str) -> Problem | None:
    image, mask = dataset / "img" / f"{stem}.jpg", dataset / "cls" / f"{stem}.mat"
    try:
        height, width = read_segmentation(mask).shape
        with Image.open(image) as picture:
            size = picture.size
    except UserError as error:
        return Problem(mask, str(error).removeprefix(f"{mask}: "))
    except OSError as error:
        return Problem(image, f"cannot be read ({error})")
    return None if size == (width, height) else Problem(image, f"is {size[0]}x{size[1]}, its mask {width}x{height}")
