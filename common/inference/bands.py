"""Large pictures: the first layers of a network, band of rows by band.

The first layers hold the most values for each pixel. What they pass on is small, so they can run on a few rows at a
time, with as many rows above and below as they look at. In float32 that gives the same bits. With precision bf16 it
rounds differently, because what is passed on is float32.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from common.nets.receptive_field import WINDOWS, ops_between, window
from common.tf1 import tf

LARGEST_WHOLE = 2**21  # pixels of an input that the first layers take at once
BAND_PIXELS = 2**20  # about as many pixels has a band, with its margins
MARGIN_COST = 8  # a margin of so many rows is as bad as one more value for each pixel
LARGEST_MARGIN = 64  # rows; deeper, in Xception's middle flow, TensorFlow rounds differently for other heights

POINTWISE = (
    "Add", "AddV2", "BiasAdd", "FakeQuantWithMinMaxVars", "FusedBatchNormV3", "Identity", "Mul", "Pad", "PadV2", "Relu",
    "Relu6",
)  # fmt: skip

Fetch = Callable[[tf.Tensor, dict[tf.Tensor, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Cut:
    """Where the first layers end.

    Attributes:
      inputs: of the network, [1, h, w, 3].
      features: what all later layers read, [1, h', w', c].
      stride: of the features.
      margin: rows above and below that a row of features looks at, at most; a multiple of the stride.
    """

    inputs: tf.Tensor
    features: tf.Tensor
    stride: int
    margin: int

    def bands(self, size: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
        """Rows of the inputs of `size` [h, w] to feed, and the rows of the result that count.

        A band begins at a multiple of the stride, and its height is the inputs' own modulo the stride: TensorFlow's
        SAME padding depends on that.
        """
        height, width = size
        step = max(BAND_PIXELS // width - 2 * self.margin, self.margin, 1)
        step = -(-step // self.stride) * self.stride
        for top in range(0, height, step):
            above, end = max(0, top - self.margin), top + step + self.margin
            below = min(height, end + (height - end) % self.stride)
            first = (top - above) // self.stride
            yield slice(above, below), slice(first, first + step // self.stride if top + step < height else None)

    def run(self, fetch: Fetch, inputs: np.ndarray) -> np.ndarray:
        """The features of the inputs [1, h, w, 3]; `fetch` runs a tensor with what is fed."""
        bands = self.bands(inputs.shape[1:3])
        return np.concatenate([fetch(self.features, {self.inputs: inputs[:, fed]})[:, kept] for fed, kept in bands], 1)


@dataclass(frozen=True)
class _Layer:
    """The output of an op: its stride, the rows it looks at, and its values for each pixel of the inputs."""

    stride: int
    rows: int
    values: float


def find_cut(inputs: tf.Tensor, scores: tf.Tensor) -> Cut | None:
    """The cut that leaves the later layers the fewest values for each pixel, or None where none is worth its margins.

    Args:
      inputs: of the network.
      scores: that the network computes from them.
    """
    path = ops_between(inputs, scores)
    if not path:
        return None
    last_reader = {source.op.name: i for i, op in enumerate(path) for source in op.inputs}
    layers = {inputs.op.name: _Layer(1, 1, float(inputs.shape[3]))}
    places, read_until, is_local = [], last_reader[inputs.op.name], True
    for i, op in enumerate(path):
        layer = layers[op.name] = _layer(op, [layers[s.op.name] for s in op.inputs if s.op.name in layers])
        is_local = is_local and op.type in WINDOWS + POINTWISE and layer.rows <= LARGEST_MARGIN
        is_all_that_is_read_later = read_until <= i < len(path) - 1
        if is_local and is_all_that_is_read_later:
            places.append(i)
        read_until = max(read_until, last_reader.get(op.name, 0))

    def later(i: int) -> float:
        return max(layers[op.name].values for op in path[i:])

    def cost(i: int) -> tuple[float, float, int]:
        layer = layers[path[i].name]
        return later(i) + (layer.rows - 1) / MARGIN_COST, layer.values, -i

    best = min(places, key=cost, default=None)
    if best is None or cost(best)[0] >= later(0):
        return None
    layer = layers[path[best].name]
    margin = -(-(layer.rows - 1) // layer.stride) * layer.stride
    return Cut(inputs, path[best].outputs[0], layer.stride, margin)


def _layer(op: tf.Operation, sources: list[_Layer]) -> _Layer:
    stride, rows = max(s.stride for s in sources), max(s.rows for s in sources)
    if op.type in WINDOWS:
        extent, step = window(op, 1)
        rows, stride = rows + (extent - 1) * stride, stride * step
    shape = op.outputs[0].shape
    channels = (shape[3] if shape.rank == 4 else None) or 0
    return _Layer(stride, rows, channels / stride**2)
