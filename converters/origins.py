"""The description of a weight file: who made it, what it holds, and the command that runs or converts it."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.recipe.recipe import format_value
from common.reproduction import Reproduction, Shapes, reproductions
from converters.programs import OURS, Origin, origin_of

EXPORT = f"{OURS}'s export"
PREDICT = "python -m reproductions.{name} predict PICTURE --checkpoint {path} --out DIR"
INIT = "python -m reproductions.{name} train --init {path} --data DATA --run-dir DIR"
VOC_CLASSES = 21
DATASETS = {19: "cityscapes", 32: "ade20k"}  # classes of public files -> the data set's card
# Slots of optimisers, by the ends of their names.
SLOTS = {"Momentum": "momentum", "Adam": "Adam", "RMSProp": "RMSProp", "ExponentialMovingAverage": "moving averages"}
# The fields of a recipe that are told of a file, where its weights tell them.
TOLD = ("backbone", "encoder", "depth", "base_model", "depth_multiplier", "decoder", "image_pooling")


@dataclass(frozen=True)
class Facts:
    """Facts of a file beside the shapes of its arrays.

    Attributes:
      recipe: the stored one, when this suite wrote the file.
      exported: whether this suite's `export` made it.
      notes: sentences of its format: what goes in and out, its stride, its quantisation.
      runs: whether `--checkpoint` takes files of the format, whoever made them; None where it takes those whose weights
        a reproduction has.
      converter: makes a checkpoint of a file of the format; `{path}` is the file, `{name}` the reproduction.
      program: writes the format, and no other does.
      command: converts any file of the format; `{path}` is the file.
    """

    recipe: Mapping[str, object] | None = None
    exported: bool = False
    notes: Sequence[str] = ()
    runs: bool | None = None
    converter: str = ""
    program: str = ""
    command: str = ""


NO_FACTS = Facts()


def describe_origin(path: Path, shapes: Shapes, facts: Facts = NO_FACTS) -> Iterator[str]:
    """Lines that say who made a file, what it holds, and how it is run or converted.

    Args:
      path: the file.
      shapes: of its arrays by name.
      facts: what else its format tells.
    """
    if facts.recipe is not None:
        yield from _ours(path, shapes, facts)
        return
    origin = origin_of(shapes)
    if origin is None:
        yield from _unknown(path, facts)
        return
    classes = _classes(origin, shapes)
    yield f"made by: {_made_by(origin, facts)}"
    counts = [f"{classes} classes"] if classes else []
    yield ", ".join([f"holds: {origin.network}", *counts, *_details(origin, shapes)])
    yield from [*facts.notes, *_training_state(shapes)]
    yield from _commands(path, origin, facts, classes)


def _made_by(origin: Origin, facts: Facts) -> str:
    if origin.program == OURS:
        return f"{EXPORT if facts.exported else OURS}, reproduction {origin.takes}"
    return f"{EXPORT}, by the names of {origin.program}" if facts.exported else origin.program


def _unknown(path: Path, facts: Facts) -> Iterator[str]:
    """Lines about a file whose names are no program's that is known."""
    is_nothing = not facts.runs and not facts.command
    ours = f"{EXPORT}; export.json, which says of which reproduction, is not beside it as it was written"
    made_by = ours if facts.exported else facts.program or "no program known here"
    yield f"made by: {made_by}" + ("; nothing here converts it" if is_nothing else "")
    yield from facts.notes
    if facts.command:
        yield f"convert: {facts.command.format(path=shlex.quote(str(path)))}"
    elif facts.runs:
        name = "NAME" if facts.exported else "v3plus"
        yield f"run: {PREDICT.format(name=name, path=shlex.quote(str(path)))}"


def _classes(origin: Origin, shapes: Shapes) -> int | None:
    """The number of classes: that of the biases of their scores, or what the weights tell the reproduction."""
    told = next((s[0] for name, s in shapes.items() if len(s) == 1 and re.search(origin.scores, name)), None)
    if told is None and origin.takes:
        told = reproductions()[origin.takes].fields_from_weights(shapes).get("num_classes")
    return told


def _settings_for(classes: int | None) -> str:
    """The arguments that say the classes of a network's file, which may give labels alone; empty for VOC's."""
    if classes in (None, VOC_CLASSES):
        return ""
    return f" --set num_classes={classes}" + (f" dataset={DATASETS[classes]}" if classes in DATASETS else "")


def _commands(path: Path, origin: Origin, facts: Facts, classes: int | None) -> Iterator[str]:
    is_taken = bool(origin.takes)
    runs = is_taken if facts.runs is None else facts.runs and not origin.starts
    commands = {
        "run": PREDICT + (_settings_for(classes) if facts.runs else "") if runs else "",
        "train": INIT if origin.starts and facts.runs is None else "",
        "convert": facts.converter if facts.converter and is_taken else origin.command,
    }
    if not any(commands.values()):
        commands["convert"] = "nothing here reads it"
    name = origin.takes or origin.starts or "v3plus"
    for verb, command in commands.items():
        if command:
            yield f"{verb}: {command.format(path=shlex.quote(str(path)), name=name)}"


def _details(origin: Origin, shapes: Shapes) -> list[str]:
    """The fields of the recipe that the weights tell the reproduction that takes them."""
    if not origin.takes:
        return []
    told = reproductions()[origin.takes].fields_from_weights(shapes)
    return [f"{name}={format_value(told[name])}" for name in TOLD if name in told]


def _training_state(shapes: Iterable[str]) -> list[str]:
    slots = {title for end, title in SLOTS.items() if any(name.endswith(f"/{end}") for name in shapes)}
    return [f"training state: {', '.join(sorted(slots))}"] if slots else []


def _ours(path: Path, shapes: Shapes, facts: Facts) -> Iterator[str]:
    recipe = facts.recipe or {}
    owner = owner_of(recipe)
    what = EXPORT if facts.runs else OURS
    yield f"made by: {what}, {f'reproduction {owner.name}' if owner else 'in another version'}"
    fields = ("variant", "dataset", "num_classes", *TOLD, "output_stride", "eval_output_stride")
    yield "holds: " + ", ".join(f"{name}={format_value(recipe[name])}" for name in fields if name in recipe)
    yield from [*facts.notes, *_training_state(shapes)]
    commands = {"run": PREDICT, "convert": facts.converter} if owner else {}
    for verb, command in commands.items():
        if command:
            yield f"{verb}: {command.format(name=owner.name, path=shlex.quote(str(path)))}"


def owner_of(recipe: Mapping[str, object]) -> Reproduction | None:
    """The reproduction that a stored recipe is of; None when it has none of this version."""
    return next((reproduction for reproduction in reproductions().values() if _is_of(reproduction, recipe)), None)


def _is_of(reproduction: Reproduction, recipe: Mapping[str, object]) -> bool:
    """Whether a stored recipe has the fields of a reproduction's, and no others."""
    known = set(reproduction.variants[reproduction.default_variant].to_json())
    return set(recipe) <= known and len(set(recipe)) > len(known) // 2


def refuse_foreign(shapes: Shapes, name: str) -> None:
    """Raise UserError when the names of a file's arrays are those of a network that the reproduction `name` has not."""
    origin = origin_of(shapes)
    if origin and origin.takes != name:
        then = f"give --to {origin.takes}" if origin.takes else "nothing here runs it as a checkpoint"
        raise UserError(f"is {origin.network} of {origin.program}; {then}")
