"""The folders that evaluations write: the scores of each picture, and label maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.inference.picture_scores import LABELS_FOLDER, SCORES_FILE, PictureScores
from common.report.tables import MissingPart, Record

EXTREMES = 3  # pictures at each end of a class


@dataclass(frozen=True)
class Evaluated:
    """An evaluation whose folder is there.

    Attributes:
      place: of its record among all.
      folder: holds `pictures.npz`, and `labels/` where label maps were kept.
    """

    place: int
    record: Record
    folder: Path
    scores: PictureScores

    @property
    def has_labels(self) -> bool:
        return (self.folder / LABELS_FOLDER).is_dir()

    def label_map(self, name: str) -> Path:
        return self.folder / LABELS_FOLDER / f"{name}.png"

    @cached_property
    def iou(self) -> np.ndarray:
        """float64 [pictures, classes]: IoU of the class in the picture; nan where its label does not hold the class."""
        counts = self.scores.counts.tocoo()
        occurs = np.zeros((len(self.scores.names), self.scores.classes), bool)
        counted = counts.data > 0
        occurs[counts.row[counted], counts.col[counted] // self.scores.classes] = True
        hits, unions = self.scores.unions()
        return np.where(occurs, hits / np.maximum(unions, 1), np.nan)

    @cached_property
    def extremes(self) -> list[dict[str, Any]]:
        """For each class that occurs: `worst` and `best` as [picture, IoU], and how many `pictures` hold it."""
        found = []
        for class_id, column in enumerate(self.iou.T):
            holding = np.flatnonzero(~np.isnan(column))
            ranked = holding[np.argsort(column[holding], kind="stable")]
            ends = min(EXTREMES, -(-len(ranked) // 2))
            if ends:
                pairs = [[self.scores.names[i], round(float(column[i]), 6)] for i in ranked]
                found.append(
                    {"class": class_id, "pictures": len(ranked), "worst": pairs[:ends], "best": pairs[::-1][:ends]}
                )
        return found

    def picture_miou(self, name: str) -> float | None:
        """Mean IoU over the classes of the picture; None for a picture without any, or one that was not evaluated."""
        try:
            row = self.iou[self.scores.names.index(name)]
        except ValueError:
            return None
        return None if np.isnan(row).all() else round(float(np.nanmean(row)), 6)


def find(records: Sequence[Record]) -> tuple[list[Evaluated], list[MissingPart]]:
    """Find the evaluations whose folders match their records, and say what to do about the others."""
    found: list[Evaluated] = []
    old, gone, broken = [], [], []
    for place, record in enumerate(records):
        if not record.get("evaluation"):
            old.append(record)
            continue
        folder = Path(record["evaluation"])
        try:
            scores = PictureScores.load(folder / SCORES_FILE)
        except UserError:
            (broken if (folder / SCORES_FILE).is_file() else gone).append(record)
            continue
        if scores.matrix().tolist() != record["confusion_matrix"]:
            gone.append(record)
            continue
        found.append(Evaluated(place, record, folder, scores))
    unkept = [e.record for e in found if not e.has_labels]
    again = "Evaluate again to see single pictures:"
    reasons = (
        (old, "were made before evaluations kept the scores of each picture.", again),
        (gone, "have no folder below this one, or a later evaluation replaced it.",
         "Start the report where the folders lie, or evaluate again:"),
        (broken, f"have a {SCORES_FILE} that cannot be read.", again),
        (unkept, "kept scores but no label maps, which the gallery needs.", "Evaluate with --save-labels:"),
    )  # fmt: skip
    missing = [
        MissingPart(
            "gallery",
            f"{len(those)} of {len(records)} evaluations {why}",
            how,
            tuple(f"{c} --save-labels" for c in _commands(those)) if those is unkept else _commands(those),
        )
        for those, why, how in reasons
        if those
    ]
    return found, missing


def _commands(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record["command"] for record in records if record.get("command")))
