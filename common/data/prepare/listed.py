"""Data sets in which each picture has an annotation that becomes a mask, and whose splits become lists."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.data.card import DatasetCard
from common.data.masks import save_label_png
from common.data.prepare.job import Job, Pair, PreparedSet, Problem, made_pair_problem, write_list
from common.files import atomic, sweep


def prepare(
    job: Job,
    folder: Path,
    card: DatasetCard,
    splits: Mapping[str, Sequence[str]],
    annotations: Mapping[str, Any],
    label_of: Callable[[Any], np.ndarray],
    notes: Sequence[str] = (),
) -> PreparedSet:
    """Make the masks of all pictures, and the list of each split, in the card's folders below `folder`.

    `splits` has the ids of each split's pictures, and `annotations`, by these ids, what `label_of` makes class ids of,
    uint8 [h, w]. Both can be pickled.

    Raises UserError as `Job.expect`, `Job.check` and `label_of`.
    """
    masks, lists = folder / card.mask_folders[0], folder / card.list_folders[0]
    for made in (masks, lists):
        sweep(made, below=True)
    counts = {split: len(ids) for split, ids in splits.items()}
    job.expect(folder, counts, card.split_sizes)
    items = [
        ((folder / card.image_folder / f"{name}{card.image_suffix}", masks / f"{name}.png"), annotations[name])
        for ids in splits.values()
        for name in ids
    ]
    work = functools.partial(_problem, label_of=label_of, palette=card.palette)
    job.check(f"masks of {card.title}", items, work, lambda file: masks if file.parent == masks else folder)
    for split, ids in splits.items():
        write_list(lists / f"{split}.txt", ids)
    return PreparedSet(folder, counts, training_command(folder, card), tuple(notes))


def training_command(folder: Path, card: DatasetCard) -> str:
    """The command that trains DeepLab v2's variant of the data set's name."""
    return f"python -m reproductions.v2 train --data {folder} --run-dir runs/{card.name} --set variant={card.name}"


def _problem(
    item: tuple[Pair, Any], label_of: Callable[[Any], np.ndarray], palette: Sequence[tuple[int, int, int]]
) -> Problem | None:
    pair, annotation = item

    def make(mask: Path) -> None:
        label = label_of(annotation)
        with atomic(mask) as temporary:
            save_label_png(temporary, label, palette)

    return made_pair_problem(pair, make)
