"""Films: an overlay film of the same frame rate, frame by frame, and label maps of every frame.

imageio-ffmpeg reads and writes them; its wheel holds ffmpeg. `make setup FILM=1` installs it.
"""

import contextlib
import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from common.console import Progress, StopSignal
from common.data.card import DatasetCard
from common.data.drawing import overlay
from common.data.figures import PROGRAM, add_png_note, drawn_by_us
from common.data.masks import save_label_png
from common.errors import UserError, brief, one_line
from common.files import WRITING, atomic, half_written

if TYPE_CHECKING:
    from common.inference.base import BaseSegmenter

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ts", ".mts", ".3gp", ".flv", ".ogv",
)  # fmt: skip
OVERLAY, FRAMES = "_overlay.mp4", "_frames"
SHORT = 0.9  # of the frames that a film promises: with fewer it is cut, or its rate varies
EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # H.264 takes even sides alone
QUALITY = 7  # of 0 to 10
HEAD = 2**24  # bytes that hold what a film says of itself


logging.getLogger("imageio_ffmpeg").setLevel(logging.CRITICAL)  # it warns of every film that is turned


def is_film(path: Path) -> bool:
    """Whether the file's name says that it is a film."""
    return path.suffix.lower() in SUFFIXES


def refuse_films(films: Sequence[Path], out: Path, save_frames: bool = False) -> None:
    """Raise UserError for a film that would overwrite another, or files that are not this suite's."""
    written: dict[Path, Path] = {}
    for path in films:
        _ffmpeg(path)
        target = (out / f"{path.stem}{OVERLAY}").resolve()
        if target.exists() and (target in {film.resolve() for film in films} or not _is_ours(target)):
            raise UserError(f"--out {out}: {target.name} is there, and no film of this suite; choose another folder")
        if written.setdefault(target, path) != path:
            raise UserError(f"{written[target]} and {path}: would both write {target.name}; predict them apart")
        if save_frames and (foreign := _foreign_frame(out / f"{path.stem}{FRAMES}")):
            raise UserError(f"--out {out}: {foreign} is there, and no frame of this suite; choose another folder")


def _foreign_frame(folder: Path) -> str | None:
    """A file in the way of the frames that is no frame of an earlier run, or None."""
    if not folder.is_dir():
        return folder.name if folder.exists() else None
    others = (path for path in folder.iterdir() if not (path.stem.isdecimal() and drawn_by_us(path)))
    return next((f"{folder.name}/{path.name}" for path in others), None)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:  # the comment stands before the frames
        return PROGRAM.encode() in file.read(HEAD)


def first_frames(films: Sequence[Path]) -> Iterator[np.ndarray]:
    """The first frame of each film. Raises UserError as `opened_film`."""
    for path in films:
        with opened_film(path) as film:
            yield from itertools.islice(film.frames, 1)


def _ffmpeg(path: Path) -> Any:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError(f"{path}: films need imageio-ffmpeg; make setup FILM=1 installs it") from None
    return imageio_ffmpeg


@dataclass(frozen=True)
class Film:
    """A film that is open for reading.

    Attributes:
      frames: its frames, uint8 RGB [h, w, 3].
      size: width and height.
      rate: frames a second.
      count: how many frames, about.
    """

    frames: Iterator[np.ndarray]
    size: tuple[int, int]
    rate: float
    count: int


@contextlib.contextmanager
def opened_film(path: Path) -> Iterator[Film]:
    """Open a film. Raises UserError, within the block too, when it cannot be read."""
    # `file:` since ffmpeg takes a name with a colon for an address; passthrough repeats no frame of a film whose rate
    # varies.
    reader = _ffmpeg(path).read_frames(f"file:{path}", output_params=["-fps_mode", "passthrough"])
    with contextlib.closing(reader):
        with _readable(path):
            about = next(reader)
            (width, height), rate = about["size"], float(about["fps"])
            if not (width and height and rate > 0):
                raise ValueError("no picture in it")
        count = max(1, round(float(about["duration"] or 0) * rate))
        yield Film(_frames(path, reader, (height, width, 3)), (width, height), rate, count)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise UserError where the reader of the film fails."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, StopIteration) as error:
        raise UserError(f"{path}: cannot be read as a film ({brief(one_line(error))}); replace it") from None


def _frames(path: Path, reader: Iterator[bytes], shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    while True:
        with _readable(path):
            data = next(reader, None)
        if data is None:
            return
        yield np.frombuffer(data, np.uint8).reshape(shape)


@contextlib.contextmanager
def _written(path: Path, size: tuple[int, int], rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a film; it has its name when the block ends."""
    with atomic(path) as temporary:
        writer = _ffmpeg(path).write_frames(
            str(temporary), size, fps=rate, quality=QUALITY, macro_block_size=1, ffmpeg_log_level="error",
            output_params=["-f", "mp4", "-vf", EVEN, "-metadata", f"comment={PROGRAM}", "-movflags", "+faststart"],
        )  # fmt: skip
        writer.send(None)
        try:
            yield lambda frame: writer.send(np.ascontiguousarray(frame))
        finally:
            writer.close()
        try:  # ffmpeg's own end is not told
            with opened_film(temporary) as film:
                next(film.frames)
        except (UserError, StopIteration):
            raise UserError(f"{path}: ffmpeg could not write it; the disk may be full") from None


@contextlib.contextmanager
def _folder(path: Path, is_wanted: bool) -> Iterator[Path | None]:
    """A hidden folder that takes the place of `path` when the block succeeds; None where none is wanted."""
    if not is_wanted:
        yield None
        return
    out = path.parent
    with tempfile.TemporaryDirectory(prefix=half_written(WRITING, out), dir=out) as name:
        folder = Path(name) / path.name
        folder.mkdir()
        yield folder
        if path.is_dir():
            path.rename(Path(name) / "before")
        folder.rename(path)


class Segmented(NamedTuple):
    """The end of a film.

    Attributes:
      frames: how many were done.
      promised: how many the film says that it has, about.
      signal: that ended it, if one did.
    """

    frames: int
    promised: int
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"stopped, {self.frames} frames of about {self.promised}"
        if self.frames < SHORT * self.promised:
            return f"{self.frames} frames of about {self.promised}, so it may be damaged,"
        return f"{self.frames} frame{'s' * (self.frames != 1)}"


def predict_film(
    segmenter: "BaseSegmenter",
    path: Path,
    card: DatasetCard,
    out: Path,
    *,
    kept: Callable[[np.ndarray], np.ndarray] = np.asarray,
    save_frames: bool = False,
    quiet: bool = False,
) -> Segmented:
    """Write `<stem>_overlay.mp4`, and with `save_frames` `<stem>_frames/<number>.png`, label maps from 000000 on.

    One frame is in memory at a time. A signal ends the film early: what was done of it can be played. The folder of an
    earlier run's frames is replaced.

    Raises:
      UserError: the film cannot be read.
    """
    done = 0
    with (
        StopSignal() as stop,
        opened_film(path) as film,
        Progress(path.name, film.count, quiet=quiet, at_once=True) as progress,
        _written(out / f"{path.stem}{OVERLAY}", film.size, film.rate) as write,
        _folder(out / f"{path.stem}{FRAMES}", save_frames) as folder,
    ):
        for frame in film.frames:
            label = kept(segmenter.label(frame))
            write(overlay(frame, label, card.palette, plain=card.ignore_label))
            if folder:
                save_label_png(folder / f"{done:06d}.png", label, card.palette)
                add_png_note(folder / f"{done:06d}.png")
            done += 1
            progress.advance()
            if stop.received:
                break
        if not done:
            raise UserError(f"{path}: has no frame; replace it")
    return Segmented(done, film.count, stop.received)
