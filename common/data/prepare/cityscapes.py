"""Cityscapes, from the zip files that a registered person downloads: label ids become train ids, and lists are written.

`_labelTrainIds.png` are grey, as cityscapesScripts (createTrainIdLabelImgs.py) writes them. Programs that read one
channel would get colours from a palette PNG.
"""

import dataclasses
import functools
from pathlib import Path

from PIL import Image

from common.data.lists import read_split
from common.data.masks import read_mask
from common.data.prepare.job import Job, Pair, PreparedSet, made_pair_problem, write_list
from common.data.sets.cityscapes import CITYSCAPES
from common.files import atomic, sweep

LABEL_IDS, TRAIN_IDS = "_labelIds.png", "_labelTrainIds.png"
LISTS = CITYSCAPES.list_folders[0]
# The folders of pictures and masks that a split needs; the first two zips hold those of the first three.
SPLITS = {
    "train_fine": ("leftImg8bit/train", "gtFine/train"),
    "val_fine": ("leftImg8bit/val", "gtFine/val"),
    "test": ("leftImg8bit/test", "gtFine/test"),
    "train_coarse": ("leftImg8bit/train", "gtCoarse/train"),
    "val_coarse": ("leftImg8bit/val", "gtCoarse/val"),
    "train_extra": ("leftImg8bit/train_extra", "gtCoarse/train_extra"),
}
ALWAYS = ("train_fine", "val_fine", "test")


def prepare(job: Job) -> PreparedSet:
    """Unpack the zips that are there, write train ids beside label ids, and the lists."""
    folder = job.fetch("cityscapes")
    job.fetch("cityscapes_extra", by_hand=False)
    card = dataclasses.replace(CITYSCAPES, list_folders=())  # what the folders hold now, not what a list once said
    pairs = {
        split: [(image, _train_ids(mask)) for image, mask in read_split(card, folder, split).pairs]
        for split, needs in SPLITS.items()
        if split in ALWAYS or all((folder / need).is_dir() for need in needs)
    }
    job.expect(folder, {split: len(found) for split, found in pairs.items()}, CITYSCAPES.split_sizes)
    sweep(folder, below=True)
    for split, found in pairs.items():
        work = functools.partial(made_pair_problem, make=_make)
        job.check(f"train ids of {split}", found, work, functools.partial(_unpacked, folder))
    lists = pairs | {"val": pairs["val_fine"]}
    if "train_extra" in pairs:
        lists["train"] = [*pairs["train_fine"], *pairs["train_extra"]]
    for split, found in lists.items():
        write_list(folder / LISTS / f"{split}.txt", [_line(pair, folder) for pair in found])
    missing = [split for split in SPLITS if split not in pairs]
    note = f"without leftImg8bit_trainextra.zip and gtCoarse.zip there is no {', '.join(missing)}"
    return PreparedSet(
        folder,
        {split: len(found) for split, found in lists.items()},
        f"python -m reproductions.v2 train --data {folder} --run-dir runs/cityscapes --set variant=cityscapes",
        (note,) if missing else (),
    )


def _unpacked(folder: Path, file: Path) -> Path:
    """The folder that a zip was unpacked to, in which `file` lies."""
    kind, part, *_ = file.relative_to(folder).parts
    return folder / kind / part if (kind, part) == ("leftImg8bit", "train_extra") else folder / kind


def _train_ids(mask: Path) -> Path:
    return mask.with_name(mask.name.replace(LABEL_IDS, TRAIN_IDS))


def _make(mask: Path) -> None:
    label = read_mask(mask.with_name(mask.name.replace(TRAIN_IDS, LABEL_IDS)), CITYSCAPES)
    with atomic(mask) as temporary:
        Image.fromarray(label).save(temporary)


def _line(pair: Pair, folder: Path) -> str:
    image, mask = (path.relative_to(folder).as_posix() for path in pair)
    return f"{image} {mask}"
