"""The fields of records: every record is checked once, when it is read, so that tables can rely on it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import UserError, brief

DEEPEST = 12  # levels of lists and mappings in a record
LARGEST = 1e15  # of a number
LONGEST_TEXT = 100_000  # characters of a text


@dataclass(frozen=True)
class Kind:
    """A kind of value: what it is, in words, and the test."""

    what: str
    test: Callable[[Any], bool]

    def check(self, value: Any, where: str) -> None:
        """Raises _Wrong when `value`, of the field `where`, is of another kind."""
        if not self.test(value):
            raise _Wrong(f"{where} is {brief(value, 60)}, not {self.what}")


@dataclass(frozen=True)
class Of:
    """A mapping with at least these fields; those in `optional` may be left out."""

    fields: Mapping[str, Any]
    optional: tuple[str, ...] = ()

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _Wrong(f"{where} is {brief(value, 60)}, not a mapping")
        for name, kind in self.fields.items():
            path = f"{where}.{name}" if where else name
            if name in value:
                kind.check(value[name], path)
            elif name not in self.optional:
                raise _Wrong(f"{path} is missing")


@dataclass(frozen=True)
class Each:
    """A mapping from texts to values of one kind, or a list of them."""

    kind: Any
    container: type = dict

    def check(self, value: Any, where: str) -> None:
        if not isinstance(value, self.container):
            raise _Wrong(f"{where} is {brief(value, 60)}, not a {'mapping' if self.container is dict else 'list'}")
        for key, item in value.items() if self.container is dict else enumerate(value):
            self.kind.check(item, f"{where}.{brief(key, 40)}")


@dataclass(frozen=True)
class OrNone:
    """None, or a value of the kind."""

    kind: Any

    def check(self, value: Any, where: str) -> None:
        if value is not None:
            self.kind.check(value, where)


class _Wrong(Exception):
    """A field that is not as the schema says; the message names it."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TEXT = Kind("a text", lambda v: isinstance(v, str))
FLAG = Kind("true or false", lambda v: isinstance(v, bool))
WHOLE = Kind("a whole number of 0 or above", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0)
NUMBER = Kind("a number", _is_number)
SHARE = Kind("a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
SCALES = Kind("a list of scales", lambda v: isinstance(v, list) and all(_is_number(s) and s > 0 for s in v) and v != [])
SIZE = Kind("'native' or a side in pixels", lambda v: v == "native" or (WHOLE.test(v) and v > 0))
SIDES = Kind("a list of two sides", lambda v: isinstance(v, list) and len(v) in (0, 2) and all(map(WHOLE.test, v)))
MARK = Kind("true, 'unknown' or a number of pictures", lambda v: v is True or v == "unknown" or WHOLE.test(v))
PRECISION = Kind("fp32 or bf16", lambda v: v in ("fp32", "bf16"))
ENGINE = Kind("tensorflow, onnxruntime or openvino", lambda v: v in ("tensorflow", "onnxruntime", "openvino"))
FUSION = Kind("a way to fuse scales", lambda v: v in (None, "mean_probability", "max_logits"))
VERSIONS = Each(TEXT)

_PROTOCOL = Of(
    {
        "eval_size": SIZE,
        "scales": SCALES,
        "flip": FLAG,
        "scale_fusion": FUSION,
        "channels": Each(WHOLE, list),
        "eval_tile": WHOLE,
        "eval_overlap": WHOLE,
        "crf": OrNone(Each(NUMBER)),
        "output_stride": OrNone(WHOLE),
        "msc_scales": SCALES,
        "resize_range": SIDES,
        "precision": PRECISION,
        "engine": ENGINE,
        "network_file": TEXT,
    },
    optional=(
        "scale_fusion",
        "crf",
        "output_stride",
        "msc_scales",
        "resize_range",
        "precision",
        "engine",
        "network_file",
        "channels",
        "eval_tile",
        "eval_overlap",
    ),  # fmt: skip
)
# Fields that earlier records don't have.
ABSENT = {
    "code": None, "evaluation": None, "peak_memory_mib": None, "seconds": None, "cores": None, "cpu": None,
    "commit": None, "changed": [], "versions": {},
}  # fmt: skip
_TRAINING = {
    "data": TEXT, "split": TEXT, "images": WHOLE, "pictures_digest": TEXT, "sample": FLAG, "init": OrNone(TEXT),
    "init_digest": OrNone(TEXT), "init_origin": OrNone(TEXT), "init_trained_on": OrNone(Each(TEXT, list)),
    "init_val_unseen": FLAG, "command": TEXT, "val_limit": OrNone(WHOLE),
    "replicas": Each(Of({"from_step": WHOLE, "count": WHOLE}), list),
}  # fmt: skip
# Known before the evaluation, as `records.facts` has it.
FACTS = {
    **dict.fromkeys(("id", "reproduction", "title", "variant"), TEXT),
    "schema": WHOLE,
    "changed": Each(TEXT, list),
    "marks": Each(MARK),
    "data": Of({"title": TEXT, "dataset": TEXT, "split": TEXT, "images": WHOLE}),
    "checkpoint": Of(
        {"path": TEXT, "sha256": TEXT, "step": OrNone(WHOLE), "origin": OrNone(TEXT)}, optional=("origin",)
    ),
    "protocol": _PROTOCOL,
    "miou_before_training": OrNone(SHARE),
    "training": OrNone(Of(_TRAINING, optional=tuple(_TRAINING))),
    "recipe": Of({"num_classes": WHOLE, "num_steps": WHOLE}),
    "code": OrNone(TEXT),
}
# What it took and where, as `records.circumstances` has it.
CIRCUMSTANCES = {
    "seconds": OrNone(NUMBER),
    "peak_memory_mib": OrNone(WHOLE),
    "command": TEXT,
    "commit": OrNone(TEXT),
    "versions": VERSIONS,
    "engine": OrNone(Of({"agreement": SHARE, "pictures": WHOLE, "pixels": WHOLE})),
    "cpu": OrNone(TEXT),
    "cores": OrNone(WHOLE),
    "graphics": Of({"cards": Each(TEXT, list), **dict.fromkeys(("memory_growth", "tf32", "xla"), FLAG)}),
}
OPTIONAL = (*ABSENT, "miou_before_training", "engine", "graphics")
MATRIX = Each(Each(WHOLE, list), list)
_RECORD = Of(
    {
        **FACTS,
        **CIRCUMSTANCES,
        **dict.fromkeys(("finished", "digest"), TEXT),
        "miou": SHARE,
        "pixel_accuracy": SHARE,
        "per_class_iou": Each(OrNone(SHARE)),
        "confusion_matrix": MATRIX,
        "evaluation": OrNone(TEXT),
    },
    optional=OPTIONAL,
)


def check_record(record: Mapping[str, Any], path: str, newest: int) -> None:
    """Raise UserError, which names the file `path` and the field, unless the record is as one that a run wrote.

    `newest` is the schema that this checkout writes.
    """
    check_fields(record, _RECORD, path, newest, again="run it again or delete it")
    classes = len(record["per_class_iou"])
    rows = record["confusion_matrix"]
    if not rows or {len(rows), *map(len, rows)} != {classes}:
        raise UserError(f"{path}: confusion_matrix is not {classes} x {classes}, as per_class_iou has it; run it again")


def check_fields(
    record: Mapping[str, Any], kind: Of, path: str, newest: int, again: str, nan_is_number: bool = False
) -> None:
    """Raise UserError unless `record` has the fields of `kind`; `again` says what to do then."""
    schema = record.get("schema")
    if WHOLE.test(schema) and schema > newest:
        raise UserError(f"{path}: is of schema {brief(schema)}, newer than this checkout; update it")
    try:
        _check_values(record, nan_is_number)
        kind.check(record, "")
    except _Wrong as wrong:
        raise UserError(f"{path}: {wrong}; {again}") from None


def _check_values(value: Any, nan_is_number: bool, where: str = "", depth: int = 0) -> None:
    """Raises _Wrong for what no field of any record holds: NaN, numbers and texts beyond all bounds, deep nesting."""
    if depth > DEEPEST:
        raise _Wrong(f"{brief(where, 60)} is nested too deeply")
    if isinstance(value, float) and math.isnan(value):
        if not nan_is_number:
            raise _Wrong(f"{where} is NaN")
    elif _is_number(value) and abs(value) > LARGEST:
        raise _Wrong(f"{where} is {brief(value, 60)}, too large a number")
    if isinstance(value, str) and (len(value) > LONGEST_TEXT or "\0" in value or not _is_encodable(value)):
        raise _Wrong(f"{where} is {brief(value, 60)}, no text of at most {LONGEST_TEXT:,} characters")
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        if isinstance(key, str) and not _is_encodable(key):
            raise _Wrong(f"{where} has a field {brief(key, 40)!a}, which is no text")
        _check_values(part, nan_is_number, f"{where}.{brief(key, 40)}" if where else brief(key, 40), depth + 1)


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
