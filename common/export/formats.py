"""Writers of the formats, and the programs that run what they wrote: TensorFlow, ONNX Runtime, TensorFlow Lite."""

import contextlib
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from common.errors import UserError, one_line
from common.export.interface import CLASSES, INPUT, OUTPUTS, Options, Run
from common.export.onnx_format import open_onnx, write_onnx
from common.files import plain_folder
from common.tf1 import _without_start_up_notes, session, tf
from common.words import some

LABEL_FILE = "labels.txt"  # in the archive that is appended to a .tflite: a class a line


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
    """Write a flat buffer, and the names of the classes behind it, where metadata of TensorFlow Lite keep their files.

    Raises UserError for an op that TensorFlow Lite doesn't have.
    """
    with _imported(graph) as running:
        tensors = [running.graph.get_tensor_by_name(f"{name}:0") for name in (INPUT, *OUTPUTS)]
        converter = tf.lite.TFLiteConverter.from_session(running, tensors[:1], tensors[1:])
        if options.quantization:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if options.quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if options.quantization == "int8":
            converter.representative_dataset = lambda: ([picture[None]] for picture in options.calibration)
        data, reason = _converted(converter)
    if reason:
        raise UserError(f"tflite: cannot be made of this network ({reason}); take another format")
    path.write_bytes(data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABEL_FILE), options.metadata.get(CLASSES, ""))


def _converted(converter: "tf.lite.TFLiteConverter") -> tuple[bytes, str]:
    """The flat buffer, or why there is none; what the libraries say meanwhile is for those who write them."""
    with _without_start_up_notes():
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


def _runner(running: tf.Session, inputs: str, outputs: dict[str, str]) -> Run:
    def run(picture: np.ndarray) -> dict[str, np.ndarray]:
        answers = running.run(outputs, {inputs: picture[None]})
        return {name: answer[0] for name, answer in answers.items()}

    return run


@contextlib.contextmanager
def open_frozen(path: Path) -> Iterator[Run]:
    """Load a frozen graph into a session."""
    graph = tf.GraphDef()
    graph.ParseFromString(path.read_bytes())
    with _imported(graph) as running:
        yield _runner(running, f"{INPUT}:0", {name: f"{name}:0" for name in OUTPUTS})


@contextlib.contextmanager
def open_saved_model(path: Path) -> Iterator[Run]:
    """Load a SavedModel into a session, by its signature."""
    with tf.Graph().as_default() as graph, session(graph) as running, plain_folder(path.parent) as folder:
        loaded = tf.saved_model.load(running, [tf.saved_model.tag_constants.SERVING], str(folder / path.name))
        signature = loaded.signature_def[tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY]
        outputs = {name: info.name for name, info in signature.outputs.items()}
        yield _runner(running, signature.inputs[INPUT].name, outputs)


@contextlib.contextmanager
def open_tflite(path: Path) -> Iterator[Run]:
    """Load a flat buffer into TensorFlow Lite's interpreter."""
    with _without_start_up_notes(), warnings.catch_warnings():  # it is to move into another package one day
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=path.read_bytes(), num_threads=os.cpu_count())
        interpreter.allocate_tensors()
    inputs = interpreter.get_input_details()[0]["index"]
    outputs = {output["name"]: output["index"] for output in interpreter.get_output_details()}

    def run(picture: np.ndarray) -> dict[str, np.ndarray]:
        interpreter.set_tensor(inputs, picture[None])
        interpreter.invoke()
        return {name: interpreter.get_tensor(outputs[name])[0] for name in OUTPUTS}

    yield run


# Format -> its writer.
WRITERS: dict[str, Callable[[tf.GraphDef, Path, Options], None]] = {
    "frozen": write_frozen,
    "savedmodel": write_saved_model,
    "onnx": write_onnx,
    "tflite": write_tflite,
}
# Format -> the program that runs it.
ENGINES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Run]]] = {
    "frozen": open_frozen,
    "savedmodel": open_saved_model,
    "onnx": open_onnx,
    "tflite": open_tflite,
}
