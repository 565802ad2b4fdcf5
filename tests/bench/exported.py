"""The exported files' side of the contests: each file is run by its own program, as a user of the file would run it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.engines.interface import INPUT, LABELS


def label(name: str, path: str, picture: str) -> Callable[[], np.ndarray]:
    """A picture's label map by the file of a format: by TensorFlow, or without it by ONNX Runtime.

    TensorFlow Lite's interpreter comes with TensorFlow's package here, and loads it.
    """
    pixels = np.load(picture)
    if name == "onnx":
        from common.engines.onnx_model import OnnxEngine
        from common.engines.programs import PROGRAMS

        engine = OnnxEngine(Path(path), PROGRAMS["onnxruntime"])
    else:
        from common.export.formats import ENGINES

        engine = ENGINES[name](Path(path))
    return lambda: engine.run({INPUT: pixels[None]}, [LABELS])[0][0].astype(np.uint8)
