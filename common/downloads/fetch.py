"""Fetch, check, unpack and convert the weights or data of one entry of the manifest."""

import contextlib
import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.console import say, stage
from common.downloads.archives import BadArchive, unpack
from common.downloads.download import CannotFetch, Obtained, forget, obtain
from common.downloads.manifest import Entry, File, Manifest, Weights, read_manifest
from common.downloads.origin import folder_of, write_origin
from common.errors import UserError
from common.files import locked, sweep
from common.paths import ROOT


@dataclass(frozen=True)
class Ready:
    """Weights on this disk: `path` is what --checkpoint and --init take; without a converter, the file as it came.

    `fresh` says that they were converted just now.
    """

    weights: Weights
    path: Path
    fresh: bool = False


@dataclass(frozen=True)
class Fetched:
    """The result of `fetch`: `paths` are the folders that were unpacked, and the files that are no archive."""

    entry: Entry
    folder: Path
    paths: tuple[Path, ...]
    ready: tuple[Ready, ...]


def fetch(
    name: str,
    out: Path | None = None,
    *,
    convert: bool = True,
    by_hand: bool = True,
    quiet: bool = False,
    manifest: Manifest | None = None,
) -> Fetched:
    """Bring the entry `name` of the manifest into the folder `out` (default: `folder_of` it).

    Steps that are done are not repeated; an archive may be deleted once its folder is there. With `by_hand` False,
    missing files that a person has to download are left out; otherwise they raise UserError.

    Raises:
      CannotFetch: no source gives a file as the manifest or digests.json says that it is.
      UserError: the name is unknown, a file must be downloaded by hand, the archive is bad, the converter is missing
        or fails, another process is at work in the same folder, or the disk is full.
    """
    manifest = manifest or read_manifest()
    entry = manifest.entry(name)
    folder = out or folder_of(entry)
    with alone(folder):
        missing = [file for file in entry.files if _must_come_by_hand(file, folder)]
        if missing and by_hand:
            names = " and ".join(file.name for file in missing)
            raise UserError(
                f"{entry.name} must be downloaded by hand. {entry.manual} Put {names} into {folder}, then run this "
                "command again."
            )
        paths = tuple(_bring(file, folder, quiet) for file in entry.files if file not in missing)
        ready = tuple(_convert(w, folder) if convert and w.convert else _as_it_came(w, folder) for w in entry.weights)
        for made in ready:
            write_origin(entry, made.weights, made.path, anew=made.fresh)
    return Fetched(entry, folder, paths, ready)


def alone(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Lock `folder` within the block, as `files.locked` does, and keep it: a person may have to put files there."""
    folder.mkdir(parents=True, exist_ok=True)
    busy = "at work in it; wait until it has ended, then run this again"
    return locked(folder, busy, nested=True, read_only=True)


def _is_unpacked(file: File, folder: Path) -> bool:
    return file.unpack is not None and (folder / file.unpack.to).is_dir()


def _must_come_by_hand(file: File, folder: Path) -> bool:
    return not file.sources and not (folder / file.name).exists() and not _is_unpacked(file, folder)


def _bring(file: File, folder: Path, quiet: bool) -> Path:
    """Fetch and unpack one file; returns the folder that it was unpacked to, or the file."""
    target = folder / file.name
    if not file.unpack:
        return _obtain(file, target, quiet).path
    unpacked = folder / file.unpack.to
    if unpacked.is_dir() and not target.exists():
        return unpacked
    sources, reasons = list(file.sources), []
    while True:
        try:
            obtained = _obtain(file, target, quiet, sources)
        except CannotFetch as error:
            raise CannotFetch("; ".join([str(error), *reasons])) from None
        if unpacked.is_dir():
            return unpacked
        sweep(unpacked.parent)
        try:
            unpack(target, unpacked, below=file.unpack.below, members=file.unpack.members, quiet=quiet)
            return unpacked
        except BadArchive as error:
            if not obtained.fresh:
                raise BadArchive(f"{error}; delete it and run this again to fetch it again") from None
            forget(target)  # else its digest would be required of a better file
            sources.remove(obtained.source)
            reasons.append(f"{obtained.source}: {error}")
            if not sources:
                raise BadArchive(f"{'; '.join(reasons)}; it was removed; run this again to fetch it again") from None
            say(reasons[-1], quiet)


def _obtain(file: File, target: Path, quiet: bool, sources: Sequence[str] | None = None) -> Obtained:
    """`sources` are those of the file that have not failed yet."""
    sources = file.sources if sources is None else sources
    return obtain(sources, target, size=file.size, digests=file.digests, unconfirmed=file.unconfirmed, quiet=quiet)


def _find(weights: Weights, folder: Path) -> Path:
    """Find the one file that matches the glob of `weights`."""
    found = sorted(folder.glob(weights.path))
    if len(found) != 1:
        names = ", ".join(str(p.relative_to(folder)) for p in found) or "none"
        raise UserError(f"{folder}: should hold one file like {weights.path}, there is {names}; the rest is in place")
    return found[0]


def _as_it_came(weights: Weights, folder: Path) -> Ready:
    path = _find(weights, folder)
    # The prefix is what names a TensorFlow checkpoint of several files.
    return Ready(weights, path.with_suffix("") if path.suffix == ".index" else path)


def _convert(weights: Weights, folder: Path) -> Ready:
    checkpoint = folder / weights.checkpoint
    is_there = checkpoint.exists() or checkpoint.with_name(checkpoint.name + ".index").exists()
    if not is_there:
        names = {"path": _find(weights, folder).resolve(), "checkpoint": checkpoint.resolve()}
        words = [word.format(**names) for word in shlex.split(weights.convert)[1:]]
        module = words[1]
        if importlib.util.find_spec(module) is None:
            raise UserError(
                f"{module}, which converts {weights.path}, is not part of this checkout yet; the files are in {folder} "
                "(--no-convert: leave them as they come)"
            )
        stage()  # the terminal is the other process's
        done = subprocess.run([sys.executable, *words], cwd=ROOT, check=False)
        if done.returncode:
            command = shlex.join(["python", *words])
            raise UserError(f"{command}: ended with status {done.returncode}; the files are in {folder}")
    return Ready(weights, checkpoint, fresh=not is_there)
