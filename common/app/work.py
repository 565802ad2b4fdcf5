"""The work behind the page: a network that several people share, and the files that a result is downloaded as.

Everything is done by what `predict` does it with.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.app.models import Model
from common.commands.options import dataset_of
from common.commands.predict import with_names
from common.data.card import DatasetCard
from common.data.drawing import overlay
from common.data.figures import add_png_note
from common.data.lists import card_by_name
from common.data.masks import Encoded, picture_size, read_image, save_label_png
from common.data.tiff import head_of, is_tiff
from common.engines.network_file import NetworkFile
from common.errors import UserError
from common.export.choice import Choice
from common.inference.base import BaseSegmenter
from common.inference.outputs import CUTOUT, LABELME, Contours, Cutout, Kept, has_background, nothing
from common.paths import plain_name
from common.reproduction import reproductions

MOST_PIXELS = 16_000_000  # of a picture: 12 million take 3 GB, and the page has no tiles
SHOWN_SIDE = 1200  # pixels of the longer side of what the page shows
LINE = 2  # pixels


@dataclass(frozen=True)
class Settings:
    """How a picture is segmented; what is None or empty is left to the model.

    Attributes:
      output_stride: None, or one that the network can run at.
      scales: of the picture; their results are fused.
      flip: whether the mirrored picture is fused too.
      crf: whether the dense CRF refines the result.
      engine: one of `common.export.choice.ENGINES`.
    """

    output_stride: int | None = None
    scales: tuple[float, ...] = ()
    flip: bool = False
    crf: bool = False
    engine: str | None = None

    def changes(self) -> dict[str, Any]:
        """The recipe fields that they change, as the flags of `predict` do."""
        wanted = {"eval_scales": self.scales, "eval_flip": self.flip, "crf": self.crf}
        return {name: value for name, value in wanted.items() if value}


@dataclass(frozen=True)
class Result:
    """A segmented picture.

    Attributes:
      label: uint8 class ids [h, w].
      card: the classes.
      seconds: that the label map took, without loading the network.
      engine: one sentence on what ran the network.
    """

    label: np.ndarray
    card: DatasetCard
    seconds: float
    engine: str


class SharedSegmenter:
    """A network with its weights that several people may ask: they get their turn one after the other."""

    def __init__(self, model: Model, settings: Settings):
        """Open the weights. Raises UserError as `predict` does."""
        texts = list(model.settings)
        if settings.output_stride and model.has_strides:
            texts.append(f"eval_output_stride={settings.output_stride}")
        ours = reproductions()[model.reproduction]
        flags = ["engine"] if settings.engine else []
        self._choice = Choice(ours, model.path, texts, settings.changes(), settings.engine, flags=flags)
        recipe = self._choice.recipe
        self.card = with_names(card_by_name(dataset_of(self._choice.weights, recipe)), recipe.num_classes)
        self._segmenter: BaseSegmenter | None = None
        self._turn = threading.Lock()

    def segment(self, picture: np.ndarray) -> Result:
        """Segment uint8 RGB [h, w, 3]; the first picture opens the network, and engines are compared on it."""
        with self._turn:
            if self._segmenter is None:
                self._choice.settle([picture], quiet=True)
                self._segmenter = self._choice.segmenter()
            begun = time.perf_counter()
            label = self._segmenter.label(picture)
            return Result(label, self.card, time.perf_counter() - begun, self._described())

    def _described(self) -> str:
        weights = self._choice.weights
        return f"{weights.path.name} runs as it is" if isinstance(weights, NetworkFile) else self._choice.described()


def read_upload(name: str, data: bytes) -> np.ndarray:
    """The pixels of a picture that somebody sent, uint8 RGB [h, w, 3].

    Raises UserError when it is no picture, or one of more than MOST_PIXELS: its size is looked at first.
    """
    file = Encoded(plain_name(name, "this picture"), data)
    if is_tiff(Path(file.name)):  # some are read by a library that wants a file
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"picture{Path(file.name).suffix}")
            path.write_bytes(data)
            try:
                return _read(path, file.name)
            except UserError as error:
                raise UserError(str(error).replace(str(path), file.name)) from None
    return _read(file, file.name)


def _read(file: Encoded | Path, name: str) -> np.ndarray:
    head = head_of(file) if isinstance(file, Path) else None
    height, width = (head.height, head.width) if head else picture_size(file)
    if height * width > MOST_PIXELS:
        raise UserError(
            f"{name}: {width}x{height} pixels are more than the {MOST_PIXELS // 10**6} million that this page takes; "
            f"make it smaller, or segment it in tiles by predict --set eval_tile=513 eval_size=native"
        )
    return read_image(file)


def keep(result: Result, names: Sequence[str]) -> np.ndarray:
    """The label map of a result with the classes of these names alone, those of other data sets too; or with all."""
    ours = [name for name in names if name in result.card.classes]
    if names and not ours:
        return np.full_like(result.label, nothing(result.card))
    return Kept(result.card, ours)(result.label)


def for_the_screen(pixels: np.ndarray, is_label: bool = False) -> np.ndarray:
    """A picture [h, w, 3] or a label map [h, w], uint8, shrunk if it is larger than what a page shows."""
    factor = SHOWN_SIDE / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    size = [max(1, round(side * factor)) for side in pixels.shape[1::-1]]
    how = Image.Resampling.NEAREST if is_label else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize(size, how))


def draw(picture: np.ndarray, label: np.ndarray, card: DatasetCard, opacity: float) -> np.ndarray:
    """The overlay of a result, as large as a page shows it: uint8 RGB [h, w, 3]."""
    small = for_the_screen(picture), for_the_screen(label, is_label=True)
    return overlay(*small, card.palette, opacity, plain=card.ignore_label)


def side_by_side(left: np.ndarray, right: np.ndarray, border: float) -> np.ndarray:
    """Two drawings of one picture in one: the left one up to the border, a share of the width, then the right one."""
    column = round(border * left.shape[1])
    joined = np.concatenate([left[:, :column], right[:, column:]], axis=1)
    if 0 < column < left.shape[1]:
        joined[:, max(0, column - LINE // 2) : column + LINE // 2] = 255
    return joined


@dataclass(frozen=True)
class Download:
    """A file that a result is downloaded as: its words on the page, its kind, and what writes it into a folder."""

    title: str
    mime: str
    write: Callable[[Path, Path, np.ndarray, np.ndarray, DatasetCard], Path]

    def content(self, name: str, picture: np.ndarray, label: np.ndarray, card: DatasetCard) -> bytes:
        """Its bytes, for a picture called `name` and its label map."""
        with tempfile.TemporaryDirectory() as folder:
            return self.write(Path(folder), Path(name), picture, label, card).read_bytes()


def _write_labels(out: Path, path: Path, picture: np.ndarray, label: np.ndarray, card: DatasetCard) -> Path:
    file = out / f"{path.stem}.png"
    save_label_png(file, label, card.palette)
    add_png_note(file)
    return file


def _write_cutout(out: Path, path: Path, picture: np.ndarray, label: np.ndarray, card: DatasetCard) -> Path:
    Cutout(card).write(out, path, picture, label)
    return out / f"{path.stem}{CUTOUT}"


def _write_outlines(out: Path, path: Path, picture: np.ndarray, label: np.ndarray, card: DatasetCard) -> Path:
    Contours(card).write(out, out / LABELME / path.name, picture, label)  # to be opened beside the picture
    return out / LABELME / f"{path.stem}.json"


# The name's ending -> the file.
DOWNLOADS = {
    ".png": Download("Label map", "image/png", _write_labels),
    CUTOUT: Download("Cut-out", "image/png", _write_cutout),
    ".json": Download("Polygons", "application/json", _write_outlines),
}


def downloads_of(card: DatasetCard, kept: Sequence[str]) -> dict[str, Download]:
    """Those that make sense: where no class is the background, some must be `kept` to cut out the rest."""
    can_cut = bool(kept) or has_background(card)
    return {ending: file for ending, file in DOWNLOADS.items() if ending != CUTOUT or can_cut}
