"""DeepLab v3+ against the seed's answers and the official zoo's graphs (TensorFlow 1.15)."""

import functools

import numpy as np
import pytest

from common.inference.segmenter import Segmenter
from common.nets.losses import pixel_loss, weight_decay
from common.nets.network import build, preprocess
from common.recipe.recipe import format_value
from common.tf1 import session, tf
from common.weights import weights as checkpoints
from reproductions.v3plus import REPRODUCTION
from reproductions.v3plus.model import network
from reproductions.v3plus.recipe import PASCAL, SEED, fields_from_weights
from tests.helpers import golden_cases
from tests.helpers.golden_cases import fill, parsed, relative

SEED_CASES, ZOO_CASES = golden_cases.load("v3plus"), golden_cases.load("zoo")
CASES = SEED_CASES | ZOO_CASES
each_case = pytest.mark.parametrize("case", CASES)


def test_cases_are_there():
    assert CASES, "neither v3plus.npz nor zoo.npz in GOLDEN_DIR"


@functools.cache
def inputs(case):
    return golden_cases.inputs(CASES[case])


def shapes(case):
    return {entry[0]: tuple(entry[1]) for entry in parsed(CASES[case]["variables"])}


def recipe(case):
    """The recipe from the names of the variables, and what they don't tell from the case's configuration."""
    about, config = parsed(CASES[case]["input"]), parsed(CASES[case]["config"])
    settled = fields_from_weights(shapes(case))
    if case in ZOO_CASES:
        stride, rates, grid = config["os"], config["rates"], config["mg"]
        assert settled["backbone"] == config["v"] and settled["decoder"] == (config["dec"] is not None)
        mode = {}
    else:
        stride, rates, grid = config["output_stride"], config["atrous_rates"], config["multi_grid"]
        mode = SEED | {"void_pixels": "constant", "weight_decay": about["weight_decay"]}
    return PASCAL.derive(
        **settled
        | mode
        | {
            "output_stride": stride,
            "eval_output_stride": stride,
            "atrous_rates": tuple(rates or ()),
            "scale_atrous_rates": False,  # the case gives those of its output stride
            "multi_grid": tuple(grid or ()),
            "eval_size": "native",
        }
    )


@each_case
def test_variables(case):
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 97, 97, 3]), recipe(case))
        ours = {v.op.name: [v.shape.as_list(), v.trainable] for v in tf.global_variables()}
    for name, shape, *trainable in parsed(CASES[case]["variables"]):
        assert ours.pop(name)[: 1 + len(trainable)] == [shape, *trainable]
    assert not ours


@each_case
def test_logits_and_labels(case):
    image, golden = inputs(case)[0], CASES[case]
    with tf.Graph().as_default(), tf.Session() as session:
        logits = build(network, preprocess(tf.constant(image), recipe(case)), recipe(case)).logits
        labels = tf.argmax(tf.image.resize_bilinear(logits, image.shape[1:3], align_corners=True), axis=3)
        fill(session)
        ours, predicted = session.run((logits, labels))
    assert relative(ours, golden["logits"]) <= 2e-5
    assert np.mean(predicted == golden["prediction"].reshape(predicted.shape)) >= 0.999


@pytest.mark.parametrize("case", SEED_CASES)
def test_losses_and_gradients(case):
    """At inference, as the golden answers were taken: the seed's loss, L2, every gradient's norm.

    At output stride 8 the smallest norms hang on the signs of scores near zero: changes of the input by half a
    unit in the last place move them by up to 2e-3. One of a few such roundings must meet them all within 1e-3.
    """
    golden, about = CASES[case], recipe(case)
    image, label = inputs(case)
    with tf.Graph().as_default(), session() as sess:
        images = tf.placeholder(tf.float32, image.shape)
        outputs = build(network, images, about)
        loss, decay = pixel_loss(outputs, tf.constant(label), about), weight_decay(about)
        by_name = {v.op.name: v for v in tf.trainable_variables()}
        order = parsed(golden["gradient_order"])
        assert sorted(order) == sorted(by_name)
        norms = [tf.norm(g) for g in tf.gradients(loss + decay, [by_name[n] for n in order])]
        fill(sess)
        pixels = sess.run(preprocess(tf.constant(image), about))
        np.testing.assert_allclose(sess.run((loss, decay), {images: pixels}), golden["loss_seg_reg"], rtol=1e-4)
        rng, worst = np.random.RandomState(0), []
        for _ in range(8):
            ours = np.array(sess.run(norms, {images: pixels}))
            worst.append(np.abs(ours / golden["gradient_norms"] - 1).max())
            if worst[-1] <= 1e-3:
                break
            pixels = (pixels * (1 + rng.uniform(-6e-8, 6e-8, pixels.shape))).astype(np.float32)
    assert min(worst) <= 1e-3 and max(worst) <= 5e-3, worst


@pytest.fixture(scope="module", params=CASES)
def weight_file(request, tmp_path_factory):
    """A case and its weights as .npz."""
    case, path = request.param, tmp_path_factory.mktemp("weights") / "x.npz"
    np.savez(path, **{name: golden_cases.weights.weight(name, shape) for name, shape in shapes(case).items()})
    yield case, path
    path.unlink()


def test_evaluation_of_a_weight_file(weight_file):
    """The command line's network on a file known by its names: one scale, and scales with mirror."""
    case, path = weight_file
    weights = checkpoints.Weights(path)
    told = recipe(case).to_json()
    names = ("output_stride", "eval_output_stride", "atrous_rates", "scale_atrous_rates", "multi_grid", "eval_size")
    settings = [f"{k}={format_value(told[k])}" for k in names]
    chosen = REPRODUCTION.recipe_to_run(settings, weights)
    segmenter = Segmenter(network, chosen, weights)
    image, golden = inputs(case)[0][0], CASES[case]
    assert relative(segmenter.logits(image), golden["logits"][0]) <= 2e-5
    assert np.mean(segmenter.label(image) == golden["prediction"][0].reshape(image.shape[:2])) >= 0.999
    if "multiscale_flip_prediction" in golden:
        segmenter.recipe = segmenter.recipe.derive(eval_scales=(0.5, 1.0, 1.25), eval_flip=True)
        label = segmenter.label(image)
        assert np.mean(label == golden["multiscale_flip_prediction"][0]) >= 0.999
    segmenter.close()
