"""The part of a segmenter that is the same whatever runs its network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np

from common.data.masks import read_image, too_large
from common.data.tiff import TiffPicture
from common.engines.interface import EngineError
from common.errors import UserError
from common.inference.tiles import tiles_of
from common.recipe.recipe import Recipe

Picture = np.ndarray | TiffPicture | str | Path  # uint8 RGB [h, w, 3], or a picture file


class BaseSegmenter:
    """From a picture to its probabilities, with the CRF.

    Attributes:
      recipe: how pictures are segmented.
    """

    recipe: Recipe

    def whole_label(self, picture: np.ndarray) -> np.ndarray:
        """The class ids of a picture that is not cut into tiles, without a CRF: uint8 [h, w]."""
        raise NotImplementedError

    def whole_probabilities(self, picture: np.ndarray) -> np.ndarray:
        """The class probabilities of a picture that is not cut into tiles, without a CRF: float32 [h, w, classes]."""
        raise NotImplementedError

    def label(self, picture: Picture) -> np.ndarray:
        """The class ids of a picture, uint8 [h, w], by the recipe's tiles, scales, mirroring and CRF."""
        picture = pixels_of(picture, self.recipe.channels)
        if self.recipe.crf:
            return self.probabilities(picture).argmax(axis=-1).astype(np.uint8)
        if tiles := tiles_of(self.recipe, picture.shape[:2]):
            return tiles.label(picture, self.whole_probabilities)
        return self.whole_label(np.asarray(picture))

    def without_crf(self, picture: np.ndarray) -> np.ndarray:
        """The class probabilities before a CRF, float32 [h, w, classes]."""
        if tiles := tiles_of(self.recipe, picture.shape[:2]):
            return tiles.probabilities(picture, self.whole_probabilities)
        return self.whole_probabilities(np.asarray(picture))

    def probabilities(self, picture: Picture) -> np.ndarray:
        """The class probabilities, float32 [h, w, classes], sum 1; `label` is the class of the highest one.

        With a CRF they are its marginals. With `scale_fusion=max_logits` they are the softmax of the fused scores.
        """
        picture = pixels_of(picture, self.recipe.channels)
        probabilities = self.without_crf(picture)
        if not self.recipe.crf:
            return probabilities
        from common.inference.crf import CrfParameters, dense_crf

        return dense_crf(np.asarray(picture), probabilities, CrfParameters(**self.recipe.crf_parameters()))

    def close(self) -> None:
        """Free the memory; the segmenter can't be used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def running(title: str, picture: np.ndarray, advice: str) -> Iterator[None]:
    """Raise UserError, with the picture's size and the advice, where an engine or a file cannot run a picture."""
    height, width = picture.shape[:2]
    try:
        yield
    except EngineError as error:
        raise UserError(f"{title} cannot take a picture of {width}x{height} pixels ({error}); {advice}") from None
    except MemoryError:
        raise UserError(too_large((width, height))) from None


def pixels_of(picture: Picture, channels: Sequence[int] = ()) -> np.ndarray | TiffPicture:
    """The pixels of a picture or its file, uint8 RGB [h, w, 3]. Raises UserError for anything else."""
    if isinstance(picture, str | Path):
        return read_image(Path(picture), channels)
    if isinstance(picture, TiffPicture):
        return picture
    try:
        pixels = np.asarray(picture)
    except ValueError:  # lists of several lengths
        pixels = np.asarray(None)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        given = f"{pixels.dtype} of shape {pixels.shape}" if pixels.ndim else f"a {type(picture).__name__}"
        raise UserError(f"the picture is {given}; give a path, or uint8 RGB of shape [h, w, 3]")
    return pixels
