"""A head designed as data: the dense prediction cell (arXiv 1809.04184) from its JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.errors import UserError

if TYPE_CHECKING:  # recipes check their cells without TensorFlow
    from common.tf1 import tf


@dataclass(frozen=True)
class Branch:
    """One operation of a cell.

    Attributes:
      op: a convolution, or pyramid pooling: window means, a 1x1 convolution, resized back.
      input: the branch it reads, -1 for the backbone's features.
      kernel: of a convolution, 1 or 3 (separable).
      rate: of a 3x3 convolution, [height, width], at output stride 16.
      grid_size: of pyramid pooling: the window is about 1 / grid_size of the features.
    """

    op: Literal["conv", "pyramid_pooling"]
    input: int = -1
    kernel: int = 3
    rate: tuple[int, int] = (1, 1)
    grid_size: tuple[int, int] = (1, 1)


def read_cell(text: str) -> tuple[Branch, ...]:
    """The branches of a cell's JSON: a list of {"op", "input", "kernel", "rate", "grid_size"}.

    Raises UserError naming the branch that refers to one not before it, or that has an unknown op or number.
    """
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UserError(f"dense_prediction_cell: is not JSON ({error}); give the file or its text") from None
    if not isinstance(config, list) or not config:
        raise UserError("dense_prediction_cell: needs a list of branches")
    return tuple(_branch(i, entry) for i, entry in enumerate(config))


def _branch(index: int, entry: Any) -> Branch:
    def refuse(reason):
        raise UserError(f"dense_prediction_cell: branch {index} {reason}")

    if not isinstance(entry, dict) or entry.get("op") not in ("conv", "pyramid_pooling"):
        refuse("has no op that is known (conv, pyramid_pooling)")
    if unknown := entry.keys() - {"op", "input", "kernel", "rate", "grid_size"}:
        refuse(f"has unknown keys: {', '.join(sorted(unknown))}")
    source = entry.get("input")
    if not isinstance(source, int) or not -1 <= source < index:
        refuse(f"reads input {source}; it must be -1 (the features) or a branch before it")
    kernel = entry.get("kernel", 3)
    kernel = kernel[0] if isinstance(kernel, list) and kernel in ([1, 1], [3, 3]) else kernel
    if entry["op"] == "conv" and kernel not in (1, 3):
        refuse(f"has kernel {kernel}; it must be 1 or 3")
    pairs = {}
    for key in ("rate", "grid_size"):
        pair = entry.get(key, [1, 1])
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
            refuse(f"has {key} {pair}; it must be [height, width]")
        pairs[key] = tuple(pair)
    return Branch(entry["op"], source, kernel, **pairs)


def given_cell(value: str) -> str:
    """The JSON text that a recipe stores, from itself or from the path of its file."""
    if not value or value.lstrip().startswith("["):
        return value
    path = Path(value)
    try:
        return json.dumps(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"dense_prediction_cell={value}: cannot be read as JSON ({error})") from None


def build_cell(
    features: "tf.Tensor", branches: Sequence[Branch], rate_multiplier: int, scope: str = "meta_architecture"
) -> "tf.Tensor":
    """The cell on `features` [n, h, w, c]: every branch of 256 channels, concatenated, dropped out, projected to 256.

    Args:
      features: the backbone's.
      branches: the cell.
      rate_multiplier: of all rates: 2 at output stride 8.
      scope: of `branch<i>` and `concat_projection`.
    """
    from common import heads, layers
    from common.tf1 import tf

    depth, outputs = 256, []
    for i, branch in enumerate(branches):
        inputs = features if branch.input < 0 else outputs[branch.input]
        name = f"{scope}/branch{i}"
        if branch.op == "pyramid_pooling":
            outputs.append(heads.pyramid_pooling(inputs, branch.grid_size, depth, name))
        elif branch.kernel == 1:
            outputs.append(layers.conv_bn_relu(inputs, depth, 1, scope=name))
        else:
            rate = tuple(r * rate_multiplier for r in branch.rate)
            outputs.append(layers.separable_conv2d(inputs, depth, 3, rate=rate, scope=name))
    net = layers.dropout(tf.concat(outputs, axis=3), 0.9, scope=f"{scope}/concat_projection_dropout")
    return layers.conv_bn_relu(net, depth, 1, scope=f"{scope}/concat_projection")
