"""What every preparation shares: fetching, checking pairs, counting, and what it hands back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, Image

from common.console import Progress, say
from common.downloads import fetch as downloads
from common.downloads.manifest import Manifest
from common.errors import UserError
from common.parallel import parallel_map

IN_PROCESS = 64  # fewer items than this are not worth starting processes for
NAMED = 10  # files that a message names before it says how many more there are
TURNED = 5  # EXIF orientations from this one on exchange width and height

Item = TypeVar("Item")
Pair = tuple[Path, Path]  # picture, mask


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready.

    Attributes:
      folder: what `--data` takes.
      splits: pictures of each split.
      following: what to type next.
      notes: sentences on what else there is to know.
      unfinished: why a part could not be had, if one could not; all else is in place.
    """

    folder: Path
    splits: Mapping[str, int]
    following: str
    notes: tuple[str, ...] = ()
    unfinished: str = ""


@dataclass(frozen=True)
class Job:
    """One preparation.

    Attributes:
      data: the folder that the data sets lie in.
      manifest: where their files come from.
      allow_partial: take splits that have another size than the official one.
    """

    data: Path
    manifest: Manifest
    workers: int = 1
    quiet: bool = False
    allow_partial: bool = False

    def folder(self, entry: str) -> Path:
        """Where an entry of the manifest lies."""
        return downloads.folder_of(self.manifest.entry(entry), self.data)

    def fetch(self, entry: str, by_hand: bool = True) -> Path:
        """Bring an entry of the manifest; returns its folder. Raises as `downloads.fetch`."""
        folder = self.folder(entry)
        downloads.fetch(entry, folder, by_hand=by_hand, quiet=self.quiet, manifest=self.manifest)
        return folder

    def expect(self, folder: Path, found: Mapping[str, int], official: Mapping[str, int]) -> None:
        """Raises UserError when a split in `found` has not its official size, unless that is allowed."""
        wrong = [f"{name} has {n:,} pictures instead of {official[name]:,}" for name, n in found.items()
                 if n != official[name]]  # fmt: skip
        if wrong and not self.allow_partial:
            raise UserError(f"{folder}: {', '.join(wrong)}; complete it, or take it as it is with --allow-partial")
        if wrong:
            say(f"{folder}: {', '.join(wrong)}", self.quiet)

    def check(self, what: str, items: Sequence[Item], problem_of: Callable[[Item], str | None], cure: str) -> None:
        """Look at all `items` in parallel, by a function that can be pickled.

        Raises UserError that names those with a problem, and the `cure`.
        """
        found = []
        with (
            parallel_map(self.workers if len(items) >= IN_PROCESS else 1) as run,
            Progress(what, len(items), quiet=self.quiet) as progress,
        ):
            for problem in run(problem_of, items):
                found += [problem] if problem else []
                progress.advance()
        if found:
            raise UserError(f"{what}: {len(found)} of {len(items)} are not right: {some(found)}; {cure}")


def some(names: Iterable[object]) -> str:
    """The first few of many, for a message."""
    names = [str(name) for name in names]
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def pair_problem(pair: Pair) -> str | None:
    """Why picture and mask can't be used together, if they can't: missing, unreadable, of different sizes."""
    sizes = []
    for path in pair:
        try:
            sizes.append(_decoded_size(path))
        except FileNotFoundError:
            return f"{path} is missing"
        except Exception as error:  # Pillow's plugins raise whatever their parser meets
            return f"{path} cannot be read ({error})"
    (width, height), mask = sizes
    if mask != (width, height):
        return f"{pair[1]} is {mask[0]}x{mask[1]}, its picture {width}x{height}"
    return None


def made_pair_problem(pair: Pair, make: Callable[[Path], None]) -> str | None:
    """`pair_problem` after the mask was made by `make(path)`, where there was none or none that is right.

    Raises UserError when the mask can't be written.
    """
    if pair_problem(pair) is None:
        return None
    try:
        make(pair[1])
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{pair[1]}: could not be written ({reason}); make room and run this again") from None
    return pair_problem(pair)


def _decoded_size(path: Path) -> tuple[int, int]:
    """Width and height as `masks.read_image` gives them. Raises whatever Pillow meets in the file."""
    with Image.open(path) as image:
        width, height = image.size
        # A JPEG is read to its end, but computed at an eighth of its size only.
        image.draft("L", (max(1, width // 8), max(1, height // 8)))
        image.load()
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= TURNED
    return (height, width) if turned else (width, height)


def forget_unfinished(folder: Path) -> None:
    """Remove what processes that were killed left half-written below a folder, if there is one."""
    for left in folder.rglob(".writing-*"):
        left.unlink()
