"""Work on many files in processes of their own."""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from common import hush_libraries
from common.errors import UserError

IN_PROCESS = 64  # fewer items than this are not worth starting processes for


@contextlib.contextmanager
def parallel_map(workers: int, items: int | None = None) -> Iterator[Callable]:
    """Give a `map` over processes, because decoding and painting hold the interpreter's lock.

    With fewer than two workers, or fewer `items` than IN_PROCESS, it is the builtin `map`.
    """
    if workers < 2 or (items is not None and items < IN_PROCESS):
        yield map
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        yield functools.partial(pool.map, chunksize=16)
    except BrokenProcessPool:
        raise UserError("a worker was killed, perhaps for lack of memory; run again with fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the main process, do not outlive it, and show no warnings of libraries."""
    hush_libraries()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=lambda: (multiprocessing.parent_process().join(), os._exit(1)), daemon=True).start()
