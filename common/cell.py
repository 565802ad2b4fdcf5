"""A head designed as data: a graph of convolutions and pools in ASPP's place, from its JSON.

Two programs have such designs: research/deeplab's dense prediction cell (arXiv 1809.04184) and the
`encoder_middle_conf` of tonandr/deeplabv3plus_keras.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.errors import UserError

if TYPE_CHECKING:  # recipes check their cells without TensorFlow
    from common.tf1 import tf

DENSE_PREDICTION_CELL, ENCODER_MIDDLE_CONF = "dense_prediction_cell", "encoder_middle_conf"  # recipe fields
MOST = 99  # pixels of a kernel
PAIRS = ("rate", "grid_size", "target_size_factor")
# By design: the keys of a branch besides `op` and `input`, and which of them an operation must have.
KEYS = {
    DENSE_PREDICTION_CELL: ("kernel", "rate", "grid_size"),
    ENCODER_MIDDLE_CONF: ("kernel", "rate", "target_size_factor"),
}
NEEDED = {
    (ENCODER_MIDDLE_CONF, "conv"): ("kernel",),
    (ENCODER_MIDDLE_CONF, "pyramid_pooling"): ("kernel", "target_size_factor"),
}


@dataclass(frozen=True)
class Branch:
    """One operation of a cell.

    Attributes:
      op: a convolution, or pyramid pooling: window means, a 1x1 convolution, resized back.
      input: the branch it reads, -1 for the backbone's features.
      kernel: side of a convolution (separable above 1), or of a pool's window.
      rate: of a convolution above 1x1, [height, width], at the output stride that the design is for.
      grid_size: of a dense prediction cell's pool: its window is about 1 / grid_size of the features.
      target_size_factor: of an encoder_middle_conf's pool: its means are enlarged so many times.
    """

    op: Literal["conv", "pyramid_pooling"]
    input: int = -1
    kernel: int = 3
    rate: tuple[int, int] = (1, 1)
    grid_size: tuple[int, int] = (1, 1)
    target_size_factor: tuple[int, int] = (1, 1)

    def __str__(self) -> str:
        if self.op == "conv":
            return f"conv {self.kernel}x{self.kernel}" + f" rate {self.rate[0]},{self.rate[1]}" * (self.kernel > 1)
        if self.target_size_factor != (1, 1) or self.grid_size == (1, 1):
            rows, columns = self.target_size_factor
            return f"pool {self.kernel}x{self.kernel}, enlarged {rows}x" + f"{columns}" * (rows != columns)
        return f"pool grid {self.grid_size[0]}x{self.grid_size[1]}"


def read_cell(text: str, design: str = DENSE_PREDICTION_CELL) -> tuple[Branch, ...]:
    """The branches of a cell's JSON: a list of {"op", "input", ...} with the keys of `design`.

    Raises UserError naming the branch that refers to one not before it, or that has an unknown op or number.
    """
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UserError(f"{design}: is not JSON ({error}); give the file or its text") from None
    if not isinstance(config, list) or not config:
        raise UserError(f"{design}: needs a list of branches")
    return tuple(_branch(i, entry, design) for i, entry in enumerate(config))


def _branch(index: int, entry: Any, design: str) -> Branch:
    def refuse(reason):
        raise UserError(f"{design}: branch {index} {reason}")

    if not isinstance(entry, dict) or entry.get("op") not in ("conv", "pyramid_pooling"):
        refuse("has no op that is known (conv, pyramid_pooling)")
    if unknown := entry.keys() - {"op", "input", *KEYS[design]}:
        refuse(f"has unknown keys: {', '.join(sorted(unknown))}")
    if missing := [key for key in NEEDED.get((design, entry["op"]), ()) if key not in entry]:
        refuse(f"lacks {' and '.join(missing)}")
    source = entry.get("input")
    if not _is_whole(source) or not -1 <= source < index:
        refuse(f"reads input {source}; it must be -1 (the features) or a branch before it")
    kernel = entry.get("kernel", 3)
    kernel = kernel[0] if isinstance(kernel, list) and len(kernel) == 2 and kernel[0] == kernel[1] else kernel
    if not _is_whole(kernel) or not 1 <= kernel <= MOST:
        refuse(f"has kernel {kernel}; it must be a whole number from 1 to {MOST}")
    if design == DENSE_PREDICTION_CELL and entry["op"] == "conv" and kernel not in (1, 3):
        refuse(f"has kernel {kernel}; it must be 1 or 3")
    pairs = {}
    for key in PAIRS:
        pair = entry.get(key, [1, 1])
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_whole(n) and n > 0 for n in pair):
            refuse(f"has {key} {pair}; it must be [height, width]")
        pairs[key] = tuple(pair)
    return Branch(entry["op"], source, kernel, **pairs)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def given_cell(value: str, design: str = DENSE_PREDICTION_CELL) -> str:
    """The JSON text that a recipe stores, from itself or from the path of its file."""
    if not value or value.lstrip().startswith("["):
        return value
    path = Path(value)
    try:
        return json.dumps(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{design}={value}: cannot be read as JSON ({error})") from None


Operation = Callable[["tf.Tensor", Branch, int], "tf.Tensor"]


def apply_branches(
    features: "tf.Tensor", branches: Sequence[Branch], operations: Mapping[str, Operation]
) -> list["tf.Tensor"]:
    """The output of every branch on `features` [n, h, w, c]; `operations` by op take (inputs, branch, its index)."""
    outputs: list = []
    for i, branch in enumerate(branches):
        inputs = features if branch.input < 0 else outputs[branch.input]
        outputs.append(operations[branch.op](inputs, branch, i))
    return outputs


def build_cell(
    features: "tf.Tensor", branches: Sequence[Branch], rate_multiplier: int, scope: str = "meta_architecture"
) -> "tf.Tensor":
    """The dense prediction cell: branches of 256 channels on `features`, concatenated, dropped out, projected to 256.

    Args:
      features: the backbone's, [n, h, w, c].
      branches: the cell.
      rate_multiplier: of all rates: 2 at output stride 8.
      scope: of `branch<i>` and `concat_projection`.
    """
    from common import heads, layers
    from common.tf1 import tf

    depth = 256

    def convolve(inputs, branch, i):
        if branch.kernel == 1:
            return layers.conv_bn_relu(inputs, depth, 1, scope=f"{scope}/branch{i}")
        rate = tuple(r * rate_multiplier for r in branch.rate)
        return layers.separable_conv2d(inputs, depth, 3, rate=rate, scope=f"{scope}/branch{i}")

    def pool(inputs, branch, i):
        return heads.pyramid_pooling(inputs, branch.grid_size, depth, f"{scope}/branch{i}")

    outputs = apply_branches(features, branches, {"conv": convolve, "pyramid_pooling": pool})
    net = layers.dropout(tf.concat(outputs, axis=3), 0.9, scope=f"{scope}/concat_projection_dropout")
    return layers.conv_bn_relu(net, depth, 1, scope=f"{scope}/concat_projection")
