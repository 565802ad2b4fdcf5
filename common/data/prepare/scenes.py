"""ADE20K and COCO: training reads what their archives hold; `common.data.prepare.coco` paints COCO's masks."""

import dataclasses

from common.data.lists import read_split
from common.data.prepare import coco
from common.data.prepare.job import Job, PreparedSet, pair_problem
from common.data.sets.ade20k import ADE20K
from common.data.sets.coco import COCO, LIST_FOLDER, MASK_FOLDER
from common.files import sweep

COCO_SIZES = {"train2017": 118287, "val2017": 5000}


def prepare_ade20k(job: Job) -> PreparedSet:
    """Fetch, count and check ADE20K; training reads it as it is unpacked."""
    folder = job.fetch("ade20k") / "ADEChallengeData2016"
    card = dataclasses.replace(ADE20K, list_folders=())
    pairs = {split: read_split(card, folder, split).pairs for split in ("train", "val")}
    counts = {split: len(found) for split, found in pairs.items()}
    job.expect(folder, counts, ADE20K.split_sizes)
    for split, found in pairs.items():
        job.check(f"{folder} {split}", found, pair_problem, lambda file: folder)
    command = f"python -m reproductions.v3plus train --data {folder} --run-dir runs/ade20k --set variant=ade20k"
    return PreparedSet(folder, counts, command)


def prepare_coco(job: Job) -> PreparedSet:
    """Fetch COCO 2017, and make masks and lists of the 20 VOC classes."""
    folder = job.fetch("coco2017")
    pictures = {split: sum(1 for _ in (folder / split).glob("*.jpg")) for split in COCO_SIZES}
    job.expect(folder, pictures, COCO_SIZES)
    for made in (MASK_FOLDER, LIST_FOLDER):
        sweep(folder / made, below=True)
    counts = {}
    for split in COCO_SIZES:
        counts[split] = coco.prepare(folder, split, folder, workers=job.workers, quiet=job.quiet).kept
        job.check(
            f"{folder} {split}",
            read_split(COCO, folder, split).pairs,
            pair_problem,
            lambda file: file.parent,
        )
    command = f"python -m reproductions.v3 train --data {folder} --run-dir runs/coco --set variant=coco"
    kept = ", ".join(f"{counts[split]:,} of {pictures[split]:,} in {split}" for split in counts)
    return PreparedSet(folder, counts, command, (f"pictures that show a VOC class in more than 1,000 pixels: {kept}",))
