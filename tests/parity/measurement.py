"""Measurements: how far an answer of ours is from an original's, and how far it may be."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from tests.conftest import ROOT
from tests.helpers import golden_cases

# What holds across TensorFlow 1.15 and 2.21 on a CPU, measured with the originals' own code on both
# (tests/golden/README.md).
TOLERANCE = {
    "variables": 0,
    "logits": 2e-5,
    "label maps": 1e-3,
    "class weights": 0,
    "losses": 1e-4,
    "gradients": 1e-3,
    "training steps": 5e-4,
    "moving statistics": 1e-5,
    "real logits": 2e-5,
    "real label maps": 1e-3,
    "rounding alone": None,  # ours against ours: nothing is promised
}


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One comparison.

    Attributes:
      case: the golden case, a file or a picture.
      what: a key of TOLERANCE.
      measure: `names` counts what differs; `pixels` is the share of pixels that differ; `largest` is the largest
        difference over the largest value of the original; `each` is the largest relative difference of any value.
      difference: what was measured.
      tolerance: what is allowed; None where ours is compared with ours, to show what rounding alone does.
      count: how many values were compared.
      detail: which of several answers of this kind, and how it was computed.
      exception: why more is allowed than usual, as a sentence; empty where nothing is.
    """

    case: str
    what: str
    measure: Literal["names", "pixels", "largest", "each"]
    difference: float
    tolerance: float | None
    count: int
    detail: str = ""
    exception: str = ""

    @property
    def holds(self) -> bool:
        """Whether the difference is a number within the tolerance."""
        return self.difference <= (math.inf if self.tolerance is None else self.tolerance)

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        allowed = "" if self.tolerance is None else f", allowed {self.tolerance:g}"
        return f"{self.case}: {self.what}{detail}: {self.difference:.2g}{allowed}"


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A comparison that could not be made: `what` of TOLERANCE, and why, as a sentence."""

    what: str
    why: str


def by_name(case: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], **about: Any) -> Measurement:
    """Counts the names that only one side has, or that the two describe differently (shape, trainable or not)."""
    both = ours.keys() & theirs.keys()
    differing = (ours.keys() ^ theirs.keys()) | {name for name in both if ours[name] != theirs[name]}
    return _made(case, "variables", "names", len(differing), len(theirs), about)


def by_pixel(case: str, ours: np.ndarray, theirs: np.ndarray, what: str = "label maps", **about: Any) -> Measurement:
    """The share of the pixels of two label maps that differ; a map of the original may keep an axis of length 1."""
    assert ours.size == np.size(theirs), f"{ours.shape} and {np.shape(theirs)}"
    return _made(case, what, "pixels", float(np.mean(ours != np.reshape(theirs, ours.shape))), ours.size, about)


def by_largest(case: str, what: str, ours: Any, theirs: np.ndarray, **about: Any) -> Measurement:
    """The largest difference over the largest value of the original."""
    assert np.shape(ours) == np.shape(theirs), f"{np.shape(ours)} and {np.shape(theirs)}"
    return _made(case, what, "largest", golden_cases.relative(ours, theirs), np.size(theirs), about)


def by_each(case: str, what: str, ours: Any, theirs: Any, **about: Any) -> Measurement:
    """The largest relative difference of any value; one that should be 0 must be."""
    assert np.shape(ours) == np.shape(theirs), f"{np.shape(ours)} and {np.shape(theirs)}"
    return _made(case, what, "each", each_relative(ours, theirs), np.size(theirs), about)


def each_relative(ours: Any, theirs: Any) -> float:
    """The largest of |ours - theirs| / |theirs|; 0 for two zeros."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    difference = np.abs(ours - theirs)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(difference == 0, 0, difference / np.abs(theirs)).max())


def arithmetic() -> str:
    """The arithmetic of this process, which TensorFlow chooses when it is imported."""
    return "without oneDNN" if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" else "with oneDNN"


def without_onednn(call: str) -> Any:
    """The value, lists and numbers, of `module.function(...)` of this package in TensorFlow 1.15's arithmetic.

    In a process of its own, because TensorFlow chooses its arithmetic when it is imported.
    """
    program = f"import json; from tests.parity import {call.partition('.')[0]}; print(json.dumps({call}))"
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(measurements: Iterable[Measurement]) -> None:
    """Assert that there are measurements and that all hold."""
    measured = list(measurements)
    assert measured, "nothing was compared"
    beyond = [str(m) for m in measured if not m.holds]
    assert not beyond, "\n".join(beyond)


def _made(case: str, what: str, measure: str, difference: float, count: int, about: dict[str, Any]) -> Measurement:
    return Measurement(case, what, measure, difference, about.pop("tolerance", TOLERANCE[what]), int(count), **about)
