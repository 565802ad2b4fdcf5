"""The training step: a function from a batch to its loss and its updates, apart from the loop that runs it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.console import StopSignal
from common.nets import layers, losses
from common.nets.network import Network, Outputs
from common.nets.replicas import ALONE, Replicas
from common.recipe.recipe import Recipe
from common.tf1 import session, tf
from common.training.plateau import Plateau
from common.training.towers import build_on
from common.weights.weights import ACCUMULATOR


@dataclass(frozen=True)
class TrainStep:
    """One update of the weights, as tensors and ops to run.

    The figures are those of the update: of all its batches and replicas. They are fetched with `update`.

    Attributes:
      outputs: the network's scores on the batch, or on this replica's part of it.
      loss: pixel loss plus weight decay, before the update.
      pixel_loss: without weight decay, the mean of the accumulated batches.
      confusion: int64 [classes, classes], pixels by label and prediction; see `batch_confusion`.
      learning_rate: before multipliers.
      stop: int64 placeholder [signals], the signals that this replica has received; zeros unless it is fed.
      stops: its sum over the replicas.
      step: int64 variable `global_step`: updates done.
      accumulate: op that adds one batch's gradients and figures to the accumulators; None without accumulation.
      update: op that applies the gradients (of this batch, or the accumulated ones, which it then clears) and advances
        `step`.
    """

    outputs: Outputs
    loss: tf.Tensor
    pixel_loss: tf.Tensor
    confusion: tf.Tensor
    learning_rate: tf.Tensor
    stop: tf.Tensor
    stops: tf.Tensor
    step: tf.Variable
    accumulate: tf.Operation | None
    update: tf.Operation


def learning_rate(recipe: Recipe, step: tf.Tensor) -> tf.Tensor:
    """The learning rate of update number `step` (from 0).

    The first `slow_start_step` updates have `slow_start_learning_rate`, and the schedule counts from the one after
    them. poly is end + (base - end) * (1 - step / steps) ** power, with as many steps as `decay_steps` says or as there
    are left. step multiplies by step_factor every step_size updates. (research/deeplab's get_model_learning_rate.)

    Raises ValueError for another schedule: plateau follows the losses, not the step (see `common.training.plateau`).
    """
    if recipe.schedule not in ("constant", "step", "poly"):
        raise ValueError(f"schedule {recipe.schedule}: is no function of the step")
    slow = recipe.slow_start_step
    rate = _scheduled_rate(recipe, tf.maximum(step - slow, 0) if slow else step)
    return tf.where(step < slow, tf.constant(recipe.slow_start_learning_rate), rate) if slow else rate


def _scheduled_rate(recipe: Recipe, step: tf.Tensor) -> tf.Tensor:
    """The learning rate after `step` updates of the schedule alone."""
    base = tf.constant(recipe.learning_rate)
    if recipe.schedule == "constant":
        return base
    if recipe.schedule == "step":
        return base * recipe.step_factor ** tf.cast(step // recipe.step_size, tf.float32)
    steps, end = recipe.decay_steps or recipe.num_steps - recipe.slow_start_step, recipe.end_learning_rate
    progress = tf.minimum(tf.cast(step, tf.float32) / steps, 1.0)
    return (base - end) * (1.0 - progress) ** recipe.power + end


def multiplier(recipe: Recipe, name: str) -> float:
    """The learning-rate multiplier of the variable `name`: its first matching pattern's, or 1."""
    return next((m for pattern, m in recipe.lr_multipliers if re.search(pattern, name)), 1.0)


OPTIMIZERS = {
    "momentum": lambda rate, recipe: tf.train.MomentumOptimizer(rate, recipe.momentum),
    "adam": lambda rate, recipe: tf.train.AdamOptimizer(rate, *recipe.adam_betas, epsilon=recipe.adam_epsilon),
    "sgd": lambda rate, recipe: tf.train.GradientDescentOptimizer(rate),
}


def batch_placeholders(recipe: Recipe) -> tuple[tf.Tensor, tf.Tensor]:
    """Where a batch is fed: preprocessed pictures float32 [n, h, w, 3], labels uint8 [n, h, w, 1], of crop_size."""
    return (
        tf.placeholder(tf.float32, [None, *recipe.crop_size, 3]),
        tf.placeholder(tf.uint8, [None, *recipe.crop_size, 1]),
    )


def train_step(
    network: Network,
    images: tf.Tensor,
    labels: tf.Tensor,
    recipe: Recipe,
    replicas: Replicas = ALONE,
    devices: Sequence[str] = (),
) -> TrainStep:
    """Build the step on the default graph.

    Args:
      network: a reproduction's network.
      images: float32 [n, h, w, 3], preprocessed.
      labels: uint8 [n, h, w, 1].
      recipe: loss, optimiser, schedule, multipliers, accumulation.
      replicas: `images` are this replica's part of the batch; gradients and figures are summed once an update.
      devices: each gets a part of `images`, see `build_on`.
    """
    step = tf.train.get_or_create_global_step()
    batch = {"batch_statistics": recipe.batch_statistics, "step": step.read_value()}
    outputs = build_on(devices, network, images, recipe, replicas, **batch)
    pixel_loss = losses.pixel_loss(outputs, labels, recipe, step.read_value(), replicas)
    gradients, variables = _gradients(pixel_loss, recipe, replicas, is_spread=len(devices) > 1)
    confusion = batch_confusion(outputs.logits, labels, recipe.num_classes)
    plateau = Plateau(recipe) if recipe.schedule == "plateau" else None
    rate = plateau.learning_rate() if plateau else learning_rate(recipe, step)

    # Moving statistics are updated by each forward pass; the update itself then needs no batch.
    with tf.control_dependencies([pixel_loss, *tf.get_collection(tf.GraphKeys.UPDATE_OPS)]):
        gradients = [tf.identity(g) for g in gradients]
    accumulate, sums = None, []
    if recipe.grad_update_every > 1:
        sums = _accumulators(pixel_loss, confusion, variables)
        values = [confusion, *(value / recipe.grad_update_every for value in (pixel_loss, *gradients))]
        accumulate = tf.group(*(s.assign_add(value) for s, value in zip(sums, values, strict=True)))
        confusion, pixel_loss, *gradients = (s.read_value() for s in sums)

    stop = tf.placeholder_with_default(tf.zeros([len(StopSignal.SIGNALS)], tf.int64), [len(StopSignal.SIGNALS)])
    confusion, stops = replicas.totals([confusion, stop])
    pixel_loss, *gradients = replicas.totals([pixel_loss, *gradients])
    loss = pixel_loss + losses.weight_decay(recipe)
    observed = [plateau.observe(pixel_loss)] if plateau else []
    with tf.control_dependencies([loss, confusion, *observed]):  # these read what the update changes
        gradients = [tf.identity(g) for g in gradients]
    if recipe.gradient_clip:
        gradients, _ = tf.clip_by_global_norm(gradients, recipe.gradient_clip)
    applied = _apply(recipe, rate, list(zip(gradients, variables, strict=True)))
    with tf.control_dependencies([applied]):
        ended = [s.assign(tf.zeros_like(s)) for s in sums]
        ended += [plateau.judge(step.read_value())] if plateau else []
        with tf.control_dependencies(ended):
            update = tf.group(applied, step.assign_add(1))
    return TrainStep(outputs, loss, pixel_loss, confusion, rate, stop, stops, step, accumulate, update)


def random_start(network: Network, recipe: Recipe) -> dict[str, np.ndarray]:
    """The values that the network's variables start with in a training step on one device, by name.

    TensorFlow draws random weights by the number of ops before them, so a graph for many replicas draws others.
    """
    with tf.Graph().as_default() as graph, session(graph) as sess:
        train_step(network, *batch_placeholders(recipe), recipe)
        model = tf.model_variables()
        sess.run([v.initializer for v in model])
        return sess.run({v.op.name: v for v in model})


def _accumulators(pixel_loss: tf.Tensor, confusion: tf.Tensor, variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Sums over the passes of an update: of the counts, of the loss, and of each variable's gradients.

    Between updates they are 0. Checkpoints keep those of the gradients, as they always did.
    """
    options = {"initializer": tf.initializers.zeros(), "trainable": False}
    figures = [
        tf.get_variable(name, of.shape, of.dtype, collections=[tf.GraphKeys.LOCAL_VARIABLES], **options)
        for name, of in (("accumulated_confusion", confusion), ("accumulated_loss", pixel_loss))
    ]
    return figures + [tf.get_variable(f"{v.op.name}/{ACCUMULATOR}", v.shape, **options) for v in variables]


def _gradients(
    pixel_loss: tf.Tensor, recipe: Recipe, replicas: Replicas, is_spread: bool
) -> tuple[list[tf.Tensor], list[tf.Variable]]:
    """The gradients of the whole loss, or of a replica's share of it, and their variables.

    Weight decay's share is computed after the loss's. It needs nothing but the variable, and TensorFlow would make all
    shares at the beginning of a step, as many bytes as the weights have.
    """
    variables, gradients = tf.trainable_variables(), []
    of_pixels = tf.gradients(pixel_loss, variables, colocate_gradients_with_ops=is_spread)
    for variable, gradient in zip(variables, of_pixels, strict=True):
        if decay := losses.decay_of(variable.op.name, recipe):
            with tf.control_dependencies([] if gradient is None else [gradient]):
                share = variable.read_value() * (decay / replicas.count)
            gradient = share if gradient is None else gradient + share
        gradients.append(gradient)
    learned = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
    return [g for g, _ in learned], [v for _, v in learned]


def batch_confusion(logits: tf.Tensor, labels: tf.Tensor, classes: int) -> tf.Tensor:
    """Count pixels by label (row) and highest score (column): int64 [classes, classes]. Void pixels are left out.

    They are compared at the scores' size, which takes almost no time.

    Args:
      logits: float32 [n, h, w, classes].
      labels: uint8 [n, H, W, 1], resized to [h, w] by nearest neighbour.
      classes: labels of this or above have no class.
    """
    labels = tf.cast(layers.resize_labels(labels, tf.shape(logits)[1:3])[..., 0], tf.int64)
    counted = labels < classes
    pairs = tf.where(counted, labels * classes + tf.argmax(logits, axis=3), tf.zeros_like(labels))
    ones = tf.cast(counted, tf.int64)
    counts = tf.scatter_nd(tf.reshape(pairs, [-1, 1]), tf.reshape(ones, [-1]), tf.constant([classes**2], tf.int64))
    return tf.reshape(counts, [classes, classes])


def _apply(recipe: Recipe, rate: tf.Tensor, pairs: list[tuple[tf.Tensor, tf.Variable]]) -> tf.Operation:
    """One optimiser per multiplier, as the original: its slots hold plain gradients, not multiplied ones."""
    groups: dict[float, list] = {}
    for gradient, variable in pairs:
        groups.setdefault(multiplier(recipe, variable.op.name), []).append((gradient, variable))
    make = OPTIMIZERS[recipe.optimizer]
    return tf.group(*(make(rate * m, recipe).apply_gradients(group) for m, group in groups.items()))
