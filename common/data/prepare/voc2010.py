"""VOC 2010: the pictures and lists of the sets that others annotated on them.

PASCAL-Context has exactly the pictures of the detection lists (`ImageSets/Main`): 4,998 to train on, 5,105 to validate.
"""

from pathlib import Path

from common.data.prepare.job import Job
from common.data.prepare.sbd import read_ids


def fetch(job: Job) -> tuple[Path, dict[str, list[str]]]:
    """Bring VOC 2010; returns its folder, and the ids of its detection lists train and val."""
    folder = job.fetch("voc2010") / "VOC2010"
    return folder, {split: read_ids(folder / "ImageSets/Main" / f"{split}.txt") for split in ("train", "val")}
