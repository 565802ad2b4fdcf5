"""The steps that all preparations share (fetch, check pairs, count), and their result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from common.console import Progress, say
from common.data.masks import upright_size
from common.downloads import fetch as downloads
from common.downloads.manifest import Manifest
from common.errors import UserError
from common.files import read_text, write_text
from common.parallel import parallel_map
from common.words import some

Item = TypeVar("Item")
Pair = tuple[Path, Path]  # picture, mask


class Problem(NamedTuple):
    """A file that is not right, and why."""

    file: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.file} {self.reason}"


def write_list(path: Path, lines: Sequence[str]) -> None:
    """Write a split's list over that of an earlier run, which was smaller or larger.

    Raises UserError when another list is there.
    """
    if path.exists():
        before, after = set(read_text(path, "cannot be read as a list").splitlines()), set(lines)
        if not (before <= after or after <= before):
            raise UserError(f"{path}: is there, and another list; move it away, and run this again")
    write_text(path, "".join(f"{line}\n" for line in lines))


@dataclass(frozen=True)
class PreparedSet:
    """A data set that is ready.

    Attributes:
      folder: what `--data` takes.
      splits: pictures of each split.
      following: the command to type next.
      notes: sentences on what else there is to know.
      unfinished: why one part is missing, if it is; all else is there.
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
        if not all(found.values()):
            empty = next(name for name, n in found.items() if not n)
            raise UserError(f"{folder}: {empty} has no pictures; complete it")
        if wrong and not self.allow_partial:
            raise UserError(f"{folder}: {', '.join(wrong)}; complete it, or take it as it is with --allow-partial")
        if wrong:
            say(f"{folder}: {', '.join(wrong)}", self.quiet)

    def check(
        self,
        what: str,
        items: Sequence[Item],
        problem_of: Callable[[Item], Problem | None],
        made_of: Callable[[Path], Path],
    ) -> None:
        """Check all `items` in parallel, by a function that can be pickled.

        `made_of` gives the folder to delete so that a bad file is made again. Raises UserError that names the bad items
        and these folders.
        """
        found: list[Problem] = []
        with (
            parallel_map(self.workers, len(items)) as run,
            Progress(what, len(items), quiet=self.quiet) as progress,
        ):
            for problem in run(problem_of, items):
                found += [problem] if problem else []
                progress.advance()
        if found:
            folders = " and ".join(sorted({str(made_of(problem.file)) for problem in found}))
            raise UserError(
                f"{what}: {len(found)} of {len(items)} are not right: {some(found)}; delete {folders} and run this "
                "again to replace it"
            )


def pair_problem(pair: Pair) -> Problem | None:
    """Say why picture and mask can't be used together (missing, unreadable, of different sizes); None if they can."""
    sizes = []
    for path, size_of in zip(pair, (upright_size, _stored_size), strict=True):  # as training reads the two
        try:
            sizes.append(_decoded_size(path, size_of))
        except FileNotFoundError:
            return Problem(path, "is missing")
        except Exception as error:  # Pillow's plugins raise whatever their parser meets
            return Problem(path, f"cannot be read ({error})")
    (width, height), mask = sizes
    if mask != (width, height):
        return Problem(pair[1], f"is {mask[0]}x{mask[1]}, its picture {width}x{height}")
    return None


def made_pair_problem(pair: Pair, make: Callable[[Path], None]) -> Problem | None:
    """Make the mask by `make(path)` unless a right one is there; returns the `pair_problem` that is left.

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


def _decoded_size(path: Path, size_of: Callable[[Image.Image], tuple[int, int]]) -> tuple[int, int]:
    """Width and height of a file that can be read to its end. Raises whatever Pillow meets in it."""
    with Image.open(path) as image:
        width, height = size = size_of(image)
        # A JPEG is read to its end, but computed at an eighth of its size only.
        image.draft("L", (max(1, width // 8), max(1, height // 8)))
        image.load()
    return size


def _stored_size(image: Image.Image) -> tuple[int, int]:
    return image.size
