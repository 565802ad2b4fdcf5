"""The pictures and masks of a survey, each file as training's readers read it."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.data.card import DatasetCard
from common.data.levels import find_levels, needs_levels
from common.data.masks import (
    ON_THEIR_SIDE,
    Encoded,
    kind_problem,
    opened,
    orientation,
    read_image,
    read_mask,
    stored_values,
)
from common.errors import UserError, brief

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class PictureFile:
    """A picture as training reads it.

    Attributes:
      digest: SHA-256 of the file's bytes.
      size: width, height when upright, or None when it can't be read; stored: before the EXIF tag turns it.
      mode: Pillow's, or the channels that were chosen.
      orientation: the EXIF tag's value, 1 without a tag.
      stretched: the values that the percentiles make black and white, or None where the pixel type sets them.
      problem: why it can't be read, or "".
      damage: what is wrong with its bytes although it can be read, or "".
    """

    digest: bytes = b""
    size: tuple[int, int] | None = None
    stored: tuple[int, int] | None = None
    mode: str = ""
    orientation: int = 1
    stretched: tuple[float, float] | None = None
    problem: str = ""
    damage: str = ""


@dataclass(frozen=True)
class MaskFile:
    """A mask as training reads it. `mode`, `problem` and `damage` as in PictureFile.

    Attributes:
      size: width, height, or None when it can't be decoded.
      lossy: whether it is a JPEG.
      pixels: by class id as read, the ignore label among them; empty when it can't be read.
      values: pixels by stored value; empty for a mask that can only be read by its colours.
      colours: pixels by colour of such a mask, the 4096 most frequent ones at most.
      entries: of a palette mask, (value, the colour shown for it, class id as read) for the values in use; empty
        where the card says what each value stands for.
      own_palette: whether a palette mask shows the card's colours for the card's classes.
      mapped: whether the card's label map for the file's ending applies.
      in_all_channels: whether each of three equal channels holds the class id.
    """

    size: tuple[int, int] | None = None
    mode: str = ""
    lossy: bool = False
    pixels: dict[int, int] = field(default_factory=dict)
    values: dict[int, int] = field(default_factory=dict)
    colours: dict[Colour, int] = field(default_factory=dict)
    entries: tuple[tuple[int, Colour, int], ...] = ()
    own_palette: bool = False
    mapped: bool = False
    in_all_channels: bool = False
    problem: str = ""
    damage: str = ""


def examine_picture(file: Encoded, card: DatasetCard) -> PictureFile:
    """Read a picture, and find out about its file what the faults are made of."""
    digest = hashlib.sha256(file.data).digest()
    pixels, problem = _attempt(file, read_image, file)
    if problem:
        return PictureFile(digest, problem=problem)
    size = (pixels.shape[1], pixels.shape[0])
    with opened(file) as image:
        turn, stretched = orientation(image), None
        if needs_levels(image):
            image.load()
            levels = find_levels(image)
            stretched = (levels.black, levels.white) if levels.is_stretched else None
        return PictureFile(
            digest=digest,
            size=size,
            stored=size[::-1] if turn in ON_THEIR_SIDE else size,
            mode=image.mode,
            orientation=turn,
            stretched=stretched,
            damage=_damage(file.data),
        )


def examine_channels(path: Path, channels: Sequence[int]) -> PictureFile:
    """Read the chosen channels of a picture, as `read_image` has them."""
    pixels, problem = _attempt(path, read_image, path, channels)
    if problem:
        return PictureFile(problem=problem)
    size = (pixels.shape[1], pixels.shape[0])
    return PictureFile(hashlib.sha256(path.read_bytes()).digest(), size, size, ",".join(map(str, channels)))


def examine_mask(file: Encoded, card: DatasetCard) -> MaskFile:
    """Read a mask, and find out about its file what the faults are made of."""
    ids, problem = _attempt(file, read_mask, file, card)
    decoded, unreadable = _attempt(file, _decode, file)
    if unreadable:
        return MaskFile(problem=problem or unreadable)
    image, is_of_another_kind = decoded
    if is_of_another_kind:
        return MaskFile(image.size, image.mode, problem=problem, damage=_damage(file.data))
    pixels = {} if problem else _histogram(ids)
    values, entries, own_palette, in_all_channels, mode = {}, (), False, False, image.mode
    if card.raw_labels.colours and not card.raw_labels.values:
        image = image.convert("RGB")
    if image.mode in ("1", "P", "L") or image.mode.startswith("I"):  # as the reader has it
        stored = np.asarray(image)
        values = _histogram(stored)
        if image.mode == "P" and not problem and not card.raw_labels.values:
            flat = image.getpalette("RGB")
            palette = list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
            own_palette = all(shown == own for shown, own in zip(palette, card.palette, strict=False))
            palette += [(0, 0, 0)] * (256 - len(palette))
            read_as = _histogram(stored.astype(np.uint16) << 8 | ids)
            entries = tuple((both >> 8, palette[both >> 8], both & 255) for both in read_as)
    elif (stored := stored_values(image, card)) is not None:
        values, in_all_channels = _histogram(stored), True
    return MaskFile(
        size=image.size,
        mode=mode,
        lossy=Image.open(io.BytesIO(file.data)).format == "JPEG",
        pixels=pixels,
        values=values,
        colours={} if values else _colours(image.convert("RGB")),
        entries=entries,
        own_palette=own_palette,
        mapped=file.name.endswith(tuple(card.label_maps)),
        in_all_channels=in_all_channels,
        problem=problem,
        damage=_damage(file.data),
    )


def _attempt(file: Encoded | Path, read: Callable, *arguments: Any) -> tuple[Any, str]:
    """Run a reader; returns its result, or the message that would stop training, without the file's name."""
    try:
        return read(*arguments), ""
    except UserError as error:
        return None, str(error).removeprefix(f"{file}: ")
    except Exception as error:  # what a reader did not foresee would stop training too
        return None, f"cannot be read ({brief(str(error))})"


def _decode(file: Encoded) -> tuple[Image.Image, bool]:
    """Decode a mask; returns its pixels, and whether its kind of file can be no mask."""
    with opened(file) as image:
        is_of_another_kind = bool(kind_problem(image))
        image.load()
        return image.copy(), is_of_another_kind


def _damage(data: bytes) -> str:
    """Find damage that decoders do not report: a JPEG without its end, a PNG whose checksums are wrong."""
    image = Image.open(io.BytesIO(data))
    if image.format == "JPEG":  # its header is read now, up to where the pixels begin
        return "" if data.find(b"\xff\xd9", image.fp.tell()) >= 0 else "the JPEG has no end, its lower part is made up"
    try:
        image.verify()
    except Exception as error:
        return str(error)
    return ""


def _histogram(values: np.ndarray) -> dict[int, int]:
    if values.dtype.kind in "bu" and values.dtype.itemsize <= 2:
        counts = np.bincount(values.ravel())
        return {int(v): int(counts[v]) for v in np.flatnonzero(counts)}
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _colours(image: Image.Image, most: int = 4096) -> dict[Colour, int]:
    found = sorted(image.getcolors(image.width * image.height), reverse=True)
    return {colour: count for count, colour in found[:most]}
