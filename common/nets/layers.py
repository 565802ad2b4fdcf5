"""The layers that every reproduction shares, under the variable names of tf-slim checkpoints."""

import zlib
from collections.abc import Callable
from typing import Any, Literal

from common.nets.dilation import ATROUS, dilated_depthwise
from common.nets.folding import folded
from common.nets.gradients import FROZEN, RESIZE
from common.nets.quantisation import BYPASS, Quantisation
from common.nets.replicas import ALONE, Replicas
from common.nets.replicated_norm import over_replicas
from common.tf1 import slim, tf

Padding = Literal["tensorflow", "even", "none"]


@slim.add_arg_scope
def conv2d(
    inputs: tf.Tensor,
    filters: int,
    kernel_size: int,
    *,
    scope: str,
    stride: int = 1,
    rate: int = 1,
    bias: bool = False,
    dilated_type: str = "regular",
    padding: Padding = "tensorflow",
    weights_initializer: Callable | None = None,
    names: tuple[str, str] = ("weights", "biases"),
    quantisation: Quantisation | None = None,
) -> tf.Tensor:
    """SAME convolution without normalisation or activation.

    Args:
      inputs: float32 [n, h, w, c].
      filters: output channels d.
      kernel_size: side of the square kernel.
      scope: variables are `<scope>/weights` [k, k, c, d] and, with `bias`, `<scope>/biases` [d].
      stride: output is [n, ceil(h / stride), ceil(w / stride), d].
      rate: atrous rate; a rate above 1 needs stride 1.
      bias: whether to add one.
      dilated_type: how a rate above 1 is computed, a key of `common.nets.dilation.ATROUS`.
      padding: `even` pads a strided convolution equally before and after, whatever the size (slim's conv2d_same), so
        that the result is the dense one subsampled; `tensorflow` does so for odd sizes only. `none` is VALID
        convolution: output is [n, ceil((h - k + 1) / stride), ...].
      weights_initializer: None is TensorFlow's default, Glorot uniform; biases start at 0.
      names: the variables' last names, where a checkpoint has others.
      quantisation: how kernels and results are rounded, set by `common.nets.network.build`. Without `bias` the layer's
        batch norm does it.
    """
    if stride > 1 and rate > 1:
        raise ValueError(f"{scope}: stride {stride} and rate {rate} together")
    with tf.variable_scope(scope):
        weights = slim.model_variable(
            names[0],
            [kernel_size, kernel_size, int(inputs.shape[3]), filters],
            initializer=weights_initializer,
        )

        def convolve(kernels: tf.Tensor) -> tf.Tensor:
            if rate > 1:
                return ATROUS[dilated_type](inputs, kernels, rate)
            return strided(tf.nn.conv2d, inputs, kernels, stride, padding)

        outputs = convolve(weights)
        if quantisation:
            quantisation.convolutions[outputs.name] = weights, convolve
        if bias:
            biases = slim.model_variable(names[1], [filters], initializer=tf.initializers.zeros())
            if not quantisation:
                return tf.nn.bias_add(outputs, biases)
    return quantisation.with_biases(outputs, biases, scope, None) if bias else outputs


@slim.add_arg_scope
def depthwise_conv2d(
    inputs: tf.Tensor,
    kernel_size: int,
    *,
    scope: str,
    stride: int = 1,
    rate: int | tuple[int, int] = 1,
    padding: Padding = "tensorflow",
    weights_initializer: Callable | None = None,
    largest_native: float = 0,
    quantisation: Quantisation | None = None,
) -> tf.Tensor:
    """SAME convolution of each channel by itself, as `conv2d`; it has `<scope>/depthwise_weights` [k, k, c, 1].

    `rate` may differ for height and width. `largest_native`, which `common.nets.network.build` sets when nothing is
    trained, chooses the way in which a rate is computed; see `common.nets.dilation.dilated_depthwise`.
    """
    rates = (rate, rate) if isinstance(rate, int) else tuple(rate)
    if stride > 1 and rates != (1, 1):
        raise ValueError(f"{scope}: stride {stride} and rate {rate} together")
    with tf.variable_scope(scope):
        shape = [kernel_size, kernel_size, int(inputs.shape[3]), 1]
        weights = slim.model_variable("depthwise_weights", shape, initializer=weights_initializer)

    def convolve(kernels: tf.Tensor) -> tf.Tensor:
        if rates == (1, 1):
            return strided(tf.nn.depthwise_conv2d, inputs, kernels, stride, padding)
        return dilated_depthwise(inputs, kernels, rates, largest_native)

    outputs = convolve(weights)
    if quantisation:
        quantisation.convolutions[outputs.name] = weights, convolve
    return outputs


@slim.add_arg_scope
def separable_conv2d(
    inputs: tf.Tensor,
    filters: int,
    kernel_size: int,
    *,
    scope: str,
    stride: int = 1,
    rate: int | tuple[int, int] = 1,
    padding: Padding = "tensorflow",
    activation_fn: Callable | None = tf.nn.relu,
    stddevs: tuple[float, float] | None = None,
) -> tf.Tensor:
    """Atrous separable convolution (arXiv 1802.02611, figure 3): `<scope>_depthwise`, then `<scope>_pointwise`.

    Both are followed by batch norm and `activation_fn`, and both start by truncated normals of `stddevs`,
    if given. Shapes as `conv2d`.
    """
    initial = [{"weights_initializer": tf.initializers.truncated_normal(stddev=s)} for s in stddevs or ()] or [{}, {}]
    net = depthwise_conv2d(
        inputs, kernel_size, stride=stride, rate=rate, padding=padding, scope=f"{scope}_depthwise", **initial[0]
    )
    net = batch_norm(net, scope=f"{scope}_depthwise/BatchNorm", activation_fn=activation_fn)
    net = conv2d(net, filters, 1, scope=f"{scope}_pointwise", **initial[1])
    return batch_norm(net, scope=f"{scope}_pointwise/BatchNorm", activation_fn=activation_fn)


def strided(convolve: Callable, inputs: tf.Tensor, weights: tf.Tensor, stride: int, padding: Padding) -> tf.Tensor:
    """Apply `convolve` (tf.nn.conv2d or its depthwise form) at `stride`, padded as `padding` says; see `conv2d`."""
    strides = [1, stride, stride, 1]
    if padding == "none":
        return convolve(inputs, weights, strides=strides, padding="VALID")
    if stride == 1 or padding == "tensorflow":
        return convolve(inputs, weights, strides=strides, padding="SAME")
    total = int(weights.shape[0]) - 1
    return convolve(_pad(inputs, total // 2, [total - total // 2] * 2, 0.0), weights, strides=strides, padding="VALID")


@slim.add_arg_scope
def batch_norm(
    inputs: tf.Tensor,
    *,
    scope: str,
    epsilon: float = 0.001,
    decay: float = 0.999,
    batch_statistics: bool = False,
    trainable: bool = False,
    scale: bool = True,
    gamma: float = 1.0,
    activation_fn: Callable | None = None,
    biases_instead: bool = False,
    fold: bool = False,
    replicas: Replicas = ALONE,
    quantisation: Quantisation | None = None,
) -> tf.Tensor:
    """Batch normalisation; the defaults are frozen: stored statistics, constant gamma and beta.

    Args:
      inputs: float32 [n, h, w, c].
      scope: variables are `<scope>/{gamma,beta,moving_mean,moving_variance}`, each [c].
      epsilon: added to the variance. TensorFlow raises anything below 1.001e-5 to that value.
      decay: of the moving statistics, with `batch_statistics`.
      batch_statistics: normalise by the batch's statistics and put the updates of the moving ones in UPDATE_OPS.
      trainable: whether gamma and beta are trained.
      scale: whether there is a gamma.
      gamma: initial value of gamma.
      activation_fn: applied to the result.
      biases_instead: add biases [c] instead of batch norm; their variable lies beside the layer's weights.
      fold: without `batch_statistics`, make it part of the layer before. It is set for bf16 and for ONNX.
      replicas: `batch_statistics` are those of the whole batch, of which each replica has an equal part.
      quantisation: how the layer, which then is a convolution's result with this norm, is rounded; see `conv2d`.
    """
    if biases_instead:
        layer = scope.removesuffix("/BatchNorm")
        with tf.variable_scope(layer):
            biases = slim.model_variable("biases", [int(inputs.shape[3])], initializer=tf.initializers.zeros())
        if quantisation:
            return quantisation.with_biases(inputs, biases, layer, activation_fn)
        outputs = tf.nn.bias_add(inputs, biases)
        return activation_fn(outputs) if activation_fn else outputs
    if quantisation:
        return quantisation.with_batch_norm(
            inputs, scope, activation_fn, epsilon=epsilon, decay=decay, batch_statistics=batch_statistics,
            trainable=trainable, scale=scale, gamma=gamma,
        )  # fmt: skip
    if batch_statistics and replicas.count > 1:
        outputs = over_replicas(
            inputs, scope, replicas, epsilon=epsilon, decay=decay, trainable=trainable, scale=scale, gamma=gamma
        )
        return activation_fn(outputs) if activation_fn else outputs
    is_frozen, is_folded = not (batch_statistics or trainable), fold and not batch_statistics
    with tf.get_default_graph().gradient_override_map({"FusedBatchNormV3": FROZEN} if is_frozen else {}):
        normalised = slim.batch_norm(
            inputs,
            scale=scale,
            epsilon=epsilon,
            decay=decay,
            is_training=batch_statistics,
            trainable=trainable,
            param_initializers={"gamma": tf.initializers.constant(gamma)},
            activation_fn=None if is_folded else activation_fn,
            scope=scope,
        )
    return folded(normalised, activation_fn) if is_folded else normalised


@slim.add_arg_scope
def residual_sum(
    net: tf.Tensor, inputs: tf.Tensor, *, scope: str, quantisation: Quantisation | None = None
) -> tf.Tensor:
    """A residual and its block's inputs; the sum of an 8 bit network is rounded by a range of its own in `scope`."""
    net += inputs
    return quantisation.rounded(net, f"{scope}/{BYPASS}") if quantisation else net


@slim.add_arg_scope
def conv_bn_relu(
    inputs: tf.Tensor,
    filters: int,
    kernel_size: int,
    *,
    scope: str,
    activation_fn: Callable = tf.nn.relu,
    **options: Any,
) -> tf.Tensor:
    """`conv2d` with `options`, batch norm under `<scope>/BatchNorm`, ReLU or a bounded one: slim's usual layer."""
    outputs = conv2d(inputs, filters, kernel_size, scope=scope, **options)
    return batch_norm(outputs, scope=f"{scope}/BatchNorm", activation_fn=activation_fn)


@slim.add_arg_scope
def dropout(
    inputs: tf.Tensor,
    keep_prob: float,
    *,
    scope: str,
    seed: tf.Tensor | None = None,
    whole_pictures: bool = False,
    reached_at: int = 0,
    replicas: Replicas = ALONE,
) -> tf.Tensor:
    """Dropout whose mask is a function of (seed, scope), so that a resumed run repeats it.

    Args:
      inputs: any float tensor.
      keep_prob: share of the values that stay, scaled by 1 / keep_prob.
      scope: tells one layer's mask from another's.
      seed: int64 [2], set by `common.nets.network.build` in training; None is inference: nothing is dropped.
      whole_pictures: drop all values [n, ...] of a picture or none (stochastic depth, arXiv 1603.09382).
      reached_at: the step up to which `keep_prob` falls from 1, linearly; with 0 it is the same at all steps.
      replicas: each one has its part of the whole batch's mask.
    """
    if seed is None or keep_prob >= 1:
        return inputs
    if reached_at:
        keep_prob = 1 - (1 - keep_prob) * tf.minimum(tf.cast(seed[1], tf.float32) / reached_at, 1.0)
    seed = seed + tf.constant([0, zlib.crc32(scope.encode()) << 24], tf.int64)

    def dropped(values: tf.Tensor) -> tf.Tensor:
        shape = [tf.shape(values)[0], *[1] * (inputs.shape.rank - 1)] if whole_pictures else None
        return tf.nn.experimental.stateless_dropout(values, rate=1 - keep_prob, seed=seed, noise_shape=shape)

    if replicas.count == 1:
        return dropped(inputs)
    part = tf.shape(inputs)[0]
    mask = dropped(tf.ones(tf.concat([[part * replicas.count], tf.shape(inputs)[1:]], axis=0)))
    return inputs * mask[part * replicas.index : part * (replicas.index + 1)]


def max_pool(inputs: tf.Tensor, size: int, stride: int, rule: str = "tensorflow") -> tf.Tensor:
    """Max pooling of [n, h, w, c] with padding.

    By rule `tensorflow` (SAME) the result is [n, ceil(h / stride), ...], padded evenly with one more
    pixel below and to the right; by rule `caffe` (pad size // 2, sizes rounded up) it is
    [n, ceil((h - 1) / stride) + 1, ...] for odd sizes of the window. They agree where h = 1 modulo stride.
    """
    if rule == "tensorflow":
        return tf.nn.max_pool2d(inputs, ksize=size, strides=stride, padding="SAME")
    pad = size // 2
    sides = tf.shape(inputs)[1:3]
    outputs = -(-(sides + 2 * pad - size) // stride) + 1
    outputs -= tf.cast((outputs - 1) * stride >= sides + pad, tf.int32)  # the last window must start inside
    after = (outputs - 1) * stride + size - sides - pad
    inputs = _pad(inputs, pad, tf.maximum(after, 0), inputs.dtype.min)
    return tf.nn.max_pool2d(inputs, ksize=size, strides=stride, padding="VALID")


def average_pool(inputs: tf.Tensor, size: int, rule: str = "tensorflow") -> tf.Tensor:
    """Average pooling of [n, h, w, c] at stride 1, same size.

    At the borders `tensorflow` divides by the pixels inside the picture, `caffe` by the whole window.
    """
    if rule == "tensorflow":
        return tf.nn.avg_pool2d(inputs, ksize=size, strides=1, padding="SAME")
    return tf.nn.avg_pool2d(_pad(inputs, size // 2, [size // 2] * 2, 0.0), ksize=size, strides=1, padding="VALID")


def _pad(inputs: tf.Tensor, before: int, after: list[int] | tf.Tensor, value: float) -> tf.Tensor:
    return tf.pad(inputs, [[0, 0], [before, after[0]], [before, after[1]], [0, 0]], constant_values=value)


def resize_bilinear(
    inputs: tf.Tensor,
    size: tf.Tensor | tuple[int, int],
    *,
    align_corners: bool = False,
    half_pixel_centers: bool = False,
) -> tf.Tensor:
    """Bilinear resize of [n, h, w, c] to `size` [height, width] by TensorFlow's rules; the result is float32.

    With `align_corners` the centres of the corner pixels coincide. Without it, source = target * (in / out), the
    default of the TensorFlow 1 originals. With `half_pixel_centers`, TensorFlow 2's rule, the pictures' edges coincide.
    """
    with tf.get_default_graph().gradient_override_map({"ResizeBilinear": RESIZE}):
        return tf.raw_ops.ResizeBilinear(
            images=inputs, size=size, align_corners=align_corners, half_pixel_centers=half_pixel_centers
        )


def resized_rows(inputs: tf.Tensor, size: tf.Tensor, rows: tf.Tensor, *, align_corners: bool) -> tf.Tensor:
    """The rows [first, after the last] of `resize_bilinear(inputs, size)`, with the same bits: [n, rows, width, c].

    TensorFlow's kernel interpolates within rows first. It does so here too, for as many rows as there are; the kernel's
    own arithmetic between rows then makes those that are wanted.
    """
    height, edge = tf.shape(inputs)[1], 1 if align_corners else 0
    wide = resize_bilinear(inputs, tf.stack([height, size[1]]), align_corners=align_corners)
    stretch = tf.math.divide_no_nan(tf.cast(height - edge, tf.float32), tf.cast(size[0] - edge, tf.float32))
    sources = tf.cast(tf.range(rows[0], rows[1]), tf.float32) * stretch
    above, below = tf.floor(sources), tf.minimum(tf.cast(tf.ceil(sources), tf.int32), height - 1)
    top, bottom = tf.gather(wide, tf.cast(above, tf.int32), axis=1), tf.gather(wide, below, axis=1)
    return top + (bottom - top) * (sources - above)[:, None, None]


def scaled_size(size: tf.Tensor, scale: tf.Tensor | float, *, align_corners: bool = False) -> tf.Tensor:
    """int32 [2]: `size` times `scale` in float32, truncated, at least 1, as the TensorFlow originals compute it.

    With `align_corners` it scales size - 1, the distance of the corners (research/deeplab's scale_dimension).
    """
    edge = 1 if align_corners else 0
    return tf.maximum(tf.cast(tf.cast(size - edge, tf.float32) * scale + edge, tf.int32), 1)


def rescale(images: tf.Tensor, scale: float, *, align_corners: bool) -> tf.Tensor:
    """Bilinear resize of [n, h, w, c] to [n, int(scale * h), int(scale * w), c], at least one pixel."""
    if scale == 1:
        return images
    static = images.shape[1:3]
    if static.is_fully_defined():
        size = [max(1, int(int(side) * scale)) for side in static]
    else:
        size = scaled_size(tf.shape(images)[1:3], scale)
    return resize_bilinear(images, size, align_corners=align_corners)


def resize_labels(labels: tf.Tensor, size: tf.Tensor | tuple[int, int], *, align_corners: bool = False) -> tf.Tensor:
    """Resize labels [n, h, w, 1] or pictures to the nearest neighbour as TensorFlow 1: floor, or aligned corners."""
    return tf.image.resize_nearest_neighbor(labels, size, align_corners=align_corners)


# The layers that 8 bit networks round.
QUANTISED = (conv2d, depthwise_conv2d, batch_norm, residual_sum)
# How pictures are brought to a size, by what a recipe calls it.
RESIZES = {"bilinear": resize_bilinear, "nearest": resize_labels}
