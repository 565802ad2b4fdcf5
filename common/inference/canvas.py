"""Canvases: pictures as a network's file takes them, and its answers brought back to them, without TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.engines.interface import Roles, Size
from common.inference.resizing import padded_size, resize_bilinear, resize_nearest, size_in_evaluation
from common.recipe.recipe import Recipe


@dataclass(frozen=True)
class Canvas:
    """A picture as the network takes it.

    Attributes:
      values: pixels 0..255, or preprocessed, float32 [h, w, 3].
      own: the picture's size, [h, w].
      resized: its size on the canvas.
      padded: the size of the canvas at scale 1.
      corner: the row and the column where the picture begins on it.
      is_mirrored: whether left and right are exchanged.
    """

    values: np.ndarray
    own: Size
    resized: Size
    padded: Size
    corner: Size
    is_mirrored: bool

    def back(self, values: np.ndarray, resize: Callable[[np.ndarray, Size], np.ndarray]) -> np.ndarray:
        """Bring an answer for the canvas, of any size, back to the picture: [h, w, ...] of its own size."""
        if self.is_mirrored:
            values = values[:, ::-1]
        (top, left), (height, width) = self.corner, self.resized
        return resize(resize(values, self.padded)[top : top + height, left : left + width], self.own)

    def back_labels(self, labels: np.ndarray) -> np.ndarray:
        """Bring a label map back."""
        return self.back(labels, resize_nearest)


def place(picture: np.ndarray, recipe: Recipe, roles: Roles, scale: float = 1.0, mirror: bool = False) -> Canvas:
    """Put a picture, uint8 RGB [h, w, 3], onto its canvas.

    Args:
      picture: the pixels.
      recipe: its range of sizes, its padding, its preprocessing.
      roles: of the file: whether it takes pixels, and of which size.
      scale: of the canvas.
      mirror: exchange left and right.
    """
    own = picture.shape[:2]
    size = size_in_evaluation(own, recipe)
    if roles.size:
        size = fitting(size, roles.size)
    padded = roles.size or padded_size(size, recipe)
    missing = [side - used for side, used in zip(padded, size, strict=True)]
    corner = [side // 2 if recipe.eval_padding == "around" else 0 for side in missing]
    values = resize_bilinear(picture, size, align_corners=recipe.resize_align_corners)
    values = np.stack([_padded(values[..., i], padded, corner, colour) for i, colour in enumerate(_colour(recipe))], -1)
    if scale != 1:
        values = resize_bilinear(values, scaled(padded, scale, recipe), align_corners=recipe.align_corners)
    if mirror:
        values = values[:, ::-1]
    values = values if roles.takes_pixels else preprocess(values, recipe)
    return Canvas(values, own, size, padded, tuple(corner), mirror)


def fitting(size: Size, limit: Size) -> Size:
    """The size, or the greatest one of the same aspect within the limit where it is larger."""
    (height, width), (most_high, most_wide) = size, limit
    if height <= most_high and width <= most_wide:
        return size
    if height * most_wide >= width * most_high:
        return most_high, max(1, width * most_high // height)
    return max(1, height * most_wide // width), most_wide


def _padded(values: np.ndarray, size: Size, corner: list[int], colour: float) -> np.ndarray:
    canvas = np.full(size, colour, np.float32)
    canvas[corner[0] : corner[0] + values.shape[0], corner[1] : corner[1] + values.shape[1]] = values
    return canvas


def _colour(recipe: Recipe) -> tuple[float, ...]:
    """The RGB pixel around a picture."""
    if recipe.padding_pixel != "mean":
        return recipe.padding_pixel
    return recipe.pixel_mean[::-1] if recipe.channel_order == "bgr" else recipe.pixel_mean


def scaled(size: Size, scale: float, recipe: Recipe) -> Size:
    """The size at a scale: see `nets.layers.scaled_size`."""
    edge = 1 if recipe.align_corners else 0
    return tuple(max(1, int(np.float32(side - edge) * np.float32(scale) + np.float32(edge))) for side in size)


def preprocess(pixels: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Preprocess RGB pixels [h, w, 3]: see `nets.pictures.preprocess`."""
    pixels = pixels[..., ::-1] if recipe.channel_order == "bgr" else pixels
    scale = np.float32(recipe.pixel_scale)
    return pixels * scale - np.array([mean * recipe.pixel_scale for mean in recipe.pixel_mean], np.float32)
