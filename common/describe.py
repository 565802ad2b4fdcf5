"""What a network is made of: variables, parameters, multiply-adds."""

import numpy as np

from common.network import Network, build
from common.recipe import Recipe
from common.tf1 import tf


def multiply_adds(graph: tf.Graph) -> int:
    """Multiply-adds of the convolutions and matrix products of a graph with static shapes."""
    total = 0
    for op in graph.get_operations():
        if op.type in ("Conv2D", "DepthwiseConv2dNative"):
            height, width, channels, last = op.inputs[1].shape.as_list()
            positions = int(np.prod(op.outputs[0].shape.as_list()[:3]))
            total += positions * height * width * channels * last
        elif op.type == "MatMul":
            inner = op.inputs[0].shape.as_list()[0 if op.get_attr("transpose_a") else 1]
            total += int(np.prod(op.outputs[0].shape.as_list())) * inner
    return total


def describe(network: Network, recipe: Recipe, size: int) -> str:
    """A table of the variables, the parameter count, and the multiply-adds at `size` x `size`."""
    with tf.Graph().as_default() as graph:
        outputs = build(network, tf.zeros([1, size, size, 3]), recipe)
        rows = [
            (v.op.name, "x".join(map(str, v.shape.as_list())), "" if v.trainable else "not trained")
            for v in tf.global_variables()
        ]
        count = {
            t: sum(int(np.prod(v.shape)) for v in tf.global_variables() if v.trainable == t) for t in (True, False)
        }
        operations = multiply_adds(graph)
        shape = outputs.logits.shape.as_list()
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{name:{width}s}  {shape:>16s}  {note}".rstrip() for name, shape, note in rows]
    return "\n".join(
        [
            *lines,
            "",
            f"variables: {len(rows)}",
            f"parameters: {count[True] + count[False]:,} ({count[True]:,} trained)",
            f"multiply-adds at {size}x{size}: {operations / 1e9:.2f} G",
            f"scores at {size}x{size}: {shape[1]}x{shape[2]}x{shape[3]}",
        ]
    )
