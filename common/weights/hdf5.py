"""Arrays of HDF5 files, read in a separate process because libhdf5 crashes on some damaged files."""

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from common.errors import brief
from common.paths import ROOT
from common.weights.npz import check_expansion

SIGNATURE = b"\x89HDF\r\n\x1a\n"
Chooser = Callable[[h5py.File], Mapping[str, np.ndarray]]


def is_hdf5(path: Path) -> bool:
    """Whether the file begins as HDF5 files do."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


def read_arrays(path: Path, chooser: Chooser) -> dict[str, np.ndarray]:
    """The arrays of an HDF5 file that `chooser` wants, by the names that it gives them.

    Args:
      path: the file.
      chooser: a function of a module, called in the other process with the open file; returns name -> array.

    Raises:
      ValueError: what is wrong with the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "arrays.npz"
        program = f"import sys; from {to_npz.__module__} import {to_npz.__name__} as run; run(*sys.argv[1:])"
        function = f"{chooser.__module__}:{chooser.__name__}"
        done = subprocess.run(
            [sys.executable, "-c", program, str(path.resolve()), str(out), function],
            cwd=ROOT, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["the HDF5 library crashed on it"]
            raise ValueError(brief(lines[-1].partition(": ")[2] or lines[-1]))
        with np.load(out, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def to_npz(path: str, out: str, chooser: str) -> None:
    """Write the arrays that `chooser`, `module:function`, wants, as an `.npz`."""
    module, _, function = chooser.partition(":")
    with h5py.File(path) as file:
        datasets = list(_datasets(file))
        check_expansion(sum(dataset.nbytes for dataset in datasets), Path(path))
        np.savez(out, **getattr(importlib.import_module(module), function)(file))


def _datasets(group: h5py.Group, seen: set[int] | None = None) -> Iterator[h5py.Dataset]:
    """Every array in the file. Raises ValueError for an array or a group whose content lies in another file.

    Otherwise a weight file could read any file of this machine.
    """
    seen = set() if seen is None else seen
    seen.add(hash(group.id))
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(f"{group.name.rstrip('/')}/{name} lies in another file, {brief(link.filename, 100)}")
        if isinstance(link, h5py.SoftLink):  # another name of what is met elsewhere in this file
            continue
        item = group[name]
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"the values of {item.name} lie in another file")
            yield item
        elif isinstance(item, h5py.Group) and hash(item.id) not in seen:  # hard links can make a circle
            yield from _datasets(item, seen)
