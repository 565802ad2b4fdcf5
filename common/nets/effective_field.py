"""The effective receptive field (arXiv 1701.04128): how much each pixel moves the score at the centre.

It is the gradient of the highest score at the centre: absolute values, summed over channels, averaged over pictures.
It is measured twice: at the picture's pixels, and at the first features of the scores' size. The second shows whether
atrous convolutions read a grid or a disc of the features (arXiv 1808.08931, figure 9).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.nets.network import Network, build
from common.nets.pictures import preprocess
from common.nets.receptive_field import ops_between
from common.plots import save_plot
from common.recipe.recipe import Recipe
from common.tf1 import session, tf
from common.weights import checkpoints
from common.weights.weights import Weights

FELT = 1 - 0.9545  # a pixel is counted when it has this share of the largest: two standard deviations of a normal one


@dataclass(frozen=True)
class EffectiveField:
    """Mean absolute gradients, each map divided by its largest value.

    Attributes:
      pixels: float64 [size, size].
      features: float64 [h, w], at the scores' stride.
      pictures: how many were averaged over.
    """

    pixels: np.ndarray
    features: np.ndarray
    pictures: int

    @property
    def side(self) -> float:
        """The side in pixels of a square of as many pixels as are felt."""
        return float(np.sqrt((self.pixels > FELT).sum()))


def effective_field(
    network: Network, recipe: Recipe, size: int, pictures: Iterable[np.ndarray], weights: Weights | None
) -> EffectiveField:
    """Measure the effective receptive field on `pictures`, uint8 RGB [size, size, 3] each.

    Without weights the variables keep what `recipe.seed` draws. Batch norm then normalises by the picture, because the
    stored statistics of an untrained network let no signal through, so every pixel moves the scores a little.

    Raises:
      ValueError: there is no picture.
      UserError: the weights don't fit.
    """
    recipe = recipe.at_evaluation().derive(precision="fp32")
    with tf.Graph().as_default() as graph, session(graph) as sess:
        picture = tf.placeholder(tf.uint8, [size, size, 3])
        images = preprocess(picture, recipe)[None]
        scores = build(network, images, recipe, batch_statistics=weights is None).logits
        small = scores.op.inputs[0] if scores.op.type == "ResizeBilinear" else scores
        height, width = small.shape[1:3].as_list()
        centre = tf.reduce_max(small[0, height // 2, width // 2])
        gradients = tf.gradients(centre, [images, _first_of_size(images, small)])
        maps = [tf.reduce_sum(tf.abs(tf.cast(g[0], tf.float64)), axis=-1) for g in gradients]
        if weights is None:
            sess.run(tf.global_variables_initializer())
        else:
            checkpoints.restore(sess, weights, tf.global_variables())
        found = [sess.run(maps, {picture: pixels}) for pixels in pictures]
    if not found:
        raise ValueError("the effective receptive field is a mean over pictures; there is none")
    pixels, features = (np.mean(each, axis=0) for each in zip(*found, strict=True))
    return EffectiveField(_normalised(pixels), _normalised(features), len(found))


def _first_of_size(images: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """The first features on the way to `scores` that have their height and width."""
    wanted = scores.shape[1:3].as_list()
    for op in ops_between(images, scores):
        output = op.outputs[0]
        if output.shape.rank == 4 and output.shape[0] == scores.shape[0] and output.shape[1:3].as_list() == wanted:
            return output
    return scores


def _normalised(values: np.ndarray) -> np.ndarray:
    return values / values.max() if values.max() > 0 else values


def draw(field: EffectiveField, title: str, path: Path, note: Mapping[str, str] | None = None) -> None:
    """Write the two maps to `path`, as PNG with the texts of `note`.

    Brightness is the square root, so that small gradients are visible.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.8), layout="constrained")
    figure.suptitle(title)
    means = "1 picture" if field.pictures == 1 else f"{field.pictures} pictures"
    for axes, values, name in zip(
        figure.subplots(1, 2), (field.pixels, field.features), ("pixels", "features of the scores' size"), strict=True
    ):
        axes.imshow(np.sqrt(values), cmap="inferno", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"{name}, {values.shape[1]}x{values.shape[0]}", fontsize=10)
    figure.supxlabel(f"gradient of the highest score at the centre, mean over {means}", fontsize=9)
    save_plot(figure, path, note, dpi=120, kind="png")
