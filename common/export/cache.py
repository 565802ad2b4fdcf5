"""The engine cache: checkpoints' networks as ONNX files, so that they run without TensorFlow from the second time on.

An entry is a folder: a file for each output with its part of the graph, the weights that they share, and ENTRY, which
is written last. Nothing here needs TensorFlow.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.console import say
from common.engines.interface import LABELS, PROBABILITIES, SCORES
from common.engines.programs import PROGRAMS
from common.errors import UserError
from common.files import check_writable, locked, read_json, write_json
from common.paths import ROOT, cache_folder
from common.weights.checkpoint_files import digest as digest_of_weights
from common.weights.checkpoint_files import find_checkpoint

SCHEMA = 1
ENTRY = "entry.json"
WEIGHTS = "weights"  # shared by the files of an entry
FILES = {LABELS: "labels.onnx", PROBABILITIES: "probabilities.onnx", SCORES: "scores.onnx"}
MOST_BYTES = 4 << 30  # of all entries; those that were used last are kept
TITLE = "DEEPLAB_CACHE={}"
BUSY = "preparing the network for other engines in it; wait for it"
WAITING = "waiting for another process, which prepares the network for other engines in {}"
PATIENCE = 300.0  # seconds to wait for another process that prepares the same network
# The code that an exported network and its comparison depend on, besides the reproduction's own.
CODE = ("nets", "recipe", "weights", "engines", "inference", "export")
CODE_FILES = ("tf1.py", "reproduction.py")
LEAST_AGREEMENT = {"fp32": 0.9999, "bf16": 0.97}  # share of the pixels with the label of TensorFlow in fp32


@dataclass(frozen=True)
class Trial:
    """How an engine's label maps, and the time that they take, compare with TensorFlow's, over some pictures.

    Attributes:
      version: of the engine.
      pictures, pixels: how many.
      agreement: the share of the pixels with the same label.
      seconds, tensorflow_seconds: the least for a picture.
    """

    version: str
    pictures: int
    pixels: int
    agreement: float
    seconds: float
    tensorflow_seconds: float

    @property
    def times_tensorflow(self) -> float:
        """The engine's seconds to TensorFlow's, which were measured together."""
        return self.seconds / self.tensorflow_seconds if self.tensorflow_seconds else 0.0

    @property
    def is_faster(self) -> bool:
        """Whether the engine took less time than TensorFlow."""
        return self.seconds < self.tensorflow_seconds


@dataclass(frozen=True)
class Request:
    """A checkpoint as it is asked for; two requests with the same key have the same network and protocol.

    Attributes:
      reproduction, module: the name of the reproduction, and the module of its network.
      checkpoint: the weights.
      settings: `key=value` settings, in order.
      changes: recipe fields that flags change.
    """

    reproduction: str
    module: str
    checkpoint: Path
    settings: tuple[str, ...]
    changes: Mapping[str, Any]

    def key(self) -> str:
        """The digest of all that the network depends on, also of the code and of TensorFlow's version."""
        what = [
            SCHEMA, self.reproduction, digest_of_weights(self.checkpoint), self.settings, sorted(self.changes.items()),
            code_digest(self.module), _tensorflow_version(),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(what).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def code_digest(module: str) -> str:
    """sha256 over the bytes of the code that an exported network depends on."""
    own = ROOT.joinpath(*module.split(".")[:-1])
    files = [ROOT / "common" / name for name in CODE_FILES]
    files += [path for name in CODE for path in sorted((ROOT / "common" / name).rglob("*.py"))]
    sha = hashlib.sha256()
    for path in (*files, *sorted(own.glob("*.py"))):
        sha.update(f"{path.relative_to(ROOT).as_posix()}\n".encode() + path.read_bytes())
    return sha.hexdigest()


def _tensorflow_version() -> str:
    for package in ("tensorflow-cpu", "tensorflow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return ""


@dataclass
class Entry:
    """An entry of the cache.

    Attributes:
      folder: where it lies.
      recipe: the whole recipe, as JSON.
      stored: the recipe that lies in the weights, if a run wrote them.
      trials: engine and precision -> the comparison with TensorFlow.
      files: name -> sha256.
    """

    folder: Path
    recipe: dict[str, Any]
    stored: dict[str, Any] | None
    files: dict[str, str]
    trials: dict[str, Trial] = field(default_factory=dict)

    def path(self, role: str) -> Path:
        """The file with this output."""
        return self.folder / FILES[role]

    def trial(self, engine: str, precision: str) -> Trial | None:
        """The trial of the engine's installed version; None where there is none."""
        found = self.trials.get(f"{engine} {precision}")
        return found if found and found.version == PROGRAMS[engine].version else None

    def agrees(self, engine: str, precision: str) -> bool:
        """Whether the installed engine was compared, and its label maps were TensorFlow's."""
        found = self.trial(engine, precision)
        return found is not None and found.agreement >= LEAST_AGREEMENT[precision]

    def save(self) -> None:
        """Write ENTRY, which makes the folder an entry."""
        content = {"schema": SCHEMA, "recipe": self.recipe, "stored": self.stored, "files": self.files}
        content |= {"trials": {name: vars(one) for name, one in self.trials.items()}}
        write_json(self.folder / ENTRY, {**content, "digest": _digest(content)})


def find(request: Request) -> Entry | None:
    """The entry of a request; None where there is none, or a damaged one."""
    if not _folders():
        return None  # no digest of large weights for nothing
    entry = read(cache_folder() / request.key())
    if entry:
        with contextlib.suppress(OSError):
            os.utime(entry.folder / ENTRY)  # those that are used stay
    return entry


def read(folder: Path) -> Entry | None:
    """The entry in a folder; None when it is none, or its files are not as they were written."""
    try:
        content = read_json(folder / ENTRY)
        if not isinstance(content, dict) or content["schema"] != SCHEMA:
            return None
        if content.pop("digest") != _digest(content):
            return None
        trials = {name: Trial(**fields) for name, fields in content["trials"].items()}
        entry = Entry(folder, dict(content["recipe"]), content["stored"], dict(content["files"]), trials)
        is_whole = {WEIGHTS, *FILES.values()} <= entry.files.keys()
        return entry if is_whole and entry.files == digests(folder, entry.files) else None
    except (UserError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Name -> sha256 of files of a folder."""
    return {name: digest_of_weights(folder / name) for name in names}


@contextlib.contextmanager
def held(key: str, quiet: bool = False) -> Iterator[Path]:
    """The folder of an entry within the block, in which no other process writes; waits for one that does, and says so.

    Raises UserError when the cache cannot be written, or the other process takes longer than PATIENCE.
    """
    folder = cache_folder() / key
    end, is_told = time.monotonic() + PATIENCE, quiet
    while True:
        check_writable(folder, TITLE.format(cache_folder()))
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(folder, BUSY, nested=True))
            except UserError:
                if time.monotonic() > end:
                    raise
                say(WAITING.format(folder), quiet=is_told)
                is_told = True
                time.sleep(0.2)
                continue
            yield folder
            return


def prune(kept: Path) -> None:
    """Remove what a killed process left, and the entries that were not used for longest, down to MOST_BYTES."""
    used: dict[Path, float] = {}
    for folder in _folders():
        with contextlib.suppress(OSError):
            used[folder] = (folder / ENTRY).stat().st_mtime if (folder / ENTRY).exists() else 0.0
    total = 0
    for folder in sorted(used, key=lambda path: (path == kept, used[path]), reverse=True):
        with contextlib.suppress(OSError, UserError):
            total += sum(file.stat().st_size for file in folder.iterdir())
            if folder != kept and (total > MOST_BYTES or not used[folder]):
                with locked(folder, BUSY):
                    shutil.rmtree(folder, ignore_errors=True)


def _folders() -> list[Path]:
    """The folders of entries, whole or not."""
    try:
        return [path for path in cache_folder().iterdir() if re.fullmatch(r"[0-9a-f]{32}", path.name)]
    except OSError:
        return []


class CachedNetwork:
    """A checkpoint whose network lies in the cache; it takes the place of `Weights`, which TensorFlow would open.

    Attributes:
      path: the checkpoint.
      settings: with which it was asked for.
      entry: the cache's.
      shapes, is_keras: as of `Weights`; nothing reads its variables.
    """

    shapes: Mapping[str, tuple[int, ...]] = {}
    is_keras = False

    def __init__(self, request: Request, entry: Entry):
        self.path, self.settings, self.entry = request.checkpoint, request.settings, entry

    def digest(self) -> str:
        """sha256 of the checkpoint."""
        return digest_of_weights(self.path)

    def recipe(self) -> dict[str, Any] | None:
        """The recipe that a run stored with the weights."""
        return self.entry.stored


def place_of(checkpoint: str | Path) -> Path:
    """The checkpoint that a person means, found without opening it. Raises UserError as `Weights` does."""
    path = Path(checkpoint)
    return path if path.suffix in (".npz", ".h5", ".hdf5") else find_checkpoint(path)
