"""results/published.yaml: every published number as a checked row; the file's head explains how to write a row."""

import dataclasses
import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError, brief, quoted
from common.files import Yaml, read_yaml
from common.paths import ROOT
from common.recipe.recipe import Recipe
from common.recipe.values import checked
from common.reproduction import reproductions
from common.results.claims import unsupported
from common.results.possible import data_fault, origin_faults, protocol_faults, training_faults
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
        """The reasons why no recipe of ours can reach a row, by the names of FOREIGN."""
        return {name: getattr(self, name) for name in FOREIGN if getattr(self, name)}


# What says that no recipe of ours can reach a row, and how a missing number's line says it; the first that is there.
FOREIGN = {
    "program": "its own program: {}",
    "private": "{}, which is not public",
    "network": "a recipe: none of ours is {}",
}
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
        tables = read_yaml(path, _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; restore a copy") from None
    try:
        if not isinstance(tables, list):
            raise _Wrong(1, "holds no list of tables")
        rows = [pair for table in tables for pair in _rows(table)]
        _check_links(rows)
    except _Wrong as wrong:
        raise UserError(f"{path}: {wrong}") from None
    return [row for row, _ in rows]


class _Entry(dict):
    """A mapping of the file, and the line that it starts in."""

    line = 0


class _Loader(Yaml):
    """YAML whose mappings know their lines, and have texts as keys."""


def _entry(loader: _Loader, node: yaml.MappingNode) -> _Entry:
    entry = _Entry(loader.construct_mapping(node, deep=True))
    entry.line = node.start_mark.line + 1
    for key in entry:
        if not isinstance(key, str):
            what = f"key {quoted(key)} is no text; write it in quotes"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
    return entry


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _entry)


def _rows(raw: Any) -> list[tuple[PublishedRow, int]]:
    """The rows of a table, each with its line."""
    if not isinstance(raw, _Entry):
        raise _Wrong(1, f"table {quoted(raw)}: is no mapping of fields")
    where = f"table {brief(raw.get('source', 'without a source'))}"
    shared = {name: _mapping(raw.pop(name, _Entry()), raw.line, f"{where}: {name}") for name in ("protocol", "trained")}
    items, line = raw.pop("rows", None), raw.line
    if not isinstance(items, list) or not items:
        raise _Wrong(line, f"{where}: rows is no list of rows")
    table = _build(Source, raw, line, where)
    if table.reproduction not in known_reproductions():
        there = ", ".join(known_reproductions())
        raise _Wrong(line, f"{where}: reproduction is {quoted(table.reproduction)}; there are {there}")
    if fault := data_fault(table.data, table.split, table.classes):
        raise _Wrong(line, f"{where}: {fault}")
    return [_row(item, table, shared, line) for item in items]


def _row(raw: Any, table: Source, shared: Mapping[str, Any], line: int) -> tuple[PublishedRow, int]:
    raw = _mapping(raw, line, f"table {table.source}: a row")
    where = f"{table.source}, row {brief(raw.get('model', 'without a model'))}"
    if "table" in raw:
        raise _Wrong(raw.line, f"{where}: table is no field")
    merged = {}
    for name, given in shared.items():
        own = raw.get(name, _Entry())
        if not isinstance(own, _Entry):
            kind = "a text" if isinstance(own, str) else "no mapping of fields"
            what = f"is {quoted(own)}, {kind}; write it as data, such as {EXAMPLES[name]}"
            raise _Wrong(raw.line, f"{where}: {name} {what}")
        merged[name] = {**given, **own}
    values = {key: value for key, value in raw.items() if key not in merged}
    values |= {"table": table, "trained": _training(merged["trained"], table, raw.line, where)}
    values["protocol"] = _build(Protocol, merged["protocol"], raw.line, f"{where}: protocol")
    row = _build(PublishedRow, values, raw.line, where)
    _check(row, raw.line, where)
    return row, raw.line


EXAMPLES = {"protocol": "{output_stride: 16, crf: true}", "trained": "{init: resnet_v1_101, depth: 101}"}


def _training(raw: Mapping[str, Any], table: Source, line: int, where: str) -> Training:
    """The origins of the weights, and recipe fields of the table's reproduction; null takes a shared field back."""
    raw = {key: value for key, value in raw.items() if value is not None and (value or key not in ORIGINS)}
    origins = {key: raw.pop(key) for key in ORIGINS if key in raw}
    kinds = _kinds(type(_default_recipe(table)))
    fields = {}
    for key, value in raw.items():
        if key not in kinds:
            what = f"is neither a field of {table.reproduction}'s recipe nor one of {', '.join(ORIGINS)}"
            raise _Wrong(line, f"{where}: trained: {quoted(key)} {what}")
        fields[key] = _value(key, kinds[key], value, line, f"{where}: trained")
    training = _build(Training, origins, line, f"{where}: trained")
    if not origins:
        raise _Wrong(line, f"{where}: trained: needs one of {', '.join(ORIGINS)}")
    if training.init and training.weights:
        raise _Wrong(line, f"{where}: trained: has init and weights; published weights are trained by nobody here")
    return dataclasses.replace(training, fields=fields)


def _faults(row: PublishedRow) -> Iterator[str]:
    """List the impossible values in a row's data, each as the end of a sentence."""
    default, trained = _default_recipe(row.table), row.trained
    has_stride = any(hasattr(default, name) for name in ("output_stride", "eval_output_stride"))
    yield from (f"protocol: {fault}" for fault in protocol_faults(row.protocol, has_stride))
    yield from (f"trained: {fault}" for fault in training_faults(default, trained.fields))
    ours = "" if trained.foreign or row.table.split == "test" else row.table.reproduction
    yield from (f"trained: {fault}" for fault in origin_faults(trained.init, trained.weights, ours))
    if row.is_ours and hasattr(default, "eval_output_stride") and row.protocol.output_stride is None:
        yield "protocol: output_stride is missing"
    for name in ("miou", "pixel_accuracy"):
        value = getattr(row, name)
        if value is not None and not 0 < value < 100:
            yield f"{name} is {value:g}, and needs a number of per cent, between 0 and 100"
    if row.multiply_adds is not None and not 0 < row.multiply_adds < 1e6:
        yield f"multiply_adds is {row.multiply_adds:g}, and needs a number of thousand millions, above 0"
    for name, words in unsupported(row):
        yield f"{name} says '{words}', which the row's data do not"


def _build(cls: type, raw: Mapping[str, Any], line: int, where: str) -> Any:
    """A `cls` of the mapping's fields; each field's type is the one annotated there."""
    kinds, fields = _kinds(cls), {f.name: f for f in dataclasses.fields(cls)}
    for name in sorted(raw.keys() - fields.keys()):
        there = ", ".join(name for name in fields if name != "table")
        raise _Wrong(line, f"{where}: {quoted(name)} is no field; there are {there}")
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
    raise _Wrong(line, f"{where}: {name} is {quoted(value)}, and needs {needs}")


def _mapping(raw: Any, line: int, where: str) -> _Entry:
    if not isinstance(raw, _Entry):
        raise _Wrong(line, f"{where} is {quoted(raw)}, and no mapping of fields")
    return raw


@functools.cache
def _kinds(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _default_recipe(table: Source) -> Recipe:
    reproduction = known_reproductions()[table.reproduction]
    return reproduction.variants[reproduction.default_variant]


def _check(row: PublishedRow, line: int, where: str) -> None:
    """Refuse data that cannot be, and texts that say what the data do not."""
    if fault := next(_faults(row), None):
        raise _Wrong(line, f"{where}: {fault}")


def _check_links(rows: list[tuple[PublishedRow, int]]) -> None:
    """Refuse what stands twice, and a `beside` that leads nowhere."""
    ids: set[str] = set()
    seen: list[PublishedRow] = []
    for row, line in rows:
        where = f"{row.table.source}, row {row.model}"
        if row.id and row.id in ids:
            raise _Wrong(line, f"{where}: id {row.id} stands twice; give this row another")
        if row in seen:
            raise _Wrong(line, f"{where}: stands twice; remove one")
        seen.append(row)
        ids |= {row.id} - {""}
    for row, line in rows:
        where = f"{row.table.source}, row {row.model}"
        if row.beside and row.beside == row.id:
            raise _Wrong(line, f"{where}: beside is the row's own id")
        if row.beside and row.beside not in ids:
            raise _Wrong(line, f"{where}: beside is {quoted(row.beside)}, which is no row's id")
