"""The comparison of an exported file, run by its own program, with what `predict` gives."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.engines.interface import INPUT, LABELS, OUTPUTS, PROBABILITIES, SCORES, Engine, EngineError
from common.inference.segmenter import Segmenter


@dataclass(frozen=True)
class Comparison:
    """How far an exported file is from `predict`, over some pictures.

    Attributes:
      pictures: how many.
      agreement: the share of their pixels with the same label.
      score_difference, largest_score: the largest difference of the network's scores, and the largest of `predict`'s.
      probability_difference: the largest difference of the probabilities.
      seconds, predict_seconds: the least for a picture, of the file and of `predict`.
    """

    pictures: int
    agreement: float
    score_difference: float
    largest_score: float
    probability_difference: float
    seconds: float
    predict_seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "pictures": self.pictures,
            "agreement": self.agreement,
            "largest_score_difference": self.score_difference,
            "largest_score": self.largest_score,
            "largest_probability_difference": self.probability_difference,
            "seconds": round(self.seconds, 4),
            "predict_seconds": round(self.predict_seconds, 4),
        }


def compare(engine: Engine, segmenter: Segmenter, pictures: Sequence[np.ndarray]) -> Comparison:
    """Segment the pictures, uint8 [h, w, 3], both ways. Raises EngineError when the outputs have other shapes."""

    def run(picture: np.ndarray) -> dict[str, np.ndarray]:
        answers = engine.run({INPUT: picture[None]}, OUTPUTS)
        return {name: _real(engine, name, answer[0]) for name, answer in zip(OUTPUTS, answers, strict=True)}

    segmenter.label(pictures[0])  # each one's first run makes plans
    run(pictures[0])
    equal, pixels, seconds, differences = 0, 0, [], []
    for picture in pictures:
        begin = time.perf_counter()
        given = run(picture)
        between = time.perf_counter()
        label = segmenter.label(picture)
        seconds.append((between - begin, time.perf_counter() - between))
        scores, probabilities = segmenter.logits(picture), segmenter.probabilities(picture)
        equal, pixels = equal + int((given[LABELS] == label).sum()), pixels + label.size
        compared = _difference(given[SCORES], scores), scores, _difference(given[PROBABILITIES], probabilities)
        differences.append([np.abs(values).max() for values in compared])
    return Comparison(len(pictures), equal / pixels, *_floats(differences, max), *_floats(seconds, min))


def _real(engine: Engine, name: str, values: np.ndarray) -> np.ndarray:
    """The numbers that an output means, which may be quantised."""
    port = engine.port(name)
    return port.to_real(values) if port and port.scale else values


def _difference(given: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if given.shape != wanted.shape:
        raise EngineError(f"it gives an output of shape {given.shape} where predict has {wanted.shape}")
    return given - wanted


def _floats(rows: Sequence[Sequence[float]], choose: Callable[..., float]) -> list[float]:
    """The value that is chosen of each column."""
    return [float(choose(column)) for column in zip(*rows, strict=True)]
