"""The segmenter: from a picture of any size to scores and a label map, over scales and mirrored."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from common.data.masks import read_image, too_large
from common.errors import UserError, WeightsError
from common.nets import layers, losses
from common.nets.network import Network, build
from common.nets.pictures import bring_into_range, pad, padding_to, preprocess
from common.recipe.recipe import Recipe
from common.tf1 import session, tf
from common.weights import checkpoints
from common.weights.weights import Weights

Fetches = tf.Tensor | tuple[tf.Tensor, ...]
Picture = np.ndarray | str | Path  # uint8 RGB [h, w, 3], or a picture file
LARGEST_SCORE = 1e30  # of the network; resizing takes differences, which must stay finite too


class Segmenter:
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
        self._loss: tf.Tensor | None = None
        self._is_closed = False
        with tf.Graph().as_default() as graph:
            self._picture = tf.placeholder(tf.uint8, [None, None, 3])
            self._scale = tf.placeholder_with_default(1.0, [])
            self._mirror = tf.placeholder_with_default(False, [])
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
        recipe, own = self.recipe, tf.shape(self._picture)[:2]
        image = preprocess(self._picture, recipe)
        if recipe.eval_resize_range:
            image = bring_into_range(image, recipe.eval_resize_range, recipe)
        size = tf.shape(image)[:2]
        padded = size if recipe.eval_size == "native" else tf.maximum(size, recipe.eval_size)
        padding = padding_to(size, padded, around=recipe.eval_padding == "around")
        image = pad(image, padding, recipe)
        image.set_shape([None, None, 3])
        scaled = layers.scaled_size(padded, self._scale, align_corners=recipe.align_corners)
        batch = layers.resize_bilinear(image[None], scaled, align_corners=recipe.align_corners)  # at scale 1 a copy
        batch.set_shape([1, None, None, 3])
        batch = self._mirrored(batch)
        logits = self._mirrored(build(network, batch, recipe).logits)
        scores = logits
        if recipe.scores_stride:
            size_at_scale_1 = (padded - 1) // recipe.scores_stride + 1
            enlarged = tf.maximum(tf.shape(logits)[1:3], size_at_scale_1)
            scores = layers.resize_bilinear(scores, enlarged, align_corners=recipe.align_corners)
        scores = layers.resize_bilinear(scores, padded, align_corners=recipe.align_corners)[0]
        scores = tf.slice(scores, padding[:, 0], tf.pad(size, [[0, 1]], constant_values=-1))
        if recipe.eval_resize_range:
            scores = layers.resize_bilinear(scores[None], own, align_corners=recipe.resize_align_corners)[0]
        self._logits, self._scores = logits[0], scores
        self._is_finite = tf.reduce_all(tf.abs(logits) < LARGEST_SCORE)  # NaN is not
        self._probabilities = tf.nn.softmax(scores)
        self._label = tf.cast(tf.argmax(scores, axis=-1), tf.uint8)

    def _mirrored(self, batch: tf.Tensor) -> tf.Tensor:
        return tf.cond(self._mirror, lambda: tf.reverse(batch, [2]), lambda: tf.identity(batch))

    def _run(self, fetches: Fetches, feeds: Mapping[tf.Tensor, np.ndarray | float | bool]) -> Any:
        if self._is_closed:
            raise UserError("this segmenter is closed; open another one, or use it inside its `with` block")
        try:
            value, is_finite = self._session.run((fetches, self._is_finite), feeds)
        except (tf.errors.ResourceExhaustedError, MemoryError):
            raise UserError(too_large(feeds[self._picture].shape[1::-1])) from None
        except tf.errors.InvalidArgumentError:
            height, width = feeds[self._picture].shape[:2]
            raise UserError(
                f"a picture of {width}x{height} pixels is too small for this network at its own size; "
                f"--set eval_size=N pads it"
            ) from None
        if not is_finite:
            raise WeightsError(
                f"the network's scores of this picture are not finite, or above {LARGEST_SCORE:g}, with "
                f"{self._source}; their training diverged or the file is damaged: take an earlier checkpoint, or fetch "
                f"it again"
            )
        return value

    def logits(self, picture: Picture) -> np.ndarray:
        """The network's scores for the picture at scale 1: float32 [h / os, w / os, classes]."""
        return self._run(self._logits, {self._picture: _pixels(picture)})

    def label_and_loss(self, picture: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, float]:
        """The label map (without CRF) at scale 1, and the recipe's mean loss against `mask`, uint8 [h, w]."""
        if self._loss is None:  # most evaluations need no loss
            with self._session.graph.as_default():
                self._mask = tf.placeholder(tf.uint8, [None, None])
                self._loss = losses.mean_loss(self._scores[None], self._mask[None, ..., None], self.recipe)
        return self._run((self._label, self._loss), {self._picture: picture, self._mask: mask})

    def label_and_logits(self, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
        """The label map (without CRF) and `logits` from one pass at scale 1."""
        return tuple(self._run((self._label, self._logits), {self._picture: _pixels(picture)}))

    def label(self, picture: Picture) -> np.ndarray:
        """The class ids of a picture, uint8 [h, w], by the recipe's scales, mirroring and CRF."""
        picture = _pixels(picture)
        if self.recipe.crf:
            return self.probabilities(picture).argmax(axis=-1).astype(np.uint8)
        if self.recipe.is_single_pass:
            return self._run(self._label, {self._picture: picture})
        return self.fused(picture).argmax(axis=-1).astype(np.uint8)

    def probabilities(self, picture: Picture) -> np.ndarray:
        """The class probabilities, float32 [h, w, classes], sum 1; `label` is the class of the highest one.

        With a CRF they are its marginals. With `scale_fusion=max_logits` they are the softmax of the fused scores.
        """
        picture = _pixels(picture)
        probabilities = self.fused(picture)
        if self.recipe.scale_fusion == "max_logits":
            import scipy.special

            probabilities = scipy.special.softmax(probabilities, axis=-1)
        if not self.recipe.crf:
            return probabilities
        from common.inference.crf import CrfParameters, dense_crf

        return dense_crf(picture, probabilities, CrfParameters(**self.recipe.crf_parameters()))

    def fused(self, picture: np.ndarray) -> np.ndarray:
        """Fuse the passes: mean probabilities or highest scores by `recipe.scale_fusion`, float32 [h, w, classes].

        There is one pass for each of `recipe.eval_scales`, and with `recipe.eval_flip` another one, mirrored.
        """
        mean = self.recipe.scale_fusion == "mean_probability"
        tensor = self._probabilities if mean else self._scores
        total, passes = None, 0
        for scale in self.recipe.eval_scales:
            for mirror in (False, True) if self.recipe.eval_flip else (False,):
                feed = {self._picture: picture, self._scale: scale, self._mirror: mirror}
                value = self._run(tensor, feed)
                total = value if total is None else total + value if mean else np.maximum(total, value)
                passes += 1
        return total / passes if mean else total

    def close(self) -> None:
        """Free the session's memory; the segmenter can't be used afterwards."""
        self._is_closed = True
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pixels(picture: Picture) -> np.ndarray:
    """The pixels of a picture or its file, uint8 RGB [h, w, 3]. Raises UserError for anything else."""
    if isinstance(picture, str | Path):
        return read_image(Path(picture))
    try:
        pixels = np.asarray(picture)
    except ValueError:  # lists of several lengths
        pixels = np.asarray(None)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        given = f"{pixels.dtype} of shape {pixels.shape}" if pixels.ndim else f"a {type(picture).__name__}"
        raise UserError(f"the picture is {given}; give a path, or uint8 RGB of shape [h, w, 3]")
    return pixels
