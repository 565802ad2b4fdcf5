"""ResNet v1 (arXiv 1512.03385) as a table of blocks, under Caffe's or tf-slim's variable names."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from common.nets import layers
from common.nets.backbones.dense import dense_strides
from common.tf1 import tf

ROOT_STRIDE = 4


@dataclass(frozen=True)
class Block:
    """A run of bottleneck units of `depth` output channels; `lite` ones are two 3x3 convolutions (ResNet-18).

    `stride` lies in one unit, the first or the last (see `resnet_v1`); every unit's 3x3 has atrous
    rate `rate`, times its own factor in `multi_grid` when there is one.
    """

    depth: int
    units: int
    stride: int = 1
    rate: int = 1
    multi_grid: tuple[int, ...] = ()
    lite: bool = False

    def unit_rate(self, unit: int) -> int:
        """The atrous rate of unit number `unit`, from 1."""
        return self.rate * (self.multi_grid[unit - 1] if self.multi_grid else 1)


def at_output_stride(blocks: tuple[Block, ...], output_stride: int) -> tuple[Block, ...]:
    """Turn the strides of a nominal table (in last units) that exceed `output_stride` into atrous rates.

    Raises ValueError when the strides don't give `output_stride`.
    """
    dense = dense_strides((block.stride for block in blocks), ROOT_STRIDE, output_stride)
    return tuple(
        dataclasses.replace(block, stride=stride, rate=block.rate * rate)
        for block, (stride, rate) in zip(blocks, dense, strict=True)
    )


def slim_blocks(
    units: tuple[int, ...], output_stride: int, multi_grid: tuple[int, ...] = (), last_block: int = 4
) -> tuple[Block, ...]:
    """slim's ResNet at `output_stride`, strides in last units; blocks 5 to 7 copy block 4 (1706.05587, figure 3).

    Multi-grid acts in block 4 and what follows it.
    """
    nominal = [Block(256 * 2**i, units[i], stride=2) for i in range(3)]
    nominal += [Block(2048, 3, stride=2, multi_grid=multi_grid) for _ in range(4, last_block)]
    nominal += [Block(2048, 3, multi_grid=multi_grid)]
    return at_output_stride(tuple(nominal), output_stride)


def lite_blocks(units: tuple[int, ...], output_stride: int, multi_grid: tuple[int, ...] = ()) -> tuple[Block, ...]:
    """research/deeplab's ResNet-18 at `output_stride`, strides in last units; multi-grid acts in block 4."""
    nominal = [Block(64 * 2**i, units[i], stride=2, lite=True) for i in range(3)]
    nominal += [Block(512, units[3], multi_grid=multi_grid, lite=True)]
    return at_output_stride(tuple(nominal), output_stride)


def dilated_blocks(units: tuple[int, int, int, int], multi_grid: tuple[int, ...] = ()) -> tuple[Block, ...]:
    """The blocks of a ResNet whose last two strides are turned into rates 2 and 4 (times `multi_grid`): stride 8."""
    return (
        Block(256, units[0]),
        Block(512, units[1], stride=2),
        Block(1024, units[2], rate=2),
        Block(2048, units[3], rate=4, multi_grid=multi_grid),
    )


# Names: (block, unit, part) from 1, part in shortcut, conv1, conv2, conv3 -> (conv scope, batch norm scope).
Names = Callable[[int, int, str], tuple[str, str]]


def slim_names(prefix: str, unit_scope: str = "bottleneck_v1") -> Names:
    """tf-slim: resnet_v1_101/block3/unit_2/bottleneck_v1/conv2 and its BatchNorm; block 0 is the root."""

    def names(block: int, unit: int, part: str):
        scope = f"{prefix}/block{block}/unit_{unit}/{unit_scope}/{part}" if block else f"{prefix}/{part}"
        return scope, f"{scope}/BatchNorm"

    return names


def caffe_names(units: tuple[int, ...]) -> Names:
    """Caffe: res4b2_branch2b and bn4b2_branch2b; blocks of three units are a, b, c, longer ones a, b1, b2, ..."""
    branch = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}

    def names(block: int, unit: int, part: str):
        if not block:
            return "conv1", "bn_conv1"
        letter = "abc"[unit - 1] if units[block - 1] == 3 else "a" if unit == 1 else f"b{unit - 1}"
        name = f"{block + 1}{letter}_{branch[part]}"
        return f"res{name}", f"bn{name}"

    return names


def bottleneck(
    inputs: tf.Tensor,
    block: Block,
    unit: int,
    convolve: Callable[..., tf.Tensor],
    strided: Literal["first", "last"] = "first",
    residual_gamma: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Unit number `unit` (from 1) of `block`: 1x1 to a quarter of its depth, 3x3, 1x1 to its depth, plus the shortcut.

    A lite unit has two 3x3 convolutions of its depth in their place, both at the unit's rate.

    Args:
      inputs: features [n, h, w, c].
      block: the block.
      unit: the unit's number.
      convolve: (inputs, depth, size, part, stride=, rate=, relu=, gamma=) -> convolution and batch norm of that part.
      strided, residual_gamma: as in `resnet_v1`.

    Returns:
      The unit's features [n, h / stride, w / stride, depth], and its residual before the sum.
    """
    first = block.stride if strided == "first" and unit == 1 else 1
    last = block.stride if strided == "last" and unit == block.units else 1
    if unit == 1 and (strided == "first" or inputs.shape[3] != block.depth):
        shortcut = convolve(inputs, block.depth, 1, "shortcut", stride=first * last, relu=False)
    else:
        shortcut = layers.max_pool(inputs, 1, last) if last > 1 else inputs
    rate = block.unit_rate(unit)
    if block.lite:
        residual = convolve(inputs, block.depth, 3, "conv1", stride=first, rate=rate)
        residual = convolve(residual, block.depth, 3, "conv2", stride=last, rate=rate, relu=False, gamma=residual_gamma)
    else:
        residual = convolve(inputs, block.depth // 4, 1, "conv1", stride=first)
        residual = convolve(residual, block.depth // 4, 3, "conv2", stride=last, rate=rate)
        residual = convolve(residual, block.depth, 1, "conv3", relu=False, gamma=residual_gamma)
    return tf.nn.relu(shortcut + residual), residual


def resnet_v1(
    images: tf.Tensor,
    blocks: tuple[Block, ...],
    names: Names,
    residual_gamma: float = 1.0,
    strided: Literal["first", "last"] = "first",
    beta_depths: tuple[int, ...] = (),
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Root (7x7 at stride 2, max pool at stride 2) and `blocks`.

    Options of the layers (batch norm mode and epsilon, dilated type, initialiser) come from the
    arg scope around the call.

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      blocks: the table.
      names: the variables' scopes.
      residual_gamma: initial gamma of each unit's last batch norm (1 in the paper).
      strided: which unit of a block holds its stride: the first, in its first 1x1 and the shortcut
        (Caffe; every block then has a projection), or the last, in its 3x3 (tf-slim, which also pads
        strided layers evenly; a block that keeps the depth has none). ResNet's weights are the same for
        both, and so are the features where every size is odd.
      beta_depths: channels of the 3x3 convolutions, `conv1_1` to `conv1_3`, in the root's place (research/deeplab's
        beta variants); () is the 7x7 convolution.

    Returns:
      Features [n, h / os, w / os, depth], sizes rounded up at each stride, and the end points by
      name: `root`, `block1/unit_1`, ..., `block4/unit_3`, and `<unit>/residual`, before the sum.
    """
    padding = "even" if strided == "last" else "tensorflow"

    def convolve(
        unit: tuple[int, int],
        inputs: tf.Tensor,
        depth: int,
        size: int,
        part: str,
        *,
        stride: int = 1,
        rate: int = 1,
        relu: bool = True,
        gamma: float = 1.0,
    ):
        conv_scope, bn_scope = names(*unit, part)
        outputs = layers.conv2d(inputs, depth, size, stride=stride, rate=rate, padding=padding, scope=conv_scope)
        return layers.batch_norm(outputs, scope=bn_scope, gamma=gamma, activation_fn=tf.nn.relu if relu else None)

    net = images if beta_depths else convolve((0, 0), images, 64, 7, "conv1", stride=2)
    for i, depth in enumerate(beta_depths, 1):
        net = convolve((0, 0), net, depth, 3, f"conv1_{i}", stride=2 if i == 1 else 1)
    net = layers.max_pool(net, 3, 2)
    end_points = {"root": net}
    for b, block in enumerate(blocks, 1):
        for u in range(1, block.units + 1):
            name, named = f"block{b}/unit_{u}", functools.partial(convolve, (b, u))
            net, end_points[f"{name}/residual"] = bottleneck(net, block, u, named, strided, residual_gamma)
            end_points[name] = net
    return net, end_points
