"""Weights in and out: strict restore from every accepted format, atomic saves.

Accepted are a TensorFlow checkpoint prefix (V2), a V1 file, an `.npz` keyed by the original program's
variable names and, for reproductions that know Keras' names, a Keras `.h5`.
Restore is strict both ways; what is left out must be named.
"""

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

import numpy as np

from common import plateau
from common.array_pickle import is_pickle, read_array_pickle
from common.errors import UserError, one_line
from common.keras_h5 import Layers, read_h5
from common.optimisation import ACCUMULATOR
from common.recipe import Recipe
from common.tf1 import tf

RECIPE_KEY = "recipe_json"  # string variable of our checkpoints: the recipe
PREFIX = "model.ckpt"
BEST = "best.ckpt"  # the one that validation found best, beside the newest ones

# What training programs keep beside the weights; neither missing nor extra when weights are read.
# `Variable_3` is the original's name for its gradient accumulators.
TRAINING_STATE = (
    r"(^|/)(global_step|Momentum|Adam|Adam_1|beta[12]_power(_\d+)?|mean_rgb)$",
    rf"/{ACCUMULATOR}$",
    rf"^{plateau.SCOPE}/",
    r"^Variable(_\d+)?$",
    rf"^{RECIPE_KEY}$",
)


class Weights:
    """A weight file, opened: names and shapes at once, values when asked for.

    Attributes:
      path: the file, or the checkpoint's prefix.
      shapes: by name.
      is_keras: whether the names are a Keras file's, `layer/variable`.
      left_over: regular expression of entries that a network may leave unused.

    Raises UserError when the file is missing, of no accepted format, or broken.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.is_keras, self.left_over = self.path.suffix in (".h5", ".hdf5"), ""
        if self.is_keras:
            self._open_keras()
        elif self.path.suffix == ".npz":
            self._open_npz()
        elif is_pickle(self.path):
            self._open_pickle()
        else:
            self._open_checkpoint()

    def _open_pickle(self):
        values = read_array_pickle(self.path)
        self.shapes = {name: value.shape for name, value in values.items()}
        self._value = values.__getitem__

    @classmethod
    def of_keras(cls, path: Path, layers: Layers) -> Self:
        """The layers of a Keras file of any format, read already."""
        weights = cls.__new__(cls)
        weights.path, weights.is_keras, weights.left_over = path, True, ""
        weights._take_layers(layers)
        return weights

    def _open_keras(self):
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such weight file")
        try:
            layers = read_h5(self.path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path}: cannot be read as Keras weights ({error}); fetch or write it again"
            ) from None
        self._take_layers(layers)

    def _take_layers(self, layers: Layers) -> None:
        values = {f"{layer}/{name}": value for layer, arrays in layers.items() for name, value in arrays.items()}
        if not values:
            raise UserError(f"{self.path}: holds no layer with weights")
        self.shapes = {name: value.shape for name, value in values.items()}
        self._value = values.__getitem__

    def rename(self, names: Mapping[str, str], left_over: str) -> None:
        """Call the entries of a Keras file as the network does: `names` are new -> old; others keep theirs."""
        old = {name: name for name in self.shapes.keys() - set(names.values())} | dict(names)
        shapes, value = self.shapes, self._value
        self.shapes = {name: shapes[was] for name, was in old.items()}
        self._value = lambda name: value(old[name])
        self.is_keras, self.left_over = False, left_over

    def _open_npz(self):
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such weight file")
        try:
            archive = np.load(self.path, allow_pickle=False)
            self.shapes = {name: _npy_shape(archive, name) for name in archive.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{self.path}: is not a readable .npz file ({error}); fetch or write it again") from None
        self._value = archive.__getitem__

    def _open_checkpoint(self):
        text = str(self.path)
        for ending in (".index", ".meta"):  # people paste what the file manager shows
            text = text.removesuffix(ending)
        self.path = Path(re.sub(r"\.data-\d{5}-of-\d{5}$", "", text))
        if not self.path.is_file() and not self.path.with_name(self.path.name + ".index").is_file():
            hint = ""
            if self.path.is_dir():
                newest = newest_checkpoint(self.path)
                hint = f"; did you mean {newest}?" if newest else "; it is a folder without checkpoints"
            raise UserError(f"{self.path}: no such weights (a checkpoint prefix, a V1 file, an .npz or .h5){hint}")
        try:
            reader = tf.train.NewCheckpointReader(str(self.path))
            self.shapes = {n: tuple(s) for n, s in reader.get_variable_to_shape_map().items()}
        except Exception as error:  # the reader raises bare RuntimeErrors and OpErrors
            raise UserError(f"{self.path}: is not a readable TensorFlow checkpoint ({one_line(error)})") from None
        self._value = reader.get_tensor

    def value(self, name: str) -> np.ndarray:
        """One tensor. Raises UserError when its bytes are broken."""
        try:
            return self._value(name)
        except Exception as error:  # zlib, zip, numpy and TensorFlow each have their own
            raise UserError(f"{self.path}: '{name}' cannot be read ({one_line(error)}); the file is damaged") from None

    def recipe(self) -> dict | None:
        """The recipe stored with the weights, if a run of this suite wrote them."""
        if RECIPE_KEY not in self.shapes:
            return None
        stored = self.value(RECIPE_KEY)
        stored = stored.item() if isinstance(stored, np.ndarray) else stored
        try:
            return dict(json.loads(stored))
        except (TypeError, ValueError):
            raise UserError(f"{self.path}: holds a recipe that is not JSON; remove {RECIPE_KEY} from it") from None

    def names(self) -> set[str]:
        """The names of the weights proper, without training state."""
        return {n for n in self.shapes if not _matches(n, TRAINING_STATE)}

    def digest(self) -> str:
        """sha256 over the file, or over the checkpoint's index and data files in name order."""
        files = [self.path]
        if not self.path.is_file():
            files = sorted(self.path.parent.glob(f"{_glob_escape(self.path.name)}.index"))
            files += sorted(self.path.parent.glob(f"{_glob_escape(self.path.name)}.data-*"))
        sha = hashlib.sha256()
        for file in files:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    sha.update(block)
        return sha.hexdigest()


def restore(
    session: tf.Session,
    weights: Weights,
    variables: Iterable[tf.Variable],
    not_loaded: Iterable[str] = (),
    training_state: bool = False,
) -> int:
    """Assign every variable its value from `weights`, strictly both ways.

    Args:
      session: where the variables live.
      weights: the file.
      variables: all variables that must be filled.
      not_loaded: regular expressions; variables and file entries they match are left alone.
      training_state: whether optimiser slots and the step take part (`--resume`).

    Returns:
      How many variables were restored.

    Raises:
      UserError: listing every missing, extra and misshapen variable.
    """
    left_alone = [*not_loaded, *([rf"^{RECIPE_KEY}$"] if training_state else TRAINING_STATE)]
    wanted = {v.op.name: v for v in variables if not _matches(v.op.name, left_alone)}
    given = {n: s for n, s in weights.shapes.items() if not _matches(n, left_alone)}
    if weights.left_over:
        given = {n: s for n, s in given.items() if n in wanted or not re.search(weights.left_over, n)}
    shapes = {n: tuple(v.shape.as_list()) for n, v in wanted.items()}
    if difference := describe_difference(shapes, given):
        hint = "; if Keras opens the file, save it there again: older ones have other names" * bool(weights.left_over)
        raise UserError(f"{weights.path}: does not fit this network: {difference}{hint}")
    # Feeding the initialisers' inputs assigns without adding ops or a second copy of the graph.
    values = {v.initializer.inputs[1]: weights.value(n) for n, v in wanted.items()}
    session.run([v.initializer for v in wanted.values()], values)
    return len(wanted)


def recipe_text(recipe: Recipe) -> str:
    """What our checkpoints store as RECIPE_KEY; `Weights.recipe` reads it."""
    return json.dumps(recipe.to_json())


def describe_difference(wanted: Mapping[str, tuple], given: Mapping[str, tuple]) -> str:
    """What is missing, extra and misshapen in `given`, all of it; empty when nothing is."""
    missing = sorted(wanted.keys() - given.keys())
    extra = sorted(given.keys() - wanted.keys())
    misshapen = [
        f"{n} ({_shape(given[n])} in the file, {_shape(wanted[n])} in the network)"
        for n in sorted(wanted.keys() & given.keys())
        if tuple(wanted[n]) != tuple(given[n])
    ]
    parts = (("missing in the file", missing), ("extra in the file", extra), ("of another shape", misshapen))
    return "; ".join(f"{len(names)} {what}: {', '.join(names)}" for what, names in parts if names)


def save(session: tf.Session, saver: tf.train.Saver, run_dir: Path, step: int, keep: int, name: str = PREFIX) -> Path:
    """Write `run_dir/<name>-<step>` atomically and drop the oldest of that name beyond `keep` (0 keeps all).

    Raises UserError when it can't be written; the earlier checkpoints stay.
    """
    prefix = run_dir / f"{name}-{step}"
    hint = f"; free space and go on with --resume from {newest_checkpoint(run_dir) or 'the start'}"
    with _published(prefix, hint) as temporary:
        saver.save(session, str(temporary), write_meta_graph=False, write_state=False)
    for old in [c for c in checkpoints(run_dir, name) if c != prefix][: -keep + 1 or None] if keep else []:
        delete(old)
    return prefix


def write(prefix: Path, values: Mapping[str, np.ndarray], recipe: Recipe | None = None) -> None:
    """Write arrays by variable name, with the recipe they belong to if there is one, as a V2 checkpoint, atomically.

    Raises UserError when that fails.
    """
    if recipe:
        values = {**values, RECIPE_KEY: np.array(recipe_text(recipe), object)}
    with _published(prefix, "; free space or choose another folder") as temporary, tf.Graph().as_default():
        fed = {
            tf.placeholder(tf.as_dtype(v.dtype) if v.dtype != object else tf.string, v.shape): v
            for v in values.values()
        }
        saved = tf.raw_ops.SaveV2(
            prefix=str(temporary), tensor_names=list(values), shape_and_slices=[""] * len(values), tensors=list(fed)
        )
        with tf.Session() as session:
            session.run(saved, fed)


@contextlib.contextmanager
def _published(prefix: Path, hint: str) -> Iterator[Path]:
    """A prefix in a temporary folder, whose files become `prefix` when the block succeeds.

    The index, without which there is no checkpoint, is renamed last.
    """
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".saving-", dir=prefix.parent))
    except OSError as error:
        raise UserError(f"{prefix.parent}: cannot be written ({error.strerror})") from None
    try:
        yield temporary / prefix.name
        for file in sorted(temporary.iterdir(), key=lambda f: f.suffix == ".index"):
            file.replace(prefix.parent / file.name)
    except (tf.errors.OpError, OSError) as error:
        raise UserError(f"{prefix}: the checkpoint could not be written ({one_line(error)}){hint}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def delete(prefix: Path) -> None:
    """Remove a checkpoint's files, the index first: without it the rest is no checkpoint."""
    for file in [prefix.with_name(prefix.name + ".index"), *prefix.parent.glob(f"{prefix.name}.data-*")]:
        file.unlink(missing_ok=True)


def checkpoints(run_dir: Path, name: str = PREFIX) -> list[Path]:
    """The prefixes of the complete checkpoints of that name in a run folder, oldest step first."""
    found = [p.with_suffix("") for p in run_dir.glob(f"{name}-*.index")]
    return sorted((p for p in found if step_of(p) is not None), key=step_of)


def newest_checkpoint(run_dir: Path) -> Path | None:
    """The prefix with the highest step, or None."""
    return next(reversed(checkpoints(run_dir)), None)


def step_of(prefix: Path) -> int | None:
    """The step in a prefix `model.ckpt-<step>` or `best.ckpt-<step>`."""
    match = re.fullmatch(rf"(?:{re.escape(PREFIX)}|{re.escape(BEST)})-(\d+)", prefix.name)
    return int(match[1]) if match else None


def _npy_shape(archive: np.lib.npyio.NpzFile, name: str) -> tuple[int, ...]:
    with archive.zip.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(stream)[0]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(re.search(p, name) for p in patterns)


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _glob_escape(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)
