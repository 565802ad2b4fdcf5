"""Training: one page from a recipe to a run folder full of checkpoints."""

import time
from dataclasses import dataclass
from pathlib import Path

from common.console import Progress, StopSignal, say
from common.data.lists import check_classes
from common.data.split import Split
from common.nets.network import Network
from common.recipe.recipe import Recipe
from common.tf1 import session, tf
from common.training import run_folder
from common.training.batches import TrainingBatches
from common.training.curve import plot_training_curve
from common.training.epochs import steps_per_epoch
from common.training.log import RunLog
from common.training.start import find_start, refuse_nothing_to_learn, write_summary
from common.training.trainer import Trainer
from common.training.validation import Validation
from common.weights.checkpoint_files import step_of
from common.weights.weights import Weights


@dataclass(frozen=True)
class Trained:
    """How a training call ended: its newest checkpoint, its step, and the signal that stopped it, if one did."""

    checkpoint: Path
    step: int
    stopped_by: int | None = None


def train(
    network: Network,
    recipe: Recipe,
    split: Split,
    run_dir: Path,
    *,
    init: Weights | None = None,
    resume: bool = False,
    keep: int = 5,
    save_start: bool = False,
    val_split: Split | None = None,
    val_limit: int | None = None,
    val_unseen: bool = False,
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
      init: weights to start from; all variables must fit, except those of `recipe.init_not_loaded`.
      resume: go on from the newest checkpoint in `run_dir` (from the start when there is none).
      keep: checkpoints to keep; 0 keeps all.
      save_start: write start/model.ckpt-0 too, the network as training finds it.
      val_split: pictures to measure mIoU on every `recipe.validation_interval` steps.
      val_limit: how many of them (all by default).
      val_unseen: the user's word, kept with a new run, that `init` has not seen the pictures of later evaluations.
      quiet: no progress.
      command: the command line, for the records.

    Raises:
      UserError: bad data or weights, a folder in use or not empty, a full disk, a loss that is not finite.
    """
    check_classes(recipe, split.card)
    with run_folder.locked(run_dir), tf.Graph().as_default() as graph, StopSignal() as stop:
        start = find_start(run_dir, recipe, split, init, resume)
        validation = Validation(network, recipe, val_split, run_dir, val_limit or start.val_limit, quiet)
        if start.step >= recipe.num_steps and not validation.is_due(start.step):
            say(f"{start.checkpoint}: already at {start.step} of {recipe.num_steps} steps", quiet)
            return Trained(start.checkpoint, start.step)

        if not start.checkpoint:
            refuse_nothing_to_learn(recipe, split)
        trainer = Trainer(network, recipe, run_dir, keep)
        with session(graph, recipe.precision) as sess, validation:
            trainer.initialise(sess, start, split, quiet)
            run_folder.write_recipe(run_dir, recipe)
            if not start.checkpoint:
                write_summary(run_dir, split, init, command, val_limit, val_unseen)
                if save_start:
                    trainer.save_start(sess)
            checkpoint, done = start.checkpoint, start.step
            with (
                RunLog(run_dir, None if start.checkpoint else graph, steps_per_epoch(recipe, len(split.pairs))) as log,
                TrainingBatches(split, recipe, start.step) as batches,
                Progress("training", recipe.num_steps, start.step, quiet, at_once=True) as progress,
            ):
                graph.finalize()
                validation.run_if_due(sess, trainer, log, done)  # left out by a run that was killed in it
                while done < recipe.num_steps and not stop.received:
                    started = time.monotonic()
                    update = trainer.update(sess, batches, done + 1)
                    done = update.step
                    log.write_step(done, update.figures, time.monotonic() - started)
                    progress.advance("loss {loss:.3f} (pixels {pixel_loss:.3f})".format(**update.figures))
                    if trainer.is_due(done):
                        log.write_pictures(done, trainer.preview(sess, update), split.card.palette)
                        checkpoint = trainer.save(sess, done)
                    validation.run_if_due(sess, trainer, log, done)
                if checkpoint is None or step_of(checkpoint) != done:  # stopped by a signal
                    checkpoint = trainer.save(sess, done)
    plot_training_curve(run_dir, recipe, len(split.pairs))
    return Trained(checkpoint, done, stop.received if done < recipe.num_steps else None)
