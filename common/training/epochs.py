"""Passes over the training pictures: where one ends, and the means of a log's figures over it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from common.recipe.recipe import Recipe

FIGURES = ("loss", "pixel_loss", "miou", "pixel_accuracy")  # of a log's entries; older logs lack the last two


def steps_per_epoch(recipe: Recipe, pictures: int) -> float:
    """Updates that see as many pictures as there are; not always a whole number."""
    return pictures / (recipe.batch_size * recipe.grad_update_every)


def epoch_of(step: int, steps: float) -> int:
    """The epoch, from 0, of update number `step` (from 1) when there are `steps` in each."""
    return int((step - 1) // steps)


def ends_epoch(step: int, steps: float) -> bool:
    """Whether the update after `step` is of a later epoch."""
    return epoch_of(step + 1, steps) != epoch_of(step, steps)


def means(entries: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """The mean of a figure over the entries that have it; None when none has."""
    values = [entry[name] for entry in entries if entry.get(name) is not None]
    return float(np.mean(values)) if values else None


def by_epoch(log: Iterable[Mapping[str, Any]], steps: float) -> dict[int, dict[str, float | None]]:
    """Epoch, from 0 -> the mean of each of `FIGURES` over its updates, and its last `step`."""
    parts: dict[int, list[Mapping[str, Any]]] = {}
    for entry in log:
        parts.setdefault(epoch_of(entry["step"], steps), []).append(entry)
    return {
        epoch: {"step": part[-1]["step"], **{name: means(part, name) for name in FIGURES}}
        for epoch, part in parts.items()
    }
