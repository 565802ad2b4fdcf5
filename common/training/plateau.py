"""The plateau schedule: take the next learning rate when the loss no longer falls.

The original of v3 was trained in this way by hand (its README: .01, then .005, then .001 "when the seg_loss stopped to
decrease"). With a patience of several windows it is Keras' ReduceLROnPlateau. The state is in variables of the graph,
so that a resumed run goes on exactly.
"""

from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.weights.weights import PLATEAU


class Plateau:
    """Goes through `recipe.plateau_factors`, judged by the mean pixel loss of windows of updates."""

    def __init__(self, recipe: Recipe):
        self._recipe = recipe
        with tf.variable_scope(PLATEAU):
            self._drops = tf.get_variable("drops", initializer=0, trainable=False)
            self._sum = tf.get_variable("loss_sum", initializer=0.0, trainable=False)
            self._best = tf.get_variable("best", initializer=float("inf"), trainable=False)
            self._waited = tf.get_variable("waited", initializer=0, trainable=False)

    def learning_rate(self) -> tf.Tensor:
        recipe, factors = self._recipe, tf.constant(self._recipe.plateau_factors)
        if recipe.plateau_factors:
            factor = tf.gather(factors, tf.minimum(self._drops, factors.shape[0] - 1))
        else:
            factor = recipe.step_factor ** tf.cast(self._drops, tf.float32)
        return tf.maximum(recipe.learning_rate * factor, recipe.min_learning_rate)

    def observe(self, pixel_loss: tf.Tensor) -> tf.Operation:
        """Add the loss of one update to the window."""
        return self._sum.assign_add(pixel_loss).op

    def judge(self, step: tf.Tensor) -> tf.Operation:
        """After update number `step` (from 0): at the end of a window, drop the rate or remember the best."""
        recipe = self._recipe
        ended = tf.equal((step + 1) % recipe.plateau_window, 0)
        total, best = self._sum.read_value(), self._best.read_value()
        mean = total / recipe.plateau_window
        better = mean < best * (1 - recipe.plateau_tolerance) - recipe.plateau_min_delta
        waited = tf.where(better, 0, self._waited.read_value() + 1)
        drop = ended & (waited >= recipe.plateau_patience)
        with tf.control_dependencies([total, best, waited, drop]):
            return tf.group(
                self._drops.assign_add(tf.cast(drop, tf.int32)),
                self._waited.assign(tf.where(drop, 0, tf.where(ended, waited, self._waited.read_value()))),
                self._best.assign(tf.where(ended & better, mean, best)),
                self._sum.assign(tf.where(ended, tf.zeros_like(total), total)),
            )
