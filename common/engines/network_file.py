"""A network in a file of another program, given as `--checkpoint`: a frozen graph, a SavedModel, ONNX, or TFLite."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.engines.interface import CLASSES, NODES, RECIPE, Engine, EngineError, Roles, find_roles
from common.engines.programs import PROGRAMS
from common.errors import UserError
from common.files import read_json
from common.recipe.recipe import Recipe
from common.weights.weights import Weights

SUMMARY = "export.json"  # beside exported files: tells their recipes
SAVED_MODEL = "saved_model.pb"  # in a SavedModel's folder


def _frozen(path: Path, recipe: Recipe) -> Engine:
    from common.engines.tensorflow_graph import open_frozen

    return open_frozen(path, recipe.precision)


def _saved_model(path: Path, recipe: Recipe) -> Engine:
    from common.engines.tensorflow_graph import open_saved_model

    return open_saved_model(path, recipe.precision)


def _onnx(path: Path, recipe: Recipe) -> Engine:
    from common.engines.onnx_model import OnnxEngine

    name = "onnxruntime" if recipe.engine == "tensorflow" else recipe.engine
    PROGRAMS[name].check(recipe.precision)
    return OnnxEngine(path, PROGRAMS[name], recipe.precision)


def _tflite(path: Path, recipe: Recipe) -> Engine:
    from common.engines.tensorflow_lite import TensorFlowLite

    return TensorFlowLite(path)


# Format -> what opens it, and its name in messages and protocols.
OPENERS: dict[str, tuple[Callable[[Path, Recipe], Engine], str]] = {
    "frozen": (_frozen, "a frozen graph"),
    "savedmodel": (_saved_model, "a SavedModel"),
    "onnx": (_onnx, "an ONNX file"),
    "tflite": (_tflite, "a TFLite file"),
}
ENDINGS = {".pb": "frozen", ".onnx": "onnx", ".tflite": "tflite"}
# Format -> the recipe's engines that run it; `tensorflow` stands for the format's own program.
ENGINES = {"onnx": ("tensorflow", "onnxruntime", "openvino")}


def format_of(path: Path) -> str | None:
    """The format of a network's file, or of a SavedModel's folder, by its name; None for weights."""
    if (path / SAVED_MODEL).is_file():
        return "savedmodel"
    return ENDINGS.get(path.suffix.lower()) if not path.is_dir() else None


def open_weights(path: str | Path) -> "Weights | NetworkFile":
    """Open what `--checkpoint` names: weights, or a network's file. Raises UserError when it is neither."""
    path = Path(path)
    if path.name == SAVED_MODEL and path.is_file():
        path = path.parent
    return NetworkFile(path) if format_of(path) else Weights(path)


class NetworkFile:
    """A network's file: it runs as it is, and has no variables to restore.

    Attributes:
      path: the file, or the SavedModel's folder.
      format: a key of OPENERS.
      shapes, is_keras: as of `Weights`, whose place it takes; it has no variables.

    Raises UserError when the file isn't there; it is opened when something is first asked of it.
    """

    shapes: Mapping[str, tuple[int, ...]] = {}
    is_keras = False

    def __init__(self, path: Path):
        self.path, self.format = path, format_of(path)
        self._opened: dict[tuple[str, ...], tuple[Engine, Roles]] = {}
        if not path.exists():
            raise UserError(f"{path}: no such {self._kind}")

    @property
    def _kind(self) -> str:
        return OPENERS[self.format][1].partition(" ")[2]

    def load(self, recipe: Recipe) -> tuple[Engine, Roles]:
        """Load the file into the recipe's engine, once, and find what its inputs and outputs mean.

        Raises UserError when it can't be loaded, for nodes that it doesn't have, and for an engine or a precision that
        can't run this format.
        """
        named = {role: getattr(recipe, field) for role, field in NODES.items()}
        key = (recipe.engine, recipe.precision, *named.values())
        if key not in self._opened:
            self._check_engine(recipe)
            engine = self._load(recipe)
            self._opened = {key: (engine, find_roles(engine, named, str(self.path)))}
        return self._opened[key]

    def _check_engine(self, recipe: Recipe) -> None:
        opener, title = OPENERS[self.format]
        if recipe.engine not in ENGINES.get(self.format, ("tensorflow",)):
            raise UserError(
                f"engine={recipe.engine}: {self.path} is {title}, which has a program of its own; leave this out"
            )
        if recipe.precision != "fp32" and (self.format == "tflite" or self.format == "onnx" != recipe.engine):
            raise UserError(f"precision={recipe.precision}: {self.path} is {title} that computes as it was made; "
                            f"leave this out")  # fmt: skip

    def _load(self, recipe: Recipe) -> Engine:
        opener, title = OPENERS[self.format]
        try:
            return opener(self.path, recipe)
        except EngineError as error:
            raise UserError(
                f"{self.path}: cannot be loaded as {title} ({error}); give another file, or fetch or export it again"
            ) from None

    def fields(self, recipe: Recipe) -> dict[str, Any]:
        """The recipe fields that the file settles: classes, and its size where that is fixed.

        A file of another program is evaluated once a picture, at the picture's own size, unless `--set` says more.
        """
        engine, roles = self.load(recipe)
        of = f" of {engine.number_type}" if engine.number_type else ""
        fields: dict[str, Any] = {"network_file": f"{self._kind}{of}; {roles.describe()}"}
        classes = roles.classes or len(engine.metadata.get(CLASSES, "").splitlines())
        if classes:
            fields |= {"num_classes": classes}
        if self.recipe() is not None:
            return fields
        fields |= {"eval_scales": (1.0,), "eval_flip": False, "crf": False}
        if roles.size or roles.is_whole:
            fields |= {"resize_range": (), "eval_size": "native"}
        if roles.size and roles.size[0] == roles.size[1]:
            fields |= {"eval_size": roles.size[0]}
        return fields

    @functools.cached_property
    def _recipe(self) -> dict[str, Any] | None:
        engine, _ = self.load(Recipe(variant="file"))
        text = engine.metadata.get(RECIPE)
        try:
            stored = json.loads(text) if text else self._exported().get(RECIPE)
        except (ValueError, RecursionError):
            raise UserError(f"{self.path}: its recipe, in its metadata, is not JSON; export it again") from None
        return stored if isinstance(stored, dict) else None

    def recipe(self) -> dict[str, Any] | None:
        """The recipe of a file that this suite exported: it holds it, or the summary beside it does."""
        return self._recipe

    def _exported(self) -> Mapping[str, Any]:
        """The summary's entry of this file, if the file is as it was written."""
        try:
            entries = (read_json(self.path.parent / SUMMARY) or {}).get("exports")
            entry = entries[self.format]
            return entry if entry["sha256"] == digest(self.path) else {}
        except (UserError, AttributeError, KeyError, TypeError):
            return {}

    def digest(self) -> str:
        """sha256 over the file, or over all files of a SavedModel's folder."""
        return digest(self.path)

    def close(self) -> None:
        """Free the engine's memory."""
        for engine, _ in self._opened.values():
            engine.close()
        self._opened = {}


def files_of(path: Path) -> list[Path]:
    """The file, or all files of the folder, in a fixed order."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def digest(path: Path) -> str:
    """The sha256 of a file, or of the names and digests of all files of a folder. Empty when it can't be read."""
    try:
        if not path.is_dir():
            return _sha256(path)
        lines = [f"{_sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files_of(path)]
    except OSError:
        return ""
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
