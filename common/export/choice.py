"""Which engine runs a checkpoint: TensorFlow, or one that the cache has the network for and that gives its labels.

Where nobody names one, the fastest runs, and TensorFlow is one of those that compete.

A `Choice` finds the recipe, without TensorFlow where the cache has an entry; its `settle` exports and compares.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from common.console import say, stage
from common.engines.interface import OUTPUTS, EngineError
from common.engines.network_file import NetworkFile, format_of, open_weights
from common.engines.programs import PROGRAMS
from common.errors import UserError, brief
from common.export import cache
from common.export.cache import LEAST_AGREEMENT, CachedNetwork, Entry, Request, Trial
from common.inference.base import BaseSegmenter, Picture, pixels_of
from common.inference.engine_segmenter import EngineSegmenter, fits
from common.paths import cache_folder
from common.recipe.recipe import Recipe
from common.text_table import percent
from common.weights.weights import Weights

TENSORFLOW, AUTO = "tensorflow", "auto"
ENGINES = (TENSORFLOW, *PROGRAMS, AUTO)  # what people choose from
PREPARED = "prepared"  # where nobody chose: the fastest, of TensorFlow and those that an earlier run has compared
COMPARED = 3  # pictures that an engine and TensorFlow both segment
Opened = Weights | NetworkFile | CachedNetwork


class Runnable(Protocol):
    """The part of a Reproduction that is needed here."""

    name: str
    module: str
    variants: Mapping[str, Recipe]
    default_variant: str

    def recipe_to_run(self, settings: list[str], weights: Opened) -> Recipe: ...

    def open_segmenter(self, weights: Opened, recipe: Recipe) -> BaseSegmenter: ...

    def load_network(self) -> Any: ...


class Choice:
    """A checkpoint, its recipe, and the engine that runs it.

    Attributes:
      weights: opened, or the cache's entry in their place.
      recipe: with the engine that was chosen so far.
    """

    def __init__(
        self,
        reproduction: Runnable,
        checkpoint: str | Path,
        settings: Sequence[str],
        changes: Mapping[str, Any] | None = None,
        engine: str | None = None,
        default: str = PREPARED,
        flags: Collection[str] = (),
    ):
        """Find the recipe.

        Args:
          reproduction: whose network it is.
          checkpoint: weights, or a network's file, which runs as it is.
          settings: `key=value` settings, as of `--set`.
          changes: recipe fields that flags change.
          engine: one of ENGINES; None leaves it to the settings, and then to the default.
          default: TENSORFLOW, or PREPARED.
          flags: recipe fields that flags of their own gave, as `NetworkFile` takes them.

        Raises UserError as `recipe_to_run` does, and for an engine that is not installed or lacks the precision.
        """
        self._reproduction, self._settings = reproduction, [text for text in settings if not _of_engine(text)]
        given = [text.partition("=")[2].strip() for text in settings if _of_engine(text)]
        asked = engine or (given[-1] if given else None)
        if asked not in (None, *ENGINES):
            raise UserError(f"engine={brief(asked)}: there is none of this name; take one of {', '.join(ENGINES)}")
        self._wanted, self._changes = asked or default, dict(changes or {})
        self._precision = self._changes.pop("precision", None)
        self._request: Request | None = None
        self._is_told, self._why = True, ""
        if self._wanted in PROGRAMS:
            PROGRAMS[self._wanted].check("fp32" if format_of(Path(checkpoint)) else self._precision or "fp32")
        if format_of(Path(checkpoint)):  # its engine opens it
            self._settings += [f"engine={asked}"] if asked in (TENSORFLOW, *PROGRAMS) else []
            self._settings += [f"precision={self._precision}"] if self._precision else []
            self._open(checkpoint, flags)
            return
        if self._wanted != TENSORFLOW:
            self._find(checkpoint)
        if self._request is None or not self._take_entry(cache.find(self._request)):
            self._open(checkpoint)

    def _find(self, checkpoint: str | Path) -> None:
        place = cache.place_of(checkpoint)
        if place.is_file() or place.with_name(f"{place.name}.index").is_file():
            names = self._reproduction.name, self._reproduction.module
            self._request = Request(*names, place, tuple(self._settings), self._changes)

    def _take_entry(self, entry: Entry | None) -> bool:
        """Take an entry in place of the weights, if there is one that was compared with an engine that is wanted."""
        if entry is None:
            return False
        kind = type(self._reproduction.variants[self._reproduction.default_variant])
        recipe = self._with_precision(kind.from_json(entry.recipe, str(entry.folder)))
        engine = self._fastest(entry, recipe.precision)
        if engine is None or (self._wanted == AUTO and self._left(entry, recipe.precision)):
            self._why = self._slower(entry, recipe.precision)
            self._is_told = not self._why
            return False
        self.weights, self.recipe = CachedNetwork(self._request, entry), recipe.derive(engine=engine)
        self._is_told = False
        return True

    def _open(self, checkpoint: str | Path, flags: Collection[str] = ()) -> None:
        self.weights = open_weights(checkpoint, flags)
        recipe = self._reproduction.recipe_to_run(self._settings, self.weights)
        self._whole = recipe.derive(**self._changes)  # without the precision: an entry is of all
        self.recipe = self._with_precision(self._whole)
        if self._wanted in PROGRAMS and isinstance(self.weights, Weights):
            PROGRAMS[self._wanted].check(self.recipe.precision)

    def _with_precision(self, recipe: Recipe) -> Recipe:
        return recipe.derive(precision=self._precision) if self._precision else recipe

    def _fastest(self, entry: Entry, precision: str) -> str | None:
        """The engine that is wanted by name, else the fastest, if it gave TensorFlow's labels; None is TensorFlow."""
        found = [name for name in self._candidates(precision) if entry.agrees(name, precision)]
        if self._wanted not in PROGRAMS:
            found = [name for name in found if entry.trial(name, precision).is_faster]
        return min(found, key=lambda name: entry.trial(name, precision).times_tensorflow, default=None)

    def _slower(self, entry: Entry, precision: str) -> str:
        """The engines that gave TensorFlow's labels in more time, as a reason for TensorFlow; empty without any."""
        names = [name for name in self._candidates(precision) if entry.agrees(name, precision)]
        return "; ".join(_reason(entry, name, precision) for name in names)

    def _candidates(self, precision: str) -> list[str]:
        if self._wanted in PROGRAMS:
            return [self._wanted]
        able = [name for name, program in PROGRAMS.items() if precision in program.precisions and program.is_installed]
        return able if self._wanted in (AUTO, PREPARED) else []

    def _left(self, entry: Entry, precision: str) -> list[str]:
        """The candidates that were not compared yet."""
        return [name for name in self._candidates(precision) if entry.trial(name, precision) is None]

    @property
    def needs_pictures(self) -> bool:
        """Whether `settle` compares engines on pictures."""
        return isinstance(self.weights, Weights) and self._wanted in (AUTO, *PROGRAMS)

    def settle(self, pictures: Iterable[np.ndarray], quiet: bool = False) -> None:
        """Export and compare on the first pictures, uint8 [h, w, 3], where that was not done; say what runs.

        Raises UserError when an engine was asked for by name and cannot run the network, or gives other labels.
        """
        if self.needs_pictures:
            try:
                self._prepare(pictures, quiet)
            except (UserError, OSError) as error:
                title = cache.TITLE.format(cache_folder())
                self._why = f"{title}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
                if self._wanted != AUTO:
                    raise UserError(self._why) from None
            self._is_told = False
        if not self._is_told:
            say(self.described(), quiet)
            self._is_told = True

    def described(self) -> str:
        """One line on the engine that runs the network."""
        if isinstance(self.weights, CachedNetwork):
            return described(self.recipe, self.weights)
        return f"TensorFlow runs the network{f': {self._why}' if self._why else ''}"

    def _prepare(self, pictures: Iterable[np.ndarray], quiet: bool) -> None:
        from common.export.prepare import write_entry

        weights, recipe = self.weights, self.recipe
        if not self._candidates(recipe.precision):
            raise UserError(f"no other engine that computes in {recipe.precision} is installed")
        fitting = list(itertools.islice((p for p in pictures if fits(p, recipe)), COMPARED))
        with cache.held(self._request.key(), quiet) as folder:
            entry = cache.read(folder)
            if not fitting and (entry is None or self._left(entry, recipe.precision)):
                raise UserError(
                    "engines are compared on pictures of at most 4 million pixels, and none was given; --engine "
                    "tensorflow takes these"
                )
            if entry is None:
                say("preparing the network for other engines, once; this takes a while", quiet)
                stage("exporting the network")
                entry = write_entry(folder, self._reproduction.load_network(), self._whole, weights)
            self._compare(entry, fitting, quiet)
            entry.save()
        if not self._take_entry(entry):
            self._refuse(entry, recipe.precision)

    def _compare(self, entry: Entry, pictures: Sequence[np.ndarray], quiet: bool) -> None:
        """Compare the engines that were not compared yet."""
        from common.export.prepare import try_engine

        precision = self.recipe.precision
        left = self._left(entry, precision)
        if not left:
            return
        theirs = self._by_tensorflow(pictures)
        for name in left:
            stage(f"comparing {PROGRAMS[name].title} with TensorFlow")
            try:
                found = try_engine(entry, name, self.recipe, pictures, theirs)
            except EngineError as error:
                text = f"{PROGRAMS[name].title} cannot run this network ({error})"
                if self._wanted != AUTO:
                    raise UserError(f"{text}; --engine tensorflow does") from None
                say(text, quiet)
                found = Trial(PROGRAMS[name].version, 0, 0, 0.0, 0.0, 0.0)
            entry.trials[f"{name} {precision}"] = found

    def _by_tensorflow(self, pictures: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        """TensorFlow's label maps in fp32, and the seconds that it takes in the recipe's precision."""
        from common.export.prepare import timed

        found, own = {}, self.recipe.precision
        for precision in dict.fromkeys(("fp32", own)):
            plain = self.recipe.derive(engine=TENSORFLOW, precision=precision, crf=False)
            with self._reproduction.open_segmenter(self.weights, plain) as reference:
                found[precision] = timed(reference, pictures)
        return [(label, seconds) for (label, _), (_, seconds) in zip(found["fp32"], found[own], strict=True)]

    def _refuse(self, entry: Entry, precision: str) -> None:
        """Keep why no engine is taken. Raises UserError for one that was asked for by name."""
        self._why = "; ".join(_reason(entry, name, precision) for name in self._candidates(precision))
        if self._wanted != AUTO:
            raise UserError(f"--engine {self._wanted}: {self._why}; take --engine tensorflow")

    def segmenter(self) -> BaseSegmenter:
        """Open the network in the engine that was chosen."""
        if isinstance(self.weights, CachedNetwork):
            return open_cached(self._reproduction, self.weights, self.recipe)
        return self._reproduction.open_segmenter(self.weights, self.recipe)


def open_cached(reproduction: Runnable, network: CachedNetwork, recipe: Recipe) -> BaseSegmenter:
    """Open a network of the cache; TensorFlow opens the checkpoint when a picture is too large."""

    def other() -> BaseSegmenter:
        weights = open_weights(network.path)
        reproduction.recipe_to_run(list(network.settings), weights)  # names a Keras file's arrays as the network does
        return reproduction.open_segmenter(weights, recipe.derive(engine=TENSORFLOW))

    program, files = PROGRAMS[recipe.engine], {role: network.entry.path(role) for role in OUTPUTS}
    stage(f"loading the network into {program.title}")
    try:
        return EngineSegmenter(files, recipe, program, other)
    except EngineError as error:
        raise UserError(
            f"{network.entry.folder}: {program.title} cannot load it ({error}); delete this folder, or take --engine "
            f"tensorflow"
        ) from None


def opened(choice: Choice) -> BaseSegmenter:
    """The segmenter of a choice, which is settled by its first picture where an engine must still be compared."""
    if choice.needs_pictures:
        return SettledByFirstPicture(choice)
    choice.settle(())
    return choice.segmenter()


class SettledByFirstPicture(BaseSegmenter):
    """A segmenter whose engine is chosen when it gets its first picture: on that the engines are compared."""

    def __init__(self, choice: Choice):
        self._choice, self._opened, self._is_closed = choice, None, False

    @property
    def recipe(self) -> Recipe:
        return self._choice.recipe

    def _for(self, picture: Picture) -> tuple[BaseSegmenter, np.ndarray]:
        pixels = pixels_of(picture, self.recipe.channels)
        if self._is_closed:
            raise UserError("this segmenter is closed; open another one, or use it inside its `with` block")
        if self._opened is None:
            self._choice.settle([pixels])
            self._opened = self._choice.segmenter()
        return self._opened, pixels

    def label(self, picture: Picture) -> np.ndarray:
        """The class ids of a picture, uint8 [h, w]; see `Segmenter.label`."""
        segmenter, pixels = self._for(picture)
        return segmenter.label(pixels)

    def logits(self, picture: Picture) -> np.ndarray:
        """The network's scores at scale 1; see `Segmenter.logits`."""
        segmenter, pixels = self._for(picture)
        return segmenter.logits(pixels)

    def label_and_logits(self, picture: Picture) -> tuple[np.ndarray, np.ndarray]:
        """The label map and `logits`."""
        segmenter, pixels = self._for(picture)
        return segmenter.label_and_logits(pixels)

    def without_crf(self, picture: np.ndarray) -> np.ndarray:
        """The class probabilities before a CRF, float32 [h, w, classes]."""
        segmenter, pixels = self._for(picture)
        return segmenter.without_crf(pixels)

    def close(self) -> None:
        """Free the memory."""
        self._is_closed = True
        if self._opened:
            self._opened.close()


def _of_engine(setting: str) -> bool:
    return setting.partition("=")[0].strip() == "engine"


def described(recipe: Recipe, network: CachedNetwork) -> str:
    """One line on the engine that runs a network of the cache."""
    found, program = network.entry.trial(recipe.engine, recipe.precision), PROGRAMS[recipe.engine]
    how = "" if recipe.precision == "fp32" else f" in {recipe.precision}"
    return (
        f"{program.title} {program.version}{how} runs the network: TensorFlow's label on {_share(found)} of the pixels "
        f"of {_pictures(found)}, {_seconds(found)}"
    )


def _reason(entry: Entry, name: str, precision: str) -> str:
    """Why TensorFlow runs a network, and not an engine that was compared."""
    found, title = entry.trial(name, precision), PROGRAMS[name].title
    if not found.pictures:
        return f"{title} cannot run it"
    if entry.agrees(name, precision):
        return f"{title} took {_seconds(found)}"
    return (
        f"{title} gives TensorFlow's label on {_share(found)} of the pixels of {_pictures(found)}, below "
        f"{100 * LEAST_AGREEMENT[precision]:g} %"
    )


def _seconds(found: Trial) -> str:
    return f"{found.seconds:.3f} s a picture instead of {found.tensorflow_seconds:.3f} s"


def _share(found: Trial) -> str:
    return f"{percent(found.agreement)} %"


def _pictures(found: Trial) -> str:
    return f"{found.pictures} picture{'s' if found.pictures > 1 else ''}"
