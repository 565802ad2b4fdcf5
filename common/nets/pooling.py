"""Means over windows that have a crop's size, in pictures of any scale."""

from common.nets import layers
from common.tf1 import slim, tf


@slim.add_arg_scope
def crop_means(
    features: tf.Tensor,
    crop: tuple[int, int],
    output_stride: int,
    strides: tuple[int, int] = (1, 1),
    *,
    scale: float | tf.Tensor = 1.0,
) -> tf.Tensor:
    """Average `features` over windows as large as the features of a crop, without padding.

    Args:
      features: float32 [n, h, w, c].
      crop: the crop's height and width at scale 1, in pixels of the network's input.
      output_stride: of the features.
      strides: cells between two windows, down and to the right.
      scale: of the input, which `common.nets.network.build` sets. The window is scaled with it, the strides are not
        (research/deeplab's predict_labels_multi_scale).

    Returns:
      [n, (h - window) // stride + 1, ..., c].

    Where a window is larger than the features, or may be, running fails with InvalidArgumentError: a network of any
    size can be built for its variables. `Recipe.check_input` tells users before.
    """
    if isinstance(scale, tf.Tensor):
        window = (layers.scaled_size(tf.constant(crop), scale, align_corners=True) - 1) // output_stride + 1
        return _means(features, window, strides)
    window = [int((side - 1) * scale) // output_stride + 1 for side in crop]
    sides = features.shape[1:3].as_list()
    if any(side is not None and side < least for side, least in zip(sides, window, strict=True)):
        return _means(features, tf.constant(window), strides)
    return tf.nn.avg_pool2d(features, window, strides, padding="VALID")


def _means(features: tf.Tensor, window: tf.Tensor, strides: tuple[int, int]) -> tf.Tensor:
    """The same for a window that is known at run time only: a product with the weights of each side."""
    size = tf.shape(features)[1:3]
    with tf.control_dependencies([tf.Assert(tf.reduce_all(window <= size), [window, size])]):
        size = tf.identity(size)
    means = features
    for axis, product in enumerate(("oh,nhwc->nowc", "ow,nhwc->nhoc")):
        starts = tf.range(0, tf.maximum(size[axis] - window[axis], 0) + 1, strides[axis])
        cells = tf.range(size[axis])
        is_inside = (cells >= starts[:, None]) & (cells < starts[:, None] + window[axis])
        means = tf.einsum(product, tf.cast(is_inside, tf.float32) / tf.cast(window[axis], tf.float32), means)
    means.set_shape([features.shape[0], None, None, features.shape[3]])
    return means
