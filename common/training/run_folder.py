"""A training run's folder: its lock, recipe, log and summary."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from common import files
from common.console import say
from common.data.own import DATASET_FILE
from common.errors import UserError, brief
from common.files import read_json, refuse_foreign_json, write_json, write_text
from common.inference.metrics import METRICS_FILE
from common.paths import slug
from common.recipe.recipe import Recipe, format_value
from common.weights.checkpoint_files import newest_checkpoint

RECIPE, SUMMARY, PICTURES = "recipe.json", "train.json", "pictures.txt"
START = "start"  # folder of a run's step 0
UNTRAINED = f"{START}/{METRICS_FILE}"  # what the network scored there, if that was measured
CURVE = "training_curve.png"
RUNS = Path("runs")  # where runs lie, below the working folder
LOG, VALIDATION = "log.jsonl", "validation.jsonl"  # a JSON object a line, with its `step`


# What other rooms take from train.json; older runs lack some.
_SUMMARY_FIELDS: dict[str, type | UnionType] = {
    **dict.fromkeys(("data", "split", "command", "pictures_digest"), str),
    **dict.fromkeys(("init", "init_digest"), str | None),
    **dict.fromkeys(("images", "val_limit"), int | None),
    "replicas": list,
}


def version_dir(name: str, recipe: Recipe, inputs: list[str | None]) -> Path:
    """A run's folder below runs/: the same recipe, data and start (`inputs`) always give the same one."""
    text = json.dumps([recipe.identity(), inputs], sort_keys=True)
    return RUNS / f"{name}-{recipe.variant}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def evaluation_dir(folder: Path, changes: Mapping[str, Any]) -> Path:
    """Where an evaluation of a checkpoint in `folder` lies; `changes` are the recipe fields of its protocol."""
    return folder / "-".join(["evaluation", *(slug(f"{name}={format_value(v)}") for name, v in changes.items())])


def locked(run_dir: Path) -> contextlib.AbstractContextManager[None]:
    """Hold `run_dir` within the block, as `files.locked`; a second process is refused, and a folder of other files."""
    _refuse_foreign(run_dir)
    busy = "training in it; wait for it or choose another folder"
    return files.locked(run_dir, busy, title=f"--run-dir {run_dir}")


def _refuse_foreign(run_dir: Path) -> None:
    """Raise UserError when a run would replace files that no run wrote: recipe.json, which comes first, is the mark."""
    if newest_checkpoint(run_dir):
        return
    refuse_foreign_json(run_dir / RECIPE, f"--run-dir {run_dir}", "variant")
    others = [name for name in (SUMMARY, LOG, VALIDATION, CURVE, PICTURES, DATASET_FILE) if (run_dir / name).exists()]
    if others and not (run_dir / RECIPE).exists():
        raise UserError(f"--run-dir {run_dir}: {others[0]} is there, and no run of this suite; choose another folder")


def write_recipe(run_dir: Path, recipe: Recipe) -> None:
    """Write `recipe.json`: what the run trains by."""
    write_json(run_dir / RECIPE, recipe.to_json())


def read_summary(run_dir: Path) -> dict[str, Any] | None:
    """The content of `train.json`; None for weights from elsewhere. Raises UserError when it is broken."""
    summary = read_json(run_dir / SUMMARY)
    if summary is None:
        return None
    wrong = "is not what a training run writes; delete it or restore it"
    if not isinstance(summary, dict):
        raise UserError(f"{run_dir / SUMMARY}: {wrong}")
    for name, kinds in _SUMMARY_FIELDS.items():
        if name in summary and not isinstance(summary[name], kinds):
            raise UserError(f"{run_dir / SUMMARY}: {name}={brief(summary[name])} {wrong}")
    return summary


def note_replicas(run_dir: Path, step: int, count: int) -> None:
    """Write into `train.json` from which step on how many replicas trained; a run without a word has one throughout.

    The bits of a run depend on their number, its recipe does not.
    """
    summary = read_summary(run_dir) or {}
    entries = [e for e in summary.get("replicas", []) if e["from_step"] < step]
    if count != (entries[-1]["count"] if entries else 1):
        entries.append({"from_step": step, "count": count})
    if entries != summary.get("replicas", []):
        write_json(run_dir / SUMMARY, summary | {"replicas": entries})


def check_untrained(run_dir: Path) -> None:
    """Raise UserError when what the untrained network scored is there, but no score."""
    untrained = read_json(run_dir / UNTRAINED)
    miou = untrained.get("miou") if isinstance(untrained, dict) else None
    if untrained is not None and not (type(miou) in (int, float) and 0 <= miou <= 1):
        raise UserError(f"{run_dir / UNTRAINED}: has no miou from 0 to 1, which an evaluation writes; delete the file")


UNKNOWN = "?"  # among the pictures: the run started from weights whose training pictures are unknown


def read_pictures(run_dir: Path) -> set[str]:
    """The stems of the pictures that weights in `run_dir`, and the weights they started from, were trained on."""
    path = run_dir / PICTURES
    return set(path.read_bytes().decode("utf-8", "surrogateescape").splitlines()) if path.is_file() else set()


def read_log(run_dir: Path, name: str = LOG) -> list[dict[str, Any]]:
    """Read a log's entries in order, up to the first half-written or damaged line."""
    path = run_dir / name
    if not path.exists():
        return []
    entries = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is None:
            if number < len(lines):  # the last line of a killed run is half-written, which is no damage
                say(f"{path}: line {number} is damaged; it and the {len(lines) - number} lines after it are left out")
            break
        entries.append(entry)
    return entries


def _entry(line: str) -> dict[str, Any] | None:
    """A log's line; None when it is none: an object with a whole `step`, whose other values are numbers or None."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or type(entry.get("step")) is not int or entry["step"] < 0:
        return None
    return entry if all(value is None or type(value) in (int, float) for value in entry.values()) else None


def rewind_log(run_dir: Path, step: int) -> None:
    """Drop the logs' entries after `step`, which a resumed run writes again."""
    for name in (LOG, VALIDATION):
        if (run_dir / name).exists():
            kept = [json.dumps(e) + "\n" for e in read_log(run_dir, name) if e["step"] <= step]
            write_text(run_dir / name, "".join(kept))
