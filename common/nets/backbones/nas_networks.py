"""PNASNet (arXiv 1712.00559) and Auto-DeepLab (arXiv 1901.02985) of research/deeplab: equal cells along a path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from common.nets import layers
from common.nets.backbones.nas_cells import AUTO_DEEPLAB, PNASNET, DropPath, Genotype, cell, resized
from common.tf1 import tf


@dataclass(frozen=True)
class Plan:
    """A network of cells.

    Attributes:
      scope: of all variables.
      genotype: of every cell.
      path: the stride of each cell. It says how many channels a cell has, too.
      end_points: low-level features for a decoder: their stride, and the number of the cell; -1 is the stem.
    """

    scope: str
    genotype: Genotype
    path: tuple[int, ...]
    end_points: Mapping[int, int] = field(hash=False)

    @property
    def returns(self) -> bool:
        """Whether the path comes back to a smaller stride; no output stride changes such a path."""
        return max(self.path) > self.path[-1]

    def strides(self, largest: int) -> list[int]:
        """The stride of each cell where none exceeds `largest`."""
        return [min(stride, largest) for stride in self.path]


PLANS = {
    "nas_pnasnet": Plan("pnasnet", PNASNET, (8,) * 4 + (16,) * 4 + (32,) * 4, {4: -1, 8: 3, 16: 7}),
    "nas_hnasnet": Plan("hnasnet", AUTO_DEEPLAB, (4, 4, 4, 8, 16, 8, 16, 16, 32, 32, 16, 8), {4: 2, 8: 5, 16: 7}),
}
STEM_STRIDE = 4
HEAD_DEPTHS = {16: 512, 32: 1024}  # channels of the classification head's convolutions, by the stride they stand for

EVERY_PATH = DropPath(keep_prob=1.0, steps=0)


def nas_network(
    images: tf.Tensor,
    plan: Plan,
    *,
    output_stride: int,
    stem_filters: int,
    classification_head: bool = False,
    remove_os32_stride: bool = False,
    drop_path: DropPath = EVERY_PATH,
) -> tuple[tf.Tensor, dict[int, tf.Tensor]]:
    """The features after ReLU, and the low-level features by their stride.

    Args:
      images: float32 [n, h, w, 3], preprocessed. A path that returns needs sides of 32 k + 1, because it goes up from
        stride 32 by doubling less 1. Others are padded to them below and at the right by 0, the mean, and the results
        are cut to the picture.
      plan: of `PLANS`.
      output_stride: 8, 16 or 32: the largest of a path, and with a head that of its result. A path that returns keeps
        its strides.
      stem_filters: F of arXiv 1901.02985; a sum of a cell at stride s has F s / 4 channels.
      classification_head: add the layers of the ImageNet network, to 2048 channels.
      remove_os32_stride: whether cells of stride 32 lie at 16 instead.
      drop_path: in training.

    Returns:
      [n, ceil(h / os), ceil(w / os), 5 F os / 4] without a head, and without one os of a path that returns is 8.
    """
    path = plan.path if plan.returns else plan.strides(output_stride)
    strides = [min(stride, 16) for stride in path] if remove_os32_stride else path
    size = tf.shape(images)[1:3]
    padded = _pad_to_multiple(images, max(strides)) if plan.returns else images
    with tf.variable_scope(plan.scope):
        outputs = _stem(padded)
        net, net_stride = outputs[-1]
        for number, (stride, nominal) in enumerate(zip(strides, path, strict=True)):
            net, net_stride = (_doubled(net), stride) if stride < net_stride else (net, net_stride)
            before, before_stride = outputs[-2]
            net = cell(
                net,
                before if before_stride == net_stride else resized(before, tf.shape(net)[1:3]),
                plan.genotype,
                depth=stem_filters * nominal // STEM_STRIDE,
                stride=stride // net_stride,
                drop=partial(drop_path, depth=(number + 1) / len(path)),
                scope=f"cell_{number}",
            )
            net_stride = stride
            outputs.append((net, stride))
        net = tf.nn.relu(net)
        if classification_head:
            net, net_stride = _classification_head(net, path[-1], net_stride, output_stride)

    def cut(features: tf.Tensor, stride: int) -> tf.Tensor:
        return features if padded is images else _top_left(features, (size + stride - 1) // stride)

    low_level = {stride: cut(*outputs[number + 2]) for stride, number in plan.end_points.items()}
    return cut(net, net_stride), low_level


def _stem(images: tf.Tensor) -> list[tuple[tf.Tensor, int]]:
    """Three convolutions: the last two, before ReLU, with their strides 2 and 4."""
    outputs, net = [], images
    for i, (depth, stride, reached) in enumerate(((64, 2, 2), (64, 1, 2), (128, 2, STEM_STRIDE))):
        net = tf.nn.relu(net) if i else net
        net = layers.conv2d(net, depth, 3, stride=stride, padding="even", scope=f"conv{i}")
        net = layers.batch_norm(net, scope=f"conv{i}_bn")
        outputs.append((net, reached))
    return outputs[1:]


def _classification_head(net: tf.Tensor, nominal: int, stride: int, output_stride: int) -> tuple[tf.Tensor, int]:
    """2048 channels, and their stride: down to 32, where what lies beyond `output_stride` is atrous instead."""
    rate, wanted = 1, max(output_stride // nominal, 1)
    for reached, depth in HEAD_DEPTHS.items():
        if reached <= nominal:
            continue
        step = 2 if wanted > 1 else 1
        stride, wanted, rate = stride * step, wanted // step, rate * (2 // step)
        net = layers.conv2d(net, depth, 3, stride=step, rate=rate, padding="even", scope=f"downsample_os{reached}_conv")
        net = layers.batch_norm(net, scope=f"downsample_os{reached}_bn", activation_fn=tf.nn.relu)
    net = layers.conv2d(net, 2048, 1, scope="classification_head_conv")
    return layers.batch_norm(net, scope="classification_head_bn", activation_fn=tf.nn.relu), stride


def _doubled(net: tf.Tensor) -> tf.Tensor:
    return resized(net, layers.scaled_size(tf.shape(net)[1:3], 2.0, align_corners=True))


def _pad_to_multiple(images: tf.Tensor, stride: int) -> tf.Tensor:
    """`images` with sides that are multiples of `stride` plus 1."""
    sides = images.shape[1:3]
    if sides.is_fully_defined() and all((side - 1) % stride == 0 for side in sides.as_list()):
        return images
    size = tf.shape(images)[1:3]
    # Cut what is too much, rather than pad by what is missing: bands of a large picture, which are run one by one,
    # would each be padded by the rows that it misses (see `common.inference.bands`); no band ends behind a cut.
    most = tf.pad(images, [[0, 0], [0, stride - 1], [0, stride - 1], [0, 0]])
    # Of positive numbers, because ONNX divides towards 0.
    return _top_left(most, (size + stride - 2) // stride * stride + 1)


def _top_left(net: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    static = tf.get_static_value(size)
    height, width = (size[0], size[1]) if static is None else static.tolist()
    return net[:, :height, :width]
