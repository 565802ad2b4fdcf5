"""COCO with the classes of PASCAL VOC."""

from common.data.card import DatasetCard
from common.data.sets.voc import VOC2012

MASK_FOLDER, LIST_FOLDER = "SegmentationVOC", "lists"

COCO = DatasetCard(
    name="coco",
    title="COCO (VOC classes)",
    classes=VOC2012.classes,
    palette=VOC2012.palette,
    # Used only for a user's lists of bare ids; the lists that this suite writes name both files.
    image_folder="train2017",
    mask_folders=(f"{MASK_FOLDER}/train2017",),
    list_folders=(LIST_FOLDER, ""),
)
