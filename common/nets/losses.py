"""Losses on label maps: a loss for each pixel, and their mean over those that count."""

import math
import re
from collections.abc import Callable

from common.nets import layers
from common.nets.network import Outputs
from common.nets.replicas import ALONE, Replicas
from common.recipe.recipe import Recipe
from common.tf1 import tf


def softmax_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    """Cross-entropy of each pixel [n, h, w], times its class's weight if `recipe.class_weights` has weights."""
    losses = _cross_entropy(logits, labels)
    if not recipe.class_weights:
        return losses
    return losses * tf.gather(tf.constant(recipe.class_weights), labels)


@tf.custom_gradient
def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """tf.nn.sparse_softmax_cross_entropy_with_logits, with one array of the scores' size for both passes."""
    logarithms = tf.nn.log_softmax(logits)

    def gradient(of_losses: tf.Tensor) -> tuple[tf.Tensor, None]:
        distance = tf.exp(logarithms) - tf.one_hot(labels, logits.shape[-1])
        return distance * of_losses[..., None], None

    return -tf.gather(logarithms, labels, batch_dims=3), gradient


def class_balanced(logits: tf.Tensor, labels: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    """Sum of the classes' binary cross-entropies of softmax probabilities, [n, h, w] (deeplabv3plus_keras).

    Pixels of a class have its weight w of `recipe.class_weights`; all others have 1 - w.
    """
    epsilon = 1e-7
    probabilities = tf.nn.softmax(logits)
    truth = tf.one_hot(labels, recipe.num_classes)
    positive = tf.constant(recipe.class_weights)
    own = positive * truth * tf.math.log(probabilities + epsilon)
    others = (1 - positive) * (1 - truth) * tf.math.log(1 - probabilities + epsilon)
    return -tf.reduce_sum(own + others, axis=3)


LOSSES = {"softmax": softmax_cross_entropy, "class_balanced": class_balanced}


def mean_loss(
    logits: tf.Tensor, labels: tf.Tensor, recipe: Recipe, step: tf.Tensor | int = 0, replicas: Replicas = ALONE
) -> tf.Tensor:
    """Average `recipe.loss` over the pixels that have a class, or over the hardest of them.

    Args:
      logits: float32 [n, h, w, num_classes].
      labels: integer [n, H, W, 1]; a label of num_classes or above (the ignore label) has no loss.
      recipe: `loss_size` `logits` brings the labels to [h, w] by nearest neighbour (`labels_align_corners`), `labels`
        the scores to [H, W] bilinearly; `void_pixels` `masked` leaves pixels without a class out of the
        mean, `averaged` counts them in it, `constant` counts them with the loss of equal scores
        (`background` has given them a class already).
        `top_k_percent_pixels` below 1 averages over that share of all pixels, the ones with the greatest losses.
      step: updates done; `hard_example_mining_step` lowers the share gradually up to that step.
      replicas: `logits` are one replica's part of the batch, and so is the result: their sum is the batch's mean. The
        hardest pixels of a batch are not those of its parts.

    Returns:
      A scalar; 0 when no pixel has a class (the original divides 0 by 0 there).
    """
    if recipe.loss_size == "labels":
        logits = layers.resize_bilinear(logits, tf.shape(labels)[1:3], align_corners=recipe.align_corners)
    else:
        labels = layers.resize_labels(labels, tf.shape(logits)[1:3], align_corners=recipe.labels_align_corners)
    labels = tf.cast(labels[..., 0], tf.int32)
    counted = labels < recipe.num_classes
    losses = LOSSES[recipe.loss](logits, tf.where(counted, labels, tf.zeros_like(labels)), recipe)
    weights = tf.cast(counted, tf.float32)
    if recipe.top_k_percent_pixels < 1:
        return _hardest(losses * weights, recipe, step)
    if recipe.void_pixels == "constant":
        losses = tf.where(counted, losses, tf.fill(tf.shape(losses), math.log(recipe.num_classes)))
        return tf.reduce_mean(losses) / replicas.count
    if recipe.void_pixels == "averaged":
        return tf.reduce_mean(losses * weights) / replicas.count
    return tf.reduce_sum(losses * weights) / tf.maximum(replicas.total(tf.reduce_sum(weights)), 1.0)


def _hardest(losses: tf.Tensor, recipe: Recipe, step: tf.Tensor | int) -> tf.Tensor:
    """The mean of the greatest `losses`; zeros among them (void or perfect pixels) don't count (research/deeplab)."""
    share = recipe.top_k_percent_pixels
    if recipe.hard_example_mining_step:
        reached = tf.minimum(1.0, tf.cast(step, tf.float32) / recipe.hard_example_mining_step)
        share = reached * share + (1.0 - reached)
    flat = tf.reshape(losses, [-1])
    count = tf.cast(share * tf.cast(tf.size(flat), tf.float32), tf.int32)
    hardest = tf.nn.top_k(flat, tf.maximum(count, 1), sorted=False).values
    present = tf.reduce_sum(tf.cast(hardest > 0, tf.float32))
    return tf.reduce_sum(hardest) / tf.maximum(present, 1.0)


def weight_decay(recipe: Recipe) -> tf.Tensor:
    """Weight decay times half the sum of squares of the trained variables that `weight_decay_on` names."""
    decays = [(decay, v) for v in tf.trainable_variables() if (decay := decay_of(v.op.name, recipe))]
    return tf.add_n([decay * tf.nn.l2_loss(v) for decay, v in decays]) if decays else tf.constant(0.0)


def decay_of(name: str, recipe: Recipe) -> float:
    """The weight decay of the variable `name`; 0 for none."""
    if not recipe.weight_decay or not re.search(recipe.weight_decay_on, name):
        return 0.0
    return next((d for pattern, d in recipe.weight_decay_fixed if re.search(pattern, name)), recipe.weight_decay)


def pixel_loss(
    outputs: Outputs, labels: tf.Tensor, recipe: Recipe, step: tf.Tensor | int = 0, replicas: Replicas = ALONE
) -> tf.Tensor:
    """The sum of the mean losses of the network's scores and of its auxiliary scores; see `mean_loss`."""
    scores = (outputs.logits, *outputs.auxiliary)
    return tf.add_n([mean_loss(s, labels, recipe, step, replicas) for s in scores])
