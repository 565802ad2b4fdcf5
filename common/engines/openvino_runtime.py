"""OpenVINO runs ONNX files, without TensorFlow. `make setup ENGINES=1` installs it; nothing here needs it."""

import os
from collections.abc import Sequence
from pathlib import Path

from common.engines.onnx_model import OnnxEngine, Runner

TYPES = {"fp32": "f32", "bf16": "bf16"}  # precision -> what OpenVINO calls it


class OpenVino(OnnxEngine):
    """An ONNX file in OpenVINO."""

    title = "OpenVINO"

    def __init__(self, path: Path, precision: str = "fp32"):
        super().__init__(path)
        self._precision = precision

    def compile(self, model: bytes, outputs: Sequence[str]) -> Runner:
        """Compile the network for this CPU."""
        os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
        import openvino

        core = openvino.Core()
        # By itself it computes in bfloat16 where the CPU can.
        how = {"INFERENCE_PRECISION_HINT": TYPES[self._precision], "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(core.read_model(model=model), "CPU", how)

        return lambda inputs: [compiled(dict(inputs))[name] for name in outputs]
