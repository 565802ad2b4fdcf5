"""The label map of scores that are smaller than the picture, without enlarging all of them."""

import numpy as np

from common.inference.resizing import between, padded_size, resize_bilinear, sources
from common.recipe.recipe import Recipe

PIXELS_AT_ONCE = 2**13  # whose scores are interpolated at a time; they stay in the cache of the CPU


def enlarges(recipe: Recipe) -> bool:
    """Whether a recipe's label map is made of one pass whose scores are resized once, as `label_map` does."""
    return recipe.is_single_pass and not recipe.eval_resize_range


def label_map(scores: np.ndarray, own: tuple[int, int], recipe: Recipe) -> np.ndarray:
    """The class ids of a picture, uint8 [h, w]: scores [h', w', classes], resized bilinearly, and the highest of each.

    Between four scores that have their maximum in the same class, that class has the maximum everywhere. Only the
    other pixels are interpolated, by TensorFlow's arithmetic.

    Args:
      scores: of the whole canvas, float32.
      own: the picture's size, [h, w].
      recipe: its padding, and how it resizes; `enlarges` it.
    """
    padded = padded_size(own, recipe)
    scores = _at_stride(scores, padded, recipe)
    sides = [_side(*lengths, recipe) for lengths in zip(scores.shape[:2], padded, own, strict=True)]
    (top, bottom, down), (left, right, along) = sides
    best = scores.argmax(axis=-1).astype(np.uint8)
    rows, columns = best[top], best[bottom]
    label = rows[:, left]
    other = (label != rows[:, right]) | (label != columns[:, left]) | (label != columns[:, right])
    flat, width = scores.reshape(-1, scores.shape[-1]), scores.shape[1]
    ys, xs = np.nonzero(other)
    for start in range(0, len(ys), PIXELS_AT_ONCE):
        y, x = ys[start : start + PIXELS_AT_ONCE], xs[start : start + PIXELS_AT_ONCE]
        upper, lower, share = top[y] * width, bottom[y] * width, along[x, None]
        above = between(flat.take(upper + left[x], axis=0), flat.take(upper + right[x], axis=0), share)
        below = between(flat.take(lower + left[x], axis=0), flat.take(lower + right[x], axis=0), share)
        label[y, x] = between(above, below, down[y, None]).argmax(axis=-1)
    return label


def _at_stride(scores: np.ndarray, padded: tuple[int, int], recipe: Recipe) -> np.ndarray:
    """The scores, resized to the stride that the recipe wants first, where they are smaller."""
    if not recipe.scores_stride:
        return scores
    wanted = [(side - 1) // recipe.scores_stride + 1 for side in padded]
    size = tuple(map(max, scores.shape[:2], wanted))
    return resize_bilinear(scores, size, align_corners=recipe.align_corners)


def _side(given: int, padded: int, own: int, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row or column of the picture the two scores around it, and the share of the second one."""
    begin = (padded - own) // 2 if recipe.eval_padding == "around" else 0
    first, second, share = sources(given, padded, recipe.align_corners)
    return first[begin : begin + own], second[begin : begin + own], share[begin : begin + own]
