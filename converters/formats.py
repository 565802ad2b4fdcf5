"""Which converter a file is for, by its ending: what is said when it is given to another one."""

import shlex
from pathlib import Path

from common.errors import UserError

# Ending -> what such a file is, and the command that converts it.
CONVERTERS = {
    **dict.fromkeys((".pth", ".pt"), ("PyTorch's", "torch_to_tf --weights")),
    ".pb": ("a graph with its weights", "frozen_to_tf"),
    ".tflite": ("a TensorFlow Lite file", "tflite_to_tf"),
    ".onnx": ("ONNX", "onnx_to_tf --onnx"),
    ".caffemodel": ("Caffe's", "caffe_to_tf --caffemodel"),
    **dict.fromkeys((".h5", ".hdf5"), ("Keras'", "keras_to_tf --weights")),
}


def refuse_other_formats(path: Path, *endings: str) -> None:
    """Raise UserError that names the right converter when a file's ending is that of a format not among `endings`."""
    ending = path.suffix.lower()
    if ending in CONVERTERS and ending not in endings:
        what, command = CONVERTERS[ending]
        convert = f"python -m converters.{command} {shlex.quote(str(path))} --out CKPT"
        raise UserError(f"{path}: is {what}; convert it by {convert}")
