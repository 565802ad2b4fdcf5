"""Training runs for the report: their logs, with long curves thinned."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.files import read_json
from common.report.tables import MissingPart, Record
from common.results.records import PROTOCOL_FIELDS
from common.training import run_folder
from common.weights.checkpoint_files import digest

POINTS = 300  # most points of a curve; a longer one is drawn as the means of equal parts


def training_runs(records: Sequence[Record]) -> tuple[list[dict[str, Any]], list[MissingPart]]:
    """Read the runs that wrote the records' checkpoints, where their folders are there.

    A run: `folder`, `model`, `changed` and `evaluations` (positions of records), `last_step`, `every` (steps a point
    stands for), lists `step`, `loss`, `pixel_loss`, `learning_rate`, and of the training batches `miou` and
    `pixel_accuracy` (None in older logs), the median `seconds` of a step, `batch_size`, `crop_size`, and `validation`
    with lists `step`, `miou` and `pixel_accuracy`, and `images`.
    """
    found: dict[Path, list[int]] = {}
    gone: dict[Path, Record] = {}
    for place, record in enumerate(records):
        if not record.get("training"):  # weights from elsewhere
            continue
        run_dir = Path(record["checkpoint"]["path"]).parent
        if _is_of(run_dir, record):
            found.setdefault(run_dir, []).append(place)
        else:
            gone.setdefault(run_dir, record)
    missing = []
    if gone:
        commands = dict.fromkeys(record["training"].get("command") for record in gone.values())
        missing.append(
            MissingPart(
                "training",
                f"The curves of {len(gone)} training run{'s' * (len(gone) > 1)} are not here.",
                f"The folders are not below this one, or hold other runs: {', '.join(map(str, gone))}. Start the "
                "report where the runs lie, or train again:",
                tuple(command for command in commands if command),
            )
        )
    return [_run(run_dir, records, places) for run_dir, places in found.items()], missing


def _is_of(run_dir: Path, record: Record) -> bool:
    """Whether the folder holds the run that wrote the record's checkpoint, and not a later run."""
    try:
        summary, recipe = run_folder.read_summary(run_dir), read_json(run_dir / run_folder.RECIPE)
    except UserError:
        return False
    log = run_folder.read_log(run_dir)
    if not (summary and isinstance(recipe, dict) and log):
        return False
    evaluated = record["recipe"]
    same_recipe = all(
        recipe[name] == evaluated[name]
        for name in recipe.keys() & evaluated.keys()
        if name not in PROTOCOL_FIELDS and not name.startswith("eval_")
    )
    same_start = all(summary.get(name) == record["training"].get(name) for name in ("pictures_digest", "init_digest"))
    checkpoint = run_dir / Path(record["checkpoint"]["path"]).name
    is_there = checkpoint.with_name(f"{checkpoint.name}.index").is_file()  # training deletes earlier checkpoints
    same_weights = not is_there or _digest(checkpoint) == record["checkpoint"]["sha256"]
    return same_recipe and same_start and same_weights and log[-1]["step"] >= (record["checkpoint"]["step"] or 0)


@functools.cache
def _digest(checkpoint: Path) -> str:
    return digest(checkpoint)


def _run(run_dir: Path, records: Sequence[Record], places: list[int]) -> dict[str, Any]:
    record, log = records[places[0]], run_folder.read_log(run_dir)
    every = -(-len(log) // POINTS)
    validation = [e for e in run_folder.read_log(run_dir, run_folder.VALIDATION) if _number(e.get("miou")) is not None]
    columns = ("loss", "pixel_loss", "learning_rate", "miou", "pixel_accuracy")
    return {
        "folder": run_dir.as_posix(),
        "model": f"{record['title']} {record['variant']}",
        "evaluations": places,
        "last_step": log[-1]["step"],
        "every": every,
        "step": [log[min(i + every, len(log)) - 1]["step"] for i in range(0, len(log), every)],
        **{name: _means([_number(e.get(name)) for e in log], every) for name in columns},
        "seconds": _median([_number(e.get("seconds")) for e in log]),
        "batch_size": record["recipe"].get("batch_size"),
        "crop_size": record["recipe"].get("crop_size"),
        "validation": {
            "step": [e["step"] for e in validation],
            "miou": [e["miou"] for e in validation],
            "pixel_accuracy": [_number(e.get("pixel_accuracy")) for e in validation],
            "images": validation[-1].get("images") if validation else None,
        },
    }


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)
    return float(value) if is_number else None


def _means(values: Sequence[float | None], every: int) -> list[float | None]:
    """Means over parts of `every` values, to six digits; those of one value are the values themselves."""
    parts = [[v for v in values[i : i + every] if v is not None] for i in range(0, len(values), every)]
    return [float(f"{np.mean(part):.6g}") if part else None for part in parts]


def _median(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(float(np.median(known)), 6) if known else None
