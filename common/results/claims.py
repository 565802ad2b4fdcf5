"""Checks of a published row's texts: its data must say the same."""

import re
from collections.abc import Callable, Iterator
from typing import Any

# A published row (results/published.py), whose `protocol`, `trained` and `table` are asked.
Row = Any


def unsupported(row: Row) -> Iterator[tuple[str, str]]:
    """The field (`source`, `model`) and the words of each claim that the row's data do not have.

    The name of a program, network or data set that is not ours may have the words in it.
    """
    foreign = " ".join(row.trained.foreign.values()).lower()
    for name, text in (("source", row.table.source), ("model", row.model)):
        for pattern, says in CLAIMS:
            for match in re.finditer(pattern, text, re.IGNORECASE):
                if match[0].lower() not in foreign and not says(row, *match.groups()):
                    yield name, match[0]


def _has(name: str, kind: Callable[[str], Any]) -> Callable[..., bool]:
    """Whether a field of the training has the value that the text says."""
    return lambda row, *said: row.trained.fields.get(name) == kind(*said)


def _networks(row: Row) -> list[str]:
    """The network of a row's fields, such as `resnet101`; v1 has but one."""
    fields = row.trained.fields
    named = [fields[name] for name in ("backbone", "base_model") if name in fields]
    named += [ENCODERS.get(fields["encoder"], "")] if "encoder" in fields else []
    named += [f"resnet{fields['depth']}"] if "depth" in fields else []
    named += ["vgg16"] if row.table.reproduction == "v1" else []
    return [re.sub(r"(?<=resnet)_v\d|_beta|_(large|small)_seg|_", "", name) for name in named]


ENCODERS = {"deeplab": "resnet101", "res101": "resnet101", "res50": "resnet50"}


def _network(row: Row, family: str, number: str | None) -> bool:
    """Whether the network that the text names is that of the recipe; a family alone may be any of its networks."""
    said = f"{family}{number or ''}".lower()
    return any(name == said or not number and name.startswith(said) for name in _networks(row))


def _schedule(row: Row, schedule: str, batch: str | None, thousands: str | None) -> bool:
    fields = row.trained.fields
    told = (fields.get("schedule"), fields.get("batch_size"), fields.get("num_steps"))
    return told[0] == schedule.lower() and (not batch or told[1:] == (int(batch), 1000 * int(thousands)))


def _pictures(row: Row, said: str) -> bool:
    """Whether the pictures that the text names trained it: by its fields, or by the names of published weights."""
    plain = said.replace("_", "").lower()
    trained_by = (row.trained.fields.get("train_split", ""), row.trained.weights)
    return any(plain in name.replace("_", "") for name in trained_by)


CLAIMS: tuple[tuple[str, Callable[..., bool]], ...] = (
    (r"trained at (?:OS|output[ _-]stride) ?(\d+)", _has("output_stride", int)),
    (
        r"(?<!trained at )\b(?:OS|output[ _-]stride) ?(\d+)",
        lambda row, stride: row.protocol.output_stride == int(stride),
    ),
    (r"\bCRF\b", lambda row: row.protocol.crf),
    (r"\b(?-i:MSC)\b", lambda row: bool(row.protocol.msc)),
    (r"mirror|\bflip", lambda row: row.protocol.mirror is not False),
    (r"\bscales\b|multi[ _-]?scale", lambda row: row.protocol.scales is None or len(row.protocol.scales) > 1),
    (r"(?:single|one)[ -]scale", lambda row: row.protocol.scales is not None and len(row.protocol.scales) == 1),
    (r"\bnative\b", lambda row: row.protocol.size == "native"),
    (r"\bpadded to (\d+)", lambda row, side: row.protocol.size == int(side)),
    (r"\b(\d+) (?:centre )?crops?\b", lambda row, side: row.protocol.crop == int(side)),
    (r"\bcrop (\d+)", lambda row, side: row.trained.fields.get("crop_size") == (int(side), int(side))),
    (r"\btest\b", lambda row: row.table.split == "test"),
    (r"\bval seen\b", lambda row: row.val_seen),
    (r"\bJFT\b", lambda row: "JFT" in row.trained.private),
    (r"\b(\d+)[ -]?bit\b", lambda row, bits: bits == "8" and row.trained.fields.get("quantize_delay_step", -1) >= 0),
    (r"\b(train_?val|train_?aug)\b", _pictures),
    (r"\bbatch (?:size )?(\d+)", _has("batch_size", int)),
    (r"\b(poly|step)\b(?: (\d+) / (\d+)K)?", _schedule),
    (r"\bblock (\d)", _has("last_block", int)),
    (r"\((\d), (\d), (\d)\)", _has("multi_grid", lambda *grid: tuple(map(int, grid)))),
    (r"\((0\.\d+)\)", _has("depth_multiplier", float)),
    (r"(VGG|ResNet|Xception|MobileNet|DenseNet|NASNet|EfficientNet)(?:[ _-]?(V?\d+|B\d))?\b", _network),
)
