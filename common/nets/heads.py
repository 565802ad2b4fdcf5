"""Heads: from the backbone's features to class scores at the same stride."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from common.nets import layers
from common.nets.pooling import crop_means
from common.recipe.cell import Branch
from common.tf1 import tf

if TYPE_CHECKING:
    from common.tf1 import tf


class Windows(NamedTuple):
    """Windows of image pooling, as `crop_means` takes them."""

    crop: tuple[int, int]
    output_stride: int
    strides: tuple[int, int]


Gate = Callable[["tf.Tensor"], "tf.Tensor"]


def aspp(
    features: tf.Tensor,
    atrous_rates: Sequence[int],
    scopes: Sequence[str],
    *,
    fusion_scope: str | None,
    image_pooling_scope: str | None,
    image_pooling_first: bool = False,
    image_pooling_windows: Windows | None = None,
    separable: bool = False,
    depth: int = 256,
) -> tf.Tensor:
    """ASPP of DeepLab v3 (arXiv 1706.05587, figure 5) and v3+: parallel convolutions, image pooling, fusion.

    Args:
      features: float32 [n, h, w, c].
      atrous_rates: one per 3x3 branch, for this output stride.
      scopes: of the 1x1 branch and of each 3x3 branch.
      fusion_scope: of the 1x1 convolution over all branches; None leaves it out.
      image_pooling_scope: of the branch on the mean over the picture; None leaves it out.
      image_pooling_first: whether that branch is the first of the concatenation, or the last.
      image_pooling_windows: of that branch; None is the whole picture.
      separable: whether the 3x3 branches are atrous separable convolutions (v3+).
      depth: channels of each branch and of the result.

    Returns:
      [n, h, w, depth]; without fusion, the branches behind one another.
    """
    atrous = layers.separable_conv2d if separable else layers.conv_bn_relu
    branches = [layers.conv_bn_relu(features, depth, 1, scope=scopes[0])]
    for rate, scope in zip(atrous_rates, scopes[1:], strict=True):
        branches.append(atrous(features, depth, 3, rate=rate, scope=scope))
    if image_pooling_scope:
        pooled = image_pooling(features, depth, image_pooling_scope, image_pooling_windows)
        branches.insert(0 if image_pooling_first else len(branches), pooled)
    if fusion_scope is None:
        return tf.concat(branches, axis=3) if len(branches) > 1 else branches[0]
    return layers.conv_bn_relu(tf.concat(branches, axis=3), depth, 1, scope=fusion_scope)


def image_pooling(
    features: tf.Tensor, depth: int, scope: str, windows: Windows | None = None, gate: Gate | None = None
) -> tf.Tensor:
    """Average `features` over the picture, convolve by 1x1, and enlarge: [n, h, w, depth].

    Args:
      features: float32 [n, h, w, c].
      depth: channels of the result.
      scope: of the convolution.
      windows: average over these instead, whose means are enlarged with aligned corners.
      gate: follows the convolution, which then has biases in place of batch norm and ReLU (squeeze and excitation).
    """
    pooled = crop_means(features, *windows) if windows else tf.reduce_mean(features, axis=[1, 2], keepdims=True)
    if gate:
        pooled = gate(layers.conv2d(pooled, depth, 1, bias=True, scope=scope))
    else:  # its ReLU is unbounded in every network
        pooled = layers.conv_bn_relu(pooled, depth, 1, scope=scope, activation_fn=tf.nn.relu)
    # Without windows there is one pixel: constant.
    pooled = layers.resize_bilinear(pooled, tf.shape(features)[1:3], align_corners=windows is not None)
    pooled.set_shape([*features.shape[:3], depth])
    return pooled


def pyramid_pooling(features: tf.Tensor, grid_size: tuple[int, int], depth: int, scope: str) -> tf.Tensor:
    """Average over windows of about [h, w] / grid_size, convolve by 1x1, and resize back: [n, h, w, depth]."""
    size = tf.shape(features)[1:3]
    window = (size - 1) // tf.constant(grid_size) + 1
    # Sums over windows as differences of a table of sums: a window's size may be known at run time only.
    table = tf.pad(tf.cumsum(tf.cumsum(features, axis=1), axis=2), [[0, 0], [1, 0], [1, 0], [0, 0]])
    h, w = window[0], window[1]
    sums = table[:, h:, w:] - table[:, :-h, w:] - table[:, h:, :-w] + table[:, :-h, :-w]
    means = sums / tf.cast(h * w, tf.float32)
    means.set_shape([features.shape[0], None, None, features.shape[3]])
    pooled = layers.resize_bilinear(layers.conv_bn_relu(means, depth, 1, scope=scope), size, align_corners=True)
    pooled.set_shape([*features.shape[:3], depth])
    return pooled


def decoder(
    features: tf.Tensor,
    low_level: tf.Tensor,
    *,
    projection_scope: str,
    scopes: Sequence[str],
    separable: bool = True,
    depth: int = 256,
    low_level_depth: int = 48,
    kernels: Sequence[int] = (3, 3),
    reduction: int = 1,
    align_corners: bool = True,
) -> tf.Tensor:
    """Refine features by low-level ones: a stage of DeepLab v3+'s decoder (arXiv 1802.02611, figure 2).

    Args:
      features: float32 [n, h, w, c], from ASPP or from the stage before.
      low_level: float32 [n, H, W, d].
      projection_scope: of the 1x1 convolution that reduces `low_level` to `low_level_depth` channels.
      scopes: of the convolutions that follow, two in the paper.
      separable: whether those are separable.
      depth: channels of each of them.
      low_level_depth: channels that `low_level` is reduced to.
      align_corners: of the resize of `features`.
      kernels: sides of those convolutions' kernels.
      reduction: how many times the decoder's stride exceeds that of `low_level`, which a dense backbone may have.

    Returns:
      [n, ceil(H / reduction), ceil(W / reduction), depth].
    """
    low_level = layers.conv_bn_relu(low_level, low_level_depth, 1, scope=projection_scope)
    if reduction > 1:
        low_level = layers.resize_bilinear(low_level, -(-tf.shape(low_level)[1:3] // reduction), align_corners=True)
    enlarged = layers.resize_bilinear(features, tf.shape(low_level)[1:3], align_corners=align_corners)
    enlarged.set_shape([*low_level.shape[:3], features.shape[3]])
    net = tf.concat([enlarged, low_level], axis=3)
    for kernel, scope in zip(kernels, scopes, strict=True):
        net = (layers.separable_conv2d if separable else layers.conv_bn_relu)(net, depth, kernel, scope=scope)
    return net


def sum_decoder(
    features: tf.Tensor, low_level: tf.Tensor, depth: int, *, projection_scope: str, scope: str,
    separable: bool = False, scores: bool = False,
) -> tf.Tensor:  # fmt: skip
    """Refine features by the sum with low-level ones (research/deeplab's decoder_use_sum_merge).

    Args:
      features: float32 [n, h, w, c].
      low_level: float32 [n, H, W, d].
      depth: channels of the result.
      projection_scope: of the 1x1 convolution of `low_level`.
      scope: of the 3x3 convolution of the enlarged features.
      separable: whether that one is separable.
      scores: the sum is class scores: both convolutions are 1x1, with biases in place of batch norm and ReLU.

    Returns:
      [n, H, W, depth].
    """
    enlarged = layers.resize_bilinear(features, tf.shape(low_level)[1:3], align_corners=True)
    enlarged.set_shape([*low_level.shape[:3], features.shape[3]])
    if scores:
        projected = layers.conv2d(low_level, depth, 1, bias=True, scope=projection_scope)
        return layers.conv2d(enlarged, depth, 1, bias=True, scope=scope) + projected
    refine = layers.separable_conv2d if separable else layers.conv_bn_relu
    projected = layers.conv_bn_relu(low_level, depth, 1, scope=projection_scope)
    return refine(enlarged, depth, 3, scope=scope) + projected


def aspp_sum(
    features: tf.Tensor, num_classes: int, atrous_rates: Sequence[int], scopes: Sequence[str], kernel_size: int = 3
) -> tf.Tensor:
    """DeepLab v2's ASPP (arXiv 1606.00915, figure 7): the sum of parallel 3x3 atrous classifiers.

    Args:
      features: float32 [n, h, w, c].
      num_classes: classes K.
      atrous_rates: one per branch.
      scopes: one per branch; each holds `weights` [k, k, c, K] and `biases` [K].
      kernel_size: k, 3 in the paper.

    Returns:
      Scores [n, h, w, K].
    """
    branches = [
        # The classifier's own kernels stay regular even when the encoder's are smoothed.
        layers.conv2d(features, num_classes, kernel_size, rate=rate, bias=True, dilated_type="regular", scope=scope)
        for rate, scope in zip(atrous_rates, scopes, strict=True)
    ]
    return tf.add_n(branches)


Operation = Callable[["tf.Tensor", Branch, int], "tf.Tensor"]


def apply_branches(
    features: "tf.Tensor", branches: Sequence[Branch], operations: Mapping[str, Operation]
) -> list["tf.Tensor"]:
    """The output of every branch on `features` [n, h, w, c]; `operations` by op take (inputs, branch, its index)."""
    outputs: list = []
    for i, branch in enumerate(branches):
        inputs = features if branch.input < 0 else outputs[branch.input]
        outputs.append(operations[branch.op](inputs, branch, i))
    return outputs


def build_cell(
    features: "tf.Tensor", branches: Sequence[Branch], rate_multiplier: int, scope: str = "meta_architecture"
) -> "tf.Tensor":
    """Build the dense prediction cell: branches of 256 channels, concatenation, dropout, projection to 256 channels.

    Args:
      features: the backbone's, [n, h, w, c].
      branches: the cell.
      rate_multiplier: factor of all rates; 2 at output stride 8.
      scope: of `branch<i>` and `concat_projection`.
    """
    depth = 256

    def convolve(inputs: tf.Tensor, branch: Branch, i: int):
        if branch.kernel == 1:
            return layers.conv_bn_relu(inputs, depth, 1, scope=f"{scope}/branch{i}")
        rate = tuple(r * rate_multiplier for r in branch.rate)
        return layers.separable_conv2d(inputs, depth, 3, rate=rate, scope=f"{scope}/branch{i}")

    def pool(inputs: tf.Tensor, branch: Branch, i: int):
        return pyramid_pooling(inputs, branch.grid_size, depth, f"{scope}/branch{i}")

    outputs = apply_branches(features, branches, {"conv": convolve, "pyramid_pooling": pool})
    net = layers.dropout(tf.concat(outputs, axis=3), 0.9, scope=f"{scope}/concat_projection_dropout")
    return layers.conv_bn_relu(net, depth, 1, scope=f"{scope}/concat_projection")
