"""Exporting: write a network in each format, compare it with `predict`, and only then give it its name."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.console import Progress
from common.data.split import Split
from common.engines.interface import Size
from common.errors import UserError, one_line
from common.export.comparison import Comparison, compare
from common.export.folder import publish, size_in_bytes
from common.export.formats import ENGINES, WRITERS
from common.export.graph import for_other_programs, for_tensorflow, frozen_graph
from common.export.interface import (
    BATCHES,
    FILES,
    FOR_TENSORFLOW,
    LEAST_AGREEMENT,
    LEAST_BY_RANGES,
    LEAST_QUANTIZED,
    Options,
)
from common.export.pictures import CALIBRATION_PICTURES, pictures
from common.files import WRITING, half_written, locked
from common.inference.segmenter import Segmenter
from common.nets.network import Network
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.weights.weights import Weights


@dataclass(frozen=True)
class Exporter:
    """A network with its weights, and how it is exported.

    Attributes:
      network, recipe, weights: as `Segmenter` takes them.
      metadata: texts that formats with room for them hold.
      sizes: format -> the size of its pictures, [h, w], or None for any.
      quantization: of tflite; one of interface.QUANTIZATIONS, interface.RANGES, or empty.
      split, count: the pictures that are compared: the first `count` of a split, or drawn ones.
      calibration: the split whose first pictures int8 is calibrated on.
      note: what else the summary says of each file.
    """

    network: Network
    recipe: Recipe
    weights: Weights
    metadata: Mapping[str, str]
    sizes: Mapping[str, Size | None]
    quantization: str
    split: Split | None
    count: int
    calibration: Split | None
    note: Mapping[str, Any]

    def export(self, out: Path, quiet: bool = False) -> dict[str, dict[str, Any]]:
        """Write all formats into `out`, with a summary; returns what the summary says of each.

        Raises UserError for a file that disagrees with `predict`, which does not appear; those before it stay.
        """
        busy, title = "another export writes into it; wait for it, or choose another folder", f"--out {out}"
        entries = {}
        with (
            locked(out, busy, title=title),
            Segmenter(self.network, self.recipe, self.weights) as segmenter,
            Progress("exporting", len(self.sizes), quiet=quiet) as progress,
        ):
            for name in self.sizes:
                entries[name] = self._export(name, segmenter, out)
                progress.advance(FILES[name])
        return entries

    def _export(self, name: str, segmenter: Segmenter, out: Path) -> dict[str, Any]:
        quantization = self.quantization if name == "tflite" else ""
        with _temporary(out, FILES[name]) as temporary:
            try:
                self._write(name, quantization, temporary)
                with ENGINES[name](temporary) as engine:
                    found = compare(engine, segmenter, pictures(self.split, self.count, self.sizes[name]))
            except OSError as error:
                error.filename = str(out / FILES[name])  # not the temporary one's; a full disk says none
                raise
            except (tf.errors.OpError, RuntimeError) as error:  # EngineError is a RuntimeError
                raise UserError(
                    f"{FILES[name]}: could not be written or run ({one_line(error)}); see that the disk and the memory "
                    f"suffice, or take another --size or format"
                ) from None
            entry = self._entry(name, size_in_bytes(temporary), quantization, found)
            _refuse_other_labels(entry, FILES[name])
            publish(out, name, temporary, entry)
        return entry

    def _entry(self, name: str, count: int, quantization: str, found: Comparison) -> dict[str, Any]:
        size = self.sizes[name]
        return {
            "bytes": count,
            "size": list(size) if size else "any",
            "quantization": quantization or None,
            "least_agreement": self._least_agreement(quantization),
            **found.to_json(),
            **self.note,
        }

    def _least_agreement(self, quantization: str) -> float:
        if self.recipe.quantised_from is not None:
            return LEAST_BY_RANGES
        return LEAST_QUANTIZED if quantization else LEAST_AGREEMENT

    def _write(self, name: str, quantization: str, path: Path) -> None:
        size = self.sizes[name]
        fold = name == "onnx"  # TensorFlow Lite's converter folds batch norm itself
        network = for_tensorflow(self.network) if name in FOR_TENSORFLOW else for_other_programs(self.network, fold)
        graph = frozen_graph(network, self.recipe.at_evaluation(), self.weights, BATCHES[name], size)
        calibration: Sequence[np.ndarray] = ()
        if quantization == "int8":
            calibration = pictures(self.calibration, CALIBRATION_PICTURES, size)
        WRITERS[name](graph, path, Options(self.metadata, quantization, calibration))


@contextmanager
def _temporary(out: Path, name: str) -> Iterator[Path]:
    """A path of that name in a temporary folder in `out`."""
    folder = Path(tempfile.mkdtemp(prefix=half_written(WRITING, out), dir=out))
    try:
        yield folder / name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_other_labels(entry: Mapping[str, Any], file: str) -> None:
    agreement, least, quantization = entry["agreement"], entry["least_agreement"], entry["quantization"]
    if agreement < least:
        how = f"quantised as {quantization}, " if quantization else ""
        others = "take another --quantize, a larger --size, or other pictures"
        advice = others if quantization else "take another format"
        raise UserError(
            f"{file}: {how}agrees with predict on {agreement:.3%} of the pixels of {entry['pictures']} pictures, below "
            f"{least:.1%}, and was not written; {advice}"
        )
