"""What a run writes while it goes on: a line a step, TensorBoard events, pictures of the last batch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from common.data.drawing import Palette, picture_row, png_bytes
from common.files import atomic
from common.tf1 import tf
from common.training import run_folder


class RunLog:
    """`log.jsonl`, TensorBoard's events and `snapshots/<step>.png` of a run's folder; closed by `with`.

    Args:
      run_dir: the run's folder.
      graph: written into the events of a run that begins; None for one that goes on.
    """

    def __init__(self, run_dir: Path, graph: tf.Graph | None):
        self._run_dir = run_dir
        self._events = tf.summary.FileWriter(str(run_dir), graph=graph)
        self._lines = (run_dir / run_folder.LOG).open("a", encoding="utf-8")

    def write_step(self, step: int, figures: Mapping[str, float], seconds: float) -> None:
        """Write the figures of one update, and how many seconds it took."""
        self._lines.write(json.dumps({"step": step, **figures, "seconds": round(seconds, 4)}) + "\n")
        self._lines.flush()
        self.write_scalars(step, {**figures, "seconds": seconds})

    def write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers for TensorBoard alone."""
        scalars = [tf.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._events.add_summary(tf.Summary(value=scalars), step)

    def write_pictures(self, step: int, pictures: Any, palette: Palette) -> None:
        """Write rows of picture, label and prediction; `pictures` are (uint8 [h, w, 3], [h, w], [h, w]) each."""
        rows = [picture_row(*picture, palette) for picture in pictures]
        images = [_image(f"picture_label_prediction/{i}", row) for i, row in enumerate(rows)]
        self._events.add_summary(tf.Summary(value=images), step)
        with atomic(self._run_dir / "snapshots" / f"{step:06d}.png") as temporary:
            temporary.write_bytes(png_bytes(np.concatenate(rows)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._events.close()


def _image(tag: str, row: np.ndarray) -> tf.Summary.Value:
    height, width, _ = row.shape
    image = tf.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png_bytes(row))
    return tf.Summary.Value(tag=tag, image=image)
