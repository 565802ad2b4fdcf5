"""Gaussian filtering of values at scattered points, by the permutohedral lattice.

Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics
2010. Points of R^d are lifted to the hyperplane of R^(d+1) whose coordinates sum to 0. The lattice on it
tiles the plane with simplices. A point gives its values to the d+1 vertices of its simplex (splat), the
vertices are blurred along d+1 axes, and each point takes the values back (slice). All three steps are linear:
here each is one sparse matrix, which is made once and applied many times.
"""

import math

import numpy as np
from scipy import sparse

from common.errors import UserError


class PermutohedralLattice:
    """A linear filter that approximates the sums over all points j of exp(-|f_i - f_j|^2 / 2) x_j.

    The sums are right up to one factor that all points share.
    """

    def __init__(self, features: np.ndarray):
        """Build the lattice for `features`: float32 [points, d], in units of the standard deviation.

        Raises:
          UserError: the features span too many standard deviations to number the lattice points.
        """
        keys, weights, steps = _simplices(features)
        axes = len(steps)
        vertices, index = np.unique(keys, return_inverse=True)
        # In the order of their keys, neighbours along the blur's axes lie near each other in memory too.
        rows = np.arange(0, index.size + 1, axes, dtype=np.int32)
        gain = 1 + 2.0 ** (1 - axes)  # of the blur, at a vertex
        self._slice = sparse.csr_array(
            (weights / np.float32(math.sqrt(gain)), index.astype(np.int32), rows), shape=(len(features), len(vertices))
        )
        self._blurs = [_blur(vertices, step) for step in steps]

    def filter(self, values: np.ndarray) -> np.ndarray:
        """float32 [points, channels] -> the filtered values, float32 [points, channels]."""
        lattice = self._slice.T @ values
        for blur in self._blurs:
            lattice = blur @ lattice
        return self._slice @ lattice

    def scale(self, factors: np.ndarray) -> None:
        """Weight the points by float32 [points]: from now on `filter(x)` is factors * filter(factors * x)."""
        self._slice.data *= np.repeat(factors, len(self._blurs))


def _simplices(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the simplex around each point, and the point's place in it (the paper's splatting).

    Returns:
      keys: int64 [points * (d+1)], a number for each vertex of each point's simplex; equal keys are one vertex.
      weights: float32 [points * (d+1)], the barycentric coordinates of each point, which sum to 1.
      steps: int64 [d+1], what one step along each of the blur's axes adds to a key.
    """
    points, d = features.shape
    axes = d + 1
    # In units of d+1, in which vertices of remainder 0 have integer coordinates.
    elevated = _elevated(features)
    rounded = np.rint(elevated)
    residual = elevated - rounded
    order = np.argsort(-residual, axis=0, kind="stable")  # grey pixels tie; pydensecrf lets the first axis go first
    residual = np.take_along_axis(residual, order, axis=0)

    # Rounding moves the point off the plane by `excess`. To return, lower that many of the coordinates that were
    # rounded up most (or raise those rounded down most). This rotates the order of the residuals by as many places.
    excess = rounded.sum(axis=0).astype(np.int64)
    source = np.arange(axes)[:, None] - excess
    correction = source // axes  # -1 lowers, 1 raises
    order = np.take_along_axis(order, source % axes, axis=0)
    residual = np.take_along_axis(residual, source % axes, axis=0) - correction

    weights = np.empty((points, axes), np.float32)
    weights[:, 0] = 1 - (residual[0] - residual[-1])
    weights[:, 1:] = (residual[:-1] - residual[1:])[::-1].T

    # The last coordinate follows from the others. A step adds 1 to all coordinates and takes d+1 from its own.
    strides = _strides(rounded[:d])
    steps = strides.sum() - axes * strides
    origin = strides @ rounded.astype(np.int64) + (strides[order] * correction).sum(axis=0)
    keys = np.empty((points, axes), np.int64)
    keys[:, 0] = axes * origin
    # From the vertex of remainder 0, steps along the axes of least residual lead round the simplex.
    np.cumsum(steps[order[:0:-1]], axis=0, out=keys[:, 1:].T)
    keys[:, 1:] += keys[:, :1]
    return keys.ravel(), weights.ravel(), steps


def _elevated(features: np.ndarray) -> np.ndarray:
    """float32 [d+1, points]: the points on the plane divided by d+1, scaled so that the blur's deviation is 1."""
    points, d = features.shape
    order = np.arange(1, d + 1)
    scales = (d + 1) * math.sqrt(2 / 3) / np.sqrt(order * (order + 1))
    scaled = features.T * scales.astype(np.float32)[:, None]
    elevated = np.zeros((d + 1, points), np.float32)
    np.cumsum(scaled[::-1], axis=0, out=elevated[d - 1 :: -1])
    elevated[1:] -= order.astype(np.float32)[:, None] * scaled
    return elevated * np.float32(1 / (d + 1))


def _strides(rounded: np.ndarray) -> np.ndarray:
    """int64 [d+1]: factors of the coordinates; the sum of the products numbers each lattice point uniquely."""
    axes = len(rounded) + 1
    # The correction, the simplex's vertices and a blur step together move a coordinate by less than 3 (d+1).
    spans = [axes * (int(high) - int(low) + 6) for low, high in zip(rounded.min(1), rounded.max(1), strict=True)]
    if math.prod(spans) >= 2**63:
        raise UserError("sxy or srgb: the standard deviations are too small for a picture of this size; raise them")
    return np.array([math.prod(spans[axis + 1 :]) for axis in range(len(spans))] + [0], np.int64)


def _blur(vertices: np.ndarray, step: int) -> sparse.csr_array:
    """float32 [vertices, vertices]: adds to each vertex half of its two neighbours along one axis, where they exist.

    Args:
      vertices: int64 keys, ascending.
      step: the difference between a vertex' key and its neighbour's.
    """
    count = len(vertices)
    place = np.searchsorted(vertices, vertices + step)
    place[place == count] = 0
    here = np.flatnonzero(vertices[place] == vertices + step)
    there = place[here]
    columns = np.full((count, 3), -1, np.int32)  # before, itself, after
    columns[:, 1] = np.arange(count)
    columns[here, 2], columns[there, 0] = there, here
    exists = columns >= 0
    weights = np.broadcast_to(np.array([0.5, 1, 0.5], np.float32), exists.shape)[exists]
    rows = np.zeros(count + 1, np.int32)
    rows[1:] = np.cumsum(exists)[2::3]
    return sparse.csr_array((weights, columns[exists], rows), shape=(count, count))
