"""rishizek's DeepLab v3 and v3+ on ResNet v2: scores, names, weights and recipes.

The oracle is slim's ResNet v2 with heads of plain TensorFlow ops, by what the two programs' deeplab_model.py say.
"""

import numpy as np
import pytest
from tf_slim.nets import resnet_utils, resnet_v2

from common.downloads.manifest import read_manifest
from common.nets.network import build
from common.recipe.recipe import SLIM_PREPROCESSING
from common.tf1 import slim, tf
from common.weights import checkpoints
from common.weights.weights import Weights
from reproductions import v3, v3plus
from tests.helpers.golden_cases import relative, weights

CLASSES = 21
OURS = {"v3": v3.REPRODUCTION, "v3plus": v3plus.REPRODUCTION}


def recipe_of(name, **changes):
    small = {"depth": 50} if name == "v3" else {"backbone": "resnet_v2_50"}
    return OURS[name].variants["rishizek"].derive(**small, **changes)


def convolution(inputs, scope, depth, size, rate=1, scores=False):
    kernel = tf.get_variable(f"{scope}/weights", [size, size, inputs.shape[3], depth])
    outputs = tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME", dilations=rate)
    if scores:
        return outputs + tf.get_variable(f"{scope}/biases", [depth])
    names = ("moving_mean", "moving_variance", "beta", "gamma")
    mean, variance, beta, gamma = (tf.get_variable(f"{scope}/BatchNorm/{name}", [depth]) for name in names)
    return tf.nn.relu(gamma * (outputs - mean) / tf.sqrt(variance + 1e-5) + beta)


def resize(inputs, like):
    return tf.image.resize_bilinear(inputs, tf.shape(like)[1:3])  # no aligned corners


def their_scores(name, images, stride):
    """The scores before the last resize."""
    with slim.arg_scope(resnet_utils.resnet_arg_scope()):
        _, ends = resnet_v2.resnet_v2_50(images, None, is_training=False, global_pool=False, output_stride=stride)
    features = ends["resnet_v2_50/block4"]
    rates = [rate * 16 // stride for rate in (6, 12, 18)]
    pooled = convolution(tf.reduce_mean(features, [1, 2], keepdims=True), "aspp/image_level_features/conv_1x1", 256, 1)
    branches = [
        convolution(features, "aspp/conv_1x1", 256, 1),
        *(convolution(features, f"aspp/conv_3x3_{i}", 256, 3, rate) for i, rate in enumerate(rates, 1)),
        resize(pooled, features),
    ]
    net = convolution(tf.concat(branches, axis=3), "aspp/conv_1x1_concat", 256, 1)
    if name == "v3":
        return convolution(net, "upsampling_logits/conv_1x1", CLASSES, 1, scores=True)
    low = ends["resnet_v2_50/block1/unit_3/bottleneck_v2/conv1"]
    low = convolution(low, "decoder/low_level_features/conv_1x1", 48, 1)
    net = tf.concat([resize(net, low), low], axis=3)
    for layer in ("conv_3x3_1", "conv_3x3_2"):
        net = convolution(net, f"decoder/upsampling_logits/{layer}", 256, 3)
    return convolution(net, "decoder/upsampling_logits/conv_1x1", CLASSES, 1, scores=True)


def answer(build_scores):
    """Scores with the golden weights, and every variable's shape and whether it is trained."""
    images = weights.image(5, 97, 130).astype(np.float32) - np.array([123.68, 116.78, 103.94], np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        scores = build_scores(tf.constant(images))
        variables = {v.op.name: v for v in tf.global_variables()}
        session.run(
            [v.initializer for v in variables.values()],
            {v.initializer.inputs[1]: weights.weight(name, v.shape) for name, v in variables.items()},
        )
        return session.run(scores), {name: tuple(v.shape.as_list()) for name, v in variables.items()}


@pytest.mark.parametrize(("name", "stride"), [("v3", 16), ("v3", 8), ("v3plus", 16), ("v3plus", 8)])
def test_scores_and_names_are_the_originals(name, stride):
    theirs, shapes = answer(lambda images: their_scores(name, images, stride))
    recipe, network = recipe_of(name, output_stride=stride), OURS[name].load_network()
    ours, our_shapes = answer(lambda images: build(network, images, recipe).logits)
    assert our_shapes == shapes
    assert ours.shape == theirs.shape
    assert relative(ours, theirs) <= 2e-5
    # The names tell the network, whatever recipe was asked for.
    reproduction = OURS[name]
    settled = reproduction.fields_from_weights({**shapes, "global_step": ()})
    default = reproduction.variants[reproduction.default_variant].derive(**settled)
    told = [n for n in recipe.WEIGHT_FIELDS if n not in ("multi_grid", "batch_norm_epsilon")]
    assert {n: getattr(default, n) for n in told} == {n: getattr(recipe, n) for n in told}
    assert default.align_corners is False
    assert set(default.multi_grid) <= {1}


@pytest.mark.parametrize("name", ["v3", "v3plus"])
def test_a_checkpoint_is_restored_strictly_and_imagenet_weights_start_a_training(name, tmp_path):
    recipe, reproduction = recipe_of(name), OURS[name]
    with tf.Graph().as_default():
        build(reproduction.load_network(), tf.zeros([1, 65, 65, 3]), recipe)
        values = {v.op.name: np.full(v.shape, 0.5, np.float32) for v in tf.global_variables()}
    np.savez(tmp_path / "whole.npz", **values)
    classifier = {"resnet_v2_50/logits/weights": (1, 1, 2048, 1001), "resnet_v2_50/logits/biases": (1001,)}
    slims = {n: v for n, v in values.items() if n.startswith("resnet_v2_50/")}
    np.savez(tmp_path / "slim.npz", **slims, **{n: np.zeros(s, np.float32) for n, s in classifier.items()})

    whole = Weights(tmp_path / "whole.npz")
    with reproduction.open_segmenter(whole, reproduction.recipe_to_run(["variant=rishizek"], whole)):
        pass  # missing and extra entries would be refused

    init = Weights(tmp_path / "slim.npz")
    training = reproduction.recipe_to_train(["variant=rishizek"], init)
    assert (training.channel_order, training.pixel_mean) == ("rgb", SLIM_PREPROCESSING["pixel_mean"])
    with tf.Graph().as_default(), tf.Session() as session:
        build(reproduction.load_network(), tf.zeros([1, 65, 65, 3]), training)
        left_out = (*training.init_not_loaded, *training.NOT_OF_NETWORK)
        count = checkpoints.restore(session, init, tf.global_variables(), left_out)
    assert count == len(slims)


@pytest.mark.parametrize(("name", "batch", "decay"), [("v3", 16, 1e-4), ("v3plus", 15, 2e-4)])
def test_the_recipes_of_the_readmes(name, batch, decay):
    recipe = OURS[name].variants["rishizek"]
    assert (recipe.learning_rate, recipe.power, recipe.momentum, recipe.num_steps) == (0.007, 0.9, 0.9, 30000)
    assert (recipe.batch_size, recipe.weight_decay, recipe.crop_size) == (batch, decay, (513, 513))
    assert (recipe.min_scale, recipe.max_scale, recipe.scale_step, recipe.loss_size) == (0.5, 2.0, 0.0, "labels")
    assert (recipe.output_stride, recipe.eval_output_stride, recipe.eval_size) == (16, 16, "native")
    assert recipe.batch_statistics


def test_the_manifest_knows_what_reads_them():
    entries = read_manifest().entries
    for name, entry in (("v3", "rishizek_deeplabv3"), ("v3plus", "rishizek_deeplabv3plus")):
        (known,) = entries[entry].weights
        assert (known.reproduction, known.variant, entries[entry].unread) == (name, "rishizek", "")
    assert not entries["resnet_v2_101"].unread
