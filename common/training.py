"""Training: one linear function from a recipe to a run folder full of checkpoints."""

import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import checkpoints, run_folder
from common.calibration import calibrate
from common.console import Progress, StopSignal, say
from common.data.class_weights import class_shares
from common.data.lists import Split, check_classes
from common.data.own import FILE
from common.data.pipeline import TrainingBatches
from common.errors import UserError
from common.files import atomic, write_json, write_text
from common.network import Network, restore_pixels
from common.optimisation import train_step
from common.recipe import Recipe, format_value
from common.tf1 import session, tf
from common.validation import Validation
from common.visualize import picture_row, plot_training_curve, png_bytes

PREVIEWED = 2  # pictures of the batch in TensorBoard's image row, as the original


@dataclass(frozen=True)
class Trained:
    """How a training call ended: its newest checkpoint, its step, and the signal that stopped it, if one did."""

    checkpoint: Path
    step: int
    stopped_by: int | None = None


def for_data(recipe: Recipe, split: Split, quiet: bool = False) -> Recipe:
    """The recipe with what only the training pictures tell: the steps of an epoch, class weights that are 'auto'."""
    changes: dict[str, Any] = {}
    steps = math.ceil(len(split.pairs) / (recipe.batch_size * recipe.grad_update_every))
    for name in recipe.left_to_data() - {"class_weights"}:
        changes[name] = recipe.epochs * steps if name == "num_steps" else steps
    if recipe.class_weights == "auto":
        shares = class_shares(split, recipe, quiet=quiet)
        changes["class_weights"] = tuple(round(float(1 - share), 8) for share in shares)
    return recipe.derive(**changes)


def train(
    network: Network,
    recipe: Recipe,
    split: Split,
    run_dir: Path,
    *,
    init: checkpoints.Weights | None = None,
    resume: bool = False,
    keep: int = 5,
    save_start: bool = False,
    val_split: Split | None = None,
    val_limit: int | None = None,
    quiet: bool = False,
    command: str = "",
) -> Trained:
    """Train `network` by `recipe` on `split`, into `run_dir`.

    The folder gets `model.ckpt-<step>`, `recipe.json`, `log.jsonl` (a line per step), `train.json`,
    `training_curve.png`, `snapshots/<step>.png` (picture | label | prediction) and TensorBoard events; with
    validation also `validation.jsonl` and `best.ckpt-<step>`.
    SIGINT or SIGTERM ends the run after the current step, with a checkpoint.

    Args:
      network: the reproduction's network.
      recipe: every number.
      split: the training pictures.
      run_dir: the run's folder; a second process in it is refused.
      init: weights to start from, strictly, but for `recipe.init_not_loaded`.
      resume: go on from the newest checkpoint in `run_dir` (from the start when there is none).
      keep: checkpoints to keep; 0 keeps all.
      val_split, val_limit: pictures to measure mIoU on every `recipe.validation_interval` steps, and how
        many of them (all by default).
      save_start: write start/model.ckpt-0 too, the network as training finds it.
      quiet: no progress.
      command: the command line, for the records.

    Raises:
      UserError: bad data or weights, a folder in use or not empty, a full disk, a loss that is not finite.
    """
    check_classes(recipe, split.card)
    with run_folder.locked(run_dir), tf.Graph().as_default() as graph, StopSignal() as stop:
        newest = checkpoints.newest_checkpoint(run_dir)
        if newest and not resume:
            raise UserError(
                f"--run-dir {run_dir}: already holds {newest.name}; go on with --resume or choose another folder"
            )
        if newest:
            _refuse_other_run(run_dir, newest, recipe, split, init)
            val_limit = val_limit or (run_folder.read_summary(run_dir) or {}).get("val_limit")
        first_step = checkpoints.step_of(newest) if newest else 0
        run_folder.rewind_log(run_dir, first_step)
        validation = None
        if recipe.validation_interval and val_split:
            validation = Validation(network, recipe, val_split, run_dir, val_limit, quiet)
        if first_step >= recipe.num_steps and not (validation and validation.is_due(first_step)):
            say(f"{newest}: already at {first_step} of {recipe.num_steps} steps", quiet)
            return Trained(newest, first_step)

        images = tf.placeholder(tf.float32, [None, *recipe.crop_size, 3])
        labels = tf.placeholder(tf.uint8, [None, *recipe.crop_size, 1])
        step = train_step(network, images, labels, recipe)
        # Fed, so that every step runs the same graph: a second one costs a large network half a minute.
        scores = tf.placeholder(tf.float32, step.outputs.logits.shape)
        preview, shown_scores = _preview(images, labels, scores, recipe), step.outputs.logits[:PREVIEWED]
        stored_recipe = tf.get_variable(
            checkpoints.RECIPE_KEY,
            initializer=tf.constant(checkpoints.recipe_text(recipe)),
            trainable=False,
            collections=[],
        )
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in tf.trainable_variables()])
        state = tf.global_variables()
        saver = tf.train.Saver([*state, stored_recipe], max_to_keep=0)
        with session(graph) as sess:
            sess.run([tf.global_variables_initializer(), stored_recipe.initializer])
            if newest:
                checkpoints.restore(sess, checkpoints.Weights(newest), state, training_state=True)
            else:
                _initialise(sess, network, recipe, split, init, quiet)
            write_json(run_dir / run_folder.RECIPE, recipe.to_json())
            if not newest:
                _write_summary(run_dir, split, init, command, val_limit)
            events = tf.summary.FileWriter(str(run_dir), graph=None if newest else graph)
            batches = TrainingBatches(split, recipe, first_step)
            graph.finalize()  # an op added in the loop would have the whole graph optimised anew, every step

            def validate(step: int) -> None:
                if not validation or not validation.is_due(step):
                    return
                found, best = validation.measure(sess, tf.model_variables(), step)
                if best:  # before the entry: a run that is killed between the two measures again
                    checkpoints.save(sess, saver, run_dir, step, keep=1, name=checkpoints.BEST)
                validation.write(found)
                events.add_summary(_scalars({f"val_{name}": found[name] for name in ("miou", "loss")}), step)
                note = ", the best so far" if best else ""
                say(
                    f"step {step}: mIoU {found['miou']:.4f}, loss {found['loss']:.4f} on {val_split.title}{note}", quiet
                )

            validate(first_step)  # left out by a run that was killed in it
            checkpoint, done = newest, first_step
            if save_start and not newest:
                checkpoints.save(sess, saver, run_dir / run_folder.START, 0, keep=1)
            with (
                (run_dir / run_folder.LOG).open("a", encoding="utf-8") as log,
                Progress("training", recipe.num_steps, first_step, quiet) as progress,
            ):
                while done < recipe.num_steps and not stop.received:
                    save_now = (done + 1) % recipe.save_interval == 0 or done + 1 == recipe.num_steps
                    started = time.monotonic()
                    feeds = [
                        dict(zip((images, labels), next(batches), strict=True)) for _ in range(recipe.grad_update_every)
                    ]
                    result = _run_step(sess, step, feeds, shown_scores)
                    seconds, done = time.monotonic() - started, done + 1
                    loss = result["loss"]
                    if not math.isfinite(loss) or (save_now and not sess.run(finite)):
                        raise UserError(
                            f"{run_dir}: loss or weights are not finite at step {done}; start again in a new "
                            f"folder with a learning_rate below {recipe.learning_rate}"
                        )
                    entry = {k: result[k] for k in ("loss", "pixel_loss", "learning_rate")}
                    log.write(json.dumps({"step": done, **entry, "seconds": round(seconds, 4)}) + "\n")
                    log.flush()
                    events.add_summary(_scalars({**entry, "seconds": seconds}), done)
                    progress.advance(f"loss {loss:.3f} (pixels {result['pixel_loss']:.3f})")
                    if save_now:
                        shown = {k: v[:PREVIEWED] for k, v in feeds[-1].items()} | {scores: result["scores"]}
                        pictures = zip(*sess.run(preview, shown), strict=True)
                        rows = [picture_row(*p, split.card.palette) for p in pictures]
                        events.add_summary(_images(rows), done)
                        with atomic(run_dir / "snapshots" / f"{done:06d}.png") as temporary:
                            temporary.write_bytes(png_bytes(np.concatenate(rows)))
                        checkpoint = checkpoints.save(sess, saver, run_dir, done, keep)
                    validate(done)
                if checkpoint is None or checkpoints.step_of(checkpoint) != done:  # stopped by a signal
                    checkpoint = checkpoints.save(sess, saver, run_dir, done, keep)
            events.close()
            batches.close()
            if validation:
                validation.close()
    plot_training_curve(run_dir, recipe, len(split.pairs))
    return Trained(checkpoint, done, stop.received if done < recipe.num_steps else None)


def _initialise(sess, network, recipe, split, init, quiet) -> None:
    """Fill fresh variables: from `init`, or by calibrating batch norm where there is nothing to load."""
    model = tf.model_variables()
    if init is not None:
        count = checkpoints.restore(sess, init, model, recipe.init_not_loaded)
        rest = f"; init_not_loaded leaves {len(model) - count} as they start" if count < len(model) else ""
        say(f"{init.path}: {count} of {len(model)} variables loaded{rest}", quiet)
    elif recipe.calibration_batches:
        by_name = {v.op.name: v for v in model}
        statistics = calibrate(network, recipe, split, sess.run(by_name), quiet)
        initializers = {by_name[n].initializer: value for n, value in statistics.items()}
        sess.run(list(initializers), {op.inputs[1]: value for op, value in initializers.items()})


def _run_step(sess, step, feeds, scores) -> dict:
    """One update; losses are averaged over the accumulated batches, as the gradients are."""
    losses = {"loss": step.loss, "pixel_loss": step.pixel_loss}
    fetches = {**losses, "learning_rate": step.learning_rate, "scores": scores}
    if step.accumulate is None:
        results = [sess.run((fetches, step.update), feeds[0])[0]]
    else:
        results = [sess.run((fetches, step.accumulate), feed)[0] for feed in feeds]
        sess.run(step.update)
    means = {name: float(np.mean([r[name] for r in results])) for name in losses}
    return {**results[-1], "learning_rate": float(results[-1]["learning_rate"]), **means}


def _preview(images, labels, logits, recipe) -> tuple[tf.Tensor, ...]:
    scores = tf.image.resize_bilinear(logits, recipe.crop_size)
    return restore_pixels(images, recipe), labels[..., 0], tf.cast(tf.argmax(scores, axis=3), tf.uint8)


def _images(rows: list[np.ndarray]) -> tf.Summary:
    return tf.Summary(
        value=[
            tf.Summary.Value(
                tag=f"picture_label_prediction/{i}",
                image=tf.Summary.Image(
                    height=row.shape[0], width=row.shape[1], colorspace=3, encoded_image_string=png_bytes(row)
                ),
            )
            for i, row in enumerate(rows)
        ]
    )


def _scalars(values: dict[str, float]) -> tf.Summary:
    return tf.Summary(value=[tf.Summary.Value(tag=k, simple_value=v) for k, v in values.items()])


def _refuse_other_run(run_dir: Path, checkpoint: Path, recipe: Recipe, split: Split, init) -> None:
    """A run of two recipes, data sets or starting points would be none of them."""
    stored, now = checkpoints.Weights(checkpoint).recipe() or {}, recipe.to_json()
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


def _summary(split: Split, init: checkpoints.Weights | None, command: str) -> dict:
    """What a later record needs to know of the training: data, start, command."""
    names = "\n".join(f"{image.name} {mask.name}" for image, mask in split.pairs)
    return {
        "data": split.title,
        "split": split.name,
        "images": len(split.pairs),
        "pictures_digest": hashlib.sha256(names.encode()).hexdigest(),
        "sample": split.is_sample,
        "init": str(init.path) if init else None,
        "init_digest": init.digest() if init else None,
        "command": command,
    }


def _write_summary(
    run_dir: Path, split: Split, init: checkpoints.Weights | None, command: str, val_limit: int | None
) -> None:
    write_json(run_dir / run_folder.SUMMARY, _summary(split, init, command) | {"val_limit": val_limit})
    if split.card.source:  # a person's own card: predicting needs its classes and colours wherever it runs
        write_text(run_dir / FILE, Path(split.card.source).read_text(encoding="utf-8-sig"))
    seen = set(split.ids)
    if init:  # what the starting weights have seen, these have too
        seen |= run_folder.read_pictures(init.path.parent) or {run_folder.UNKNOWN}
    write_text(run_dir / run_folder.PICTURES, "".join(f"{stem}\n" for stem in sorted(seen)))
