"""DeepLab-LargeFOV by the paper's recipe against Caffe 1.0."""

from collections.abc import Iterator

from reproductions.v1.recipe import PAPER
from tests.helpers import golden_cases
from tests.helpers.golden_cases import parsed
from tests.parity.measurement import Measurement, by_largest
from tests.parity.v1 import picture, run

CASES = golden_cases.load("caffe_largefov")


def measurements() -> Iterator[Measurement]:
    """Every comparison with every case."""
    for case in CASES:
        yield from logits(case)


def logits(case: str, **changes: object) -> list[Measurement]:
    """Logits at 1/8 of the size; `changes` of the recipe give another network."""
    golden = CASES[case]
    recipe = PAPER.derive(num_classes=golden["logits"].shape[-1], **changes)
    ours, _ = run(picture(parsed(golden["input"])), recipe)
    return [by_largest(case, "logits", ours, golden["logits"])]
