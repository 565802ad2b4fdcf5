"""Where a training call starts: from fresh variables, from given weights, or from its own newest checkpoint."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.class_pixels import class_pixels
from common.data.class_weights import class_shares
from common.data.lists import no_class_error
from common.data.own import DATASET_FILE
from common.data.split import Split
from common.errors import UserError
from common.files import read_text, write_json, write_text
from common.recipe.recipe import Recipe, format_value
from common.recipe.settings import with_newer_fields
from common.training import run_folder
from common.training.order import listed_pictures
from common.training.seen import origin, trained_on
from common.weights.checkpoint_files import newest_checkpoint, step_of
from common.weights.weights import Weights


def with_data_fields(recipe: Recipe, split: Split, quiet: bool = False) -> Recipe:
    """The recipe with the fields that the training pictures decide: steps of an epoch, 'auto' class weights."""
    changes: dict[str, Any] = {}
    pictures = len(listed_pictures(split, recipe, quiet=quiet))
    if recipe.sampling == "class_balanced":
        class_pixels(split, recipe, quiet=quiet)  # now, with its progress; the batches ask for it again
    steps = math.ceil(pictures / (recipe.batch_size * recipe.grad_update_every))
    for name in recipe.fields_set_by_data() - {"class_weights"}:
        changes[name] = recipe.epochs * steps if name == "num_steps" else steps
    if recipe.class_weights == "auto":
        shares = class_shares(split, recipe, quiet=quiet)
        changes["class_weights"] = tuple(round(float(1 - share), 8) for share in shares)
    return recipe.derive(**changes)


def refuse_nothing_to_learn(recipe: Recipe, split: Split) -> None:
    """Look for a mask with a pixel of a class; mostly it is the first. Raises UserError when there is none."""
    for index in range(len(split.pairs)):
        mask = recipe.class_ids(split.read(index)[1])
        if (mask != recipe.ignore_label).any():
            return
    raise no_class_error(split, len(split.pairs), "there is nothing to learn")


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
      checkpoint: the newest of the run's folder; None when the run begins.
      step: updates that are done.
      init: weights to begin with, if any were given.
      val_limit: on how many pictures a resumed run validates, as when it began; None is all.
    """

    checkpoint: Path | None
    step: int
    init: Weights | None
    val_limit: int | None = None


def find_start(run_dir: Path, recipe: Recipe, split: Split, init: Weights | None, resume: bool) -> Start:
    """Look for the run's newest checkpoint, and rewind the run's logs to it.

    Raises:
      UserError: the folder holds a run and `resume` is false, or the run is of another recipe, data set or start.
    """
    newest = checkpoint_to_resume(run_dir, resume)
    if newest:
        _refuse_other_run(run_dir, newest, recipe, split, init)
    step = step_of(newest) if newest else 0
    run_folder.rewind_log(run_dir, step)
    summary = run_folder.read_summary(run_dir) if newest else None
    return Start(newest, step, init, (summary or {}).get("val_limit"))


def checkpoint_to_resume(run_dir: Path, resume: bool) -> Path | None:
    """The run's newest checkpoint, if there is one. Raises UserError when there is one and `resume` is false."""
    newest = newest_checkpoint(run_dir)
    if newest and not resume:
        raise UserError(
            f"--run-dir {run_dir}: already holds {newest.name}; go on with --resume or choose another folder"
        )
    return newest


def _refuse_other_run(run_dir: Path, checkpoint: Path, recipe: Recipe, split: Split, init: Weights | None) -> None:
    """Raise UserError when the run in the folder has another recipe, data set or start."""
    stored, now = Weights(checkpoint).recipe() or {}, recipe.to_json()
    stored = with_newer_fields(stored, recipe) if stored else stored
    changes = [f"{k} {format_value(stored.get(k))} -> {format_value(v)}" for k, v in now.items() if stored.get(k) != v]
    summary, started = run_folder.read_summary(run_dir) or {}, _summary(split, init, "")
    for key in ("data", "pictures_digest", *(("init_digest",) if init else ())):
        if summary.get(key) != started[key]:
            is_told = key != "pictures_digest"  # two digests tell nobody anything
            changes.append(f"{key} {summary.get(key)} -> {started[key]}" if is_told else "the pictures changed")
    if changes:
        raise UserError(
            f"{checkpoint}: belongs to another run ({', '.join(changes)}); resume with the same settings, data and "
            f"--init, or choose another folder"
        )


def _summary(split: Split, init: Weights | None, command: str) -> dict:
    """The facts of a training that later records need: data, start, command."""
    names = "\n".join(f"{image.name} {mask.name}" for image, mask in split.pairs)
    return {
        "data": split.title,
        "split": split.name,
        "images": len(split.pairs),
        "pictures_digest": hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest(),
        "sample": split.is_sample,
        "init": str(init.path) if init else None,
        "init_digest": init.digest() if init else None,
        "command": command,
    }


def begin_folder(
    run_dir: Path, recipe: Recipe, split: Split, start: Start, replicas: int, command: str,
    val_limit: int | None, val_unseen: bool,
) -> None:  # fmt: skip
    """Write what a run's folder holds from its first step on: recipe, summary, and how many replicas train."""
    run_folder.write_recipe(run_dir, recipe)
    if not start.checkpoint:
        write_summary(run_dir, split, start.init, command, val_limit, val_unseen)
    run_folder.note_replicas(run_dir, start.step, replicas)


def write_summary(
    run_dir: Path, split: Split, init: Weights | None, command: str, val_limit: int | None, val_unseen: bool = False
) -> None:
    """Write the facts that records and later calls need of a new run: its data, its start, and its pictures.

    `val_unseen` is the user's word that the weights of `init` have not seen the pictures that the run is evaluated on.
    """
    found, before = (origin(init), trained_on(init)) if init else (None, ())
    start = {
        "init_origin": found.name if found else None,
        "init_trained_on": None if before is None else list(before),
        "init_val_unseen": val_unseen,
    }
    write_json(run_dir / run_folder.SUMMARY, _summary(split, init, command) | start | {"val_limit": val_limit})
    if split.card.source:  # a person's own card: predicting needs its classes and colours wherever it runs
        write_text(run_dir / DATASET_FILE, read_text(Path(split.card.source)))
    seen = run_folder.read_pictures(init.path.parent) if init else set()  # these have seen it too
    if init and before is None and not seen:
        seen = {run_folder.UNKNOWN}
    if val_unseen:
        seen -= {run_folder.UNKNOWN}
    seen |= set(split.ids)
    write_text(run_dir / run_folder.PICTURES, "".join(f"{stem}\n" for stem in sorted(seen)))
