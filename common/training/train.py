"""Training: one page from a recipe to a run folder full of checkpoints."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from common.console import StopSignal, say, stage
from common.data.lists import check_classes
from common.data.split import Split
from common.nets.network import Network
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.training import run_folder
from common.training.agreement import refuse_unlike
from common.training.batches import TrainingBatches
from common.training.curve import plot_training_curve
from common.training.keeper import Keeper, NoKeeper
from common.training.order import listed_pictures
from common.training.placement import HERE, Placement
from common.training.start import Start, begin_folder, find_start, refuse_nothing_to_learn
from common.training.trainer import Trainer
from common.training.validation import Validation
from common.weights.weights import Weights


@dataclass(frozen=True)
class Trained:
    """How a training call ended: its newest checkpoint, its step, and the signal that stopped it, if one did.

    Only the chief of many hosts has a checkpoint.
    """

    checkpoint: Path | None
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
    placement: Placement = HERE,
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
      placement: the devices or hosts that divide every batch among them; the run is the same, but for rounding.

    Raises:
      UserError: a host that is lost or unlike the others, bad data or weights, a folder in use or not empty, a full
        disk, a loss that is not finite.
    """
    check_classes(recipe, split.card)
    placement.check(recipe)
    is_chief, is_shared = placement.is_chief, placement.replicas.count > 1
    recipe.check_input(*recipe.crop_size, "crop_size")
    folder = run_folder.locked(run_dir) if is_chief else contextlib.nullcontext()
    with placement, folder, tf.Graph().as_default() as graph, StopSignal() as stop:
        refuse_unlike(placement, network, recipe, split, init, val_split, quiet)
        start = find_start(run_dir, recipe, split, init, resume) if is_chief else Start(None, 0, init)
        done = int(placement.exchange(str(start.step))[0])
        limit = val_limit or start.val_limit
        validation = Validation(network, recipe, val_split, run_dir, limit, quiet, placement)
        if done >= recipe.num_steps and not validation.is_due(done):
            say(f"{start.checkpoint}: already at {done} of {recipe.num_steps} steps", quiet or not is_chief)
            return Trained(start.checkpoint, done)

        if not done:
            refuse_nothing_to_learn(recipe, split)
        stage("building the network for training")
        trainer = Trainer(network, recipe, run_dir, keep, placement)
        with placement.session(graph, recipe.precision) as sess, validation:
            trainer.initialise(sess, start, split, quiet)
            if is_chief:
                stage("beginning the run's folder")
                begin_folder(run_dir, recipe, split, start, placement.count, command, val_limit, val_unseen)
                if save_start and not start.checkpoint:
                    trainer.save_start(sess)
            keeping = sess, trainer, validation
            stopped_by = None if is_shared else stop.received
            with (
                Keeper(*keeping, run_dir, recipe, split, start, quiet) if is_chief else NoKeeper(*keeping) as keeper,
                TrainingBatches(split, recipe, done, replicas=placement.replicas) as batches,
            ):
                graph.finalize()
                keeper.validate(done)  # left out by a run that was killed in it
                while done < recipe.num_steps and not stopped_by:
                    started = time.monotonic()
                    update = trainer.update(sess, batches, done + 1, stop.received)
                    done = update.step
                    keeper.keep(update, time.monotonic() - started)
                    stopped_by = update.stopped_by if is_shared else stop.received
                keeper.end(done)
    if is_chief:
        stage("drawing the training curve")
        plot_training_curve(run_dir, recipe, len(listed_pictures(split, recipe)))
    return Trained(keeper.checkpoint, done, stopped_by if done < recipe.num_steps else None)
