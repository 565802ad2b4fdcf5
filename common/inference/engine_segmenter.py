"""The segmenter of an exported network, whole from the picture to the label map, without TensorFlow."""

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from common.console import remark
from common.engines.interface import LABELS, PROBABILITIES, SCORES, engine_errors
from common.engines.programs import Program, Run
from common.errors import UserError, WeightsError
from common.inference.base import BaseSegmenter, Picture, pixels_of, running
from common.inference.canvas import scaled
from common.inference.enlarging import enlarges, label_map
from common.inference.resizing import padded_size, size_in_evaluation
from common.recipe.recipe import Recipe

# Engines make the scores of a whole picture at once, where TensorFlow goes by bands.
LARGEST_VALUES = 2**26  # scores of a picture at its own size
LARGEST_PIXELS = 2**22  # of the network's input


def fits(picture: np.ndarray, recipe: Recipe) -> bool:
    """Whether engines take a picture of this size, [h, w, 3], by this recipe."""
    own, passes = picture.shape[:2], 2 if recipe.eval_flip else 1
    largest = scaled(padded_size(size_in_evaluation(own, recipe), recipe), max(recipe.eval_scales), recipe)
    return (
        math.prod(own) * recipe.num_classes * passes <= LARGEST_VALUES and math.prod(largest) * passes <= LARGEST_PIXELS
    )


class EngineSegmenter(BaseSegmenter):
    """An exported network in ONNX Runtime or OpenVINO, ready to segment pictures one by one.

    The files do all that `Segmenter` does, but for the CRF. A picture that is too large for the engine is segmented
    by another segmenter, if there is one.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        recipe: Recipe,
        program: Program,
        other: Callable[[], BaseSegmenter] | None = None,
    ):
        """Load the file of the label map. Raises EngineError when that fails.

        Args:
          files: LABELS, PROBABILITIES, SCORES -> the file with this output.
          recipe: of the network; its precision is the program's.
          program: runs the files.
          other: opens the segmenter for pictures that are too large.
        """
        self.recipe = recipe = recipe.at_evaluation()
        self._files, self._program = files, program
        self._open_other, self._runs, self._is_closed = other, {}, False
        self._is_small = enlarges(recipe)  # a label map takes less time from small scores than in the engine
        if not recipe.crf:
            self._loaded(SCORES if self._is_small else LABELS)

    def _loaded(self, role: str) -> Run:
        if self._is_closed:
            raise UserError("this segmenter is closed; open another one, or use it inside its `with` block")
        if role not in self._runs:
            with engine_errors():
                self._runs[role] = self._program.load(self._files[role], self.recipe.precision)
        return self._runs[role]

    def _run(self, role: str, picture: np.ndarray) -> np.ndarray:
        with running(self._program.title, picture, "--engine tensorflow may"), engine_errors():
            return self._loaded(role)(picture[None])[0][0]

    @functools.cached_property
    def _other(self) -> BaseSegmenter:
        return self._open_other()

    def _substitute(self, picture: np.ndarray) -> BaseSegmenter | None:
        """The segmenter for a picture that is too large for the engine; None for others."""
        if fits(picture, self.recipe):
            return None
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        if self._open_other is None:
            raise UserError(
                f"a picture of {size} pixels is too large for {self._program.title}; --engine tensorflow goes by bands"
            )
        remark(f"a picture of {size} pixels is too large for {self._program.title}; TensorFlow takes it, band by band")
        return self._other

    def whole_label(self, picture: np.ndarray) -> np.ndarray:
        """See `BaseSegmenter`."""
        if other := self._substitute(picture):
            return other.whole_label(picture)
        return self._label_and_logits(picture)[0]

    def _label_and_logits(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The label map, and the scores where it is made of them."""
        if not self._is_small:
            return self._run(LABELS, picture).astype(np.uint8), None
        scores = self._finite(self._run(SCORES, picture))
        return label_map(scores, picture.shape[:2], self.recipe), scores

    def logits(self, picture: Picture) -> np.ndarray:
        """The network's scores for the picture at scale 1: float32 [h / os, w / os, classes]."""
        picture = pixels_of(picture, self.recipe.channels)
        if other := self._substitute(picture):
            return other.logits(picture)
        return self._finite(self._run(SCORES, picture))

    def label_and_logits(self, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
        """The label map (without CRF) and `logits`."""
        picture = pixels_of(picture, self.recipe.channels)
        if other := self._substitute(picture):
            return other.label_and_logits(picture)
        label, scores = self._label_and_logits(picture)
        return label, self.logits(picture) if scores is None else scores

    def label_and_loss(self, picture: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, float]:
        """Refuse: exported networks have no loss."""
        raise UserError(f"the loss is TensorFlow's alone, and {self._program.title} runs this network; --engine "
                        f"tensorflow measures it")  # fmt: skip

    def whole_probabilities(self, picture: np.ndarray) -> np.ndarray:
        """See `BaseSegmenter`."""
        if other := self._substitute(picture):
            return other.whole_probabilities(picture)
        return self._finite(self._run(PROBABILITIES, picture))

    def _finite(self, values: np.ndarray) -> np.ndarray:
        if not np.isfinite(values).all():
            raise WeightsError(
                "the network's scores of this picture are not finite; its training diverged or the file is damaged: "
                "take an earlier checkpoint, or fetch it again"
            )
        return values

    def close(self) -> None:
        """Free the engine's memory; the segmenter can't be used afterwards."""
        self._is_closed = True
        self._runs.clear()
        if "_other" in self.__dict__:
            self._other.close()
