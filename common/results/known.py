"""Every checkpoint on this disk that the suite knows: what runs trained, and what was fetched and converted."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.console import say
from common.downloads.manifest import Manifest
from common.downloads.origin import folder_of, on_disk
from common.errors import UserError
from common.reproduction import Reproduction
from common.training import run_folder
from common.weights import checkpoint_files
from common.weights.checkpoint_files import BEST, newest_checkpoint


@dataclass(frozen=True)
class KnownCheckpoint:
    """A checkpoint, and how to evaluate it.

    Attributes:
      reproduction: whose network it is.
      path: the checkpoint's prefix or file.
      settings: `--set` arguments: the variant, for weights from elsewhere.
      sample: whether a run on the drawn sample set trained it.
      val_seen: `<data set>/<split>`, as `split_key` has it -> whether its weights were trained on this split; None
        where nothing tells.
      out: folder below which its evaluations lie.
    """

    reproduction: Reproduction
    path: Path
    settings: tuple[str, ...]
    sample: bool
    val_seen: Mapping[str, bool | None]
    out: Path


def trained(reproductions: Mapping[str, Reproduction], quiet: bool = False) -> Iterator[KnownCheckpoint]:
    """The newest and the best checkpoint of every run below runs/."""
    for folder in sorted(path.parent for path in run_folder.RUNS.glob(f"*/{run_folder.SUMMARY}")):
        try:
            summary = run_folder.read_summary(folder) or {}
        except UserError as error:
            say(f"{error}; left out", quiet)
            continue
        said = re.search(r"reproductions\.(\w+)", summary.get("command", ""))
        if not said or said[1] not in reproductions:
            say(f"{folder}: does not tell which reproduction trained it; left out", quiet)
            continue
        newest = newest_checkpoint(folder)
        found = ([newest] if newest else []) + checkpoint_files.checkpoints(folder, BEST)
        for path in found:
            out = folder if path == newest else folder / BEST
            yield KnownCheckpoint(reproductions[said[1]], path, (), bool(summary.get("sample")), {}, out)


def fetched(
    reproductions: Mapping[str, Reproduction], manifest: Manifest, quiet: bool = False
) -> Iterator[KnownCheckpoint]:
    """The manifest's weights that are on the disk, converted if necessary, and that have scores for classes."""
    for entry in manifest.entries.values():
        for weights in entry.weights:
            paths = on_disk(entry, weights) if weights.variant else []
            if len(paths) > 1:
                say(f"{folder_of(entry)}: holds {len(paths)} files like {weights.path}; left out, keep one", quiet)
            if len(paths) != 1:
                continue
            path = paths[0]
            seen = {split: manifest.has_seen(weights.trained_on, split) for split in manifest.val_splits()}
            reproduction, out = reproductions[weights.reproduction], Path("out") / entry.name / path.name
            yield KnownCheckpoint(reproduction, path, (f"variant={weights.variant}",), False, seen, out)
