"""The framing of a TFRecord file: find each example by its byte offset, and check it.

An example is framed by its length (uint64), a checksum of the length, the data and a checksum of the data, all
little-endian. The checksums are CRC-32C, rotated and shifted (tensorflow/core/lib/io/record_writer.h).
TensorFlow's own random reader takes a millisecond to seek, a fifth of the time to decode a picture.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from common.errors import UserError

_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
HEADER, FOOTER = _LENGTH.size + _CHECKSUM.size, _CHECKSUM.size
MEND = "restore the file or build the TFRecords again (python -m common.data.tfrecord build)"


def frame(data: bytes) -> bytes:
    """`data` with its frame."""
    length = _LENGTH.pack(len(data))
    return length + _checksum(length) + data + _checksum(data)


def read_record(path: Path, offset: int) -> bytes:
    """The data of the example at `offset`. Raises UserError, with file and offset, when it is damaged."""
    with open_shard(path) as stream:
        return _read(stream, path, offset)


def scan(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, data) of all examples in order. Raises UserError as `read_record` does."""
    with open_shard(path) as stream:
        offset, size = 0, path.stat().st_size
        while offset < size:
            data = _read(stream, path, offset)
            yield offset, data
            offset += HEADER + len(data) + FOOTER


def open_shard(path: Path) -> BinaryIO:
    """The file, open for reading. Raises UserError when it can't be."""
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {MEND}") from None


def place(path: Path, offset: int) -> str:
    """The name of an example in messages."""
    return f"{path}: example at byte offset {offset}"


def _read(stream: BinaryIO, path: Path, offset: int) -> bytes:
    stream.seek(offset)
    header = stream.read(HEADER)
    length, checksum = header[: _LENGTH.size], header[_LENGTH.size :]
    if len(header) == HEADER and checksum != _checksum(length):
        raise UserError(f"{place(path, offset)} is damaged: its length fails its checksum; {MEND}")
    data = b""
    if len(header) == HEADER and _LENGTH.unpack(length)[0] <= os.fstat(stream.fileno()).st_size - stream.tell():
        data = stream.read(_LENGTH.unpack(length)[0])
    else:
        stream.seek(0, os.SEEK_END)  # a length beyond the file's end asks for any amount of memory
    checksum = stream.read(FOOTER)
    if len(checksum) < FOOTER:
        raise UserError(f"{place(path, offset)} is cut off; {MEND}")
    if checksum != _checksum(data):
        raise UserError(f"{place(path, offset)} is damaged: its data fail their checksum; {MEND}")
    return data


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
