"""DeepLab-LargeFOV against the original program (TensorFlow 1.15)."""

from collections.abc import Iterator

import numpy as np

from common.nets.network import build
from common.nets.pictures import preprocess
from common.recipe.recipe import Recipe
from common.tf1 import session, tf
from common.training.step import train_step
from reproductions.v1.model import network
from reproductions.v1.recipe import ORIGINAL
from tests.helpers import golden_cases
from tests.helpers.golden_cases import fill, parsed
from tests.parity.measurement import Measurement, arithmetic, by_each, by_largest, by_name, by_pixel, without_onednn

CASES = golden_cases.load("lfov")
ALIKE = 3  # steps that oneDNN's rounding leaves alike
NEAR_TIES = (
    "With oneDNN a max pool may take the other of two nearly equal values, and Adam turns this small change into a "
    "full step. TF_ENABLE_ONEDNN_OPTS=0 gives the original's losses."
)


def measurements() -> Iterator[Measurement]:
    """Every comparison with every case."""
    for case in CASES:
        yield from variables(case)
        yield from logits_and_labels(case)
        yield from training_steps(case)
        yield from training_steps_without_onednn(case)


def picture(about: dict) -> np.ndarray:
    """uint8 [n, h, w, 3] of a case's `input`."""
    return golden_cases.weights.image(about["seed"], about["height"], about["width"], about["batch"])


def label(about: dict) -> np.ndarray:
    """uint8 [n, h, w, 1]; without 255, which this program takes for a class."""
    size = about["seed"], about["height"], about["width"], about["batch"]
    return golden_cases.weights.label(*size, ignore=False)


def run(image: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, h / 8, w / 8, classes] and label maps [n, h, w] by the golden weights."""
    with tf.Graph().as_default(), tf.Session() as session:
        logits = build(network, preprocess(tf.constant(image), recipe), recipe).logits
        labels = tf.argmax(tf.image.resize_bilinear(logits, image.shape[1:3]), axis=3)
        fill(session)
        return session.run((logits, labels))


def variables(case: str) -> list[Measurement]:
    """Names and shapes; all are trained."""
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 97, 97, 3]), ORIGINAL)
        ours = {v.op.name: [v.shape.as_list(), v.trainable] for v in tf.global_variables()}
    theirs = {name: [shape, True] for name, shape, *_ in parsed(CASES[case]["variables"])}
    return [by_name(case, ours, theirs)]


def logits_and_labels(case: str) -> list[Measurement]:
    """Logits at 1/8 of the size, and the label map."""
    golden = CASES[case]
    recipe = ORIGINAL.derive(num_classes=golden["logits"].shape[-1])
    logits, labels = run(picture(parsed(golden["input"])), recipe)
    return [by_largest(case, "logits", logits, golden["logits"]), by_pixel(case, labels, golden["prediction"])]


def adam_losses(case: str) -> list[float]:
    """The loss before each Adam step, in the arithmetic of this process."""
    golden, about = CASES[case], parsed(CASES[case]["input"])
    recipe = ORIGINAL.derive(
        num_classes=golden["logits"].shape[-1],
        keep_prob=about["keep_prob"],
        learning_rate=about["learning_rate"],
        weight_decay=float(about["weight_decay"]),
    )
    with tf.Graph().as_default(), session() as sess:
        images = preprocess(tf.constant(picture(about)), recipe)
        step = train_step(network, images, tf.constant(label(about)), recipe)
        fill(sess)
        return [float(sess.run((step.loss, step.update))[0]) for _ in golden["train_losses"]]


def training_steps(case: str) -> list[Measurement]:
    """Adam's losses in the arithmetic of this process, oneDNN's by default."""
    losses, golden = adam_losses(case), CASES[case]["train_losses"]
    how, first, then = arithmetic(), slice(ALIKE), slice(ALIKE, None)
    found = [by_each(case, "training steps", losses[first], golden[first], detail=f"steps 1 to {ALIKE}, {how}")]
    if len(losses) > ALIKE:
        later = {"detail": f"steps from {ALIKE + 1} on, {how}", "tolerance": 1e-2, "exception": NEAR_TIES}
        found.append(by_each(case, "training steps", losses[then], golden[then], **later))
    return found


def training_steps_without_onednn(case: str) -> list[Measurement]:
    """Adam's losses in TensorFlow 1.15's arithmetic."""
    losses, golden = without_onednn(f"v1.adam_losses({case!r})"), CASES[case]["train_losses"]
    return [
        by_each(case, "losses", losses[0], golden[0], detail="before the first step, without oneDNN"),
        by_each(case, "training steps", losses, golden, detail=f"steps 1 to {len(losses)}, without oneDNN"),
    ]
