"""Weights in and out: strict restore from every accepted format, atomic saves.

Accepted formats are a TensorFlow checkpoint prefix (V2), a V1 file, an `.npz` keyed by the original program's
variable names and, for reproductions that know Keras' names, a Keras `.h5`.
Restore is strict: every variable and every entry of the file must fit, except those that are named as not loaded.
"""

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from common.console import stage, step
from common.errors import UserError, one_line
from common.files import SAVING, half_written, plain_folder
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.weights.checkpoint_files import PREFIX, checkpoints, delete, newest_checkpoint
from common.weights.weights import RECIPE_KEY, TRAINING_STATE, Weights, _matches, real_array
from common.words import some_of_each


def restore(
    session: tf.Session,
    weights: Weights,
    variables: Iterable[tf.Variable],
    not_loaded: Iterable[str] = (),
    training_state: bool = False,
) -> int:
    """Assign every variable its value from `weights`; missing and extra entries are errors.

    Args:
      session: where the variables live.
      weights: the file.
      variables: all variables that must be filled.
      not_loaded: regular expressions; variables and file entries they match are left alone.
      training_state: whether optimiser slots and the step take part (`--resume`).

    Returns:
      How many variables were restored.

    Raises:
      UserError: variables are missing, extra or of another shape, or a value is not real and finite; it names them.
    """
    left_alone = [*not_loaded, *([rf"^{RECIPE_KEY}$"] if training_state else TRAINING_STATE)]
    wanted = {v.op.name: v for v in variables if not _matches(v.op.name, left_alone)}
    given = {n: s for n, s in weights.shapes.items() if not _matches(n, left_alone)}
    if weights.left_over:
        given = {n: s for n, s in given.items() if n in wanted or not re.search(weights.left_over, n)}
    shapes = {n: tuple(v.shape.as_list()) for n, v in wanted.items()}
    if difference := describe_difference(shapes, given):
        keras = "; if Keras opens the file, save it there again: older ones have other names"
        hint = keras if weights.left_over else ""
        raise UserError(f"{weights.path}: does not fit this network: {difference}{hint}")
    step("restoring the weights")
    # Feeding the initialisers' inputs assigns values without new ops or a second copy of the graph.
    inputs = {n: v.initializer.inputs[1] for n, v in wanted.items()}
    values = {tensor: weights.real_value(n, tensor.dtype.as_numpy_dtype) for n, tensor in inputs.items()}
    session.run([v.initializer for v in wanted.values()], values)
    step()
    return len(wanted)


def recipe_text(recipe: Recipe) -> str:
    """The text that our checkpoints store as RECIPE_KEY; `Weights.recipe` reads it."""
    return json.dumps(recipe.to_json())


def describe_difference(wanted: Mapping[str, tuple], given: Mapping[str, tuple]) -> str:
    """Name what is missing, extra or misshapen in `given`, some of each kind; empty when nothing is."""
    missing = sorted(wanted.keys() - given.keys())
    extra = sorted(given.keys() - wanted.keys())
    misshapen = [
        f"{n} ({_shape(given[n])} in the file, {_shape(wanted[n])} in the network)"
        for n in sorted(wanted.keys() & given.keys())
        if tuple(wanted[n]) != tuple(given[n])
    ]
    return some_of_each({"missing in the file": missing, "extra in the file": extra, "of another shape": misshapen})


def save(session: tf.Session, saver: tf.train.Saver, run_dir: Path, step: int, keep: int, name: str = PREFIX) -> Path:
    """Write `run_dir/<name>-<step>` atomically and keep the newest `keep` of that name (0 keeps all).

    Raises UserError when it can't be written; the earlier checkpoints stay.
    """
    prefix = run_dir / f"{name}-{step}"
    hint = f"; free space and go on with --resume from {newest_checkpoint(run_dir) or 'the start'}"
    with _published(prefix, hint) as temporary:
        saver.save(session, str(temporary), write_meta_graph=False, write_state=False)
    for old in [c for c in checkpoints(run_dir, name) if c != prefix][: -keep + 1 or None] if keep else []:
        delete(old)
    return prefix


def write(prefix: Path, values: Mapping[str, np.ndarray], recipe: Recipe | None = None) -> None:
    """Write arrays by variable name, and their recipe if there is one, as a V2 checkpoint, atomically.

    Raises UserError when the write fails, an array is not real and finite, or a training's checkpoint is there.
    """
    stage("writing the checkpoint")
    _refuse_training(prefix)
    for name, value in values.items():
        real_array(prefix, name, value, np.asarray(value).dtype)
    if recipe:
        values = {**values, RECIPE_KEY: np.array(recipe_text(recipe), object)}
    with _published(prefix, "; free space or choose another folder") as temporary, tf.Graph().as_default():
        fed = {
            tf.placeholder(tf.as_dtype(v.dtype) if v.dtype != object else tf.string, v.shape): v
            for v in values.values()
        }
        saved = tf.raw_ops.SaveV2(
            prefix=str(temporary), tensor_names=list(values), shape_and_slices=[""] * len(values), tensors=list(fed)
        )
        with tf.Session() as session:
            session.run(saved, fed)


def _refuse_training(prefix: Path) -> None:
    """Raise UserError when `prefix` is a checkpoint with a step, which training writes and `write` does not."""
    if not prefix.with_name(f"{prefix.name}.index").exists():
        return
    try:
        is_other = "global_step" in Weights(prefix).shapes
    except UserError:
        is_other = True
    if is_other:
        raise UserError(f"{prefix}: is there, and no converter's checkpoint; name another, or move it away")


@contextlib.contextmanager
def _published(prefix: Path, hint: str) -> Iterator[Path]:
    """A prefix in a temporary folder, whose files become `prefix` when the block succeeds.

    The index, without which there is no checkpoint, is renamed last.
    """
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=half_written(SAVING, prefix.parent), dir=prefix.parent))
    except OSError as error:
        raise UserError(f"{prefix.parent}: cannot be written ({error.strerror})") from None
    try:
        with plain_folder(temporary) as plain:
            yield plain / PREFIX
        for file in sorted(temporary.iterdir(), key=lambda f: f.suffix == ".index"):
            file.replace(prefix.parent / f"{prefix.name}{file.name.removeprefix(PREFIX)}")
    except (tf.errors.OpError, OSError) as error:
        raise UserError(f"{prefix}: the checkpoint could not be written ({one_line(error)}){hint}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
