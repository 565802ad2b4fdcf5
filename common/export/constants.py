"""Constants of a frozen graph: what is computed from them alone is computed once, and kernels come apart.

tf2onnx copies every constant of a graph some thirty times. It gets placeholders for the kernels instead, and they come
back as initialisers of the ONNX graph.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from common.tf1 import session, tf

KERNEL_AXES = 4  # [h, w, in, out]; other constants are small
AT_ONCE = 16  # constants that are computed by one run of the session; each run takes time to begin


def split_constants(graph: tf.GraphDef) -> tuple[tf.GraphDef, dict[str, np.ndarray]]:
    """The graph with placeholders for its kernels, and these by the placeholders' names.

    Constants that are equal, such as a kernel at several scales, become one. The nodes must stand in the order in which
    they are computed, and ops on constants have one output.
    """
    constant = _constant_nodes(graph)
    others = [node for node in graph.node if node.name not in constant]
    wanted = dict.fromkeys(name for node in others for name in map(_source, node.input) if name in constant)
    apart, kernels, first, same = tf.GraphDef(versions=graph.versions), {}, {}, {}
    for name, value in _computed(graph, constant, wanted):
        digest = hashlib.sha256(np.ascontiguousarray(value)).digest()
        same[name] = first.setdefault((value.dtype.str, value.shape, digest), name)
        if same[name] == name:
            is_kernel = value.ndim == KERNEL_AXES
            kernels |= {name: value} if is_kernel else {}
            apart.node.append(_placeholder(name, value) if is_kernel else _constant(name, value))
    for node in others:
        copy = apart.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [same.get(_source(name), name) for name in node.input]
    return apart, kernels


def _source(name: str) -> str:
    """The node of a tensor's name, as nodes give their inputs."""
    return name.removeprefix("^").removesuffix(":0")


def _constant_nodes(graph: tf.GraphDef) -> dict[str, set[str]]:
    """The nodes that are computed from constants alone -> the kernels among these."""
    found: dict[str, set[str]] = {}
    for node in graph.node:
        sources = [_source(name) for name in node.input]
        if node.op == "Const":
            found[node.name] = {node.name} if _is_kernel(node) else set()
        elif sources and all(source in found for source in sources):
            found[node.name] = set().union(*(found[source] for source in sources))
    return found


def _is_kernel(node: tf.NodeDef) -> bool:
    return len(node.attr["value"].tensor.tensor_shape.dim) == KERNEL_AXES


def _computed(
    graph: tf.GraphDef, constant: Mapping[str, set[str]], wanted: Iterable[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """The values of the nodes `wanted` by name; their kernels are fed, so that no second graph holds them all."""
    part, fed = tf.GraphDef(versions=graph.versions), {}
    for node in graph.node:
        if node.op == "Const" and _is_kernel(node):
            fed[node.name] = node.attr["value"].tensor
            part.node.append(_placeholder(node.name, tf.make_ndarray(fed[node.name])))
        elif node.name in constant:
            part.node.append(node)
    with tf.Graph().as_default() as computing:
        tf.import_graph_def(part, name="")
        with session(computing) as running:
            names = list(wanted)
            for some in (names[begin : begin + AT_ONCE] for begin in range(0, len(names), AT_ONCE)):
                needed = set().union(*(constant[name] for name in some))
                feeds = {f"{kernel}:0": tf.make_ndarray(fed[kernel]) for kernel in needed}
                yield from running.run({name: f"{name}:0" for name in some}, feeds).items()


def _placeholder(name: str, value: np.ndarray) -> tf.NodeDef:
    with tf.Graph().as_default():
        return tf.placeholder(value.dtype, value.shape, name).op.node_def


def _constant(name: str, value: np.ndarray) -> tf.NodeDef:
    with tf.Graph().as_default():
        return tf.constant(value, name=name).op.node_def
