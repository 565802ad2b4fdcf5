"""Batch norm by parts that tf-slim's does not show: its variables, its statistics over replicas, and their updates.

Variables and updates are those of slim.batch_norm.
"""

from collections.abc import Mapping

from common.nets.replicas import Replicas
from common.tf1 import slim, tf

LEAST_EPSILON = 1.001e-5  # TensorFlow's fused op raises smaller ones to it


def norm_variables(scope: str, channels: int, *, trainable: bool, scale: bool, gamma: float) -> dict[str, tf.Variable]:
    """The variables `<scope>/{beta,gamma,moving_mean,moving_variance}`, each [channels]; arguments as `batch_norm`."""
    initial = {"beta": 0.0, "gamma": gamma, "moving_mean": 0.0, "moving_variance": 1.0}
    with tf.variable_scope(scope):
        return {
            name: slim.model_variable(
                name, [channels], initializer=tf.initializers.constant(value),
                trainable=trainable and not name.startswith("moving_"),
            )
            for name, value in initial.items() if scale or name != "gamma"
        }  # fmt: skip


def batch_moments(inputs: tf.Tensor, replicas: Replicas) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance [c] of the whole batch, of which `inputs` [n, h, w, c] is this replica's part."""
    means, variances = tf.unstack(replicas.of_all(tf.stack(tf.nn.moments(inputs, axes=[0, 1, 2]))), axis=1)
    mean = tf.reduce_mean(means, axis=0)
    return mean, tf.reduce_mean(variances + tf.square(means - mean), axis=0)


def update_moving(
    variables: Mapping[str, tf.Variable], inputs: tf.Tensor, moments: tuple[tf.Tensor, tf.Tensor],
    replicas: Replicas, decay: float | tf.Tensor,
) -> None:  # fmt: skip
    """Put the updates of the moving statistics by the batch's `moments` in UPDATE_OPS."""
    mean, variance = moments
    size = tf.cast(replicas.count * tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
    unbiased = variance * (size / tf.maximum(size - 1, 1.0))  # the fused op stores this one
    for name, value in (("moving_mean", mean), ("moving_variance", unbiased)):
        update = variables[name].assign_sub((variables[name].read_value() - value) * (1 - decay))
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)


def over_replicas(
    inputs: tf.Tensor, scope: str, replicas: Replicas, *, epsilon: float, decay: float | tf.Tensor, trainable: bool,
    scale: bool, gamma: float,
) -> tf.Tensor:  # fmt: skip
    """`layers.batch_norm` with the statistics of the whole batch."""
    variables = norm_variables(scope, int(inputs.shape[3]), trainable=trainable, scale=scale, gamma=gamma)
    moments = batch_moments(inputs, replicas)
    update_moving(variables, inputs, moments, replicas, decay)
    epsilon = max(epsilon, LEAST_EPSILON)
    return tf.nn.batch_normalization(inputs, *moments, variables["beta"], variables.get("gamma"), epsilon)
