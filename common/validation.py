"""Loss and mIoU on the validation split while training runs."""

import json
from pathlib import Path
from typing import Any

from common import evaluation, run_folder
from common.data.lists import Split, card_by_name, read_split
from common.errors import UserError
from common.inference import Segmenter
from common.network import Network
from common.recipe import Recipe
from common.tf1 import tf


def validation_split(recipe: Recipe, data: Path) -> Split | None:
    """The pictures to validate on, if the recipe wants that. Raises UserError when there are none."""
    if not recipe.validation_interval:
        return None
    try:
        return read_split(card_by_name(recipe.dataset), data, recipe.val_split)
    except UserError as error:
        raise UserError(f"{error}; --set validation_interval=0 trains without validation") from None


class Validation:
    """Measures the network in training every `recipe.validation_interval` steps, into `validation.jsonl`.

    Training is not touched by it: a run with validation gives the same weights as one without.
    """

    def __init__(self, network: Network, recipe: Recipe, split: Split, run_dir: Path, limit: int | None, quiet: bool):
        self._make = lambda: Segmenter(network, recipe, None)
        self._recipe, self._split, self._limit, self._quiet = recipe, split, limit, quiet
        self._path = run_dir / run_folder.VALIDATION
        self._segmenter: Segmenter | None = None
        self._entries = {entry["step"]: entry for entry in run_folder.read_log(run_dir, run_folder.VALIDATION)}

    def is_due(self, step: int) -> bool:
        """Whether `step` is one to measure after, and is not measured yet."""
        return step > 0 and step % self._recipe.validation_interval == 0 and step not in self._entries

    def measure(self, session: tf.Session, variables: list[tf.Variable], step: int) -> tuple[dict[str, Any], bool]:
        """`step`, `miou` over the classes that occur, `loss` and `images`; and whether no earlier step was as good.

        By which of the two, `recipe.best_by` says.
        """
        self._segmenter = self._segmenter or self._make()
        self._segmenter.assign(session.run({v.op.name: v for v in variables}))
        metrics = evaluation.evaluate(
            self._segmenter, self._split, limit=self._limit, with_loss=True, quiet=self._quiet
        )
        entry = {"step": step, **{name: metrics[name] for name in ("miou", "loss", "images")}}
        sign, by = (-1 if self._recipe.best_by == "loss" else 1), self._recipe.best_by
        earlier = [e[by] for e in self._entries.values() if by in e]
        return entry, all(sign * entry[by] > sign * value for value in earlier)

    def write(self, entry: dict[str, Any]) -> None:
        """Keep what `measure` found."""
        self._entries[entry["step"]] = entry
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        """Free the second network's memory."""
        if self._segmenter:
            self._segmenter.close()
