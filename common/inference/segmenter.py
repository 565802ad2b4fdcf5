"""The segmenter: from a picture of any size to scores and a label map, over scales and mirrored."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.data.masks import too_large
from common.errors import UserError, WeightsError
from common.inference.bands import LARGEST_WHOLE, Cut, find_cut
from common.inference.base import BaseSegmenter, Picture, pixels_of
from common.inference.fusion import Feeds, Fusion
from common.nets import layers
from common.nets.network import Network, build
from common.nets.pictures import bring_into_range, canvas, pad, preprocess, size_in_evaluation
from common.recipe.recipe import Recipe
from common.tf1 import session, tf
from common.weights import checkpoints
from common.weights.weights import Weights

Fetches = tf.Tensor | tuple[tf.Tensor, ...]
LARGEST_PAIR = 1025**2  # pixels of a picture that is segmented with its mirror picture at once; twice takes less memory
LARGEST_SCORE = 1e30  # of the network; resizing takes differences, which must stay finite too


class Segmenter(BaseSegmenter):
    """A network with its weights, ready to segment pictures one by one.

    The picture is preprocessed, resized into `recipe.eval_resize_range` if there is one, padded with the mean to
    `recipe.eval_size` if it is smaller (at the sides that `recipe.eval_padding` says), scaled, and segmented.
    The scores are resized to the padded size, cropped, and resized to the picture's own size.
    With the eval_size 'native' the picture is neither resized nor padded. (research/deeplab's eval.py compares at the
    resized size: it resizes the masks like the pictures.)

    Raises UserError when the weights don't fit, and WeightsError for a picture whose scores overflow.
    """

    def __init__(self, network: Network, recipe: Recipe, weights: Weights | None):
        """Build the graph and load `weights`; without them the variables keep what `recipe.seed` draws."""
        self.recipe = recipe = recipe.at_evaluation()
        self._source = f"the weights {weights.path}" if weights else "these weights"
        self._is_closed = False
        self._fusions: dict[Recipe, Fusion] = {}
        with tf.Graph().as_default() as graph:
            self._build(network)
            self._session = session(graph, recipe.precision)
            if weights is None:
                self._session.run(tf.global_variables_initializer())
            else:
                checkpoints.restore(self._session, weights, tf.global_variables())

    def assign(self, values: Mapping[str, np.ndarray]) -> None:
        """Set all variables to `values`, by name."""
        variables = self._session.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
        feeds = {v.initializer.inputs[1]: values[v.op.name] for v in variables}
        self._session.run([v.initializer for v in variables], feeds)

    def _build(self, network: Network) -> None:
        """Build the network's passes: from a picture to scores at a scale, as it stands, mirrored, or both."""
        recipe = self.recipe
        self._picture = tf.placeholder(tf.uint8, [None, None, 3], "picture")
        self._scale = tf.placeholder_with_default(1.0, [], "scale")
        self._mirrors = tf.placeholder_with_default([False], [None], "mirrors")
        image = preprocess(self._picture, recipe)
        if recipe.eval_resize_range:
            image = bring_into_range(image, recipe.eval_resize_range, recipe)
        padded, padding = canvas(size_in_evaluation(tf.shape(self._picture)[:2], recipe), recipe)
        image = pad(image, padding, recipe)
        image.set_shape([None, None, 3])
        self._size = layers.scaled_size(padded, self._scale, align_corners=recipe.align_corners)
        batch = layers.resize_bilinear(image[None], self._size, align_corners=recipe.align_corners)  # at scale 1 a copy
        batch = self._mirrored(batch)
        batch.set_shape([None, None, None, 3])
        scores = build(network, batch, recipe, scale=self._scale).logits
        self._batch, self._scores = batch, scores
        logits = self._mirrored(scores)
        self._network = [logits, tf.reduce_all(tf.abs(logits) < LARGEST_SCORE)]  # NaN is not

    def _mirrored(self, batch: tf.Tensor) -> tf.Tensor:
        def select() -> tf.Tensor:
            return tf.where_v2(self._mirrors[:, None, None, None], tf.reverse(batch, [2]), batch)

        return tf.cond(tf.reduce_any(self._mirrors), select, lambda: tf.identity(batch))

    def _pass(self, picture: np.ndarray, scale: float = 1.0, mirrors: Sequence[bool] = (False,)) -> np.ndarray:
        """The scores of a picture at a scale, float32 [n, h / os, w / os, classes], for each of `mirrors`."""
        feeds = {self._picture: picture, self._scale: scale, self._mirrors: mirrors}
        if self._input_pixels(picture, scale) > LARGEST_WHOLE and self._cut:
            feeds[self._cut.features] = self._features(feeds, picture)
        logits, is_finite = self._run(self._network, feeds, picture)
        if not is_finite:
            raise WeightsError(
                f"the network's scores of this picture are not finite, or above {LARGEST_SCORE:g}, with "
                f"{self._source}; their training diverged or the file is damaged: take an earlier checkpoint, or fetch "
                f"it again"
            )
        return logits

    @functools.cached_property
    def _cut(self) -> Cut | None:
        """Where the first layers end; looked for when a picture is large."""
        return find_cut(self._batch, self._scores)

    def _input_pixels(self, picture: np.ndarray, scale: float) -> int:
        """How many pixels the network's input has for the picture."""
        return int(np.prod(self._run(self._size, {self._picture: picture, self._scale: scale}, picture)))

    def _features(self, feeds: Feeds, picture: np.ndarray) -> np.ndarray:
        """Run the first layers band by band: what they pass on."""
        inputs = self._run(self._batch, feeds, picture)
        return self._cut.run(lambda fetch, fed: self._run(fetch, fed, picture), inputs)

    def _passes(self, picture: np.ndarray) -> list[np.ndarray]:
        """The scores of each scale of the recipe, `_pass`; a scale and its mirror are one batch."""
        recipe, passes = self.recipe, []
        for scale in recipe.eval_scales:
            mirrors = (False, True) if recipe.eval_flip else (False,)
            is_small = self._input_pixels(picture, scale) <= LARGEST_PAIR
            batches = [mirrors] if is_small else [(mirror,) for mirror in mirrors]
            passes.append(np.concatenate([self._pass(picture, scale, batch) for batch in batches]))
        return passes

    def _run(self, fetches: Fetches, feeds: Feeds, picture: np.ndarray) -> Any:
        if self._is_closed:
            raise UserError("this segmenter is closed; open another one, or use it inside its `with` block")
        height, width = picture.shape[:2]
        try:
            return self._session.run(fetches, feeds)
        except (tf.errors.ResourceExhaustedError, MemoryError):
            raise UserError(too_large((width, height))) from None
        except tf.errors.InvalidArgumentError:
            told = self.recipe.least_input
            least = f", which takes {told[1]}x{told[0]} or more" if told else " at its own size"
            raise UserError(
                f"a picture of {width}x{height} pixels is too small for this network{least}; --set eval_size=N pads it"
            ) from None

    def _fusion(self, recipe: Recipe) -> Fusion:
        """The ops that fuse the passes of this protocol; each is made when it is first wanted."""
        if recipe not in self._fusions:
            with self._session.graph.as_default():
                self._fusions[recipe] = Fusion(recipe)
        return self._fusions[recipe]

    def _label(self, fusion: Fusion, feeds: Feeds, picture: np.ndarray) -> np.ndarray:
        bands = fusion.bands(picture.shape[:2])
        return np.concatenate([self._run(label, {**feeds, **band}, picture) for label, band in bands])

    def logits(self, picture: Picture) -> np.ndarray:
        """The network's scores for the picture at scale 1: float32 [h / os, w / os, classes]."""
        return self._pass(pixels_of(picture, self.recipe.channels))[0]

    def label_and_loss(self, picture: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, float]:
        """The label map (without CRF) at scale 1, and the recipe's mean loss against `mask`, uint8 [h, w]."""
        fusion = self._fusion(self.recipe.at_one_scale())
        label, (loss, given) = fusion.whole_label, fusion.loss
        feeds = fusion.feeds([self._pass(picture)], picture.shape[:2])
        return self._run((label, loss), {**feeds, given: mask}, picture)

    def label_and_logits(self, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
        """The label map (without CRF) and `logits` from one pass at scale 1."""
        picture = pixels_of(picture, self.recipe.channels)
        logits = self._pass(picture)
        fusion = self._fusion(self.recipe.at_one_scale())
        return self._label(fusion, fusion.feeds([logits], picture.shape[:2]), picture), logits[0]

    def whole_label(self, picture: np.ndarray) -> np.ndarray:
        """See `BaseSegmenter`."""
        fusion = self._fusion(self.recipe)
        return self._label(fusion, fusion.feeds(self._passes(picture), picture.shape[:2]), picture)

    def whole_probabilities(self, picture: np.ndarray) -> np.ndarray:
        """See `BaseSegmenter`."""
        fused = self.fused(picture)
        if self.recipe.scale_fusion != "max_logits":
            return fused
        import scipy.special

        return scipy.special.softmax(fused, axis=-1)

    def fused(self, picture: np.ndarray) -> np.ndarray:
        """Fuse the passes: mean probabilities or highest scores by `recipe.scale_fusion`, float32 [h, w, classes].

        There is one pass for each of `recipe.eval_scales`, and with `recipe.eval_flip` another one, mirrored.
        """
        fusion = self._fusion(self.recipe)
        return self._run(fusion.fused, fusion.feeds(self._passes(picture), picture.shape[:2]), picture)

    def close(self) -> None:
        """Free the session's memory; the segmenter can't be used afterwards."""
        self._is_closed = True
        self._session.close()
