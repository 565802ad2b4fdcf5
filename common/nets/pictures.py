"""From a picture's pixels to the network's input, and back: preprocess, resize into a range, pad."""

from common.nets import layers
from common.nets.sizes import size_in_range
from common.recipe.recipe import Recipe
from common.tf1 import tf


def preprocess(images: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    """Preprocess RGB pixels 0..255 [..., 3] of any number type: float32 [..., 3], as the network reads them."""
    images = tf.cast(images, tf.float32)
    if recipe.channel_order == "bgr":
        images = tf.reverse(images, axis=[-1])
    # Multiply before subtracting, as research/deeplab does; the other order changes the smallest gradients.
    return images * recipe.pixel_scale - tf.constant([mean * recipe.pixel_scale for mean in recipe.pixel_mean])


def restore_pixels(images: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    """The inverse of `preprocess`, as uint8 RGB."""
    images = images / recipe.pixel_scale + tf.constant(recipe.pixel_mean)
    if recipe.channel_order == "bgr":
        images = tf.reverse(images, axis=[-1])
    return tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8)


def bring_into_range(image: tf.Tensor, sides: tuple[int, int], recipe: Recipe) -> tf.Tensor:
    """Resize a preprocessed picture [h, w, 3] so that its sides lie in `sides`, by the recipe's rule for that."""
    size = size_in_range(tf.shape(image)[:2], sides, recipe.resize_factor, recipe.resize_rule)
    resize = layers.RESIZES[recipe.picture_interpolation]
    return resize(image[None], size, align_corners=recipe.resize_align_corners)[0]


def size_in_evaluation(own: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    """The size [h, w] at which a picture of the size `own` is evaluated: its own, or one in `eval_resize_range`."""
    limits = recipe.eval_resize_range
    return size_in_range(own, limits, recipe.resize_factor, recipe.resize_rule) if limits else own


def canvas(size: tf.Tensor, recipe: Recipe) -> tuple[tf.Tensor, tf.Tensor]:
    """The size [h, w] of the canvas of a picture of `size` in evaluation, and the padding [3, 2] that leads there."""
    padded = size if recipe.eval_size == "native" else tf.maximum(size, recipe.eval_size)
    return padded, padding_to(size, padded, around=recipe.eval_padding == "around")


def padding_to(size: tf.Tensor, canvas: tf.Tensor, around: bool) -> tf.Tensor:
    """The padding that brings a picture of `size` [h, w] to `canvas` [h, w]: int32 [3, 2], before and after each axis.

    It is below and to the right; with `around` on all sides, and an odd pixel is below or to the right.
    """
    missing = tf.maximum(canvas - size, 0)
    before = missing // 2 if around else tf.zeros_like(missing)
    return tf.pad(tf.stack([before, missing - before], axis=1), [[0, 1], [0, 0]])


def padding_colour(recipe: Recipe) -> tf.Tensor:
    """The preprocessed colour around a picture: 0, which is the mean, unless the recipe names a pixel."""
    if recipe.padding_pixel == "mean":
        return tf.constant(0.0)
    return preprocess(tf.constant(recipe.padding_pixel), recipe)


def pad(image: tf.Tensor, padding: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    """Pad a preprocessed picture [h, w, 3] with the padding's colour; `padding` is a result of `padding_to`."""
    colour = padding_colour(recipe)
    return tf.pad(image - colour, padding) + colour
