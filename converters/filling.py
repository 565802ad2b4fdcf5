"""Fill a reproduction's network from a file of another format: its recipe, its variables, its checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError, one_line
from common.recipe.recipe import Recipe, format_value
from common.recipe.settings import apply_settings
from common.reproduction import Reproduction, Shapes
from converters.fit import check_shapes, variables_of
from converters.folded import Layer, network_layers

SIDE = 65  # of the picture for which a network is built to see its variables


@dataclass(frozen=True)
class Filling:
    """A network with its weights: variables by name, and their recipe."""

    reproduction: Reproduction
    variables: Mapping[str, np.ndarray]
    recipe: Recipe

    def summary(self, out: Path) -> str:
        """A line about what was written."""
        values = sum(value.size for value in self.variables.values())
        told = ("backbone", "encoder", "depth_multiplier", "decoder", "eval_output_stride", "eval_size", "resize_range")
        fields = [f"{name}={format_value(getattr(self.recipe, name))}" for name in told if hasattr(self.recipe, name)]
        counts = f"{len(self.variables)} variables, {values:,} parameters, {self.recipe.num_classes} classes"
        return f"{out}: {counts}, {', '.join(fields)}"


def recipe_of(reproduction: Reproduction, shapes: Shapes, fields: Mapping[str, Any], settings: list[str]) -> Recipe:
    """The recipe for weights of these shapes: the variant that has most of what they tell, and all that they tell.

    Args:
      reproduction: whose recipe it is.
      shapes: of the file's arrays, by the names that the reproduction's own checkpoints have.
      fields: what else the file tells; fields that the recipe does not have are left out.
      settings: `key=value`, which come last; `variant=` chooses the variant.
    """
    told = reproduction.fields_from_weights(shapes)
    variants = reproduction.variants

    def told_fields(name: str) -> int:
        return sum(getattr(variants[name], field) == value for field, value in told.items())

    fitting = max(variants, key=told_fields)
    chosen = [setting for setting in settings if setting.strip().startswith("variant=")]
    base = apply_settings(variants, fitting, chosen)
    known = {name: value for name, value in fields.items() if hasattr(base, name)}
    if base.resize_range and "eval_size" in known:  # of another size
        side = known["eval_size"]
        known = {"resize_range": (side, side), "resize_factor": 0, **known}
    return apply_settings(variants, base.derive(**{**told, **known}), [s for s in settings if s not in chosen])


def fill(
    reproduction: Reproduction, recipe: Recipe, take: Callable[[tuple[Layer, ...]], dict[str, np.ndarray]]
) -> Filling:
    """Fill the network of `recipe` by `take`, which is given its layers and returns its variables.

    Raises UserError when a variable is missing, is not the network's, has another shape or is not finite.
    """
    layers, shapes = structure(reproduction, recipe)
    variables = take(layers)
    check_shapes(variables, shapes, _title(reproduction, recipe))
    return Filling(reproduction, {name: variables[name] for name in shapes}, recipe)


def structure(reproduction: Reproduction, recipe: Recipe) -> tuple[tuple[Layer, ...], Shapes]:
    """The layers of the network of `recipe`, and its variables' shapes. Raises UserError when there is none such."""
    from common.nets.network import build
    from common.tf1 import tf

    def network() -> None:
        build(reproduction.load_network(), tf.zeros([1, SIDE, SIDE, 3]), _one_scale(recipe))

    try:
        return network_layers(network), variables_of(network)
    except ValueError as error:
        raise UserError(f"does not fit {_title(reproduction, recipe)} ({one_line(error)})") from None


def _title(reproduction: Reproduction, recipe: Recipe) -> str:
    return f"{reproduction.title}, variant {recipe.variant}"


def _one_scale(recipe: Recipe) -> Recipe:
    """The recipe with one of the scales that its network fuses: all of them have the same variables."""
    return recipe.derive(msc_scales=(1.0,)) if hasattr(recipe, "msc_scales") else recipe


def write_checkpoint(out: Path, filling: Filling) -> None:
    """Write the checkpoint with its recipe, atomically."""
    from common.weights.checkpoints import write

    write(out, filling.variables, filling.recipe)
