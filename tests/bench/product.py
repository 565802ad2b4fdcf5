"""The product's side of the contests: each function prepares a piece of work, and returns it (see worker.py)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.data import sample
from common.data.lists import read_split
from common.data.sets.voc import VOC2012
from common.inference.segmenter import Segmenter
from common.recipe.recipe import Recipe
from common.tf1 import session, tf
from common.training.batches import TrainingBatches
from common.training.step import train_step
from common.weights.weights import Weights
from reproductions.v2.recipe import VARIANTS
from tests.bench.networks import NETWORKS


def label(network: str, weights: str, picture: str, **fields) -> Callable[[], np.ndarray]:
    """A picture's label map; `fields` of the recipe that differ from the network's."""
    chosen, pixels = NETWORKS[network], np.load(picture)
    recipe = chosen.recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    segmenter = Segmenter(chosen.load().load_network(), recipe, Weights(weights))
    return lambda: segmenter.label(pixels)


def update(network: str, crops: int, size: int, side_by_side: bool = False, **fields) -> Callable[[], None]:
    """An update of the weights on drawn crops; `side_by_side` runs several ops at a time, as TensorFlow would."""
    chosen, rng = NETWORKS[network], np.random.RandomState(0)
    recipe = chosen.recipe(batch_size=crops, crop_size=(size, size), **fields)
    images = rng.randn(crops, size, size, 3).astype(np.float32)
    labels = rng.randint(0, recipe.num_classes, (crops, size, size, 1)).astype(np.uint8)
    graph = tf.Graph()
    with graph.as_default():
        x, y = tf.placeholder(tf.float32, images.shape), tf.placeholder(tf.uint8, labels.shape)
        step = train_step(chosen.load().load_network(), x, y, recipe)
        made = tf.Session(graph=graph) if side_by_side else session(graph, recipe.precision)
        made.run(tf.global_variables_initializer())

    def work() -> None:
        made.run((step.update, step.pixel_loss), {x: images, y: labels})

    return work


def batch(folder: str, network: str = "", crops: int = 4) -> Callable[[], None]:
    """A batch of training crops from a data set; without a network by the sample recipe of v2, crops of 145."""
    recipe: Recipe = NETWORKS[network].recipe(batch_size=crops) if network else VARIANTS["sample"]
    if not Path(folder).exists():
        sample.write(Path(folder))
    batches = TrainingBatches(read_split(VOC2012, Path(folder), "train"), recipe)

    def work() -> None:
        for _ in range(BATCHES):
            next(batches)

    work()  # the queues fill
    return work


BATCHES = 12  # a round
