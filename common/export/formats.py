"""Writers of the formats, and the engines that run what they wrote."""

import contextlib
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from common.engines.interface import CLASSES, INPUT, OUTPUTS, Engine
from common.engines.onnx_model import OnnxEngine
from common.engines.programs import PROGRAMS
from common.engines.tensorflow_graph import open_frozen, open_saved_model
from common.engines.tensorflow_lite import TensorFlowLite
from common.errors import UserError, one_line
from common.export.interface import RANGES, Options
from common.export.onnx_format import write_onnx
from common.export.tflite_metadata import LABEL_FILE, with_metadata
from common.files import plain_folder
from common.tf1 import session, tf, without_start_up_notes
from common.words import some


def write_frozen(graph: tf.GraphDef, path: Path, options: Options) -> None:
    """Write the graph as it is."""
    path.write_bytes(graph.SerializeToString(deterministic=True))


def write_saved_model(graph: tf.GraphDef, path: Path, options: Options) -> None:
    """Write a SavedModel whose signature `serving_default` has the names of the interface."""
    with _imported(graph) as running, plain_folder(path.parent) as folder:
        tensors = {name: running.graph.get_tensor_by_name(f"{name}:0") for name in (INPUT, *OUTPUTS)}
        inputs = {INPUT: tensors.pop(INPUT)}
        tf.saved_model.simple_save(running, str(folder / path.name), inputs, tensors)


def write_tflite(graph: tf.GraphDef, path: Path, options: Options) -> None:
    """Write a flat buffer with metadata, and the names of the classes behind it, where metadata keep their files.

    Raises UserError for an op that TensorFlow Lite doesn't have.
    """
    with _imported(graph) as running:
        tensors = [running.graph.get_tensor_by_name(f"{name}:0") for name in (INPUT, *OUTPUTS)]
        converter = tf.lite.TFLiteConverter.from_session(running, tensors[:1], tensors[1:])
        if options.quantization == RANGES:
            # Kernels have a zero of their own, which uint8 alone allows. Pixels are preprocessed in floats.
            converter.inference_type = converter.inference_input_type = tf.uint8
            converter.quantized_input_stats = {INPUT: (0.0, 1.0)}
        elif options.quantization:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if options.quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if options.quantization == "int8":
            converter.representative_dataset = lambda: ([picture[None]] for picture in options.calibration)
        data, reason = _converted(converter)
    if reason:
        raise UserError(f"tflite: cannot be made of this network ({reason}); take another format")
    path.write_bytes(with_metadata(data, options.metadata))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABEL_FILE), options.metadata.get(CLASSES, ""))


def _converted(converter: "tf.lite.TFLiteConverter") -> tuple[bytes, str]:
    """The flat buffer, or why there is none; what the libraries say meanwhile is for those who write them."""
    with without_start_up_notes():
        try:
            return converter.convert(), ""
        except Exception as error:  # its errors share no class
            ops = sorted(set(re.findall(r"\b(?:tf|tfl)\.[A-Z]\w+", str(error))))
            return b"", f"TensorFlow Lite has no {some(ops)}" if ops else one_line(error)


@contextlib.contextmanager
def _imported(graph: tf.GraphDef) -> Iterator[tf.Session]:
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(graph, name="")
        with session(imported) as running:
            yield running


# Format -> its writer.
WRITERS: dict[str, Callable[[tf.GraphDef, Path, Options], None]] = {
    "frozen": write_frozen,
    "savedmodel": write_saved_model,
    "onnx": write_onnx,
    "tflite": write_tflite,
}
# Format -> the engine that runs it.
ENGINES: dict[str, Callable[[Path], Engine]] = {
    "frozen": open_frozen,
    "savedmodel": open_saved_model,
    "onnx": lambda path: OnnxEngine(path, PROGRAMS["onnxruntime"]),
    "tflite": TensorFlowLite,
}
