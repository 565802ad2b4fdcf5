"""TensorFlow Lite's interpreter runs flat buffers, quantised ones as well."""

import io
import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.engines.interface import CLASSES, Engine, Port, engine_errors
from common.engines.limits import memory_for, try_first
from common.tf1 import tf, without_start_up_notes

LABEL_FILES = ("labels.txt", "labelmap.txt")  # in the archive that is appended to a file with metadata


class TensorFlowLite(Engine):
    """A flat buffer in TensorFlow Lite's interpreter."""

    title = "TensorFlow Lite"

    def __init__(self, path: Path):
        """Load the file. Raises EngineError for what the interpreter cannot load, such as ops of other programs.

        A copy of the process runs it first: the interpreter crashes on some damaged files.
        """
        data = path.read_bytes()
        with engine_errors():
            try_first(lambda: _run_once(data), memory_for(len(data), 0))
            with without_start_up_notes():
                self._interpreter = _interpreter(data)
        self._indices: dict[str, int] = {}
        self.inputs = [self._port(detail) for detail in self._interpreter.get_input_details()]
        self.outputs = [self._port(detail) for detail in self._interpreter.get_output_details()]
        self.metadata = _labels(data)
        self.number_type = self._number_type()

    def _number_type(self) -> str:
        """Tell from the arrays of four axes, which are kernels and feature maps."""
        details = [detail for detail in self._interpreter.get_tensor_details() if len(detail["shape"]) == 4]
        if any(detail["dtype"] in (np.int8, np.uint8) and detail["quantization"][0] for detail in details):
            return "8 bit"
        return "float16" if any(detail["dtype"] == np.float16 for detail in details) else ""

    def _port(self, detail: Mapping) -> Port:
        self._indices[detail["name"]] = detail["index"]
        shape = tuple(int(side) for side in detail["shape"])
        return Port(detail["name"], np.dtype(detail["dtype"]), shape, *detail["quantization"])

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The values of the outputs."""
        with engine_errors():
            for name, value in inputs.items():
                self._interpreter.set_tensor(self._indices[name], value)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(self._indices[name]) for name in outputs]


def _interpreter(data: bytes) -> "tf.lite.Interpreter":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to move into another package one day
        interpreter = tf.lite.Interpreter(model_content=data, num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    return interpreter


def _run_once(data: bytes) -> None:
    """Run the network on a blank picture."""
    interpreter = _interpreter(data)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()


def _labels(data: bytes) -> dict[str, str]:
    """The names of the classes, a line each, where the file brings them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if Path(name).name in LABEL_FILES]
            with archive.open(names[0]) as stream:
                return {CLASSES: stream.read(1 << 20).decode("utf-8")}
    except (zipfile.BadZipFile, IndexError, UnicodeDecodeError, OSError):
        return {}
