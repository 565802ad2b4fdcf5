"""Gradients of our own for ops of TensorFlow, by the names that `gradient_override_map` takes."""

from common.tf1 import tf

FROZEN = "FrozenBatchNorm"


@tf.RegisterGradient(FROZEN)
def _frozen_batch_norm_gradient(op: tf.Operation, gradient: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor | None]:
    """The gradient where statistics, gamma and beta are constants: a factor for each channel.

    TensorFlow's own computes gradients of gamma and beta too, and keeps the layer's inputs in memory for them.
    """
    _, gamma, _, _, variance = op.inputs
    return [gradient * (gamma * tf.math.rsqrt(variance + op.get_attr("epsilon"))), None, None, None, None]


RESIZE = "ResizeByProducts"


@tf.RegisterGradient(RESIZE)
def _resize_gradient(op: tf.Operation, gradient: tf.Tensor) -> list[tf.Tensor | None]:
    """The gradient as products with each side's matrix: TensorFlow's own runs on one core."""
    (inputs, size), shape, channels = op.inputs, tf.shape(op.inputs[0]), op.inputs[0].shape[3]
    rule = {name: op.get_attr(name) for name in ("align_corners", "half_pixel_centers")}

    def matrix(side: int) -> tf.Tensor:
        unit = tf.eye(shape[side])[None, ..., None]
        resized = tf.raw_ops.ResizeBilinear(images=unit, size=[size[side - 1], shape[side]], **rule)
        return resized[0, ..., 0]

    rows = tf.matmul(matrix(1)[None], tf.reshape(gradient, [shape[0], size[0], size[1] * channels]), transpose_a=True)
    rows = tf.reshape(rows, [shape[0] * shape[1], size[1], channels])
    both = tf.reshape(tf.matmul(matrix(2)[None], rows, transpose_a=True), shape)
    both.set_shape(inputs.shape)
    return [tf.cast(both, inputs.dtype), None]
