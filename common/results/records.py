"""Records: the settings and the results of one evaluation, one JSON file each in `results/runs`.

A record carries the sha256 of its own content, so that a number changed by hand is noticed.
"""

import datetime
import hashlib
import json
import os
import platform
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.split import NAMES, Split
from common.errors import UserError, brief
from common.export.cache import CachedNetwork
from common.files import json_text, read_json, write_text
from common.paths import ROOT, slug
from common.recipe.recipe import Recipe
from common.reproduction import Reproduction
from common.results.code_version import code_version
from common.results.schema import ABSENT, check_record
from common.training import run_folder
from common.training.seen import has_seen, origin, trained_on
from common.weights.checkpoint_files import PREFIX, newest_checkpoint, step_of
from common.weights.weights import Weights

SCHEMA = 2
EVALUATIONS = ("runs", "out")  # folders of the working folder in which evaluations lie
BESIDE = "record.json"  # in the evaluation's folder: a record that no table shows
FEW_PICTURES = 100  # fewer give no number for the tables, except on the whole sample set

PROTOCOL_FIELDS = (*Recipe.EVALUATION_FIELDS, "eval_output_stride", "msc_scales", "engine", "network_file")
PACKAGES = ("tensorflow-cpu", "tensorflow", "tf-slim", "numpy", "pillow")


def results_dir() -> Path:
    """`results/` of the checkout, or the folder named by RESULTS_DIR."""
    return Path(os.environ.get("RESULTS_DIR", ROOT / "results"))


def marks(
    split: Split,
    evaluated: int,
    weights_dir: Path,
    val_seen: bool | None,
    training_sets: Iterable[str] | None = None,
    precisions: Iterable[str] = (),
    updates: Iterable[str] = (),
) -> dict[str, Any]:
    """The reasons why a number cannot stand beside a published one; empty when there is none.

    `sample`: drawn pictures; `val_seen`: trained on pictures it is evaluated on, "unknown" for
    weights from elsewhere; `random_split`: train_aug and val shuffled together, one tenth of them; `bf16`: trained or
    evaluated in it; `asynchronous`: trained so, which no second run repeats; `subset`: how many pictures of the split
    were evaluated.

    Args:
      split: what is evaluated.
      evaluated: how many of its pictures.
      weights_dir: the checkpoint's folder, which lists the pictures it was trained on.
      val_seen: what the user knows of it; None is nothing.
      training_sets: of the manifest, that published weights or a run's first ones have seen; None is unknown.
      precisions: in which the network was trained and evaluated.
      updates: the `update` of the recipes that the network was trained by.
    """
    found: dict[str, Any] = {}
    if split.is_sample:
        found["sample"] = True
    pictures = run_folder.read_pictures(weights_dir)
    known = None if training_sets is None else has_seen(training_sets, split)
    is_unknown = not pictures if training_sets is None else known is None
    if val_seen is None and (is_unknown or run_folder.UNKNOWN in pictures):
        val_seen = "unknown"
    if known or any(name in pictures for name in split.ids[:evaluated]):
        val_seen = True
    if val_seen:
        found["val_seen"] = val_seen
    if split.name in NAMES:
        found["random_split"] = True
    if "bf16" in precisions:
        found["bf16"] = True
    if "asynchronous" in updates:
        found["asynchronous"] = True
    official = split.card.split_sizes.get(split.name, len(split.pairs))
    if evaluated < len(split.pairs) or (not split.is_sample and evaluated < official):
        found["subset"] = evaluated
    return found


def facts(
    reproduction: Reproduction,
    recipe: Recipe,
    split: Split,
    weights: Weights,
    images: int,
    val_seen: bool | None = None,
) -> dict[str, Any]:
    """The fields of a record that are known before its evaluation begins, and are the same on every machine.

    Args:
      reproduction: whose network it is.
      recipe: the whole recipe; the fields that differ from its variant are listed too, without the protocol's.
      split: the pictures.
      weights: the checkpoint.
      images: how many of the pictures are evaluated, the first ones.
      val_seen: whether the weights have seen the pictures, if the caller knows.

    Raises UserError when the checkpoint's run has a broken train.json, or a broken score from before training.
    """
    run_folder.check_untrained(weights.path.parent)
    untrained = read_json(weights.path.parent / run_folder.UNTRAINED)
    protocol = recipe.at_evaluation().protocol()
    trained_by = weights.recipe() or {}
    precisions, updates = ({getattr(recipe, name), trained_by.get(name)} for name in ("precision", "update"))
    return {
        "schema": SCHEMA,
        "id": record_id(reproduction, recipe, split, weights, images, protocol),
        "reproduction": reproduction.name,
        "title": reproduction.title,
        "variant": recipe.variant,
        "changed": _changed(recipe, reproduction),
        "marks": marks(split, images, weights.path.parent, val_seen, trained_on(weights), precisions, updates),
        "data": _data(split, images),
        "checkpoint": {
            "path": shown(weights.path),
            "sha256": weights.digest(),
            "step": step_of(weights.path),
            "origin": brought.name if (brought := origin(weights)) else None,
        },
        "protocol": protocol,
        **({"miou_before_training": untrained["miou"]} if untrained else {}),
        "training": _training(weights.path.parent),
        "recipe": recipe.to_json(),
        "code": code_version(reproduction.module, recipe.by_engine),
    }


def circumstances(recipe: Recipe, weights: Weights, seconds: float, command: str) -> dict[str, Any]:
    """The fields of a record on how this process evaluated: what it took, and on what machine.

    Args:
      recipe: of the evaluation.
      weights: the checkpoint.
      seconds: the evaluation took.
      command: the command line.
    """
    return {
        "seconds": round(seconds, 1),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),  # of the process so far
        "command": _public(command),
        "commit": commit(),
        "versions": versions(() if recipe.engine == "tensorflow" else (recipe.engine,)),
        **_engine(recipe, weights),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        **_graphics(),
    }


def _graphics() -> dict[str, Any]:
    """The graphics cards, and how TensorFlow used them; empty without one."""
    door = sys.modules.get("common.tf1")  # an engine may have run without TensorFlow
    found = door.graphics_cards() if door else []
    return {"graphics": {"cards": found, "memory_growth": True, "tf32": False, "xla": False}} if found else {}


def write_record(
    known: Mapping[str, Any], metrics: Mapping[str, Any], how: Mapping[str, Any], evaluation: Path, is_beside: bool
) -> Path:
    """Write the record of one evaluation; the same checkpoint, data, protocol and recipe give the same file.

    Args:
      known: its `facts`.
      metrics: what `Counts.metrics` returned.
      how: its `circumstances`.
      evaluation: the folder of the evaluation's other files.
      is_beside: whether it lies there too, and not in `results/runs`, which the tables are made of: see `why_beside`.
    """
    record: dict[str, Any] = {}
    for name, value in known.items():
        record[name] = value
        if name == "protocol":
            record |= {k: v for k, v in metrics.items() if k not in ("protocol", "images")}
    finished = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record |= {"evaluation": shown(evaluation), **how, "finished": finished}
    beside = evaluation / BESIDE
    path = beside if is_beside else results_dir() / "runs" / f"{record['id']}.json"
    write_text(path, dumps({**record, "digest": digest(record)}))
    if path != beside:
        beside.unlink(missing_ok=True)  # of an evaluation before this one
    return path


def _changed(recipe: Recipe, reproduction: Reproduction) -> list[str]:
    """The fields that differ from the variant's, but for the protocol and what the data decide."""
    variant = reproduction.variants.get(recipe.variant, recipe)
    named, free = variant.to_json(), {*PROTOCOL_FIELDS, *variant.fields_set_by_data()}
    return [k for k, v in recipe.to_json().items() if v != named[k] and k not in free]


def _training(run_dir: Path) -> dict[str, Any] | None:
    """The summary of the run that wrote the checkpoint, without anyone's absolute paths; None without one."""
    training = run_folder.read_summary(run_dir)
    if not training:
        return training
    start = training.get("init")
    return training | {"init": start and shown(Path(start)), "command": _public(training.get("command", ""))}


def record_id(
    reproduction: Reproduction, recipe: Recipe, split: Split, weights: Weights, images: int, protocol: Mapping[str, Any]
) -> str:
    """The id of an evaluation's record, known before it begins; arguments as of `facts`."""
    what = json.dumps(
        [reproduction.name, weights.digest(), _data(split, images), protocol, recipe.identity()], sort_keys=True
    )
    return "-".join(
        (reproduction.name, recipe.variant, slug(split.title), hashlib.sha256(what.encode()).hexdigest()[:10])
    )


def _data(split: Split, images: int) -> dict[str, Any]:
    return {"title": split.title, "dataset": split.card.name, "split": split.name, "images": images}


def why_beside(record: Mapping[str, Any], checkpoint: Path, is_own: bool) -> str | None:
    """Why a record belongs beside its evaluation and not into the tables; None when it belongs there.

    Args:
      record: its `facts`, or all of it.
      checkpoint: the weights.
      is_own: whether the pictures are a person's own data set.
    """
    marks = record["marks"]
    if is_own:
        return "a data set of your own"
    # A list of one's own is no subset of a split, and may be as short.
    few = record["data"]["images"] < FEW_PICTURES and (not marks.get("sample") or "subset" in marks)
    if few:
        return f"{record['data']['images']} pictures"
    if record["training"] is not None and not _is_finished(checkpoint, record["recipe"]["num_steps"]):
        return "a run that is not finished"
    if marks.get("sample") and (record["changed"] or record["training"] is None):
        return "the sample set, and not by one of its runs as `reproduce` makes them"
    return None


def _is_finished(checkpoint: Path, num_steps: int) -> bool:
    """Whether a run is at its end; that its best checkpoint is an earlier one does not matter."""
    of = checkpoint if checkpoint.name.startswith(PREFIX) else newest_checkpoint(checkpoint.parent)
    step = step_of(of) if of else None
    return step is None or step >= num_steps


def read_records(folder: Path | None = None, left_out: list[str] | None = None) -> list[dict[str, Any]]:
    """The records of the tables, in the order of their names.

    Args:
      folder: `results/runs` by default.
      left_out: gets a sentence for each file that is no record as its run wrote it, and the others are read; without
        it the first such file raises UserError.
    """
    return _read_all(sorted((folder or results_dir() / "runs").glob("*.json")), left_out)


def read_beside(left_out: list[str] | None = None) -> list[dict[str, Any]]:
    """The records that lie beside evaluations below `runs/` and `out/` of the working folder; as `read_records`."""
    return _read_all(sorted(path for name in EVALUATIONS for path in Path(name).glob(f"**/{BESIDE}")), left_out)


def _read_all(paths: Iterable[Path], left_out: list[str] | None) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        try:
            record = read_record(path)
            if record["id"] in found:
                raise UserError(f"{path}: is a second copy of the record {brief(record['id'])}; delete one of them")
            found[record["id"]] = record
        except UserError as error:
            if left_out is None:
                raise
            left_out.append(f"{error}; left out")
    return list(found.values())


def read_record(path: Path) -> dict[str, Any]:
    """One record; what earlier schemas don't tell is None.

    Raises UserError, which names the file and the field, when it is none, or is not as its run wrote it.
    """
    record = read_json(path)
    if record is None:
        raise UserError(f"{path}: no such file")
    if not isinstance(record, dict):
        raise UserError(f"{path}: is no record but {brief(record, 40)}; run it again or delete it")
    check_record(record, str(path), SCHEMA)
    if record["digest"] != digest(record):
        raise UserError(f"{path}: was changed after its run wrote it; run it again or delete it")
    return {**ABSENT, **record}


def digest(record: dict[str, Any]) -> str:
    """sha256 over the record without its digest, as canonical JSON."""
    content = {k: v for k, v in record.items() if k != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def dumps(data: Any) -> str:
    """JSON with one line per field and per innermost list, to be read and compared by people."""
    text = json_text(data)
    return re.sub(r"\[[^\[\]{}\"]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text) + "\n"


def shown(path: Path) -> str:
    """The path relative to the working folder if it lies below it, otherwise the name alone: records must not show home
    folders."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.name


def _public(command: str) -> str:
    """The command line without anyone's absolute paths."""
    words = shlex.split(command)
    return shlex.join(shown(Path(w)) if Path(w).is_absolute() else w for w in words)


def commit() -> str | None:
    """The checkout's commit, with `+changes` when files differ from it; None outside of git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # results/ itself changes with every record
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results", ":!README.md")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _engine(recipe: Recipe, weights: Weights) -> dict[str, Any]:
    """The field `engine`: how the label maps of the engine that ran a checkpoint compare with TensorFlow's."""
    if not isinstance(weights, CachedNetwork):
        return {}
    found = weights.entry.trial(recipe.engine, recipe.precision)
    return {"engine": {"agreement": found.agreement, "pictures": found.pictures, "pixels": found.pixels}}


def versions(others: Sequence[str] = ()) -> dict[str, str]:
    """The versions of Python, of PACKAGES and of other packages that are installed."""
    import importlib.metadata  # here: only a new record needs it

    versions = {"python": platform.python_version()}
    for package in (*PACKAGES, *others):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
