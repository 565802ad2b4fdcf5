"""TensorFlow's resizes for arrays, for networks that run without TensorFlow."""

import functools

import numpy as np

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


@functools.lru_cache(maxsize=1024)
def size_in_evaluation(own: tuple[int, int], recipe: Recipe) -> tuple[int, int]:
    """The size [h, w] at which a picture of the size `own` is evaluated: by TensorFlow, where there is a range.

    See `nets.pictures.size_in_evaluation`.
    """
    if not recipe.eval_resize_range:
        return own
    from common.nets import pictures
    from common.tf1 import tf

    with tf.Graph().as_default(), tf.Session() as running:
        height, width = running.run(pictures.size_in_evaluation(tf.constant(own), recipe))
    return int(height), int(width)
