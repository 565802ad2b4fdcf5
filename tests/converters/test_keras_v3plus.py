"""bonlime/keras-deeplab-v3-plus: its `.h5` files as checkpoints of reproduction v3plus."""

import argparse
import subprocess
import sys

import h5py
import numpy as np
import pytest

from common.errors import UserError
from common.weights.weights import Weights
from converters import inspect, keras_to_tf
from converters.keras_v3plus import convert_v3plus
from reproductions.v3plus import REPRODUCTION
from tests.conftest import ROOT
from tests.helpers import keras_deeplab
from tests.helpers.keras_deeplab import filled, mobilenet_layers, xception_layers
from tests.helpers.keras_files import write_layers


def number(i, shape):
    """An array that tells which one it is, and takes no memory."""
    return np.broadcast_to(np.float32(i + 1), shape)


def of_keras_3(layers):
    """The same layers as Keras 3 saves them: a depthwise kernel is a kernel there."""
    return {
        layer: {name.removeprefix("depthwise_"): shape for name, shape in arrays.items()}
        for layer, arrays in layers.items()
    }


def converted(layers, model="v3plus"):
    return convert_v3plus(layers, argparse.Namespace(model=model, config=None, settings=[]))


XCEPTION = {
    "xception_65/entry_flow/conv1_1/weights": "entry_flow_conv1_1/kernel",
    "xception_65/entry_flow/conv1_2/BatchNorm/beta": "entry_flow_conv1_2_BN/beta",
    "xception_65/entry_flow/block2/unit_1/xception_module/shortcut/weights": "entry_flow_block2_shortcut/kernel",
    "xception_65/entry_flow/block2/unit_1/xception_module/shortcut/BatchNorm/gamma": (
        "entry_flow_block2_shortcut_BN/gamma"
    ),
    "xception_65/middle_flow/block1/unit_16/xception_module/separable_conv3_depthwise/depthwise_weights": (
        "middle_flow_unit_16_separable_conv3_depthwise/depthwise_kernel"
    ),
    "xception_65/exit_flow/block1/unit_1/xception_module/separable_conv2_pointwise/BatchNorm/moving_mean": (
        "exit_flow_block1_separable_conv2_pointwise_BN/moving_mean"
    ),
    "image_pooling/BatchNorm/moving_variance": "image_pooling_BN/moving_variance",
    "aspp3_pointwise/weights": "aspp3_pointwise/kernel",
    "decoder/feature_projection0/BatchNorm/beta": "feature_projection0_BN/beta",
    "decoder/decoder_conv1_depthwise/depthwise_weights": "decoder_conv1_depthwise/depthwise_kernel",
    "logits/semantic/biases": "logits_semantic/bias",
}
MOBILENET = {
    "MobilenetV2/Conv/weights": "Conv/kernel",
    "MobilenetV2/expanded_conv/depthwise/depthwise_weights": "expanded_conv_depthwise/depthwise_kernel",
    "MobilenetV2/expanded_conv_16/project/BatchNorm/gamma": "expanded_conv_16_project_BN/gamma",
    "concat_projection/weights": "concat_projection/kernel",
}


@pytest.mark.parametrize(
    ("layers", "model", "places", "variant"),
    [
        (xception_layers(), "v3plus_xception", XCEPTION, "xception65_pascal_trainval"),
        (mobilenet_layers(19), "v3plus_mobilenetv2", MOBILENET, "mnv2_cityscapes_train"),
        (of_keras_3(mobilenet_layers(19, "custom_logits_semantic")), "v3plus", MOBILENET, "mnv2_pascal_trainval"),
    ],
)
def test_every_array_has_its_place(layers, model, places, variant):
    given = filled(layers, number)
    variables, recipe = converted(given, model)
    for variable, place in places.items():
        layer, _, name = place.partition("/")
        arrays = given[layer]
        assert variables[variable].flat[0] == (arrays[name] if name in arrays else arrays["kernel"]).flat[0]
    count = sum(map(len, layers.values()))
    assert sorted(value.flat[0] for value in variables.values()) == list(range(1, count + 1))
    assert recipe.variant == variant
    assert recipe.num_classes == next(a["bias"][0] for layer, a in layers.items() if "logits" in layer)
    assert (recipe.channel_order, recipe.pixel_mean) == ("rgb", (127.5, 127.5, 127.5))


@pytest.fixture(scope="module")
def random_layers():
    rng = np.random.RandomState(0)
    return filled(mobilenet_layers(), lambda _, shape: rng.uniform(0.5, 1, shape).astype(np.float32))


def test_an_h5_file_becomes_a_checkpoint_with_its_recipe(random_layers, tmp_path, capsys):
    from common.nets.network import build
    from common.tf1 import session, tf
    from common.weights.checkpoints import restore

    path, out = tmp_path / "deep lab.h5", tmp_path / "m.ckpt"
    with h5py.File(path, "w") as file:  # the published files are Keras 2's
        write_layers(file, random_layers)
    assert keras_to_tf.main(["--weights", str(path), "--model", "v3plus", "--out", str(out)]) == 0
    weights = Weights(out)
    recipe = REPRODUCTION.recipe_to_run([], weights)
    assert (recipe.backbone, recipe.decoder, recipe.atrous_rates) == ("mobilenet_v2", False, ())
    with tf.Graph().as_default(), session() as running:
        build(REPRODUCTION.load_network(), tf.zeros([1, 33, 33, 3]), recipe)
        assert restore(running, weights, tf.model_variables()) == len(weights.shapes) - 1
    capsys.readouterr()
    assert inspect.main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert "made by: bonlime/keras-deeplab-v3-plus\nholds: DeepLab v3 with MobileNetV2, 21 classes\n" in printed
    assert f"convert: python -m converters.keras_to_tf --weights '{path}' --model v3plus --out CKPT\n" in printed


def without(layers, gone):
    return {layer: arrays for layer, arrays in layers.items() if layer != gone}


@pytest.mark.parametrize(
    ("change", "model", "message"),
    [
        (lambda la: without(la, "aspp0_BN"), "v3plus", "4 missing arrays: aspp0_BN/beta, aspp0_BN/gamma"),
        (
            lambda la: (
                la | {"custom_logits_semantic": {"bias": np.zeros(3)}, "Conv": la["Conv"] | {"bias": np.zeros(32)}}
            ),
            "v3plus",
            "2 arrays that DeepLab v3 with MobileNetV2 does not have: Conv/bias, custom_logits_semantic/bias",
        ),
        (
            lambda la: la | {"aspp0": {"kernel": np.zeros((1, 1, 160, 256), "f4")}},
            "v3plus",
            "aspp0/weights (1x1x160x256 in the file, 1x1x320x256 in the network)",
        ),
        (
            lambda la: la | {"aspp0": {"kernel": np.full((1, 1, 320, 256), np.inf, "f4")}},
            "v3plus",
            "1 variables are not finite: aspp0/weights",
        ),
        (lambda la: la, "v3plus_xception", "is not DeepLab v3+ with Xception-65 (it has no layer entry_flow_conv1_1)"),
        (lambda la: {"res2a": {}}, "v3plus", "or DeepLab v3 with MobileNetV2 (it has no layer expanded_conv_depthwise"),
        (lambda la: without(la, "logits_semantic"), "v3plus", "2 missing arrays: logits_semantic/bias"),
    ],
)
def test_files_that_do_not_fit_are_named(random_layers, change, model, message):
    with pytest.raises(UserError) as error:
        converted(change(random_layers), model)
    assert message in str(error.value)


def test_settings_of_a_design_are_refused(random_layers, tmp_path, capsys):
    np.savez(tmp_path / "k.npz", **{f"{la}/{n}": v for la, arrays in random_layers.items() for n, v in arrays.items()})
    given = ["--weights", tmp_path / "k.npz", "--model", "v3plus", "--out", tmp_path / "c", "--set", "output_stride=8"]
    assert keras_to_tf.main([str(a) for a in given]) == 2
    assert capsys.readouterr().err.startswith("error: --config and --set: DeepLab v3+ of the zoo has no design")


@pytest.mark.full
def test_scores_are_those_of_keras(tmp_path):
    """MobileNetV2 built in Keras as bonlime builds it, and its scores of one picture at output stride 8."""
    from common.nets.network import build
    from common.nets.pictures import preprocess
    from common.tf1 import session, tf
    from common.weights.checkpoints import restore
    from tests.helpers.golden_cases import relative

    subprocess.run([sys.executable, keras_deeplab.__file__, tmp_path], check=True, cwd=ROOT, capture_output=True)
    out = tmp_path / "m.ckpt"
    assert keras_to_tf.main(["--weights", f"{tmp_path}/weights.h5", "--model", "v3plus", "--out", str(out)]) == 0
    weights = Weights(out)
    recipe = REPRODUCTION.recipe_to_run([], weights)
    recipe = recipe.derive(output_stride=recipe.eval_output_stride)
    with tf.Graph().as_default(), session() as running:
        images = preprocess(tf.constant(np.load(tmp_path / "image.npy")[None]), recipe)
        scores = build(REPRODUCTION.load_network(), images, recipe).logits
        restore(running, weights, tf.model_variables())
        assert relative(running.run(scores), np.load(tmp_path / "scores.npy")) < 1e-5
