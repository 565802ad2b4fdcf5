"""ONNX Runtime runs ONNX files, without TensorFlow."""

from collections.abc import Sequence

from common.engines.onnx_model import OnnxEngine, Runner


class OnnxRuntime(OnnxEngine):
    """An ONNX file in ONNX Runtime."""

    title = "ONNX Runtime"

    def compile(self, model: bytes, outputs: Sequence[str]) -> Runner:
        """Make a session."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its errors are raised, too
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(list(outputs), dict(inputs))
