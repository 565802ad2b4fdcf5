"""The contract between a reproduction and the shared programs."""

import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from common.console import say, stage
from common.engines.network_file import NetworkFile
from common.errors import UserError
from common.export.cache import CachedNetwork
from common.paths import ROOT
from common.recipe.recipe import Recipe, format_value
from common.recipe.settings import apply_settings, check_settings
from common.words import some

if TYPE_CHECKING:
    from common.inference.base import BaseSegmenter
    from common.nets.network import Network
    from common.weights.weights import Weights

Shapes = Mapping[str, tuple[int, ...]]


class Untold(NamedTuple):
    """Recipe fields of a network that its weight file does not tell.

    Attributes:
      fields: their names.
      hint: what a message says of them.
      by_variant: whether who names a variant has chosen their values.
    """

    fields: tuple[str, ...] = ()
    hint: str = ""
    by_variant: bool = False


@dataclass(frozen=True)
class Reproduction:
    """A reproduction: its recipes, its network, and the weights it knows.

    Attributes:
      name: the package's name, as in `python -m reproductions.<name>`.
      title: what tables print.
      variants: the named recipes; the first is the default.
      sample_variants: for the drawn sample set; `reproduce` runs each of them.
      scratch_variant: for real data without weights to start from.
      protocols: recipe changes; `reproduce` evaluates with each of them, and with the recipe's own protocol.
      module: holds `network`; imported, and TensorFlow with it, only when it is asked for.
      fields_from_weights: names and shapes of a weight file -> the recipe fields that they determine (encoder,
        preprocessing, classes). By default none.
      last_layer: regular expression of the variables that score the classes.
      keras_names: names and shapes of a Keras file, and a recipe -> the network's name of each array: its own; and a
        regular expression of the arrays that the network may leave unused.
      not_in_weights: names and shapes in a weight file of another program -> the recipe fields of the network that
        the file does not tell. By default none.
      config_settings: an original's configuration file, and the command -> `key=value` settings (`--config`).
    """

    name: str
    title: str
    variants: Mapping[str, Recipe]
    sample_variants: tuple[str, ...]
    scratch_variant: str
    module: str
    last_layer: str
    fields_from_weights: Callable[[Shapes], dict[str, Any]] = lambda shapes: {}
    protocols: tuple[Mapping[str, Any], ...] = ()
    keras_names: Callable[[Shapes, Any], tuple[Mapping[str, str], str]] | None = None
    not_in_weights: Callable[[Shapes], "Untold"] = lambda shapes: Untold()
    config_settings: Callable[[Path, str, bool], list[str]] | None = None

    def load_network(self) -> "Network":
        """Import the network and return it."""
        return importlib.import_module(self.module).network

    @property
    def package(self) -> str:
        """The package that `python -m` runs."""
        return self.module.removesuffix(".model")

    def segmenter(self, checkpoint: str | Path, engine: str | None = None, **settings: Any) -> "BaseSegmenter":
        """Open weights, ready to segment pictures: what `predict` and `evaluate` run.

            with v3plus.segmenter("model.ckpt", eval_output_stride=16, crf=True) as segmenter:
                label = segmenter.label("photo.jpg")  # uint8 [h, w]

        Args:
          checkpoint: weights, or a network's file, of any format that `--checkpoint` takes.
          engine: what runs the network: tensorflow, onnxruntime, openvino, or auto for the fastest that gives
            TensorFlow's labels on the first picture. By default the fastest of TensorFlow and those prepared before.
          settings: recipe fields, as `--set` takes them; `variant` chooses the recipe to start from.

        Raises:
          UserError: no such weights, weights that don't fit, an unknown field or a wrong value.
        """
        from common.export.choice import Choice, opened

        texts = [f"{name}={format_value(value)}" for name, value in settings.items()]
        check_settings(self.variants, texts)
        return opened(Choice(self, checkpoint, texts, engine=engine))

    def open_segmenter(self, weights: "Weights | NetworkFile | CachedNetwork", recipe: Recipe) -> "BaseSegmenter":
        """Open weights, a network's file, or the cache's network by a recipe of `recipe_to_run`."""
        if isinstance(weights, CachedNetwork):
            from common.export.choice import open_cached

            return open_cached(self, weights, recipe)
        if isinstance(weights, NetworkFile):
            from common.inference.file_segmenter import FileSegmenter

            stage("loading the network")
            return FileSegmenter(weights, recipe)
        from common.inference.segmenter import Segmenter

        stage("building the network")
        return Segmenter(self.load_network(), recipe, weights)

    @property
    def default_variant(self) -> str:
        return next(iter(self.variants))

    def settings_for_own_classes(self, init: "Weights | None") -> list[str]:
        """The settings for a person's own classes: class weights are measured, and the last layer is not loaded.

        If the weights don't have the last layer, the variant says what is loaded.
        """
        whole = init is not None and any(re.search(self.last_layer, name) for name in init.shapes)
        return ["class_weights=auto", *([f"init_not_loaded={self.last_layer}"] if whole else [])]

    def recipe_to_train(self, settings: list[str], init: "Weights | None" = None) -> Recipe:
        """The recipe of a new run: its variant, then the fields that its first weights determine, then `--set`."""
        variant, others = _split_settings(settings)
        recipe = apply_settings(self.variants, self.default_variant, variant)
        if init:
            self._adopt(init, recipe, others)
            settled = self._fields_from(init)
            settled.pop("num_classes", None)  # the data set's, not the weights'
            recipe = _override_by_weights(recipe, settled, init)
        return apply_settings(self.variants, recipe, others)

    def recipe_to_resume(self, settings: list[str], weights: "Weights") -> Recipe:
        """The recipe of a resumed run: the stored one, so its `--set` need not be given again.

        Given settings are applied too; training refuses a recipe that differs from the run's.
        """
        variant, others = _split_settings(settings)
        stored = self.stored_recipe(weights)
        if stored is None or variant not in ([], [f"variant={stored.variant}"]):
            return self.recipe_to_train(settings)
        return apply_settings(self.variants, stored, others)

    def recipe_to_run(self, settings: list[str], weights: "Weights | NetworkFile") -> Recipe:
        """The recipe to evaluate or predict with.

        A network's file settles what it has fixed. Weights of a run of this suite hold their recipe, and `variant=`
        changes only how they are evaluated. A checkpoint of the original program determines the fields that its names
        tell; the others are the variant's.
        `--set` overrides both.
        """
        variant, others = _split_settings(settings)
        named = apply_settings(self.variants, self.default_variant, variant)
        if isinstance(weights, NetworkFile):
            wanted = apply_settings(self.variants, named, others)  # names nodes
            stored = self.stored_recipe(weights)
            recipe = (stored or named.derive(class_weights=())).derive(**weights.fields(wanted))
            return weights.settled(apply_settings(self.variants, recipe, others), _names_of(others))
        self._adopt(weights, named, others)
        recipe = self.stored_recipe(weights)
        if recipe is None:
            recipe = _override_by_weights(named, self._fields_from(weights), weights if variant else None)
        elif variant:
            how = {name: getattr(named, name) for name in named.EVALUATION_FIELDS}
            kept = {name: getattr(recipe, name) for name in recipe.WEIGHT_FIELDS}
            _override_by_weights(named, kept, weights)
            recipe = recipe.derive(variant=named.variant, **how)
        if not weights.recipe():
            self._say_not_in_weights(settings, weights)
        return apply_settings(self.variants, recipe, others)

    def _say_not_in_weights(self, settings: list[str], weights: "Weights") -> None:
        untold, given = self.not_in_weights(weights.shapes), _names_of(settings)
        missing = [name for name in untold.fields if name not in given]
        if missing and not (untold.by_variant and "variant" in given):
            say(f"{weights.path}: does not tell {' and '.join(missing)}; {untold.hint}")

    def _adopt(self, weights: "Weights", recipe: Recipe, settings: list[str]) -> None:
        """Name the arrays of a Keras file as the network of `recipe` with `settings` does."""
        if not weights.is_keras:
            return
        if self.keras_names is None:
            raise UserError(f"{weights.path}: is a Keras file, which {self.name} does not take as it is; convert it by "
                            f"python -m converters.keras_to_tf")  # fmt: skip
        try:
            weights.rename(*self.keras_names(weights.shapes, apply_settings(self.variants, recipe, settings)))
        except UserError as error:
            raise UserError(f"{weights.path}: {error}") from None

    def stored_recipe(self, weights: "Weights | NetworkFile") -> Recipe | None:
        """The recipe that a run of this suite stored with its weights."""
        stored = weights.recipe()
        if stored is None:
            return None
        strange = self._strange_fields(stored)
        if strange:
            raise UserError(
                f"{weights.path}: was not written by {self.name} as it is now (its recipe has "
                f"{some(strange, 3)}); use the reproduction that wrote it"
            )
        return type(self.variants[self.default_variant]).from_json(stored, str(weights.path))

    def _strange_fields(self, stored: Mapping[str, Any]) -> list[str]:
        known = {field.name for field in dataclasses.fields(self.variants[self.default_variant])}
        return sorted(stored.keys() - known)

    def _fields_from(self, weights: "Weights") -> dict[str, Any]:
        """The fields that weights settle: a stored recipe's, also another reproduction's, and those that names tell."""
        stored = weights.recipe() or {}
        ours = self.variants[self.default_variant]
        fields = ours.WEIGHT_FIELDS
        if self._strange_fields(stored):  # of another network's recipe only what belongs to the backbone's weights
            fields = (*Recipe.WEIGHT_FIELDS, "batch_norm_epsilon")
        if not any(re.search(self.last_layer, name) for name in weights.shapes):
            fields = tuple(name for name in fields if name not in ours.TRAINED_FIELDS)
        return self.fields_from_weights(weights.shapes) | {key: stored[key] for key in fields if key in stored}


def reproductions() -> dict[str, Reproduction]:
    """All of this checkout by name, imported now: common knows none of them."""
    names = sorted(path.parent.name for path in (ROOT / "reproductions").glob("*/__init__.py"))
    return {name: importlib.import_module(f"reproductions.{name}").REPRODUCTION for name in names}


def _override_by_weights(recipe: Recipe, settled: dict[str, Any], weights: "Weights | None") -> Recipe:
    """`recipe` with what its weights settle; says so where that is not what the recipe's name promises."""
    followed = recipe.derive(**settled)
    if weights:
        before, after = recipe.to_json(), followed.to_json()
        changes = [f"{k}={format_value(after[k])}" for k in settled if before[k] != after[k] and k not in _UNSAID]
        if changes:
            say(f"{weights.path}: its weights have {', '.join(changes)}, variant {recipe.variant} has not; they decide")
    return followed


# Fields that need no word when weights settle them: preprocessing, classes, and what is said elsewhere.
_UNSAID = ("channel_order", "pixel_mean", "pixel_scale", "num_classes", "class_weights", "encoder_middle_conf")


def _names_of(settings: list[str]) -> set[str]:
    return {setting.partition("=")[0].strip() for setting in settings}


def _split_settings(settings: list[str]) -> tuple[list[str], list[str]]:
    variant = [s for s in settings if s.strip().startswith("variant=")]
    return variant, [s for s in settings if s not in variant]
