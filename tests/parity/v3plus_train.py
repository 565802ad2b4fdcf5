"""DeepLab v3+ in training against research/deeplab's train graph (TensorFlow 1.15).

Its answers were taken with stored statistics and without dropout.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from common.nets import layers
from common.nets.losses import decay_of, pixel_loss
from common.nets.network import Outputs, build
from common.nets.pictures import preprocess
from common.recipe.recipe import Recipe
from common.tf1 import slim, tf
from common.training.step import multiplier, train_step
from reproductions.v3plus.model import network
from reproductions.v3plus.official import TRAINING, gradient_multipliers
from tests.helpers import golden_cases
from tests.helpers.golden_cases import fill, parsed
from tests.parity import v3plus_zoo
from tests.parity.measurement import Measurement, by_each, by_largest, by_name
from tests.parity.v3plus import Cases
from tests.parity.v3plus_seed import ROUNDINGS, rounded

# The recipe fields of official training flags, of a case or of one of its variants.
FLAGS = {
    "top_k_percent_pixels": "top_k_percent_pixels",
    "hard_example_mining_step": "hard_example_mining_step",
    "label_weights": "class_weights",
    "image_pyramid": "image_pyramid",
    "merge_method": "merge_method",
    "fine_tune_batch_norm": "fine_tune_batch_norm",
    "base_learning_rate": "learning_rate",
    "momentum": "momentum",
    "learning_policy": "schedule",
    "learning_power": "power",
    "training_number_of_steps": "num_steps",
    "weight_decay": "weight_decay",
    "slow_start_step": "slow_start_step",
    "slow_start_learning_rate": "slow_start_learning_rate",
    "end_learning_rate": "end_learning_rate",
    "decay_steps": "decay_steps",
    "learning_rate_decay_factor": "step_factor",
    "learning_rate_decay_step": "step_size",
}


def fields_of(flags: dict[str, Any]) -> dict[str, Any]:
    """The recipe fields of official training flags; those that say something else than training are left out."""
    fields = {ours: flags[flag] for flag, ours in FLAGS.items() if flags.get(flag) is not None}
    if "upsample_logits" in flags:
        fields["loss_size"] = "labels" if flags["upsample_logits"] else "logits"
    weights = fields.get("class_weights", ())
    if not isinstance(weights, list | tuple):  # the official default is one weight, 1, for all classes
        fields["class_weights"] = ()
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _fields(config: dict, about: dict) -> dict[str, Any]:
    flags = config | about
    multipliers = gradient_multipliers(flags.get("last_layer_gradient_multiplier", 1.0))
    return {**v3plus_zoo.ZOO.fields(config, about), **TRAINING, **fields_of(flags), "lr_multipliers": multipliers}


TRAINED = Cases(golden_cases.load("train_official"), _fields)
CASES = TRAINED.cases


def measurements() -> Iterator[Measurement]:
    """Every comparison with every case."""
    for case in CASES:
        yield from TRAINED.variables(case)
        yield from losses_gradients_and_training(case)
        yield from loss_variants(case)


NEAR_ZERO = (
    "Norms depend on the signs of scores near zero. Half a unit in the last place of the input moves some of ours by "
    "more than 1e-3, and each time others. Each norm is compared by the nearest of up to eight such roundings."
)


def without_dropout(images: tf.Tensor, recipe: Recipe, batch_statistics: bool = False) -> Outputs:
    """The network as the answers were taken: dropout was an identity."""
    with slim.arg_scope([layers.dropout], seed=None):
        return network(images, recipe, batch_statistics)


def inputs(case: str, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """A case's pictures as the network takes them, float32 [n, h, w, 3], and its labels."""
    pictures, labels = TRAINED.inputs(case)
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(preprocess(tf.constant(pictures), recipe)), labels


def losses_gradients_and_training(case: str) -> list[Measurement]:
    """Logits, the loss and its L2 part, what it regularises, every gradient's norm and multiplier, momentum steps."""
    golden, about = CASES[case], TRAINED.recipe(case)
    order, (pictures, labels) = parsed(golden["gradient_order"]), inputs(case, about)
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder_with_default(pictures, pictures.shape)
        step = train_step(without_dropout, images, tf.constant(labels), about)
        by_variable = {v.op.name: v for v in tf.trainable_variables()}
        norms = [tf.norm(g) for g in tf.gradients(step.loss, [by_variable[name] for name in order])]
        fill(session)
        logits, pixels, l2 = session.run((step.outputs.logits, step.pixel_loss, step.loss - step.pixel_loss))
        by_norm = gradients(
            case, lambda moved: np.array(session.run(norms, {images: moved})), pictures, golden["gradient_norms"]
        )
        losses = [session.run((step.loss, step.update))[0] for _ in golden["train_losses"]]
    decayed = {name: True for name in by_variable if decay_of(name, about)}
    regularised = {name.removesuffix("kernel") + "weights": True for name in parsed(golden["regularised"])}
    multipliers = {name: m for name in by_variable if (m := multiplier(about, name)) != 1}
    return [
        by_name(case, dict.fromkeys(by_variable), dict.fromkeys(order), detail="that are trained"),
        by_name(case, decayed, regularised, detail="that are regularised"),
        by_name(case, multipliers, parsed(golden["gradient_multipliers"]), detail="whose gradients are multiplied"),
        by_largest(case, "logits", logits, golden["logits"]),
        by_each(case, "losses", [pixels, l2], golden["loss_seg_reg"], detail="pixels, L2"),
        *by_norm,
        by_each(case, "training steps", losses, golden["train_losses"]),
    ]


def gradients(
    case: str, norms: Callable[[np.ndarray], np.ndarray], images: np.ndarray, wanted: np.ndarray
) -> list[Measurement]:
    """The norms by preprocessed images, and where these are not near enough, each by the nearest of some roundings."""
    given = nearest = norms(images)
    measured, rng = [by_each(case, "gradients", given, wanted)], np.random.RandomState(0)
    for turn in range(1, ROUNDINGS):
        if measured[-1].holds:
            break
        moved = norms(rounded(images, rng))
        nearest = np.where(np.abs(moved - wanted) < np.abs(nearest - wanted), moved, nearest)
        detail = f"each by the nearest of {turn + 1} roundings of the input"
        measured.append(by_each(case, "gradients", nearest, wanted, detail=detail))
    if len(measured) == 1:
        return measured
    odd = by_each(case, "gradients", given, wanted, detail="input as given", tolerance=1e-2, exception=NEAR_ZERO)
    return [measured[-1], odd]


def loss_variants(case: str) -> list[Measurement]:
    """The pixels' loss with other flags; networks of one pyramid share a graph."""
    wanted = parsed(CASES[case]["loss_variants"])
    recipes = [TRAINED.recipe(case).derive(**fields_of(flags)) for flags, _ in wanted]
    pyramids = [(recipe.image_pyramid, recipe.merge_method) for recipe in recipes]
    losses: dict[int, float] = {}
    for pyramid in dict.fromkeys(pyramids):
        chosen = [i for i, other in enumerate(pyramids) if other == pyramid]
        with tf.Graph().as_default(), tf.Session() as session:
            pictures, labels = inputs(case, recipes[chosen[0]])
            outputs = build(network, tf.constant(pictures), recipes[chosen[0]])
            steps = [wanted[i][0].get("global_step", 0) for i in chosen]
            of_each = [pixel_loss(outputs, labels, recipes[i], s) for i, s in zip(chosen, steps, strict=True)]
            fill(session)
            losses |= zip(chosen, session.run(of_each), strict=True)
    return [
        by_each(case, "losses", losses[i], np.float32(loss), detail=f"pixels, with {', '.join(flags)}")
        for i, (flags, loss) in enumerate(wanted)
    ]
