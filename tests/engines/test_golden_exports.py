"""Files that the official exporter wrote give its answers here (tests/golden/README.md says how they were made)."""

import numpy as np
import pytest

from common.errors import UserError
from reproductions import v3plus
from tests.conftest import GOLDEN_DIR, SHARED
from tests.helpers import golden_cases

FOLDERS = (GOLDEN_DIR, SHARED / "golden")


def _cases() -> dict[str, dict[str, np.ndarray]]:
    """The cases of the first folder that has some, and whose files are there."""
    for folder in FOLDERS:
        cases = golden_cases.load("export_answers", folder)
        if cases:
            return {
                name: case | {"file": folder / str(case["graph"])} for name, case in cases.items() if "graph" in case
            }
    return {}


CASES = _cases()


def segment(case, wants_probabilities=False):
    about = golden_cases.parsed(case["input"])
    (picture,) = golden_cases.weights.image(*(about[name] for name in ("seed", "height", "width", "batch")))
    with v3plus.segmenter(case["file"]) as segmenter:
        return segmenter.label(picture), segmenter.probabilities(picture) if wants_probabilities else None


@pytest.mark.skipif(not CASES, reason="the official exporter's files are not on this machine")
def test_the_cases_are_found():
    assert all(case["file"].is_file() for case in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_exported_files_answer_as_they_did(name):
    case = CASES[name]
    if "error" in case:
        with pytest.raises(UserError, match=f"{case['file'].name} cannot take a picture of .*resize_range"):
            segment(case)
        return
    wanted = case.get("SemanticPredictions", case.get("prediction"))[0]
    wanted_probabilities = case.get("SemanticProbabilities_every_4th_pixel")
    label, probabilities = segment(case, wanted_probabilities is not None)
    # Values of 8 bits are rounded at every layer: where the runtime sums in another order a rounding flips, and with it
    # labels of these random weights, whose scores lie close together. One step of the scores is .0056.
    is_quantised = "quantize" in str(case["config"])
    assert np.mean(label == wanted) >= (0.95 if is_quantised else 1)
    if wanted_probabilities is not None:
        differences = np.abs(probabilities[::4, ::4] - wanted_probabilities[0])
        assert differences.max() < (2.5e-3 if is_quantised else 1e-5)
