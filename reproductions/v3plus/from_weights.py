"""The recipe fields that the names and shapes of a weight file tell."""

import re
from collections.abc import Mapping
from typing import Any

from reproductions.v3plus.names import MARKS, NAMES
from reproductions.v3plus.recipe import preprocessing
from reproductions.v3plus.zoo import DPC


def fields_from_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The recipe fields that follow from names and shapes in a file: backbone, head, decoder, preprocessing,
    classes."""
    shapes = {n: s for n, s in shapes.items() if len(s) == 4 or not n.endswith("weights")}  # others fit no network
    settled = _backbone(shapes)
    if not settled:
        return {}
    settled |= preprocessing(settled["backbone"])
    if any(n.endswith("/weights_quant/min") for n in shapes):
        settled["quantize_delay_step"] = 0
    family = next((f for f, marks in MARKS.items() if any(n.startswith(marks) for n in shapes)), None)
    if family is None:  # ImageNet's: the head is the recipe's
        return settled
    names = NAMES[family]
    cell = any(n.startswith("meta_architecture/") for n in shapes)
    fused = shapes.get("meta_architecture/concat_projection/weights" if cell else "concat_projection/weights")
    settled |= {
        "names": family,
        "decoder": any(n.startswith("decoder/") for n in shapes),
        "decoder_separable": f"{names.plain_decoder[0]}/weights" not in shapes,
        "image_pooling": cell or any(n.startswith(names.image_pooling) for n in shapes),
    }
    if biases := shapes.get(f"{names.logits}/biases"):
        settled["num_classes"] = biases[0]
    if fused:
        settled["aspp_depth"] = fused[3]
    if cell:
        return settled | {"dense_prediction_cell": DPC}
    branch = re.compile(names.aspp.format(r"(\d+)") + "(_depthwise)?/")
    branches = {int(m[1]) for n in shapes if (m := branch.match(n))}
    settled["aspp_separable"] = f"{names.aspp.format(1)}/weights" not in shapes
    settled["aspp_batch_norm"] = f"{names.aspp.format(0)}/biases" not in shapes
    settled["decoder_batch_norm"] = f"{names.projection}/biases" not in shapes
    if max(branches, default=0) == 0:  # the rates of three branches are the recipe's
        settled["atrous_rates"] = ()
    return settled


def _backbone(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    if any(name.startswith("MobilenetV2/") for name in shapes):
        # Only the last unit tells the multiplier: rounding to eights makes the first layers of several equal.
        root = shapes.get("MobilenetV2/Conv/weights", (3, 3, 3, 32))[3] / 32
        last = shapes.get("MobilenetV2/expanded_conv_16/project/weights")
        return {"backbone": "mobilenet_v2", "depth_multiplier": last[3] / 320 if last else root}
    for name in shapes:
        if match := re.match(r"(xception_(?:41|65|71))/", name):
            return {"backbone": match[1]}
        if match := re.match(r"(resnet_v1_(?:50|101))/", name):
            return {"backbone": match[1] + ("_beta" if any(n.startswith(f"{match[1]}/conv1_") for n in shapes) else "")}
    return {}
