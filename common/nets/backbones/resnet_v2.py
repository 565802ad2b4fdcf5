"""ResNet v2 (arXiv 1603.05027, full preactivation) as a table of blocks, under tf-slim's variable names."""

from common.nets import layers
from common.nets.backbones.resnet_v1 import Block
from common.tf1 import tf


def bottleneck(inputs: tf.Tensor, block: Block, unit: int, scope: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Unit number `unit` (from 1) of `block`: batch norm first, then 1x1, 3x3 and 1x1, plus the shortcut.

    The block's stride lies in its last unit. The shortcut and the last convolution have biases and no batch norm.

    Args:
      inputs: features [n, h, w, c].
      block: the block.
      unit: the unit's number.
      scope: of the unit's variables.

    Returns:
      The unit's features [n, ceil(h / stride), ceil(w / stride), depth], and those of its first convolution, which has
      a quarter of the depth at the size of the inputs.
    """
    stride = block.stride if unit == block.units else 1
    preactivated = layers.batch_norm(inputs, scope=f"{scope}/preact", activation_fn=tf.nn.relu)
    if inputs.shape[3] == block.depth:
        shortcut = layers.max_pool(inputs, 1, stride) if stride > 1 else inputs
    else:
        shortcut = layers.conv2d(preactivated, block.depth, 1, stride=stride, bias=True, scope=f"{scope}/shortcut")
    first = layers.conv_bn_relu(preactivated, block.depth // 4, 1, scope=f"{scope}/conv1")
    residual = layers.conv_bn_relu(
        first,
        block.depth // 4,
        3,
        stride=stride,
        rate=block.unit_rate(unit),
        padding="even",
        scope=f"{scope}/conv2",
    )
    return shortcut + layers.conv2d(residual, block.depth, 1, bias=True, scope=f"{scope}/conv3"), first


def resnet_v2(images: tf.Tensor, blocks: tuple[Block, ...], prefix: str) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Root (7x7 with biases at stride 2, max pool at stride 2), `blocks`, and the batch norm behind them.

    Options of the layers (batch norm mode and epsilon, initialiser) come from the arg scope around the call.

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      blocks: the table, such as `resnet_v1.slim_blocks`; strides lie in last units.
      prefix: of the variables' scopes, such as `resnet_v2_101`.

    Returns:
      Features [n, h / os, w / os, depth] behind the last batch norm, sizes rounded up at each stride, and the end
      points by name: `block1`, ..., `block4`, which are sums that nothing normalises, and each unit's first convolution
      (`block1/unit_3/conv1`).
    """
    net = layers.conv2d(images, 64, 7, stride=2, bias=True, padding="even", scope=f"{prefix}/conv1")
    net = layers.max_pool(net, 3, 2)
    end_points = {}
    for b, block in enumerate(blocks, 1):
        for u in range(1, block.units + 1):
            unit = f"block{b}/unit_{u}"
            net, end_points[f"{unit}/conv1"] = bottleneck(net, block, u, f"{prefix}/{unit}/bottleneck_v2")
        end_points[f"block{b}"] = net
    return layers.batch_norm(net, scope=f"{prefix}/postnorm", activation_fn=tf.nn.relu), end_points
