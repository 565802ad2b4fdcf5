"""A dataset card: all that the suite knows about a data set, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Folders:
    """Where a split's files lie when no list names them: a glob, and the mask as an edit of the image's path."""

    images: str  # glob below the data folder, e.g. leftImg8bit/val/*/*_leftImg8bit.png
    replace: tuple[tuple[str, str], ...]  # image path -> mask path, text by text


@dataclass(frozen=True)
class DatasetCard:
    """Name, classes, palette, labels and layout of a data set.

    Attributes:
      name: what `--set dataset=` takes.
      title: what tables print.
      classes: names, the position being the class id.
      palette: RGB per class id, 0..255.
      ignore_label: value of pixels that belong to no class.
      ignored_classes: ids that the network scores but no mask counts: read as the ignore label.
      image_folder, image_suffix: an ImageSets id `x` means `<image_folder>/x<image_suffix>`.
      mask_folders: the first that exists holds `x.png`.
      list_folders: where `<split>.txt` is looked for, below the data folder.
      folders: splits that are read from the folders when there is no list.
      label_maps: by file name ending, raw mask value -> class id; a value not named is ignored.
      split_sizes: pictures in the official splits; a list with fewer is a subset.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_label: int = 255
    ignored_classes: tuple[int, ...] = ()
    image_folder: str = "JPEGImages"
    image_suffix: str = ".jpg"
    mask_folders: tuple[str, ...] = ("SegmentationClassAug", "SegmentationClass")
    list_folders: tuple[str, ...] = ("ImageSets/Segmentation",)
    folders: Mapping[str, tuple[Folders, ...]] = field(default_factory=dict)
    label_maps: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    split_sizes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self):
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{self.name}: {len(self.palette)} colours for {len(self.classes)} classes")
