"""Fill a reproduction's network from a file of another format: its recipe, its variables, its checkpoint."""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.console import stage
from common.errors import UserError, one_line
from common.recipe.recipe import Recipe, format_value
from common.recipe.settings import apply_settings
from common.reproduction import Reproduction, Shapes, reproductions
from common.words import some
from converters.exported import NOT_OF_WEIGHTS
from converters.fit import check_shapes, variables_of
from converters.folded import Layer, network_layers
from converters.origins import owner_of, refuse_foreign

SIDE = 65  # of the picture for which a network is built to see its variables
# Fields on which the label maps of given weights depend, and which names and shapes do not tell for certain.
UNTOLD = (
    "channel_order", "pixel_mean", "pixel_scale", "pooling", "eval_size", "resize_range", "eval_scales", "eval_flip",
    "msc_scales",
)  # fmt: skip
CLOSE = 1e-6  # relative difference of a number in a file, a float32, and the same one in a recipe


@dataclass(frozen=True)
class Source:
    """The facts in a file from which its recipe follows.

    Attributes:
      shapes: of its arrays, by the names that the reproduction's own checkpoints have.
      fields: what its ops and constants tell; fields that a recipe does not have are left out.
      stored: the recipe with which this suite exported it, which settles all; None for another file.
    """

    shapes: Shapes
    fields: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Filling:
    """A network with its weights: variables by name, and their recipe.

    `guessed` names the fields of the recipe that nothing told, and that are the variant's.
    """

    reproduction: Reproduction
    variables: Mapping[str, np.ndarray]
    recipe: Recipe
    guessed: tuple[str, ...] = ()

    def doubts(self, file: Path) -> str:
        """A sentence about the fields of the recipe that were guessed; empty when there are none."""
        if not self.guessed:
            return ""
        return (
            f"{file}: does not tell {some(self.guessed, len(self.guessed))}; the checkpoint has those of the variant "
            f"{self.recipe.variant}, --set changes them"
        )

    def summary(self, out: Path) -> str:
        """A line about what was written."""
        values = sum(value.size for value in self.variables.values())
        told = ("backbone", "encoder", "depth_multiplier", "decoder", "eval_output_stride", "eval_size", "resize_range")
        fields = [f"{name}={format_value(getattr(self.recipe, name))}" for name in told if hasattr(self.recipe, name)]
        counts = f"{len(self.variables)} variables, {values:,} parameters, {self.recipe.num_classes} classes"
        return f"{out}: {counts}, {', '.join(fields)}"


def recipe_of(reproduction: Reproduction, source: Source, settings: list[str]) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe for a file's weights, and the names of its fields that were guessed.

    It is the one that the file was exported with. For another file it is the variant that has most of what the file's
    weights tell, and all that the file tells.

    Args:
      reproduction: whose recipe it is.
      source: the file.
      settings: `key=value`, which come last; `variant=` chooses the variant, and what is not in the weights is its own.

    Raises UserError when the file was exported from another reproduction.
    """
    variants = reproduction.variants
    chosen = [setting for setting in settings if setting.strip().startswith("variant=")]
    others = [setting for setting in settings if setting not in chosen]
    if source.stored is not None and not chosen:
        return apply_settings(variants, _exported_recipe(reproduction, source.stored), others), ()
    told = reproduction.fields_from_weights(source.shapes)

    def told_fields(name: str) -> int:
        return sum(getattr(variants[name], field) == value for field, value in told.items())

    base = apply_settings(variants, max(variants, key=told_fields), chosen).derive(**told)
    known = {name: value for name, value in source.fields.items() if hasattr(base, name)}
    said = {setting.partition("=")[0].strip() for setting in others}
    guessed = (
        ()
        if chosen
        else tuple(
            name
            for name in dict.fromkeys((*UNTOLD, *reproduction.not_in_weights(source.shapes).fields))
            if hasattr(base, name) and name not in {*known, *said}
        )
    )
    if "eval_size" in known and "resize_range" not in known:
        known = {"resize_range": (), "resize_factor": 0, **known}  # the file pads, and does not enlarge
        guessed = tuple(name for name in guessed if name != "resize_range")
    known = {name: value for name, value in known.items() if not _is_close(value, getattr(base, name))}
    return apply_settings(variants, base.derive(**known), others), guessed


def _exported_recipe(reproduction: Reproduction, stored: Mapping[str, Any]) -> Recipe:
    owner = owner_of(stored)
    if owner is not None and owner.name != reproduction.name:
        raise UserError(f"was exported from {owner.name}; give --to {owner.name}")
    kind = type(reproduction.variants[reproduction.default_variant])
    stored = {name: value for name, value in stored.items() if name not in NOT_OF_WEIGHTS}
    return kind.from_json(stored, "the recipe that it was exported with")


def _is_close(value: Any, known: Any) -> bool:
    """Whether a file's number, or its numbers, are those of a recipe but for the bits that float32 has less."""
    try:
        return bool(np.allclose(np.asarray(value, float), np.asarray(known, float), rtol=CLOSE, atol=0))
    except (TypeError, ValueError):
        return False


def fill_from(
    reproduction: Reproduction,
    source: Source,
    settings: list[str],
    take: Callable[[tuple[Layer, ...]], dict[str, np.ndarray]],
) -> Filling:
    """Fill the network of the recipe that a file tells by `take`, as `fill` does.

    Raises UserError when the file is not of a network of the reproduction.
    """
    if source.stored is None:
        refuse_foreign(source.shapes, reproduction.name)
    recipe, guessed = recipe_of(reproduction, source, settings)
    filling = fill(reproduction, recipe, take)
    return Filling(reproduction, filling.variables, recipe, guessed)


def fill(
    reproduction: Reproduction, recipe: Recipe, take: Callable[[tuple[Layer, ...]], dict[str, np.ndarray]]
) -> Filling:
    """Fill the network of `recipe` by `take`, which is given its layers and returns its variables.

    Ranges of 8 bits are left out where the network has none.

    Raises UserError when a variable is missing, is not the network's, has another shape or is not finite.
    """
    from common.nets.quantisation import RANGES

    layers, shapes = structure(reproduction, recipe)
    variables = take(layers)
    if recipe.quantised_from is None:
        variables = {name: value for name, value in variables.items() if not re.search(RANGES, name)}
    check_shapes(variables, shapes, _title(reproduction, recipe))
    return Filling(reproduction, {name: variables[name] for name in shapes}, recipe)


def structure(reproduction: Reproduction, recipe: Recipe) -> tuple[tuple[Layer, ...], Shapes]:
    """The layers of the network of `recipe`, and its variables' shapes. Raises UserError when there is none such."""
    from common.nets.network import build
    from common.tf1 import tf

    stage("building the network")

    def network(recipe: Recipe) -> None:
        build(reproduction.load_network(), tf.zeros([1, SIDE, SIDE, 3]), _one_scale(recipe))

    try:
        return network_layers(lambda: network(recipe.in_floats())), variables_of(lambda: network(recipe))
    except ValueError as error:
        raise UserError(f"does not fit {_title(reproduction, recipe)} ({one_line(error)})") from None


def _title(reproduction: Reproduction, recipe: Recipe) -> str:
    return f"{reproduction.title}, variant {recipe.variant}"


def _one_scale(recipe: Recipe) -> Recipe:
    """The recipe with one of the scales that its network fuses: all of them have the same variables."""
    return recipe.derive(msc_scales=(1.0,)) if hasattr(recipe, "msc_scales") else recipe


def write_checkpoint(out: Path, filling: Filling) -> None:
    """Write the checkpoint with its recipe, atomically. Raises UserError when its folder is a file."""
    from common.weights.checkpoints import write

    if blocking := next((parent for parent in out.parents if parent.is_file()), None):
        raise UserError(f"--out {out}: {blocking} is a file, where a folder is needed; choose another place")

    write(out, filling.variables, filling.recipe)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what is filled from a file, and how."""
    known = reproductions()
    parser.add_argument("--to", choices=known, default="v3plus", help="reproduction to fill (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="CKPT", help="checkpoint prefix to write")
    parser.add_argument(
        "--set", dest="settings", metavar="K=V", nargs="+", action="extend", default=[],
        help="fields of the recipe, such as those that the file does not tell",
    )  # fmt: skip


@contextmanager
def errors_of(file: Path) -> Iterator[None]:
    """Begin errors with the name of the file, but for those of an argument."""
    try:
        yield
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith("--") else f"{file}: {text}") from None
