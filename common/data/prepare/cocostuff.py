"""COCO-Stuff: 10k, whose masks are in Matlab files, and 164k, whose PNGs training reads as they are."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from common.data.lists import read_split
from common.data.prepare import listed, matlab
from common.data.prepare.job import Job, PreparedSet, pair_problem
from common.data.prepare.sbd import read_ids
from common.data.sets.cocostuff import CLASSES, COCOSTUFF_10K, COCOSTUFF_164K

ARCHIVE = "cocostuff-10k-v1.1"
LISTS = {"train": "train.txt", "val": "test.txt"}  # split -> its list in imageLists; papers call test val


def prepare_10k(job: Job) -> PreparedSet:
    """Fetch COCO-Stuff 10k, and make masks and lists of it."""
    folder = job.fetch("cocostuff10k") / ARCHIVE
    splits = {split: read_ids(folder / "imageLists" / name) for split, name in LISTS.items()}
    files = {name: folder / "annotations" / f"{name}.mat" for ids in splits.values() for name in ids}
    return listed.prepare(job, folder, COCOSTUFF_10K, splits, files, read_stuff)


def read_stuff(path: Path) -> np.ndarray:
    """Read the class ids, uint8 [h, w], of a .mat file of COCO-Stuff 10k: its map S minus 1, unlabelled ignored.

    Raises UserError when it is no such file.
    """
    numbers = matlab.read_label_map(path, "S", "a label map of COCO-Stuff 10k", len(CLASSES))
    return np.where(numbers == 0, COCOSTUFF_10K.ignore_label, numbers - 1).astype(np.uint8)


def prepare_164k(job: Job) -> PreparedSet:
    """Fetch COCO 2017 and COCO-Stuff's masks of it, count and check them; training reads them as they are unpacked."""
    folder = job.fetch("coco2017")
    job.fetch("cocostuff")
    card = dataclasses.replace(COCOSTUFF_164K, list_folders=())
    pairs = {split: read_split(card, folder, split).pairs for split in ("train", "val")}
    counts = {split: len(found) for split, found in pairs.items()}
    job.expect(folder, counts, card.split_sizes)
    for split, found in pairs.items():
        job.check(f"{card.title} {split}", found, pair_problem, functools.partial(_unpacked, folder))
    return PreparedSet(folder, counts, listed.training_command(folder, card))


def _unpacked(folder: Path, file: Path) -> Path:
    """The folder that an archive was unpacked to, in which `file` lies."""
    return folder / file.relative_to(folder).parts[0]
