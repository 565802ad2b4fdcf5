"""The ways to compute an atrous convolution: natively dilated, decomposed, smoothed.

A convolution of rate r touches only every r-th pixel, so it is r*r independent ordinary
convolutions on r*r interleaved sub-maps. The decomposed form spells that out, and the smoothed
forms of arXiv 1808.08931 let the sub-maps exchange information, after (group interaction, GI) or
before (separable and shared convolution, SSC) they are convolved. Both start as the identity.
"""

import functools
import math
from collections.abc import Callable

from common.tf1 import slim, tf


@functools.cache
def native_dilation_trains() -> bool:
    """Whether this build can differentiate a natively dilated convolution (a CPU without oneDNN can't)."""
    with tf.Graph().as_default():
        x, w = tf.ones([1, 5, 5, 1]), tf.ones([3, 3, 1, 1])
        y = tf.nn.conv2d(x, w, strides=1, padding="SAME", dilations=2)
        with tf.Session() as session:
            try:
                session.run(tf.gradients(y, [x, w]))
            except tf.errors.OpError:
                return False
    return True


LARGEST_NATIVE_EXTENT = 13  # of a depthwise kernel with its holes; see `dilated_depthwise`
ANY_EXTENT = math.inf
SPACE_TO_BATCH_GRADIENT = "SpaceToBatchDepthwise"


def dilated_depthwise(
    inputs: tf.Tensor, weights: tf.Tensor, rates: tuple[int, int], largest_native: float
) -> tf.Tensor:
    """Stride-1 SAME depthwise convolution of `inputs` [n, h, w, c] with `weights` [kh, kw, c, 1], dilated by `rates`.

    TensorFlow's way gathers the pixels of each sub-map (SpaceToBatch) and scatters the results. At inference the op
    itself dilates, in 0.3 to 0.7 of that time (measured for 256 to 2048 channels, 33 to 257 pixels a side, rates 2 to
    6). With larger rates oneDNN has no fast kernel, and the op takes 2 to 23 times as long (7 to 36). The results agree
    within 1e-6, and to the bit for all sizes of MobileNetV2 and Xception that were measured.

    `largest_native` is the largest extent of a kernel with its holes for which the op itself dilates: 0 for training,
    LARGEST_NATIVE_EXTENT at inference, and ANY_EXTENT for graphs that another program than TensorFlow will run.
    """
    extents = [(int(size) - 1) * rate + 1 for size, rate in zip(weights.shape, rates, strict=False)]
    is_native = largest_native == ANY_EXTENT or (
        rates[0] == rates[1] and max(extents) <= largest_native and native_depthwise_dilates()
    )
    if not is_native:
        return _space_to_batch_depthwise(inputs, weights, rates)
    with inputs.graph.gradient_override_map({"DepthwiseConv2dNative": SPACE_TO_BATCH_GRADIENT}):
        return _native_depthwise(inputs, weights, rates)


def _native_depthwise(inputs: tf.Tensor, weights: tf.Tensor, rates: tuple[int, int]) -> tf.Tensor:
    return tf.raw_ops.DepthwiseConv2dNative(
        input=inputs, filter=weights, strides=[1, 1, 1, 1], padding="SAME", dilations=[1, *rates, 1]
    )


def _space_to_batch_depthwise(inputs: tf.Tensor, weights: tf.Tensor, rates: tuple[int, int]) -> tf.Tensor:
    outputs = tf.nn.depthwise_conv2d(inputs, weights, strides=[1, 1, 1, 1], padding="SAME", dilations=rates)
    outputs.set_shape(inputs.shape)
    return outputs


@tf.RegisterGradient(SPACE_TO_BATCH_GRADIENT)
def _space_to_batch_gradient(op: tf.Operation, gradient: tf.Tensor) -> list[tf.Tensor]:
    """The gradient by TensorFlow's way: the op's own ignores the dilation."""
    outputs = _space_to_batch_depthwise(*op.inputs, tuple(op.get_attr("dilations")[1:3]))
    return tf.gradients(outputs, list(op.inputs), gradient)


@functools.cache
def native_depthwise_dilates() -> bool:
    """Whether this build's depthwise convolution dilates; without oneDNN, and on GPUs, the op ignores its rates."""
    with tf.Graph().as_default():
        x, w = tf.reshape(tf.range(25.0), [1, 5, 5, 1]), tf.ones([3, 3, 1, 1])
        both = [convolve(x, w, (2, 2)) for convolve in (_native_depthwise, _space_to_batch_depthwise)]
        with tf.Session() as session:
            try:
                native_way, right = session.run(both)
            except tf.errors.OpError:
                return False
    return bool((native_way == right).all())


def native(inputs: tf.Tensor, weights: tf.Tensor, rate: int) -> tf.Tensor:
    """Stride-1 SAME convolution of `inputs` [n, h, w, c] with `weights` [kh, kw, c, d], dilated by `rate`."""
    if rate > 1 and not native_dilation_trains():
        return decomposed(inputs, weights, rate)
    reach, sides = rate * (int(max(weights.shape[:2])) - 1), inputs.shape[1:3]
    is_wide = sides.is_fully_defined() and reach >= min(sides)
    with tf.get_default_graph().gradient_override_map({"Conv2D": WIDE} if is_wide else {}):
        return tf.nn.conv2d(inputs, weights, strides=1, padding="SAME", dilations=rate)


WIDE = "WideConv2D"


@tf.RegisterGradient(WIDE)
def _wide_gradient(op: tf.Operation, gradient: tf.Tensor) -> list[tf.Tensor]:
    """The gradient of a convolution that reaches beyond its inputs: the weights' is a product for each tap.

    Each tap meets only a part of the inputs. oneDNN takes its slow way for the weights here: 7 times the time of the
    other rates (rate 24 on 41 x 41).
    """
    inputs, weights = op.inputs
    (rate, _), (height, width) = op.get_attr("dilations")[1:3], inputs.shape[1:3]
    rows, columns, channels, filters = weights.shape.as_list()

    def product(row: int, column: int) -> tf.Tensor:
        (top, above), (left, before) = _overlap(row, rows, rate, height), _overlap(column, columns, rate, width)
        met, caused = inputs[:, top, left], gradient[:, above, before]
        return tf.matmul(tf.reshape(met, [-1, channels]), tf.reshape(caused, [-1, filters]), transpose_a=True)

    taps = [product(row, column) for row in range(rows) for column in range(columns)]
    of_inputs = tf.nn.conv2d_backprop_input(
        tf.shape(inputs), weights, gradient, strides=[1] * 4, padding="SAME", dilations=[1, rate, rate, 1]
    )
    return [of_inputs, tf.reshape(tf.stack(taps), weights.shape)]


def _overlap(tap: int, taps: int, rate: int, side: int) -> tuple[slice, slice]:
    """Where one side's inputs meet a tap, and the outputs that come from there."""
    offset = tap * rate - (taps - 1) * rate // 2
    length = max(0, side - abs(offset))
    start, out = max(0, offset), max(0, -offset)
    return slice(start, start + length), slice(out, out + length)


def decomposed(
    inputs: tf.Tensor, weights: tf.Tensor, rate: int, interact: Callable[[tf.Tensor], tf.Tensor] = tf.identity
) -> tf.Tensor:
    """The same convolution on the rate*rate sub-maps; `interact` sees them as [rate*rate*n, h/r, w/r, d]."""
    shape = tf.shape(inputs)
    # The original pads below and to the right only: the sub-maps' phase starts at the first pixel.
    padding = [[0, -shape[1] % rate], [0, -shape[2] % rate]]
    groups = tf.space_to_batch_nd(inputs, block_shape=[rate, rate], paddings=padding)
    outputs = interact(tf.nn.conv2d(groups, weights, strides=1, padding="SAME"))
    outputs = tf.batch_to_space_nd(outputs, block_shape=[rate, rate], crops=padding)
    outputs.set_shape(inputs.shape[:3].concatenate(weights.shape[3:]))
    return outputs


def group_interaction(inputs: tf.Tensor, weights: tf.Tensor, rate: int) -> tf.Tensor:
    """Smoothed by GI: output group i is the sum over groups j of fix_w[j, i] * group j (paper, section 3.4)."""
    groups = rate * rate
    fix_w = slim.model_variable("fix_w", [groups, groups], initializer=tf.initializers.identity())

    def interact(outputs: tf.Tensor):
        # space_to_batch orders the batch group-major: row g * n + i is group g of picture i.
        flat = tf.reshape(outputs, [groups, -1])
        return tf.reshape(tf.matmul(fix_w, flat, transpose_a=True), tf.shape(outputs))

    return decomposed(inputs, weights, rate, interact)


def separable_shared(inputs: tf.Tensor, weights: tf.Tensor, rate: int) -> tf.Tensor:
    """Smoothed by SSC: one (2*rate-1)^2 kernel, shared by all channels, before the atrous convolution."""
    size, channels = 2 * rate - 1, int(inputs.shape[3])
    fix_w = slim.model_variable("fix_w", [size, size, 1, 1, 1], initializer=tf.initializers.zeros())
    # The variable is the departure from the identity, so weight zero means "no smoothing".
    centre = tf.pad(tf.ones([1, 1, 1, 1]), [[rate - 1, rate - 1], [rate - 1, rate - 1], [0, 0], [0, 0]])
    kernel = tf.tile(fix_w[..., 0] + centre, [1, 1, channels, 1])
    smoothed = tf.nn.depthwise_conv2d(inputs, kernel, strides=[1, 1, 1, 1], padding="SAME")
    return native(smoothed, weights, rate)


ATROUS = {
    "regular": native,
    "decompose": decomposed,
    "smooth_GI": group_interaction,
    "smooth_SSC": separable_shared,
}
