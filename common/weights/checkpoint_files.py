"""Checkpoints on the disk, by their names: none of them is opened."""

import glob
import hashlib
import re
import tempfile
from pathlib import Path

from common.errors import UserError
from common.files import is_plain
from common.words import NAMED, some

PREFIX = "model.ckpt"
BEST = "best.ckpt"  # the checkpoint with the best validation result


def delete(prefix: Path) -> None:
    """Remove a checkpoint's files, the index first: files without an index are no checkpoint."""
    for file in [prefix.with_name(prefix.name + ".index"), *prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*")]:
        file.unlink(missing_ok=True)


def checkpoints(run_dir: Path, name: str = PREFIX) -> list[Path]:
    """The prefixes of the complete checkpoints of that name in a run folder, oldest step first."""
    found = [p.with_suffix("") for p in run_dir.glob(f"{name}-*.index")]
    return sorted((p for p in found if step_of(p) is not None), key=step_of)


def newest_checkpoint(run_dir: Path) -> Path | None:
    """The prefix with the highest step, or None."""
    return next(reversed(checkpoints(run_dir)), None)


def step_of(prefix: Path) -> int | None:
    """The step in a prefix `model.ckpt-<step>` or `best.ckpt-<step>`."""
    match = re.fullmatch(rf"(?:{re.escape(PREFIX)}|{re.escape(BEST)})-(\d+)", prefix.name)
    return int(match[1]) if match else None


# TensorFlow's text file beside checkpoints, and how its lines name the newest.
STATE = "checkpoint"
_NEWEST = re.compile(rb'^\s*model_checkpoint_path:\s*"([^"\n]*)"', re.MULTILINE)

CONVERTERS = "converters/README.md says how to convert it"
# Files that people take for a checkpoint, by their ending: what they are, and what to give instead.
OTHERS = {
    ".pb": "is a graph with its weights in it (frozen, or of a SavedModel), not a checkpoint; `python -m "
    "converters.frozen_to_tf` makes one of it, or give the model.ckpt files that came with it (a SavedModel's are "
    "variables/variables)",
    ".pbtxt": "is a graph as text, without weights; give the prefix of the checkpoint",
    ".tflite": "is a TensorFlow Lite model, not a checkpoint; `python -m converters.tflite_to_tf` makes one of it",
    ".caffemodel": f"is Caffe's; {CONVERTERS}",
    ".onnx": f"is ONNX; {CONVERTERS}",
    ".json": f"is no checkpoint; if it is a TF.js model, {CONVERTERS}",
    ".keras": "is a Keras 3 archive; unzip it and give its model.weights.h5",
    **dict.fromkeys((".pth", ".pt"), "is PyTorch's; `python -m converters.torch_to_tf` makes a checkpoint of some"),
    ".safetensors": "is PyTorch's, and these networks are not; give TensorFlow's",
    **dict.fromkeys((".tar", ".gz", ".tgz", ".zip"), "is an archive; unpack it and give the checkpoint in it"),
}  # fmt: skip


def find_checkpoint(path: Path) -> Path:
    """Find the prefix or V1 file that a person means by `path`.

    `path` may be the prefix, any of its files (`.index`, `.meta`, `.data-...`), a folder that holds one checkpoint,
    or TensorFlow's text file `checkpoint`, or its folder; that file names the newest checkpoint.

    Raises:
      UserError: there is no checkpoint; the message says what the file is, or which checkpoints the folder holds.
    """
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        if path.suffix.lower() in OTHERS:
            raise UserError(f"{path}: {OTHERS[path.suffix.lower()]}")
        if path.name == STATE or _NEWEST.match(_head(path)):
            return _newest_of(path)
    text = str(path)
    for ending in (".index", ".meta"):  # people paste what the file manager shows
        text = text.removesuffix(ending)
    prefix = Path(re.sub(r"\.data-\d{5}-of-\d{5}$", "", text))
    if _is_there(prefix):
        return prefix
    alone = "; beside this file its .index and .data files are missing" if path.is_file() else ""
    raise UserError(f"{prefix}: no such weights (a checkpoint prefix, a V1 file, an .npz or .h5){alone}")


def plain_prefix(prefix: Path) -> tuple[Path, tempfile.TemporaryDirectory | None]:
    """A path to the prefix or V1 file that TensorFlow can open, and the folder of links that it may need.

    TensorFlow reads a path as UTF-8 and as a pattern, with brackets, stars and question marks.
    """
    if is_plain(prefix):
        return prefix, None
    links = tempfile.TemporaryDirectory(prefix="link-")
    plain = Path(links.name) / PREFIX
    for file in files_of(prefix):
        plain.with_name(PREFIX + file.name[len(prefix.name) :]).symlink_to(file.resolve())
    return plain, links


def files_of(prefix: Path) -> list[Path]:
    """The V1 file alone, or a V2 checkpoint's index and data files in name order."""
    if prefix.is_file():
        return [prefix]
    found = [prefix.parent.glob(f"{glob.escape(prefix.name)}.{ending}") for ending in ("index", "data-*")]
    return [file for files in found for file in sorted(files)]


_TABLE_END = bytes.fromhex("57fb808b247547db")  # of an index and of a V1 file
_KINDS = {
    b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive", b"\x89HDF": "an HDF5 file, whose name must end in .h5", b"%PDF": "a PDF",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself by `git lfs pull`",
}  # fmt: skip


def why_no_checkpoint(prefix: Path) -> str:
    """The reason why a prefix or V1 file cannot be one, by its first and last bytes; empty when it may be one."""
    path = prefix if prefix.is_file() else prefix.with_name(f"{prefix.name}.index")
    with path.open("rb") as stream:
        head = stream.read(4096)
        stream.seek(-min(len(_TABLE_END), len(head)), 2)
        if stream.read() == _TABLE_END:
            return ""
    if not head:
        return "it is empty"
    kind = next((kind for start, kind in _KINDS.items() if head.startswith(start)), "")
    if not kind and b"\0" not in head and not re.search(rb"[^\t\n\r -~\x80-\xff]", head):
        kind = "a text"
    return f"it is {kind}" if kind else "its last bytes are not those of one; it is something else, or cut off"


def _is_there(prefix: Path) -> bool:
    return prefix.is_file() or prefix.with_name(f"{prefix.name}.index").is_file()


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(4096)


def _newest_of(state: Path) -> Path:
    """The checkpoint that the text file `state` names: at the named place, or beside `state` if both were moved."""
    if not (match := _NEWEST.search(_head(state))):
        raise UserError(f"{state}: is no checkpoint, nor the text file that names one; give a checkpoint's prefix")
    named = Path(match[1].decode("utf-8", "surrogateescape").replace("\\", "/"))
    for prefix in (state.parent / named.name, state.parent / named):
        if _is_there(prefix):
            return prefix
    raise UserError(f"{state}: names the checkpoint {named.name}, which is not beside it; give the prefix of one")


def _in_folder(folder: Path) -> Path:
    state = folder / STATE
    if state.is_file() and _NEWEST.search(_head(state)):
        return _newest_of(state)
    found = sorted(file.with_suffix("") for file in folder.glob("*.index"))
    if len(found) == 1:
        return found[0]
    hint = "it is a folder without checkpoints"
    if newest := newest_checkpoint(folder):
        hint = f"did you mean {newest}?"
    elif found:
        hint += f" of a run, and with {len(found)} others; name one: {some((prefix.name for prefix in found), NAMED)}"
    raise UserError(f"{folder}: no such weights (a checkpoint prefix, a V1 file, an .npz or .h5); {hint}")


def digest(path: Path) -> str:
    """sha256 over a weight file, or over a checkpoint's index and data files in name order."""
    sha = hashlib.sha256()
    for file in files_of(path):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()
