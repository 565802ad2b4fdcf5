"""Units per block of the ResNets (arXiv 1512.03385, table 1), apart from TensorFlow: recipes read them too."""

UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
LITE_UNITS = {18: (2, 2, 2, 2)}  # those of two 3x3 convolutions each
