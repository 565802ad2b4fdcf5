import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Self

import numpy as np

from common.data import masks
from common.data.card import DatasetCard


@dataclass(frozen=True)
class Split:
    """A split of a data set on disk; `shards.examples.RecordSplit` is one in TFRecords.

    Attributes:
      card: the data set.
      name: the split's name, or its list file's stem.
      pairs: (picture, mask), existing files, in the list's order; of TFRecords only the files' names.
      is_sample: whether the pictures are of the drawn sample set.
      channels: of the picture files that are read, counted from 1; () is as `masks.read_image` chooses.
      root: the folder that the pictures of a person's own set share; folders below may repeat a stem.
    """

    card: DatasetCard
    name: str
    pairs: tuple[tuple[PurePath, PurePath], ...]
    is_sample: bool
    root: Path | None = field(default=None, kw_only=True)
    channels: tuple[int, ...] = field(default=(), kw_only=True)

    @property
    def title(self) -> str:
        return f"{'sample set' if self.is_sample else self.card.title} {self.name}"

    @property
    def ids(self) -> tuple[str, ...]:
        """A name for each picture that no other of the data set has: its stem, or its path below `root`."""
        images = [image for image, _ in self.pairs]
        if self.root is None:
            return tuple(image.stem for image in images)
        return tuple(os.path.relpath(image.with_suffix(""), self.root) for image in images)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture [h, w, 3] and mask [h, w] of pair `index`, both uint8. Raises UserError as `masks.read_pair`."""
        return masks.read_pair(*self.pairs[index], self.card, self.channels)

    def mask_places(self) -> Iterator[tuple[Path, str]]:
        """The file that holds each mask, and where in it."""
        return ((Path(mask), "") for _, mask in self.pairs)

    def take(self, places: slice) -> Self:
        """The same split with only the pairs at these places."""
        return replace(self, pairs=self.pairs[places])

    def stored(self, index: int) -> Iterator[bytes]:
        """The bytes of pair `index` as they are stored, not decoded. Raises OSError."""
        return (Path(file).read_bytes() for file in self.pairs[index])


SOURCES = ("train_aug", "val")
SEED = 1024
VAL_SHARE = 0.1
NAMES = ("random_train", "random_val")


def divide(pairs: list, name: str) -> list:
    """The part `random_train` or `random_val` of all `pairs`; each picture once, in an order that SEED fixes."""
    pairs = list(dict.fromkeys(pairs))
    random.Random(SEED).shuffle(pairs)
    cut = int(len(pairs) * (1 - VAL_SHARE))
    return pairs[:cut] if name == NAMES[0] else pairs[cut:]


MARKER = "sample.json"
