"""Read flat buffers, the format of TensorFlow Lite's files, with every place in them checked.

A table is a place whose first four bytes lead back to its vtable: the vtable's size, the table's size, and for each
field where it lies in the table, 0 if it has its default.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_ENTRIES = 10_000  # of a vector of tables: a file can name one table many times
LONGEST_TEXT = 2000  # bytes of a string that are read


@dataclass(frozen=True)
class Table:
    """A table of a flat buffer. Its methods raise ValueError for what does not lie within the file.

    Attributes:
      data: the whole file.
      place: where the table begins.
    """

    data: memoryview
    place: int

    def field(self, number: int) -> int:
        """The place of a field, or 0 when the table does not have it."""
        vtable = self.place - _number(self.data, "<i", self.place)
        size = _number(self.data, "<H", vtable)
        entry = 4 + 2 * number
        offset = _number(self.data, "<H", vtable + entry) if entry + 2 <= size else 0
        return self.place + offset if offset else 0

    def number(self, number: int, form: str, default: int = 0) -> int:
        """A scalar, as `struct` names its form."""
        place = self.field(number)
        return _number(self.data, form, place) if place else default

    def table(self, number: int) -> "Table | None":
        """The table that a field leads to."""
        place = self.field(number)
        return _table(self.data, place) if place else None

    def tables(self, number: int) -> list["Table"]:
        """The tables of a vector."""
        begin, count = self._vector(number, 4)
        if count > MOST_ENTRIES:
            raise ValueError(f"it has a list of more than {MOST_ENTRIES:,} entries")
        return [_table(self.data, begin + 4 * entry) for entry in range(count)]

    def array(self, number: int, dtype: Any, most: int | None = None) -> np.ndarray:
        """The numbers of a vector, which stay in the file's bytes; empty when there is none.

        Raises ValueError for more than `most`.
        """
        dtype = np.dtype(dtype).newbyteorder("<")
        begin, count = self._vector(number, dtype.itemsize)
        if most is not None and count > most:
            raise ValueError(f"it has a list of more than {most:,} numbers where nothing has as many")
        return np.frombuffer(self.data, dtype, count, begin) if count else np.zeros(0, dtype)

    def text(self, number: int) -> str:
        """The begin of a string, LONGEST_TEXT bytes at the most; those that are no UTF-8 are replaced."""
        return self.array(number, np.uint8)[:LONGEST_TEXT].tobytes().decode("utf-8", "replace")

    def _vector(self, number: int, itemsize: int) -> tuple[int, int]:
        """Where the entries of a vector begin, and how many there are."""
        place = self.field(number)
        if not place:
            return 0, 0
        begin = _target(self.data, place)
        count = _number(self.data, "<I", begin)
        if begin + 4 + count * itemsize > len(self.data):
            raise ValueError("one of its lists ends beyond the file")
        return begin + 4, count


def root(data: bytes, mark: bytes) -> Table:
    """The first table of a flat buffer whose bytes 4 to 8 are `mark`. Raises ValueError when they are not."""
    if data[4:8] != mark:
        raise ValueError(f"it does not have the mark {mark.decode()}")
    return _table(memoryview(data), 0)


def _table(data: memoryview, place: int) -> Table:
    return Table(data, _target(data, place))


def _target(data: memoryview, place: int) -> int:
    return place + _number(data, "<I", place)


def _number(data: memoryview, form: str, place: int) -> int:
    if not 0 <= place <= len(data) - struct.calcsize(form):
        raise ValueError("it leads to a place beyond its end")
    return struct.unpack_from(form, data, place)[0]
