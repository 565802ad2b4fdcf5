"""results/published.yaml: every published number as a checked row; the file's head explains how to write a row."""

import dataclasses
import functools
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError, brief
from common.files import read_text
from common.paths import ROOT
from common.recipe.recipe import Recipe
from common.recipe.values import checked
from common.reproduction import reproductions
from common.results.protocol import Protocol

PUBLISHED = ROOT / "results" / "published.yaml"
known_reproductions = functools.cache(reproductions)  # whose recipes the rows speak of


@dataclass(frozen=True, kw_only=True)
class Training:
    """Where a published number's weights come from.

    Attributes:
      fields: recipe fields that matter, with their values; a record's recipe must have them all.
      init: name of the weights that training started from; `random` is none.
      weights: published weights, by their place below weights/, which are evaluated as they are.
      program: the program of others that trained it.
      network: a network or a data set that none of our recipes has.
      private: data that only its owner has.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    init: str = ""
    weights: str = ""
    program: str = ""
    network: str = ""
    private: str = ""

    @property
    def foreign(self) -> dict[str, str]:
        """The reasons why no recipe of ours can reach a row, by name: `program`, `network`, `private`."""
        return {name: getattr(self, name) for name in FOREIGN if getattr(self, name)}


FOREIGN = ("program", "network", "private")
ORIGINS = ("init", "weights", *FOREIGN)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table of a paper or a page: what its rows share.

    Attributes:
      source: where it was published; it starts with `arXiv` when that is a paper.
      reproduction: whose network the rows are of.
      data: the data set's title, as records have it.
      split: what was evaluated.
      classes: how many there are.
      note: printed below the title.
    """

    source: str
    reproduction: str
    data: str
    split: str
    classes: int
    note: str = ""

    @property
    def title(self) -> str:
        """`VOC2012 val`, as a record's `data` has it."""
        return f"{self.data} {self.split}"

    @property
    def is_paper(self) -> bool:
        return self.source.startswith("arXiv")


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A published number: mIoU in per cent, its protocol, and the origin of its weights.

    Attributes:
      table: the fields that all rows of its source share.
      model: what the source calls it.
      miou, pixel_accuracy: in per cent.
      multiply_adds: in thousand millions, where the source tells them.
      protocol: how it was evaluated.
      trained: where its weights come from.
      headline: whether the README shows it once there is a number of ours beside it.
      uncertain: whether the source does not say clearly what the number measures.
      val_seen: whether the weights were trained on the pictures that were evaluated.
      id: the name that `beside` of other rows refers to.
      beside: id of the row that this one measures or prints again.
      of: name of the repository, where the source names several.
    """

    table: Source
    model: str
    miou: float
    protocol: Protocol
    trained: Training
    pixel_accuracy: float | None = None
    multiply_adds: float | None = None
    headline: bool = False
    uncertain: bool = False
    val_seen: bool = False
    id: str = ""
    beside: str = ""
    of: str = ""

    @property
    def marks(self) -> dict[str, Any]:
        """The marks that a record of the same measurement has."""
        return {
            **({"val_seen": True} if self.val_seen else {}),
            **({"random_split": True} if self.table.split.startswith("random") else {}),
        }

    @property
    def is_ours(self) -> bool:
        """Whether a recipe of ours, or its published weights, can give such a number."""
        return not self.trained.foreign and self.protocol.is_ours


class _Wrong(Exception):
    """A fault of published.yaml: the line where it has one, the place, and what is wrong there."""

    def __init__(self, line: int | None, what: str):
        super().__init__(f"line {line}: {what}" if line else what)


def read_published(path: Path = PUBLISHED) -> list[PublishedRow]:
    """All rows, in the file's order.

    Raises:
      UserError: the file cannot be read, or a row misses a field, has an unknown one, one of the wrong type, or a
        text that says more than its data; one sentence names the file, the line, the row and the field.
    """
    try:
        tables = yaml.load(read_text(path), Loader=_Loader)  # noqa: S506 (a safe loader's child)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({brief(' '.join(str(error).split()))})") from None
    try:
        if not isinstance(tables, list):
            raise _Wrong(1, "holds no list of tables")
        rows = [row for table in tables for row in _rows(table)]
        _check_links(rows)
    except _Wrong as wrong:
        raise UserError(f"{path}: {wrong}") from None
    return rows


class _Entry(dict):
    """A mapping of the file, and the line that it starts in."""

    line = 0


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML whose mappings know their lines; a key that stands twice is refused."""


def _entry(loader: _Loader, node: yaml.MappingNode) -> _Entry:
    pairs = loader.construct_pairs(node, deep=True)
    entry = _Entry()
    entry.line = node.start_mark.line + 1
    for key, value in pairs:
        if not isinstance(key, str) or key in entry:
            raise ValueError(f"line {entry.line}: key {_shown(key)} stands twice, or is no text")
        entry[key] = value
    return entry


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _entry)


def _rows(raw: Any) -> list[PublishedRow]:
    if not isinstance(raw, _Entry):
        raise _Wrong(1, f"table {_shown(raw)}: is no mapping of fields")
    where = f"table {brief(raw.get('source', 'without a source'))}"
    shared = {name: _mapping(raw.pop(name, _Entry()), raw.line, f"{where}: {name}") for name in ("protocol", "trained")}
    items, line = raw.pop("rows", None), raw.line
    if not isinstance(items, list) or not items:
        raise _Wrong(line, f"{where}: rows is no list of rows")
    table = _build(Source, raw, line, where)
    if table.reproduction not in known_reproductions():
        there = ", ".join(known_reproductions())
        raise _Wrong(line, f"{where}: reproduction is {_shown(table.reproduction)}; there are {there}")
    return [_row(item, table, shared, line) for item in items]


def _row(raw: Any, table: Source, shared: Mapping[str, Any], line: int) -> PublishedRow:
    raw = _mapping(raw, line, f"table {table.source}: a row")
    where = f"{table.source}, row {brief(raw.get('model', 'without a model'))}"
    if "table" in raw:
        raise _Wrong(raw.line, f"{where}: table is no field")
    merged = {}
    for name, given in shared.items():
        own = raw.get(name, _Entry())
        if not isinstance(own, _Entry):
            what = f"is {_shown(own)}, a text; write it as data, such as {{output_stride: 16, crf: true}}"
            raise _Wrong(raw.line, f"{where}: {name} {what}")
        merged[name] = {**given, **own}
    values = {key: value for key, value in raw.items() if key not in merged}
    values |= {"table": table, "trained": _training(merged["trained"], table, raw.line, where)}
    values["protocol"] = _build(Protocol, merged["protocol"], raw.line, f"{where}: protocol")
    row = _build(PublishedRow, values, raw.line, where)
    _check(row, raw.line, where)
    return row


def _training(raw: Mapping[str, Any], table: Source, line: int, where: str) -> Training:
    """The origins of the weights, and recipe fields of the table's reproduction; null takes a shared field back."""
    raw = {key: value for key, value in raw.items() if value is not None and (value or key not in ORIGINS)}
    origins = {key: raw.pop(key) for key in ORIGINS if key in raw}
    kinds = _kinds(type(_default_recipe(table)))
    fields = {}
    for key, value in raw.items():
        if key not in kinds:
            what = f"is neither a field of {table.reproduction}'s recipe nor one of {', '.join(ORIGINS)}"
            raise _Wrong(line, f"{where}: trained: {_shown(key)} {what}")
        fields[key] = _value(key, kinds[key], value, line, f"{where}: trained")
    training = _build(Training, origins, line, f"{where}: trained")
    if not origins:
        raise _Wrong(line, f"{where}: trained: needs one of {', '.join(ORIGINS)}")
    if training.init and training.weights:
        raise _Wrong(line, f"{where}: trained: has init and weights; published weights are trained by nobody here")
    return dataclasses.replace(training, fields=fields)


def _build(cls: type, raw: Mapping[str, Any], line: int, where: str) -> Any:
    """A `cls` of the mapping's fields; each field's type is the one annotated there."""
    kinds, fields = _kinds(cls), {f.name: f for f in dataclasses.fields(cls)}
    for name in sorted(raw.keys() - fields.keys()):
        there = ", ".join(name for name in fields if name != "table")
        raise _Wrong(line, f"{where}: {_shown(name)} is no field; there are {there}")
    for name, f in fields.items():
        if name not in raw and f.default is f.default_factory is dataclasses.MISSING:
            raise _Wrong(line, f"{where}: {name} is missing")
    given = {name: value for name, value in raw.items() if not isinstance(value, _DONE)}
    return cls(**{**raw, **{name: _value(name, kinds[name], value, line, where) for name, value in given.items()}})


_DONE = (Source, Protocol, Training)  # read before the row that holds them


def _value(name: str, kind: Any, value: Any, line: int, where: str) -> Any:
    is_plain = not isinstance(value, dict) and not (
        isinstance(value, list) and any(isinstance(item, dict | list) for item in value)
    )
    needs = "plain values"
    if is_plain:
        try:
            return checked(name, kind, value)
        except UserError as error:
            needs = str(error).rpartition(": needs ")[2]
    raise _Wrong(line, f"{where}: {name} is {_shown(value)}, and needs {needs}")


def _shown(value: Any) -> str:
    """A value as a message quotes it."""
    return repr(brief(value)) if isinstance(value, str) else brief(value)


def _mapping(raw: Any, line: int, where: str) -> _Entry:
    if not isinstance(raw, _Entry):
        raise _Wrong(line, f"{where} is {_shown(raw)}, and no mapping of fields")
    return raw


@functools.cache
def _kinds(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _default_recipe(table: Source) -> Recipe:
    reproduction = known_reproductions()[table.reproduction]
    return reproduction.variants[reproduction.default_variant]


def _check(row: PublishedRow, line: int, where: str) -> None:
    """Refuse impossible numbers, and texts that say more than the data."""
    for name in ("miou", "pixel_accuracy"):
        value = getattr(row, name)
        if value is not None and not 0 < value < 100:
            raise _Wrong(line, f"{where}: {name} is {value:g}, and needs a number of per cent, between 0 and 100")
    has_stride = hasattr(_default_recipe(row.table), "eval_output_stride")
    if row.is_ours and has_stride and row.protocol.output_stride is None:
        raise _Wrong(line, f"{where}: protocol: output_stride is missing")
    for text, name in ((row.table.source, "source"), (row.model, "model")):
        for pattern, says in CLAIMS:
            for match in re.finditer(pattern, text):
                if not says(row, *match.groups()) and match[0] not in " ".join(row.trained.foreign.values()):
                    raise _Wrong(line, f"{where}: {name} says '{match[0]}', which the row's data do not")


def _check_links(rows: list[PublishedRow]) -> None:
    ids = [row.id for row in rows if row.id]
    for row in rows:
        where = f"{row.table.source}, row {row.model}"
        if row.id and ids.count(row.id) > 1:
            raise _Wrong(None, f"{where}: id {row.id} stands twice")
        if row.beside and row.beside not in ids:
            raise _Wrong(None, f"{where}: beside is {row.beside!r}, which is no row's id")


def _has(name: str, kind: Callable[[str], Any]) -> Callable[..., bool]:
    """Whether a field of the training has the value that the text says."""
    return lambda row, *said: row.trained.fields.get(name) == kind(*said)


def _network(row: PublishedRow, *said: str) -> bool:
    """Whether the network that the text names is the one of the recipe's fields."""
    values = [row.trained.fields[name] for name in ("depth", "encoder", "backbone", "base_model") if
              name in row.trained.fields]  # fmt: skip
    return any(value in NETWORKS[said[0]] for value in values)


NETWORKS = {
    "ResNet-50": (50, "res50", "resnet_v1_50", "resnet_v1_50_beta"),
    "ResNet-101": (101, "deeplab", "res101", "resnet_v1_101", "resnet_v1_101_beta"),
    "Xception-41": ("xception_41",),
    "Xception-65": ("xception_65",),
    "Xception-71": ("xception_71",),
    "MobileNetV2": ("mobilenet_v2", "mobilenetv2"),
}

# If a text says this, the data must say it too; networks and programs that are not ours may have it in their name.
CLAIMS: tuple[tuple[str, Callable[..., bool]], ...] = (
    (r"[Tt]rained at OS ?(\d+)", _has("output_stride", int)),
    (r"(?<!trained at )(?<!Trained at )\bOS ?(\d+)", lambda row, stride: row.protocol.output_stride == int(stride)),
    (r"\bCRF\b", lambda row: row.protocol.crf),
    (r"\bMSC\b", lambda row: bool(row.protocol.msc)),
    (r"[Mm]irror|\bflip", lambda row: row.protocol.mirror is not False),
    (r"\bscales\b|multi-scale", lambda row: row.protocol.scales is None or len(row.protocol.scales) > 1),
    (r"(?:single|one) scale", lambda row: row.protocol.scales is not None and len(row.protocol.scales) == 1),
    (r"\btest\b", lambda row: row.table.split == "test"),
    (r"\bval seen\b", lambda row: row.val_seen),
    (r"\bJFT\b", lambda row: "JFT" in row.trained.private),
    (r"\b(\d+) (?:centre )?crop\b", lambda row, side: row.protocol.crop == int(side)),
    (r"\bcrop (\d+)", lambda row, side: row.trained.fields.get("crop_size") == (int(side), int(side))),
    (r"\bbatch (\d+)", _has("batch_size", int)),
    (r"\bblock (\d)", _has("last_block", int)),
    (r"\((\d), (\d), (\d)\)", _has("multi_grid", lambda *grid: tuple(map(int, grid)))),
    (r"\((0\.\d+)\)", _has("depth_multiplier", float)),
    (f"({'|'.join(NETWORKS)})", _network),
)
