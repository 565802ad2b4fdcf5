"""Programs that run an exported network straight from its file: ONNX Runtime and OpenVINO, without TensorFlow."""

import functools
import importlib.metadata
import importlib.util
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from common.errors import UserError

MOST_SECONDS = 600  # for one picture: a file of a stranger may loop without end
Model = Path | bytes  # an ONNX file, or its content
Run = Callable[[np.ndarray], list[np.ndarray]]  # the input -> the outputs, in the file's order


@dataclass(frozen=True)
class Program:
    """A program that runs ONNX files.

    Attributes:
      title: what messages call it.
      package: of Python, and of the registry.
      precisions: in which it computes.
      load: a file with one input, and a precision -> what runs it.
      installing: how it is installed.
    """

    title: str
    package: str
    precisions: tuple[str, ...]
    load: Callable[[Model, str], Run]
    installing: str

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    @functools.cached_property
    def version(self) -> str:
        """The version that is installed; empty when there is none."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return ""

    def check(self, precision: str) -> None:
        """Raise UserError when it is not installed, or does not compute in this precision."""
        if not self.is_installed:
            raise UserError(f"--engine {self.package}: {self.title} is not installed; {self.installing} installs it")
        if precision not in self.precisions:
            others = " or ".join(p.package for p in PROGRAMS.values() if precision in p.precisions)
            raise UserError(
                f"--precision {precision}: {self.title} computes in {' and '.join(self.precisions)} alone; leave it "
                f"out, or take --engine tensorflow{f' or {others}' if others else ''}"
            )


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime, which then neither reports home nor keeps a file about this machine for that."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read while it is imported
    import onnxruntime

    return onnxruntime


def load_onnxruntime(model: Model, precision: str) -> Run:
    """Load a file into ONNX Runtime."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised, too
    options.enable_mem_pattern = False  # pictures have many sizes; plans of memory are for one
    # Threads that spin while they wait take the processor from those that read pictures, and from other programs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name

    def run(values: np.ndarray) -> list[np.ndarray]:
        options = onnxruntime.RunOptions()
        late = threading.Timer(MOST_SECONDS, setattr, (options, "terminate", True))
        late.daemon = True
        late.start()
        try:
            return session.run(None, {given: values}, options)
        except Exception as error:
            if options.terminate:
                raise RuntimeError(f"it takes more than {MOST_SECONDS} seconds for one picture") from error
            raise
        finally:
            late.cancel()

    return run


OPENVINO_TYPES = {"fp32": "f32", "bf16": "bf16"}  # precision -> what OpenVINO calls it


def load_openvino(model: Model, precision: str) -> Run:
    """Load a file into OpenVINO, for one picture at a time."""
    os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
    import openvino

    core = openvino.Core()
    # By itself it computes in bfloat16 where the CPU can.
    how = {"INFERENCE_PRECISION_HINT": OPENVINO_TYPES[precision], "PERFORMANCE_HINT": "LATENCY"}
    network = core.read_model(model if isinstance(model, bytes) else str(model))
    request = core.compile_model(network, "CPU", how).create_infer_request()

    def run(values: np.ndarray) -> list[np.ndarray]:
        request.infer([values])
        return [tensor.data.copy() for tensor in request.output_tensors]  # their memory is the next picture's

    return run


# The recipe's engine -> the program; TensorFlow is none of them.
PROGRAMS = {
    "onnxruntime": Program("ONNX Runtime", "onnxruntime", ("fp32",), load_onnxruntime, "make setup"),
    "openvino": Program("OpenVINO", "openvino", ("fp32", "bf16"), load_openvino, "make setup ENGINES=1"),
}
