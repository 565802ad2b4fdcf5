"""Large pictures in overlapping tiles, whose probabilities are averaged so that no seam shows.

arXiv 1606.00915, section 4.4, evaluates Cityscapes in overlapping regions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from common.console import Progress
from common.recipe.recipe import Recipe

Probabilities = Callable[[np.ndarray], np.ndarray]  # of a picture, uint8 [h, w, 3]: float32 [h, w, classes]


@dataclass(frozen=True)
class _Span:
    """A tile along one axis: its pixels, and its share in each of them. The shares in a pixel add up to 1."""

    pixels: slice
    shares: np.ndarray


def spans(length: int, tile: int, overlap: int) -> list[_Span]:
    """Cover `length` pixels by tiles, as evenly as can be, each of which shares at least `overlap` with the next one.

    The weight of a tile grows linearly from its border over `overlap` pixels; at the picture's own borders it is whole.
    """
    tile = min(tile, length)
    count = 1 + max(0, -(-(length - tile) // max(1, tile - overlap)))
    starts = [round(i * (length - tile) / max(1, count - 1)) for i in range(count)]
    places = np.arange(tile)
    ramp = np.minimum(np.minimum(places, places[::-1]) + 1.0, overlap + 1)
    total = np.zeros(length)
    for start in starts:
        total[start : start + tile] += ramp
    cuts = [slice(start, start + tile) for start in starts]
    return [_Span(cut, (ramp / total[cut]).astype(np.float32)) for cut in cuts]


@dataclass(frozen=True)
class Tiles:
    """How a picture is cut.

    Attributes:
      rows, columns: the tiles along each axis.
    """

    rows: list[_Span]
    columns: list[_Span]

    def bands(self, picture: np.ndarray, run: Probabilities) -> Iterator[np.ndarray]:
        """Bands of rows of the mean probabilities, float32 [rows, w, classes], from above to below.

        Only one row of tiles is in memory: a band is overwritten when the next one is made.

        Args:
          picture: uint8 [h, w, 3].
          run: gives the probabilities of a tile.
        """
        height, width = picture.shape[:2]
        sums = None
        ends = [*(span.pixels.start for span in self.rows[1:]), height]
        with Progress("tiles", len(self.rows) * len(self.columns), within=True) as progress:
            for row, end in zip(self.rows, ends, strict=True):
                for column in self.columns:
                    values = run(picture[row.pixels, column.pixels])
                    if sums is None:
                        sums = np.zeros((row.shares.size, width, values.shape[-1]), np.float32)
                    sums[:, column.pixels] += values * row.shares[:, None, None] * column.shares[:, None]
                    progress.advance()
                done = end - row.pixels.start
                yield sums[:done]
                left = len(sums) - done
                sums[:left] = sums[done:]
                sums[left:] = 0

    def label(self, picture: np.ndarray, run: Probabilities) -> np.ndarray:
        """The class of the highest mean probability, uint8 [h, w]."""
        return np.concatenate([band.argmax(axis=-1).astype(np.uint8) for band in self.bands(picture, run)])

    def probabilities(self, picture: np.ndarray, run: Probabilities) -> np.ndarray:
        """The mean probabilities, float32 [h, w, classes]."""
        return np.concatenate([band.copy() for band in self.bands(picture, run)])


def tiles_of(recipe: Recipe, size: tuple[int, int]) -> Tiles | None:
    """The tiles of a picture of `size` [h, w]; None where it is segmented whole: one tile covers it, or none is asked.

    A picture is never cut along a side that is not longer than `recipe.eval_tile`.
    """
    tile, overlap = recipe.eval_tile, recipe.eval_overlap
    if not tile or max(size) <= tile:
        return None
    return Tiles(*(spans(side, tile, overlap) for side in size))
