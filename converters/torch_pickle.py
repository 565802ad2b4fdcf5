"""Read the pickles that torch.save writes, by a reader of its own that knows arrays and plain containers only.

Python's reader, told to refuse all other classes, still takes exponential time for dictionaries whose keys are tuples
of tuples. This one knows the opcodes of torch.save alone, and keys are texts.
"""

import pickletools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np

from common.errors import brief

MOST_SIDES = 8  # of an array
MOST_COPIED = 1 << 20  # entries of dictionaries that are made from lists

KINDS = {
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
DICTIONARY = "collections OrderedDict"
TENSORS = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2")
KNOWN = (DICTIONARY, *TENSORS, *(f"torch {kind}" for kind in KINDS))

VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "BINSTRING", "SHORT_BINSTRING")
MAKERS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Storage(NamedTuple):
    """A storage as the pickle declares it: the type, the key and the count of its values."""

    kind: np.dtype
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """An array in a storage: the place of its first value, its shape, and its strides in values."""

    storage: Storage
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Named:
    """A class or function that the pickle names, `module name`."""

    name: str


class Reader:
    """Reads one pickle; `storages` are then those that it declares, by key."""

    def __init__(self):
        self.storages: dict[str, Storage] = {}
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._copied = 0

    def read(self, stream: BinaryIO) -> object:
        """The object of the pickle at the stream's position; the stream then stands behind it.

        Raises ValueError for a pickle of anything else. What damaged ones lead to may also be another exception.
        """
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name == "STOP":
                break
            if name in VALUES:
                self._stack.append(argument)
            elif name in MAKERS:
                self._stack.append(MAKERS[name]())
            elif name in TUPLES:
                self._stack.append(tuple(self._taken(len(self._stack) - TUPLES[name])))
            elif name in self.OTHERS:
                self.OTHERS[name](self, argument)
            else:
                raise ValueError(f"its opcode {name} is none that torch.save writes")
        return self._stack.pop()

    def _taken(self, begin: int) -> list[object]:
        """Take from the stack all that stands there from `begin` on."""
        if begin < 0:
            raise ValueError("it takes more objects than it has made")
        taken = self._stack[begin:]
        del self._stack[begin:]
        return taken

    def _since_mark(self) -> list[object]:
        return self._taken(self._marks.pop())

    def _set_items(self, items: Sequence[object]) -> None:
        target, keys = self._stack[-1], items[::2]
        if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(key, str) for key in keys):
            raise ValueError("it holds a dictionary that is none by name")
        target.update(zip(keys, items[1::2], strict=True))

    def _extend(self, items: Sequence[object]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ValueError("it extends something that is no list")
        self._stack[-1].extend(items)

    def _name(self, name: str) -> None:
        if name not in KNOWN:
            raise ValueError(f"it asks for {brief(name.replace(' ', '.'))}, and only arrays are read")
        self._stack.append(_Named(name))

    def _call(self) -> None:
        function, arguments = self._taken(len(self._stack) - 2)
        if not isinstance(function, _Named) or not isinstance(arguments, tuple):
            raise ValueError("it calls something that is no function")
        if function.name == DICTIONARY:
            self._stack.append({})
            self._copy_pairs(arguments)
        elif function.name in TENSORS:
            self._stack.append(_tensor(arguments))
        else:
            raise ValueError(f"it calls {function.name.replace(' ', '.')}, which is no function")

    def _copy_pairs(self, arguments: tuple[object, ...]) -> None:
        """Fill the new dictionary from the list of pairs that Python 2 wrote."""
        for pairs in arguments:
            self._copied += len(pairs)
            if self._copied > MOST_COPIED:
                raise ValueError("it copies more entries than it has bytes")
            self._set_items([item for key, value in pairs for item in (key, value)])

    def _drop_state(self) -> None:
        """Drop the versions of the layers, which a state dict carries beside its entries."""
        if not isinstance(self._stack[-2], dict):
            raise ValueError("it gives a state to something that is no dictionary")
        self._stack.pop()

    def _declare(self) -> None:
        """A storage: ('storage', its class, its key, the device, its count of values[, a view of another])."""
        reference = self._stack.pop()
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            raise ValueError("it refers to something that is no storage")
        kind, key, _, count = reference[1:5]
        code = KINDS.get(kind.name.removeprefix("torch ")) if isinstance(kind, _Named) else None
        if code is None or not isinstance(key, str) or not _is_count(count):
            raise ValueError("it declares a storage without a type, a key or a size")
        if reference[5:] not in ((), (None,)):
            raise ValueError(f"its storage {brief(key)} is a part of another, as torch before 0.4 wrote them")
        storage = Storage(np.dtype(code), key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"it declares its storage {brief(key)} twice")
        self._stack.append(storage)

    OTHERS = {
        "PROTO": lambda self, _: None,
        "MARK": lambda self, _: self._marks.append(len(self._stack)),
        "TUPLE": lambda self, _: self._stack.append(tuple(self._since_mark())),
        "APPEND": lambda self, _: self._extend(self._taken(len(self._stack) - 1)),
        "APPENDS": lambda self, _: self._extend(self._since_mark()),
        "SETITEM": lambda self, _: self._set_items(self._taken(len(self._stack) - 2)),
        "SETITEMS": lambda self, _: self._set_items(self._since_mark()),
        **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda self, i: self._memo.update({i: self._stack[-1]})),
        **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda self, i: self._stack.append(self._memo[i])),
        "GLOBAL": _name,
        "REDUCE": lambda self, _: self._call(),
        "BUILD": lambda self, _: self._drop_state(),
        "BINPERSID": lambda self, _: self._declare(),
    }


def _tensor(arguments: tuple[object, ...]) -> Tensor:
    """The tensor that torch._utils' functions make of (storage, first, shape, strides, ...)."""
    storage, first, shape, strides = arguments[:4]
    sides = (shape, strides)
    if not isinstance(storage, Storage) or not all(isinstance(s, tuple) and len(s) <= MOST_SIDES for s in sides):
        raise ValueError("it holds an array without a storage, a shape or strides")
    if len(shape) != len(strides) or not all(map(_is_count, (first, *shape, *strides))):
        raise ValueError("it holds an array without a storage, a shape or strides")
    return Tensor(storage, first, shape, strides)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
