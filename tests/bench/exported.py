"""The exported files' side of the contests: each file is run by its own program, as a user of the file would run it."""

import atexit
from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.export.interface import INPUT, LABELS


def label(name: str, path: str, picture: str) -> Callable[[], np.ndarray]:
    """A picture's label map by the file of a format: by TensorFlow, or without it by ONNX Runtime.

    TensorFlow Lite's interpreter comes with TensorFlow's package here, and loads it.
    """
    pixels = np.load(picture)
    if name == "onnx":
        import onnxruntime

        engine = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda: engine.run([LABELS], {INPUT: pixels[None]})[0][0].astype(np.uint8)
    from common.export.formats import ENGINES

    engine = ENGINES[name](Path(path))
    atexit.register(engine.__exit__, None, None, None)
    run = engine.__enter__()
    return lambda: run(pixels)[LABELS].astype(np.uint8)
