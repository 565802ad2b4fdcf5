"""The simplified v3+ against the original program (TensorFlow 2.3), by its configuration and its Keras names."""

import functools
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.nets.losses import pixel_loss
from common.nets.network import build
from common.nets.pictures import preprocess
from common.recipe.recipe import Recipe
from common.recipe.settings import apply_settings
from common.tf1 import session, tf
from reproductions.v3plus_simplified.config import settings
from reproductions.v3plus_simplified.keras_names import keras_names
from reproductions.v3plus_simplified.model import network
from reproductions.v3plus_simplified.recipe import PUBLISHED_WEIGHTS, VARIANTS
from tests.helpers import golden_cases
from tests.helpers.golden_cases import parsed, weights
from tests.parity.measurement import Measurement, by_each, by_largest, by_name, by_pixel

FILE = golden_cases.load("simplified")
CASES = {name: case for name, case in FILE.items() if "config" in case}


def measurements() -> Iterator[Measurement]:
    """Every comparison with every case."""
    for case in CASES:
        yield from variables(case)
        yield from probabilities_and_labels(case)
        yield from class_balanced_loss(case)
    if "class_weights" in FILE:
        yield from published_weights()


@dataclass(frozen=True)
class Answers:
    """Ours for one case, with the weights under the original's names.

    Attributes:
      recipe: made of the case's configuration.
      names: our variables -> the original's.
      shapes: of our variables, by our names.
      probabilities: float32 [n, h, w, classes].
      loss: class-balanced.
    """

    recipe: Recipe
    names: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    probabilities: np.ndarray
    loss: float


def theirs(case: str) -> dict[str, tuple[int, ...]]:
    """The original's variables."""
    return {name: tuple(shape) for name, shape, _ in parsed(CASES[case]["variables"])}


@functools.cache
def answers(case: str) -> Answers:
    """Build the network from the case's configuration and run it."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "conf.json"
        config.write_text(str(CASES[case]["config"]))
        recipe = apply_settings(VARIANTS, "xception", settings(config))
    names, _ = keras_names(theirs(case), recipe)
    about = parsed(CASES[case]["input"])
    size = about["seed"], about["height"], about["width"], about["batch"]
    with tf.Graph().as_default(), session() as sess:
        labels = tf.constant(weights.label(*size, classes=recipe.num_classes, ignore=False))
        outputs = build(network, preprocess(tf.constant(weights.image(*size)), recipe), recipe)
        variables = {v.op.name: v for v in tf.model_variables()}
        sess.run(
            [v.initializer for v in variables.values()],
            {v.initializer.inputs[1]: weights.weight(names[n], v.shape) for n, v in variables.items()},
        )
        found = sess.run((tf.nn.softmax(outputs.logits), pixel_loss(outputs, labels, recipe)))
    return Answers(recipe, names, {n: tuple(v.shape.as_list()) for n, v in variables.items()}, *found)


def variables(case: str) -> list[Measurement]:
    """Every variable of ours is one of the original's, with its shape, and every one of its has a place."""
    ours = answers(case)
    named = {ours.names.get(name, f"{name} (ours)"): shape for name, shape in ours.shapes.items()}
    placed = dict.fromkeys(ours.names.values())
    return [
        by_name(case, named, theirs(case)),
        by_name(case, placed, dict.fromkeys(theirs(case)), detail="that have a place by their names"),
    ]


def probabilities_and_labels(case: str) -> list[Measurement]:
    """Probabilities of every fourth pixel, and the label maps."""
    golden, ours = CASES[case], answers(case).probabilities
    every_4th = golden["probabilities_every_4th_pixel"]
    return [
        by_largest(case, "logits", ours[:, ::4, ::4], every_4th, detail="probabilities"),
        by_pixel(case, ours.argmax(axis=3), golden["prediction"]),
    ]


def class_balanced_loss(case: str) -> list[Measurement]:
    """The loss of the original, with its labels' 255 kept out."""
    return [by_each(case, "losses", answers(case).loss, CASES[case]["class_balanced_loss"], detail="class-balanced")]


def published_weights() -> list[Measurement]:
    """The class weights that the original publishes, and one less each."""
    published, ours = FILE["class_weights"], np.array(PUBLISHED_WEIGHTS)
    rest = {"detail": "one less each", "tolerance": 1.1e-8}
    return [
        by_largest("class_weights", "class weights", ours, published["positive"]),
        by_largest("class_weights", "class weights", 1 - ours, published["negative"], **rest),
    ]
