"""Limits for files of strangers: of the memory that one run takes, and a first run in a process of its own."""

import contextlib
import functools
import os
import re
import resource
import select
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from common.engines.interface import EngineError
from common.errors import one_line

FREE = 1 << 30  # bytes that any run may take
BYTES_OF_A_PIXEL = 1 << 12  # more for each pixel of the input; the largest networks here take a fourth
COPIES = 48  # of the weights; 18 were seen when TensorFlow first ran a frozen graph that has three scales inside
BYTES_OF_A_CORE = 1 << 25  # for stacks of threads
TRIAL_SECONDS = 120
# How TensorFlow, ONNX Runtime, TensorFlow Lite and OpenVINO say it.
OUT_OF_MEMORY = (
    r"OOM when allocating|bfc_arena|Failed to allocate memory|bad_alloc|[Uu]nable to allocate|[Oo]ut of memory"
)
STATUS = Path("/proc/self/status")


def memory_for(weights: int, pixels: int) -> int:
    """The bytes that one run may take beyond what the process holds.

    Args:
      weights: bytes of the file.
      pixels: of the input, of all its pictures.
    """
    return FREE + COPIES * weights + BYTES_OF_A_PIXEL * pixels + BYTES_OF_A_CORE * (os.cpu_count() or 1)


@contextlib.contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Let the process take `more` bytes beyond what it holds, within the block.

    Where the system does not tell what it holds there is no limit. Raises EngineError when the block wants more.
    """
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = _least(_first_soft_limit(), hard)
    if (held := _held()) is None:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (_least(held + more, soft), hard))
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or re.search(OUT_OF_MEMORY, str(error)):
            raise EngineError(f"it takes more than {more >> 20:,} MiB of memory for a picture of this size") from error
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@functools.cache
def _first_soft_limit() -> int:
    """The process's own limit: threads that run side by side all go back to it."""
    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def _least(*limits: int) -> int:
    """The least of these limits; RLIM_INFINITY is a number below zero."""
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=resource.RLIM_INFINITY)


def _held() -> int | None:
    try:
        found = re.search(rb"^VmData:\s+(\d+) kB", STATUS.read_bytes(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) << 10 if found else None


def try_first(run: Callable[[], object], memory: int) -> None:
    """Call `run` in a copy of this process, where a crash harms nothing. It must use no thread of this process.

    Args:
      run: its result is dropped.
      memory: the bytes that it may take beyond what the process holds.

    Raises EngineError with what `run` raises there, or when it crashes or takes too long.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a process of threads forks: `run` starts its own
        child = os.fork()
    if not child:
        _be_the_copy(run, memory, writing)
    os.close(writing)
    try:
        is_late = not select.select([reading], [], [], TRIAL_SECONDS)[0]
        reason = "" if is_late else os.read(reading, 1 << 14).decode(errors="replace")
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if is_late:
        raise EngineError(f"it takes more than {TRIAL_SECONDS} seconds for a blank picture")
    if reason != "fine":
        raise EngineError(reason or "its program crashes on it")


def _be_the_copy(run: Callable[[], object], memory: int, writing: int) -> None:
    """Run, write `fine` or the reason why not, and end, without a word and without what the process does at its end."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with Path(os.devnull).open("wb") as silence, memory_limit(memory):
            for stream in (1, 2):
                os.dup2(silence.fileno(), stream)
            run()
        reason = "fine"
    except BaseException as error:
        reason = one_line(error)
    finally:
        os.write(writing, reason.encode("utf-8", "replace")[: 1 << 13])
        os._exit(0)
