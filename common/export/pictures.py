"""Pictures on which an export is compared with `predict`, and from which int8 takes its ranges."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from common.data import sample
from common.data.split import Split
from common.engines.interface import Size

CALIBRATION_PICTURES = 32


def pictures(split: Split | None, count: int, size: Size | None) -> list[np.ndarray]:
    """The first `count` pictures of a split, or drawn ones without a split; resized to `size` [h, w] if it is given."""
    return [_resized(picture, size) for picture in _as_they_are(split, count)]


def _as_they_are(split: Split | None, count: int) -> Iterator[np.ndarray]:
    if split is None:
        yield from (sample.draw(seed)[0] for seed in range(sample.TRAIN_PICTURES, sample.TRAIN_PICTURES + count))
    else:
        yield from (split.read(index)[0] for index in range(min(count, len(split.pairs))))


def _resized(picture: np.ndarray, size: Size | None) -> np.ndarray:
    if size is None or picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))
