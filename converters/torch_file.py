"""Read PyTorch's files of arrays, `.pth` or `.pt`, without PyTorch and without running the code in them.

torch.save writes a zip since 1.6: the pickle `<folder>/data.pkl`, and each storage as a stored entry
`<folder>/data/<key>`. Before, it wrote five pickles one after the other (a magic number, a version, the machine, the
object, the storages' keys), then each storage as its count of values and the values. In both, an array in the pickle
names its storage, its first value there, its shape and its strides.
"""

import io
import math
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError, brief, plain_reason
from converters.formats import refuse_other_formats
from converters.torch_pickle import Reader, Storage, Tensor

LARGEST_PICKLE = 1 << 20  # bytes: a network of 700 arrays takes a tenth, and an object of one byte 70 in memory
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # begins files from before torch 1.6
ZIP = b"PK\x03\x04"
COUNT = 8  # bytes of a storage's count of values, which stands before them


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
    refuse_other_formats(path, ".pth", ".pt")
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
    path: Path, position: int, keys: Sequence[str], storages: Mapping[str, Storage]
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


def _unpickled(stream: io.BytesIO) -> tuple[object, dict[str, Storage]]:
    """The object of the pickle at the stream's position, and the storages that it declares by key."""
    reader = Reader()
    return reader.read(stream), reader.storages


def _tensors(value: object) -> dict[str, Tensor]:
    """The entries of an unpickled dictionary. Raises ValueError when it is none, or holds anything but tensors."""
    if not isinstance(value, dict) or not value:
        raise ValueError("it is no dictionary by name")
    if others := [name for name, tensor in value.items() if not isinstance(tensor, Tensor)]:
        raise ValueError(f"its entry {brief(others[0])} is no array")
    return value


def _arrays(tensors: Mapping[str, Tensor], data: Mapping[str, np.ndarray], is_big: bool) -> dict[str, np.ndarray]:
    """Name -> the values of each tensor; `data` are the bytes of the storages by key."""
    return {name: _array(name, tensor, data[tensor.storage.key], is_big) for name, tensor in tensors.items()}


def _array(name: str, tensor: Tensor, data: np.ndarray, is_big: bool) -> np.ndarray:
    """A view of the tensor's values in its storage's bytes."""
    storage, count = tensor.storage, math.prod(tensor.shape)
    kind = storage.kind.newbyteorder(">" if is_big else "<")
    if data.size != storage.count * kind.itemsize:
        raise ValueError(f"its storage {brief(storage.key)} has {data.size} bytes for {storage.count} values")
    if not _is_dense(tensor.shape, tensor.strides) or tensor.first + count > storage.count:
        raise ValueError(f"its array {brief(name)} does not lie in its storage without gaps")
    values = data.view(kind)[tensor.first : tensor.first + count]
    steps = [stride * kind.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(values, tensor.shape, steps, writeable=False)


def _is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the values fill a piece of the storage, each once, in whatever order of the sides."""
    expected = 1
    for stride, side in sorted((stride, side) for stride, side in zip(strides, shape, strict=True) if side != 1):
        if stride != expected or side == 0:
            return False
        expected *= side
    return True
