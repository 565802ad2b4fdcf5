"""Frozen batch norm as part of the convolution before it, for bfloat16 and for exported ONNX.

TensorFlow joins the two itself, but in float32 only. In bfloat16 its batch norm is an op of its own, which takes more
time than the convolutions of Xception do.
"""

from collections.abc import Callable

from common.tf1 import tf

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


def folded(normalised: tf.Tensor, activation_fn: Callable[[tf.Tensor], tf.Tensor] | None) -> tf.Tensor:
    """The same values as `normalised`, but for rounding, with the factors within the kernels; and `activation_fn`.

    Args:
      normalised: a result of frozen batch norm, [n, h, w, c].
      activation_fn: applied to the values, if given.
    """
    inputs, gamma, beta, mean, variance = normalised.op.inputs
    factors = gamma * tf.math.rsqrt(variance + normalised.op.get_attr("epsilon"))
    offsets = beta - mean * factors
    scaled = _scaled(inputs, factors)
    if activation_fn is None:
        return scaled + offsets  # a BiasAdd makes the runtime's optimiser fail where a residual's sum is read twice
    return activation_fn(tf.nn.bias_add(scaled, offsets))


def _scaled(inputs: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """`inputs` times a factor for each channel: within the convolution that made them, if one did."""
    op = inputs.op
    if op.type not in CONVOLUTIONS:
        return inputs * factors
    is_depthwise = op.type == "DepthwiseConv2dNative"  # its kernels are [h, w, c, 1]
    attributes = {name: op.get_attr(name) for name in ("strides", "padding", "explicit_paddings", "dilations")}
    with op.graph.gradient_override_map(_own_gradient(op)):
        scaled = getattr(tf.raw_ops, op.type)(
            input=op.inputs[0], filter=op.inputs[1] * (factors[:, None] if is_depthwise else factors), **attributes
        )
    scaled.set_shape(inputs.shape)
    return scaled


def _own_gradient(op: tf.Operation) -> dict[str, str]:
    """The gradient that was chosen for `op` (see `common.nets.dilation`), if one was."""
    try:
        return {op.type: op.get_attr("_gradient_op_type").decode()}
    except ValueError:
        return {}
