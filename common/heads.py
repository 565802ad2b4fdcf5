"""Heads: from the backbone's features to class scores at the same stride."""

from collections.abc import Sequence

from common import layers
from common.tf1 import tf


def aspp(
    features: tf.Tensor,
    atrous_rates: Sequence[int],
    scopes: Sequence[str],
    *,
    fusion_scope: str,
    image_pooling_scope: str | None,
    depth: int = 256,
) -> tf.Tensor:
    """DeepLab v3's ASPP (arXiv 1706.05587, figure 5): parallel convolutions, image pooling, fusion.

    Args:
      features: float32 [n, h, w, c].
      atrous_rates: one per 3x3 branch, for this output stride.
      scopes: of the 1x1 branch and of each 3x3 branch.
      fusion_scope: of the 1x1 convolution over all branches.
      image_pooling_scope: of the branch on the mean over the picture; None leaves it out.
      depth: channels of each branch and of the result.

    Returns:
      [n, h, w, depth].
    """
    branches = [
        layers.conv_bn_relu(features, depth, 3 if i else 1, rate=rate, scope=scope)
        for i, (rate, scope) in enumerate(zip((1, *atrous_rates), scopes, strict=True))
    ]
    if image_pooling_scope:
        branches.append(image_pooling(features, depth, image_pooling_scope))
    return layers.conv_bn_relu(tf.concat(branches, axis=3), depth, 1, scope=fusion_scope)


def image_pooling(features: tf.Tensor, depth: int, scope: str) -> tf.Tensor:
    """The mean of `features` [n, h, w, c] over the picture through a 1x1 convolution: [n, h, w, depth]."""
    pooled = layers.conv_bn_relu(tf.reduce_mean(features, axis=[1, 2], keepdims=True), depth, 1, scope=scope)
    pooled = layers.resize_bilinear(pooled, tf.shape(features)[1:3], align_corners=False)  # one pixel: constant
    pooled.set_shape([*features.shape[:3], depth])
    return pooled


def aspp_sum(features: tf.Tensor, num_classes: int, atrous_rates: Sequence[int], scopes: Sequence[str]) -> tf.Tensor:
    """DeepLab v2's ASPP (arXiv 1606.00915, figure 7): the sum of parallel 3x3 atrous classifiers.

    Args:
      features: float32 [n, h, w, c].
      num_classes: classes K.
      atrous_rates: one per branch.
      scopes: one per branch; each holds `weights` [3, 3, c, K] and `biases` [K].

    Returns:
      Scores [n, h, w, K].
    """
    branches = [
        # The classifier's own kernels stay regular even when the encoder's are smoothed.
        layers.conv2d(features, num_classes, 3, rate=rate, bias=True, dilated_type="regular", scope=scope)
        for rate, scope in zip(atrous_rates, scopes, strict=True)
    ]
    return tf.add_n(branches)
