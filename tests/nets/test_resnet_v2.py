"""ResNet v2 against slim's own graph, with the same weights by name."""

import numpy as np
import pytest
from tf_slim.nets import resnet_utils
from tf_slim.nets import resnet_v2 as slims

from common.nets import layers
from common.nets.backbones.resnet_v1 import slim_blocks
from common.nets.backbones.resnet_v2 import resnet_v2
from common.nets.backbones.units import UNITS
from common.tf1 import slim, tf
from tests.helpers.golden_cases import fill, relative, weights

DECAY, EPSILON = 0.9997, 1e-5
BUILT = {50: slims.resnet_v2_50, 101: slims.resnet_v2_101}


def pictures(height, width, batch=2):
    return weights.image(3, height, width, batch).astype(np.float32) - np.array([123.68, 116.78, 103.94], np.float32)


def answers(build, images):
    """What a graph gives for its end points and its stored statistics after an update, and its variables' shapes."""
    with tf.Graph().as_default(), tf.Session() as session:
        fetched = build(tf.constant(images))
        fill(session)
        values = session.run(fetched)
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        stored = {v.op.name: v for v in tf.model_variables() if "/moving_" in v.op.name}
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.model_variables()}
        return values, session.run(stored), shapes


def of_slim(depth, stride, batch_statistics):
    def build(images):
        with slim.arg_scope(resnet_utils.resnet_arg_scope(batch_norm_decay=DECAY)):
            net, ends = BUILT[depth](
                images, None, is_training=batch_statistics, global_pool=False, output_stride=stride
            )
        prefix = f"resnet_v2_{depth}"
        first = ends[f"{prefix}/block1/unit_3/bottleneck_v2/conv1"]
        return {"block4": ends[f"{prefix}/block4"], "postnorm": net, "block1/unit_3/conv1": first}

    return build


def of_ours(depth, stride, batch_statistics, multi_grid=()):
    def build(images):
        options = {"epsilon": EPSILON, "decay": DECAY, "batch_statistics": batch_statistics, "trainable": True}
        with slim.arg_scope([layers.batch_norm], **options):
            blocks = slim_blocks(UNITS[depth], stride or 32, multi_grid)
            net, ends = resnet_v2(images, blocks, f"resnet_v2_{depth}")
        return {"postnorm": net, **{name: ends[name] for name in ("block4", "block1/unit_3/conv1")}}

    return build


@pytest.mark.parametrize(
    ("depth", "stride", "size", "batch_statistics"),
    [
        (50, 16, (97, 65), False),
        (50, 8, (66, 80), False),
        (50, None, (97, 130), True),
        (50, 16, (65, 65), True),
        pytest.param(101, 16, (65, 65), False, marks=pytest.mark.full),
    ],
)
def test_features_and_statistics_are_slims(depth, stride, size, batch_statistics):
    images = pictures(*size)
    theirs, their_stored, shapes = answers(of_slim(depth, stride, batch_statistics), images)
    ours, stored, our_shapes = answers(of_ours(depth, stride, batch_statistics), images)
    assert our_shapes == shapes
    for name, value in theirs.items():
        assert ours[name].shape == value.shape
        assert relative(ours[name], value) <= 2e-5, name
    assert stored.keys() == their_stored.keys()
    assert all(relative(stored[name], value) <= 2e-5 for name, value in their_stored.items())


def test_multi_grid_acts_in_the_last_block():
    images = pictures(65, 65)
    plain, grid = (answers(of_ours(50, 16, False, grid), images)[0] for grid in ((1, 1, 1), (1, 2, 4)))
    assert relative(grid["block4"], plain["block4"]) > 1e-2
    assert np.array_equal(grid["block1/unit_3/conv1"], plain["block1/unit_3/conv1"])
