"""The log of a run: a line a step, TensorBoard events, pictures of the last batch."""

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from common.data.drawing import Palette, picture_row, png_bytes
from common.files import atomic, plain_folder
from common.tf1 import tf
from common.training import epochs, run_folder


class RunLog:
    """`log.jsonl`, TensorBoard's events and `snapshots/<step>.png` of a run's folder; closed by `with`.

    Args:
      run_dir: the run's folder.
      graph: written into the events of a run that begins; None for one that goes on.
      steps_per_epoch: after how many updates TensorBoard gets the means of an epoch.
    """

    def __init__(self, run_dir: Path, graph: tf.Graph | None, steps_per_epoch: float):
        self._run_dir, self._steps_per_epoch = run_dir, steps_per_epoch
        self._entries = run_folder.read_log(run_dir)  # of the epoch that a run that goes on is in, and before
        with contextlib.ExitStack() as opened:  # closes what is open when the next cannot be opened
            plain = opened.enter_context(plain_folder(run_dir))
            # TensorFlow names the file by the second: a run that goes on at once would empty the file before.
            self._events = tf.summary.FileWriter(str(plain), graph=graph, filename_suffix=f".{time.time_ns()}")
            opened.callback(self._events.close)
            self._lines = opened.enter_context((run_dir / run_folder.LOG).open("a", encoding="utf-8"))
            self._resources = opened.pop_all()

    def write_step(self, step: int, figures: Mapping[str, float | None], seconds: float) -> None:
        """Write the figures of one update, and how many seconds it took; of an epoch that it ends, their means."""
        entry = {"step": step, **figures, "seconds": round(seconds, 4)}
        self._lines.write(json.dumps(entry) + "\n")
        self._lines.flush()
        self.write_scalars(step, {**figures, "seconds": seconds})
        self._entries.append(entry)
        if epochs.ends_epoch(step, self._steps_per_epoch):
            epoch, means = list(epochs.by_epoch(self._entries, self._steps_per_epoch).items())[-1]
            self.write_scalars(epoch + 1, {f"epoch/{name}": means[name] for name in epochs.FIGURES})
            self._entries.clear()

    def write_scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write numbers for TensorBoard alone; those that are None are left out."""
        scalars = [tf.Summary.Value(tag=n, simple_value=value) for n, value in values.items() if value is not None]
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
        self._resources.close()


def _image(tag: str, row: np.ndarray) -> tf.Summary.Value:
    height, width, _ = row.shape
    image = tf.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png_bytes(row))
    return tf.Summary.Value(tag=tag, image=image)
