"""DeepLab v2 against the original program (TensorFlow 1.15)."""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.inference.segmenter import Segmenter
from common.nets.network import build
from common.nets.pictures import preprocess
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.training.step import train_step
from common.weights.weights import Weights
from reproductions.v2 import REPRODUCTION
from reproductions.v2.model import network
from reproductions.v2.recipe import DEEPLAB, MSC, fields_from_weights
from tests.helpers import golden_cases
from tests.helpers.golden_cases import fill, parsed
from tests.parity.measurement import Measurement, by_each, by_largest, by_name, by_pixel

CASES = golden_cases.load("v2")
MODES = {"": (1.0,), "msc_": MSC["msc_scales"]}
DETAIL = {"": "one scale", "msc_": "multi-scale inputs"}
# The original's smoothed branch has no multi-scale program, so a case may lack those answers.
CASES_AND_MODES = [(case, mode) for case in CASES for mode in MODES if f"{mode}logits" in CASES[case]]


def measurements() -> Iterator[Measurement]:
    """Every comparison with every case."""
    for case in CASES:
        yield from variables(case)
        yield from accumulated_gradients(case)
        yield from weight_file(case)
    for case, mode in CASES_AND_MODES:
        yield from logits_and_labels(case, mode)
        yield from losses_gradients_and_training(case, mode)


@functools.cache
def inputs(case: str) -> tuple[np.ndarray, np.ndarray]:
    """A case's pictures and labels."""
    return golden_cases.inputs(CASES[case])


def recipe(case: str, mode: str) -> Recipe:
    """The recipe from what the file says of the case, and from the names of its variables."""
    about = parsed(CASES[case]["input"])
    shapes = {name: tuple(shape) for name, shape, *_ in parsed(CASES[case]["variables"])}
    settled = {"dilated_type": about.get("dilated_type", "regular")} | fields_from_weights(shapes)
    settled["num_classes"] = CASES[case]["logits"].shape[-1]
    return DEEPLAB.derive(
        **settled,
        msc_scales=MODES[mode],
        learning_rate=about["learning_rate"],
        power=about["poly_power"],
        num_steps=about["poly_total_steps"],
        weight_decay=about["weight_decay"],
    )


def variables(case: str) -> list[Measurement]:
    """Names, shapes, and which are trained."""
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 97, 97, 3]), recipe(case, ""))
        ours = {v.op.name: [v.shape.as_list(), v.trainable] for v in tf.global_variables()}
    theirs = {name: [shape, trainable] for name, shape, trainable in parsed(CASES[case]["variables"])}
    return [by_name(case, ours, theirs)]


def logits_and_labels(case: str, mode: str) -> list[Measurement]:
    """Logits at 1/8 of the size, and the label maps."""
    image, _ = inputs(case)
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = build(network, preprocess(tf.constant(image), recipe(case, mode)), recipe(case, mode))
        labels = tf.argmax(tf.image.resize_bilinear(outputs.logits, image.shape[1:3]), axis=3)
        fill(session)
        logits, predicted = session.run((outputs.logits, labels))
    return [
        by_largest(case, "logits", logits, CASES[case][mode + "logits"], detail=DETAIL[mode]),
        by_pixel(case, predicted, CASES[case][mode + "prediction"], detail=DETAIL[mode]),
    ]


def losses_gradients_and_training(case: str, mode: str) -> list[Measurement]:
    """The loss and its L2 part, every gradient's norm, and the loss before each step."""
    image, label = inputs(case)
    golden, about, how = CASES[case], recipe(case, mode), DETAIL[mode]
    with tf.Graph().as_default(), tf.Session() as session:
        step = train_step(network, preprocess(tf.constant(image), about), tf.constant(label), about)
        decay = step.loss - step.pixel_loss
        by_variable = {v.op.name: v for v in tf.trainable_variables()}
        order = parsed(golden["gradient_order"])
        norms = [tf.norm(g) for g in tf.gradients(step.loss, [by_variable[n] for n in order])]
        fill(session)
        loss, l2, gradients = session.run((step.loss, decay, norms))
        losses = [session.run((step.loss, step.update))[0] for _ in golden[mode + "train_losses"]]
    single, msc, regularisation = next(v for k, v in golden.items() if k.startswith("loss_"))
    return [
        by_each(case, "losses", loss, msc if mode else single, detail=f"whole, {how}"),
        by_each(case, "losses", l2, regularisation, detail=f"L2, {how}"),
        by_each(case, "gradients", gradients, golden[mode + "gradient_norms"], detail=how),
        by_each(case, "training steps", losses, golden[mode + "train_losses"], detail=how),
    ]


def accumulated_gradients(case: str) -> list[Measurement]:
    """Two passes over the same batch, averaged, are one pass."""
    image, label = inputs(case)
    about = recipe(case, "").derive(grad_update_every=2)
    losses = []
    with tf.Graph().as_default(), tf.Session() as session:
        step = train_step(network, preprocess(tf.constant(image), about), tf.constant(label), about)
        fill(session)
        session.run(tf.local_variables_initializer())
        for _ in range(2):
            for _ in range(2):
                session.run(step.accumulate)
            losses.append(session.run((step.loss, step.update))[0])
    golden = CASES[case]["train_losses"][:2]
    return [by_each(case, "training steps", losses, golden, detail="gradients of two passes averaged")]


def values(case: str) -> dict[str, np.ndarray]:
    """The golden weights by the original's names."""
    return {name: golden_cases.weights.weight(name, shape) for name, shape, _ in parsed(CASES[case]["variables"])}


def weight_file(case: str) -> list[Measurement]:
    """The original's weights as .npz, recognised by their names, and segmented as `predict` does."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/x.npz", **values(case))
        weights = Weights(Path(folder) / "x.npz")
        dilated = f"dilated_type={recipe(case, '').dilated_type}"
        chosen = REPRODUCTION.recipe_to_run(["eval_size=native", dilated], weights)
        with Segmenter(network, chosen, weights) as segmenter:
            return segmented(case, "", segmenter)


def segmented(case: str, mode: str, segmenter: Segmenter) -> list[Measurement]:
    """The first picture of a case through a segmenter with the golden weights."""
    image = inputs(case)[0][0]
    return from_weight_file(case, segmenter.logits(image), segmenter.label(image), mode)


def from_weight_file(case: str, logits: np.ndarray, label: np.ndarray, mode: str = "") -> list[Measurement]:
    """Logits and label map of a case's first picture, as `predict` wrote them from a weight file."""
    detail = f"{DETAIL[mode]}, from a weight file"
    return [
        by_largest(case, "logits", logits, CASES[case][mode + "logits"][0], detail=detail),
        by_pixel(case, label, CASES[case][mode + "prediction"][0], detail=detail),
    ]
