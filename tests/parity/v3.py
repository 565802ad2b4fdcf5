"""DeepLab v3 against the original program (TensorFlow 1.15)."""

import functools
from collections.abc import Iterator

import numpy as np

from common.nets.network import build
from common.nets.pictures import preprocess
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.training.step import train_step
from reproductions.v3.model import network
from reproductions.v3.recipe import ASPP, fields_from_weights
from tests.helpers import golden_cases
from tests.helpers.golden_cases import fill, parsed
from tests.parity.measurement import Measurement, by_each, by_largest, by_name, by_pixel

CASES = golden_cases.load("v3")
FEW_VALUES = "By the batch's statistics, image pooling normalises over a handful of values, which enlarges rounding."


def measurements() -> Iterator[Measurement]:
    """Every comparison with every case."""
    for case in CASES:
        yield from variables(case)
        yield from logits_and_labels(case)
        yield from batch_statistics(case)
        yield from losses_gradients_and_training(case)


@functools.cache
def inputs(case: str) -> tuple[np.ndarray, np.ndarray]:
    """A case's pictures and labels."""
    return golden_cases.inputs(CASES[case])


def settled(case: str) -> dict:
    """The recipe fields that the names of a case's variables tell."""
    return fields_from_weights({name: tuple(shape) for name, shape, *_ in parsed(CASES[case]["variables"])})


def recipe(case: str, **changes: object) -> Recipe:
    """The recipe from what the file says of the case, and from the names of its variables."""
    about = parsed(CASES[case]["input"])
    told = {key: tuple(about[key]) for key in ("multi_grid", "atrous_rates") if key in about}
    return ASPP.derive(
        **settled(case) | told,
        output_stride=about.get("output_stride", 16),
        learning_rate=about["learning_rate"],
        power=about["poly_power"],
        num_steps=about["poly_total_steps"],
        weight_decay=about["weight_decay"],
        batch_norm_decay=about["batch_norm_decay"],
        **changes,
    )


def pictures(case: str) -> tf.Tensor:
    """A case's pictures as the network takes them."""
    return preprocess(tf.constant(inputs(case)[0]), recipe(case))


def variables(case: str) -> list[Measurement]:
    """Names, shapes, and which are trained."""
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 97, 97, 3]), recipe(case))
        ours = {v.op.name: [v.shape.as_list(), v.trainable] for v in tf.global_variables()}
    theirs = {name: [shape, trainable] for name, shape, trainable in parsed(CASES[case]["variables"])}
    return [by_name(case, ours, theirs)]


def logits_and_labels(case: str) -> list[Measurement]:
    """Logits by the stored statistics, and the label maps."""
    golden = CASES[case]
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = build(network, pictures(case), recipe(case))
        labels = tf.argmax(tf.image.resize_bilinear(outputs.logits, inputs(case)[0].shape[1:3]), axis=3)
        fill(session)
        logits, predicted = session.run((outputs.logits, labels))
    return [by_largest(case, "logits", logits, golden["logits"]), by_pixel(case, predicted, golden["prediction"])]


def batch_statistics(case: str) -> list[Measurement]:
    """Training mode: logits and pixel loss by the batch's statistics, and what one update stores."""
    golden, about = CASES[case], recipe(case)
    with tf.Graph().as_default(), tf.Session() as session:
        step = train_step(network, pictures(case), tf.constant(inputs(case)[1]), about)
        by_variable = {v.op.name: v for v in tf.global_variables()}
        moving = [tf.norm(by_variable[name].read_value()) for name in parsed(golden["moving_order"])]
        fill(session)
        loss, logits = session.run((step.pixel_loss, step.outputs.logits))
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        norms = session.run(moving)
    how = "batch statistics"
    few = {"detail": how, "tolerance": 2e-3, "exception": FEW_VALUES}
    return [
        by_largest(case, "logits", logits, golden["train_mode_logits"], **few),
        by_each(case, "losses", loss, golden["loss_trainmode_frozen_reg"][0], detail=how),
        by_each(case, "moving statistics", norms, golden["moving_norms_after_one_update"], detail="after one update"),
    ]


def losses_gradients_and_training(case: str) -> list[Measurement]:
    """With stored statistics, gamma and beta trained: losses, every gradient's norm, momentum steps."""
    golden, about = CASES[case], recipe(case, fine_tune_batch_norm=False)
    with tf.Graph().as_default(), tf.Session() as session:
        step = train_step(network, pictures(case), tf.constant(inputs(case)[1]), about)
        by_variable = {v.op.name: v for v in tf.trainable_variables()}
        order = parsed(golden["gradient_order"])
        norms = [tf.norm(g) for g in tf.gradients(step.loss, [by_variable[n] for n in order])]
        fill(session)
        pixel_loss, loss, gradients = session.run((step.pixel_loss, step.loss, norms))
        losses = [session.run((step.loss, step.update))[0] for _ in golden["train_losses"]]
    _, frozen, regularisation = golden["loss_trainmode_frozen_reg"]
    return [
        by_name(case, dict.fromkeys(by_variable), dict.fromkeys(order), detail="that are trained"),
        by_each(case, "losses", pixel_loss, frozen, detail="pixels, stored statistics"),
        by_each(case, "losses", loss - pixel_loss, regularisation, detail="L2"),
        by_each(case, "gradients", gradients, golden["gradient_norms"], detail="stored statistics"),
        by_each(case, "training steps", losses, golden["train_losses"], detail="stored statistics"),
    ]
