"""Reading pictures and label masks, writing label pictures."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from common.console import hush_libtiff
from common.data.bombs import check_size
from common.data.card import DatasetCard
from common.data.levels import find_levels, needs_levels
from common.data.tiff import TiffPicture, is_tiff
from common.errors import UserError, brief

# Pillow's guard against decompression bombs is for uploads by strangers; a mosaic of a city is no bomb. `check_size`
# refuses those that are. Blender, Photoshop and scanners write megabytes of text and of colour profiles into a PNG.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 28
# Pillow warns by a line of its source, about tags that no pixel depends on.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
hush_libtiff(Image.core.__file__)

# Endings of picture files, in lower case.
SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"
)  # fmt: skip

# How colour masks paint pixels without a class: the VOC colour map's entry 255, and white.
IGNORE_COLOURS = ((224, 224, 192), (255, 255, 255))


@dataclass(frozen=True)
class Encoded:
    """A picture file's content that lies elsewhere than in a file; `name` is what messages call it."""

    name: str
    data: bytes

    def __str__(self) -> str:
        return self.name


@contextlib.contextmanager
def opened(path: Path | Encoded) -> Iterator[Image.Image]:
    """Open the file and read only its head.

    Raises UserError, which names the file, for every error of Pillow within the block, and for a picture that is larger
    than its file can hold, or than the memory.
    """
    size = 0, 0
    try:
        with Image.open(io.BytesIO(path.data) if isinstance(path, Encoded) else path) as image:
            size = image.size
            check_size(size, len(path.data) if isinstance(path, Encoded) else path.stat().st_size)
            if image.format == "TIFF":
                _leave_the_turn_alone(image)
            yield image
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except MemoryError:
        raise UserError(f"{path}: {too_large(size)}") from None
    except Exception as error:
        reason = re.sub(r" (<_io\.BytesIO.*>|'.*')$", "", str(error))  # the name, or an object that means nothing
        raise UserError(f"{path}: cannot be read as a picture ({brief(reason)}); replace it or leave it out") from None


def too_large(size: tuple[int, int]) -> str:
    """The sentence about a picture of this width and height that does not fit in the memory."""
    return (
        f"{size[0]}x{size[1]} pixels need more memory than there is; make the picture smaller, or cut it into tiles by "
        f"--set eval_tile=513 eval_size=native"
    )


def read_image(path: Path | Encoded, channels: Sequence[int] = ()) -> np.ndarray:
    """Read any picture as uint8 RGB [h, w, 3], turned upright by its EXIF tag.

    Grey becomes three equal channels, 16 bit is scaled to 8, and transparency is dropped (the colour under it stays).
    `common.data.levels` says how signed, 32 bit and float numbers become 8 bit. Raises UserError.

    Three `channels`, counted from 1, are red, green and blue in their place. TIFF files may have any number of them;
    `common.data.tiff` reads these, and says how their numbers become 8 bit.
    """
    if channels or _needs_tifffile(path):
        return _read_channels(path, channels)
    with opened(path) as image:
        image.load()
        if needs_levels(image):
            pixels = Image.fromarray(find_levels(image).to_bytes())
        else:
            pixels = image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
        turn = _TURNS.get(orientation(image))
        return np.asarray((pixels.transpose(turn) if turn is not None else pixels).convert("RGB"))


def _needs_tifffile(path: Path | Encoded) -> bool:
    """Whether a TIFF is of a kind that Pillow does not know, such as five channels or colours of floats."""
    if isinstance(path, Path) and is_tiff(path):
        try:
            Image.open(path).close()
        except UnidentifiedImageError:
            return True
        except Exception:  # of a damaged file, Pillow raises whatever it meets, and again when it is read
            return False
    return False


def _read_channels(path: Path | Encoded, channels: Sequence[int]) -> np.ndarray:
    if isinstance(path, Path) and is_tiff(path):
        with TiffPicture(path, channels) as picture:
            return turned(np.asarray(picture), picture.turn)
    with opened(path) as image:
        image.load()
        turn = _TURNS.get(orientation(image))
        pixels = np.asarray(image.transpose(turn) if turn is not None else image)
        count = pixels.shape[2] if pixels.ndim == 3 else 1
        if pixels.dtype != np.uint8 or image.mode == "P" or max(channels) > count:
            raise UserError(f"has {count} channel{'s' * (count > 1)}, and channels={','.join(map(str, channels))} asks "
                            f"for others; a TIFF may have more than four, and 16 bit")  # fmt: skip
        return pixels.reshape(*pixels.shape[:2], count)[..., [c - 1 for c in channels]]


def picture_size(path: Path | Encoded) -> tuple[int, int]:
    """Height and width that `read_image` gives, from the file's head alone. Raises UserError."""
    with opened(path) as image:
        width, height = upright_size(image)
    return height, width


def picture_turn(path: Path | Encoded) -> int:
    """The EXIF tag by which `read_image` turns the picture, 1 to 8. Raises UserError."""
    with opened(path) as image:
        return orientation(image)


def turned(stored: np.ndarray, turn: int) -> np.ndarray:
    """A picture [h, w, 3] or label map [h, w] as it is stored, made upright by an EXIF tag of 1 to 8."""
    return np.asarray(Image.fromarray(stored).transpose(_TURNS[turn])) if turn in _TURNS else stored


def turned_back(label: np.ndarray, turn: int) -> np.ndarray:
    """An upright label map [h, w] as it is stored with an EXIF tag of 1 to 8: what `turned` makes upright."""
    return turned(label, {6: 8, 8: 6}.get(turn, turn))


# The EXIF tag -> how the stored picture is turned to be upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_THEIR_SIDE = (5, 6, 7, 8)  # tags that swap width and height


def orientation(image: Image.Image) -> int:
    """The EXIF tag, 1 to 8; 1 when there is none that makes sense, as browsers take it.

    Of a TIFF it is 1 once the pixels are loaded, since Pillow turns them.
    """
    try:
        tags = image.tag_v2 if image.format == "TIFF" else image.getexif()
        tag = tags.get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises whatever it meets in a block that no program should have written
        return 1
    return tag if tag in _TURNS else 1


def _leave_the_turn_alone(image: Image.Image) -> None:
    """Hide all other EXIF of a TIFF: Pillow reads it while it loads the pixels, and stops where it is malformed."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation(image)
    image.getexif = lambda: exif
    image.info.pop("xmp", None)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height after the EXIF tag has turned the picture."""
    width, height = image.size
    is_turned_yet = image.format == "TIFF"  # Pillow's size of it
    return (height, width) if orientation(image) in ON_THEIR_SIDE and not is_turned_yet else (width, height)


def read_mask(path: Path | Encoded, card: DatasetCard) -> np.ndarray:
    """Read a label mask as uint8 class ids [h, w], with `card.ignore_label` where a pixel has no class.

    Index masks (grey or palette PNG, or the id in all three channels) are taken by value, through the card's label map
    if the file's ending has one; colour masks are decoded by the card's palette, also when they were saved as a
    palette PNG whose entries are in another order. Raw labels of the card take precedence; if they have only colours,
    every file is read by its colours. The card's ignored classes become the ignore label. Raises UserError, which names
    the file and the first value that is neither a class nor the ignore label.
    """
    with opened(path) as image:
        if problem := kind_problem(image):
            raise UserError(problem)
        image.load()
        values = stored_values(image, card)
        if values is None:
            mask = _from_colours(path, np.asarray(image.convert("RGB")), card)
        else:
            mask = _from_values(path, values, card)
        return np.where(np.isin(mask, card.ignored_classes), np.uint8(card.ignore_label), mask)


def kind_problem(image: Image.Image) -> str:
    """The reason why a readable picture can be no mask, or "". It is asked before the pixels are loaded."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        return f"is a film of {frames} frames; a mask is one picture: save the one that is meant"
    if image.mode == "F":
        return "holds fractions (32 bit float); class ids are whole numbers: save it as an 8 bit PNG"
    if not image.mode.startswith("I") and ";16" in str([tile[3] for tile in image.tile]):
        return "holds 16 bit in several channels, of which Pillow reads 8: save it as a PNG of one channel"
    return ""


def stored_values(image: Image.Image, card: DatasetCard) -> np.ndarray | None:
    """The values [h, w] that a loaded mask is read by, or None for one that is read by its colours."""
    if card.raw_labels.colours and not card.raw_labels.values:
        return None
    if image.mode == "1":
        image = image.convert("L").point(lambda v: v and 1)
    if image.mode == "P" and not card.raw_labels.values and _is_colour_mask(image, card):
        return None
    if image.mode in ("P", "L") or image.mode.startswith("I"):
        return np.asarray(image)
    return _ids_in_all_channels(np.asarray(image.convert("RGB")), card)


def _ids_in_all_channels(rgb: np.ndarray, card: DatasetCard) -> np.ndarray | None:
    """The one channel of a mask in which all three are equal, unless it shows nothing but the card's colours."""
    grey = rgb[..., 0]
    if (rgb != grey[..., None]).any():
        return None
    known = set(card.raw_labels.colours or card.palette) | set(IGNORE_COLOURS)
    return None if all((v, v, v) in known for v in np.unique(grey).tolist()) else grey


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
    """uint8 class ids of stored values [h, w]. Raises UserError for a value that stands for nothing."""
    mask = _from_raw_values(path, values, card) if card.raw_labels.values else values
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
    return mask.astype(np.uint8)


def _from_raw_values(path: Path | Encoded, values: np.ndarray, card: DatasetCard) -> np.ndarray:
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
    image_path: Path | Encoded, mask_path: Path | Encoded, card: DatasetCard, channels: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Picture [h, w, 3] and mask [h, w], both uint8. Raises UserError when their sizes differ."""
    image, mask = read_image(image_path, channels), read_mask(mask_path, card)
    if image.shape[:2] != mask.shape:
        is_turned = mask.shape == image.shape[1::-1] and picture_turn(image_path) in ON_THEIR_SIDE
        by_exif = " after its EXIF tag has turned it" if is_turned else ""
        raise UserError(
            f"{mask_path}: is {mask.shape[1]}x{mask.shape[0]} but its picture {image_path} is "
            f"{image.shape[1]}x{image.shape[0]}{by_exif}; they must match"
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
