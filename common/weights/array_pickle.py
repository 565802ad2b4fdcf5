"""Pickled dictionaries of arrays, read without running the code in them."""

import contextlib
import math
import pickle
import pickletools
from pathlib import Path

import numpy as np

from common.errors import UserError, one_line


def is_pickle(path: Path) -> bool:
    """Whether the file begins as Python's binary pickles do."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        return stream.read(2) in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    return False


class _Recorded:
    """Stands in for numpy's classes while a pickle is read: it only keeps its arguments."""

    def __init__(self, *arguments):
        self.arguments, self.state = arguments, None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _RecordedDtype(_Recorded):
    pass


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries of arrays and no other class, because a pickle of other classes can run any code."""

    STAND_INS = {
        ("numpy", "dtype"): _RecordedDtype,
        ("numpy", "ndarray"): "ndarray",
        ("numpy.core.multiarray", "_reconstruct"): _Recorded,
        ("numpy._core.multiarray", "_reconstruct"): _Recorded,
        # How Python 3 writes bytes for Python 2.
        ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
    }

    def find_class(self, module: str, name: str):
        if (module, name) not in self.STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only arrays are read")
        return self.STAND_INS[module, name]


def _recorded_array(value: object) -> np.ndarray:
    """The float array that a recorded `ndarray` describes. Raises ValueError when it is none."""
    if not isinstance(value, _Recorded) or not isinstance(value.state, tuple) or len(value.state) != 5:
        raise ValueError("it holds something that is no array")
    _, shape, dtype, fortran, data = value.state
    order = dtype.state[1] if isinstance(dtype, _RecordedDtype) and isinstance(dtype.state, tuple) else None
    if order not in ("<", ">", "=", "|") or dtype.arguments[0] not in ("f2", "f4", "f8"):
        raise ValueError("it holds an array that is not of floats")
    data = data.encode("latin1") if isinstance(data, str) else data  # Python 2 had no bytes
    kind = np.dtype(order.replace("|", "=") + dtype.arguments[0])
    if not isinstance(data, bytes) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError("it holds an array without values")
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueError(f"an array of shape {tuple(shape)} has {len(data)} bytes")
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


def read_array_pickle(path: Path) -> dict[str, np.ndarray]:
    """Read a pickled dictionary of float arrays, as LargeFOV's util/extract_params.py writes it (`.ckpt`, Python 2).

    Raises UserError for anything else. No code in the file runs, and no memory is taken for sizes it only claims.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            for opcode, argument, _ in pickletools.genops(stream):
                # The reader's memory is a table as long as its largest index.
                if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument) > size:
                    raise ValueError("it numbers more objects than it has bytes")
            stream.seek(0)
            values = _ArrayUnpickler(stream, encoding="latin1").load()
        if not isinstance(values, dict) or not values or not all(isinstance(n, str) for n in values):
            raise ValueError("it is no dictionary by name")
        return {name: _recorded_array(value) for name, value in values.items()}
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise UserError(f"{path}: is not a pickle of float arrays by name ({one_line(error)})") from None
