"""Fusion: from the network's scores of all passes to the probabilities and the label map at the picture's size."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from common.nets import layers, losses
from common.nets.pictures import canvas, size_in_evaluation
from common.recipe.recipe import Recipe
from common.tf1 import tf

WHOLE_VALUES = 2**24  # scores of a map, 64 MiB; larger maps are made by bands of rows
BAND_VALUES = 2**22  # scores of a band
Feeds = dict[tf.Tensor, np.ndarray | float]


def _made_once(build: Callable[["Fusion"], Any]) -> functools.cached_property:
    """A property whose ops are added to the fusion's graph when it is first read."""

    def made(fusion: "Fusion") -> Any:
        with fusion.graph.as_default():
            return build(fusion)

    return functools.cached_property(functools.wraps(build)(made))


class Fusion:
    """Ops on the default graph that resize the scores of all passes to the picture's size and fuse them.

    The scores are resized to the padded size, cropped, and resized to the picture's own size. Several passes become the
    mean of their probabilities, or their highest scores, by `recipe.scale_fusion`. A label map needs few rows of that
    at a time: a large one is made band by band, with the same bits.

    Attributes:
      recipe: the protocol.
      graph: which the ops are added to.
      passes: tensors, the scores [n, h', w', classes] of each scale, n = 2 with the mirrored pass.
      mirrors: how many pictures of a pass are fused.
      own: a tensor, the picture's own size [h, w].
      rows: a tensor, the first row of a band and the one after its last.
      count: a tensor, how many values are fused.
    """

    def __init__(self, recipe: Recipe):
        self.recipe, self.graph = recipe, tf.get_default_graph()
        scales, self.mirrors = len(recipe.eval_scales), 2 if recipe.eval_flip else 1
        self.passes = [tf.placeholder(tf.float32, [None, None, None, recipe.num_classes]) for _ in range(scales)]
        self.own = tf.placeholder(tf.int32, [2])
        self.rows = tf.placeholder(tf.int32, [2])  # the first, and the one after the last
        # Fed, because the runtime would turn a division by a constant into a product, which rounds differently.
        self.count = tf.placeholder_with_default(float(scales * self.mirrors), [])

    def feeds(self, passes: Sequence[np.ndarray], size: tuple[int, int]) -> Feeds:
        """The inputs: scores [n, h', w', classes] of each scale, n = 2 with the mirrored pass, and the size [h, w]."""
        return {**dict(zip(self.passes, passes, strict=False)), self.own: np.array(size, np.int32)}

    def bands(self, size: tuple[int, int]) -> list[tuple[tf.Tensor, Feeds]]:
        """The runs that make the label map, uint8 [h, w], from above to below: what to fetch, and what to feed too."""
        height, width = size
        values = width * self.recipe.num_classes * self.mirrors
        if height * values <= WHOLE_VALUES:
            return [(self.whole_label, {})]
        step = max(1, BAND_VALUES // values)
        ends = [(row, min(row + step, height)) for row in range(0, height, step)]
        return [(self._band_label, {self.rows: np.array(rows, np.int32)}) for rows in ends]

    @property
    def _is_mean(self) -> bool:
        return self.recipe.scale_fusion == "mean_probability"

    @_made_once
    def whole_label(self) -> tf.Tensor:
        """The label map, uint8 [h, w], in one run."""
        return self._label(False)

    @_made_once
    def _band_label(self) -> tf.Tensor:
        return self._label(True)

    @_made_once
    def fused(self) -> tf.Tensor:
        """Mean probabilities or highest scores, float32 [h, w, classes]."""
        return self._fused(False)

    @_made_once
    def loss(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The recipe's mean loss over the first scale's scores, and the placeholder of the mask, uint8 [h, w]."""
        mask = tf.placeholder(tf.uint8, [None, None])
        return losses.mean_loss(self.scores(self.passes[0], False), mask[None, ..., None], self.recipe), mask

    def _label(self, is_band: bool) -> tf.Tensor:
        single = self.recipe.is_single_pass
        scores = self.scores(self.passes[0], is_band)[0] if single else self._fused(is_band)
        return tf.cast(tf.argmax(scores, axis=-1), tf.uint8)

    def _fused(self, is_band: bool) -> tf.Tensor:
        total = None
        for passes in self.passes:
            values = self.scores(passes, is_band)
            values = tf.nn.softmax(values) if self._is_mean else values
            for value in tf.unstack(values, self.mirrors):
                add = tf.add if self._is_mean else tf.maximum
                total = value if total is None else add(total, value)
        return total / self.count if self._is_mean else total

    def scores(self, scores: tf.Tensor, is_band: bool) -> tf.Tensor:
        """The scores [n, h', w', classes] of a scale at the picture's size, or the band of it."""
        recipe, own = self.recipe, self.own
        size = size_in_evaluation(own, recipe)
        padded, padding = canvas(size, recipe)
        if recipe.scores_stride:
            size_at_scale_1 = (padded - 1) // recipe.scores_stride + 1
            enlarged = tf.maximum(tf.shape(scores)[1:3], size_at_scale_1)
            scores = layers.resize_bilinear(scores, enlarged, align_corners=recipe.align_corners)
        is_last = not recipe.eval_resize_range
        rows = padding[0, 0] + self.rows if is_band and is_last else None
        scores = _resized(scores, padded, recipe.align_corners, rows)
        top, height = (0, -1) if rows is not None else (padding[0, 0], size[0])
        scores = tf.slice(scores, [0, top, padding[1, 0], 0], [-1, height, size[1], -1])
        if is_last:
            return scores
        return _resized(scores, own, recipe.resize_align_corners, self.rows if is_band else None)


def _resized(scores: tf.Tensor, size: tf.Tensor, align_corners: bool, rows: tf.Tensor | None) -> tf.Tensor:
    if rows is None:
        return layers.resize_bilinear(scores, size, align_corners=align_corners)
    return layers.resized_rows(scores, size, rows, align_corners=align_corners)
