"""A contestant's process: prepares a piece of work, then does it once for each line that it reads.

`python -m tests.bench.worker MODULE FUNCTION JSON`: the function takes the JSON's fields and returns the work, a
callable without arguments. Lines are answered with JSON, on what was standard output; whatever libraries print goes to
standard error. This file needs nothing but Python, for peers run it in an environment of their own.

  (at the start)  {"ready": true}
  run             {"seconds": wall clock, "processor": seconds of all threads}
  save PATH       {"saved": whether the work returns an array}, which lies in PATH as .npy
  end             {"peak_mib": the largest resident memory}, and the work's own `figures`; the process ends
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO


def serve(work: Callable[[], Any], lines: Iterable[str], answers: TextIO) -> None:
    """Answer each line; `work` is one unit, whose value `save` writes."""

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    answer(ready=True)
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "run":
            wall, processor = time.perf_counter(), time.process_time()
            work()
            answer(seconds=time.perf_counter() - wall, processor=time.process_time() - processor)
        elif word == "save":
            answer(saved=_save(work(), rest))
        elif word == "end":
            answer(peak_mib=peak_mib(), **getattr(work, "figures", dict)())
            return


def _save(value: Any, path: str) -> bool:
    if value is None:
        return False
    import numpy as np  # not every contestant has it

    np.save(path, value)
    return True


def peak_mib() -> int:
    """The largest resident memory of this process in MiB; Linux's own figure leaves out what came before exec."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) // 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


def main() -> None:
    """Prepare, and serve until the end of the input."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, function, fields = sys.argv[1:]
    serve(getattr(importlib.import_module(module), function)(**json.loads(fields)), sys.stdin, answers)


if __name__ == "__main__":
    main()
