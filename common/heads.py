"""Heads: from the backbone's features to class scores at the same stride."""

from collections.abc import Sequence

from common import layers
from common.tf1 import tf


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
