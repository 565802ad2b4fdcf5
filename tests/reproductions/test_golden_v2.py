"""DeepLab v2 against the answers of the original program (TensorFlow 1.15)."""

import functools

import numpy as np
import pytest
from PIL import Image

from common.inference.segmenter import Segmenter
from common.nets.network import build, preprocess
from common.tf1 import tf
from common.training.step import train_step
from common.weights import weights as checkpoints
from reproductions.v2 import REPRODUCTION
from reproductions.v2.model import network
from reproductions.v2.recipe import DEEPLAB, MSC, fields_from_weights
from tests.helpers import golden_cases
from tests.helpers.golden_cases import fill, parsed, relative

CASES = golden_cases.load("v2")
MODES = {"": (1.0,), "msc_": MSC["msc_scales"]}
each_case = pytest.mark.parametrize("case", CASES)
# The original's smoothed branch has no multi-scale program, so a case may lack those answers.
each_mode = pytest.mark.parametrize(
    ("case", "mode"), [(case, mode) for case in CASES for mode in MODES if f"{mode}logits" in CASES[case]]
)


def test_cases_are_there():
    assert CASES, "no v2.npz in GOLDEN_DIR"


@functools.cache
def inputs(case):
    return golden_cases.inputs(CASES[case])


def recipe(case, mode):
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


def same_labels(ours, golden):
    return np.mean(ours == golden) >= 0.999


@each_case
def test_variables(case):
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 97, 97, 3]), recipe(case, ""))
        ours = {v.op.name: [v.shape.as_list(), v.trainable] for v in tf.global_variables()}
    assert ours == {name: [shape, trainable] for name, shape, trainable in parsed(CASES[case]["variables"])}


@each_mode
def test_logits_and_labels(case, mode):
    image, _ = inputs(case)
    golden = CASES[case]
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = build(network, preprocess(tf.constant(image), recipe(case, mode)), recipe(case, mode))
        labels = tf.argmax(tf.image.resize_bilinear(outputs.logits, image.shape[1:3]), axis=3)
        fill(session)
        ours, predicted = session.run((outputs.logits, labels))
    assert relative(ours, golden[mode + "logits"]) <= 2e-5
    assert same_labels(predicted, golden[mode + "prediction"])


@each_mode
def test_losses_gradients_and_training(case, mode):
    image, label = inputs(case)
    golden, about = CASES[case], recipe(case, mode)
    with tf.Graph().as_default(), tf.Session() as session:
        step = train_step(network, preprocess(tf.constant(image), about), tf.constant(label), about)
        decay = step.loss - step.pixel_loss
        by_name = {v.op.name: v for v in tf.trainable_variables()}
        order = parsed(golden["gradient_order"])
        norms = [tf.norm(g) for g in tf.gradients(step.loss, [by_name[n] for n in order])]
        fill(session)
        loss, l2, ours = session.run((step.loss, decay, norms))
        about_loss = next(v for k, v in golden.items() if k.startswith("loss_"))
        assert loss == pytest.approx(about_loss[1 if mode else 0], rel=1e-4)
        assert l2 == pytest.approx(about_loss[-1], rel=1e-4)
        np.testing.assert_allclose(ours, golden[mode + "gradient_norms"], rtol=1e-3)

        losses = [session.run((step.loss, step.update))[0] for _ in golden[mode + "train_losses"]]
    np.testing.assert_allclose(losses, golden[mode + "train_losses"], rtol=5e-4)


@each_case
def test_accumulated_gradients_train_alike(case):
    """Two passes over the same batch, averaged, are one pass."""
    image, label = inputs(case)
    about = recipe(case, "").derive(grad_update_every=2)
    losses = []
    with tf.Graph().as_default(), tf.Session() as session:
        step = train_step(network, preprocess(tf.constant(image), about), tf.constant(label), about)
        fill(session)
        for _ in range(2):
            losses.append(session.run((step.loss, step.accumulate))[0])
            session.run(step.accumulate)
            session.run(step.update)
    np.testing.assert_allclose(losses, CASES[case]["train_losses"][:2], rtol=5e-4)


@pytest.fixture(scope="module", params=CASES)
def weight_files(request, tmp_path_factory):
    """A case, with its weights as .npz, as V2 checkpoint and as V1 file, and its picture as PNG."""
    case, folder = request.param, tmp_path_factory.mktemp("weights")
    names = parsed(CASES[case]["variables"])
    values = {name: golden_cases.weights.weight(name, shape) for name, shape, _ in names}
    np.savez(folder / "x.npz", **values)
    with tf.Graph().as_default(), tf.Session() as session:
        # From empty placeholders: hundreds of megabytes of constants don't belong in a graph.
        variables = [tf.get_variable(n, s) for n, s, _ in names]
        session.run([v.initializer for v in variables], {v.initializer.inputs[1]: values[v.op.name] for v in variables})
        for version, name in ((tf.train.SaverDef.V2, "v2.ckpt"), (tf.train.SaverDef.V1, "v1.ckpt")):
            saver = tf.train.Saver(variables, write_version=version)
            saver.save(session, str(folder / name), write_meta_graph=False, write_state=False)
    Image.fromarray(inputs(case)[0][0]).save(folder / "picture.png")
    yield case, folder
    for file in folder.iterdir():  # half a gigabyte a case
        file.unlink()


@pytest.mark.parametrize("weights", ["x.npz", "v2.ckpt", "v1.ckpt"])
def test_predict_from_the_command_line(weight_files, weights, tmp_path):
    from common.cli import main

    case, folder = weight_files
    if inputs(case)[0].shape[0] > 1:
        pytest.skip("predict takes pictures one by one")
    settings = [] if parsed(CASES[case]["input"]).get("dilated_type") != "decompose" else ["dilated_type=decompose"]
    arguments = ["predict", f"{folder}/picture.png", "--checkpoint", f"{folder}/{weights}", "--out", str(tmp_path)]
    settings = ["--set", "eval_size=native", *settings]
    assert main(REPRODUCTION, [*arguments, "--save-logits", "--quiet", *settings]) == 0
    golden = CASES[case]
    assert relative(np.load(tmp_path / "picture.npy"), golden["logits"][0]) <= 2e-5
    assert same_labels(np.asarray(Image.open(tmp_path / "picture.png")), golden["prediction"][0])


def test_msc_variant_on_any_weights(weight_files):
    """`variant=deeplab_msc` keeps the encoder that the names tell."""
    case, folder = weight_files
    if "msc_logits" not in CASES[case]:
        pytest.skip("the original has no multi-scale program for it")
    weights = checkpoints.Weights(folder / "x.npz")
    chosen = REPRODUCTION.recipe_to_run(["variant=deeplab_msc"], weights)
    segmenter = Segmenter(network, chosen, weights)
    image, golden = inputs(case)[0][0], CASES[case]
    assert relative(segmenter.logits(image), golden["msc_logits"][0]) <= 2e-5
    assert same_labels(segmenter.label(image), golden["msc_prediction"][0])
    segmenter.close()
