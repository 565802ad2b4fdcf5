"""Which picture each example of a run is: a function of (seed, the example's number) and of the pictures alone."""

import numpy as np

from common.data.card import DatasetCard
from common.data.class_pixels import class_pixels
from common.data.split import Split
from common.errors import UserError, brief
from common.recipe.recipe import Recipe
from common.words import nearest, some

BLOCK = 4096  # examples whose numbers are drawn together


def example_order(seed: int, count: int, first: int, last: int) -> np.ndarray:
    """The picture indices, 0..count-1, of the examples first..last-1; each epoch is another permutation."""
    epochs = range(first // count, -(-last // count))
    order = [np.random.RandomState([seed, epoch]).permutation(count) for epoch in epochs]
    start = first - epochs.start * count
    return np.concatenate([*order, np.zeros(0, int)])[start : start + last - first].astype(np.int64)


def picture_order(split: Split, recipe: Recipe, first: int, last: int, *, quiet: bool = True) -> np.ndarray:
    """The indices in `split` of the pictures of the examples first..last-1, int64, as the recipe samples them.

    Raises UserError as `listed_pictures`, and for a mask that can't be read.
    """
    listed = listed_pictures(split, recipe, quiet=quiet)
    if recipe.sampling == "uniform":
        return listed[example_order(recipe.seed, len(listed), first, last)]
    has_class = class_pixels(split, recipe, quiet=quiet)[listed] > 0
    return listed[balanced_order(recipe.seed, has_class, first, last)]


def listed_pictures(split: Split, recipe: Recipe, *, quiet: bool = True) -> np.ndarray:
    """The list that an epoch goes through, int64: all pictures, those with a repeated class several times.

    Raises UserError when the data set has no such class, or no picture has one.
    """
    pictures = np.arange(len(split.pairs))
    if not recipe.repeated_classes or recipe.repeat_count == 1:
        return pictures
    ids = [class_id(name, split.card) for name in recipe.repeated_classes]
    is_hard = class_pixels(split, recipe, quiet=quiet)[:, ids].any(axis=1)
    if not is_hard.any():
        raise UserError(f"{split.title}: no picture has one of the repeated_classes, {some(recipe.repeated_classes)}")
    return np.repeat(pictures, np.where(is_hard, recipe.repeat_count, 1))


def class_id(name: str, card: DatasetCard) -> int:
    """The id of a class by its name or by the id in digits. Raises UserError when the card has no such class."""
    if name in card.classes:
        return card.classes.index(name)
    if name.isdecimal() and int(name) < len(card.classes):
        return int(name)
    raise UserError(
        f"repeated_classes={brief(name)}: {card.title} has no such class; {nearest(name, card.classes)}there are "
        f"{some(card.classes, 30)}"
    )


def balanced_order(seed: int, has_class: np.ndarray, first: int, last: int) -> np.ndarray:
    """Draw for each of the examples first..last-1 a class that occurs, and then a picture that has it.

    All classes are equally likely, and so are all pictures of a class.

    Args:
      seed: of the run.
      has_class: bool [pictures, classes].
      first, last: numbers of examples.

    Returns:
      Indices of pictures, int64 [last - first].
    """
    blocks = range(first // BLOCK, -(-last // BLOCK))
    drawn = [np.random.RandomState([seed, block, BLOCK]).random_sample([BLOCK, 2]) for block in blocks]
    start = first - blocks.start * BLOCK
    draws = np.concatenate([*drawn, np.zeros([0, 2])])[start : start + last - first]
    pictures = [np.flatnonzero(column) for column in has_class.T if column.any()]
    classes = (draws[:, 0] * len(pictures)).astype(np.int64)
    order = np.zeros(len(draws), np.int64)
    for index, of_class in enumerate(pictures):
        here = classes == index
        order[here] = of_class[(draws[here, 1] * len(of_class)).astype(np.int64)]
    return order
