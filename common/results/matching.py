"""Records beside published rows: which record matches a row, and which commands a missing one needs."""

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.lists import card_by_name
from common.data.sets.cards import CARDS
from common.data.split import NAMES, SOURCES, Split, divide
from common.downloads.origin import origin_of
from common.export.cache import LEAST_AGREEMENT
from common.paths import slug
from common.recipe.recipe import Recipe, format_value
from common.recipe.settings import with_newer_fields
from common.results.possible import COCO_STARTS, FIRST_STAGES
from common.results.protocol import Protocol
from common.results.published import FOREIGN, PublishedRow, Training, known_reproductions
from common.results.records import PROTOCOL_FIELDS
from common.training.seen import suite_manifest
from common.weights.checkpoint_files import PREFIX

SAMPLE_DATA = "VOC2012"  # the data set whose classes the drawn sample set has


def matching_record(row: PublishedRow, records: Iterable[dict]) -> dict | None:
    """The newest record that may stand beside a published number.

    It has the same data, protocol and marks. Its weights are the published ones, or those of a finished run that began
    as the row says and was trained on the whole split by the row's recipe.
    """
    return max((r for r in records if matches(row, r)), key=lambda r: r["finished"], default=None)


def matches(row: PublishedRow, record: Mapping[str, Any], protocol: Protocol | None = None) -> bool:
    """Whether a record measures the same as a published row; `protocol` is the record's own unless it is given."""
    recipe = record["recipe"]
    return (
        record["reproduction"] == row.table.reproduction
        and record["marks"] == row.marks
        and (record["data"]["title"], recipe["num_classes"]) == (row.table.title, row.table.classes)
        and (protocol or _protocol(record)) == row.protocol
        and is_trained_by(recipe, row.trained)
        and _has_published_crf(record, row)
        and (_are_published(record, row) if row.trained.weights else _is_run_of(record, row))
    )


def _protocol(record: Mapping[str, Any]) -> Protocol:
    """The record's protocol; an engine that gave TensorFlow's labels stands for TensorFlow."""
    protocol, compared = Protocol.of_record(record["protocol"]), record.get("engine")
    agrees = compared and protocol.precision == "fp32" and compared["agreement"] >= LEAST_AGREEMENT["fp32"]
    return dataclasses.replace(protocol, engine="tensorflow") if agrees else protocol


def is_trained_by(recipe: Mapping[str, Any], trained: Training) -> bool:
    """Whether a record's recipe, as JSON, has all fields of a row's training, which must be possible here."""
    told = {**trained.fields, **trained.foreign}
    ours = all(name in told or name not in recipe for name in FOREIGN)
    return ours and all(name in recipe and _plain(recipe[name]) == value for name, value in told.items())


def _plain(value: Any) -> Any:
    """A JSON value with tuples for lists, as recipe fields have them."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _is_run_of(record: Mapping[str, Any], row: PublishedRow) -> bool:
    """Whether the weights are those of a finished run that began as the row says and had its recipe and pictures."""
    ours, training = recipe_for(row), record["training"]
    if not row.trained.init:
        return True  # somebody else's: no record of ours has its `program`
    path, step = Path(record["checkpoint"]["path"]).name, record["checkpoint"]["step"]
    recipe = ours and ours[0].derive(**ours[1])
    return (
        training is not None
        and (recipe is None or _has_recipe(record["recipe"], recipe, row) and _has_data(training, recipe))
        and _began_from(training, row.trained.init)
        and path.startswith(PREFIX)
        and step == record["recipe"]["num_steps"]
    )


# Fields that the protocol states.
OF_PROTOCOL = (
    "eval_output_stride", "eval_scales", "eval_flip", "scale_fusion", "eval_tile", "eval_overlap", "msc_scales", "crf",
    "eval_size",
)  # fmt: skip
# Fields of an evaluation that no protocol states.
UNSTATED = ("eval_padding", "picture_interpolation", "resize_rule", "resize_factor")


def _has_recipe(found: Mapping[str, Any], recipe: Recipe, row: PublishedRow) -> bool:
    """Whether a record's recipe is a row's in all but its name, the protocol, and the fields that the data decide."""
    free = {"variant", "num_classes", *OF_PROTOCOL, "resize_range", *recipe.fields_set_by_data()}
    free |= {name for name in found if name.startswith("crf_")}  # compared where there is a CRF
    wanted, found = recipe.to_json(), with_newer_fields(found, recipe)
    # An evaluation may bring pictures to other sides than training does; its protocol states them.
    ranges = (_plain(wanted["resize_range"]), row.protocol.resize_range)
    return _plain(found["resize_range"]) in ranges and all(
        _plain(found[name]) == _plain(value) for name, value in wanted.items() if name not in free
    )


def _has_data(training: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether a run was trained on the whole split that a recipe names."""
    card, split = card_by_name(recipe.dataset), recipe.train_split
    size = card.split_sizes.get(split)
    if split in NAMES:
        size = len(divide(list(range(sum(card.split_sizes[source] for source in SOURCES))), split))
    return (
        training.get("data") == f"{card.title} {split}"
        and training.get("split") == split
        and size in (None, training.get("images"))
        and training.get("sample") is False
    )


def _began_from(training: Mapping[str, Any], init: str) -> bool:
    """Whether a run began from the weights that a row names."""
    start = training.get("init")
    if init == "random" or not start:
        return init == "random" and not start
    return _are_called({*init.split("/")}, start, training.get("init_origin"), "init_origin" in training)


def _are_published(record: Mapping[str, Any], row: PublishedRow) -> bool:
    """Whether the weights are those that a row names, evaluated as their variant says where no protocol states it."""
    entry, _, file = row.trained.weights.partition("/")
    known = suite_manifest().entries.get(entry)
    variants = (
        {weights.variant for weights in known.weights if weights.variant and file in weights.path} if known else ()
    )
    ours, recipe, checkpoint = known_reproductions()[row.table.reproduction], record["recipe"], record["checkpoint"]
    return (
        record["training"] is None
        and set(record["changed"]) <= {*row.trained.fields, *PROTOCOL_FIELDS}
        and any(all(recipe.get(n) == getattr(ours.variants[v], n) for n in UNSTATED) for v in variants)
        and _are_called(
            {*row.trained.weights.split("/")}, checkpoint["path"], checkpoint.get("origin"), "origin" in checkpoint
        )
    )


def _are_called(names: set[str], path: str, origin: str | None, is_told: bool) -> bool:
    """Whether weights have these names: those of the entry of the manifest that their digest tells (`origin`).

    Weights that the manifest has are no others that are called so. In records from before origins were told, their
    place below weights/ decides; for weights that the manifest does not have, any place.
    """
    if origin:
        return names <= _names(origin)
    in_place = not is_told and Path(path).parts[:1] == ("weights",)
    return names <= _names(path) and (in_place or not any(names <= known for known in _known_names()))


@functools.cache
def _known_names() -> tuple[frozenset[str], ...]:
    """The names of each weight file of the manifest."""
    entries = suite_manifest().entries.items()
    return tuple(
        frozenset(_names(f"{name}/{w.checkpoint or w.path}")) for name, entry in entries for w in entry.weights
    )


def _names(path: str | Path) -> set[str]:
    """The possible names of a weight file: its folders' names, and its own with and without its ending."""
    return {*Path(path).parts, re.sub(r"\.(ckpt|npz|h5|caffemodel)\b.*", "", Path(path).name)}


def _has_published_crf(record: Mapping[str, Any], row: PublishedRow) -> bool:
    """Whether the CRF had the parameters of the row's recipe."""
    parameters, ours = record["protocol"].get("crf"), recipe_for(row)
    return parameters is None or ours is None or parameters == ours[0].derive(crf=True).crf_parameters()


def recipe_for(row: PublishedRow) -> tuple[Recipe, dict[str, Any]] | None:
    """The variant nearest to a row's training, and the fields that must be set in it; None where no recipe of ours
    fits."""
    reproduction = known_reproductions().get(row.table.reproduction)
    if row.trained.foreign or reproduction is None:
        return None
    told = row.trained.fields

    def changes(recipe: Recipe) -> dict[str, Any]:
        return {name: value for name, value in told.items() if getattr(recipe, name) != value}

    nearest = min(reproduction.variants.values(), key=lambda recipe: len(changes(recipe)))
    return nearest, changes(nearest)


def what_it_needs(row: PublishedRow) -> str:
    """The commands that a missing number needs, or the reason why there are none."""
    table, trained = row.table, row.trained
    if table.split == "test":
        return "the test server: the labels are not public"
    if trained.foreign:
        name, reason = next(iter(trained.foreign.items()))
        return FOREIGN[name].format(reason)
    unlike = row.protocol.why_not_ours and f", then its own evaluation: {row.protocol.why_not_ours}"
    if trained.weights:
        name = trained.weights.split("/")[0]
        return f"`make weights NAME={name}`{unlike or f', then `make eval-all {_data_arguments(row)}`'}"
    commands = _training(row)[0] if unlike else _commands(row)
    return " then ".join(f"`{command}`" for command in commands) + unlike


def _data_arguments(row: PublishedRow) -> str:
    dataset = next(card.name for card in CARDS.values() if card.title == row.table.data)
    default = Recipe.dataset == dataset and row.table.split == "val"
    return f"DATA={_folder(row)}" + ("" if default else f" DATASET={dataset} SPLIT={row.table.split}")


def _folder(row: PublishedRow) -> str:
    """The title of a row's data set as one word, which stands for its folder in commands."""
    return row.table.data.replace(" ", "-")


def _start(row: PublishedRow) -> tuple[list[str], str]:
    """The commands that make a row's start, where a run of another variant is one, and the start's file or name."""
    name, init = row.table.reproduction, row.trained.init
    first = COCO_STARTS[name] if init == "coco" else FIRST_STAGES.get((name, init))
    if first is None:
        return [], init
    recipe = known_reproductions()[name].variants[init]
    data, steps = "data/coco" if recipe.dataset == "coco" else row.table.data, recipe.num_steps
    command = f"make reproduce-{name} DATA={data} INIT={first} SET=variant={init} RUN_DIR=runs/{init}"
    return [command], f"runs/{init}/{PREFIX}-{steps}"  # the folder's name is the row's `init`


def _training(row: PublishedRow) -> tuple[list[str], str, str]:
    """The commands that train as a row says, the run's folder, and the checkpoint's step."""
    name, data = row.table.reproduction, _folder(row)
    (first, start), (recipe, changes) = _start(row), recipe_for(row)
    settings = " ".join([f"variant={recipe.variant}", *_settings(changes)])
    words = (slug(text) for text in (*_settings(changes), row.trained.init))  # other weights begin another run
    run = "-".join((f"runs/{name}-{recipe.variant}-{data}", *words))
    train = f"make reproduce-{name.replace('_', '-')} DATA={data} INIT={start}"
    train += f' SET="{settings}"' if changes else f" SET={settings}"
    train += f" RUN_DIR={run}"
    steps = (
        "N" if recipe.epochs else changes.get("num_steps", recipe.num_steps)
    )  # the number depends on the data when the recipe counts epochs
    return [*first, train], run, str(steps)


def _commands(row: PublishedRow) -> list[str]:
    """The commands that train as a row says, and the command that evaluates it."""
    name, data, (recipe, _) = row.table.reproduction, _folder(row), recipe_for(row)
    training, run, steps = _training(row)
    how = _settings(row.protocol.changes(recipe))
    out = "-".join((Path(run).name, row.table.split, *map(slug, how)))  # of its own: evaluations replace each other
    evaluate = f".venv/bin/python -m reproductions.{name} evaluate --data {data} --split {row.table.split} "
    evaluate += f"--checkpoint {run}/{PREFIX}-{steps} --out out/{out}"
    evaluate += f" --set {' '.join(how)}" if how else ""
    return [*training, evaluate]


def _settings(changes: Mapping[str, Any]) -> list[str]:
    return [f"{name}={format_value(value)}" for name, value in changes.items()]


def reported_protocols(
    rows: Sequence[PublishedRow], reproduction: str, recipe: Recipe, split: Split, checkpoint: Path
) -> list[dict[str, Any]]:
    """List the changes of `recipe` for every protocol that published.yaml reports of this checkpoint on this data set.

    The rows of exactly these weights count first, then the rows of the same training. Where there are none, and on the
    drawn sample set (which takes VOC's rows), all rows count that are of its reproduction and data set and were trained
    at its output stride; then the recipe keeps its own size. Rows of the test split count too: its ways of evaluation
    can be measured on val.
    """
    data = SAMPLE_DATA if split.is_sample else split.card.title
    ours = [row for row in rows if row.table.reproduction == reproduction and row.table.data == data and row.is_ours]
    fields, stride = recipe.to_json(), getattr(recipe, "output_stride", None)
    origin = origin_of(checkpoint, suite_manifest())
    called = functools.partial(_are_called, path=str(checkpoint), origin=origin and origin.name, is_told=False)
    own = [row for row in ours if row.trained.weights and called({*row.trained.weights.split("/")})]
    own = own or [row for row in ours if not row.trained.weights and is_trained_by(fields, row.trained)]
    if split.is_sample or not own:
        others = [row for row in ours if row.trained.fields.get("output_stride", stride) == stride]
        found = [row.protocol.changes(recipe, keep_size=True) for row in others]
    else:
        found = [row.protocol.changes(recipe) for row in own]
    return [dict(changes) for changes in dict.fromkeys(tuple(changes.items()) for changes in found)]
