"""The recipe fields that a frozen graph's ops tell, beside those that its weights tell: strides, rates and sizes."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.folded import constants_read, scope_of
from converters.frozen import attribute
from converters.preprocessing import preprocessing_fields
from converters.tfjs import GraphModel

if TYPE_CHECKING:
    from common.tf1 import tf

RANGE = re.compile(r"resize_to_range/(?:Cast|ToFloat)(_1)?/x")  # of research/deeplab's export_model.py
RATES = re.compile(r"aspp_?([1-9])(_depthwise)?")
NOMINAL_STRIDE = 16  # for which a recipe has ASPP's rates


def fields_from_graph(model: GraphModel) -> dict[str, Any]:
    """The output stride, ASPP's rates, the resize of scores, the sides that pictures are padded to and resized into,
    and the preprocessing."""
    stride, size, limits = output_stride(model), padded_size(model), _range(model)
    fields: dict[str, Any] = preprocessing_fields(model)
    if stride in (8, 16, 32):
        fields["eval_output_stride"] = stride
    rates = [rate * stride // NOMINAL_STRIDE for rate in _rates(model)]
    if rates and all(rates):
        fields["atrous_rates"] = tuple(rates)
    if size:
        fields["eval_size"] = size
    if limits:
        fields["resize_range"] = limits
    if aligned := [node.attr["align_corners"].b for node in model.graph.node if node.op == "ResizeBilinear"]:
        fields["align_corners"] = aligned[-1]
    return fields


def output_stride(model: GraphModel) -> int:
    """The greatest product of strides on a way from the picture to a convolution."""
    nodes = {node.name: node for node in model.graph.node}
    reached: dict[str, int] = {}
    entered: set[str] = set()
    for start in nodes:
        way = [start]
        while way:
            node = nodes[way[-1]]
            sources = [source for source in map(_source, node.input) if source in nodes]
            ahead = [source for source in sources if source not in entered]
            if node.name not in entered and ahead:
                entered.add(node.name)
                way += ahead
            else:
                entered.add(way.pop())
                reached[node.name] = _stride(node) * max((reached.get(source, 1) for source in sources), default=1)
    return max(reached.values(), default=1)


def _stride(node: "tf.NodeDef") -> int:
    """The stride of a convolution or of pooling, 1 of another op."""
    strides = attribute(node, "strides")
    return strides[1] if len(strides) == 4 and strides[1] == 2 else 1


def _source(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]


def _rates(model: GraphModel) -> list[int]:
    """The rates of ASPP's branches in order: of an op, or of the SpaceToBatch before it."""
    nodes, read = {node.name: node for node in model.graph.node}, constants_read(model)
    rates: dict[int, int] = {}
    for node in model.graph.node:
        if node.op not in ("Conv2D", "DepthwiseConv2dNative"):
            continue
        kernel = read.get(_source(node.input[1]), node.name) if len(node.input) > 1 else node.name
        if not (match := RATES.fullmatch(scope_of(kernel))):
            continue
        before = nodes.get(_source(node.input[0])) if node.input else None
        dilations = attribute(node, "dilations")
        if before is not None and before.op == "SpaceToBatchND" and len(before.input) > 1:
            block = model.weights.get(read.get(_source(before.input[1]), ""), np.zeros(0))
            rates[int(match[1])] = int(block[0]) if block.ndim == 1 and block.size else 1
        else:
            rates[int(match[1])] = dilations[1] if len(dilations) == 4 else 1
    return [rates[branch] for branch in sorted(rates)]


def padded_size(model: GraphModel) -> int | None:
    """The side of the square that the scores are resized to before their classes are taken, when the graph fixes it."""
    nodes = {node.name: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op == "ArgMax" and node.input:
            resize = nodes.get(_source(node.input[0]))
            if resize is not None and resize.op == "ResizeBilinear" and len(resize.input) > 1:
                size = _constant(model, nodes, resize.input[1])
                if len(size) == 2 and size[0] == size[1] and size[0] > 0:
                    return size[0]
    return None


def _constant(model: GraphModel, nodes: "dict[str, tf.NodeDef]", name: str) -> list[int]:
    """The whole numbers of a constant, or height and width where a slice takes them of a constant shape."""
    node = nodes.get(_source(name))
    sliced = node is not None and node.op == "StridedSlice" and node.input
    value = model.weights.get(_source(node.input[0] if sliced else name), np.zeros(0))
    if value.dtype.kind != "i" or value.ndim != 1:
        return []
    return value.tolist()[1:3] if sliced else value.tolist()


def _range(model: GraphModel) -> tuple[int, ...]:
    """The least short side and the greatest long side that pictures are resized into."""
    found = {match[1]: value for name, value in model.weights.items() if (match := RANGE.fullmatch(name))}
    limits = [found[key] for key in (None, "_1") if key in found]
    return tuple(int(limit) for limit in limits) if len(limits) == 2 and all(v.size == 1 for v in limits) else ()
