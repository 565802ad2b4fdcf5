"""The contest of dense CRFs, 21 classes and 10 iterations, from soft probabilities to the label map (see worker.py).

TensorFlow is not imported, so that the peak memory is the CRF's.
"""

from collections.abc import Callable

import numpy as np

from common.inference.crf import CrfParameters, dense_crf
from tests.bench.crf import pydensecrf_marginals, soft_probabilities


def product(picture: str, mask: str) -> Callable[[], np.ndarray]:
    """The product's, by numpy and scipy."""
    pixels, probabilities = np.load(picture), soft_probabilities(np.load(mask))
    return lambda: dense_crf(pixels, probabilities, CrfParameters()).argmax(axis=-1).astype(np.uint8)


def pydensecrf(picture: str, mask: str) -> Callable[[], np.ndarray]:
    """The same by pydensecrf, C++ on one thread."""
    import pydensecrf  # noqa: F401  (missing: said before anything is measured)

    pixels, probabilities = np.load(picture), soft_probabilities(np.load(mask))
    return lambda: pydensecrf_marginals(pixels, probabilities, CrfParameters()).argmax(axis=-1).astype(np.uint8)
