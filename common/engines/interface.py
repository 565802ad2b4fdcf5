"""The interface of a network in a file: its input, its outputs and what they mean, and the engine that runs it.

The names are research/deeplab's (its export_model.py). Files of other programs may have other names: see `find_roles`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from common.errors import UserError, one_line
from common.words import some

INPUT = "ImageTensor"  # uint8 RGB [n, h, w, 3]
LABELS = "SemanticPredictions"  # int32 [n, h, w]
PROBABILITIES = "SemanticProbabilities"  # float32 [n, h, w, classes], sum 1
SCORES = "RawSemanticPredictions"  # float32 [n, h / stride, w / stride, classes], at scale 1
OUTPUTS = (LABELS, PROBABILITIES, SCORES)

CLASSES = "classes"  # the key of the metadata whose text names a class a line
RECIPE = "recipe"  # the key of the metadata whose text is the recipe, as JSON
Size = tuple[int, int]  # of pictures: height, width


class EngineError(RuntimeError):
    """An engine cannot load a file, or cannot run it on a picture; the text is the engine's reason."""


@contextmanager
def engine_errors() -> Iterator[None]:
    """Raise EngineError for whatever an engine raises: each has classes of its own."""
    try:
        yield
    except (UserError, EngineError, MemoryError):
        raise
    except Exception as error:
        raise EngineError(one_line(error)) from error


@dataclass(frozen=True)
class Port:
    """An input or an output of a network's file.

    Attributes:
      name: what the file calls it.
      dtype: of its values.
      shape: with None for sides of any length.
      scale, zero: of quantised values: the real one is scale * (value - zero). Scale 0: they are not quantised.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...]
    scale: float = 0.0
    zero: int = 0

    @property
    def is_integer(self) -> bool:
        return self.dtype.kind in "iu"

    def to_real(self, values: np.ndarray) -> np.ndarray:
        """The float32 numbers that values of this port mean."""
        values = values.astype(np.float32)
        return (values - self.zero) * np.float32(self.scale) if self.scale else values

    def of_picture(self, values: np.ndarray) -> np.ndarray:
        """The values of this port for pixels 0..255, where it takes uint8, or for preprocessed ones."""
        if not self.is_integer:
            return values.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        is_quantised = self.scale and self.dtype != np.uint8
        steps = np.rint(values / self.scale) + self.zero if is_quantised else np.rint(values)
        return np.clip(steps, limits.min, limits.max).astype(self.dtype)


class Engine:
    """A program that has loaded a network's file and runs it.

    Attributes:
      inputs, outputs: of the file.
      metadata: texts that the file holds.
      title: what messages call the program.
      number_type: what the file's values are, in words, where they are not float32.
      needs_all_inputs: whether the file can't be run without one of its inputs.
    """

    title = ""
    number_type = ""
    needs_all_inputs = True
    inputs: Sequence[Port] = ()
    outputs: Sequence[Port] = ()
    metadata: Mapping[str, str] = {}

    def port(self, name: str) -> Port | None:
        """The input or output of that name."""
        return next((port for port in (*self.inputs, *self.outputs) if port.name == name), None)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The values of the outputs. Raises EngineError when the file can't be run on these inputs."""
        raise NotImplementedError

    def close(self) -> None:
        """Free its memory."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Roles:
    """Which input of a file takes the picture, and what its outputs mean.

    Attributes:
      picture: the input.
      channels_first: whether the file's arrays are [n, channels, h, w].
      outputs: LABELS, PROBABILITIES or SCORES -> the port; at least one.
    """

    picture: Port
    channels_first: bool
    outputs: Mapping[str, Port] = field(default_factory=dict)

    def has_channels_first(self, port: Port) -> bool:
        """Whether an output of four axes is [n, channels, h, w]: as the picture, unless its shape says otherwise."""
        return self.channels_first and not (port.shape[1:2] == (None,) and port.shape[3:] not in ((None,), ()))

    @property
    def size(self) -> Size | None:
        """The size of the pictures that the file takes, or None for any."""
        sides = self.picture.shape[2:4] if self.channels_first else self.picture.shape[1:3]
        return None if None in sides else (int(sides[0]), int(sides[1]))

    @property
    def takes_pixels(self) -> bool:
        """Whether the file preprocesses pictures itself: it takes uint8."""
        return self.picture.dtype == np.uint8

    @property
    def is_whole(self) -> bool:
        """Whether the file does all from a picture of any size to its label map, as exported graphs do."""
        return self.takes_pixels and self.size is None and LABELS in self.outputs

    @property
    def classes(self) -> int | None:
        """How many classes have scores; None where the file gives labels alone."""
        for role in (SCORES, PROBABILITIES):
            if role in self.outputs:
                port = self.outputs[role]
                return port.shape[1 if self.has_channels_first(port) else -1] if port.shape else None
        return None

    @property
    def stride(self) -> int | None:
        """The output stride, where the sizes of picture and scores tell it; None where they don't."""
        if self.size is None or SCORES not in self.outputs:
            return None
        port = self.outputs[SCORES]
        given, made = self.size[0], port.shape[2 if self.has_channels_first(port) else 1] if port.shape else None
        strides = [s for s in (4, 8, 16, 32) if made and -(-given // s) == made]
        return strides[0] if strides else None

    def describe(self) -> str:
        """The words of what the file fixes, for protocols: `takes pixels, 513x513; gives labels`."""
        names = {LABELS: "labels", PROBABILITIES: "probabilities", SCORES: "scores"}
        size = "any size" if self.size is None else "x".join(map(str, self.size))
        quantised = f" in {self.picture.dtype}" if self.picture.is_integer and not self.takes_pixels else ""
        takes = "pixels" if self.takes_pixels else "preprocessed pictures"
        return f"takes {takes}{quantised}, {size}; gives {', '.join(names[role] for role in self.outputs)}"


def find_roles(engine: Engine, named: Mapping[str, str], source: str) -> Roles:
    """Tell what the inputs and outputs of a file mean: by the names that the caller gives, by ours, or by their shapes.

    Args:
      engine: has loaded the file.
      named: INPUT, LABELS, PROBABILITIES or SCORES -> the file's name for it, where the caller says so.
      source: begins messages: the file.

    Raises UserError that lists the file's names when they can't be told apart, or a given one isn't there.
    """
    picture = _named(engine, named, INPUT, source) or _picture(engine, source)
    if engine.needs_all_inputs and len(engine.inputs) > 1:
        raise UserError(
            f"{source}: takes more than a picture ({_list(engine.inputs)}), and cannot be run here; export it with one "
            f"input"
        )
    channels_first = len(picture.shape) == 4 and picture.shape[3] != 3 and picture.shape[1] == 3
    given = {role: port for role in OUTPUTS if (port := _named(engine, named, role, source))}
    found = given or _by_our_names(engine) or _by_shape(engine)
    if not found:
        raise UserError(
            f"{source}: has no output that looks like labels or scores of pixels, but {_list(engine.outputs)}; name "
            f"one by --set labels_node=NAME or scores_node=NAME"
        )
    return Roles(picture, channels_first, found)


NODES = {INPUT: "input_node", LABELS: "labels_node", PROBABILITIES: "probabilities_node", SCORES: "scores_node"}


def _named(engine: Engine, named: Mapping[str, str], role: str, source: str) -> Port | None:
    if not (name := named.get(role)):
        return None
    port = engine.port(name)
    if port is None:
        raise UserError(
            f"{source}: has no {NODES[role]} {name}; it has {_list(engine.inputs)} and gives {_list(engine.outputs)}"
        )
    axes = {INPUT: (0, 4), LABELS: (0, 2, 3, 4)}.get(role, (0, 4))  # 0: the file does not tell
    if len(port.shape) not in axes:
        wanted = "[n, h, w]" if role == LABELS else "[n, h, w, channels]"
        shown = "x".join("?" if side is None else str(side) for side in port.shape)
        raise UserError(f"{NODES[role]}={name}: is of shape {shown} in {source}, not {wanted}; name another one")
    return port


def _picture(engine: Engine, source: str) -> Port:
    """The input that is ours by name, or the only one of four axes with three channels."""
    ports = [port for port in engine.inputs if len(port.shape) == 4 and 3 in (port.shape[1], port.shape[3])]
    ports = [port for port in ports if port.name == INPUT] or ports
    if len(ports) != 1:
        raise UserError(
            f"{source}: has {'no input' if not ports else 'several inputs'} that could be a picture "
            f"({_list(engine.inputs)}); name it by --set input_node=NAME"
        )
    return ports[0]


def _by_our_names(engine: Engine) -> dict[str, Port]:
    """The exporter's outputs; its graph gives labels by the name of the scores, which are left out then."""
    ports = {role: engine.port(role) for role in OUTPUTS}
    return {role: port for role, port in ports.items() if port and (role == LABELS or len(port.shape) == 4)}


def _by_shape(engine: Engine) -> dict[str, Port]:
    """The first output of whole numbers as labels, the first of real ones with four axes as scores or probabilities."""
    found: dict[str, Port] = {}
    for port in engine.outputs:
        is_map = len(port.shape) == 3 or (len(port.shape) == 4 and 1 in (port.shape[1], port.shape[3]))
        if port.is_integer and not port.scale and (is_map or len(port.shape) == 2):
            found.setdefault(LABELS, port)
        elif len(port.shape) == 4 and not is_map:
            is_softmax = re.search(r"softmax|prob", port.name, re.IGNORECASE)
            found.setdefault(PROBABILITIES if is_softmax else SCORES, port)
    return found


def _list(ports: Sequence[Port]) -> str:
    return some([port.name for port in ports], 6) if ports else "none"
