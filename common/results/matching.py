"""Records beside published rows: which record matches a row, and which commands a missing one needs."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.split import Split
from common.downloads.manifest import read_manifest
from common.paths import slug
from common.recipe.recipe import Recipe, format_value
from common.results.protocol import Protocol
from common.results.published import FOREIGN, PublishedRow, Training, known_reproductions
from common.results.records import PROTOCOL_FIELDS
from common.weights.checkpoint_files import PREFIX

known_weights = functools.cache(read_manifest)
SAMPLE_DATA = "VOC2012"  # the data set whose classes the drawn sample set has


def matching_record(row: PublishedRow, records: Iterable[dict]) -> dict | None:
    """The newest record that may stand beside a published number.

    It has the same data, protocol, training and initial weights; it was trained to its recipe's end and has only the
    row's own marks. Its recipe differs from a named variant only in the protocol and in what the row states.
    """
    return max((r for r in records if matches(row, r)), key=lambda r: r["finished"], default=None)


def matches(row: PublishedRow, record: Mapping[str, Any], protocol: Protocol | None = None) -> bool:
    """Whether a record measures the same as a published row; `protocol` is the record's own unless it is given."""
    recipe = record["recipe"]
    return (
        record["reproduction"] == row.table.reproduction
        and record["marks"] == row.marks
        and (record["data"]["title"], recipe["num_classes"]) == (row.table.title, row.table.classes)
        and (protocol or Protocol.of_record(record["protocol"])) == row.protocol
        and is_trained_by(recipe, row.trained)
        and set(record["changed"]) <= {*row.trained.fields, *PROTOCOL_FIELDS}
        and _has_published_crf(record, row)
        and _has_start(record, row.trained)
    )


def is_trained_by(recipe: Mapping[str, Any], trained: Training) -> bool:
    """Whether a record's recipe, as JSON, has all fields of a row's training, which must be possible here."""
    told = {**trained.fields, **trained.foreign}
    ours = all(name in told or name not in recipe for name in FOREIGN)
    return ours and all(name in recipe and _plain(recipe[name]) == value for name, value in told.items())


def _plain(value: Any) -> Any:
    """A JSON value with tuples for lists, as recipe fields have them."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _has_start(record: Mapping[str, Any], trained: Training) -> bool:
    """Whether the weights are the published ones, or those of a finished run that began as the row says."""
    training = record["training"]
    if trained.weights:
        return training is None and _are_published(record, trained)
    if not trained.init:
        return True  # somebody else's: no record of ours has its `program`
    if training is None or (trained.init not in _names(training.get("init") or "random")):
        return False
    path, step = Path(record["checkpoint"]["path"]).name, record["checkpoint"]["step"]
    return path.startswith(PREFIX) and step == record["recipe"]["num_steps"]


def _are_published(record: Mapping[str, Any], trained: Training) -> bool:
    """Whether the weights are those that a row names: by their path in weights/, or elsewhere by their variant."""
    path, (entry, _, file) = record["checkpoint"]["path"], trained.weights.partition("/")
    if _lies_in_place(path, trained):
        return True
    manifest = known_weights()
    variants = (
        {w.variant for w in manifest.entries[entry].weights if file in w.path} if entry in manifest.entries else ()
    )
    return not _names(path) & manifest.entries.keys() and record["variant"] in variants


def _lies_in_place(path: str | Path, trained: Training) -> bool:
    """Whether a checkpoint lies where `make weights` puts the published weights of a row."""
    return set(trained.weights.split("/")) <= _names(path)


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
    if trained.private:
        return f"{trained.private}, which is not public"
    if trained.network:
        return f"a recipe: none of ours is {trained.network}"
    if trained.program:
        return f"its own program: {trained.program}"
    if not row.protocol.is_ours:
        return "another evaluation than ours, which takes whole pictures"
    if trained.weights:
        name = trained.weights.split("/")[0]
        return f"`make weights NAME={name}`, then `make eval-all {_data_arguments(row)}`"
    return " then ".join(f"`{command}`" for command in _commands(row))


def _data_arguments(row: PublishedRow) -> str:
    dataset = row.table.data.lower()
    default = Recipe.dataset == dataset and row.table.split == "val"
    return f"DATA={row.table.data}" + ("" if default else f" DATASET={dataset} SPLIT={row.table.split}")


def _commands(row: PublishedRow) -> tuple[str, str]:
    """The command that trains as a row says, and the command that evaluates it."""
    name, data = row.table.reproduction, row.table.data
    recipe, changes = recipe_for(row)
    settings = " ".join([f"variant={recipe.variant}", *_settings(changes)])
    run = f"runs/{name}-{recipe.variant}-{data}" + "".join(f"-{slug(text)}" for text in _settings(changes))
    train = f"make reproduce-{name.replace('_', '-')} DATA={data} INIT={row.trained.init}"
    train += f' SET="{settings}" RUN_DIR={run}' if changes else f" SET={settings}"
    steps = "N" if recipe.epochs else changes.get("num_steps", recipe.num_steps)  # with epochs it depends on the data
    how = _settings(row.protocol.changes(recipe))
    evaluate = f"python -m reproductions.{name} evaluate --data {data} --split {row.table.split} "
    evaluate += f"--checkpoint {run}/{PREFIX}-{steps} --out out"
    return train, evaluate + (f" --set {' '.join(how)}" if how else "")


def _settings(changes: Mapping[str, Any]) -> list[str]:
    return [f"{name}={format_value(value)}" for name, value in changes.items()]


def reported_protocols(
    rows: Sequence[PublishedRow], reproduction: str, recipe: Recipe, split: Split, checkpoint: Path
) -> list[dict[str, Any]]:
    """List the changes of `recipe` for every protocol that published.yaml reports of this checkpoint on this data set.

    The rows of exactly these weights count first, then the rows of the same training. Where there are none, and on the
    drawn sample set (which takes VOC's rows), all rows count that are of its reproduction and data set and were trained
    at its output stride; then the recipe keeps its own size.
    """
    data = SAMPLE_DATA if split.is_sample else split.card.title
    ours = [row for row in rows if row.table.reproduction == reproduction and row.table.data == data and row.is_ours]
    ours = [row for row in ours if row.table.split != "test"]
    fields, stride = recipe.to_json(), getattr(recipe, "output_stride", None)
    own = [
        row for row in ours if row.trained.weights and set(row.trained.weights.split("/")) <= _names(str(checkpoint))
    ]
    own = own or [row for row in ours if not row.trained.weights and is_trained_by(fields, row.trained)]
    if split.is_sample or not own:
        others = [row for row in ours if row.trained.fields.get("output_stride", stride) == stride]
        found = [row.protocol.changes(recipe, keep_size=True) for row in others]
    else:
        found = [row.protocol.changes(recipe) for row in own]
    return [dict(changes) for changes in dict.fromkeys(tuple(changes.items()) for changes in found)]
