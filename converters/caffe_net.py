"""Read a Caffe net without Caffe: merge a prototxt and a caffemodel to one list of layers with their blobs.

Both generations of the format are read, V1 (`layers`, enumerated types) and V2 (`layer`, types as strings), in text or,
for weights, binary. As Caffe does for a TEST net, include and exclude rules are applied with phase TEST, weights are
matched to layers by name, and parameters that share a name (`param { name: ... }`) share their values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from google.protobuf.message import Message

from common.errors import UserError, brief, quoted
from common.words import NAMED, some
from converters.caffe_blobs import MAX_TEXT_BYTES, Blobs, embedded_blobs, read_blobs
from converters.caffe_schema import v2_type
from converters.caffe_text import Outline, Unknown, as_text, parse, read_bytes

MAX_PROTOTXT_BYTES = 4 << 20  # that of ResNet-101 has 0.1 MB
TEST = 1  # the phase


@dataclass
class Layer:
    """One layer of the TEST net.

    Attributes:
        name: as in the prototxt; a layer without a name gets `<type><position>`.
        type: the V2 name, as in `Convolution`.
        bottoms, tops: names of the blobs it reads and makes.
        proto: its LayerParameter or V1LayerParameter, for the `..._param` fields.
        line: where it begins in the prototxt, from 1.
        blobs: float32 arrays in Caffe's shapes (4-D for files of the old kind); layers that share a parameter hold the
            same array.
        unknown: its fields that the schema does not have and that may change what it computes.
    """

    name: str
    type: str
    bottoms: list[str]
    tops: list[str]
    proto: Message
    line: int
    blobs: list[np.ndarray] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The layer as a message names it."""
        return f"{quoted(self.name)} ({brief(self.type, 60)})"


@dataclass
class Net:
    """A net as Caffe would run it for testing.

    Attributes:
        path, weights_path: the files it was read from.
        inputs: the prototxt's `input` fields, by name; a shape is None where the prototxt does not say it.
        layers: the layers of phase TEST in the prototxt's order.
        train_data: data layers that only the TRAIN phase has; they name the inputs of a prototxt made for training.
        notes: what was left out or is unusual, one sentence each.
    """

    path: Path
    weights_path: Path | None
    name: str
    inputs: dict[str, tuple[int, ...] | None]
    layers: list[Layer]
    train_data: list[Layer]
    notes: list[str]


def is_data(layer: Layer) -> bool:
    """Whether the layer reads examples from somewhere: Data, ImageData, HDF5Data, Python without bottoms, ..."""
    is_python = layer.type == "Python" and not layer.bottoms
    return layer.type.endswith("Data") or layer.type in ("Input", "MatRead") or is_python


@dataclass(frozen=True)
class State:
    """The state of a net that include and exclude rules ask for, beside the phase, which is TEST."""

    stages: frozenset[str]
    level: int


def read_net(
    prototxt: Path,
    caffemodel: Path | None,
    *,
    stages: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    blobs: Blobs | None = None,
) -> Net:
    """Read a net and its weights.

    Args:
        prototxt: the net's definition, text.
        caffemodel: its weights, binary, text or HDF5; None when the prototxt itself holds them.
        stages: stages of the net's state, for prototxts that hold several nets; they are added to those of the
            prototxt's own `state`.
        rename: layers by their names in the files -> what they are called instead; `fc1_mine` also renames
            `fc1_mine_c0`.
        blobs: the caffemodel's, if they were read before.
    Raises:
        UserError: a file is missing, cut off, no such file at all, or inconsistent; the message names file and place.
    """
    prototxt, caffemodel = Path(prototxt), Path(caffemodel) if caffemodel else None
    text = as_text(read_bytes(prototxt, MAX_PROTOTXT_BYTES if caffemodel else MAX_TEXT_BYTES))
    if text is None:
        raise UserError(f"{prototxt}: is binary, not a prototxt; are prototxt and caffemodel swapped?")
    proto, outline = parse(prototxt, text)
    if not proto.layer and not proto.layers:
        raise UserError(f"{prototxt}: defines no layers, so it is not a net's prototxt")
    if proto.layer and proto.layers:
        raise UserError(f"{prototxt}: mixes 'layer' and 'layers'; Caffe reads one or the other")

    net = Net(prototxt, caffemodel, proto.name, _inputs(prototxt, proto), [], [], [])
    _note_unread(net, outline)
    _choose_layers(net, proto, outline, State(frozenset([*stages, *proto.state.stage]), proto.state.level))
    if blobs is None:
        blobs = embedded_blobs(prototxt, proto) if caffemodel is None else read_blobs(caffemodel)
    if rename:
        blobs = {renamed(name, rename): values for name, values in blobs.items()}
        for layer in net.layers:
            layer.name = renamed(layer.name, rename)
    _attach(net, blobs)
    _share(net.layers)
    return net


def renamed(name: str, names: Mapping[str, str]) -> str:
    """Rename a layer by a table of old -> new; parts of a layer, `<old>_<part>`, are renamed too."""
    for old, new in names.items():
        if name == old or name.startswith(f"{old}_"):
            return new + name[len(old) :]
    return name


def _note_unread(net: Net, outline: Outline) -> None:
    first = {found.name: found.line for found in reversed(outline.unknown)}
    if first:
        found = [f"{name} (line {line})" for name, line in sorted(first.items(), key=lambda item: item[1])]
        net.notes.append(f"{net.path}: fields that are not read: {some(found, NAMED)}")
    if others := dict.fromkeys(text for text, *_ in outline.other_values):
        net.notes.append(f"{net.path}: values that change no result and are not read: {some(others, NAMED)}")


def _choose_layers(net: Net, proto: Message, outline: Outline, state: State) -> None:
    """Fill `layers` with those of the TEST phase and the state, `train_data` with data layers of the others."""
    dropped, stages, unknown = [], set(), {}
    for found in outline.unknown:
        if not found.is_free:
            unknown.setdefault(found.layer, []).append(found)
    for position, (message, line) in enumerate(zip(proto.layer or proto.layers, outline.lines, strict=True)):
        layer = _layer(net.path, message, position, line)
        layer.unknown = unknown.get(position, [])
        (net.layers if _is_in(message, state) else dropped).append(layer)
        stages |= {stage for rule in (*message.include, *message.exclude) for stage in (*rule.stage, *rule.not_stage)}
    net.train_data = [layer for layer in dropped if is_data(layer)]
    if dropped:
        net.notes.append(f"dropped, not in the TEST phase: {some((layer.name for layer in dropped), NAMED)}")
    if others := sorted(stages - state.stages):
        chosen = f"stages {some(sorted(state.stages))} are" if state.stages else "no stage is"
        net.notes.append(
            f"{net.path}: has rules for the stages {some(others, NAMED)}; {chosen} chosen, --stage adds one"
        )


def _inputs(path: Path, proto: Message) -> dict[str, tuple[int, ...] | None]:
    names = list(proto.input)
    if proto.input_shape:
        shapes = [tuple(shape.dim) for shape in proto.input_shape]
    else:
        dims = list(proto.input_dim)
        shapes = [tuple(dims[i : i + 4]) for i in range(0, len(dims), 4)]
        if len(dims) % 4:
            raise UserError(f"{path}: has {len(dims)} input_dim fields, not four for each input")
    if shapes and len(shapes) != len(names):
        raise UserError(f"{path}: has {len(names)} inputs but {len(shapes)} shapes for them")
    return dict(zip(names, shapes or [None] * len(names), strict=True))


def _layer(path: Path, message: Message, position: int, line: int) -> Layer:
    kind = message.type if message.DESCRIPTOR.name == "LayerParameter" else v2_type(message.type)
    if not kind:
        raise UserError(f"{path}:{line}: layer {quoted(message.name)} has no type (nets older than V1 are not read)")
    name = message.name or f"{kind.lower()}{position}"
    return Layer(name, kind, list(message.bottom), list(message.top), message, line)


def _is_in(message: Message, state: State) -> bool:
    """Whether a layer's include and exclude rules let it into the TEST net of that state (Net::StateMeetsRule)."""

    def met(rule: Message) -> bool:
        return (
            (not rule.HasField("phase") or rule.phase == TEST)
            and (not rule.HasField("min_level") or state.level >= rule.min_level)
            and (not rule.HasField("max_level") or state.level <= rule.max_level)
            and state.stages.issuperset(rule.stage)
            and state.stages.isdisjoint(rule.not_stage)
        )

    if message.include:
        return any(met(rule) for rule in message.include)
    return not any(met(rule) for rule in message.exclude)


def _attach(net: Net, blobs: Blobs) -> None:
    left = dict(blobs)
    for layer in net.layers:
        layer.blobs = left.pop(layer.name, [])
    if left and net.weights_path:
        net.notes.append(f"{net.weights_path}: weights of layers the net does not have: {some(left, NAMED)}")


def _share(layers: list[Layer]) -> None:
    """Give all parameters of one name one array; as in Caffe, where they are one memory, the last one loaded wins."""
    names = {
        layer.name: [spec if isinstance(spec, str) else spec.name for spec in layer.proto.param] for layer in layers
    }
    values = {
        name: blob for layer in layers for name, blob in zip(names[layer.name], layer.blobs, strict=False) if name
    }
    for layer in layers:
        shared = names[layer.name]
        if not layer.blobs and shared and all(name in values for name in shared):
            layer.blobs = [values[name] for name in shared]
        for i, name in enumerate(shared[: len(layer.blobs)]):
            layer.blobs[i] = values.get(name, layer.blobs[i])
