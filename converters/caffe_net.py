"""Reading a Caffe net without Caffe: a prototxt and a caffemodel, merged to one list of layers with their blobs.

Both generations of the format are read, V1 (`layers`, enumerated types) and V2 (`layer`, types as strings), in text or,
for weights, binary. As Caffe does for a TEST net, include and exclude rules are applied with phase TEST, weights are
matched to layers by name, and parameters that share a name (`param { name: ... }`) share their values.
"""

import itertools
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from common.errors import UserError
from converters.caffe_schema import BlobProto, NetParameter, Weights, v2_type

MAX_PROTOTXT_BYTES = 4 << 20  # that of ResNet-101 has 0.1 MB
MAX_TEXT_BYTES = 32 << 20  # with weights; text takes seconds a megabyte
MAX_BINARY_BYTES = (2 << 30) - 1  # protobuf's own limit
MAX_DEPTH = 32  # braces within braces; Caffe's messages nest five deep
MAX_AXES = 32  # Caffe's kMaxBlobAxes
MAX_LAYERS = 100_000


@dataclass
class Layer:
    """One layer of the TEST net.

    Args:
        name: as in the prototxt; a layer without a name gets `<type><position>`.
        type: the V2 name, as in `Convolution`.
        bottoms, tops: names of the blobs it reads and makes.
        proto: its LayerParameter or V1LayerParameter, for the `..._param` fields.
        line: where it begins in the prototxt, from 1.
        blobs: float32 arrays in Caffe's shapes (4-D for files of the old kind); layers that share a parameter hold the
            same array.
    """

    name: str
    type: str
    bottoms: list[str]
    tops: list[str]
    proto: Message
    line: int
    blobs: list[np.ndarray] = field(default_factory=list)


@dataclass
class Net:
    """A net as Caffe would run it for testing.

    Args:
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
    """Whether the layer reads examples from somewhere: Data, ImageData, ImageSegData, HDF5Data, ..."""
    return layer.type.endswith("Data") or layer.type in ("Input", "MatRead")


def read_net(prototxt: Path, caffemodel: Path | None) -> Net:
    """Read a net and its weights.

    Args:
        prototxt: the net's definition, text.
        caffemodel: its weights, binary or text; None when the prototxt itself holds them.
    Raises:
        UserError: a file is missing, cut off, no such file at all, or inconsistent; the message names file and place.
    """
    prototxt, caffemodel = Path(prototxt), Path(caffemodel) if caffemodel else None
    text = _text(_read(prototxt, MAX_PROTOTXT_BYTES if caffemodel else MAX_TEXT_BYTES))
    if text is None:
        raise UserError(f"{prototxt}: is binary, not a prototxt; are prototxt and caffemodel swapped?")
    proto, outline = _parse_text(prototxt, text)
    if not proto.layer and not proto.layers:
        raise UserError(f"{prototxt}: defines no layers, so it is not a net's prototxt")
    if proto.layer and proto.layers:
        raise UserError(f"{prototxt}: mixes 'layer' and 'layers'; Caffe reads one or the other")

    net = Net(prototxt, caffemodel, proto.name, _inputs(prototxt, proto), [], [], [])
    if outline.unknown:
        found = [f"{name} (line {line})" for name, line in outline.unknown.items()]
        more = f" and {len(found) - 20} more" if len(found) > 20 else ""
        net.notes.append(f"{prototxt}: fields that are not read: {', '.join(found[:20])}{more}")
    train_only = []
    for position, (message, line) in enumerate(zip(proto.layer or proto.layers, outline.lines, strict=True)):
        layer = _layer(prototxt, message, position, line)
        if _in_test_phase(message):
            net.layers.append(layer)
        else:
            train_only.append(layer)
    net.train_data = [layer for layer in train_only if is_data(layer)]
    if train_only:
        net.notes.append(f"dropped, not in the TEST phase: {', '.join(layer.name for layer in train_only)}")

    _attach(net, _embedded_blobs(prototxt, proto) if caffemodel is None else read_blobs(caffemodel))
    _share(net.layers)
    return net


def _read(path: Path, limit: int = MAX_BINARY_BYTES) -> bytes:
    try:
        if path.stat().st_size > limit:
            with path.open("rb") as stream:
                binary = limit < MAX_BINARY_BYTES and _text(stream.read(1 << 16)) is None
            hint = ", and binary; are prototxt and caffemodel swapped?" if binary else ""
            raise UserError(f"{path}: is larger than {limit >> 20} MiB{hint}")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if not content.strip():
        raise UserError(f"{path}: is empty")
    return content


def _text(content: bytes) -> str | None:
    """The content as text, or None when it is binary. Comments may be in any encoding."""
    if re.search(rb"[\x00-\x08\x0e-\x1f]", content[: 1 << 16]):
        return None
    return content.decode("utf-8", errors="replace")


# A string that is not closed ends with its line, so that no text takes more than linear time.
_STRING = r"""#[^\n]*|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?"""
_TOKEN = re.compile(_STRING + r"""|\w+|[\n{}<>:;,\[\]]|[^\s\w"'#{}<>:;,\[\]]+""")
_V1_TYPE = re.compile(rf"({_STRING})|\btype(\s*:\s*)([A-Z][A-Z0-9_]*)\b")


@dataclass
class _Outline:
    """What protobuf does not tell: the `lines` where layers begin, and where each `unknown` field first occurs."""

    lines: list[int] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)


def _outline(path: Path, text: str) -> _Outline:
    found, line = _Outline(), 1
    stack, inner, in_value, token = [NetParameter.DESCRIPTOR], None, False, ""
    for match in _TOKEN.finditer(text):
        if match.group() == "\n":
            line += 1
            continue
        if match.group().startswith("#"):
            continue
        before, token = token, match.group()
        if token in "{<":
            if before in ("[", ","):  # Caffe's files have none, and protobuf takes quadratic time to skip one
                raise UserError(f"{path}:{line}: is no valid prototxt: a list of messages")
            stack.append(inner)
            in_value = False
            if len(stack) > MAX_DEPTH:
                raise UserError(f"{path}:{line}: braces nest deeper than {MAX_DEPTH}")
        elif token in "}>":
            in_value = False
            if len(stack) > 1:  # one brace too many is for the parser to report
                stack.pop()
        elif token == ":":
            in_value = True
        elif in_value:
            in_value = token in "[,"
        elif re.match(r"[A-Za-z_]", token):
            message, inner = stack[-1], None
            if message is None:
                continue
            if len(stack) == 1 and token in ("layer", "layers"):
                found.lines.append(line)
            if token in message.fields_by_name:
                inner = message.fields_by_name[token].message_type
            else:
                found.unknown.setdefault(token, line)
    return found


def _parse_text(path: Path, text: str) -> tuple[Message, _Outline]:
    outline = _outline(path, text)
    # V1's types are bare words of an enumeration that every fork numbers anew; they are read as strings.
    text = _V1_TYPE.sub(lambda m: m[1] or f'type{m[2]}"{m[3]}"', text)
    proto = NetParameter()
    try:
        text_format.Parse(text, proto, allow_unknown_field=True)
    except text_format.ParseError as error:
        reason = str(error).rpartition("': ")[2]  # behind the place and the whole line
        raise UserError(f"{path}:{error.GetLine() or 1}: is no valid prototxt: {_short(reason)}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no valid prototxt: {_short(error)}") from None
    if len(outline.lines) != len(proto.layer) + len(proto.layers):
        raise UserError(f"{path}: is no valid prototxt: the braces of its layers do not match")
    return proto, outline


def _short(reason: object) -> str:
    words = " ".join(str(reason).split())
    return words if len(words) <= 200 else words[:200] + " ..."


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
        raise UserError(f"{path}:{line}: layer {message.name!r} has no type (nets older than V1 are not read)")
    name = message.name or f"{kind.lower()}{position}"
    return Layer(name, kind, list(message.bottom), list(message.top), message, line)


def _in_test_phase(message: Message) -> bool:
    def met(rule) -> bool:  # by a state of phase TEST, level 0 and no stages
        return (
            (not rule.HasField("phase") or rule.phase == 1)
            and rule.min_level <= 0
            and (not rule.HasField("max_level") or rule.max_level >= 0)
            and not rule.stage
        )

    if message.include:
        return any(met(rule) for rule in message.include)
    return not any(met(rule) for rule in message.exclude)


_Blobs = dict[str, list[np.ndarray]]


def _embedded_blobs(path: Path, proto: Message) -> _Blobs:
    return {
        layer.name: [_array(path, layer.name, i, blob) for i, blob in enumerate(layer.blobs)]
        for layer in reversed([*proto.layer, *proto.layers])  # of two of one name Caffe fills the first
        if layer.blobs
    }


def read_blobs(path: Path) -> dict[str, list[np.ndarray]]:
    """The blobs of every layer of a caffemodel, float32, by the layer's name. Raises UserError."""
    content = _read(path)
    text = _text(content)
    if text is not None:
        if len(content) > MAX_TEXT_BYTES:
            raise UserError(f"{path}: is text of more than {MAX_TEXT_BYTES >> 20} MiB; save it as binary")
        blobs = _embedded_blobs(path, _parse_text(path, text)[0])
        if not blobs:
            raise UserError(f"{path}: holds no weights; are prototxt and caffemodel swapped?")
        return blobs
    try:
        weights = Weights.FromString(content)
    except DecodeError:
        raise UserError(f"{path}: is cut off, damaged or not a caffemodel") from None
    del content  # 200 MB that are no longer needed
    blobs: _Blobs = {}
    count = len(weights.layer) + len(weights.layers)
    if not 1 <= count <= MAX_LAYERS:
        raise UserError(f"{path}: holds {count} layers, so it is not a caffemodel")
    for layer in itertools.chain(weights.layer, weights.layers):
        name = layer.name.decode("utf-8", errors="replace")
        if layer.blobs and name not in blobs:
            blobs[name] = [_array(path, name, i, blob) for i, blob in enumerate(layer.blobs)]
    return blobs


def _array(path: Path, layer: str, index: int, blob: Message) -> np.ndarray:
    """The blob's values as float32 in its declared shape, which is checked against the data before anything is made."""
    where = f"{path}: layer {layer!r}: blob {index}"
    legacy = any(blob.HasField(name) for name in ("num", "channels", "height", "width"))
    if len(blob.shape.dim) > MAX_AXES:
        raise UserError(f"{where} has {len(blob.shape.dim)} axes; Caffe allows {MAX_AXES}")
    shape = (blob.num, blob.channels, blob.height, blob.width) if legacy else tuple(blob.shape.dim)
    if any(size < 1 for size in shape):
        raise UserError(f"{where} has the shape {shape}, which is empty")
    values = _values(where, blob)
    if math.prod(shape) != len(values):
        raise UserError(f"{where} has shape {shape} but {len(values)} values")
    return values.reshape(shape)


def _values(where: str, blob: Message) -> np.ndarray:
    if blob.DESCRIPTOR.name == "BlobProto":
        with np.errstate(over="ignore"):
            return np.array(blob.double_data or blob.data, np.float32)
    if not blob.data and not blob.double_data:  # unpacked floats, which BlobWeights leaves unread
        try:
            return _values(where, BlobProto.FromString(blob.SerializeToString()))
        except DecodeError:
            raise UserError(f"{where} is damaged") from None
    chunks, kind = (blob.double_data, "<f8") if blob.double_data else (blob.data, "<f4")
    content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if len(content) % np.dtype(kind).itemsize:
        raise UserError(f"{where} is cut off within a value")
    with np.errstate(over="ignore"):
        return np.frombuffer(content, kind).astype(np.float32, copy=False)


def _attach(net: Net, blobs: _Blobs) -> None:
    left = dict(blobs)
    for layer in net.layers:
        layer.blobs = left.pop(layer.name, [])
    if left and net.weights_path:
        net.notes.append(f"{net.weights_path}: weights of layers the net does not have: {', '.join(left)}")


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
