"""PyTorch's files written by hand, in both of its formats, so that tests need no PyTorch."""

import itertools
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.torch_file import MAGIC

KINDS = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage"}
PROTOCOL = b"\x80\x02"


@dataclass(frozen=True)
class Global:
    """A class or function that the pickle asks for."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """The result of a call while the pickle is read; `items` are then set, as in an OrderedDict."""

    function: Global
    arguments: tuple
    items: tuple = ()
    state: object = None


@dataclass(frozen=True)
class Reference:
    """An object outside of the pickle: a storage."""

    value: tuple


def opcodes(value: object) -> bytes:
    """The opcodes of protocol 2 that make `value`."""
    match value:
        case Global():
            return f"c{value.module}\n{value.name}\n".encode()
        case Call():
            made = opcodes(value.function) + opcodes(value.arguments) + b"R"
            if value.items:
                made += b"(" + b"".join(map(opcodes, itertools.chain(*value.items))) + b"u"
            return made if value.state is None else made + opcodes(value.state) + b"b"
        case Reference():
            return opcodes(value.value) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            text = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(text)]) + text
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(opcodes, value)) + b"t"
        case list():
            return b"](" + b"".join(map(opcodes, value)) + b"e"
        case dict():
            return b"}(" + b"".join(map(opcodes, itertools.chain(*value.items()))) + b"u"
    raise TypeError(type(value))


def dumped(value: object) -> bytes:
    return PROTOCOL + opcodes(value) + b"."


def tensor(array: np.ndarray, key: str, **changes: object) -> Call:
    """The call that makes a tensor; `changes` replace what it says of the array: count, offset, shape, strides, kind,
    view."""
    said = {
        "kind": KINDS[array.dtype.str[1:]],
        "count": array.size,
        "offset": 0,
        "shape": array.shape,
        "strides": tuple(step // array.itemsize for step in array.strides),
        "view": (),
    } | changes
    storage = Reference(("storage", Global("torch", said["kind"]), key, "cpu", said["count"], *said["view"]))
    rest = (said["offset"], said["shape"], said["strides"], False, Call(Global("collections", "OrderedDict"), ()))
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), (storage, *rest))


def state_dict(entries: dict[str, object]) -> Call:
    """An OrderedDict, with the versions of layers that PyTorch keeps beside it."""
    return Call(Global("collections", "OrderedDict"), (), tuple(entries.items()), {"_metadata": {"": {"version": 1}}})


def _in_memory(array: np.ndarray) -> bytes:
    """The values in the order in which they lie, which may be channels_last."""
    return array.transpose(sorted(range(array.ndim), key=lambda axis: -array.strides[axis])).tobytes()


def write(
    path: Path,
    arrays: dict[str, np.ndarray],
    form: str = "zip",
    value: object = None,
    byteorder: str = "little",
    **changes: object,
) -> Path:
    """A file that holds `arrays`, or `value` in the state dict's place.

    Args:
      path: the file.
      arrays: by name.
      form: `zip` or `legacy`.
      value: an object, or a whole pickle.
      byteorder: what the file says of its numbers.
      changes: of what every tensor says of itself.
    """
    keys = {name: str(i) for i, name in enumerate(arrays)}
    if value is None:
        value = state_dict({name: tensor(array, keys[name], **changes) for name, array in arrays.items()})
    whole = value if isinstance(value, bytes) else dumped(value)
    data = {keys[name]: _in_memory(array) for name, array in arrays.items()}
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", whole)
            archive.writestr("archive/byteorder", byteorder)
            for key, content in data.items():
                archive.writestr(f"archive/data/{key}", content)
            archive.writestr("archive/version", "3\n")
        return path
    machine = {"protocol_version": 1001, "little_endian": byteorder == "little", "type_sizes": {"long": 4}}
    with path.open("wb") as stream:
        stream.write(MAGIC + dumped(1001) + dumped(machine) + whole + dumped(list(data)))
        for name, key in keys.items():
            stream.write(struct.pack("<q", arrays[name].size) + data[key])
    return path


def kazuto_v2(classes: int = 21, seed: int = 0) -> dict[str, np.ndarray]:
    """Random arrays under the names and shapes of kazuto1011/deeplab-pytorch's DeepLab v2 with ResNet-101."""
    rng, arrays = np.random.RandomState(seed), {}

    def conv_bn(name: str, leaving: int, entering: int, size: int) -> None:
        scale = np.float32(1 / np.sqrt(size * size * entering))
        arrays[f"base.{name}.conv.weight"] = rng.standard_normal((leaving, entering, size, size)).astype("f4") * scale
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"base.{name}.bn.{leaf}"] = rng.uniform(0.5, 1, leaving).astype("f4")
        arrays[f"base.{name}.bn.num_batches_tracked"] = np.array(0)

    conv_bn("layer1.conv1", 64, 3, 7)
    entering = 64
    for layer, units in ((2, 3), (3, 4), (4, 23), (5, 3)):
        width = 64 << (layer - 2)
        for unit in range(1, units + 1):
            name = f"layer{layer}.block{unit}"
            conv_bn(f"{name}.reduce", width, entering, 1)
            conv_bn(f"{name}.conv3x3", width, width, 3)
            conv_bn(f"{name}.increase", 4 * width, width, 1)
            if unit == 1:
                conv_bn(f"{name}.shortcut", 4 * width, entering, 1)
            entering = 4 * width
    for branch in range(4):
        arrays[f"base.aspp.c{branch}.weight"] = rng.standard_normal((classes, 2048, 3, 3)).astype("f4") / 100
        arrays[f"base.aspp.c{branch}.bias"] = rng.standard_normal(classes).astype("f4")
    return arrays
