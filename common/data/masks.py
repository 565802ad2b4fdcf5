"""Reading pictures and label masks, writing label pictures."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from common.data.card import DatasetCard
from common.errors import UserError

# Pillow's guard against decompression bombs is for uploads by strangers; a mosaic of a city is no bomb.
Image.MAX_IMAGE_PIXELS = None

# Endings of picture files, in lower case.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

# How colour masks paint pixels without a class: the VOC colour map's entry 255, and white.
IGNORE_COLOURS = ((224, 224, 192), (255, 255, 255))


@dataclass(frozen=True)
class Encoded:
    """A picture file's content that lies elsewhere than in a file; `name` is what messages call it."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name


def _open(path: Path | Encoded) -> Image.Image:
    """The decoded file. Raises UserError when it is missing, truncated or no picture."""
    try:
        image = Image.open(io.BytesIO(path.data) if isinstance(path, Encoded) else path)
        image.load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # Pillow's plugins raise whatever their parser meets
        raise UserError(f"{path}: cannot be read as a picture ({error}); replace or remove it") from None
    return image


def read_image(path: Path | Encoded) -> np.ndarray:
    """Any picture as uint8 RGB [h, w, 3], turned upright by its EXIF tag.

    Grey becomes three equal channels, 16 bit is scaled to 8, transparency is dropped (the colour
    under it stays). Raises UserError.
    """
    image = ImageOps.exif_transpose(_open(path))
    if image.mode.startswith(("I", "F")):
        pixels = np.asarray(image, np.float64)
        # 16 bit says its range; 32 bit integers and floats only show it.
        ranges = (65535,) if image.mode.startswith("I;16") else (1, 255, 65535) if image.mode == "F" else (255, 65535)
        white = next((r for r in ranges if pixels.max(initial=0) <= r), pixels.max(initial=0))
        image = Image.fromarray(np.clip(np.rint(pixels / white * 255), 0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"))


def picture_size(path: Path | Encoded) -> tuple[int, int]:
    """Height and width that `read_image` gives, from the file's head alone. Raises UserError."""
    try:
        with Image.open(io.BytesIO(path.data) if isinstance(path, Encoded) else path) as image:
            width, height = upright_size(image)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # Pillow's plugins raise whatever their parser meets
        raise UserError(f"{path}: cannot be read as a picture ({error}); replace or remove it") from None
    return height, width


def orientation(image: Image.Image) -> int:
    """The EXIF tag, 1 to 8; 1 when there is none."""
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height after the EXIF tag has turned the picture."""
    width, height = image.size
    return (height, width) if orientation(image) in (5, 6, 7, 8) else (width, height)


def read_mask(path: Path | Encoded, card: DatasetCard) -> np.ndarray:
    """A label mask as uint8 class ids [h, w], `card.ignore_label` where a pixel has none.

    Index masks (grey or palette PNG) are taken by value, through the card's label map if the file's
    ending has one; colour masks are decoded by the card's palette, also when they were saved as a
    palette PNG whose entries are in another order. Raw labels of the card come before all that: with
    colours alone, every file is read by the colours it shows. The card's ignored classes become the
    ignore label. Raises UserError naming the file and the first value that is neither a class nor the
    ignore label.
    """
    image = _open(path)
    if problem := kind_problem(image):
        raise UserError(f"{path}: {problem}")
    raw = card.raw_labels
    if raw.colours and not raw.values:
        image = image.convert("RGB")
    if image.mode == "1":
        image = image.convert("L").point(lambda v: v and 1)
    if image.mode == "P" and not raw.values and _is_colour_mask(image, card):
        image = image.convert("RGB")
    if image.mode in ("P", "L") or image.mode.startswith("I"):
        mask = np.asarray(image)
        if raw.values:
            mask = _from_values(path, mask, card)
        for ending, label_map in card.label_maps.items():
            if path.name.endswith(ending):
                table = np.full(256, card.ignore_label, np.uint8)
                table[list(label_map)] = list(label_map.values())
                mask = table[np.clip(mask, 0, 255)]
        bad = ((mask < 0) | (mask >= len(card.classes))) & (mask != card.ignore_label)
        if bad.any():
            raise UserError(
                f"{path}: value {mask[bad][0]} is neither a class of {card.name} "
                f"(0..{len(card.classes) - 1}) nor the ignore label {card.ignore_label}; correct the mask"
            )
        mask = mask.astype(np.uint8)
    else:
        mask = _from_colours(path, np.asarray(image.convert("RGB")), card)
    return np.where(np.isin(mask, card.ignored_classes), np.uint8(card.ignore_label), mask)


def kind_problem(image: Image.Image) -> str:
    """Why a picture that can be read is no mask by its kind, or ""."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        return f"is a film of {frames} frames; a mask is one picture: save the one that is meant"
    if image.mode == "F":
        return "holds fractions (32 bit float); class ids are whole numbers: save it as an 8 bit PNG"
    return ""


def _is_colour_mask(image: Image.Image, card: DatasetCard) -> bool:
    """Whether a palette picture shows the card's colours under indices that are not their classes."""
    palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    if np.array_equal(palette[: len(card.palette)], card.palette):  # it has the card's own: its indices are classes
        return False
    used = [i for i in np.unique(np.asarray(image)) if i < len(palette)]
    shown = [tuple(palette[i].tolist()) for i in used]
    if shown == [(i, i, i) for i in used]:  # a grey mask saved with a palette
        return False
    known = set(card.palette) | set(IGNORE_COLOURS)
    by_index = [card.palette[i] if i < len(card.palette) else None for i in used]
    return (
        bool(used)
        and all(c in known for c in shown)
        and any(
            c != own and not (own is None and c in IGNORE_COLOURS and i == card.ignore_label)
            for c, own, i in zip(shown, by_index, used, strict=True)
        )
    )


def _from_values(path: Path | Encoded, values: np.ndarray, card: DatasetCard) -> np.ndarray:
    raw = card.raw_labels
    table = np.full((1 << 16) + 2, -1 if raw.others is None else raw.others, np.int16)
    table[list(raw.values)] = list(raw.values.values())
    mask = table[np.clip(values, -1, 1 << 16)]  # what 16 bit cannot hold falls on the two last entries
    if (mask < 0).any():
        raise UserError(
            f"{path}: value {values[mask < 0][0]} has no meaning in {card.name}, whose masks hold "
            f"{', '.join(map(str, sorted(raw.values)))}; correct the mask or the label_map of {card.source}"
        )
    return mask.astype(np.uint8)


def _from_colours(path: Path | Encoded, rgb: np.ndarray, card: DatasetCard) -> np.ndarray:
    raw = card.raw_labels
    code = (rgb.astype(np.int32) << np.array([16, 8, 0])).sum(axis=2)
    values, inverse = np.unique(code, return_inverse=True)
    known = {_code(c): card.ignore_label for c in IGNORE_COLOURS}
    known |= {_code(c): i for c, i in (raw.colours or {c: i for i, c in enumerate(card.palette)}).items()}
    ids = [known.get(int(v), raw.others if raw.colours else None) for v in values]
    if None in ids:
        value = values[ids.index(None)]
        colour = (value >> 16, value >> 8 & 255, value & 255)
        raise UserError(
            f"{path}: colour ({', '.join(map(str, colour))}) is not in the "
            f"{'label_map' if raw.colours else 'palette'} of {card.name}; "
            f"save the mask without smoothing or compression loss"
        )
    return np.array(ids, np.uint8)[inverse].reshape(code.shape)


def _code(colour: Sequence[int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def read_pair(
    image_path: Path | Encoded, mask_path: Path | Encoded, card: DatasetCard
) -> tuple[np.ndarray, np.ndarray]:
    """Picture [h, w, 3] and mask [h, w], both uint8. Raises UserError when their sizes differ."""
    image, mask = read_image(image_path), read_mask(mask_path, card)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"{mask_path}: is {mask.shape[1]}x{mask.shape[0]} but its picture {image_path} is "
            f"{image.shape[1]}x{image.shape[0]}; they must match"
        )
    return image, mask


def save_label_png(path: Path, label: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> None:
    """Write uint8 class ids [h, w] as an 8-bit palette PNG: the values are the ids, the colours the card's."""
    image = Image.fromarray(label)
    image.putpalette(_full_palette(palette))
    image.save(path)


def colour_labels(label: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """uint8 class ids [...] -> uint8 RGB [..., 3]."""
    return np.asarray(_full_palette(palette), np.uint8).reshape(256, 3)[label]


def _full_palette(palette: Sequence[tuple[int, int, int]]) -> list[int]:
    entries = [*palette, *[(0, 0, 0)] * (256 - len(palette))]
    entries[255] = IGNORE_COLOURS[0]
    return [value for colour in entries for value in colour]
