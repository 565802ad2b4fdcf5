"""Shared fixtures. No test writes into the checkout: records go to a temporary RESULTS_DIR."""

import contextlib
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from common.data import sample

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
GOLDEN_DIR = Path(os.environ.get("GOLDEN_DIR") or ROOT / "tests" / "golden")


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    """Escape what is not UTF-8: without this a worker cannot send its report, and the whole run ends."""
    return _printable((yield))


def _printable(value):
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    return type(value)(map(_printable, value)) if isinstance(value, (list, tuple)) else value


@pytest.fixture(autouse=True)
def results_dir(tmp_path, monkeypatch):
    """A results folder of the test's own, also for the processes it starts."""
    monkeypatch.setenv("RESULTS_DIR", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An engine cache of the test's own, also for the processes it starts."""
    monkeypatch.setenv("DEEPLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def sample_set(tmp_path_factory):
    """The drawn sample set."""
    folder = tmp_path_factory.mktemp("data") / "sample"
    sample.write(folder)
    return folder


@pytest.fixture(scope="session")
def voc_subset():
    """Real VOC pictures, where they are."""
    folder = SHARED / "data" / "VOC2012-subset"
    if not folder.is_dir():
        pytest.skip("real VOC pictures are not on this machine")
    return folder


def damaged(whole: bytes, rng: np.random.RandomState) -> bytes:
    """A file's bytes, cut in three cases of ten, with one to four of them overwritten."""
    data = bytearray(whole[: rng.randint(1, len(whole) + 1)] if rng.rand() < 0.3 else whole)
    for _ in range(rng.randint(1, 5)):
        data[rng.randint(len(data))] = rng.randint(256)
    return bytes(data)


@contextlib.contextmanager
def files_no_larger_than(size):
    """A disk that is full: writes beyond `size` bytes fail in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
