"""Strides turned into atrous rates, the rule that all backbones share (arXiv 1706.05587, section 3.1)."""

from collections.abc import Iterable


def dense_strides(strides: Iterable[int], start: int, output_stride: int) -> list[tuple[int, int]]:
    """Choose (stride, rate) of each unit so that the features have `output_stride`.

    Once that is reached, strides are 1 and each nominal stride multiplies the rate of the units after it.

    Args:
      strides: of the units, nominally.
      start: the stride in front of the first unit.
      output_stride: what is wanted.

    Raises:
      ValueError: the strides don't give that output stride.
    """
    dense, stride, rate = [], start, 1
    for nominal in strides:
        if stride == output_stride:
            dense.append((1, rate))
            rate *= nominal
        else:
            dense.append((nominal, 1))
            stride *= nominal
    if stride != output_stride:
        raise ValueError(f"output stride {output_stride} is not reached: these units end at {stride}")
    return dense
