"""The ranges of a quantised TensorFlow Lite file, as the variables of an 8 bit network."""

import re
from collections.abc import Iterator

import numpy as np

from common.errors import UserError
from converters.tflite import Model, Op
from converters.tflite_layers import Convolution

UNIT = re.compile(r"(.*/expanded_conv(?:_(\d+))?)/\w+")  # a layer's scope: that of its residual unit, and its number


def ranges_of(model: Model, layers: list[Convolution]) -> dict[str, np.ndarray]:
    """Variable's name -> value: the range of each layer's kernel and values, and of each residual sum.

    Raises UserError when the file has no such ranges: of a float, or one for each channel.
    """
    found = {}
    for layer in layers:
        found |= _range(model, layer.op.inputs[1], f"{layer.scope}/weights_quant", first=1)
        found |= _range(model, layer.op.outputs[0], f"{layer.scope}/act_quant")
    scopes = {layer.op.outputs[0]: layer.scope for layer in layers}
    for op, unit in _sums(model, scopes):
        found |= _range(model, op.outputs[0], f"{unit}/post_activation_bypass_quant")
    return found


def _range(model: Model, number: int, scope: str, first: int = 0) -> dict[str, np.ndarray]:
    """The least and the greatest number of a tensor of uint8, whose whole numbers begin at `first`."""
    tensor = model.tensors[number]
    steps = tensor.quantization
    if steps is None or tensor.dtype != np.uint8 or steps.scale.size != 1:
        kind = scope.rpartition("/")
        raise UserError(f"--ranges: {kind[0]} has no range of 8 bits ({kind[2]}); leave it out for a float network")
    ends = (np.array([first, 255]) - steps.zero[0]) * steps.scale[0].astype(np.float64)
    return {f"{scope}/{name}": np.float32(end) for name, end in zip(("min", "max"), ends, strict=True)}


def _sums(model: Model, scopes: dict[int, str]) -> Iterator[tuple[Op, str]]:
    """The residual sums, with the scopes of their units: of the later one of the layers that they add up."""
    for op in model.ops:
        if op.name == "ADD":
            units = [match for number in op.inputs if (match := UNIT.fullmatch(scopes.get(number, "")))]
            if units:
                yield op, max(units, key=lambda match: int(match[2] or 0))[1]
