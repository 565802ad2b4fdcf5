"""Every checkpoint on this disk that the suite knows: what runs trained, and what was fetched and converted."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common import checkpoints, run_folder
from common.console import say
from common.downloads.fetch import folder_of
from common.downloads.manifest import Manifest
from common.errors import UserError
from common.reproduction import Reproduction

RUNS = Path("runs")


@dataclass(frozen=True)
class Known:
    """A checkpoint, and how to evaluate it.

    Attributes:
      reproduction: whose network it is.
      path: the checkpoint's prefix or file.
      settings: `--set` arguments: the variant, for weights from elsewhere.
      sample: whether a run on the drawn sample set trained it.
      val_seen: the val splits, `<data set>/<split>`, that its weights have seen; None where its own folder knows.
      out: folder below which its evaluations lie.
    """

    reproduction: Reproduction
    path: Path
    settings: tuple[str, ...]
    sample: bool
    val_seen: tuple[str, ...] | None
    out: Path


def trained(reproductions: Mapping[str, Reproduction], quiet: bool = False) -> Iterator[Known]:
    """The newest and the best checkpoint of every run below runs/."""
    for folder in sorted(path.parent for path in RUNS.glob(f"*/{run_folder.SUMMARY}")):
        summary = run_folder.read_summary(folder) or {}
        said = re.search(r"reproductions\.(\w+)", summary.get("command", ""))
        if not said or said[1] not in reproductions:
            say(f"{folder}: does not tell which reproduction trained it; left out", quiet)
            continue
        newest = checkpoints.newest_checkpoint(folder)
        found = ([newest] if newest else []) + checkpoints.checkpoints(folder, checkpoints.BEST)
        for path in found:
            out = folder if path == newest else folder / checkpoints.BEST
            yield Known(reproductions[said[1]], path, (), bool(summary.get("sample")), None, out)


def fetched(reproductions: Mapping[str, Reproduction], manifest: Manifest, quiet: bool = False) -> Iterator[Known]:
    """The weights of the manifest that are on the disk, converted where they need it, and that score classes."""
    for entry in manifest.entries.values():
        for weights in entry.weights:
            path = _on_disk(folder_of(entry), weights.checkpoint or weights.path) if weights.variant else None
            if path is None:
                continue
            seen = tuple(manifest.val_seen(weights))
            reproduction, out = reproductions[weights.reproduction], Path("out") / entry.name / path.name
            yield Known(reproduction, path, (f"variant={weights.variant}",), False, seen, out)


def _on_disk(folder: Path, pattern: str) -> Path | None:
    found = [*folder.glob(pattern), *folder.glob(f"{pattern}.index")] if folder.is_dir() else []
    paths = sorted({path.with_suffix("") if path.suffix == ".index" else path for path in found})
    if len(paths) > 1:
        raise UserError(f"{folder}: holds {len(paths)} files like {pattern}; keep one")
    return paths[0] if paths else None
