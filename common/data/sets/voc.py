"""PASCAL VOC 2012 segmentation (with SBD's extra annotations: train_aug)."""

from common.data.card import DatasetCard


def voc_palette(size: int) -> tuple[tuple[int, int, int], ...]:
    """The VOC devkit's colour map: the bits of the class id, spread over the high bits of R, G, B."""
    colours = []
    for index in range(size):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
        colours.append(tuple(rgb))
    return tuple(colours)


_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
)

VOC2012 = DatasetCard(
    name="voc2012",
    title="VOC2012",
    classes=tuple(_CLASSES.split()),
    palette=voc_palette(21),
    # The original repositories keep their lists in a folder `dataset`.
    split_sizes={"train": 1464, "val": 1449, "trainval": 2913, "train_aug": 10582, "test": 1456},
    list_folders=("ImageSets/Segmentation", "dataset", ""),
)
