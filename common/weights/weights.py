"""A weight file of any accepted format, opened: names and shapes at once, values when asked for.

Accepted formats are a TensorFlow checkpoint prefix (V2), a V1 file, an `.npz` keyed by the original program's
variable names and, for reproductions that know Keras' names, a Keras `.h5`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from common.console import stage
from common.errors import UserError, brief, one_line, plain_reason
from common.weights.array_pickle import is_pickle, read_array_pickle
from common.weights.checkpoint_files import digest, find_checkpoint, plain_prefix, why_no_checkpoint
from common.weights.npz import open_npz

if TYPE_CHECKING:
    from common.weights.keras_h5 import Layers

RECIPE_KEY = "recipe_json"  # string variable of our checkpoints: the recipe


ACCUMULATOR = "accumulated_gradient"  # ends the names of the sums that an update gathers over several batches
PLATEAU = "plateau"  # scope of the plateau schedule's state
AVERAGE = "ExponentialMovingAverage"  # ends the names of averages over the last steps, which slim keeps

# What training programs keep beside the weights; neither missing nor extra when weights are read.
# `Variable_3` is the original's name for its gradient accumulators.
TRAINING_STATE = (
    r"(^|/)(global_step|beta[12]_power(_\d+)?|mean_rgb)$",
    r"/(Momentum|Adam(_1)?|RMSProp(_[12])?|Adagrad|Adadelta(_1)?|Ftrl(_1)?)$",  # slots of optimisers
    rf"/{AVERAGE}$",
    rf"/{ACCUMULATOR}$",
    rf"^{PLATEAU}/",
    r"^Variable(_\d+)?$",
    rf"^{RECIPE_KEY}$",
)


class Weights:
    """A weight file, opened: names and shapes at once, values when asked for.

    Attributes:
      path: the file, or the checkpoint's prefix.
      shapes: the shape of each entry by name.
      is_keras: whether the names are a Keras file's, `layer/variable`.
      left_over: regular expression of entries that a network may leave unused.

    Raises UserError when the file is missing, broken, or of another format.
    """

    _types: Mapping[str, np.dtype] = {}  # of entries that can't be read for their type, as V1 files' complex ones

    def __init__(self, path: str | Path):
        stage("opening the weights")
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
    def of_keras(cls, path: Path, layers: "Layers") -> Self:
        """The weights of a Keras file whose `layers` were already read."""
        weights = cls.__new__(cls)
        weights.path, weights.is_keras, weights.left_over = path, True, ""
        weights._take_layers(layers)
        return weights

    def _open_keras(self):
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such weight file")
        from common.weights.keras_h5 import read_h5  # with h5py, which other formats do without

        try:
            layers = read_h5(self.path)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path}: cannot be read as Keras weights ({plain_reason(error)}); fetch or write it again"
            ) from None
        self._take_layers(layers)

    def _take_layers(self, layers: "Layers") -> None:
        values = {f"{layer}/{name}": value for layer, arrays in layers.items() for name, value in arrays.items()}
        if not values:
            raise UserError(f"{self.path}: holds no layer with weights")
        self.shapes = {name: value.shape for name, value in values.items()}
        self._value = values.__getitem__

    def rename(self, names: Mapping[str, str], left_over: str) -> None:
        """Rename the entries of a Keras file: `names` maps the network's name -> the file's; others keep theirs."""
        old = {name: name for name in self.shapes.keys() - set(names.values())} | dict(names)
        shapes, value = self.shapes, self._value
        self.shapes = {name: shapes[was] for name, was in old.items()}
        self._value = lambda name: value(old[name])
        self.is_keras, self.left_over = False, left_over

    def _open_npz(self):
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such weight file")
        try:
            archive, self.shapes = open_npz(self.path)
        except (OSError, ValueError) as error:
            reason = brief(str(error))
            raise UserError(f"{self.path}: is not a readable .npz file ({reason}); fetch or write it again") from None
        self._value = archive.__getitem__

    def _open_checkpoint(self):
        self.path = find_checkpoint(self.path)
        if reason := why_no_checkpoint(self.path):
            raise UserError(f"{self.path}: is not a readable TensorFlow checkpoint ({reason}); give another file")
        from common.tf1 import tf  # a file that is not there is refused without it

        try:
            plain, self._links = plain_prefix(self.path)
            reader = tf.train.NewCheckpointReader(str(plain))
            self.shapes = {n: tuple(s) for n, s in reader.get_variable_to_shape_map().items()}
            self._types = {n: np.dtype(t.as_numpy_dtype) for n, t in reader.get_variable_to_dtype_map().items()}
        except Exception as error:  # the reader raises bare RuntimeErrors and OpErrors
            raise UserError(f"{self.path}: is not a readable TensorFlow checkpoint ({one_line(error)})") from None
        self._value = reader.get_tensor

    def value(self, name: str) -> np.ndarray:
        """The tensor called `name`. Raises UserError when its bytes are broken."""
        try:
            return self._value(name)
        except Exception as error:  # zlib, zip, numpy and TensorFlow each have their own
            reason = one_line(error)
            then = "write it again as a V2 checkpoint" if "not supported" in reason else "the file is damaged"
            raise UserError(f"{self.path}: '{name}' cannot be read ({reason}); {then}") from None

    def real_value(self, name: str, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """The tensor called `name` as `dtype`. Raises UserError as `value` and `real_array` do."""
        if name in self._types:
            _refuse_kind(self.path, name, self._types[name])
        return real_array(self.path, name, self.value(name), dtype)

    def recipe(self) -> dict | None:
        """The recipe stored with the weights, if a run of this suite wrote them."""
        if RECIPE_KEY not in self.shapes:
            return None
        stored = self.value(RECIPE_KEY)
        try:
            return dict(json.loads(stored.item() if isinstance(stored, np.ndarray) else stored))
        except (TypeError, ValueError, RecursionError):
            raise UserError(
                f"{self.path}: its recipe, {RECIPE_KEY}, is not JSON; the file is damaged: take another checkpoint, or "
                f"fetch it again"
            ) from None

    def averages(self) -> dict[str, str]:
        """Variable -> the name of its moving average, for the averages that the file holds."""
        names = {name.removesuffix(f"/{AVERAGE}"): name for name in self.shapes if name.endswith(f"/{AVERAGE}")}
        return {name: average for name, average in names.items() if name in self.shapes}

    def take_averages(self) -> int:
        """Replace each variable by its moving average, if the file holds one; returns how many were replaced.

        Slim evaluates its ImageNet networks with the averages. Without this call a variable has its own value, from
        which research/deeplab starts.
        """
        averages, value = self.averages(), self._value
        self.shapes |= {n: self.shapes[average] for n, average in averages.items()}
        self._value = lambda name: value(averages.get(name, name))
        return len(averages)

    def names(self) -> set[str]:
        """The names of the weights proper, without training state."""
        return {n for n in self.shapes if not _matches(n, TRAINING_STATE)}

    def digest(self) -> str:
        """sha256 over the file, or over the checkpoint's index and data files in name order."""
        return digest(self.path)


def real_array(source: str | Path, name: str, value: object, dtype: np.dtype | type = np.float32) -> np.ndarray:
    """`value` as an array of `dtype`, when all of it is real and finite, also in `dtype`.

    Raises UserError that names `source` and the variable: a network with other numbers still gives scores, and they
    would be recorded.
    """
    array = np.asarray(value)
    if _is_narrow_float(array.dtype):
        array = array.astype(np.float32)
    _refuse_kind(source, name, array.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype, copy=False)
    if bad := max(array.size - int(np.isfinite(a).sum()) for a in (array, cast)):
        raise UserError(f"{source}: '{name}' holds values that are not finite ({bad} of {array.size}); its training "
                        f"diverged or the file is damaged: take an earlier checkpoint, or fetch it again")  # fmt: skip
    return cast


def _refuse_kind(source: str | Path, name: str, dtype: np.dtype) -> None:
    """Raise UserError unless `dtype` is of real numbers."""
    if dtype.kind not in "fiu" and not _is_narrow_float(dtype):
        kinds = {"c": "complex numbers", "b": "true and false"}
        raise UserError(f"{source}: '{name}' holds {kinds.get(dtype.kind, 'text or objects')}, not real numbers; "
                        f"these are no weights of this network")  # fmt: skip


def _is_narrow_float(dtype: np.dtype) -> bool:
    """Whether it is bfloat16 or a float of 8 bits, for which numpy has no kind."""
    return dtype.kind == "V" and dtype.name.startswith(("bfloat", "float"))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(re.search(p, name) for p in patterns)
