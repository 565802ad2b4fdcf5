"""The interface of an exported network: the names of its file, of its input, and of its outputs.

They are research/deeplab's (its export_model.py), in every format.
"""

INPUT = "ImageTensor"  # uint8 RGB [n, h, w, 3]
LABELS = "SemanticPredictions"  # int32 [n, h, w]
PROBABILITIES = "SemanticProbabilities"  # float32 [n, h, w, classes], sum 1
SCORES = "RawSemanticPredictions"  # float32 [n, h / stride, w / stride, classes], at scale 1
OUTPUTS = (LABELS, PROBABILITIES, SCORES)

# Format -> its file, or folder, in DIR.
FILES = {"frozen": "model.pb", "savedmodel": "saved_model", "tflite": "model.tflite"}
# Format -> how many pictures are segmented at once; None is any number, all of one size.
BATCHES = {"frozen": 1, "savedmodel": None, "tflite": 1}
FIXED_SIZE = ("tflite",)  # formats whose pictures have one size

QUANTIZATIONS = ("float16", "dynamic", "int8")
LEAST_AGREEMENT, LEAST_QUANTIZED = 0.999, 0.99  # share of the pixels with predict's label; below it no file appears
