"""Replicas of a training step: parts of one batch on several devices or hosts, and what is summed over them.

TensorFlow's collective ops do the sums; they have no gradient of their own. Every replica builds the same graph, so
that its sums have the same numbers in the same order as everybody's.

tf.distribute.MirroredStrategy is not used: in graph mode it runs and is wrong without a word. Gradients of
`tf.gradients` are summed while each replica divides its loss by its own pixels, and batch norm sees one replica's part.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from common.tf1 import tf

GROUP = 1  # the key of the one group that all replicas are in
BACKWARD = 1 << 24  # what the sum of a sum's gradients adds to its number


@dataclass(frozen=True)
class Replicas:
    """One replica's place among all.

    Attributes:
      count: how many there are; a single one sums nothing.
      index: which one this is, from 0; 0 is the chief.
      device: where its sums run; "" is the device of the moment.
      numbers: of its sums to come, the same for every replica.
    """

    count: int = 1
    index: int = 0
    device: str = ""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False, compare=False)

    def total(self, tensor: tf.Tensor) -> tf.Tensor:
        """The sum of a tensor over the replicas. Its gradient is the sum of their gradients.

        Args:
          tensor: float32, float64, int32 or int64 of the same shape everywhere.
        """
        if self.count == 1:
            return tensor
        number = next(self.numbers)

        @tf.custom_gradient
        def summed(value: tf.Tensor) -> tuple:
            return self._sum(value, number), lambda gradient: self._sum(gradient, BACKWARD + number)

        return summed(tensor)

    def totals(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The sums of many tensors of one type and of fixed shapes, by one collective op."""
        if self.count == 1:
            return list(tensors)
        flat = self.total(tf.concat([tf.reshape(t, [-1]) for t in tensors], axis=0))
        parts = tf.split(flat, [t.shape.num_elements() for t in tensors])
        return [tf.reshape(part, t.shape) for part, t in zip(parts, tensors, strict=True)]

    def of_all(self, tensor: tf.Tensor) -> tf.Tensor:
        """The tensors of all replicas, [count, ...]."""
        shape = [self.count, *[1] * tensor.shape.rank]
        return self.total(tf.reshape(tf.one_hot(self.index, self.count, dtype=tensor.dtype), shape) * tensor[None])

    def chiefs(self, tensor: tf.Tensor) -> tf.Tensor:
        """The chief's tensor, bit for bit: the others add zeros to its whole numbers."""
        bits = tf.bitcast(tensor, tf.int32) if tensor.dtype == tf.float32 else tensor
        bits = self.total(bits if self.index == 0 else tf.zeros_like(bits))
        return tf.bitcast(bits, tensor.dtype) if tensor.dtype == tf.float32 else bits

    def _sum(self, tensor: tf.Tensor, number: int) -> tf.Tensor:
        with tf.device(self.device or None):
            return tf.raw_ops.CollectiveReduceV2(
                input=tensor, group_size=self.count, group_key=GROUP, instance_key=number, ordering_token=[],
                merge_op="Add", final_op="Id", communication_hint="auto",
            )  # fmt: skip


ALONE = Replicas()
