"""A dataset card: all that the suite knows about a data set, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Folders:
    """Where a split's files lie when no list names them: a glob, and replacements from image path to mask path."""

    images: str  # glob below the data folder, e.g. leftImg8bit/val/*/*_leftImg8bit.png
    replace: tuple[tuple[str, str], ...]  # image path -> mask path, text by text


@dataclass(frozen=True)
class StemPairs:
    """A split of a person's own set: pictures and masks that share their stems, in a folder each.

    Attributes:
      images, masks: the folders, relative to the data folder; None where a list names both files of every pair.
      mask_ending: the end of a mask's stem after its picture's stem.
      listed: file with a stem or `image mask` on each line, relative to the data folder; None takes every pair.
      val_share, seed: the share of all pairs that is the split `val`, and the seed that draws it; the rest is `train`.
        None: the split is not divided.
    """

    images: str | None
    masks: str | None
    mask_ending: str = ""
    listed: str | None = None
    val_share: float | None = None
    seed: int = 1


@dataclass(frozen=True)
class RawLabels:
    """Class ids of raw mask values that are neither class ids nor the palette's colours.

    Attributes:
      values: raw value -> class id or ignore label; empty where values are class ids.
      colours: RGB -> class id or ignore label; empty where colours are the palette's.
      others: the class id or ignore label of all other values; None refuses them.
    """

    values: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    others: int | None = None


@dataclass(frozen=True)
class DatasetCard:
    """Name, classes, palette, labels and layout of a data set.

    Attributes:
      name: what `--set dataset=` takes, unless there is a `source`.
      title: what tables print.
      classes: names, the position being the class id.
      palette: RGB per class id, 0..255.
      ignore_label: value of pixels that belong to no class.
      ignored_classes: ids that the network has scores for, but that masks read as the ignore label.
      image_folder, image_suffix: an ImageSets id `x` means `<image_folder>/x<image_suffix>`.
      mask_folders: the first that exists holds `x.png`.
      list_folders: where `<split>.txt` is looked for, below the data folder.
      folders: splits that are read from the folders when there is no list.
      label_maps: by file name ending, raw mask value -> class id; a value not named is ignored.
      split_sizes: pictures in the official splits; a list with fewer is a subset.
      splits: of a person's own set, instead of lists and folders; their sizes are what is there.
      raw_labels: how the mask files of a person's own set are read.
      source: the dataset.yaml of a person's own set, as `--set dataset=` takes it; empty for the known sets.
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
    splits: Mapping[str, StemPairs] = field(default_factory=dict)
    raw_labels: RawLabels = RawLabels()
    source: str = ""

    def __post_init__(self):
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{self.name}: {len(self.palette)} colours for {len(self.classes)} classes")
