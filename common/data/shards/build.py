"""Build a folder of TFRecords: shards with an index, in parallel; a killed build can go on."""

import contextlib
import dataclasses
import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from common.console import Progress, StopSignal, say
from common.data.shards import examples as keys
from common.data.shards.frames import frame
from common.data.shards.index import Index, Shard, index_path, record_files, shard_name, unfinished_path
from common.data.split import Split
from common.errors import UserError
from common.files import atomic, locked, refuse_foreign_json
from common.paths import plain_name

Item, Result = TypeVar("Item"), TypeVar("Result")


class _Stopped(Exception):
    """Ends a thread after a signal, or after another thread failed."""


def build(split: Split, out: Path, shard_count: int, workers: int, quiet: bool = False) -> int | None:
    """Write `split` to `out` in `shard_count` shards with an index; shards that are already right are kept.

    Returns:
      The signal that stopped the build, or None.

    Raises:
      UserError: a bad pair, a wrong number of shards or workers, or a folder that can't be written to, in which another
        build runs, or which holds other TFRecords of the split.
    """
    plain_name(split.name, "--split")  # names the shards
    count = len(split.pairs)
    if not 1 <= shard_count <= count:
        raise UserError(f"--shards {shard_count}: must be from 1 to {count}, the pictures of split '{split.name}'")
    if workers < 1:
        raise UserError(f"--workers {workers}: must be at least 1")
    if isinstance(split, keys.RecordSplit):
        raise UserError(f"--data: split '{split.name}' is in TFRecords already; build from the data set's own files")
    with locked(out, "building in it; wait for it", title=f"--out {out}"), StopSignal() as stop:
        try:
            _Build(split, out, shard_count, workers, quiet, stop).run()
        except _Stopped:
            return stop.received
    return None


class _Build:
    """One build. Its plan is an index without shards, and the range of pairs of every shard."""

    def __init__(self, split: Split, out: Path, shard_count: int, workers: int, quiet: bool, stop: StopSignal):
        self._split, self._out, self._workers, self._quiet, self._stop = split, out, workers, quiet, stop
        count = len(split.pairs)
        self._plan = Index(split.card.name, split.name, split.is_sample, count, shard_count)
        bounds = [k * count // shard_count for k in range(shard_count + 1)]
        self._stretches = {
            shard_name(split.name, k, shard_count): range(bounds[k], bounds[k + 1]) for k in range(shard_count)
        }
        self._damaged = False
        self._final, self._unfinished = index_path(out, split.name), unfinished_path(out, split.name)

    def run(self) -> None:
        stored = self._read(self._final) or self._read(self._unfinished)
        self._refuse_other_records(stored)
        done = self._intact(stored.shards if stored else ())
        if self._final.is_file() and len(done) == self._plan.shard_count:
            say(f"{self._final}: complete, nothing to do", self._quiet)
            return
        self._note(done)
        self._final.unlink(missing_ok=True)
        missing = [file for file in self._stretches if file not in done]
        ready = sum(shard.records for shard in done.values())
        with self._in_parallel("building", self._write, missing, self._plan.records, ready) as written:
            for shard in written:
                done[shard.file] = shard
                self._note(done)
        self._unfinished.replace(self._final)

    def _read(self, path: Path) -> Index | None:
        """The index; None when there is none or it is damaged. Its shards are then built again."""
        try:
            return Index.read(path)
        except UserError as error:
            if not any(match["stem"] == self._plan.split for match in record_files(self._out).values()):
                refuse_foreign_json(path, f"--out {self._out}", "shards")
            say(f"{str(error).partition(';')[0]}; its shards are built again", self._quiet)
            self._damaged = True
            return None

    def _note(self, done: dict[str, Shard]) -> None:
        shards = tuple(done[file] for file in self._stretches if file in done)
        dataclasses.replace(self._plan, shards=shards).write(self._unfinished)

    def _refuse_other_records(self, stored: Index | None) -> None:
        """Raise UserError when the folder holds another build of the split.

        Pictures may be corrected until the build is complete, so an unfinished build compares names alone.
        """
        name = self._plan.split
        if stored is None:
            strangers = [path.name for path, match in record_files(self._out).items() if match["stem"] == name]
            there = [f"{strangers[0]} without an index"] if strangers and not self._damaged else []
        else:
            before, now = stored.plan(), self._plan.plan()
            there = [f"{k} {before[k]} instead of {now[k]}" for k in now if now[k] != before[k]]
            if not there and any(self._is_other(shard) for shard in stored.shards):
                there = ["other files"]
        if there:
            raise UserError(
                f"--out {self._out}: holds split '{name}' already ({', '.join(there)}); "
                f"choose another folder or delete it"
            )

    def _is_other(self, shard: Shard) -> bool:
        pairs = self._pairs(shard.file)
        if self._final.is_file():
            return shard.source != _source(pairs)
        return list(zip(shard.pictures, shard.masks, strict=True)) != [(i.name, m.name) for i, m in pairs]

    def _pairs(self, file: str) -> Sequence[tuple[Path, Path]]:
        stretch = self._stretches.get(file, range(0))
        return self._split.pairs[stretch.start : stretch.stop]

    def _intact(self, listed: Sequence[Shard]) -> dict[str, Shard]:
        """The listed shards that still agree with their files and pictures, by file name."""

        def check(shard: Shard, advance: Callable[[], None]) -> tuple[Shard, bool]:
            advance()
            path = self._out / shard.file
            intact = path.is_file() and shard.source == _source(self._pairs(shard.file))
            return shard, intact and _digest(path) == shard.sha256

        with self._in_parallel("checking shards", check, listed, len(listed)) as checked:
            return {shard.file: shard for shard, intact in checked if intact}

    def _write(self, file: str, advance: Callable[[], None]) -> Shard:
        path, pairs = self._out / file, self._pairs(file)
        offsets, size, digest = [], 0, hashlib.sha256()
        try:
            with atomic(path) as temporary, temporary.open("wb") as stream:
                for index in self._stretches[file]:
                    record = frame(_example(self._split, index))
                    stream.write(record)
                    offsets.append(size)
                    size += len(record)
                    digest.update(record)
                    advance()
            source = _source(pairs)
        except OSError as error:  # a full disk, a folder without permission
            raise UserError(
                f"{error.filename or path}: {error.strerror}; correct that and run the build again, finished shards "
                f"are kept"
            ) from None
        pictures, masks = [image.name for image, _ in pairs], [mask.name for _, mask in pairs]
        return Shard(file, len(pairs), size, digest.hexdigest(), source, offsets, pictures, masks)

    @contextlib.contextmanager
    def _in_parallel(
        self,
        what: str,
        function: Callable[[Item, Callable[[], None]], Result],
        items: Sequence[Item],
        total: int,
        done: int = 0,
    ) -> Iterator[Iterator[Result]]:
        """`function(item, advance)` for all items, as they are done; a failure or signal stops the rest at `advance`.

        Threads are enough, since decoding lets go of the interpreter's lock, and they end with a killed process.
        """
        halt, lock = threading.Event(), threading.Lock()

        def advance():
            if halt.is_set() or self._stop.received:
                raise _Stopped
            with lock:
                progress.advance()

        with Progress(what, total, done, self._quiet) as progress, ThreadPoolExecutor(self._workers) as pool:
            try:
                jobs = [pool.submit(function, item, advance) for item in items]
                yield (job.result() for job in as_completed(jobs))
            finally:
                halt.set()


def _source(pairs: Sequence[tuple[Path, Path]]) -> str:
    """A digest of the names and sizes of all pictures and masks."""
    files = [[(path.name, path.stat().st_size) for path in pair] for pair in pairs]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _example(split: Split, index: int) -> bytes:
    """The pair as NanqingD's convert_voc12.py has it, and the mask's name. Raises UserError for a bad pair."""
    image_path, mask_path = split.pairs[index]
    _, mask = split.read(index)
    with Image.open(image_path) as image:
        image_format = image.format
    return keys.example(
        {
            keys.IMAGE: image_path.read_bytes(),
            keys.IMAGE_FORMAT: image_format,
            keys.IMAGE_NAME: image_path.name,
            keys.HEIGHT: mask.shape[0],
            keys.WIDTH: mask.shape[1],
            keys.MASK: _grey_png(mask_path, mask),
            keys.MASK_FORMAT: "PNG",
            keys.MASK_NAME: mask_path.name,
            **({keys.IS_SAMPLE: 1} if split.is_sample else {}),
        }
    )


def _grey_png(path: Path, mask: np.ndarray) -> bytes:
    """A grey PNG of the class ids: the file's own bytes if it is one, else a new PNG.

    TensorFlow, and so the original readers, would decode a palette to its colours.
    """
    with Image.open(path) as image:
        if image.format == "PNG" and image.mode == "L" and np.array_equal(np.asarray(image), mask):
            return path.read_bytes()
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()
