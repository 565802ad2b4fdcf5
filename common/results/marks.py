"""The marks of records: reasons why a number is no reproduction. All tables, the report and the README use them."""

import textwrap
from collections.abc import Mapping
from typing import Any

MARKS = {
    "sample": "drawn pictures: the number shows that the programs work, and reproduces nothing",
    "val_seen": "the weights were trained on pictures that they are evaluated on",
    "val_seen?": "the weights are from elsewhere, and it is not known whether they were trained on these pictures",
    "random_split": "evaluated on one tenth of train_aug and val, shuffled together",
    "bf16": "trained or evaluated in bfloat16",
    "asynchronous": "trained by asynchronous updates of many processes, so that the run is not repeatable",
    "subset": "only this many pictures of the split were evaluated",
}


def mark_names(marks: Mapping[str, Any]) -> dict[str, str]:
    """The marks of a record, each with its text: `val_seen?` for unknown, `subset 20` with its number."""
    names = {}
    for name, value in marks.items():
        if value == "unknown":
            names[f"{name}?"] = f"{name}?"
        else:
            names[name] = f"{name} {value}" if name == "subset" else name
    return names


def explanation() -> str:
    """A paragraph that explains all of them, in Markdown."""
    items = "; ".join(f"`{name}{' N' if name == 'subset' else ''}`, {why}" for name, why in MARKS.items())
    text = f"Marks: {items}. A number with a mark stands beside a published one only if that has the same mark."
    return "\n".join(textwrap.wrap(text, 120, break_on_hyphens=False))
