"""Checkpoints on the disk, by their names: none of them is opened."""

import glob
import hashlib
import re
from pathlib import Path

PREFIX = "model.ckpt"
BEST = "best.ckpt"  # the one that validation found best, beside the newest ones


def delete(prefix: Path) -> None:
    """Remove a checkpoint's files, the index first: without it the rest is no checkpoint."""
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


def digest(path: Path) -> str:
    """sha256 over a weight file, or over a checkpoint's index and data files in name order."""
    files = [path]
    if not path.is_file():
        files = sorted(path.parent.glob(f"{glob.escape(path.name)}.index"))
        files += sorted(path.parent.glob(f"{glob.escape(path.name)}.data-*"))
    sha = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()
