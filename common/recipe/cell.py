"""A head that is designed in JSON: a graph of convolutions and pools in ASPP's place.

Two programs have such designs: research/deeplab's dense prediction cell (arXiv 1809.04184) and the
`encoder_middle_conf` of tonandr/deeplabv3plus_keras.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError, brief, plain_reason
from common.files import read_text

DENSE_PREDICTION_CELL, ENCODER_MIDDLE_CONF = "dense_prediction_cell", "encoder_middle_conf"  # recipe fields
LARGEST_KERNEL = 99  # pixels, of a side
LARGEST_PAIR = 1000  # of rates and the like
MOST_BRANCHES = 100
PAIRS = ("rate", "grid_size", "target_size_factor")
# By design: the keys of a branch besides `op` and `input`, and which of them an operation must have.
KEYS_OF_DESIGN = {
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
      op: a convolution, or pyramid pooling (window means, 1x1 convolution, resize to the features' size).
      input: the branch it reads, -1 for the backbone's features.
      kernel: side of a convolution (separable above 1), or of a pool's window.
      rate: of a convolution above 1x1, [height, width], at the output stride that the design is for.
      grid_size: of a dense prediction cell's pool: its window is about 1 / grid_size of the features.
      target_size_factor: of an encoder_middle_conf's pool: how many times its means are enlarged.
    """

    op: Literal["conv", "pyramid_pooling"]
    input: int = -1
    kernel: int = 3
    rate: tuple[int, int] = (1, 1)
    grid_size: tuple[int, int] = (1, 1)
    target_size_factor: tuple[int, int] = (1, 1)

    def __str__(self) -> str:
        if self.op == "conv":
            rate = f" rate {self.rate[0]},{self.rate[1]}" if self.kernel > 1 else ""
            return f"conv {self.kernel}x{self.kernel}{rate}"
        if self.target_size_factor != (1, 1) or self.grid_size == (1, 1):
            rows, columns = self.target_size_factor
            return f"pool {self.kernel}x{self.kernel}, enlarged {rows}x{columns if rows != columns else ''}"
        return f"pool grid {self.grid_size[0]}x{self.grid_size[1]}"


def read_cell(text: str, design: str = DENSE_PREDICTION_CELL) -> tuple[Branch, ...]:
    """Read the branches of a cell's JSON: a list of {"op", "input", ...} with the keys of `design`.

    Raises UserError, which names the branch, for an input that is not before it and for unknown ops and numbers.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{design}: is not JSON ({plain_reason(error)}); give the file or its text") from None
    if not isinstance(config, list) or not config:
        raise UserError(f"{design}: needs a list of branches")
    if len(config) > MOST_BRANCHES:
        raise UserError(f"{design}: has {len(config):,} branches; take {MOST_BRANCHES} at most")
    return tuple(_branch(i, entry, design) for i, entry in enumerate(config))


def _branch(index: int, entry: Any, design: str) -> Branch:
    def refuse(reason: str):
        raise UserError(f"{design}: branch {index} {reason}")

    if not isinstance(entry, dict) or entry.get("op") not in ("conv", "pyramid_pooling"):
        refuse("has no op that is known (conv, pyramid_pooling)")
    if unknown := entry.keys() - {"op", "input", *KEYS_OF_DESIGN[design]}:
        refuse(f"has unknown keys: {brief(', '.join(sorted(unknown)))}")
    if missing := [key for key in NEEDED.get((design, entry["op"]), ()) if key not in entry]:
        refuse(f"lacks {' and '.join(missing)}")
    source = entry.get("input")
    if not _is_whole(source) or not -1 <= source < index:
        refuse(f"reads input {brief(source)}; it must be -1 (the features) or a branch before it")
    kernel = entry.get("kernel", 3)
    kernel = kernel[0] if isinstance(kernel, list) and len(kernel) == 2 and kernel[0] == kernel[1] else kernel
    if not _is_whole(kernel) or not 1 <= kernel <= LARGEST_KERNEL:
        refuse(f"has kernel {brief(kernel)}; it must be a whole number from 1 to {LARGEST_KERNEL}")
    if design == DENSE_PREDICTION_CELL and entry["op"] == "conv" and kernel not in (1, 3):
        refuse(f"has kernel {kernel}; it must be 1 or 3")
    pairs = {}
    for key in PAIRS:
        pair = entry.get(key, [1, 1])
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(_is_whole(n) and 1 <= n <= LARGEST_PAIR for n in pair)
        ):
            refuse(f"has {key} {brief(pair)}; it must be [height, width], numbers from 1 to {LARGEST_PAIR}")
        pairs[key] = tuple(pair)
    return Branch(entry["op"], source, kernel, **pairs)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def given_cell(value: str, design: str = DENSE_PREDICTION_CELL) -> str:
    """The JSON text that a recipe stores; `value` is the text or the path of its file."""
    if not isinstance(value, str) or not value or value.lstrip().startswith("["):
        return value  # what is no text is refused with the other fields
    path = Path(value)
    name = f"{design}={brief(value)}"
    try:
        return json.dumps(json.loads(read_text(path, f"{design}: cannot be read as JSON")))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{name}: cannot be read as JSON ({plain_reason(error)})") from None
