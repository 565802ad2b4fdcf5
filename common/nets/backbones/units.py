"""Numbers of the backbones apart from TensorFlow: recipes read them too."""

# Units per block of the ResNets (arXiv 1512.03385, table 1).
UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
LITE_UNITS = {18: (2, 2, 2, 2)}  # those of two 3x3 convolutions each


def divisible(count: float, divisor: int) -> int:
    """The nearest multiple of `divisor`, at least one, and at least nine tenths of `count`: a MobileNet's channels."""
    rounded = max(divisor, int(count + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * count else rounded
