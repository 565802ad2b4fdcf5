"""What a reproduction tells the shared programs about itself."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.recipe import Recipe, apply_settings

if TYPE_CHECKING:  # the command line answers a misspelt flag without waiting for TensorFlow
    from common.checkpoints import Weights
    from common.network import Network

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Reproduction:
    """A reproduction: its recipes, its network, and the weights it knows.

    Attributes:
      name: the package's name, as in `python -m reproductions.<name>`.
      title: what tables print.
      variants: the named recipes; the first is the default.
      sample_variant: for the drawn sample set.
      scratch_variant: for real data without weights to start from.
      protocols: recipe changes; `reproduce` evaluates each of them besides the recipe's own protocol.
      module: holds `network`; imported, and TensorFlow with it, only when it is asked for.
      recognise: names and shapes of a weight file -> recipe fields that it settles (encoder,
        preprocessing, classes). By default nothing.
    """

    name: str
    title: str
    variants: Mapping[str, Recipe]
    sample_variant: str
    scratch_variant: str
    module: str
    recognise: Callable[[Shapes], dict[str, Any]] = lambda shapes: {}
    protocols: tuple[Mapping[str, Any], ...] = ()

    def load_network(self) -> "Network":
        """The network, imported now."""
        return importlib.import_module(self.module).network

    @property
    def default_variant(self) -> str:
        return next(iter(self.variants))

    def recipe_to_train(self, settings: list[str], init: "Weights | None" = None) -> Recipe:
        """The recipe of a new run: its variant, what the weights it starts from settle, then `--set`."""
        variant, others = _split_settings(settings)
        recipe = apply_settings(self.variants, self.default_variant, variant)
        if init:
            settled = self._settled(init)
            settled.pop("num_classes", None)  # the data set's, not the weights'
            recipe = recipe.derive(**settled)
        return apply_settings(self.variants, recipe, others)

    def recipe_to_resume(self, settings: list[str], weights: "Weights") -> Recipe:
        """The recipe of a run that goes on: the stored one, so that its `--set` need not be said again.

        What is said is applied all the same; a recipe that differs is refused by the training.
        """
        variant, others = _split_settings(settings)
        stored = self.stored_recipe(weights)
        if stored is None or variant not in ([], [f"variant={stored.variant}"]):
            return self.recipe_to_train(settings)
        return apply_settings(self.variants, stored, others)

    def recipe_to_run(self, settings: list[str], weights: "Weights") -> Recipe:
        """The recipe to evaluate or predict with.

        Weights that a run of this suite wrote bring their recipe; a checkpoint of the original
        program settles what its names tell. `variant=` replaces the rest, `--set` has the last word.
        """
        variant, others = _split_settings(settings)
        recipe = self.stored_recipe(weights)
        if variant or recipe is None:
            recipe = apply_settings(self.variants, self.default_variant, variant)
            recipe = recipe.derive(**self._settled(weights))
        return apply_settings(self.variants, recipe, others)

    def stored_recipe(self, weights: "Weights") -> Recipe | None:
        """The recipe that a run of this suite stored with its weights."""
        stored = weights.recipe()
        if stored is None:
            return None
        return type(self.variants[self.default_variant]).from_json(stored, str(weights.path))

    def _settled(self, weights: "Weights") -> dict[str, Any]:
        """What the names tell and, before that, what a stored recipe says, be it another reproduction's."""
        stored = weights.recipe() or {}
        fields = self.variants[self.default_variant].WEIGHT_FIELDS
        return self.recognise(weights.shapes) | {key: stored[key] for key in fields if key in stored}


def _split_settings(settings: list[str]) -> tuple[list[str], list[str]]:
    variant = [s for s in settings if s.strip().startswith("variant=")]
    return variant, [s for s in settings if s not in variant]
