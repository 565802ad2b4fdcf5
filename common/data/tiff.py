"""TIFF pictures of any number of channels, read strip by strip, and label maps that keep their place on the earth."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

import numpy as np

from common.data.bombs import check_size
from common.errors import UserError, brief, one_line

if TYPE_CHECKING:
    from tifffile import TiffFile

T = TypeVar("T")

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it warns of tags that no pixel depends on

SUFFIXES = (".tif", ".tiff")
ORIENTATION = 274  # the tag
LARGE = 2**25  # pixels; smaller pictures are read at once
# Where a picture lies: GeoTIFF's tags, as OGC 19-008r4 numbers them. A nodata value is not among them: it is a class.
PLACE = (33550, 33922, 34264, 34735, 34736, 34737)
READABLE = ("NONE", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS")  # compressions that need no further package
# Of a TIFF that Pillow does not turn, what its channels may stand for. YCBCR is JPEG's, which becomes RGB.
GREY_OR_RGB = ("MINISWHITE", "MINISBLACK", "RGB", "YCBCR")
DARK, BRIGHT = 2, 98  # percentiles of numbers of more than 8 bits that become black and white
SAMPLED = 2**22  # numbers of a channel that these are measured on, at most


class TiffPicture:
    """Three channels of a TIFF as uint8 [h, w, 3], read when rows and columns are asked for: `picture[rows, columns]`.

    Numbers of more than 8 bits are stretched between the 2nd and the 98th percentile of the chosen channels.

    Attributes:
      shape: [h, w, 3], as stored.
      dtype: uint8.
      turn: the tag by which the picture becomes upright, 1 to 8; 1 where it is upright already.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, channels: Sequence[int] = ()):
        """Open a file; `channels` counts from 1, and () is the first three, or the only one.

        Raises UserError for a file that is no TIFF of such channels, and for one of four or more of them when none are
        chosen: nothing says which of them are red, green and blue.
        """
        self._path = path
        import tifffile  # few pictures need it

        try:
            self._file = tifffile.TiffFile(path)
            self._page = self._file.pages[0]
            self._height, self._width = self._page.imagelength, self._page.imagewidth
            count, self._type = self._page.samplesperpixel, np.dtype(self._page.dtype)
            # Rows of a segment, which is a strip or a tile.
            self._high = max(1, self._page.tilelength if self._page.is_tiled else self._page.rowsperstrip)
            self.turn = int(self._page.tags.valueof("Orientation", 1))
            if self._type.kind not in "uif":
                raise ValueError(f"its numbers are {self._type}")
            meaning, bits = self._page.photometric.name, self._page.bitspersample
            check_size((self._width, self._height), path.stat().st_size)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except Exception as error:  # of a damaged file, tifffile raises whatever it meets
            raise self._unreadable(error) from None
        if meaning not in GREY_OR_RGB:
            mend = "leave channels= out" if channels else "save it as RGB"
            raise UserError(f"{path}: holds colours of the kind {meaning}, and not grey or RGB; {mend}")
        self._channels, self.shape = _chosen(path, count, channels), (self._height, self._width, 3)
        self._band: tuple[slice, np.ndarray] | None = None
        self._is_negative = meaning == "MINISWHITE"
        self._black, self._white = (0, 2**bits - 1) if self._type == np.uint8 else self._levels()

    def _unreadable(self, error: Exception) -> UserError:
        if "imagecodecs" in str(error):
            return UserError(f"{self._path}: its compression needs imagecodecs; make setup TIFF=1 installs it")
        return UserError(
            f"{self._path}: cannot be read as a TIFF ({brief(one_line(error))}); replace it or leave it out"
        )

    def __getitem__(self, where: tuple[slice, slice]) -> np.ndarray:
        rows, columns = where if isinstance(where, tuple) else (where, slice(None))
        if self._band is None or self._band[0] != rows:
            self._band = rows, self._to_bytes(self._read(rows))
        return self._band[1][:, columns]

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self[: self._height, :]

    def _to_bytes(self, values: np.ndarray) -> np.ndarray:
        if (self._black, self._white) != (0, 255):
            scaled = (values.astype(np.float32) - self._black) * (255 / (self._white - self._black))
            values = np.clip(np.rint(np.nan_to_num(scaled, nan=0)), 0, 255).astype(np.uint8)
        return 255 - values if self._is_negative else values

    def _levels(self) -> tuple[float, float]:
        step = max(1, self._height * self._width // SAMPLED)
        # A segment is decoded once, however many of its rows are sampled.
        tops = dict.fromkeys(row - row % self._high for row in range(0, self._height, step))
        parts = [self._read(slice(top, top + self._high))[-top % step :: step].astype(np.float64) for top in tops]
        there = np.concatenate([part[np.isfinite(part)] for part in parts])
        if not there.size:
            raise UserError(f"{self._path}: holds no number in these channels; choose others by channels=")
        black, white = np.percentile(there, (DARK, BRIGHT))
        return float(black), float(max(white, black + 1e-6))

    def _read(self, rows: slice) -> np.ndarray:
        """The chosen channels of some rows as they are stored, [rows, w, 3]."""
        first, end, _ = rows.indices(self._height)
        out = np.zeros((end - first, self._width, 3), self._type)
        page = self._page
        try:
            for index in self._segments(first, end):
                self._file.filehandle.seek(page.dataoffsets[index])
                data = self._file.filehandle.read(page.databytecounts[index])
                values, (sample, _, top, left, _), _ = page.decode(data, index, jpegtables=page.jpegtables)
                if values is not None:
                    self._put(out, values[0], sample, top - first, left)
        except Exception as error:
            raise self._unreadable(error) from None
        return out

    def _segments(self, first: int, end: int) -> list[int]:
        """The strips or tiles that hold rows `first` to `end`."""
        page, high = self._page, self._high
        across = -(-self._width // page.tilewidth) if page.is_tiled else 1
        down = -(-self._height // high)
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        wanted = range(first // high, -(-end // high))
        return [(plane * down + row) * across + column
                for plane in range(planes) if planes == 1 or plane in self._channels
                for row in wanted for column in range(across)]  # fmt: skip

    def _put(self, out: np.ndarray, values: np.ndarray, plane: int, top: int, left: int) -> None:
        """Copy a segment [h, w, samples], whose corner lies at `top` and `left` of `out`, into it."""
        above = max(0, -top)
        values = values[above : above + len(out) - max(0, top), : self._width - left]
        target = out[max(0, top) : max(0, top) + len(values), left : left + values.shape[1]]
        for place, channel in enumerate(self._channels):
            if self._page.planarconfig != 2:
                target[..., place] = values[..., channel]
            elif channel == plane:
                target[..., place] = values[..., 0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _chosen(path: Path, count: int, channels: Sequence[int]) -> list[int]:
    """The chosen channels, counted from 0."""
    if not channels and count > 3:
        raise UserError(f"{path}: has {count} channels; choose red, green and blue of them by --set channels=1,2,3")
    if max(channels, default=1) > count:
        raise UserError(
            f"{path}: has {count} channel{'s' * (count > 1)}, and channels={','.join(map(str, channels))} asks for more"
        )
    return [c - 1 for c in channels or ((1, 2, 3) if count == 3 else (1, 1, 1))]


def has_plain_colours(path: Path) -> bool:
    """Whether `TiffPicture` reads the bytes that Pillow reads: 8 bit RGB of three channels, upright, of one page."""

    def is_plain(file: "TiffFile") -> bool:
        page = file.pages[0]
        return (
            page.dtype == np.uint8 and page.samplesperpixel == 3 and page.photometric.name == "RGB"
            and page.compression.name in READABLE and "Orientation" not in page.tags and len(file.pages) == 1
        )  # fmt: skip

    return bool(_from_file(path, is_plain))


class Head(NamedTuple):
    """The size of a TIFF as it is stored, and the tag by which it becomes upright, 1 to 8."""

    height: int
    width: int
    turn: int


def head_of(path: Path) -> Head | None:
    """The head of a TIFF; None for one that cannot be read."""

    def read(file: "TiffFile") -> Head:
        page = file.pages[0]
        return Head(page.imagelength, page.imagewidth, int(page.tags.valueof(ORIENTATION, 1)))

    return _from_file(path, read)


def place_of(path: Path) -> list[tuple[int, int, int, object, bool]]:
    """The tags that say where the picture lies on the earth, as tifffile writes them; none for most pictures."""

    def read(file: "TiffFile") -> list[tuple[int, int, int, object, bool]]:
        tags = [file.pages[0].tags[code] for code in PLACE if code in file.pages[0].tags]
        return [(tag.code, int(tag.dtype), tag.count, tag.value, True) for tag in tags]

    return (is_tiff(path) and _from_file(path, read)) or []


def _from_file(path: Path, read: Callable[["TiffFile"], T]) -> T | None:
    """The answer of `read` about a TIFF; None for a damaged one, which Pillow may read or say what is wrong with."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return read(file)
    except Exception:  # of a damaged file, tifffile raises whatever it meets
        return None


def is_tiff(path: Path) -> bool:
    """Whether the file's name says that it is a TIFF."""
    return path.suffix.lower() in SUFFIXES


def write_labels(path: Path, label: np.ndarray, colours: np.ndarray, place: Sequence[tuple], turn: int = 1) -> None:
    """Write a label map, uint8 [h, w], as a palette TIFF that lies where the picture lies.

    Args:
      path: the file.
      label: class ids, as they are stored.
      colours: of the ids, uint8 [256, 3].
      place: from `place_of`.
      turn: from `head_of`.
    """
    import tifffile

    turned = [(ORIENTATION, "H", 1, turn, True)] if turn != 1 else []
    tifffile.imwrite(
        path, label, photometric="palette", colormap=colours.T.astype(np.uint16) * 257, compression="zlib",
        extratags=[*place, *turned], rowsperstrip=256, metadata=None, software="DeepLab reproductions",
    )  # fmt: skip
