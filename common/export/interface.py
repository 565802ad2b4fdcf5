"""The interface of exports: the names of its files, what each format can do, and the options of the writers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

# Format -> its file, or folder, in DIR.
FILES = {"frozen": "model.pb", "savedmodel": "saved_model", "onnx": "model.onnx", "tflite": "model.tflite"}
# Format -> how many pictures are segmented at once; None is any number, all of one size.
BATCHES = {"frozen": 1, "savedmodel": None, "onnx": 1, "tflite": 1}
FIXED_SIZE = ("tflite",)  # formats whose pictures have one size
ANY_SIZE = ("onnx",)  # whose files take any size, whatever is asked for: tf2onnx makes wrong shapes of v3+ at one size
# Formats for TensorFlow itself, whose atrous depthwise convolution is right with oneDNN alone.
FOR_TENSORFLOW = ("frozen", "savedmodel")

QUANTIZATIONS = ("float16", "dynamic", "int8")
RANGES = "ranges"  # integers by the ranges that an 8 bit network brings
LEAST_AGREEMENT, LEAST_QUANTIZED = 0.999, 0.99  # share of the pixels with predict's label; below it no file appears
# Of 8 bit networks: a sum in another order rounds to another step, and the next layers do so too. With random weights,
# whose classes are seldom more than a step apart, labels agree on 94 to 97 %; the official converter's did on 96.9 %.
LEAST_BY_RANGES = 0.9


@dataclass(frozen=True)
class Options:
    """Options of the writers.

    Attributes:
      metadata: texts that formats with room for them hold: the names of the classes, the palette, the recipe.
      quantization: of weights, and with int8 of values; one of QUANTIZATIONS, RANGES, or empty.
      calibration: pictures, uint8 [h, w, 3], from which int8 takes the values' ranges.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    quantization: str = ""
    calibration: Sequence[np.ndarray] = ()
