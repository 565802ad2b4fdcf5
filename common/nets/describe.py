"""A network in figures: variables, parameters, multiply-adds, receptive field."""

from dataclasses import dataclass

import numpy as np

from common.nets.network import Network, build
from common.nets.receptive_field import ReceptiveField, receptive_field
from common.recipe.recipe import Recipe
from common.tf1 import tf

FLOAT_BYTES = 4


def multiply_adds(graph: tf.Graph, padded: bool = False) -> int:
    """Multiply-adds of the convolutions and matrix products of a graph with static shapes.

    Args:
      graph: its dilated convolutions native, or made of space_to_batch.
      padded: count dilated convolutions as TensorFlow 1 computes them, by space_to_batch: the picture is padded to a
        multiple of the rate, and the padding is computed and cut off. Otherwise each position of the output counts.
    """
    total = 0
    for op in graph.get_operations():
        if op.type in ("Conv2D", "DepthwiseConv2dNative"):
            positions = _padded_positions(op) if padded else _positions(op)
            total += positions * int(np.prod(op.inputs[1].shape.as_list()))
        elif op.type == "MatMul":
            inner = op.inputs[0].shape.as_list()[0 if op.get_attr("transpose_a") else 1]
            total += int(np.prod(op.outputs[0].shape.as_list())) * inner
    return total


def _positions(op: tf.Operation) -> int:
    source = op.inputs[0].op
    shape = source.inputs[0].shape if source.type == "SpaceToBatchND" else op.outputs[0].shape
    return int(np.prod(shape.as_list()[:3]))


def _padded_positions(op: tf.Operation) -> int:
    count, *sides = op.outputs[0].shape.as_list()[:3]
    for side, rate in zip(sides, op.get_attr("dilations")[1:3], strict=True):
        count *= rate * -(-side // rate)
    return count


@dataclass(frozen=True)
class Figures:
    """The figures of a network that tables show.

    Attributes:
      parameters, trained: of all variables, and of those that training changes.
      multiply_adds, padded_multiply_adds: at the input's size; see `multiply_adds`.
      output_stride: of the encoder.
      receptive_field: None where an op has no rule.
      checkpoint_bytes: of the float32 variables; training keeps the optimiser's state besides.
    """

    parameters: int
    trained: int
    multiply_adds: int
    padded_multiply_adds: int
    output_stride: int
    receptive_field: ReceptiveField | None
    checkpoint_bytes: int


def measure(network: Network, recipe: Recipe, size: int) -> tuple[Figures, list[tf.Variable], tf.Tensor]:
    """Measure the network on one picture of `size` x `size`: its figures, its variables and its scores.

    The network is built in the default graph, which must be empty. Multiply-adds are those of its float form: the
    rounding to 8 bits has none. If the network ends by enlarging its scores, stride
    and receptive field are those of the scores before.
    """
    images = tf.zeros([1, size, size, 3])
    scores = build(network, images, recipe.derive(precision="fp32")).logits
    small = scores.op.inputs[0] if scores.op.type == "ResizeBilinear" else scores
    counted = images.graph if recipe.quantised_from is None else _float_graph(network, recipe, size)
    variables = tf.global_variables()
    counts = [int(np.prod(v.shape)) for v in variables]
    try:
        field = receptive_field(small, images)
    except ValueError:
        field = None
    figures = Figures(
        parameters=sum(counts),
        trained=sum(count for v, count in zip(variables, counts, strict=True) if v.trainable),
        multiply_adds=multiply_adds(counted),
        padded_multiply_adds=multiply_adds(counted, padded=True),
        output_stride=recipe.protocol().get("output_stride") or _stride(size, int(small.shape[1])),
        receptive_field=field,
        checkpoint_bytes=FLOAT_BYTES * sum(counts),
    )
    return figures, variables, scores


def _float_graph(network: Network, recipe: Recipe, size: int) -> tf.Graph:
    """An 8 bit network without its rounding, whose graph has each convolution once."""
    with tf.Graph().as_default() as graph:
        build(network, tf.zeros([1, size, size, 3]), recipe.in_floats())
    return graph


def _stride(size: int, rows: int) -> int:
    return round((size - 1) / (rows - 1)) if rows > 1 else size


def describe(network: Network, recipe: Recipe, size: int) -> str:
    """A table of the variables, the parameter count, and the multiply-adds at `size` x `size`.

    A network that is evaluated at another output stride than it is trained at is counted at both.
    """
    with tf.Graph().as_default():
        figures, variables, scores = measure(network, recipe, size)
        rows = [
            (v.op.name, "x".join(map(str, v.shape.as_list())), "" if v.trainable else "not trained") for v in variables
        ]
        shape = scores.shape.as_list()
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{name:{width}s}  {shape:>16s}  {note}".rstrip() for name, shape, note in rows]
    return "\n".join(
        [
            *lines,
            "",
            f"variables: {len(rows)}",
            f"parameters: {figures.parameters:,} ({figures.trained:,} trained)",
            f"checkpoint: {figures.checkpoint_bytes / 1e6:.1f} MB",
            f"multiply-adds at {size}x{size}: {figures.multiply_adds / 1e9:.2f} G",
            f"scores at {size}x{size}: {shape[1]}x{shape[2]}x{shape[3]}",
            f"output stride: {figures.output_stride}",
            f"receptive field: {figures.receptive_field or 'unknown'}",
            *_at_evaluation(network, recipe, size),
        ]
    )


def _at_evaluation(network: Network, recipe: Recipe, size: int) -> list[str]:
    """The same figures of the network in evaluation, if it differs from the one in training."""
    at_evaluation = recipe.at_evaluation()
    if at_evaluation == recipe:
        return []
    with tf.Graph().as_default():
        figures, _, scores = measure(network, at_evaluation, size)
    return [
        f"in evaluation, at output stride {figures.output_stride}:",
        f"  multiply-adds at {size}x{size}: {figures.multiply_adds / 1e9:.2f} G",
        f"  scores at {size}x{size}: {'x'.join(map(str, scores.shape.as_list()[1:]))}",
        f"  receptive field: {figures.receptive_field or 'unknown'}",
    ]
