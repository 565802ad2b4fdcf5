"""Fake quantisation: a network computes in floats what 8 bit arithmetic will give, as tf.contrib.quantize has it.

Source: TensorFlow 1.15, tensorflow/contrib/quantize (fold_batch_norms.py, quantize.py, quant_ops.py), arXiv 1712.05877.

A layer is a convolution, its batch norm within the kernel, and its activation. The kernel and the activation are
rounded to 256 values (the kernel to 255) within a range that two variables hold, `<layer>/weights_quant/{min,max}` and
`<layer>/act_quant/{min,max}`. `common.nets.network.build` gives the layers a `Quantisation` by an arg scope.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.nets.replicas import ALONE
from common.nets.replicated_norm import LEAST_EPSILON, batch_moments, norm_variables, update_moving
from common.tf1 import slim, tf

WEIGHTS, ACTIVATION, BYPASS = "weights_quant", "act_quant", "post_activation_bypass_quant"  # last scopes of ranges
# Where a range starts, until it is measured.
INITIAL = {WEIGHTS: (-6.0, 6.0), ACTIVATION: (0.0, 6.0), BYPASS: (-6.0, 6.0)}
RANGES = r"/(weights_quant|act_quant|post_activation_bypass_quant)/(min|max)$"  # names of the variables end so


def first_ranges(given: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """The names of the ranges of a network that start at INITIAL: all, if the `given` names are a float network's."""
    is_quantised = any(re.search(RANGES, name) for name in given)
    return [] if is_quantised else [name for name in wanted if re.search(RANGES, name)]


Activation = Callable[[tf.Tensor], tf.Tensor] | None


@dataclass(frozen=True)
class Quantisation:
    """How the layers of a network are quantised.

    Attributes:
      is_training: whether the ranges follow the values. A kernel's is that of the moment, any other one a moving
        average; the updates are put in UPDATE_OPS. Otherwise all are constants.
      is_on: bool scalar in training, whether values are rounded yet; None is yes.
      decay: of the moving averages.
      by_parts: whether values are rounded by plain arithmetic, for programs that don't have TensorFlow's op.
      convolutions: result of a convolution, by name -> its kernel and the function that convolves with another one.
    """

    is_training: bool = False
    is_on: tf.Tensor | None = None
    decay: float = 0.999
    by_parts: bool = False
    convolutions: dict[str, tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]] = field(default_factory=dict)

    def rounded(self, values: tf.Tensor, scope: str) -> tf.Tensor:
        """`values` rounded to 8 bits within the range of `scope`, whose last part is a key of INITIAL."""
        kind = scope.rpartition("/")[2]
        with tf.variable_scope(scope):
            ends = [
                slim.model_variable(name, [], initializer=tf.initializers.constant(value), trainable=False)
                for name, value in zip(("min", "max"), INITIAL[kind], strict=True)
            ]
        least, most = self._followed(values, ends, 0.0 if kind == WEIGHTS else self.decay)
        round_within = rounded_by_parts if self.by_parts else tf.quantization.fake_quant_with_min_max_vars
        rounded = round_within(values, least, most, narrow_range=kind == WEIGHTS)
        return rounded if self.is_on is None else tf.where_v2(self.is_on, rounded, values)

    def _followed(self, values: tf.Tensor, ends: list[tf.Variable], decay: float) -> list[tf.Tensor]:
        """The range for `values`: what the variables `ends` hold, in training after they moved towards the values'."""
        stored = [end.read_value() for end in ends]
        if not self.is_training:
            return stored
        found = tf.minimum(tf.reduce_min(values), 0.0), tf.maximum(tf.reduce_max(values), 0.0)  # 0 is always exact
        moved = []
        for end, old, new in zip(ends, stored, found, strict=True):
            moved.append(tf.stop_gradient(old - (old - new) * (1 - decay) if decay else new))
            with tf.control_dependencies([old]):
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, end.assign(moved[-1]))
        return moved

    def with_biases(self, outputs: tf.Tensor, biases: tf.Tensor, scope: str, activation_fn: Activation) -> tf.Tensor:
        """The layer `scope` without batch norm, whose convolution gave `outputs`."""
        kernels, convolve = self.convolutions[outputs.name]
        net = tf.nn.bias_add(convolve(self.rounded(kernels, f"{scope}/{WEIGHTS}")), biases)
        return self._activated(net, scope, activation_fn)

    def with_batch_norm(
        self, outputs: tf.Tensor, scope: str, activation_fn: Activation, *, epsilon: float, decay: float | tf.Tensor,
        batch_statistics: bool, **options: Any,
    ) -> tf.Tensor:  # fmt: skip
        """The layer whose convolution gave `outputs`; arguments as `layers.batch_norm`, `scope` that of the norm.

        The kernel is multiplied by gamma / sigma before it is rounded, with the stored sigma. With `batch_statistics`
        the result is then multiplied by stored sigma / batch's sigma, so that kernels don't jump with the batches.
        """
        variables = norm_variables(scope, int(outputs.shape[3]), **options)
        layer, epsilon = scope.removesuffix("/BatchNorm"), max(epsilon, LEAST_EPSILON)
        (kernels, convolve), stored = self.convolutions[outputs.name], _read(variables)
        scale = tf.math.rsqrt(stored["moving_variance"] + epsilon)
        factors = stored["gamma"] * scale if "gamma" in stored else scale
        rounded = self.rounded(kernels * _by_channel(factors, kernels), f"{layer}/{WEIGHTS}")
        if not batch_statistics:
            net = convolve(rounded) + (stored["beta"] - stored["moving_mean"] * factors)
            return self._activated(net, layer, activation_fn)
        moments = mean, variance = batch_moments(outputs, ALONE)
        with tf.control_dependencies(list(stored.values())):
            update_moving(variables, outputs, moments, ALONE, decay)
        ratio = tf.math.rsqrt(variance + epsilon) / scale
        net = convolve(rounded) * ratio + (stored["beta"] - mean * (factors * ratio))
        return self._activated(net, layer, activation_fn)

    def _activated(self, net: tf.Tensor, layer: str, activation_fn: Activation) -> tf.Tensor:
        return self.rounded(activation_fn(net) if activation_fn else net, f"{layer}/{ACTIVATION}")


def rounded_by_parts(values: tf.Tensor, least: tf.Tensor, most: tf.Tensor, narrow_range: bool) -> tf.Tensor:
    """TensorFlow's FakeQuantWithMinMaxVars of 8 bits by other ops, without a gradient.

    Args:
      values: float32.
      least, most: the range, which holds 0; its ends are moved so that 0 is one of the steps.
      narrow_range: whether there are 254 steps, not 255.
    """
    first, last = float(narrow_range), 255.0
    step = (most - least) / (last - first)
    zero = tf.floor(tf.clip_by_value(first - tf.math.divide_no_nan(least, step), first, last) + 0.5)
    low, high = (first - zero) * step, (last - zero) * step
    inside = tf.minimum(tf.maximum(values, low), high)
    return tf.floor(tf.math.divide_no_nan(1.0, step) * (inside - low) + (first - zero + 0.5)) * step


def _read(variables: Mapping[str, tf.Variable]) -> dict[str, tf.Tensor]:
    return {name: variable.read_value() for name, variable in variables.items()}


def _by_channel(factors: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
    """`factors` [d] in a shape that multiplies kernels [k, k, c, d], or depthwise ones [k, k, d, 1]."""
    is_depthwise = kernels.shape[3] == 1 and kernels.shape[2] == factors.shape[0]
    return factors[:, None] if is_depthwise else factors
