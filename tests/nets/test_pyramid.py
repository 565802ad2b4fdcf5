"""Image pyramids: sizes, shared variables, batch statistics, and when evaluation leaves them out."""

import numpy as np
import pytest

from common.errors import UserError
from common.nets import layers, pyramid
from common.nets.network import build
from common.nets.replicas import ALONE
from common.tf1 import session, tf
from common.training.step import train_step
from reproductions.v3plus.variants import PASCAL
from tests.helpers import tiny

LIVE = tiny.SMALL.derive(live_batch_norm=True, num_classes=5, num_steps=100)
RNG = np.random.RandomState(0)
PICTURES = RNG.uniform(-1, 1, [2, 49, 66, 3]).astype(np.float32)
LABELS = RNG.randint(0, 5, [2, 49, 66, 1]).astype(np.uint8)


def over(factors, method="max"):
    """A small network of stride 8 on a pyramid."""

    def network(images, recipe, batch_statistics=False):
        def one(scaled, _factor):
            return tiny.network(scaled, recipe, batch_statistics).logits

        return pyramid.image_pyramid(one, images, factors, method, 8)

    return network


def scores_of(shape, network):
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, shape)
        outputs = build(network, images, LIVE)
        session.run(tf.global_variables_initializer())
        return session.run((outputs.logits, outputs.auxiliary), {images: PICTURES})


@pytest.mark.parametrize("method", ["max", "avg"])
def test_scores_are_merged_at_the_largest_size(method):
    network = over((0.5, 1.0, 1.5), method)
    merged, each = scores_of(PICTURES.shape, network)
    # scale_dimension(49, 1.5 / 8) and of 66
    assert merged.shape == each[0].shape == each[2].shape == (2, int(48 * 1.5 / 8 + 1), int(65 * 1.5 / 8 + 1), 5)
    np.testing.assert_allclose(merged, (np.max if method == "max" else np.mean)(each, axis=0), rtol=1e-6)
    unknown, _ = scores_of([None, None, None, 3], network)
    np.testing.assert_allclose(unknown, merged, atol=1e-5 * np.abs(merged).max())


def test_one_input_has_one_loss():
    small, each = scores_of(PICTURES.shape, over((0.5,)))
    assert each == ()
    assert small.shape == scores_of(PICTURES.shape, tiny.network)[0].shape


def after_steps(network, steps):
    """Losses, and all variables after them."""
    with tf.Graph().as_default(), tf.Session() as session:
        step = train_step(network, tf.constant(PICTURES), tf.constant(LABELS), LIVE)
        session.run(tf.global_variables_initializer())
        losses = [session.run((step.loss, step.update))[0] for _ in range(steps)]
        return losses, session.run({v.op.name: v for v in tf.global_variables()})


def test_every_input_updates_the_statistics_one_after_the_other():
    """A run repeats to the bit, and the stored statistics are of all inputs in their order."""
    runs = [after_steps(over((0.75, 1.0)), 4) for _ in range(3)]
    for losses, values in runs[1:]:
        assert losses == runs[0][0]
        assert all(np.array_equal(value, runs[0][1][name]) for name, value in values.items())
    stored = after_steps(over((0.75, 1.0)), 1)[1]["conv1/BatchNorm/moving_mean"]
    small, large = mean_behind_conv1((37, 49)), mean_behind_conv1((49, 66))
    np.testing.assert_allclose(stored, 0.999 * (0.001 * small) + 0.001 * large, rtol=1e-3, atol=1e-8)


def mean_behind_conv1(size):
    """The mean of what the first layer of the untrained network makes of the pictures at a size."""
    with tf.Graph().as_default(), tf.Session() as session:
        train_step(over((0.75, 1.0)), tf.constant(PICTURES), tf.constant(LABELS), LIVE)
        session.run(tf.global_variables_initializer())
        (weights,) = session.run([v for v in tf.trainable_variables() if v.op.name == "conv1/weights"])
        pictures = layers.resize_bilinear(PICTURES, size, align_corners=True)
        return session.run(tf.reduce_mean(tf.nn.conv2d(pictures, weights, [1, 2, 2, 1], "SAME"), axis=[0, 1, 2]))


def test_losses_are_of_all_inputs_and_of_the_merged_scores():
    with tf.Graph().as_default():
        outputs = build(over((0.5, 1.0)), tf.constant(PICTURES), LIVE)
        assert len(outputs.auxiliary) == 2
        assert len([v for v in tf.trainable_variables() if v.op.name == "conv1/weights"]) == 1


def test_several_scales_take_the_pyramids_place():
    """As in research/deeplab's predict_labels_multi_scale; a single scale keeps it, as validation does."""
    paired = PASCAL.derive(image_pyramid=(0.5, 1.0))
    assert paired.at_evaluation().image_pyramid == (0.5, 1.0)
    for several in ({"eval_scales": (0.5, 1.0)}, {"eval_flip": True}):
        assert paired.derive(**several).at_evaluation() == PASCAL.derive(**several).at_evaluation()
        assert paired.derive(**several).at_one_scale().at_evaluation().image_pyramid == (0.5, 1.0)


def test_a_pooling_window_follows_its_input():
    recipe = PASCAL.derive(image_pyramid=(0.5, 1.0), image_pooling_crop_size=(97, 129))
    assert recipe.at_factor(0.5).image_pooling_crop_size == (49, 65)
    assert recipe.at_factor(1.0) == recipe.derive(image_pyramid=())


def test_factors_that_make_no_pyramid_are_refused():
    with pytest.raises(UserError, match="image_pyramid=1.0,1.0: the factors must differ"):
        PASCAL.derive(image_pyramid=(1.0, 1.0))
    with pytest.raises(UserError, match="image_pyramid=0.0: must be from 0.1 to 4"):
        PASCAL.derive(image_pyramid=(0.0,))


def test_two_devices_train_as_one():
    """Statistics of the whole batch, stored once: no device waits for updates of another that are never run."""
    found = []
    for devices in ((), ("/cpu:0", "/cpu:1")):
        with tf.Graph().as_default() as graph:
            recipe = LIVE.derive(activation="elu")
            batch = tf.constant(PICTURES), tf.constant(LABELS)
            step = train_step(over((0.75, 1.0)), *batch, recipe, ALONE, devices)
            values = {v.op.name: v for v in tf.model_variables()}
            with session(graph, "fp32", devices) as sess:
                sess.run(tf.global_variables_initializer())
                fill = np.random.RandomState(1)
                for name, variable in sorted(values.items()):
                    if name.endswith("weights"):
                        variable.load(fill.normal(0, 0.1, variable.shape).astype(np.float32), sess)
                losses = [sess.run((step.loss, step.update))[0] for _ in range(3)]
                found.append((losses, sess.run(values)))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5)
    for name, value in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], value, rtol=1e-4, atol=1e-5, err_msg=name)
