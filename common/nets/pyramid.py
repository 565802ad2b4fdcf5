"""Inputs of several sizes for one network, whose scores are merged.

DeepLab v2's multi-scale inputs (arXiv 1606.00915, section 4.1.2) and research/deeplab's image_pyramid.
"""

from collections.abc import Callable, Sequence

from common.nets import layers
from common.nets.network import Outputs
from common.tf1 import tf

MERGES = {"max": tf.reduce_max, "avg": tf.reduce_mean}


def each_input(network: Callable[..., tf.Tensor], inputs: Sequence[tuple]) -> list[tf.Tensor]:
    """The scores of one network, with the same variables, for each of the inputs; each is the network's arguments.

    With the batch's statistics every input updates the stored ones, one after the other, so that a run repeats.
    """
    updates = tf.get_collection_ref(tf.GraphKeys.UPDATE_OPS)
    # A further device's updates are never run (common/training/towers.py), so that nothing may wait for them.
    first, is_further_device, scores = len(updates), tf.get_variable_scope().reuse is True, []
    for arguments in inputs:
        before = [] if is_further_device else updates[first:]
        with tf.control_dependencies(before), tf.variable_scope("", reuse=tf.AUTO_REUSE):
            scores.append(network(*arguments))
    return scores


def merged(scores: Sequence[tf.Tensor], method: str) -> tf.Tensor:
    """Merge scores of one size [n, h, w, classes] by a key of MERGES."""
    result = MERGES[method](tf.stack(scores), axis=0)
    result.set_shape(scores[0].shape)
    return result


def image_pyramid(
    network: Callable[[tf.Tensor, float], tf.Tensor],
    images: tf.Tensor,
    factors: Sequence[float],
    method: str,
    stride: int,
) -> Outputs:
    """A network on an image pyramid (research/deeplab's multi_scale_logits).

    Args:
      network: (images [n, h', w', 3], their factor) -> scores.
      images: float32 [n, h, w, 3], preprocessed; the network's input of factor 1.
      factors: of the inputs' sizes; corners are aligned.
      method: how scores are merged, a key of MERGES.
      stride: of the network's scores.

    Returns:
      The merged scores, at the size of those of the largest input, or of factor 1 if that is larger; with several
      inputs also the scores of each, resized to that size, which have a loss of their own.
    """
    inputs = [(_resized(images, factor), factor) for factor in factors]
    size = _scaled_size(images, max(1.0, *factors) / stride)
    scores = [layers.resize_bilinear(of_one, size, align_corners=True) for of_one in each_input(network, inputs)]
    return Outputs(merged(scores, method), tuple(scores)) if len(scores) > 1 else Outputs(scores[0])


def _resized(images: tf.Tensor, factor: float) -> tf.Tensor:
    if factor == 1:
        return images
    resized = layers.resize_bilinear(images, _scaled_size(images, factor), align_corners=True)
    resized.set_shape([images.shape[0], *resized.shape[1:3], images.shape[3]])
    return resized


def _scaled_size(images: tf.Tensor, factor: float) -> tuple[int, int] | tf.Tensor:
    """The pictures' size times a factor, in the original's arithmetic: of 64 bits, cut off, with aligned corners."""
    if images.shape[1:3].is_fully_defined():
        height, width = images.shape.as_list()[1:3]
        return int((height - 1) * factor + 1), int((width - 1) * factor + 1)
    size = tf.cast(tf.shape(images)[1:3], tf.float64)
    return tf.cast((size - 1) * factor + 1, tf.int32)
