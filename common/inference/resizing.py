"""TensorFlow's resizes for arrays, for networks that run without TensorFlow."""

from collections.abc import Sequence

import numpy as np

from common.engines.interface import Size
from common.recipe.recipe import Recipe


def resize_bilinear(values: np.ndarray, size: tuple[int, int], *, align_corners: bool) -> np.ndarray:
    """Bilinear resize of [h, w, c] to `size` [height, width], float32, by the rule of `nets.layers.resize_bilinear`.

    The arithmetic is TensorFlow's: columns first, in float32.
    """
    values = values.astype(np.float32, copy=False)
    if values.shape[:2] == tuple(size):
        return values
    rows, columns = (sources(values.shape[axis], size[axis], align_corners) for axis in (0, 1))
    values = _resized(values, columns, axis=1)
    return _resized(values, rows, axis=0)


def sources(given: int, wanted: int, align_corners: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each target the two sources, and the share of the second one."""
    aligned = align_corners and wanted > 1
    step = np.float32(given - 1) / np.float32(wanted - 1) if aligned else np.float32(given) / np.float32(wanted)
    places = np.arange(wanted, dtype=np.float32) * step
    first = np.floor(places)
    return first.astype(int), np.minimum(first.astype(int) + 1, given - 1), places - first


def _resized(values: np.ndarray, sources: tuple[np.ndarray, np.ndarray, np.ndarray], axis: int) -> np.ndarray:
    first, second, share = sources
    shape = [1] * values.ndim
    shape[axis] = -1
    return between(values.take(first, axis=axis), values.take(second, axis=axis), share.reshape(shape))


def between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The values between two arrays, by the share of the second one, whose memory they take."""
    second -= first
    second *= share
    second += first
    return second


def resize_nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize [h, w] to `size` by the nearest value, corners aligned: so research/deeplab's export resizes labels."""
    steps = [(given - 1) / max(wanted - 1, 1) for given, wanted in zip(values.shape, size, strict=True)]
    rows, columns = (np.floor(np.arange(n) * step + 0.5).astype(int) for n, step in zip(size, steps, strict=True))
    return values[np.ix_(rows, columns)]


def size_in_evaluation(own: Size, recipe: Recipe) -> Size:
    """The size at which a picture of the size `own` is evaluated: see `nets.pictures.size_in_evaluation`."""
    limits = recipe.eval_resize_range
    return size_in_range(own, limits, recipe.resize_factor, recipe.resize_rule) if limits else own


def size_in_range(size: Size, limits: Sequence[int], factor: int, rule: str) -> Size:
    """The size, scaled into a range by the rule and the arithmetic of `nets.sizes.size_in_range`."""
    original = rule == "original"
    shortest, longest = limits
    if rule == "fit":
        return tuple(max(int(side / max(size) * longest), 1) for side in size)
    if factor:
        longest -= (longest - 2) % factor + 1 if original else (longest - 1) % factor
    sides, whole = np.array(size, np.float32), np.ceil if original else np.floor
    large = whole(sides * (np.float32(shortest) / sides.min()))
    small = whole(sides * (np.float32(longest) / sides.max()))
    scaled = [max(int(side), 1) for side in (small if large.max() > longest else large)]
    scaled = [side + (1 - side) % factor if factor else side for side in scaled]
    return (max(scaled),) * 2 if rule == "square" else tuple(scaled)


def padded_size(size: Size, recipe: Recipe) -> Size:
    """The size of the canvas of a picture that is evaluated at `size`: see `nets.pictures.canvas`."""
    return size if recipe.eval_size == "native" else tuple(max(side, recipe.eval_size) for side in size)
