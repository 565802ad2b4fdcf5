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

    def after(self, session: tf.Session, variables: list[tf.Variable], step: int) -> dict[str, Any] | None:
        """`miou` over the classes that occur, and `loss`, if `step` is due and not measured yet; None otherwise.

        `best` says whether no earlier step was better by `recipe.best_by`.
        """
        if not step or step % self._recipe.validation_interval or step in self._entries:
            return None
        self._segmenter = self._segmenter or self._make()
        self._segmenter.assign(session.run({v.op.name: v for v in variables}))
        metrics = evaluation.evaluate(
            self._segmenter, self._split, limit=self._limit, with_loss=True, quiet=self._quiet
        )
        entry = {"step": step, **{name: metrics[name] for name in ("miou", "loss", "images")}}
        sign = -1 if self._recipe.best_by == "loss" else 1
        earlier = [e[self._recipe.best_by] for e in self._entries.values() if self._recipe.best_by in e]
        best = all(sign * entry[self._recipe.best_by] > sign * value for value in earlier)
        self._entries[step] = entry
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        return {**entry, "best": best}

    def close(self) -> None:
        """Free the second network's memory."""
        if self._segmenter:
            self._segmenter.close()
