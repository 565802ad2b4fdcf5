"""The three examples of the page: photographs where `make demo` fetched them, drawn pictures for the rest."""

from collections.abc import Callable
from functools import partial

import numpy as np

from common.data import sample
from common.data.masks import read_image
from common.downloads.origin import folder_of
from common.training.seen import suite_manifest

PHOTOGRAPHS = "photographs"  # the manifest's entry
EXAMPLES = 3
SEEDS = (3, 7, 11)  # of drawn pictures


def find_examples() -> dict[str, Callable[[], np.ndarray]]:
    """Name -> what reads or draws the picture, uint8 RGB [h, w, 3]."""
    entry = suite_manifest().entry(PHOTOGRAPHS)
    unpack = entry.files[0].unpack
    paths = [folder_of(entry) / unpack.to / name for name in unpack.members]
    found = {path.name: partial(read_image, path) for path in paths[: EXAMPLES - 1] if path.is_file()}
    return found | {f"drawn{seed}.png": partial(_drawn, seed) for seed in SEEDS[: EXAMPLES - len(found)]}


def _drawn(seed: int) -> np.ndarray:
    return sample.draw(seed)[0]
