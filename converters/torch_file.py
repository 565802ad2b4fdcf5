"""Read PyTorch's files of arrays, `.pth` or `.pt`, without PyTorch and without running the code in them.

torch.save writes a zip since 1.6: the pickle `<folder>/data.pkl`, and each storage as a stored entry
`<folder>/data/<key>`. Before, it wrote five pickles one after the other (a magic number, a version, the machine, the
object, the storages' keys), then each storage as its count of values and the values. In both, an array in the pickle
names its storage, its first value there, its shape and its strides.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from common.errors import UserError, brief, plain_reason
from common.weights.array_pickle import _ArrayUnpickler, _Recorded

LARGEST_PICKLE = 1 << 20  # bytes: a network of 700 arrays takes a tenth, and Python some 200 bytes for each
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # begins files from before torch 1.6
ZIP = b"PK\x03\x04"
COUNT = 8  # bytes of a storage's count of values, which stands before them

TYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Kind(NamedTuple):  # a tuple: a pickle may set the attributes of other objects
    """Stands in for a class of storages; `code` is numpy's for its values."""

    code: str


class _Storage(NamedTuple):
    """A storage as the pickle declares it."""

    kind: np.dtype
    key: str
    count: int


class _Array(_Recorded):
    """Stands in for the functions that make a tensor of a storage."""


class _Mapping(dict):
    """Stands in for OrderedDict. What it is made from is kept, and copied once, when it is asked for."""

    def __init__(self, *pairs: object):
        self.pairs = pairs

    def __setstate__(self, state: object) -> None:
        """Drop the versions of the layers that a state dict carries."""

    def entries(self) -> dict[object, object]:
        return {**dict(*self.pairs), **self}


class _TorchUnpickler(_ArrayUnpickler):
    """Reads dictionaries of tensors and no other class; gathers the storages that they name."""

    STAND_INS = {
        ("collections", "OrderedDict"): _Mapping,
        ("torch._utils", "_rebuild_tensor"): _Array,
        ("torch._utils", "_rebuild_tensor_v2"): _Array,
        **{("torch", name): _Kind(code) for name, code in TYPES.items()},
    }

    def __init__(self, stream: BinaryIO):
        super().__init__(stream, encoding="latin1")
        self.storages: dict[str, _Storage] = {}

    def persistent_load(self, reference: object) -> _Storage:
        """A storage: ('storage', its class, its key, the device, its count of values[, a view of another])."""
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            raise ValueError("it refers to something that is no storage")
        kind, key, _, count = reference[1:5]
        if not isinstance(kind, _Kind) or not isinstance(key, str) or not _is_count(count):
            raise ValueError("it declares a storage without a type, a key or a size")
        if reference[5:] not in ((), (None,)):
            raise ValueError(f"its storage {brief(key)} is a part of another, as torch before 0.4 wrote them")
        storage = _Storage(np.dtype(kind.code), key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"it declares its storage {brief(key)} twice")
        return storage


def is_torch_file(path: Path) -> bool:
    """Whether the file begins as PyTorch's older files do, or is a zip with PyTorch's ending."""
    try:
        with path.open("rb") as stream:
            head = stream.read(len(MAGIC))
    except OSError:
        return False
    return head == MAGIC or (head.startswith(ZIP) and path.suffix in (".pth", ".pt"))


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """Read a file that holds a dictionary of tensors, such as a module's state dict: name -> array.

    Raises UserError for anything else. No code in the file runs, and no memory is taken for sizes it only claims.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weight file")
    try:
        with path.open("rb") as stream:
            is_zip = stream.read(len(ZIP)) == ZIP
        return _read_zip(path) if is_zip else _read_legacy(path)
    except Exception as error:  # a damaged pickle or zip raises whatever its bytes lead to
        raise UserError(
            f"{path}: is not a PyTorch file of arrays by name ({plain_reason(error)}); fetch or write it again"
        ) from None


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        pickles = [e for e in entries if e.filename.count("/") == 1 and e.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it has no data.pkl")
        # PyTorch compresses nothing: the entries are together as large as the file, whatever they say.
        if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
            raise ValueError("its entries are compressed, which PyTorch never does")
        if sum(e.file_size for e in entries) > path.stat().st_size:
            raise ValueError("its entries are larger than the file")
        if pickles[0].file_size > LARGEST_PICKLE:
            raise ValueError(f"its data.pkl has more than {LARGEST_PICKLE} bytes")
        folder = pickles[0].filename.removesuffix("data.pkl")
        value, storages = _unpickled(io.BytesIO(archive.read(pickles[0])))
        tensors = _tensors(value)
        order = f"{folder}byteorder"
        is_big = order in archive.namelist() and archive.read(order) == b"big"
        data = {key: np.frombuffer(archive.read(f"{folder}data/{key}"), np.uint8) for key in storages}
    return _arrays(tensors, data, is_big)


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as stream:
        head = io.BytesIO(stream.read(LARGEST_PICKLE))
    if not head.getvalue().startswith(MAGIC):
        raise ValueError("it does not begin as a file of torch.save")
    _, _, machine = (_unpickled(head)[0] for _ in range(3))
    value, storages = _unpickled(head)
    tensors = _tensors(value)
    keys, _ = _unpickled(head)
    if not isinstance(machine, dict) or not isinstance(machine.get("little_endian"), bool):
        raise ValueError("it does not say in which order the bytes of its numbers are")
    if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys) or sorted(keys) != sorted(storages):
        raise ValueError("it does not list the storages that its arrays need")
    return _arrays(tensors, _legacy_data(path, head.tell(), keys, storages), not machine["little_endian"])


def _legacy_data(
    path: Path, position: int, keys: Sequence[str], storages: Mapping[str, _Storage]
) -> dict[str, np.ndarray]:
    """Key -> the bytes of the storage, which lie in the order of `keys` from `position` on; they stay in the file."""
    size = path.stat().st_size
    data: dict[str, np.ndarray] = {}
    whole = np.asarray(np.memmap(path, np.uint8, "r"))
    for key in keys:
        storage = storages[key]
        begin = position + COUNT
        position = begin + storage.count * storage.kind.itemsize
        if position > size:
            raise ValueError(f"it ends within its storage {brief(key)}")
        if int.from_bytes(whole[begin - COUNT : begin].tobytes(), "little") != storage.count:
            raise ValueError(f"its storage {brief(key)} has another size than its arrays say")
        data[key] = whole[begin:position]
    return data


def _unpickled(stream: io.BytesIO) -> tuple[object, dict[str, _Storage]]:
    """The object of the pickle at the stream's position, and the storages that it declares by key."""
    start = stream.tell()
    for opcode, argument, _ in pickletools.genops(stream):
        # The reader's memory is a table as long as its largest index.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument) > LARGEST_PICKLE:
            raise ValueError("it numbers more objects than it has bytes")
    stream.seek(start)
    reader = _TorchUnpickler(stream)
    return reader.load(), reader.storages


def _tensors(value: object) -> dict[str, _Array]:
    """The entries of an unpickled dictionary. Raises ValueError when it is none, or holds anything but tensors."""
    entries = value.entries() if isinstance(value, _Mapping) else value
    if not isinstance(entries, dict) or not entries or not all(isinstance(name, str) for name in entries):
        raise ValueError("it is no dictionary by name")
    if others := [name for name, tensor in entries.items() if not isinstance(tensor, _Array)]:
        raise ValueError(f"its entry {brief(others[0])} is no array")
    return entries


def _arrays(tensors: Mapping[str, _Array], data: Mapping[str, np.ndarray], is_big: bool) -> dict[str, np.ndarray]:
    """Name -> the values of each tensor; `data` are the bytes of the storages by key."""
    return {name: _array(name, tensor.arguments, data, is_big) for name, tensor in tensors.items()}


def _array(name: str, arguments: Sequence[object], data: Mapping[str, np.ndarray], is_big: bool) -> np.ndarray:
    """A view of the tensor's values in its storage."""
    storage, first, shape, strides = arguments[:4]
    numbers = [first, *shape, *strides]
    if not isinstance(storage, _Storage) or not all(map(_is_count, numbers)) or len(shape) != len(strides):
        raise ValueError(f"its array {brief(name)} has no storage, shape or strides")
    kind = storage.kind.newbyteorder(">" if is_big else "<")
    values = data[storage.key]
    if values.size != storage.count * kind.itemsize:
        raise ValueError(f"its storage {brief(storage.key)} has {values.size} bytes for {storage.count} values")
    if not _is_dense(shape, strides) or first + math.prod(shape) > storage.count:
        raise ValueError(f"its array {brief(name)} does not lie in its storage without gaps")
    values = values.view(kind)[first : first + math.prod(shape)]
    steps = [stride * kind.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False)


def _is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the values fill a piece of the storage, each once, in whatever order of the sides."""
    expected = 1
    for stride, side in sorted((stride, side) for stride, side in zip(strides, shape, strict=True) if side != 1):
        if stride != expected or side == 0:
            return False
        expected *= side
    return True


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
