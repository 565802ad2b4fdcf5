"""Annotations in Matlab's files (.mat up to version 7), as scipy reads them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError


@contextlib.contextmanager
def opened(path: Path, variable: str, what: str) -> Iterator[Any]:
    """Give one variable of a file to a block that takes it apart; `what` says in messages what the file should be.

    Raises UserError, which names the file, when it cannot be read, has no such variable, or the block meets another
    structure than it looks for.
    """
    import scipy.io

    try:
        if not path.is_file():
            raise FileNotFoundError
        yield scipy.io.loadmat(path, variable_names=[variable])[variable]
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(
            f"{path}: cannot be read as {what}, since it is missing; delete its folder and run this again"
        ) from None
    except Exception as error:  # scipy's reader raises whatever it meets
        raise UserError(f"{path}: cannot be read as {what} ({' '.join(str(error).split())})") from None


def read_label_map(path: Path, variable: str, what: str, greatest: int) -> np.ndarray:
    """Read a map of labels from 0 to `greatest`, int64 [h, w]. Raises UserError as `opened`, and for other values."""
    with opened(path, variable, what) as content:
        is_whole = np.isrealobj(content) and np.isfinite(content).all()
        labels = np.asarray(content, np.int64) if is_whole else np.zeros(0)
        is_whole = is_whole and np.array_equal(labels, content)
    if labels.ndim != 2 or not labels.size or not is_whole or labels.min() < 0 or labels.max() > greatest:
        raise UserError(f"{path}: is not {what}, whose labels are whole numbers from 0 to {greatest} of each pixel")
    return labels
