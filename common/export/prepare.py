"""Filling the engine cache: export a checkpoint's network, and compare the engines' label maps with TensorFlow's."""

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.engines.interface import OUTPUTS, EngineError
from common.engines.onnx_model import load_model, part_for
from common.engines.programs import PROGRAMS
from common.errors import UserError
from common.export.cache import ENTRY, FILES, WEIGHTS, Entry, Trial, digests, prune
from common.export.formats import WRITERS
from common.export.graph import frozen_graph
from common.export.interface import Options
from common.files import WRITING, half_written
from common.inference.base import BaseSegmenter
from common.inference.engine_segmenter import EngineSegmenter
from common.nets.network import Network
from common.recipe.recipe import Recipe
from common.weights.weights import Weights

Timed = tuple[np.ndarray, float]  # a label map, and the seconds that it took
LEAST_SHARED = 1024  # bytes of an array that goes into the file of the weights


def write_entry(folder: Path, network: Network, recipe: Recipe, weights: Weights) -> Entry:
    """Write the network into the folder of an entry, which is held. Raises UserError for a network that ONNX can't be.

    Args:
      folder: of the entry; what it holds is replaced.
      network: a reproduction's.
      recipe: how it is run.
      weights: of the network.
    """
    (folder / ENTRY).unlink(missing_ok=True)  # from here on it is no entry
    graph = frozen_graph(network, recipe.at_evaluation(), weights, 1, None)
    temporary = Path(tempfile.mkdtemp(prefix=half_written(WRITING, folder), dir=folder))
    try:
        WRITERS["onnx"](graph, temporary / "model.onnx", Options())
        _split(temporary / "model.onnx")
        for name in (WEIGHTS, *FILES.values()):
            (temporary / name).replace(folder / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    entry = Entry(folder, recipe.to_json(), weights.recipe(), digests(folder, (WEIGHTS, *FILES.values())))
    entry.save()
    prune(kept=folder)
    return entry


def _split(path: Path) -> None:
    """Write a file for each output beside an ONNX file, and the arrays that they share into one of their own.

    ONNX Runtime computes all outputs of a file, asked for or not.
    """
    import onnx

    model = load_model(path)
    for array in model.graph.initializer:
        # onnx's own loop over them refuses a location that is also the name of something in the working folder.
        if array.HasField("raw_data") and sys.getsizeof(array.raw_data) >= LEAST_SHARED:
            onnx.external_data_helper.set_external_data(array, WEIGHTS)
    onnx.external_data_helper.write_external_data_tensors(model, str(path.parent))
    for role in OUTPUTS:
        (path.parent / FILES[role]).write_bytes(part_for(model, [role]))


def try_engine(
    entry: Entry, engine: str, recipe: Recipe, pictures: Sequence[np.ndarray], theirs: Sequence[Timed]
) -> Trial:
    """Segment the pictures, uint8 [h, w, 3], by an engine, without a CRF; `theirs` is what TensorFlow gave, `timed`.

    Raises EngineError when the engine cannot load or run the network.
    """
    recipe, program = recipe.derive(crf=False), PROGRAMS[engine]
    files = {role: entry.path(role) for role in OUTPUTS}
    with EngineSegmenter(files, recipe, program) as segmenter:
        try:
            ours = timed(segmenter, pictures)
        except UserError as error:
            raise EngineError(str(error)) from None
    equal = sum(int((our == their).sum()) for (our, _), (their, _) in zip(ours, theirs, strict=True))
    pixels = sum(label.size for label, _ in theirs)
    seconds, tensorflow_seconds = (round(min(second for _, second in found), 4) for found in (ours, theirs))
    return Trial(program.version, len(pictures), pixels, equal / pixels, seconds, tensorflow_seconds)


def timed(segmenter: BaseSegmenter, pictures: Sequence[np.ndarray]) -> list[Timed]:
    """For each picture the label map, and the seconds that its second making takes: each first one makes plans."""
    found = []
    for picture in pictures:
        segmenter.label(picture)
        begin = time.perf_counter()
        found.append((segmenter.label(picture), time.perf_counter() - begin))
    return found
