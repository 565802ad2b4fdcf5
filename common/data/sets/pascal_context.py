"""PASCAL-Context: the 59 most frequent of its 459 labels, and the background, on the pictures of VOC 2010.

`LABELS` names the classes by their number in the archive's labels.txt. A class's id here is its place in that order, as
in zhanghang1989/detail-api's readers and mmsegmentation, whose masks (`SegmentationClassContext`) are read as they are.
All other labels, and pixels without one, are background. The archive's 59_labels.txt has another order and calls three
classes diningtable, bedcloth and clothes; DeepLab's authors published no weights, so that no file tells their order.
"""

from common.data.card import DatasetCard
from common.data.sets.voc import voc_palette

LABELS = {
    2: "aeroplane", 9: "bag", 18: "bed", 19: "bedclothes", 22: "bench", 23: "bicycle", 25: "bird", 31: "boat",
    33: "book", 34: "bottle", 44: "building", 45: "bus", 46: "cabinet", 59: "car", 65: "cat", 68: "ceiling",
    72: "chair", 80: "cloth", 85: "computer", 98: "cow", 104: "cup", 105: "curtain", 113: "dog", 115: "door",
    144: "fence", 158: "floor", 159: "flower", 162: "food", 187: "grass", 189: "ground", 207: "horse",
    220: "keyboard", 232: "light", 258: "motorbike", 259: "mountain", 260: "mouse", 284: "person", 295: "plate",
    296: "platform", 308: "pottedplant", 324: "road", 326: "rock", 347: "sheep", 349: "shelves", 354: "sidewalk",
    355: "sign", 360: "sky", 366: "snow", 368: "sofa", 397: "table", 415: "track", 416: "train", 420: "tree",
    424: "truck", 427: "tvmonitor", 440: "wall", 445: "water", 454: "window", 458: "wood",
}  # fmt: skip

PASCAL_CONTEXT = DatasetCard(
    name="pascal_context",
    title="PASCAL-Context",
    classes=("background", *LABELS.values()),
    palette=voc_palette(60),
    mask_folders=("SegmentationClassContext",),
    list_folders=("ImageSets/SegmentationContext",),
    split_sizes={"train": 4998, "val": 5105},
)
