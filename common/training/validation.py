"""Loss and mIoU on the validation split while training runs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from common.console import say
from common.data.split import Split
from common.inference import evaluation
from common.inference.evaluation import Counts
from common.inference.segmenter import Segmenter
from common.nets.network import Network
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.training import run_folder
from common.training.placement import HERE, Placement

if TYPE_CHECKING:
    from common.training.log import RunLog
    from common.training.trainer import Trainer

MEASURED = ("miou", "pixel_accuracy", "loss")


class Validation:
    """Measures the network in training every `recipe.validation_interval` steps, into `validation.jsonl`.

    Without a split, or with an interval of 0, it measures nothing. A run with validation gives the same weights as one
    without.

    Args:
      network, recipe: of the run.
      split: the pictures to measure on.
      run_dir: the run's folder.
      limit: how many of the pictures; None takes all.
      quiet: no progress.
      placement: the hosts of the run, each of which measures on a part of the pictures.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        split: Split | None,
        run_dir: Path,
        limit: int | None,
        quiet: bool,
        placement: Placement = HERE,
    ):
        self._network, self._recipe, self._split = network, recipe, split
        self._placement, self._quiet = placement, quiet or not placement.is_chief
        self._path = run_dir / run_folder.VALIDATION
        self._segmenter: Segmenter | None = None
        entries = run_folder.read_log(run_dir, run_folder.VALIDATION) if placement.is_chief else []
        entries, self._limit = json.loads(placement.exchange(json.dumps([entries, limit]))[0])
        self._entries = {entry["step"]: entry for entry in entries}

    def is_due(self, step: int) -> bool:
        """Whether `step` is one to measure after, and is not measured yet."""
        interval = self._recipe.validation_interval if self._split else 0
        return bool(interval) and step > 0 and step % interval == 0 and step not in self._entries

    def run_if_due(self, session: tf.Session, trainer: "Trainer", log: "RunLog | None", step: int) -> None:
        """Measure after `step` if it is due; the chief keeps the best checkpoint, and writes what was found."""
        if not self.is_due(step):
            return
        found, is_best = self.measure(trainer.model_values(session), step)
        self._entries[step] = found
        if log is None:
            return
        if is_best:  # before the entry: a run that is killed between the two measures again
            trainer.save_best(session, step)
        self.write(found)
        log.write_scalars(step, {f"val_{name}": found[name] for name in MEASURED})
        note = ", the best so far" if is_best else ""
        say(
            f"step {step}: mIoU {found['miou']:.4f}, loss {found['loss']:.4f} on {self._split.title}{note}", self._quiet
        )

    def measure(self, values: dict[str, np.ndarray], step: int) -> tuple[dict[str, Any], bool]:
        """Measure the network with these values of its variables; each host measures on its part of the pictures.

        Returns:
          `step`, `miou` over the classes that occur, `pixel_accuracy`, `loss` and `images`; and whether no earlier step
          was as good, by mIoU or loss, as `recipe.best_by` says.
        """
        if self._segmenter is None:
            self._segmenter = Segmenter(self._network, self._recipe.at_one_scale(), None)
        self._segmenter.assign(values)
        replicas = self._placement.replicas
        part = self._split.take(slice(self._limit)).take(slice(replicas.index, None, replicas.count))
        own = evaluation.count(self._segmenter, part, with_loss=True, quiet=self._quiet)
        parts = [Counts.from_json(json.loads(t)) for t in self._placement.exchange(json.dumps(own.to_json()))]
        metrics = Counts.joined(parts).metrics(self._split.card.classes, {})
        entry = {"step": step, **{name: metrics[name] for name in (*MEASURED, "images")}}
        sign, by = (-1 if self._recipe.best_by == "loss" else 1), self._recipe.best_by
        earlier = [e[by] for e in self._entries.values() if by in e]
        return entry, all(sign * entry[by] > sign * value for value in earlier)

    def write(self, entry: dict[str, Any]) -> None:
        """Write what `measure` found."""
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Free the second network's memory."""
        if self._segmenter:
            self._segmenter.close()
