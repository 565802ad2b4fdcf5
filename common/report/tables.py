"""Records and published numbers as plain JSON, for the report's tables, heat map and confusion matrices."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.recipe.recipe import format_value
from common.results import speed
from common.results.marks import mark_names
from common.results.matching import matching_record, what_it_needs
from common.results.protocol import protocol_text
from common.results.published import read_published
from common.results.tables import repository_figures

Record = Mapping[str, Any]


@dataclass(frozen=True)
class MissingPart:
    """A part that a section of the page cannot show.

    Attributes:
      section: the section's id.
      what: what is missing, and why.
      how: how to get it.
      commands: the commands for it.
    """

    section: str
    what: str
    how: str
    commands: tuple[str, ...] = ()


def record_file(record: Record) -> str:
    """The path of the record's copy in the report, made of its id."""
    return f"records/{re.sub(r'[^A-Za-z0-9_.-]+', '_', str(record['id']))[:120]}.json"


def evaluation(record: Record) -> dict[str, Any]:
    """One row of the tables, with the record's own figures; None for those that an older record lacks."""
    training, recipe = record.get("training") or {}, record.get("recipe") or {}
    start = Path(training["init"]).name if training.get("init") else "random" if training else None
    own = ("id", "reproduction", "title", "variant", "miou", "pixel_accuracy", "seconds", "peak_memory_mib")
    own += ("cpu", "cores", "command", "commit", "finished")
    return {
        **{name: record.get(name) for name in own},
        "data": record["data"]["title"],
        "images": record["data"]["images"],
        "protocol": protocol_text(record["protocol"]),
        "untrained": record.get("miou_before_training"),
        "start": start,
        "marks": [{"name": name, "text": text} for name, text in mark_names(record["marks"]).items()],
        "changed": [f"{name}={format_value(recipe.get(name))}" for name in record.get("changed", ())],
        "checkpoint": record["checkpoint"],
        "versions": ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items()),
        "classes": list(record["per_class_iou"]),
        "iou": list(record["per_class_iou"].values()),
        "confusion": _confusion(record["confusion_matrix"]),
        "record": record_file(record),
    }


def _confusion(matrix: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The rows and columns of classes that occur in the labels; `elsewhere` counts pixels predicted as other
    classes."""
    counts = np.asarray(matrix, np.int64)
    occur = np.flatnonzero(counts.sum(axis=1))
    kept = counts[np.ix_(occur, occur)]
    return {
        "classes": occur.tolist(),
        "counts": kept.tolist(),
        "elsewhere": (counts[occur].sum(axis=1) - kept.sum(axis=1)).tolist(),
    }


def published(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The rows of published.yaml: `paper` (per cent, or None), `repository` (text), and our figures beside them.

    `ours` is the position of the record that may stand beside the row, or None; `difference` is in points; `needs` says
    what a missing figure needs.
    """
    places = {record["id"]: place for place, record in enumerate(records)}
    published_rows, rows = read_published(), []
    for row in published_rows:
        table, ours = row.table, matching_record(row, records)
        value = f"{row.miou:.2f}"
        rows.append(
            {
                "model": row.model,
                "reproduction": table.reproduction,
                "data": table.title,
                "protocol": row.protocol.text(),
                "paper": row.miou if table.is_paper else None,
                "repository": repository_figures(row, published_rows) if table.is_paper else value,
                "ours": places[ours["id"]] if ours else None,
                "difference": round(100 * ours["miou"] - row.miou, 4) if ours else None,
                "needs": "" if ours else what_it_needs(row),
                "source": table.source,
                "note": table.note,
            }
        )
    return rows


def bench() -> dict[str, Any] | None:
    """`make bench`'s figures: `groups` of [part, [[contestant, figures], ...]], and what they were measured with."""
    found = speed.read_bench()
    if found is None:
        return None
    parts = list(found["parts"].values())
    groups = [[part["title"], [[name, _figures(f)] for name, f in part["contestants"].items()]] for part in parts]
    return {"groups": groups, "about": speed.machines(parts)}


def _figures(figures: Mapping[str, Any]) -> str:
    if "median" not in figures:
        return figures.get("skipped", "-")
    memory = f", {figures['peak_mib']} MiB" if "peak_mib" in figures else ""
    return f"{figures['median']:.3f} s{memory}"
