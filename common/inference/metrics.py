"""The metric: one confusion matrix over a whole split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

METRICS_FILE = "metrics.json"  # in an evaluation's folder: what `evaluation.evaluate` returns


def count_pairs(label: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_label: int = 255) -> np.ndarray:
    """Count pixels by label * classes + prediction: int64 [classes ** 2]. The ignore label is left out."""
    counted = label != ignore_label
    pairs = label[counted].astype(np.int64) * num_classes + prediction[counted]
    return np.bincount(pairs, minlength=num_classes**2)


@dataclass
class ConfusionMatrix:
    """Counts of pixels, int64 [classes, classes]: rows are labels, columns predictions."""

    num_classes: int
    ignore_label: int = 255

    def __post_init__(self):
        self.counts = np.zeros((self.num_classes, self.num_classes), np.int64)

    @classmethod
    def of(cls, counts: Sequence[Sequence[int]]) -> Self:
        """The matrix with these counts, as rows."""
        matrix = cls(len(counts))
        matrix.counts += np.array(counts, np.int64)
        return matrix

    def update(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Count the pixels of one picture whose label is not the ignore label.

        Args:
          label, prediction: integer class ids of the same shape.
        """
        self.counts += count_pairs(label, prediction, self.num_classes, self.ignore_label).reshape(self.counts.shape)

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class, float64 [classes] in 0..1; nan for a class that no label holds."""
        hit = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - hit
        return np.where(self.counts.sum(1) > 0, hit / np.maximum(union, 1), np.nan)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur in the labels; nan when none does."""
        iou = self.iou
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that are right; nan when none is counted."""
        total = self.counts.sum()
        return float(np.diag(self.counts).sum() / total) if total else float("nan")

    @property
    def mean_accuracy(self) -> float:
        """Mean over the classes that occur in the labels of the share of their pixels that are right; nan for none."""
        pixels = self.counts.sum(1)
        occurs = pixels > 0
        return float((np.diag(self.counts)[occurs] / pixels[occurs]).mean()) if occurs.any() else float("nan")

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean IoU, each class weighted by its share of the labels' pixels (FCN, arXiv 1411.4038, section 5); nan for
        none."""
        pixels = self.counts.sum(1)
        return float(np.nansum(self.iou * pixels) / pixels.sum()) if pixels.any() else float("nan")

    def means(self) -> dict[str, float | None]:
        """`miou` and `pixel_accuracy`, rounded; nan becomes None."""
        return {"miou": _number(self.miou), "pixel_accuracy": _number(self.pixel_accuracy)}

    def summary(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """The figures as JSON types; nan becomes None."""
        iou = {c: _number(v) for c, v in zip(classes, self.iou, strict=True)}
        return {
            **self.means(),
            "mean_accuracy": _number(self.mean_accuracy),
            "frequency_weighted_iou": _number(self.frequency_weighted_iou),
            "per_class_iou": iou,
            "confusion_matrix": self.counts.tolist(),
        }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
