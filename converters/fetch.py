"""`python -m converters.fetch NAME`: the weights or data of that name, fetched, checked, unpacked and converted."""

import argparse
import contextlib
import fcntl
import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import program
from common.console import say
from common.errors import UserError
from converters.archives import BadArchive, unpack
from converters.download import Obtained, forget, obtain
from converters.manifest import Entry, File, Manifest, Weights, read_manifest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"weights": Path("weights"), "data": Path("data"), "lists": Path("data")}  # each entry below it by name


@dataclass(frozen=True)
class Ready:
    """Weights on this disk: `path` is what --checkpoint and --init take, or the file as it came without a converter."""

    weights: Weights
    path: Path


@dataclass(frozen=True)
class Fetched:
    """What `fetch` brought: `paths` are the folders that were unpacked, and the files that are no archive."""

    entry: Entry
    folder: Path
    paths: tuple[Path, ...]
    ready: tuple[Ready, ...]


def fetch(
    name: str, out: Path | None = None, *, convert: bool = True, quiet: bool = False, manifest: Manifest | None = None
) -> Fetched:
    """Bring the entry `name` of the manifest into the folder `out` (default: weights/NAME or data/NAME).

    What is there and right is not fetched again, what is unpacked or converted not unpacked or converted again; an
    archive may be deleted once its folder is there.

    Raises:
      UserError: the name is unknown, a file must be downloaded by hand, no source gives it, it is not what the
        manifest or digests.json says, the archive is bad, the converter is missing or fails, another process is
        fetching into the same folder, or the disk is full.
    """
    manifest = manifest or read_manifest()
    entry = manifest.entry(name)
    folder = out or FOLDERS[entry.kind] / name
    with _alone(folder):
        _ask_for(entry, folder)
        paths = tuple(_bring(file, folder, quiet) for file in entry.files)
        ready = tuple(_convert(w, folder) if convert and w.convert else _as_it_came(w, folder) for w in entry.weights)
    return Fetched(entry, folder, paths, ready)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another process is fetching into it; wait until it has ended, then run this again"
            ) from None
        yield


def _is_unpacked(file: File, folder: Path) -> bool:
    return file.unpack is not None and (folder / file.unpack.to).is_dir()


def _ask_for(entry: Entry, folder: Path) -> None:
    missing = [
        file.name
        for file in entry.files
        if not file.sources and not (folder / file.name).exists() and not _is_unpacked(file, folder)
    ]
    if missing:
        raise UserError(
            f"{entry.name} must be downloaded by hand. {entry.manual} Put {' and '.join(missing)} into {folder}, then "
            "run this command again."
        )


def _bring(file: File, folder: Path, quiet: bool) -> Path:
    """Fetch and unpack one file; returns the folder that it was unpacked to, or the file."""
    target = folder / file.name
    if not file.unpack:
        return _obtain(file, target, quiet).path
    unpacked = folder / file.unpack.to
    if unpacked.is_dir() and not target.exists():
        return unpacked
    obtained = _obtain(file, target, quiet)
    if unpacked.is_dir():
        say(f"{unpacked}: is there; delete it to unpack {file.name} again", quiet)
        return unpacked
    try:
        unpack(target, unpacked, below=file.unpack.below, members=file.unpack.members, quiet=quiet)
    except BadArchive as error:
        if not obtained.fresh:
            raise UserError(f"{error}; delete it and run this again to fetch it anew") from None
        forget(target)  # else its digest would be demanded of a better one
        raise UserError(f"{error}; it was removed, run this again to fetch it anew") from None
    return unpacked


def _obtain(file: File, target: Path, quiet: bool) -> Obtained:
    return obtain(file.sources, target, size=file.size, digests=file.digests, unconfirmed=file.unconfirmed, quiet=quiet)


def _find(weights: Weights, folder: Path) -> Path:
    """The one file that the glob of `weights` means."""
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
    if not checkpoint.exists() and not checkpoint.with_name(checkpoint.name + ".index").exists():
        names = {"path": _find(weights, folder).resolve(), "checkpoint": checkpoint.resolve()}
        words = [word.format(**names) for word in shlex.split(weights.convert)[1:]]
        module = words[1]
        if importlib.util.find_spec(module) is None:
            raise UserError(
                f"{module}, which converts {weights.path}, is not part of this checkout yet; the files are in {folder} "
                "(--no-convert: leave them as they come)"
            )
        done = subprocess.run([sys.executable, *words], cwd=ROOT, check=False)
        if done.returncode:
            command = shlex.join(["python", *words])
            raise UserError(f"{command}: ended with status {done.returncode}; the files are in {folder}")
    return Ready(weights, checkpoint)


# The command line


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 all there, 2 wrong arguments or nothing to be had, 130 on Ctrl-C."""
    parser = program.ArgumentParser(
        prog="python -m converters.fetch",
        description="Fetch weights or data by their name in converters/manifest.yaml: resume, check, unpack, convert.",
    )  # fmt: skip
    parser.add_argument("name", nargs="?", metavar="NAME", help="an entry of the manifest; --list shows them")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for it (default: weights/NAME or data/NAME)")
    parser.add_argument("--list", action="store_true", help="list the manifest")
    parser.add_argument("--no-convert", action="store_true", help="leave the files as they come")
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    if bool(args.name) == args.list:
        parser.error("give either a NAME or --list")
    return program.run(lambda: _fetch(args))


def _fetch(args: argparse.Namespace) -> None:
    manifest = read_manifest()
    if args.list:
        print("\n".join(_list(manifest)))
        return
    fetched = fetch(args.name, args.out, convert=not args.no_convert, quiet=args.quiet, manifest=manifest)
    _show(fetched, manifest, args.quiet)


def _list(manifest: Manifest) -> Iterator[str]:
    for entry in manifest.entries.values():
        sizes = [file.about or (f"{file.size / 1e6:.0f} MB" if file.size else "") for file in entry.files]
        size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} files"
        marks = "  [by hand]" * bool(entry.manual) + "  [val seen]" * any(map(manifest.val_seen, entry.weights))
        yield f"{entry.name:42} {entry.kind:8} {size:10} {entry.title}{marks}"


def _show(fetched: Fetched, manifest: Manifest, quiet: bool) -> None:
    """What to hand on, on stdout; what to know of it, on stderr."""
    say(f"{fetched.entry.title}; licence: {fetched.entry.licence}", quiet)
    if fetched.entry.note:
        say(fetched.entry.note, quiet)
    for ready in fetched.ready:
        seen = ", ".join(manifest.val_seen(ready.weights))
        say(
            f"{ready.path}: trained on {', '.join(ready.weights.trained_on)}; input {fetched.entry.preprocessing}"
            + f"; has seen {seen}: evaluate it with --val-seen" * bool(seen)
            + f"; {ready.weights.note}" * bool(ready.weights.note),
            quiet,
        )
    for path in [ready.path for ready in fetched.ready] or fetched.paths:
        print(path)


if __name__ == "__main__":
    sys.exit(main())
