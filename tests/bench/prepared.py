"""The product where other engines run its networks: nothing here imports TensorFlow unless the cache is empty."""

from collections.abc import Callable

import numpy as np

from common.export.choice import Choice
from tests.bench.networks import NETWORKS


def label(engine: str, network: str, weights: str, picture: str, precision: str = "fp32") -> Callable[[], np.ndarray]:
    """A picture's label map, by an engine of the recipe."""
    chosen, pixels = NETWORKS[network], np.load(picture)
    settings = [word for word in chosen.settings() if word != "--set"]
    choice = Choice(chosen.load(), weights, settings, {"precision": precision}, engine)
    choice.settle([pixels])
    segmenter = choice.segmenter()
    return lambda: segmenter.label(pixels)
