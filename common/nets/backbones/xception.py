"""Xception as DeepLab v3+ has it (arXiv 1802.02611, figure 4): strided separable convolutions in the pools' place."""

from dataclasses import dataclass
from typing import Literal

from common.nets import layers
from common.nets.backbones.dense import dense_strides
from common.tf1 import slim, tf

ROOT_STRIDE = 2


@dataclass(frozen=True)
class Block:
    """Units of three separable 3x3 convolutions of `depths` channels, the third at `stride` in every unit.

    `skip`: the shortcut, a 1x1 convolution, the input itself (sum), or none. `inner_relu`: ReLU
    after each batch norm of a separable convolution, rather than once before it.
    """

    scope: str
    depths: tuple[int, int, int]
    skip: Literal["conv", "sum", "none"]
    units: int = 1
    stride: int = 1
    inner_relu: bool = False


def _flows(entry: tuple[Block, ...], middle_units: int) -> tuple[Block, ...]:
    return (
        *entry,
        Block("middle_flow/block1", (728, 728, 728), "sum", units=middle_units),
        Block("exit_flow/block1", (728, 1024, 1024), "conv", stride=2),
        Block("exit_flow/block2", (1536, 1536, 2048), "none", inner_relu=True),
    )


def _entry(*table: tuple[int, int]) -> tuple[Block, ...]:
    return tuple(
        Block(f"entry_flow/block{i}", (depth, depth, depth), "conv", stride=stride)
        for i, (depth, stride) in enumerate(table, 1)
    )


BLOCKS = {
    "xception_41": _flows(_entry((128, 2), (256, 2), (728, 2)), 8),
    "xception_65": _flows(_entry((128, 2), (256, 2), (728, 2)), 16),
    "xception_71": _flows(_entry((128, 2), (256, 1), (256, 2), (728, 1), (728, 2)), 16),
}

# The blocks in which a decoder takes its features, by their stride: of the second separable convolution, after batch
# norm, before any ReLU.
LOW_LEVEL = {
    "xception_41": {4: "entry_flow/block2", 8: "entry_flow/block3", 16: "exit_flow/block1"},
    "xception_65": {4: "entry_flow/block2", 8: "entry_flow/block3", 16: "exit_flow/block1"},
    "xception_71": {4: "entry_flow/block3", 8: "entry_flow/block5", 16: "exit_flow/block1"},
}

BOUND = 6.0  # of all features in a bounded network


def _capped(features: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(features, -BOUND, BOUND)


def xception(
    images: tf.Tensor,
    blocks: tuple[Block, ...],
    scope: str,
    output_stride: int,
    multi_grid: tuple[int, ...] = (),
    bounded: bool = False,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Root (two 3x3 convolutions, stride 2) and `blocks`, strides past `output_stride` turned into rates.

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      blocks: the table.
      scope: of all variables.
      output_stride: 8, 16 or 32.
      multi_grid: factors of the three rates of the last block; () is 1, 1, 1.
      bounded: keep all features within 6, for 8 bit: ReLU6, and a cap where a layer has no ReLU. Strided separable
        convolutions are then padded by TensorFlow's rule, as in research/deeplab.

    Returns:
      Features [n, h / os, w / os, 2048], sizes rounded up at each stride, and the end points by name:
      `<block>/unit_<n>/separable_conv<i>` and `<block>/unit_<n>`.
    """
    units = [(block, unit) for block in blocks for unit in range(1, block.units + 1)]
    dense = dense_strides((block.stride for block, _ in units), ROOT_STRIDE, output_stride)
    relu, linear = (tf.nn.relu6, _capped) if bounded else (tf.nn.relu, None)
    with slim.arg_scope([layers.conv_bn_relu], activation_fn=relu):
        net = layers.conv_bn_relu(images, 32, 3, stride=2, padding="even", scope=f"{scope}/entry_flow/conv1_1")
        net = layers.conv_bn_relu(net, 64, 3, scope=f"{scope}/entry_flow/conv1_2")
    end_points = {}
    for (block, unit), (stride, rate) in zip(units, dense, strict=True):
        name = f"{block.scope}/unit_{unit}"
        module = f"{scope}/{name}/xception_module"
        grid = multi_grid if multi_grid and block is blocks[-1] else (1, 1, 1)
        residual = net
        for i, depth in enumerate(block.depths):
            residual = end_points[f"{name}/separable_conv{i + 1}"] = layers.separable_conv2d(
                residual if block.inner_relu else relu(residual),
                depth,
                3,
                stride=stride if i == 2 else 1,
                rate=rate * grid[i],
                padding="tensorflow" if bounded else "even",
                activation_fn=relu if block.inner_relu else linear,
                scope=f"{module}/separable_conv{i + 1}",
            )
        if block.skip == "conv":
            shortcut = layers.conv2d(net, block.depths[-1], 1, stride=stride, scope=f"{module}/shortcut")
            residual += layers.batch_norm(shortcut, scope=f"{module}/shortcut/BatchNorm", activation_fn=linear)
        elif block.skip == "sum":
            residual += net  # within the bound, if there is one
        if bounded and block.skip != "none":
            residual = relu(residual)
        net = end_points[name] = residual
    return net, end_points
