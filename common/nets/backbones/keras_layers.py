"""Layers under the names of Keras' own networks: a layer's name is the scope, batch norm is a layer of its own."""

from collections.abc import Callable
from typing import Any

from common.nets import layers
from common.tf1 import tf


def conv_bn(
    inputs: tf.Tensor,
    filters: int,
    kernel_size: int,
    *,
    scope: str,
    norm_scope: str = "",
    activation_fn: Callable | None = None,
    **options: Any,
) -> tf.Tensor:
    """`layers.conv2d` with `options`, then batch norm under `norm_scope`, by default `<scope>_bn`."""
    outputs = layers.conv2d(inputs, filters, kernel_size, scope=scope, **options)
    return layers.batch_norm(outputs, scope=norm_scope or f"{scope}_bn", activation_fn=activation_fn)


def separable_conv2d(
    inputs: tf.Tensor, filters: int, kernel_size: int, *, scope: str, rate: int | tuple[int, int] = 1, **options: Any
) -> tf.Tensor:
    """Keras' SeparableConv2D without biases: nothing between its two convolutions; `options` are the first one's.

    Variables are `<scope>/depthwise_weights` [k, k, c, 1] and `<scope>/pointwise_weights` [1, 1, c, filters].
    """
    net = layers.depthwise_conv2d(inputs, kernel_size, rate=rate, scope=scope, **options)
    return layers.conv2d(net, filters, 1, scope=scope, names=("pointwise_weights", ""))
