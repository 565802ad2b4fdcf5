"""The marks of records: why a number is no reproduction. Every table, the report and the README take them from here."""

import textwrap
from collections.abc import Mapping
from typing import Any

MARKS = {
    "sample": "drawn pictures: the number says that the machinery works, and reproduces nothing",
    "val_seen": "the weights were trained on pictures that they are evaluated on",
    "val_seen?": "the weights are from elsewhere, and nobody said whether they have seen these pictures",
    "random_split": "train_aug and val shuffled together, one tenth of them evaluated",
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
    text = f"Marks: {items}. A marked number stands beside a published one only where that has the same mark."
    return "\n".join(textwrap.wrap(text, 120, break_on_hyphens=False))
