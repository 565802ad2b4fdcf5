"""PASCAL-Person-Part: six parts of persons and the background, on the pictures of VOC 2010 that show persons.

Source: arXiv 1606.00915 section 4.3, which merges the parts of PASCAL-Part's annotations.
"""

from common.data.card import DatasetCard
from common.data.sets.voc import voc_palette

# PASCAL-Part's names for the parts of a person (part2ind.m) by class; l and r are left and right.
PARTS = {
    "head": "head lear rear leye reye lebrow rebrow nose mouth hair",
    "torso": "torso neck",
    "upper arms": "luarm ruarm",
    "lower arms": "llarm rlarm lhand rhand",
    "upper legs": "luleg ruleg",
    "lower legs": "llleg rlleg lfoot rfoot",
}

PASCAL_PERSON_PART = DatasetCard(
    name="pascal_person_part",
    title="PASCAL-Person-Part",
    classes=("background", *PARTS),
    palette=voc_palette(7),
    mask_folders=("SegmentationPersonPart",),
    list_folders=("ImageSets/SegmentationPersonPart",),
    split_sizes={"train": 1716, "val": 1817},
)
