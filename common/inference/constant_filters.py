"""Constant filters: let oneDNN reorder a network's filters once, instead of convolving by filters as they lie.

oneDNN convolves faster by filters in its own order. TensorFlow lets it reorder constants only, once, and a network of
constants takes the memory of its weights many times over: in the graph's definition, in the session's copies of it, in
their optimisation. The ops of oneDNN take filters from variables just as well when they are told that these stay.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from common.tf1 import tf

MARK = "is_filter_const"  # the attribute by which oneDNN's ops are told


def with_constant_filters(
    session: tf.Session, fetches: Sequence[tf.Tensor], feeds: Mapping[tf.Tensor, Any]
) -> list[tf.Tensor]:
    """The fetches, computed by oneDNN's ops with filters that stay as they are at the first run.

    The graph as the runtime has optimised it is read back, marked, and added to the session's graph; it reads the same
    variables. Where the runtime has no such ops (GPUs, other processors), the fetches are returned as they are.

    Args:
      session: its variables have their values.
      fetches: of the network.
      feeds: all placeholders with values for one run. The runtime keeps the order of filters for the sizes that it has
        seen: take small ones that nobody needs again.
    """
    seen = tf.RunMetadata()
    session.run(list(fetches), feeds, tf.RunOptions(output_partition_graphs=True), seen)
    if len(seen.partition_graphs) != 1:
        return list(fetches)
    (optimised,) = seen.partition_graphs
    marked = tf.GraphDef(versions=optimised.versions, library=optimised.library)
    marked.node.extend(node for node in optimised.node if node.op not in ("_Arg", "_Retval"))
    for node in marked.node:
        node.attr.pop("_class", None)  # beside which op it is to be, which may be one of the others
    with_filters = [node for node in marked.node if MARK in node.attr]
    for node in with_filters:
        node.attr[MARK].b = True
    inputs = {n.name: t for n in optimised.node if n.op == "_Arg" for t in feeds if _stands_for(n, "arg", t)}
    outputs = [n.input[0] for t in fetches for n in optimised.node if n.op == "_Retval" and _stands_for(n, "retval", t)]
    if not with_filters or len(outputs) != len(fetches):
        return list(fetches)
    outputs = [name if ":" in name else f"{name}:0" for name in outputs]
    with session.graph.as_default():
        return tf.import_graph_def(marked, inputs, outputs, name="constant_filters")


def _stands_for(node: tf.NodeDef, kind: str, tensor: tf.Tensor) -> bool:
    """Whether the runtime made `node` of a tensor that is fed or fetched; the name ends in a running number."""
    return node.name.startswith(f"_{kind}_{tensor.op.name}_{tensor.value_index}_")
