"""Convert a Caffe net to ONNX, without Caffe.

    python -m converters.caffe_to_onnx --prototxt deploy.prototxt --caffemodel net.caffemodel --out net.onnx

Names in the result, for programs that look up layers:
- nodes: the Caffe layer's name. A layer that takes several nodes gives its name to the one that carries its weights or
  its operation, and `<layer>/<part>` to the others (Scale: Mul `<layer>`, Add `<layer>/bias`).
- initialisers: `<layer>/<i>` is Caffe's blob i; constants of the conversion are `<layer>/<word>`. BatchNorm's 0 and 1
  are divided by its blob 2. Layers that share a parameter use the initialiser of the first.
- values: the Caffe top's name. If layers change a top in place, this is its last state; an earlier state is
  `<top>@<layer>`, with the layer that made it.
- inputs: the Caffe input's or data layer's top. Outputs: the tops that no layer reads.
"""

import argparse
import math
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
from onnx import helper

from common import program
from common.console import say, show, stage
from common.errors import UserError, brief, plain_reason, quoted
from common.files import atomic
from common.words import NAMED, some
from converters.caffe_blobs import MAX_AXES
from converters.caffe_layers import LAYERS
from converters.caffe_net import TEST, Layer, Net, is_data, read_net
from converters.caffe_scope import IR_VERSION, MAX_COUNT, OPSET, Graph, Scope
from converters.caffe_text import MAX_BINARY_BYTES

Shape = tuple[int, ...]

# Layers that end a branch: they measure, store or discard, and make no output that a user needs.
_SINK = re.compile(r"\w*Loss|(Seg)?Accuracy|Silence|HDF5Output|MatWrite")
# Layers that compute something else in training.
PRODUCER = "converters.caffe_to_onnx"  # in the file that it writes
_BY_PHASE = ("BatchNorm", "Dropout")


def convert(net: Net, input_shapes: Mapping[str | None, Shape] | None = None) -> onnx.ModelProto:
    """Convert what `read_net` read.

    Args:
        net: its `notes` grow by what the conversion leaves out.
        input_shapes: shapes by input, which replace the prototxt's; the key None stands for the first input.
    Returns:
        A checked model of opset 17, float32, with fixed shapes that are also stored for every value (`value_info`).
        Images are [n, c, h, w]; channel order and mean are those the Caffe net was trained with.
    Raises:
        UserError: a layer of a type that is not known, a blob that no layer makes, weights that are missing or do not
            fit; the message names file, line and layer.
    """
    labels = _labels(net)
    layers = _without_labels(net, labels)
    feeds = _feeds(net, layers)
    _override(net, feeds, input_shapes or {})
    graph = Graph(reserved={top for layer in layers for top in layer.tops} | feeds.keys())
    for name, shape in feeds.items():
        graph.add_input(name, _input_shape(net, name, shape))
    current = {name: name for name in feeds}  # the value that holds each blob's state so far
    last = {top: layer for layer in layers for top in layer.tops}
    read: set[str] = set()
    for layer in layers:
        scope = Scope(graph, net, layer, [current.get(bottom, "") for bottom in layer.bottoms])
        _check(scope, current)
        read.update(scope.bottoms)
        since = len(graph.nodes)
        made = LAYERS[layer.type].convert(scope)
        if len(layer.blobs) > len(scope.used_blobs):
            scope.fail(
                f"uses {len(scope.used_blobs)} of its {len(layer.blobs)} blobs in {net.weights_path or net.path}"
            )
        for top, value in zip(layer.tops, [made] if isinstance(made, str) else made, strict=True):
            name = top if last[top] is layer and top not in feeds else graph.unique(f"{top}@{layer.name}")
            graph.rename(since, value, name)
            current[top] = name
    silenced = {bottom for layer in net.layers if layer.type == "Silence" for bottom in layer.bottoms}
    outputs = [current[top] for top in last if current[top] not in read and top not in silenced]
    if not outputs:
        raise UserError(f"{net.path}: makes no output")
    return _model(net, graph, feeds, outputs)


def _data_tops(layer: Layer) -> list[str]:
    """The tops of a data layer that a net computes from; the others are labels and sizes."""
    if layer.type == "Input":
        return layer.tops
    tops = layer.tops if layer.type in ("DummyData", "HDF5Data") else layer.tops[:1]
    return [top for top in tops if "label" not in top.lower()]


def _labels(net: Net) -> set[str]:
    data = [layer for layer in net.layers if is_data(layer)] + net.train_data
    return {top for layer in data for top in layer.tops} - {top for layer in data for top in _data_tops(layer)}


def _without_labels(net: Net, labels: set[str]) -> list[Layer]:
    """The layers that compute outputs for a user of the net, in order; tops that are made from labels are added to
    `labels`."""
    kept, dropped = [], []
    for layer in net.layers:
        if is_data(layer):
            continue
        if _SINK.fullmatch(layer.type):
            dropped.append(layer)
        elif not labels.isdisjoint(layer.bottoms):
            labels.update(layer.tops)
            dropped.append(layer)
        else:
            kept.append(layer)
    if dropped:
        names = some((f"{layer.name} ({layer.type})" for layer in dropped), NAMED)
        net.notes.append(f"dropped, for training and measuring: {names}")
    return kept


def _feeds(net: Net, layers: list[Layer]) -> dict[str, Shape | None]:
    """The net's inputs: its `input` fields, Input layers, and the data layers' tops that are read."""
    feeds = dict(net.inputs)
    read = {bottom for layer in layers for bottom in layer.bottoms}
    for layer in [layer for layer in net.layers if is_data(layer)] + net.train_data:
        for i, top in enumerate(_data_tops(layer)):
            if top not in feeds and (top in read or layer.type == "Input"):
                feeds[top] = _data_shape(layer, i)
                if layer.type != "Input":
                    net.notes.append(f"input {quoted(top)} stands for data layer {layer.title}, one example")
    return feeds


def _data_shape(layer: Layer, top: int) -> Shape | None:
    """The shape of a data layer's top with a batch of 1; None if the layer does not tell it."""

    def field(param: str, name: str) -> int:
        return getattr(getattr(layer.proto, param, None), name, 0)

    for param in ("input_param", "dummy_data_param"):
        shapes = field(param, "shape")
        if shapes:
            return tuple(shapes[top if len(shapes) > 1 and top < len(shapes) else 0].dim)
    sizes = [field("memory_data_param", side) for side in ("height", "width")]
    for param, height, width in (
        ("transform_param", "crop_height", "crop_width"),
        ("transform_param", "crop_size", "crop_size"),
        ("data_param", "crop_size", "crop_size"),
        ("image_data_param", "crop_size", "crop_size"),
        ("image_data_param", "new_height", "new_width"),
    ):
        sizes = sizes if all(sizes) else [field(param, height), field(param, width)]
    grey = field("transform_param", "force_gray") or not getattr(layer.proto.image_data_param, "is_color", True)
    channels = field("memory_data_param", "channels") or (1 if grey else 3)
    return (1, channels, *sizes) if all(sizes) else None


def _override(net: Net, feeds: dict[str, Shape | None], shapes: Mapping[str | None, Shape]) -> None:
    for name, shape in shapes.items():
        name = next(iter(feeds), None) if name is None else name
        if name not in feeds:
            raise UserError(
                f"--input-shape: {net.path} has no input {quoted(name)}, it has: {some(feeds, NAMED) or 'none'}"
            )
        feeds[name] = shape


def _input_shape(net: Net, name: str, shape: Shape | None) -> Shape:
    if shape is None:
        raise UserError(
            f"{net.path}: does not say the shape of input {quoted(name)}; give it with --input-shape N,C,H,W"
        )
    if not 1 <= len(shape) <= MAX_AXES or min(shape) < 1 or math.prod(shape) > MAX_COUNT:
        raise UserError(f"{net.path}: input {quoted(name)} has the shape {shape}, which is empty or too large")
    return shape


def _check(s: Scope, current: Mapping[str, str]) -> None:
    layer = s.layer
    if layer.type not in LAYERS:
        s.fail(f"layers of type {brief(layer.type, 60)} are not known; known are {', '.join(LAYERS)}")
    if layer.unknown:
        told = some((f"{field.name} (line {field.line})" for field in layer.unknown), NAMED)
        s.fail(f"has fields that are not known and may change what it computes: {told}; delete those that do not")
    if layer.type in _BY_PHASE and layer.proto.HasField("phase") and layer.proto.phase != TEST:
        s.fail("has the phase TRAIN of its own, in which it computes something else; delete it")
    for bottom in layer.bottoms:
        if bottom not in current:
            s.fail(f"reads blob {quoted(bottom)}, which no layer before it makes")
    for what, names, (least, most) in (
        ("bottoms", layer.bottoms, LAYERS[layer.type].bottoms),
        ("tops", layer.tops, LAYERS[layer.type].tops),
    ):
        if not least <= len(names) <= most:
            s.fail(f"has {len(names)} {what}; {least if least == most else f'{least} to {most}'} can be converted")
    new = set(layer.tops) - set(layer.bottoms)
    if "" in layer.tops or len(set(layer.tops)) < len(layer.tops) or any(top in current for top in new):
        s.fail(f"makes a blob that has no name or is made twice: {some(layer.tops, NAMED)}")


def _model(net: Net, graph: Graph, feeds: Mapping[str, Shape | None], outputs: list[str]) -> onnx.ModelProto:
    def infos(names: Iterable[str]) -> list[onnx.ValueInfoProto]:
        return [helper.make_value_info(name, graph.types[name]) for name in names]

    between = graph.types.keys() - graph.initializers.keys() - feeds.keys() - set(outputs)
    parts = infos(feeds), infos(outputs)
    name = net.name or net.path.stem
    weights, value_info = list(graph.initializers.values()), infos(name for name in graph.types if name in between)
    if sum(len(tensor.raw_data) for tensor in weights) > MAX_BINARY_BYTES - (64 << 20):
        raise UserError(f"{net.weights_path}: weights of more than 2 GB do not fit in one ONNX file")

    def model(inputs: list[onnx.ValueInfoProto], initializers: list[onnx.TensorProto]) -> onnx.ModelProto:
        made = helper.make_graph(graph.nodes, name, inputs, parts[1], initializers, value_info=value_info)
        return helper.make_model(made, opset_imports=[OPSET], ir_version=IR_VERSION, producer_name=PRODUCER)

    # Checked with its larger weights as inputs: the checker copies a model several times.
    large = [tensor for tensor in weights if len(tensor.raw_data) > 1024]
    small = [tensor for tensor in weights if len(tensor.raw_data) <= 1024]
    try:
        onnx.checker.check_model(model(parts[0] + infos(t.name for t in large), small), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UserError(f"{net.path}: makes no valid ONNX: {plain_reason(error)}") from None
    return model(parts[0], weights)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m converters.caffe_to_onnx",
        description="Convert a Caffe net to ONNX.",
        example="--prototxt weights/deeplab_largefov/test.prototxt "
        "--caffemodel weights/deeplab_largefov/train2_iter_8000.caffemodel --out out/largefov.onnx",
    )
    parser.add_argument("--prototxt", required=True, type=Path, metavar="P", help="the net's definition, text")
    parser.add_argument("--caffemodel", type=Path, metavar="M", help="its weights (default: those in the prototxt)")
    parser.add_argument("--out", required=True, type=Path, metavar="X.onnx", help="the file to write")
    parser.add_argument(
        "--input-shape", type=_named_shape, action="append", default=[], metavar="[NAME=]N,C,H,W",
        help="replaces the prototxt's; without a name, that of the first input",
    )  # fmt: skip
    add_stage(parser)
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    _refuse_foreign(args.out)
    stage("reading the net")
    net = read_net(args.prototxt, args.caffemodel, stages=args.stage)
    stage("making a graph of the net")
    model = convert(net, dict(args.input_shape))
    with atomic(args.out) as temporary:
        temporary.write_bytes(model.SerializeToString())
    for note in net.notes:
        say(f"note: {note}")
    show(args.out)


def _refuse_foreign(path: Path) -> None:
    """Raise UserError when a file is at `path` that is no ONNX of this converter."""
    if path.exists() and (not path.is_file() or PRODUCER.encode() not in path.read_bytes()[:64]):
        raise UserError(f"--out {path}: is there, and not written by {PRODUCER}; name another, or move it away")


def add_stage(parser: argparse.ArgumentParser) -> None:
    """Add `--stage`, for prototxts that are several nets in one."""
    parser.add_argument(
        "--stage", action="append", default=[], metavar="NAME",
        help="a stage of the net's state, as `include { stage: ... }` asks for, such as deploy; may come several times",
    )  # fmt: skip


def _named_shape(text: str) -> tuple[str | None, Shape]:
    name, _, sizes = text.rpartition("=")
    try:
        return name or None, tuple(int(size) for size in sizes.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not like 1,3,513,513 or data=1,3,513,513") from None


if __name__ == "__main__":
    sys.exit(main())
