"""A network in a file of another program, given as `--checkpoint`: a frozen graph, a SavedModel, ONNX, or TFLite."""

import functools
import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from common.engines.interface import CLASSES, NODES, RECIPE, Engine, EngineError, Roles, find_roles
from common.engines.programs import PROGRAMS
from common.errors import UserError
from common.files import read_json
from common.recipe.recipe import STRIDE_UNTOLD, Recipe
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
# What a file that takes uint8 does itself.
PREPROCESSING = frozenset(("channel_order", "pixel_mean", "pixel_scale"))


def format_of(path: Path) -> str | None:
    """The format of a network's file, or of a SavedModel's folder, by its name; None for weights."""
    if (path / SAVED_MODEL).is_file():
        return "savedmodel"
    return ENDINGS.get(path.suffix.lower()) if not path.is_dir() else None


def open_weights(path: str | Path, flags: Collection[str] = ()) -> "Weights | NetworkFile":
    """Open what `--checkpoint` names: weights, or a network's file. Raises UserError when it is neither.

    `flags` are the recipe's fields that flags of their own gave, as of `NetworkFile`.
    """
    path = Path(path)
    if path.name == SAVED_MODEL and path.is_file():
        path = path.parent
    return NetworkFile(path, flags) if format_of(path) else Weights(path)


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

    def __init__(self, path: Path, flags: Collection[str] = ()):
        """Find the file; messages name `flags`, fields of the recipe, as flags: `--engine openvino`."""
        self.path, self.format, self._flags = path, format_of(path), flags
        self._engine: tuple[tuple[str, str], Engine] | None = None
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
        return (engine := self._loaded(recipe)), find_roles(engine, named, str(self.path))

    def _loaded(self, recipe: Recipe) -> Engine:
        key = recipe.engine, recipe.precision
        if self._engine is None or self._engine[0] != key:
            self._check_engine(recipe)
            self.close()
            self._engine = key, self._open(recipe)
        return self._engine[1]

    def _given(self, name: str, value: str) -> str:
        """The words in which a person gave this field."""
        return f"--{name} {value}" if name in self._flags else f"{name}={value}"

    def _check_engine(self, recipe: Recipe) -> None:
        title = OPENERS[self.format][1]
        if recipe.engine not in ENGINES.get(self.format, ("tensorflow",)):
            raise UserError(
                f"{self._given('engine', recipe.engine)}: {self.path} is {title}, which has a program of its own; "
                f"leave this out"
            )
        is_as_made = self.format == "tflite" or (self.format == "onnx" and recipe.engine != "openvino")
        if recipe.precision != "fp32" and is_as_made:
            raise UserError(
                f"{self._given('precision', recipe.precision)}: {self.path} is {title} that computes as it was made; "
                f"leave this out"
            )

    def _open(self, recipe: Recipe) -> Engine:
        opener, title = OPENERS[self.format]
        try:
            return opener(self.path, recipe)
        except EngineError as error:
            raise UserError(
                f"{self.path}: cannot be loaded as {title} ({error}); give another file, or fetch or export it again"
            ) from None

    def fields(self, recipe: Recipe) -> dict[str, Any]:
        """The recipe fields that the file settles: classes, its stride where it tells it, its size where that is fixed.

        A file of another program is evaluated once a picture, at the picture's own size, unless `--set` says more.
        """
        return self._fields(recipe, *self.load(recipe))

    def _fields(self, recipe: Recipe, engine: Engine, roles: Roles) -> dict[str, Any]:
        of = f" of {engine.number_type}" if engine.number_type else ""
        fields: dict[str, Any] = {"network_file": f"{self._kind}{of}; {roles.describe()}"}
        classes = roles.classes or len(engine.metadata.get(CLASSES, "").splitlines())
        if classes:
            fields |= {"num_classes": classes}
        if self.recipe() is not None:
            return fields
        fields |= {"eval_scales": (1.0,), "eval_flip": False, "crf": False, "picture_interpolation": "bilinear"}
        if roles.size or roles.is_whole:
            fields |= {"resize_range": (), "eval_size": "native"}
        if roles.size and roles.size[0] == roles.size[1]:
            fields |= {"eval_size": roles.size[0]}
        if roles.stride and hasattr(recipe, "eval_output_stride"):
            fields |= {"eval_output_stride": roles.stride}
        return fields

    def settled(self, recipe: Recipe, said: Collection[str]) -> Recipe:
        """The recipe, with what the file does not tell named as such.

        Args:
          recipe: of `fields`, and then of a person's settings.
          said: the names of those settings.

        Raises UserError for settings that a file can't follow.
        """
        engine, roles = self.load(recipe)
        fixed = self._fields(recipe, engine, roles)
        kept = ["network_file", *(["num_classes"] if roles.classes else [])]
        kept += ["eval_output_stride"] if "eval_output_stride" in fixed else []
        for name in kept:
            if getattr(recipe, name) != fixed[name]:
                raise UserError(f"{name}={getattr(recipe, name)}: is {fixed[name]} in {self.path}; leave it out")
        if self.recipe() is not None:
            return recipe
        if roles.takes_pixels and (useless := PREPROCESSING.intersection(said)):
            raise UserError(
                f"{' and '.join(sorted(useless))}: {self.path} takes pixels and preprocesses them itself; leave it out "
                f"(padding_pixel=R,G,B is the colour around a picture)"
            )
        if recipe.picture_interpolation != "bilinear":
            raise UserError(
                f"picture_interpolation={recipe.picture_interpolation}: pictures for a network's file are resized "
                f"bilinearly; leave it out"
            )
        is_told = not hasattr(recipe, "eval_output_stride") or roles.stride or "eval_output_stride" in said
        return recipe if is_told else recipe.derive(network_file=f"{recipe.network_file}; {STRIDE_UNTOLD}")

    @functools.cached_property
    def _recipe(self) -> dict[str, Any] | None:
        stored = self._exported().get(RECIPE)
        if stored is None and self.format == "onnx":
            text = self._loaded(Recipe(variant="file")).metadata.get(RECIPE)
            try:
                stored = json.loads(text) if text else None
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
        if self._engine:
            self._engine[1].close()
        self._engine = None


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
