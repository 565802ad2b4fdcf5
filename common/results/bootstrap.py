"""Differences of two runs on the same pictures, with the interval of a paired bootstrap over pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from common.inference.picture_scores import PictureScores

DRAWS_AT_A_TIME = 256  # their weights are float64 [DRAWS_AT_A_TIME, pictures]
OVERALL = ("mIoU", "pixel accuracy")


@dataclass(frozen=True)
class Margins:
    """The pixel counts that IoU is made of, of pictures or of sums of pictures: float64 [..., K] each, by class.

    Attributes:
      hits: pixels whose label and prediction are the class.
      labels, predictions: pixels whose label, or prediction, is the class.
    """

    hits: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray

    @classmethod
    def of(cls, scores: PictureScores, pictures: Sequence[int]) -> "Margins":
        """The counts of single pictures, [pictures, K], without a dense confusion matrix of any."""
        cells = scores.counts[list(pictures)].tocoo()
        label, prediction = np.divmod(cells.col, scores.classes)

        def by_class(class_ids: np.ndarray, pixels: np.ndarray) -> np.ndarray:
            shape = len(pictures), scores.classes
            return scipy.sparse.csr_matrix((pixels, (cells.row, class_ids)), shape).toarray().astype(np.float64)

        hits = np.where(label == prediction, cells.data, 0)
        return cls(by_class(label, hits), by_class(label, cells.data), by_class(prediction, cells.data))

    def weighted(self, weights: np.ndarray) -> "Margins":
        """Sums over pictures, each as often as `weights` [..., pictures] says: [..., K], exact in float64."""
        return Margins(weights @ self.hits, weights @ self.labels, weights @ self.predictions)

    def iou(self) -> np.ndarray:
        """[..., K]; nan for classes that no label holds."""
        union = self.labels + self.predictions - self.hits
        return np.divide(self.hits, union, out=np.full_like(self.hits, np.nan), where=self.labels > 0)

    def overall(self) -> np.ndarray:
        """[..., 2]: the mean IoU over the classes that occur, and pixel accuracy; nan without a labelled pixel."""
        iou, pixels = self.iou(), self.labels.sum(axis=-1)
        occurring = np.isfinite(iou).sum(axis=-1)
        sums = np.stack([np.nansum(iou, axis=-1), self.hits.sum(axis=-1)], axis=-1)
        counts = np.stack([occurring, pixels], axis=-1)
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)

    def figures(self) -> np.ndarray:
        """[..., K + 2]: IoU by class, then OVERALL."""
        return np.concatenate([self.iou(), self.overall()], axis=-1)


@dataclass(frozen=True)
class Difference:
    """A figure of both runs.

    Attributes:
      name: of the class, or one of OVERALL.
      a, b, difference: of all pictures; the difference is b - a.
      low, high: the interval's ends; nan where no draw has the figure.
      pictures: how many have the figure, because their label holds the class.
      occurs: the share of the draws that have it, 0 to 1.
      excludes_zero: whether the interval excludes 0 and there are enough pictures. They are enough when the probability
        that all differ in the same direction by chance, 2 ** (1 - pictures), is below 1 - confidence. (The interval of
        a class that is in one picture is a point.)
    """

    name: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    pictures: int
    occurs: float
    excludes_zero: bool


def draws(pictures: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Draw pictures with replacement, `count` times: arrays float64 [draws, pictures] say how often each one is drawn.

    A draw is `integers(pictures, size=pictures)` of numpy's default generator, one after the other.
    """
    generator = np.random.default_rng(seed)
    for start in range(0, count, DRAWS_AT_A_TIME):
        weights = np.empty((min(DRAWS_AT_A_TIME, count - start), pictures))
        for row in weights:
            row[:] = np.bincount(generator.integers(pictures, size=pictures), minlength=pictures)
        yield weights


def differences(
    a: Margins, b: Margins, classes: Sequence[str], *, count: int, seed: int, confidence: float
) -> list[Difference]:
    """Compare every class and then each of OVERALL, in this order.

    Args:
      a, b: the counts of the same pictures, [pictures, K], in the same order.
      classes: K names.
      count, seed: the number and the seed of the draws, the same for both.
      confidence: of the percentile intervals, above 0 and below 1.

    A class that is in no label of a draw has no IoU there. The draw's mean is over the other classes, and the class's
    own interval is over the other draws.
    """
    drawn = np.concatenate(
        [b.weighted(weights).figures() - a.weighted(weights).figures() for weights in draws(len(a.hits), count, seed)]
    )
    every = np.ones(len(a.hits))
    whole_a, whole_b = a.weighted(every).figures(), b.weighted(every).figures()
    pictures = np.isfinite(a.figures() + b.figures()).sum(axis=0).tolist()
    found = []
    for name, of_a, of_b, column, holding in zip(
        (*classes, *OVERALL), whole_a.tolist(), whole_b.tolist(), drawn.T, pictures, strict=True
    ):
        column = column[np.isfinite(column)]
        tails = (1 - confidence) / 2, (1 + confidence) / 2
        low, high = np.quantile(column, tails).tolist() if len(column) else (np.nan, np.nan)
        tells = 2.0 ** (1 - holding) <= 1 - confidence
        excludes = bool(tells and (low > 0 or high < 0))
        found.append(Difference(name, of_a, of_b, of_b - of_a, low, high, holding, len(column) / count, excludes))
    return found
