"""`python -m tests.bench.crf`: seconds of the dense CRF and of pydensecrf, run in alternation, and their ratio.

Threads are the environment's: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m tests.bench.crf
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from common.data.masks import read_image
from common.inference.crf import CrfParameters, dense_crf

ROUNDS = 5
SHARED_VOC = Path(__file__).resolve().parents[3] / "shared/data/VOC2012-subset"


def soft_probabilities(label: np.ndarray, classes: int = 21, seed: int = 0, contrast: float = 4) -> np.ndarray:
    """What a network of stride 8 might have given: float32 [h, w, classes] from uint8 class ids [h, w]."""
    one_hot = np.eye(classes, dtype=np.float32)[np.where(label < classes, label, 0)]
    scores = contrast * ndimage.gaussian_filter(one_hot[::8, ::8], (1, 1, 0))
    scores += np.random.RandomState(seed).randn(*scores.shape)
    size = label.shape[::-1]
    planes = [Image.fromarray(plane).resize(size, Image.BILINEAR) for plane in np.moveaxis(scores, -1, 0)]
    values = np.exp(np.stack(planes, axis=-1))
    return values / values.sum(axis=-1, keepdims=True)


def pydensecrf_marginals(image: np.ndarray, probabilities: np.ndarray, parameters: CrfParameters) -> np.ndarray:
    """`dense_crf` by pydensecrf."""
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    height, width, classes = probabilities.shape
    crf = DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(np.moveaxis(probabilities, -1, 0))))
    crf.addPairwiseGaussian(sxy=parameters.gaussian_sxy, compat=parameters.gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=parameters.bilateral_sxy, srgb=parameters.bilateral_srgb, rgbim=np.array(image),
        compat=parameters.bilateral_compat,
    )  # fmt: skip
    return np.moveaxis(np.array(crf.inference(parameters.iterations)).reshape(classes, height, width), 0, -1)


def bench(image: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """Median seconds of (this suite, pydensecrf), in turn so that the machine's drift meets both; one warm-up."""
    seconds = {dense_crf: [], pydensecrf_marginals: []}
    for turn in range(ROUNDS + 1):
        for run, taken in seconds.items():
            started = time.perf_counter()
            run(image, probabilities, CrfParameters())
            if turn:
                taken.append(time.perf_counter() - started)
    ours, theirs = (statistics.median(taken) for taken in seconds.values())
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--data", type=Path, default=SHARED_VOC, metavar="DIR", help="VOC folder (default: %(default)s)"
    )
    parser.add_argument("--pictures", type=int, default=3, metavar="N", help="how many of 500x375 (default: 3)")
    args = parser.parse_args()
    print(f"threads: OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}, cores: {os.cpu_count()}")
    ratios = []
    for path in sorted((args.data / "JPEGImages").glob("*.jpg")):
        image = read_image(path)
        mask = args.data / "SegmentationClassAug" / f"{path.stem}.png"
        if image.shape != (375, 500, 3) or not mask.is_file():
            continue
        ours, theirs = bench(image, soft_probabilities(np.asarray(Image.open(mask))))
        ratios.append(ours / theirs)
        print(f"{path.stem}: dense_crf {ours:.3f} s, pydensecrf {theirs:.3f} s, ratio {ratios[-1]:.2f}", flush=True)
        if len(ratios) == args.pictures:
            break
    if not ratios:
        raise SystemExit(f"error: {args.data}: holds no picture of 500x375 with a mask; give another --data")
    print(f"median ratio of {len(ratios)} pictures: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
