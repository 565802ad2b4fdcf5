"""MobileNetV3 and MobileNet-EdgeTPU: shapes, widths, the pooling's windows; values are compared with golden answers."""

import numpy as np
import pytest

from common.data.sets.voc import VOC2012
from common.data.split import Split
from common.errors import UserError
from common.export.graph import frozen_graph
from common.inference.segmenter import Segmenter
from common.nets.backbones.mobilenet_v3 import NETWORKS, mobilenet_v3
from common.nets.network import build
from common.nets.pooling import crop_means
from common.tf1 import slim, tf
from common.training.train import train
from reproductions.v3plus.from_weights import fields_from_weights
from reproductions.v3plus.model import network
from reproductions.v3plus.variants import PASCAL

# name -> channels of the features, and of the low-level features by stride.
CHANNELS = {
    "mobilenet_v3_large_seg": (480, {4: 72, 8: 120, 16: 672}),
    "mobilenet_v3_small_seg": (288, {4: 16, 8: 88, 16: 144}),
    "mobilenet_edgetpu": (1280, {}),
}


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", NETWORKS)
def test_shapes(name, output_stride):
    features, low_level = CHANNELS[name]
    with tf.Graph().as_default():
        net, low = mobilenet_v3(tf.zeros([2, 64, 97, 3]), NETWORKS[name], output_stride)
        assert net.shape.as_list() == [2, 64 // output_stride, -(-97 // output_stride), features]
        for stride, tensor in low.items():
            side = min(stride, output_stride)  # a unit that would go further keeps the output stride
            assert tensor.shape.as_list() == [2, 64 // side, -(-97 // side), low_level[stride]]
        assert low.keys() == low_level.keys()


def test_strides_beyond_the_output_stride_become_rates():
    """The variables are the same at every stride, and a larger input's features see as far."""
    kernels = {}
    for stride in (8, 32):
        with tf.Graph().as_default() as graph:
            mobilenet_v3(tf.zeros([1, 65, 65, 3]), NETWORKS["mobilenet_v3_large_seg"], stride)
            kernels[stride] = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
            assert any(op.type == "SpaceToBatchND" for op in graph.get_operations()) == (stride == 8)
    assert kernels[8] == kernels[32]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("multiplier", "last"), [(1.0, 0), (0.75, 0), (0.75, 1280), (0.35, 0), (0.5, 0)])
def test_widths_are_known_by_their_shapes(name, multiplier, last):
    with tf.Graph().as_default():
        net, _ = mobilenet_v3(tf.zeros([1, 33, 33, 3]), NETWORKS[name], 32, multiplier, last)
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
    told = fields_from_weights(shapes)
    assert told["backbone"] == name
    with tf.Graph().as_default():
        mobilenet_v3(tf.zeros([1, 33, 33, 3]), NETWORKS[name], 32, told["depth_multiplier"], told["last_layer_filters"])
        assert {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()} == shapes
    assert not last or net.shape[3] == last


@pytest.mark.parametrize(
    ("size", "crop", "strides", "scale"),
    [((9, 17), (193, 193), (1, 2), 1.0), ((8, 5), (100, 64), (1, 1), 1.0), ((17, 33), (385, 385), (4, 5), 0.5),
     ((5, 9), (97, 97), (4, 5), 1.25)],
)  # fmt: skip
def test_windows_are_those_of_a_scaled_crop(size, crop, strides, scale):
    """At a scale known at run time as at one known before: the means of plain loops."""
    values = np.random.RandomState(0).randn(2, *size, 3).astype(np.float32)
    window = [int((int((side - 1) * scale + 1) - 1) / 32) + 1 for side in crop]
    expected = np.array([
        [[picture[top:top + window[0], left:left + window[1]].mean(axis=(0, 1))
          for left in range(0, size[1] - window[1] + 1, strides[1])]
         for top in range(0, size[0] - window[0] + 1, strides[0])]
        for picture in values
    ])  # fmt: skip
    with tf.Graph().as_default(), tf.Session() as session:
        given, at = tf.placeholder(tf.float32, [None, None, None, 3]), tf.placeholder(tf.float32, [])
        with slim.arg_scope([crop_means], scale=at):
            told_later = crop_means(given, crop, 32, strides)
        told = crop_means(tf.constant(values), crop, 32, strides, scale=scale)
        answers = session.run([told, told_later], {given: values, at: scale})
    for answer in answers:
        np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)


def test_a_window_larger_than_the_features_is_an_error():
    with tf.Graph().as_default(), tf.Session() as session:
        means = crop_means(tf.zeros([1, 3, 5, 2]), (129, 97), 32)
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(means)
    recipe = PASCAL.derive(image_pooling_crop_size=(129, 97))
    with pytest.raises(UserError, match=r"crop_size: 97x129 pixels are fewer than image_pooling_crop_size=129,97"):
        recipe.check_input(97, 129, "crop_size")
    recipe.check_input(129, 97, "crop_size")
    recipe.derive(image_pooling=False).check_input(1, 1, "crop_size")


def test_pictures_and_crops_below_the_window_are_one_sentence(tmp_path):
    recipe = PASCAL.derive(**HEAD, decoder=False, image_pooling_crop_size=(129, 97), crop_size=(97, 97))
    with Segmenter(network, recipe, None) as segmenter:
        assert segmenter.label(np.zeros((129, 97, 3), np.uint8)).shape == (129, 97)
        with pytest.raises(UserError, match=r"of 97x97 pixels is too small .* takes 97x129 or more; --set eval_size=N"):
            segmenter.label(np.zeros((97, 97, 3), np.uint8))
    split = Split(VOC2012, "train_aug", (), is_sample=False)
    with pytest.raises(UserError, match=r"crop_size: 97x97 pixels are fewer"):
        train(network, recipe, split, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"--size 97x97: 97x97 pixels are fewer"):
        frozen_graph(network, recipe, None, 1, (97, 97))


HEAD = {
    "backbone": "mobilenet_v3_small_seg",
    "names": "zoo",
    "atrous_rates": (),
    "output_stride": 32,
    "eval_size": "native",
}


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"decoder": False}, [2, 3, 4, 21]),
        ({"decoder": False, "aspp_concat_projection": False}, [2, 3, 4, 21]),
        ({"decoder": False, "aspp_squeeze_and_excitation": True}, [2, 3, 4, 21]),
        ({"decoder_sum_merge": True}, [2, 17, 25, 21]),
        ({"decoder_sum_merge": True, "decoder_separable": False, "decoder_filters": 24}, [2, 17, 25, 21]),
        ({"decoder_sum_merge": True, "decoder_output_is_logits": True, "decoder_output_stride": (8,)}, [2, 9, 13, 21]),
        ({"decoder_sum_merge": True, "decoder_output_stride": (16, 8)}, [2, 9, 13, 21]),
    ],
)
def test_heads_and_the_names_that_tell_them(options, shape):
    recipe = PASCAL.derive(**HEAD | options)
    with tf.Graph().as_default():
        assert build(network, tf.zeros([2, 65, 97, 3]), recipe).logits.shape.as_list() == shape
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
    told = fields_from_weights(shapes)
    told.pop("decoder_output_stride", None)  # of several stages the first is told
    assert {name: value for name, value in told.items() if value != getattr(recipe, name)} == {}


def test_the_edgetpu_network_has_nothing_for_a_decoder():
    recipe = PASCAL.derive(backbone="mobilenet_edgetpu")
    with tf.Graph().as_default(), pytest.raises(UserError, match=r"no features of stride 4 .* decoder=false"):
        build(network, tf.zeros([1, 33, 33, 3]), recipe)
    with pytest.raises(UserError, match="decoder_output_is_logits=true: needs"):
        PASCAL.derive(decoder_output_is_logits=True)
    with pytest.raises(UserError, match="decoder_filters=19: with decoder_output_is_logits=true"):
        PASCAL.derive(decoder_output_is_logits=True, decoder_sum_merge=True, decoder_filters=19)
