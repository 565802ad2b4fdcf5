"""The network in training: its graph, its variables, one update at a time, and its checkpoints."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.console import StopSignal, say, stage
from common.data.split import Split
from common.errors import UserError
from common.inference.metrics import ConfusionMatrix
from common.nets.network import Network
from common.nets.pictures import restore_pixels
from common.nets.quantisation import RANGES, first_ranges
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.training import run_folder
from common.training.batches import TrainingBatches
from common.training.calibration import calibrate
from common.training.placement import HERE, Placement
from common.training.start import Start
from common.training.step import batch_placeholders, random_start, train_step
from common.weights import checkpoints
from common.weights.checkpoint_files import BEST
from common.weights.weights import RECIPE_KEY, Weights
from common.words import some

PREVIEWED = 2  # pictures of the batch in TensorBoard's image row, as the original

Feed = Mapping[tf.Tensor, np.ndarray]


@dataclass(frozen=True)
class Update:
    """The findings of one update of the weights.

    Attributes:
      step: its number, from 1.
      figures: `loss`, `pixel_loss` and `learning_rate`; `miou` and `pixel_accuracy` of its batches at the scores'
        size, None where no pixel has a class.
      feed: its last batch.
      scores: float32 [n, h, w, classes] of the first pictures of that batch.
      stopped_by: the signal by which any process of the run was asked to stop before the update.
      before: the step of this process's update before, which is `step` - 1 where no other one updates the weights.
    """

    step: int
    figures: dict[str, float | None]
    feed: Feed
    scores: np.ndarray
    stopped_by: int | None = None
    before: int = 0


class Trainer:
    """Builds the training graph on the default one, which must be empty, and runs it.

    Everything that a step needs is in the graph before it is finalised. After a new op TensorFlow would optimise the
    whole graph again.
    """

    def __init__(self, network: Network, recipe: Recipe, run_dir: Path, keep: int, placement: Placement = HERE):
        self._network, self._recipe, self._run_dir, self._keep = network, recipe, run_dir, keep
        self._placement, replicas = placement, placement.replicas
        self._images, self._labels = batch_placeholders(recipe)
        self._step = train_step(network, self._images, self._labels, recipe, replicas, placement.devices)
        with tf.control_dependencies([self._step.update]):
            self._reached = self._step.step.read_value()
        # Fed, so that every step runs the same graph: a second one costs a large network half a minute.
        self._scores = tf.placeholder(tf.float32, self._step.outputs.logits.shape)
        self._shown_scores = self._step.outputs.logits[:PREVIEWED]
        enlarged = tf.image.resize_bilinear(self._scores, recipe.crop_size)
        self._preview = (
            restore_pixels(self._images, recipe),
            self._labels[..., 0],
            tf.cast(tf.argmax(enlarged, axis=3), tf.uint8),
        )
        self._finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in tf.trainable_variables()])
        self._state, self._model = tf.global_variables(), tf.model_variables()
        stored_recipe = tf.get_variable(
            RECIPE_KEY,
            initializer=tf.constant(checkpoints.recipe_text(recipe)),
            trainable=False,
            collections=[],
        )
        self._saver = tf.train.Saver([*self._state, stored_recipe], max_to_keep=0)
        self._first_state = tf.global_variables_initializer()
        self._initializers = [tf.local_variables_initializer(), stored_recipe.initializer]
        self._share = [v.assign(replicas.chiefs(v.read_value())) for v in self._state] if replicas.count > 1 else []

    def initialise(self, session: tf.Session, start: Start, split: Split, quiet: bool) -> None:
        """Fill the variables: on the chief as `start` says, on the other hosts with the chief's values."""
        stage("filling the variables")
        session.run(self._initializers)
        if not start.checkpoint:  # others may train on shared variables, which are never to be random again
            session.run(self._first_state)
        if self._placement.is_chief:
            self._start(session, start, split, quiet)
        if self._share:
            with self._placement.together():
                session.run(self._share)

    def _start(self, session: tf.Session, start: Start, split: Split, quiet: bool) -> None:
        """Fill the variables: from the run's checkpoint, from given weights, or with calibrated batch norm."""
        if start.checkpoint:
            checkpoints.restore(session, Weights(start.checkpoint), self._state, training_state=True)
            return
        if self._placement.count > 1:
            self._fill(session, random_start(self._network, self._recipe))
        if start.init:
            model = self._model
            left_out = (*self._recipe.init_not_loaded, *self._recipe.NOT_OF_NETWORK)
            ranges = first_ranges(start.init.shapes, (v.op.name for v in model))
            count = checkpoints.restore(session, start.init, model, (*left_out, *((RANGES,) if ranges else ())))
            others = len(model) - count - len(ranges)
            rest = f"; init_not_loaded leaves {others} as they start" if others else ""
            if ranges:
                rest += f"; a float network has no ranges: {len(ranges)} start as they are ({some(ranges)})"
            say(f"{start.init.path}: {count} of {len(model)} variables loaded{rest}", quiet)
        elif self._recipe.calibration_batches:
            self._fill(session, calibrate(self._network, self._recipe, split, self.model_values(session), quiet))

    def _fill(self, session: tf.Session, values: Mapping[str, np.ndarray]) -> None:
        initializers = {v.initializer: values[v.op.name] for v in self._model if v.op.name in values}
        session.run(list(initializers), {op.inputs[1]: value for op, value in initializers.items()})

    def update(self, session: tf.Session, batches: TrainingBatches, step: int, signal: int | None = None) -> Update:
        """Run an update on the next batches.

        `step` is its number, from 1; it gets a higher one where other processes have updated the weights since.
        `signal` is one that this process has received.

        Raises:
          UserError: the loss is not finite, or before a checkpoint a variable is not.
        """
        recipe, pictures = self._recipe, (self._images, self._labels)
        try:
            feeds = [dict(zip(pictures, next(batches), strict=True)) for _ in range(recipe.grad_update_every)]
        except UserError as error:
            name = self._placement.name_of(self._placement.replicas.index)
            raise UserError(f"host {name}: {error}" if name else str(error)) from None
        with self._placement.together():
            reached, figures, scores, stopped_by = self._run(session, feeds, signal)
        before, step = step - 1, reached
        is_finite = math.isfinite(figures["loss"]) and (not self.is_due(step, before) or session.run(self._finite))
        if not is_finite:
            raise UserError(
                f"{self._run_dir}: loss or weights are not finite at step {step}; start again in a new folder with a "
                f"learning_rate below {recipe.learning_rate}"
            )
        return Update(step, figures, feeds[-1], scores, stopped_by, before)

    def _run(
        self, session: tf.Session, feeds: list[Feed], signal: int | None
    ) -> tuple[int, dict[str, float | None], np.ndarray, int | None]:
        """Run one update; returns its step, its figures, the last batch's scores, and any process's signal to stop."""
        step = self._step
        stop = {step.stop: [s == signal for s in StopSignal.SIGNALS]}
        fetches = {name: getattr(step, name) for name in ("loss", "pixel_loss", "learning_rate", "confusion", "stops")}
        fetches["step"] = self._reached
        if step.accumulate is None:
            found, scores, _ = session.run((fetches, self._shown_scores, step.update), feeds[0] | stop)
        else:
            scores = [session.run((self._shown_scores, step.accumulate), feed)[0] for feed in feeds][-1]
            found, _ = session.run((fetches, step.update), stop)
        matrix = ConfusionMatrix(self._recipe.num_classes)
        matrix.counts += found["confusion"]
        figures = {name: float(found[name]) for name in ("loss", "pixel_loss", "learning_rate")}
        stopped_by = next((s for s, count in zip(StopSignal.SIGNALS, found["stops"], strict=True) if count), None)
        return int(found["step"]), {**figures, **matrix.means()}, scores, stopped_by

    def is_due(self, step: int, before: int) -> bool:
        """Whether a checkpoint is written after update number `step`, when the one after `before` was looked at."""
        interval = self._recipe.save_interval
        return step // interval > before // interval or step >= self._recipe.num_steps

    def preview(self, session: tf.Session, update: Update) -> Iterator[tuple[np.ndarray, ...]]:
        """Picture, label and prediction of the first pictures of an update's last batch, uint8."""
        shown = {k: v[:PREVIEWED] for k, v in update.feed.items()} | {self._scores: update.scores}
        return zip(*session.run(self._preview, shown), strict=True)

    def save(self, session: tf.Session, step: int) -> Path:
        """Write the run's newest checkpoint; returns its prefix."""
        return checkpoints.save(session, self._saver, self._run_dir, step, self._keep)

    def save_start(self, session: tf.Session) -> None:
        """Write the network as training finds it."""
        checkpoints.save(session, self._saver, self._run_dir / run_folder.START, 0, keep=1)

    def save_best(self, session: tf.Session, step: int) -> None:
        """Write the checkpoint that validation found best so far."""
        checkpoints.save(session, self._saver, self._run_dir, step, keep=1, name=BEST)

    def model_values(self, session: tf.Session) -> dict[str, Any]:
        """The values of the network's variables, by name."""
        return session.run({v.op.name: v for v in self._model})
