"""From a picture's stored numbers to 8 bits, where they are not 8 bit already.

Signed, 32 bit and float numbers keep their levels within 0..255 (floats also within 0..1); beyond that the 2nd and the
98th percentile become black and white. NaN, infinity and nodata are black and count for neither.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from common.errors import UserError

# Numbers that stand for "not measured" in elevation models, satellite pictures and scans of bodies.
NODATA = (-9999.0, -32768.0, float(-(2**31)), float(np.finfo(np.float32).min))
PERCENTILES = (2, 98)
_PHOTOMETRIC = 262  # tag of TIFF; 0 is white, where Pillow leaves numbers of 16 bits as they are
_GDAL_NODATA, _SAMPLE_FORMAT, _UNSIGNED = 42113, 339, 1  # tags of TIFF, and a value of the second


@dataclass(frozen=True)
class Levels:
    """The numbers of a picture, float64 [h, w], NaN where there is none, and those that become black and white.

    `is_stretched` says whether percentiles chose black and white.
    """

    black: float
    white: float
    numbers: np.ndarray
    is_stretched: bool = False

    def to_bytes(self) -> np.ndarray:
        """uint8 [h, w], rounded and clipped."""
        scaled = (self.numbers - self.black) / (self.white - self.black) * 255
        return np.clip(np.rint(np.nan_to_num(scaled, nan=0)), 0, 255).astype(np.uint8)


def needs_levels(image: Image.Image) -> bool:
    """Whether the picture holds 16 or 32 bit integers or floats."""
    return image.mode.startswith(("I", "F"))


def find_levels(image: Image.Image) -> Levels:
    """The levels of a picture of which `needs_levels` is true.

    16 bit unsigned numbers go from 0 to 65535. Raises UserError for a picture without two different numbers; the
    message does not name the file.
    """
    if image.mode.startswith("I;16"):
        numbers = np.asarray(image, np.float64)
        return Levels(0, 65535, 65535 - numbers if _tags(image).get(_PHOTOMETRIC) == 0 else numbers)
    if image.mode == "I" and image.format == "PPM":  # 16 bit too
        numbers = np.asarray(image, np.float64)
        return Levels(0, 255 if numbers.max(initial=0) <= 255 else 65535, numbers)
    numbers = _measured(image)
    there = numbers[np.isfinite(numbers)]
    if not there.size:
        raise UserError("holds no number: all of it is NaN, infinity or nodata; leave it out")
    least, most = float(there.min()), float(there.max())
    if least == most:
        raise UserError(f"holds one number everywhere, {least:g}, in which nothing can be seen; leave it out")
    for white in (1, 255) if image.mode == "F" else (255,):
        if least >= 0 and most <= white:
            return Levels(0, white, numbers)
    black, white = (float(value) for value in np.percentile(there, PERCENTILES))
    if black == white:  # nearly all of it is one number
        black, white = least, most
    return Levels(black, white, numbers, is_stretched=True)


def _tags(image: Image.Image) -> Mapping[int, object]:
    """The tags of a TIFF; none of another picture."""
    return getattr(image, "tag_v2", {})


def _measured(image: Image.Image) -> np.ndarray:
    """float64 [h, w], NaN where nothing was measured."""
    tags = _tags(image)
    stored = np.asarray(image)
    if stored.dtype == np.int32 and tags.get(_SAMPLE_FORMAT) in (_UNSIGNED, (_UNSIGNED,)):
        stored = stored.view(np.uint32)  # Pillow has no mode for them
    numbers = stored.astype(np.float64)
    nodata = list(NODATA)
    with contextlib.suppress(ValueError), np.errstate(over="ignore"):
        declared = float(str(tags.get(_GDAL_NODATA, "nan")).strip(" \0"))
        nodata += [declared, float(np.float32(declared))]
    numbers[~np.isfinite(numbers) | np.isin(numbers, nodata)] = np.nan
    return numbers
