"""Cityscapes: 19 train ids, fine and coarse annotations; label ids are mapped where train ids are missing."""

from common.data.card import DatasetCard, Folders

# name: (label id, colour), in the order of the train ids (cityscapesScripts, helpers/labels.py).
_LABELS = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}


def _split(images: str, masks: str) -> Folders:
    return Folders(
        f"leftImg8bit/{images}/*/*_leftImg8bit.png",
        (("leftImg8bit/", f"{masks}/"), ("_leftImg8bit.png", f"_{masks}_labelTrainIds.png")),
    )


_FINE, _COARSE, _EXTRA = (
    _split("train", "gtFine"),
    _split("train", "gtCoarse"),
    _split("train_extra", "gtCoarse"),
)

CITYSCAPES = DatasetCard(
    name="cityscapes",
    title="Cityscapes",
    classes=tuple(_LABELS),
    palette=tuple(colour for _, colour in _LABELS.values()),
    image_folder="leftImg8bit",
    image_suffix="_leftImg8bit.png",
    mask_folders=("gtFine",),
    list_folders=("dataset", "dataset_cityscapes", ""),
    folders={
        # The original's `train` is the fine pictures and the extra coarse ones together.
        "train": (_FINE, _EXTRA),
        "train_fine": (_FINE,),
        "train_coarse": (_COARSE,),
        "train_extra": (_EXTRA,),
        "val": (_split("val", "gtFine"),),
        "val_fine": (_split("val", "gtFine"),),
        "val_coarse": (_split("val", "gtCoarse"),),
        "test": (_split("test", "gtFine"),),
    },
    split_sizes={
        **dict.fromkeys(("train_fine", "train_coarse"), 2975),
        "train_extra": 19998,
        "train": 22973,
        **dict.fromkeys(("val", "val_fine", "val_coarse"), 500),
        "test": 1525,
    },
    label_maps={"_labelIds.png": {label_id: i for i, (label_id, _) in enumerate(_LABELS.values())}},
)
