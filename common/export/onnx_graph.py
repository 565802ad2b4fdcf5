"""The kernels of an ONNX graph, which tf2onnx has not seen."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def take_kernels(graph: "onnx.GraphProto", kernels: dict[str, np.ndarray]) -> None:
    """Replace the inputs that stand for kernels by initialisers, as the convolutions take them: axes in ONNX's order.

    `kernels`, by the inputs' names, is emptied meanwhile, since together they take as much memory as the graph.
    """
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    inputs = [given for given in graph.input if given.name not in kernels]
    del graph.input[:]
    graph.input.extend(inputs)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    kept = []
    for node in graph.node:
        if kernels.keys().isdisjoint(node.input) or not kernels.keys() | constants.keys() >= set(node.input):
            kept.append(node)
            continue
        known = {n: kernels[n] if n in kernels else numpy_helper.to_array(constants[n]) for n in node.input}
        (kernels[node.output[0]],) = ReferenceEvaluator(node).run(None, known)
        for name in node.input:
            uses[name] -= 1
            if not uses[name]:
                kernels.pop(name, None)
    for name in list(kernels):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kernels.pop(name)), name))
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
