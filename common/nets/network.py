"""The interface of every reproduction's network: its inputs and its outputs."""

from dataclasses import dataclass
from typing import Protocol

from common.nets import layers
from common.nets.dilation import LARGEST_NATIVE_EXTENT
from common.nets.pooling import crop_means
from common.nets.quantisation import Quantisation
from common.nets.replicas import ALONE, Replicas
from common.recipe.recipe import Recipe
from common.tf1 import slim, tf


@dataclass(frozen=True)
class Outputs:
    """Class scores [n, h / os, w / os, classes], and further scores that carry a loss of their own."""

    logits: tf.Tensor
    auxiliary: tuple[tf.Tensor, ...] = ()


class Network(Protocol):
    """A reproduction's network: preprocessed images [n, h, w, 3] to `Outputs`.

    With `batch_statistics` every batch norm normalises by the batch and puts the updates of its
    stored statistics in UPDATE_OPS.
    """

    def __call__(self, images: tf.Tensor, recipe: Recipe, batch_statistics: bool = False) -> Outputs: ...


INITIALIZERS = {
    "glorot_uniform": tf.initializers.glorot_uniform,
    "he_normal": tf.initializers.he_normal,
    "truncated_normal": lambda: tf.initializers.truncated_normal(stddev=0.09),
}


def build(
    network: Network,
    images: tf.Tensor,
    recipe: Recipe,
    batch_statistics: bool = False,
    step: tf.Tensor | None = None,
    replicas: Replicas = ALONE,
    scale: float | tf.Tensor = 1.0,
) -> Outputs:
    """The network on the default graph, its weights starting as the recipe says.

    Args:
      network: a reproduction's network.
      images: float32 [n, h, w, 3], preprocessed.
      recipe: of the run.
      batch_statistics: see `Network`.
      step: int64 scalar, in training: dropout is on, its masks a function of (recipe.seed, step).
      replicas: `images` are this replica's part of a batch.
      scale: of the images; windows that have a size in pixels are scaled with it.
    """
    tf.set_random_seed(recipe.seed)
    seed = None if step is None else tf.stack([tf.constant(recipe.seed, tf.int64), tf.cast(step, tf.int64)])
    is_inference = step is None and not batch_statistics
    largest_native = LARGEST_NATIVE_EXTENT if is_inference else 0
    with (
        slim.arg_scope(
            [layers.conv2d, layers.depthwise_conv2d], weights_initializer=INITIALIZERS[recipe.initializer]()
        ),
        slim.arg_scope([layers.depthwise_conv2d], largest_native=largest_native),
        slim.arg_scope([layers.batch_norm], fold=recipe.precision == "bf16"),
        slim.arg_scope([layers.dropout], seed=seed),
        slim.arg_scope([layers.batch_norm, layers.dropout], replicas=replicas),
        slim.arg_scope([crop_means], scale=scale),
        slim.arg_scope(layers.QUANTISED, quantisation=_quantisation(recipe, step)),
    ):
        return network(images, recipe, batch_statistics)


def _quantisation(recipe: Recipe, step: tf.Tensor | None) -> Quantisation | None:
    """How the layers are rounded to 8 bits, if they are; the ranges move in training alone."""
    if recipe.quantised_from is None:
        return None
    if step is None:
        return Quantisation()
    return Quantisation(True, step >= recipe.quantised_from if recipe.quantised_from else None, recipe.range_decay)
