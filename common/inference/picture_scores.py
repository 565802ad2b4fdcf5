"""The scores of the single pictures of an evaluation, which comparisons and reports read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import scipy.sparse

from common.errors import UserError
from common.files import atomic
from common.inference.evaluation import interleaved
from common.inference.metrics import count_pairs
from common.paths import is_inside

SCORES_FILE = "pictures.npz"
LABELS_FOLDER = "labels"  # folder of label maps beside it


class PictureScores:
    """Confusion matrices of single pictures; they are sparse because a picture has few classes.

    Attributes:
      names: the pictures' stems, in the order of the split.
      counts: scipy CSR matrix [pictures, K * K], int64: pixels by label * K + prediction.
      classes: the number of classes, K.
    """

    def __init__(self, classes: int, ignore_label: int = 255):
        self.classes, self.ignore_label = classes, ignore_label
        self.names: list[str] = []
        self._rows: list[scipy.sparse.csr_matrix] = []

    def add(self, name: str, label: np.ndarray, prediction: np.ndarray) -> None:
        """Add a picture by its label and prediction, integer [h, w]; the ignore label is left out."""
        counts = count_pairs(label, prediction, self.classes, self.ignore_label)
        self.names.append(name)
        self._rows.append(scipy.sparse.csr_matrix(counts.reshape(1, -1)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The scores of a split from those of its n parts, of which part i has the pictures i, i + n, i + 2n, ..."""
        scores = cls(parts[0].classes, parts[0].ignore_label)
        scores.names = interleaved([part.names for part in parts])
        scores._rows = interleaved([part._rows for part in parts])
        return scores

    @property
    def counts(self) -> scipy.sparse.csr_matrix:
        return scipy.sparse.vstack(self._rows, format="csr")

    def matrix(self, pictures: Sequence[int] | None = None) -> np.ndarray:
        """int64 [K, K]: the confusion matrix of all pictures, or of the given ones, counted as often as given."""
        counts = self.counts if pictures is None else self.counts[list(pictures)]
        return np.asarray(counts.sum(axis=0)).reshape(self.classes, self.classes)

    def unions(self) -> tuple[np.ndarray, np.ndarray]:
        """Intersections and unions of labels and predictions, int64 [pictures, K] each."""
        cells = self.counts.toarray().reshape(-1, self.classes, self.classes)
        hits = np.diagonal(cells, axis1=1, axis2=2)
        return hits, cells.sum(axis=1) + cells.sum(axis=2) - hits

    def save(self, path: Path) -> None:
        """Write the file that `load` reads."""
        counts = self.counts.tocoo()
        with atomic(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream, names=np.array(self.names), classes=self.classes,
                picture=counts.row.astype(np.int32), cell=counts.col.astype(np.int32), pixels=counts.data,
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file. Raises UserError when it is missing or `save` did not write it."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                scores = cls(int(stored["classes"]))
                scores.names = stored["names"].tolist()
                if not all(is_inside(name) for name in scores.names):  # label maps lie by them
                    raise ValueError("it names pictures outside its folder")
                shape = len(scores.names), scores.classes**2
                counts = scipy.sparse.csr_matrix((stored["pixels"], (stored["picture"], stored["cell"])), shape)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; `evaluate` writes it") from None
        except Exception as error:  # numpy, zip and scipy each have their own
            raise UserError(f"{path}: cannot be read ({error}); evaluate again") from None
        scores._rows = [counts[i] for i in range(counts.shape[0])]
        return scores
