"""The simplified v3+ against the original's answers (TensorFlow 2.3), by its configuration and its Keras names."""

import json

import numpy as np
import pytest

from common.nets.losses import pixel_loss
from common.nets.network import Outputs, build, preprocess
from common.recipe.recipe import apply_settings
from common.tf1 import session, tf
from reproductions.v3plus_simplified.config import settings
from reproductions.v3plus_simplified.keras_names import keras_names
from reproductions.v3plus_simplified.model import network
from reproductions.v3plus_simplified.recipe import PUBLISHED_WEIGHTS, VARIANTS, fields_from_weights
from tests.helpers import golden_cases
from tests.helpers.golden_cases import parsed, relative, weights

FILE = golden_cases.load("simplified")
CASES = {name: case for name, case in FILE.items() if "config" in case}


def test_cases_are_there():
    assert CASES, "no simplified.npz in GOLDEN_DIR"


@pytest.fixture(scope="module", params=CASES)
def answers(request, tmp_path_factory):
    """The case, our recipe, its labels and our probabilities and loss, with the weights under the original's names."""
    case = CASES[request.param]
    config = tmp_path_factory.mktemp("config") / "conf.json"
    config.write_text(str(case["config"]))
    recipe = apply_settings(VARIANTS, "xception", settings(config))
    shapes = {name: tuple(shape) for name, shape, _ in parsed(case["variables"])}
    names, _ = keras_names(shapes, recipe.cell)
    about = parsed(case["input"])
    size = about["seed"], about["height"], about["width"], about["batch"]
    with tf.Graph().as_default(), session() as sess:
        labels = tf.constant(weights.label(*size, classes=recipe.num_classes, ignore=False))
        outputs = build(network, preprocess(tf.constant(weights.image(*size)), recipe), recipe)
        variables = {v.op.name: v for v in tf.model_variables()}
        assert {n: tuple(v.shape.as_list()) for n, v in variables.items()} == {
            ours: shapes[theirs] for ours, theirs in names.items()
        }
        sess.run(
            [v.initializer for v in variables.values()],
            {v.initializer.inputs[1]: weights.weight(names[n], v.shape) for n, v in variables.items()},
        )
        return case, recipe, names, sess.run((tf.nn.softmax(outputs.logits), pixel_loss(outputs, labels, recipe)))


def test_every_variable_of_the_original_has_its_place(answers):
    case, _, names, _ = answers
    assert set(names.values()) == {name for name, *_ in parsed(case["variables"])}


def test_probabilities_and_labels(answers):
    case, _, _, (probabilities, _) = answers
    assert relative(probabilities[:, ::4, ::4], case["probabilities_every_4th_pixel"]) < 2e-5
    assert (probabilities.argmax(axis=3) == case["prediction"]).mean() >= 0.999


def test_class_balanced_loss(answers):
    case, _, _, (_, loss) = answers
    assert loss == pytest.approx(float(case["class_balanced_loss"]), rel=1e-4)


def test_names_and_shapes_settle_the_network(answers):
    case, recipe, names, _ = answers
    shapes = {name: tuple(shape) for name, shape, _ in parsed(case["variables"])}
    settled = fields_from_weights({ours: shapes[theirs] for ours, theirs in names.items()})
    for field in ("base_model", "output_stride", "boundary_refinement", "reduction_size", "concat_channels",
                  "num_classes", "bn_scale"):  # fmt: skip
        assert settled[field] == getattr(recipe, field), field


def test_published_weights():
    published = FILE.get("class_weights")
    if published is None:
        pytest.skip("no class weights in simplified.npz")
    np.testing.assert_array_equal(PUBLISHED_WEIGHTS, published["positive"])
    np.testing.assert_allclose(1 - np.array(PUBLISHED_WEIGHTS), published["negative"], atol=1.1e-8)


def test_loss_by_hand():
    """Two pixels, three classes: -(w y log p + (1 - w) (1 - y) log(1 - p)), summed over classes, by numpy."""
    rng = np.random.RandomState(0)
    logits, labels, w = rng.randn(1, 1, 2, 3).astype(np.float32), np.array([[[[2], [0]]]], np.uint8), (0.2, 0.9, 0.7)
    recipe = VARIANTS["xception"].derive(num_classes=3, class_weights=w)
    p = np.exp(logits) / np.exp(logits).sum(axis=3, keepdims=True)
    truth = np.eye(3)[labels[..., 0]]
    wanted = -(np.array(w) * truth * np.log(p) + (1 - np.array(w)) * (1 - truth) * np.log(1 - p)).sum(axis=3).mean()
    with tf.Graph().as_default(), session() as sess:
        loss = sess.run(pixel_loss(Outputs(tf.constant(logits)), tf.constant(labels), recipe))
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert json.loads(recipe.encoder_middle_conf)
