"""The weights of a Caffe net: binary, text, or HDF5, as arrays by the layer's name."""

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError, Message

from common.errors import UserError, quoted
from common.weights.hdf5 import is_hdf5, read_arrays
from converters.caffe_schema import BlobProto, Weights
from converters.caffe_text import as_text, parse, read_bytes

if TYPE_CHECKING:
    import h5py

MAX_TEXT_BYTES = 32 << 20  # with weights; text takes seconds a megabyte
MAX_AXES = 32  # Caffe's kMaxBlobAxes
MAX_LAYERS = 100_000

Blobs = dict[str, list[np.ndarray]]


def embedded_blobs(path: Path, proto: Message) -> Blobs:
    """Collect the blobs inside a prototxt's own layers."""
    return {
        layer.name: [_array(path, layer.name, i, blob) for i, blob in enumerate(layer.blobs)]
        for layer in reversed([*proto.layer, *proto.layers])  # of two of one name Caffe fills the first
        if layer.blobs
    }


def read_blobs(path: Path) -> Blobs:
    """The blobs of every layer of a caffemodel, float32, by the layer's name. Raises UserError."""
    if is_hdf5(path):
        return _hdf5_blobs(path)
    content = read_bytes(path)
    text = as_text(content)
    if text is not None:
        if len(content) > MAX_TEXT_BYTES:
            raise UserError(f"{path}: is text of more than {MAX_TEXT_BYTES >> 20} MiB; save it as binary")
        blobs = embedded_blobs(path, parse(path, text)[0])
        if not blobs:
            raise UserError(f"{path}: holds no weights; are prototxt and caffemodel swapped?")
        return blobs
    try:
        weights = Weights.FromString(content)
    except DecodeError:
        raise UserError(f"{path}: is cut off, damaged or not a caffemodel") from None
    del content  # 200 MB that are no longer needed
    blobs: Blobs = {}
    count = len(weights.layer) + len(weights.layers)
    if not 1 <= count <= MAX_LAYERS:
        raise UserError(f"{path}: holds {count} layers, so it is not a caffemodel")
    for layer in itertools.chain(weights.layer, weights.layers):
        name = layer.name.decode("utf-8", errors="replace")
        if layer.blobs and name not in blobs:
            blobs[name] = [_array(path, name, i, blob) for i, blob in enumerate(layer.blobs)]
    return blobs


def _hdf5_blobs(path: Path) -> Blobs:
    """The blobs of a snapshot in HDF5, `.caffemodel.h5`: /data/<layer>/<i>; the layer's name may hold slashes."""
    try:
        arrays = read_arrays(path, snapshot_arrays)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is no HDF5 snapshot of Caffe ({error})") from None
    blobs: Blobs = {}
    for name in sorted(arrays, key=lambda name: int(name.rpartition("/")[2])):
        layer, _, index = name.rpartition("/")
        if int(index) != len(blobs.setdefault(layer, [])):
            raise UserError(f"{path}: layer {quoted(layer)}: blob {len(blobs[layer])} is missing")
        with np.errstate(over="ignore"):
            blobs[layer].append(np.asarray(arrays[name], np.float32))
    return blobs


def snapshot_arrays(file: "h5py.File") -> dict[str, np.ndarray]:
    """`<layer>/<i>` -> array, of an open snapshot. Raises ValueError when it is none."""
    import h5py

    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: "h5py.Group | h5py.Dataset") -> None:
        if isinstance(item, h5py.Dataset):
            if not name.rpartition("/")[2].isdigit() or "/" not in name or item.dtype.kind != "f":
                raise ValueError(f"/data/{name} is no blob")
            found[name] = np.asarray(item)

    if not isinstance(file.get("data"), h5py.Group):
        raise ValueError("it has no group /data")
    file["data"].visititems(visit)
    if not found:
        raise ValueError("it holds no weights")
    return found


def _array(path: Path, layer: str, index: int, blob: Message) -> np.ndarray:
    """The blob's values as float32 in its declared shape, which is checked against the data before anything is made."""
    where = f"{path}: layer {quoted(layer)}: blob {index}"
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
