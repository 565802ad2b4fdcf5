"""VGG-16 (arXiv 1409.1556) made fully convolutional with large field of view (arXiv 1412.7062, section 4.1)."""

from dataclasses import dataclass
from typing import Literal

from common.nets import layers
from common.tf1 import tf

Pooling = Literal["tensorflow", "caffe"]


@dataclass(frozen=True)
class Stage:
    """Convolutions `conv<i>_1` ... of `depth` channels at atrous rate `rate`, then a 3x3 max pool at `stride`."""

    convolutions: int
    depth: int
    stride: int
    rate: int = 1


# Output stride 8: the last two pools keep their size, and conv5 sees what it would have seen after stride 2.
LARGE_FOV = (
    Stage(2, 64, stride=2),
    Stage(2, 128, stride=2),
    Stage(3, 256, stride=2),
    Stage(3, 512, stride=1),
    Stage(3, 512, stride=1, rate=2),
)


def vgg16(
    images: tf.Tensor, stages: tuple[Stage, ...], pooling: Pooling, average_pool: bool = True
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Build the convolutional stages of VGG-16 with 3x3 max pools, then LargeFOV's average pool.

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      stages: the table.
      pooling: whose rules hold at the borders; for max pools they agree at sizes 8k + 1, for the average pool never.
      average_pool: whether there is one.

    Returns:
      Features [n, h / 8, w / 8, 512] and the end points `conv1_1`, ..., `pool5`, and `pool5a` by the average pool.
    """
    net, end_points = images, {}
    for i, stage in enumerate(stages, 1):
        for j in range(1, stage.convolutions + 1):
            name = f"conv{i}_{j}"
            net = layers.conv2d(net, stage.depth, 3, rate=stage.rate, bias=True, scope=name)
            net = end_points[name] = tf.nn.relu(net)
        net = end_points[f"pool{i}"] = layers.max_pool(net, 3, stage.stride, rule=pooling)
    if average_pool:
        net = end_points["pool5a"] = layers.average_pool(net, 3, rule=pooling)
    return net, end_points
