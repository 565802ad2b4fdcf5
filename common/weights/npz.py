"""Opening `.npz` files: an archive of arrays, and nothing that its size does not allow."""

import zipfile
from pathlib import Path

import numpy as np

EXPANSION = 20  # compressed arrays may be so many times as large as their file
SMALL = 256 << 20  # bytes that arrays may have whatever their file's size is: zeros compress well

Shape = tuple[int, ...]


def open_npz(path: Path) -> tuple[np.lib.npyio.NpzFile, dict[str, Shape]]:
    """The archive, and the shapes of its arrays by name.

    Raises:
      ValueError: what is wrong with the file.
      OSError: it can't be read.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except (EOFError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("it is a single array, as numpy.save writes it, without a name; numpy.savez names arrays")
    check_expansion(sum(entry.file_size for entry in archive.zip.infolist()), path)
    try:
        return archive, {name: _shape(archive, name) for name in archive.files}
    except (EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:  # other compression
        raise ValueError(str(error)) from None


def check_expansion(declared: int, path: Path) -> None:
    """Raise ValueError when a file declares more bytes of arrays than its own size makes credible."""
    if declared > max(SMALL, EXPANSION * path.stat().st_size):
        raise ValueError(f"it declares {declared} bytes of weights")


def _shape(archive: np.lib.npyio.NpzFile, name: str) -> Shape:
    with archive.zip.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(stream)[0]
