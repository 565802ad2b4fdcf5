"""A training run's folder: its lock, recipe, log and summary."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_text

RECIPE, LOG, SUMMARY, LOCK = "recipe.json", "log.jsonl", "train.json", ".lock"


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Create `run_dir` and hold it; a second process is refused (UserError). A killed one leaves no lock."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        stream = (run_dir / LOCK).open("a+")
    except OSError as error:
        raise UserError(f"--run-dir {run_dir}: cannot be written ({error.strerror})") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise UserError(
                f"--run-dir {run_dir}: process {stream.read().strip() or 'unknown'} is training in it; "
                f"wait for it or choose another folder"
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def read_log(run_dir: Path) -> list[dict[str, Any]]:
    """The log's entries in order; a last line that a killed process left half-written is dropped."""
    path = run_dir / LOG
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries


def rewind_log(run_dir: Path, step: int) -> None:
    """Drop the entries after `step`, which a resumed run writes again."""
    kept = [json.dumps(e) + "\n" for e in read_log(run_dir) if e["step"] <= step]
    write_text(run_dir / LOG, "".join(kept))
