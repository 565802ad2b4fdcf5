"""The sizes that pictures are brought to, as tensors."""

from typing import Literal

from common.tf1 import tf

ResizeRule = Literal["mended", "original", "fit", "square"]


def size_in_range(size: tf.Tensor, limits: tuple[int, int], factor: int = 0, rule: ResizeRule = "mended") -> tf.Tensor:
    """Scale `size` into a range and keep the aspect, except for rounding (research/deeplab's resize_to_range).

    The short side becomes the lower limit. If the long side would then exceed the upper limit, the long side becomes
    the upper limit instead.

    Args:
      size: int32 [2].
      limits: of the short side, and of the long one.
      factor: sides are rounded up to a multiple of the factor plus 1, after the upper limit was rounded down to one;
        0 rounds nothing.
      rule: `original` is research/deeplab's of 2018. It lowers a limit that is already a multiple plus 1 to the one
        before (513 to 497 for factor 16). It rounds scaled sides up, and float32 then makes 498 of some 497, and so
        513. `mended` is research/deeplab's later rule: such a limit stays, and scaled sides are rounded down. `fit`
        makes the long side the upper limit, whatever the short one becomes. `square` is `mended`, and then makes both
        sides the greater one (keep_aspect_ratio=false of research/deeplab).

    Returns:
      int32 [2].
    """
    original = rule == "original"
    shortest, longest = limits
    if rule == "fit":
        sides = tf.cast(size, tf.float64)  # exact where float32 may be a pixel short
        return tf.maximum(tf.cast(sides / tf.reduce_max(sides) * longest, tf.int32), 1)
    if factor:
        longest -= (longest - 2) % factor + 1 if original else (longest - 1) % factor
    sides = tf.cast(size, tf.float32)
    whole = tf.ceil if original else tf.floor
    large = whole(sides * (shortest / tf.reduce_min(sides)))
    small = whole(sides * (longest / tf.reduce_max(sides)))
    sides = tf.maximum(tf.cast(tf.where(tf.reduce_max(large) > longest, small, large), tf.int32), 1)
    sides = sides + (1 - sides) % factor if factor else sides
    return tf.fill([2], tf.reduce_max(sides)) if rule == "square" else sides
