"""The preprocessing in a frozen graph: what its constants tell of the way from the picture to the first convolution."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.folded import CONVOLUTIONS, constants_read
from converters.tfjs import GraphModel

if TYPE_CHECKING:
    from common.tf1 import tf

ARITHMETIC = ("Mul", "RealDiv", "Add", "AddV2", "Sub")
SIZES = ("Pad", "PadV2", "ResizeBilinear", "ResizeNearestNeighbor", "Slice", "StridedSlice")
SAME = (
    "Cast",
    "ToFloat",
    "Identity",
    "ExpandDims",
    "Squeeze",
    "Reshape",
)  # ops that leave a picture's numbers as they are

CHANNELS = (-1, 3)  # the axis of channels, counted from either end
MOST_OPS = 64  # on a way


@dataclass
class Way:
    """A way from the picture to a convolution, which reads `pixels * factor + offset`.

    Attributes:
      factor, offset: float64, one number or one for each channel, as the convolution has them.
      is_bgr: whether the channels are reversed.
      is_mirrored: whether another axis is.
      is_sized: whether pictures are padded or resized, but for a padding that is the same for all sizes.
      is_any_size: whether the picture may have any size.
    """

    factor: Any = 1.0
    offset: Any = 0.0
    is_bgr: bool = False
    is_mirrored: bool = False
    is_sized: bool = False
    is_any_size: bool = False

    def pass_arithmetic(self, op: str, value: np.ndarray, is_first: bool) -> None:
        """Go back over an op with a constant, which is its first input or its second."""
        value = value[::-1] if self.is_bgr else value
        if op == "Mul":
            self.factor = self.factor * value
        elif op == "RealDiv":
            self.factor = self.factor / value
        elif op == "Sub" and is_first:
            self.offset, self.factor = self.offset + self.factor * value, -self.factor
        else:
            self.offset = self.offset + self.factor * (-value if op == "Sub" else value)


def preprocessing_fields(model: GraphModel) -> dict[str, Any]:
    """The recipe fields of a graph's preprocessing, and of its sizes and passes where it has none; else nothing."""
    ways = _ways(model)
    if not ways:
        return {}
    way, fields = ways[0], {}
    if len(ways) == 1 and not way.is_mirrored:
        fields |= {"eval_scales": (1.0,), "eval_flip": False}
        if way.is_any_size and not way.is_sized:
            fields |= {"eval_size": "native", "resize_range": ()}
    factor, offset = (np.broadcast_to(value, 3).astype(float) for value in (way.factor, way.offset))
    if np.isfinite([factor, offset]).all() and factor[0] > 0 and np.all(factor == factor[0]):
        fields["channel_order"] = "bgr" if way.is_bgr else "rgb"
        fields["pixel_scale"] = float(f"{factor[0]:.7g}")
        fields["pixel_mean"] = tuple(float(f"{mean:.7g}") for mean in -offset / factor + 0.0)
    return fields


def _ways(model: GraphModel) -> list[Way]:
    """The ways that lead from convolutions back to the picture and to nothing else."""
    nodes, read = {node.name: node for node in model.graph.node}, constants_read(model)
    starts = (node for node in model.graph.node if node.op in CONVOLUTIONS and node.input)
    found = (_way_back(model, nodes, read, nodes.get(_source(node.input[0]))) for node in starts)
    return [way for way in found if way]


def _way_back(
    model: GraphModel, nodes: "dict[str, tf.NodeDef]", read: dict[str, str], node: "tf.NodeDef | None"
) -> Way | None:
    way = Way()
    for _ in range(MOST_OPS):
        if node is None:
            return None
        if node.op == "Placeholder":
            sides = node.attr["shape"].shape.dim
            way.is_any_size = len(sides) == 4 and sides[1].size < 0
            return way
        inputs = [_source(name) for name in node.input if not name.startswith("^")][:2]
        constants = [_constant(model, nodes, read, name) for name in inputs]
        if node.op in ARITHMETIC:
            if (is_first := constants[0] is not None) == (constants[-1] is not None):
                return None
            value = constants[0] if is_first else constants[-1]
            if value.size not in (1, 3):
                return None
            way.pass_arithmetic(node.op, value.reshape(-1).astype(float), is_first)
            node = nodes.get(inputs[1] if is_first else inputs[0])
            continue
        if node.op == "ReverseV2":
            axes = constants[-1].reshape(-1).tolist() if constants[-1] is not None else []
            if axes and set(axes) <= set(CHANNELS):
                way.is_bgr = not way.is_bgr
            else:
                way.is_mirrored = True
        elif node.op == "ConcatV2":  # of pictures and mirrored ones
            way.is_mirrored = True
        elif node.op in SIZES:
            way.is_sized |= node.op not in ("Pad", "PadV2") or constants[-1] is None
        elif node.op not in SAME:
            return None
        node = nodes.get(inputs[0]) if inputs else None
    return None


def _source(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]


def _constant(model: GraphModel, nodes: "dict[str, tf.NodeDef]", read: dict[str, str], name: str) -> np.ndarray | None:
    """The value of a constant, or of one that is only brought into another shape."""
    node = nodes.get(name)
    if node is not None and node.op == "Reshape" and node.input:
        name = _source(node.input[0])
    return model.weights.get(read.get(name, ""))
