"""The layers that every reproduction shares, under the variable names of tf-slim checkpoints."""

from collections.abc import Callable

from common.dilation import ATROUS
from common.tf1 import slim, tf


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
    weights_initializer: Callable | None = None,
) -> tf.Tensor:
    """SAME convolution without normalisation or activation.

    Args:
      inputs: float32 [n, h, w, c].
      filters: output channels d.
      kernel_size: side of the square kernel.
      scope: variables are `<scope>/weights` [k, k, c, d] and, with `bias`, `<scope>/biases` [d].
      stride: output is [n, ceil(h / stride), ceil(w / stride), d].
      rate: atrous rate; a rate above 1 needs stride 1.
      dilated_type: how a rate above 1 is computed, a key of `common.dilation.ATROUS`.
      weights_initializer: of weights and biases; None is TensorFlow's default, Glorot uniform.
    """
    if stride > 1 and rate > 1:
        raise ValueError(f"{scope}: stride {stride} and rate {rate} together")
    with tf.variable_scope(scope):
        weights = slim.model_variable(
            "weights",
            [kernel_size, kernel_size, int(inputs.shape[3]), filters],
            initializer=weights_initializer,
        )
        if rate > 1:
            outputs = ATROUS[dilated_type](inputs, weights, rate)
        else:
            outputs = tf.nn.conv2d(inputs, weights, strides=stride, padding="SAME")
        if bias:
            # A zero start is what a bias means; Glorot on a vector is only TensorFlow's fallback.
            biases = slim.model_variable("biases", [filters], initializer=tf.initializers.zeros())
            outputs = tf.nn.bias_add(outputs, biases)
    return outputs


@slim.add_arg_scope
def batch_norm(
    inputs: tf.Tensor,
    *,
    scope: str,
    epsilon: float = 0.001,
    decay: float = 0.999,
    is_training: bool = False,
    trainable: bool = False,
    gamma: float = 1.0,
    activation_fn: Callable | None = None,
) -> tf.Tensor:
    """Batch normalisation; the defaults are frozen: stored statistics, constant gamma and beta.

    Args:
      inputs: float32 [n, h, w, c].
      scope: variables are `<scope>/{gamma,beta,moving_mean,moving_variance}`, each [c].
      epsilon: added to the variance. TensorFlow raises anything below 1.001e-5 to that value.
      decay: of the moving statistics, when live.
      is_training: normalise by the batch's statistics and put the updates of the moving ones in UPDATE_OPS.
      trainable: whether gamma and beta are trained.
      gamma: initial value of gamma.
      activation_fn: applied to the result.
    """
    return slim.batch_norm(
        inputs,
        scale=True,
        epsilon=epsilon,
        decay=decay,
        is_training=is_training,
        trainable=trainable,
        param_initializers={"gamma": tf.initializers.constant(gamma)},
        activation_fn=activation_fn,
        scope=scope,
    )


def max_pool(inputs: tf.Tensor, size: int, stride: int) -> tf.Tensor:
    """SAME max pooling of [n, h, w, c] to [n, ceil(h / stride), ceil(w / stride), c]."""
    return tf.nn.max_pool2d(inputs, ksize=size, strides=stride, padding="SAME")


def resize_bilinear(inputs: tf.Tensor, size: tf.Tensor | tuple[int, int], *, align_corners: bool) -> tf.Tensor:
    """Bilinear resize of [n, h, w, c] to `size` [height, width] by TensorFlow 1's rules.

    With `align_corners` the corner pixels' centres coincide; without, source = target * (in / out),
    which is what the TensorFlow originals use unless they say otherwise.
    """
    return tf.image.resize_bilinear(inputs, size, align_corners=align_corners)


def rescale(images: tf.Tensor, scale: float, *, align_corners: bool) -> tf.Tensor:
    """Bilinear resize of [n, h, w, c] to [n, int(scale * h), int(scale * w), c], at least one pixel."""
    if scale == 1:
        return images
    static = images.shape[1:3]
    if static.is_fully_defined():
        size = [max(1, int(int(side) * scale)) for side in static]
    else:
        sides = tf.cast(tf.shape(images)[1:3], tf.float32)
        size = tf.maximum(tf.cast(sides * scale, tf.int32), 1)
    return resize_bilinear(images, size, align_corners=align_corners)


def resize_labels(labels: tf.Tensor, size: tf.Tensor | tuple[int, int]) -> tf.Tensor:
    """Nearest-neighbour resize of integer labels [n, h, w, 1] by TensorFlow 1's rule (floor)."""
    return tf.image.resize_nearest_neighbor(labels, size)
