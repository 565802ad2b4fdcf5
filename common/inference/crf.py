"""The fully connected CRF by which DeepLab v1 and v2 refine their label maps.

`python -m common.inference.crf` runs it on files.

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS
2011 (arXiv 1210.5644): mean-field inference (algorithm 1) with a Gaussian and a bilateral kernel (equation 3)
and the Potts model. Normalisation and constants are pydensecrf's defaults, so the answers are pydensecrf's too:
each kernel is divided on both sides by the square root of its sum, and a pixel's message to itself is kept.
"""

import argparse
import dataclasses
import functools
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common import program
from common.console import show, stage
from common.data.figures import add_png_note, drawn_by_us
from common.data.masks import read_image, save_label_png
from common.data.sets.voc import voc_palette
from common.errors import UserError, brief
from common.files import atomic
from common.inference.permutohedral import PermutohedralLattice, blocks
from common.recipe.ranges import CRF, check_limits

MIN_PROBABILITY = 1e-5  # pydensecrf clips here, so that the energy of probability 0 is finite
TOLERANCE = 1e-2  # saved probabilities and their sums may be wrong by this: half precision and resizing round them


def _number(default: float, about: str):
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, kw_only=True)
class CrfParameters:
    """The CRF's parameters, which DeepLab's papers tune for each model.

    The papers call the bilateral kernel's weight and standard deviations w1, sigma_alpha and sigma_beta, and the
    Gaussian kernel's w2 and sigma_gamma. Standard deviations ("s...") are of pixels or of colours, compatibilities are
    the weights of the Potts model; common/recipe/ranges.py has their limits. A kernel of compatibility 0 is left out.

    Raises UserError for other values.
    """

    iterations: int = _number(10, "mean-field iterations; 0 gives the unary's own probabilities")
    gaussian_sxy: float = _number(3.0, "Gaussian kernel: standard deviation of the position, pixels")
    gaussian_compat: float = _number(3.0, "Gaussian kernel: weight")
    bilateral_sxy: float = _number(67.0, "bilateral kernel: standard deviation of the position, pixels")
    bilateral_srgb: float = _number(3.0, "bilateral kernel: standard deviation of the colour, of 0..255")
    bilateral_compat: float = _number(4.0, "bilateral kernel: weight")

    def __post_init__(self):
        for f in dataclasses.fields(self):
            value, kinds = getattr(self, f.name), int if f.type is int else int | float
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise UserError(f"{f.name}={brief(value)}: must be a {'whole ' if f.type is int else ''}number")
            check_limits(f.name, value, *CRF[f.name])


def dense_crf(image: np.ndarray, probabilities: np.ndarray, parameters: CrfParameters = CrfParameters()) -> np.ndarray:
    """Compute the mean-field marginals of the fully connected CRF (algorithm 1 of the paper).

    Args:
      image: uint8 RGB [h, w, 3].
      probabilities: float32 [h, w, classes] in 0..1. The unary energy is their -log, at most -log 1e-5.
      parameters: the kernels and the number of iterations.

    Returns:
      float32 [h, w, classes], summing to 1 over the classes.

    Raises:
      ValueError: an array has another shape or type.
      UserError: the standard deviations are too small for the picture's size.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image: needs uint8 [h, w, 3], got {image.dtype} {list(image.shape)}")
    if probabilities.ndim != 3 or probabilities.shape[:2] != image.shape[:2] or 0 in probabilities.shape:
        raise ValueError(f"probabilities: needs [h, w, classes] of {image.shape[:2]}, got {list(probabilities.shape)}")
    kernels = _kernels(image, parameters)
    log_unary = np.clip(probabilities, MIN_PROBABILITY, 1).astype(np.float32, copy=False)
    log_unary = np.log(log_unary, out=log_unary).reshape(-1, probabilities.shape[2])
    marginals = np.empty_like(log_unary)
    for step in range(parameters.iterations + 1):
        messages = [(kernel, kernel.blurred(marginals)) for kernel in kernels if step]
        for number, block in enumerate(blocks(len(marginals))):
            scores = log_unary[block].copy()
            for kernel, lattice in messages:  # Potts: a label gains from the pixels that share it
                scores += kernel.sliced(lattice, number)
            marginals[block] = _softmax(scores)
    return marginals.reshape(probabilities.shape)


def _kernels(image: np.ndarray, parameters: CrfParameters) -> list[PermutohedralLattice]:
    """The two kernels of equation 3, normalised symmetrically and weighted."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    position = np.stack([x, y], axis=1).astype(np.float32)
    colour = image.reshape(-1, 3).astype(np.float32)
    kernels = []
    if parameters.gaussian_compat:
        features = position / np.float32(parameters.gaussian_sxy)
        kernels.append(_normalised(features, parameters.gaussian_compat))
    if parameters.bilateral_compat:
        features = [position / np.float32(parameters.bilateral_sxy), colour / np.float32(parameters.bilateral_srgb)]
        kernels.append(_normalised(np.concatenate(features, axis=1), parameters.bilateral_compat))
    return kernels


def _normalised(features: np.ndarray, weight: float) -> PermutohedralLattice:
    """weight * D^-1/2 K D^-1/2, where D holds the row sums of K; each side of K takes half of every factor."""
    kernel = PermutohedralLattice(features)
    row_sums = kernel.filter(np.ones((len(features), 1), np.float32))[:, 0]
    kernel.scale(np.sqrt(np.float32(weight) / row_sums))
    return kernel


def _softmax(scores: np.ndarray) -> np.ndarray:
    """Softmax over the last axis of [pixels, classes], in place.

    Maximum and sum are in the form that numpy computes fastest over a short axis, without BLAS threads.
    """
    scores -= functools.reduce(np.maximum, scores.T)[:, None]
    np.exp(scores, out=scores)
    scores /= np.einsum("ij->i", scores)[:, None]
    return scores


def read_probabilities(path: Path, size: tuple[int, int], are_scores: bool = False) -> np.ndarray:
    """Read the saved class probabilities of a picture: float32 [h, w, classes].

    Args:
      path: a .npy file of floating-point numbers.
      size: the picture's (height, width).
      are_scores: whether the file holds scores, of which the softmax is taken.

    Raises:
      UserError: the file is missing, is no .npy of numbers, has another size than the picture, or holds no
        probabilities.
    """
    try:
        # A memory map reads only the header now, and never unpickles.
        array = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # numpy raises whatever a broken header leads it to
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path}: cannot be read as a .npy file of numbers ({reason}); write it with numpy.save"
        ) from None
    if array.ndim != 3 or array.dtype.kind != "f":
        raise UserError(
            f"{path}: holds {array.dtype} {list(array.shape)}; save probabilities as float32 [height, width, classes]"
        )
    height, width, classes = array.shape
    if (height, width) != size:
        raise UserError(
            f"{path}: is {width}x{height} but the picture is {size[1]}x{size[0]}; "
            f"`predict --save-probabilities` writes what is taken here (--save-logits writes the network's own scores, "
            f"which are smaller)"
        )
    if not 1 <= classes <= 255:
        raise UserError(f"{path}: has {classes} classes; a label picture holds 1 to 255")
    array = np.array(array, np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{path}: holds NaN or infinite values; save finite probabilities")
    if are_scores:
        return _softmax(array.reshape(-1, classes)).reshape(array.shape)
    low, high = array.min(), array.max()
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise UserError(
            f"{path}: values run from {low:g} to {high:g}; save probabilities in 0..1 (after the softmax), or say "
            f"--softmax if these are scores"
        )
    sums = array.sum(axis=2)
    if abs(sums - 1).max() > TOLERANCE:
        raise UserError(
            f"{path}: a pixel's values sum to between {sums.min():g} and {sums.max():g}; "
            f"save probabilities that sum to 1 over the last axis"
        )
    return array


def _may_replace(marginals: Path, label: Path, shape: tuple[int, ...]) -> bool:
    """Whether no array is at `marginals`, or one of an earlier run: with its label map beside it, and of this shape.

    `predict --save-logits` gives its scores, of another shape, the same name.
    """
    if not marginals.exists():
        return True
    try:
        return drawn_by_us(label) and np.load(marginals, mmap_mode="r", allow_pickle=False).shape == shape
    except Exception:  # numpy raises whatever a broken header leads it to
        return False


def _run(args: argparse.Namespace) -> None:
    parameters = CrfParameters(**{f.name: getattr(args, f.name) for f in dataclasses.fields(CrfParameters)})
    label_path, marginals_path = (args.out / f"{args.image.stem}{suffix}" for suffix in (".png", ".npy"))
    results = [label_path, marginals_path] if args.save_marginals else [label_path]
    for path in (args.image, args.probabilities):
        if path.resolve() in [result.resolve() for result in results]:
            raise UserError(f"--out {args.out}: {path} would be overwritten by the result; choose another folder")
    if label_path.exists() and not drawn_by_us(label_path):
        raise UserError(f"--out {args.out}: {label_path.name} is there, and no result of this suite; choose another "
                        f"folder, or move it")  # fmt: skip
    image = read_image(args.image)
    probabilities = read_probabilities(args.probabilities, image.shape[:2], args.softmax)
    if args.save_marginals and not _may_replace(marginals_path, label_path, probabilities.shape):
        raise UserError(f"--out {args.out}: {marginals_path.name} is there, and no marginals of this picture; choose "
                        f"another folder, or move it")  # fmt: skip
    stage("refining")
    marginals = dense_crf(image, probabilities, parameters)
    if args.save_marginals:
        with atomic(marginals_path) as temporary:
            np.save(temporary, marginals)
    with atomic(label_path) as temporary:
        save_label_png(temporary, marginals.argmax(axis=2).astype(np.uint8), voc_palette(256))
        add_png_note(temporary)
    show(label_path)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.inference.crf",
        description="Refine the saved class probabilities of a picture by the dense CRF.",
        example="--image data/sample/JPEGImages/sample_000064.jpg "
        "--probabilities out/v3plus-labels/sample_000064_probabilities.npy --out out/crf",
    )
    parser.add_argument("--image", required=True, type=Path, metavar="IMAGE", help="the picture")
    parser.add_argument(
        "--probabilities", required=True, type=Path, metavar="NPY",
        help="float32 or float16 [height, width, classes] at the picture's size, as `predict --save-probabilities` "
        "writes them",
    )  # fmt: skip
    parser.add_argument(
        "--softmax", action="store_true",
        help="--probabilities holds scores before the softmax, also at the picture's size",
    )  # fmt: skip
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for <stem>.png, the label map")
    parser.add_argument(
        "--save-marginals", action="store_true", help="also write <stem>.npy: the refined probabilities, float32"
    )
    for f in dataclasses.fields(CrfParameters):
        parser.add_argument(
            f"--{f.name.replace('_', '-')}", type=type(f.default), default=f.default, metavar="N",
            help=f"{f.metadata['about']} (default: %(default)s)",
        )  # fmt: skip
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
