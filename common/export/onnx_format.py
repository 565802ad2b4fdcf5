"""ONNX, which tf2onnx writes."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.engines.interface import INPUT, OUTPUTS
from common.errors import UserError, one_line
from common.export.constants import split_constants
from common.export.interface import Options
from common.export.onnx_graph import take_kernels
from common.tf1 import tf
from common.words import some

if TYPE_CHECKING:
    import onnx

OPSET = 17


def write_onnx(graph: tf.GraphDef, path: Path, options: Options) -> None:
    """Write the graph as ONNX, with the metadata. Raises UserError for an op that ONNX doesn't have."""
    import onnx
    import tf2onnx

    apart, kernels = split_constants(graph)
    names = {f"{name}:0": name for name in (INPUT, *kernels, *OUTPUTS)}
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # it logs what is said below
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            apart,
            input_names=[f"{name}:0" for name in (INPUT, *kernels)],
            output_names=[f"{name}:0" for name in OUTPUTS],
            opset=OPSET,
            tensors_to_rename=names,
            custom_op_handlers={"FloorDiv": (_floor_div, [])},
        )
    except Exception as error:  # its errors share no class
        raise UserError(f"onnx: cannot be made of this network ({one_line(error)}); take another format") from None
    strange = {node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)}
    if strange:
        raise UserError(
            f"onnx: cannot be made of this network (ONNX has no {some(sorted(strange))}); take another format"
        )
    take_kernels(model.graph, kernels)
    for node in model.graph.node:
        _pad_explicitly(node)
    onnx.helper.set_model_props(model, dict(options.metadata))
    path.write_bytes(model.SerializeToString())


def _floor_div(ctx: Any, node: Any, name: str, args: list) -> None:
    """Divide whole numbers in float64 and round down: ONNX's division rounds towards 0, and so would tf2onnx's.

    Args:
      ctx: tf2onnx's graph.
      node: the FloorDiv in it.
      name: of the node.
      args: none.
    """
    from onnx import TensorProto

    output = node.output[0]
    shapes, types = [ctx.get_shape(output)], [ctx.get_dtype(output)]
    exact = [ctx.make_node("Cast", [i], attr={"to": TensorProto.DOUBLE}).output[0] for i in node.input]
    rounded = ctx.make_node("Floor", ctx.make_node("Div", exact).output).output
    ctx.remove_node(name)
    ctx.make_node("Cast", rounded, attr={"to": types[0]}, name=name, outputs=[output], shapes=shapes, dtypes=types)


def _pad_explicitly(node: "onnx.NodeProto") -> None:
    """Write down the SAME padding of an atrous convolution, since ONNX Runtime does not work it out.

    At stride 1 it does not depend on the picture's size.
    """
    import onnx

    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    is_same = attributes.get("auto_pad") == b"SAME_UPPER"
    if node.op_type != "Conv" or not is_same or max(attributes.get("strides", [1])) > 1:
        return
    sides, rates = attributes["kernel_shape"], attributes.get("dilations", [1, 1])
    totals = [(side - 1) * rate for side, rate in zip(sides, rates, strict=True)]
    before = [total // 2 for total in totals]
    after = [total - first for total, first in zip(totals, before, strict=True)]
    kept = [attribute for attribute in node.attribute if attribute.name != "auto_pad"]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("pads", [*before, *after])])
