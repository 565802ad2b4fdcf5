"""Label maps of small scores: those of TensorFlow, pixel by pixel."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from common.inference import enlarging
from common.inference.enlarging import enlarges, label_map
from common.inference.fusion import Fusion
from common.recipe.recipe import Recipe
from common.tf1 import tf

RECIPES = {
    "native": {},
    "aligned": {"align_corners": True},
    "padded": {"eval_size": 150, "align_corners": True},
    "padded around": {"eval_size": 131, "eval_padding": "around"},
}


def wanted(scores, own, recipe):
    """What the ops of `Segmenter` make of them."""
    with tf.Graph().as_default(), tf.Session() as session:
        fusion = Fusion(recipe)
        return session.run(fusion.whole_label, fusion.feeds([scores[None]], own))


def drawn(size, classes, rng):
    """Scores with regions: a class is high in a rectangle."""
    scores = rng.randn(*size, classes).astype(np.float32)
    for c in range(classes):
        top, left = (rng.randint(side) for side in size)
        scores[top : top + 6, left : left + 6, c] += 4
    return scores


@dataclass(frozen=True, kw_only=True)
class Strided(Recipe):
    """Scores of a smaller scale are first resized to a stride of 8, as v3+ does."""

    scores_stride: ClassVar[int] = 8


@pytest.mark.parametrize("kind", [Recipe, Strided])
@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("own", [(97, 129), (1, 1), (17, 200), (64, 3)])
def test_it_is_tensorflows(kind, name, own, monkeypatch):
    recipe, rng = kind(variant="x", num_classes=7, **RECIPES[name]), np.random.RandomState(0)
    assert enlarges(recipe)
    monkeypatch.setattr(enlarging, "PIXELS_AT_ONCE", 1000)
    for size in ((9, 11), (17, 17), (1, 1)):
        scores = drawn(size, 7, rng)
        for given in (scores, np.zeros_like(scores), scores[..., ::-1]):
            label = label_map(given, own, recipe)
            assert label.dtype == np.uint8
            np.testing.assert_array_equal(label, wanted(given, own, recipe))


def test_scores_stay_as_they_are():
    scores = drawn((9, 9), 5, np.random.RandomState(0))
    before = scores.copy()
    label_map(scores, (65, 65), Recipe(variant="x"))
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize(
    "fields", [{"eval_flip": True}, {"eval_scales": (0.5,)}, {"eval_size": 65, "resize_range": (65, 65)}]
)
def test_not_for_other_recipes(fields):
    assert not enlarges(Recipe(variant="x", **fields))
