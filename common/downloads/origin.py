"""Where a weight file comes from: the manifest's entry that brought it, told by its digest or by its place."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.downloads.manifest import Entry, Manifest, Weights
from common.errors import UserError
from common.files import read_json, write_json
from common.weights.checkpoint_files import digest

FOLDERS = {"weights": Path("weights"), "data": Path("data"), "lists": Path("data")}
ORIGINS = "origins.json"  # beside weights: which entry brought each of them


@dataclass(frozen=True)
class Origin:
    """A weight file as the manifest states it.

    Attributes:
      name: the entry and the file, such as `xception_65/model.ckpt`; a published row names either of them.
      trained_on: the training sets that the weights have seen.
    """

    name: str
    trained_on: tuple[str, ...]


def folder_of(entry: Entry, root: Path | None = None) -> Path:
    """Where an entry lies below `root` (default: weights/ or data/)."""
    return (root or FOLDERS[entry.kind]) / (entry.folder or entry.name)


def on_disk(entry: Entry, weights: Weights) -> list[Path]:
    """The files or prefixes in the entry's folder that can be these weights, as `--checkpoint` takes them."""
    folder, pattern = folder_of(entry), weights.checkpoint or weights.path
    found = [*folder.glob(pattern), *folder.glob(f"{pattern}.index")] if folder.is_dir() else []
    return sorted({path.with_suffix("") if path.suffix == ".index" else path for path in found})


def write_origin(entry: Entry, weights: Weights, path: Path, anew: bool = False) -> None:
    """Note beside the weight file `path` that `entry` brought it; a folder that is read-only stays as it is.

    A note that is there stays, so that another file in its place is found out, unless the file was made `anew`.
    """
    file = path.parent / ORIGINS
    known = _read(file)
    if path.name in known and not anew:
        return
    origin = {"name": f"{entry.name}/{path.name}", "trained_on": list(weights.trained_on), "sha256": digest(path)}
    with contextlib.suppress(PermissionError):
        write_json(file, dict(sorted({**known, path.name: origin}.items())))


def origin_of(path: Path, manifest: Manifest) -> Origin | None:
    """The origin of the weight file or prefix `path`; None where nothing tells it.

    A file that has its note must have the digest that is noted. One that `make weights` brought before there were
    notes is told by its place.
    """
    noted = _read(path.parent / ORIGINS).get(path.name)
    if noted is not None:
        return Origin(noted["name"], tuple(noted["trained_on"])) if noted["sha256"] == digest(path) else None
    for entry in manifest.entries.values():
        if folder_of(entry).resolve() not in path.resolve().parents:
            continue
        for weights in entry.weights:
            if path.resolve() in (found.resolve() for found in on_disk(entry, weights)):
                return Origin(f"{entry.name}/{path.name}", weights.trained_on)
    return None


def _read(file: Path) -> dict[str, Any]:
    """The notes in a folder, by file name. Raises UserError when they are not as `write_origin` writes them."""
    notes = read_json(file) or {}
    whole = isinstance(notes, dict) and all(
        isinstance(note, dict) and {"name", "trained_on", "sha256"} <= note.keys() and isinstance(note["name"], str)
        and isinstance(note["trained_on"], list) and all(isinstance(name, str) for name in note["trained_on"])
        for note in notes.values()
    )  # fmt: skip
    if not whole:
        raise UserError(f"{file}: is not what `make weights` writes; delete it and run that again")
    return notes
