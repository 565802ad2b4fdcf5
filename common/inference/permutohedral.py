"""Gaussian filtering of values at scattered points, by the permutohedral lattice.

Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics
2010. Points of R^d are lifted to the hyperplane of R^(d+1) whose coordinates sum to 0. The lattice on it
tiles the plane with simplices. A point gives its values to the d+1 vertices of its simplex (splat), the
vertices are blurred along d+1 axes, and each point takes the values back (slice). All three steps are linear:
here each is one sparse matrix, which is made once and applied many times.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy import sparse

from common.errors import UserError

BLOCK = 4096  # points; a block's arrays fit the cache of one core, and a pass over them costs no memory traffic


def blocks(points: int) -> Iterator[slice]:
    """Cut a range of points into slices of BLOCK; the last one may be shorter."""
    return (slice(start, min(start + BLOCK, points)) for start in range(0, points, BLOCK))


class PermutohedralLattice:
    """A linear filter that approximates the sums over all points j of exp(-|f_i - f_j|^2 / 2) x_j.

    The sums are right up to one factor that all points share.
    """

    def __init__(self, features: np.ndarray):
        """Build the lattice for `features`: float32 [points, d], in units of the standard deviation.

        Raises:
          UserError: the features span too many standard deviations to number the lattice points.
        """
        cells, weights = _cells(features)
        keys, index, steps = _vertices(cells)
        # In the order of their keys, neighbours along the blur's axes lie near each other in memory too.
        vertices, numbers = np.unique(keys, return_inverse=True)
        index = numbers.astype(np.int32).reshape(keys.shape)[index].ravel()
        points, axes = weights.shape
        gain = 1 + 2.0 ** (1 - axes)  # of the blur, at a vertex
        weights /= np.float32(math.sqrt(gain))
        rows = np.arange(0, index.size + 1, axes, dtype=np.int32)
        self._splat = sparse.csc_array((weights.ravel(), index, rows), shape=(len(vertices), points))
        self._blurs = [_blur(vertices, step) for step in steps]
        self._slices = [self._slice(block) for block in blocks(points)]

    def _slice(self, block: slice) -> sparse.csr_array:
        """The rows of the splat's transpose for a block of points, in its memory; the constructor would copy them."""
        axes, rows = len(self._blurs), block.stop - block.start
        entries = slice(block.start * axes, block.stop * axes)
        matrix = sparse.csr_array((rows, self._splat.shape[0]), dtype=np.float32)
        matrix.data, matrix.indices = self._splat.data[entries], self._splat.indices[entries]
        matrix.indptr = self._splat.indptr[: rows + 1]
        return matrix

    def blurred(self, values: np.ndarray) -> np.ndarray:
        """float32 [points, channels] -> the blurred values at the lattice's vertices, float32 [vertices, channels]."""
        lattice = self._splat @ values
        for blur in self._blurs:
            lattice = blur @ lattice
        return lattice

    def sliced(self, lattice: np.ndarray, block: int) -> np.ndarray:
        """Take the filtered values of the points in one of the `blocks` from `blurred(values)`."""
        return self._slices[block] @ lattice

    def filter(self, values: np.ndarray) -> np.ndarray:
        """float32 [points, channels] -> the filtered values, float32 [points, channels]."""
        lattice = self.blurred(values)
        return np.concatenate([self.sliced(lattice, block) for block in range(len(self._slices))])

    def scale(self, factors: np.ndarray) -> None:
        """Weight the points by float32 [points]: from now on `filter(x)` is factors * filter(factors * x)."""
        self._splat.data *= np.repeat(factors, len(self._blurs))


def _cells(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the simplex around each point, and the point's place in it (the paper's splatting).

    Returns:
      cells: int32 [d, points], d+1 times the first d coordinates of the simplex's vertex of remainder 0, plus the
        ranks of these coordinates' residuals (0 is the greatest). Equal columns are one simplex.
      weights: float32 [points, d+1], the barycentric coordinates of each point, which sum to 1.
    """
    points, d = features.shape
    axes = d + 1
    cells = np.empty((d, points), np.int32)
    weights = np.empty((points, axes), np.float32)
    for block in blocks(points):
        # In units of d+1, in which vertices of remainder 0 have integer coordinates.
        elevated = _elevated(features[block])
        rounded = np.rint(elevated)
        residual = elevated - rounded
        # Rounding moves the point off the plane by `excess`. To return, lower that many of the coordinates that were
        # rounded up most (or raise those rounded down most). This rotates the ranks by as many places.
        excess = rounded.sum(axis=0).astype(np.int8)
        ranks = _ranks(residual) + excess
        lowered = ranks // axes  # 1 lowers, -1 raises
        ranks -= axes * lowered
        cells[:, block] = (axes * (rounded.astype(np.int32) - lowered) + ranks)[:d]
        residual = _descending(np.add(residual, lowered, dtype=np.float64))  # a sum in float32 would round
        weights[block, 0] = 1 - (residual[0] - residual[-1])
        weights[block, 1:] = (residual[:-1] - residual[1:])[::-1].T
    return cells, weights


def _ranks(residual: np.ndarray) -> np.ndarray:
    """int8 [axes, points]: how many of a point's residuals are greater; ties count as if the first were greater.

    Grey pixels tie, and pydensecrf lets the first axis go first.
    """
    axes = len(residual)
    ranks = np.empty(residual.shape, np.int8)
    ranks[:] = np.arange(axes)[:, None]
    for axis in range(axes - 1):
        is_less = residual[axis] < residual[axis + 1 :]
        ranks[axis] += is_less.sum(axis=0, dtype=np.int8)
        ranks[axis + 1 :] -= is_less
    return ranks


def _descending(rows: np.ndarray) -> np.ndarray:
    """Sort [axes, points] along the axes, the greatest first, in place.

    Odd-even transposition: whole rows are compared, which for so few of them is faster than a sort of each column.
    """
    for turn in range(len(rows)):
        first, second = rows[turn % 2 : -1 : 2], rows[turn % 2 + 1 :: 2]
        less = np.minimum(first, second)
        np.maximum(first, second, out=first)
        second[:] = less
    return rows


def _vertices(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the vertices of the simplices.

    Returns:
      keys: int64 [simplices, d+1], a number for each vertex of each simplex; equal keys are one vertex.
      index: int64 [points], the place of each point's simplex in `keys`.
      steps: int64 [d+1], what one step along each of the blur's axes adds to a key.
    """
    d, points = cells.shape
    axes = d + 1
    strides = _strides(cells)
    # Many points share a simplex: to sort the simplices first is faster than to sort the vertices of all points.
    simplices, index = np.unique(strides @ cells, return_inverse=True)
    example = np.empty(len(simplices), np.intp)
    example[index] = np.arange(points)
    cells = cells[:, example].astype(np.int64)
    ranks = cells % axes
    # The last coordinate follows from the others. A step adds 1 to all coordinates and takes d+1 from its own.
    steps = strides.sum() - axes * np.append(strides, 0)
    keys = np.empty((len(simplices), axes), np.int64)
    keys[:, 0] = strides @ (cells - ranks)
    # From the vertex of remainder 0, steps along the axes of least residual lead round the simplex.
    for vertex in range(1, axes):
        keys[:, vertex] = keys[:, vertex - 1] + strides.sum() - axes * (strides @ (ranks == axes - vertex))
    return keys, index, steps


def _elevated(features: np.ndarray) -> np.ndarray:
    """float32 [d+1, points]: the points on the plane divided by d+1, scaled so that the blur's deviation is 1."""
    points, d = features.shape
    order = np.arange(1, d + 1)
    scales = (d + 1) * math.sqrt(2 / 3) / np.sqrt(order * (order + 1))
    scaled = features.T * scales.astype(np.float32)[:, None]
    elevated = np.zeros((d + 1, points), np.float32)
    for axis in range(d, 0, -1):
        np.add(elevated[axis], scaled[axis - 1], out=elevated[axis - 1])
    elevated[1:] -= order.astype(np.float32)[:, None] * scaled
    return elevated * np.float32(1 / (d + 1))


def _strides(cells: np.ndarray) -> np.ndarray:
    """int64 [d]: factors of the coordinates; the sum of the products numbers each cell and lattice point uniquely."""
    axes = len(cells) + 1
    # The simplex's vertices and a blur step together move a coordinate by less than 3 (d+1).
    spans = [int(high) - int(low) + 6 * axes for low, high in zip(cells.min(1), cells.max(1), strict=True)]
    if math.prod(spans) >= 2**63:
        raise UserError("sxy or srgb: the standard deviations are too small for a picture of this size; raise them")
    return np.array([math.prod(spans[axis + 1 :]) for axis in range(len(spans))], np.int64)


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
    entries = np.ones(count, np.int32)
    entries[here] += 1
    entries[there] += 1
    rows = np.zeros(count + 1, np.int32)
    np.cumsum(entries, out=rows[1:])
    itself = rows[:-1].copy()  # a row holds the vertex before, itself, the vertex after
    itself[there] += 1
    columns = np.empty(rows[-1], np.int32)
    columns[itself] = np.arange(count)
    columns[itself[here] + 1], columns[itself[there] - 1] = there, here
    weights = np.full(rows[-1], 0.5, np.float32)
    weights[itself] = 1
    return sparse.csr_array((weights, columns, rows), shape=(count, count))
