"""The recipe fields that the names and shapes of a weight file tell."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

from reproductions.v3plus.names import MARKS, NAMES, Names
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
    family = next((f for f, marks in MARKS.items() if any(n.startswith(marks) for n in shapes)), None)
    if family is None:  # ImageNet's: the head is the recipe's
        return settled
    names = NAMES[family]
    cell = any(n.startswith("meta_architecture/") for n in shapes)
    fused = shapes.get("meta_architecture/concat_projection/weights" if cell else "concat_projection/weights")
    settled |= {
        "names": family,
        "image_pooling": cell or any(n.startswith(names.image_pooling) for n in shapes),
    }
    if biases := shapes.get(f"{names.logits}/biases"):
        settled["num_classes"] = biases[0]
    if fused:
        settled["aspp_depth"] = fused[3]
    settled |= _decoder(shapes, names, settled)
    if (kernel := shapes.get(f"{names.logits}/weights", (1,))[0]) > 1:  # in ASPP's place
        return settled | {"logits_kernel_size": kernel, "aspp_batch_norm": False}
    if cell:
        return settled | {"dense_prediction_cell": DPC}
    branch = re.compile(names.aspp.format(r"(\d+)") + "(_depthwise)?/")
    branches = {int(m[1]) for n in shapes if (m := branch.match(n))}
    settled["aspp_separable"] = f"{names.aspp.format(1)}/weights" not in shapes
    settled["aspp_batch_norm"] = f"{names.aspp.format(0)}/biases" not in shapes
    if max(branches, default=0) == 0:  # the rates of three branches are the recipe's
        settled["atrous_rates"] = ()
    return settled


def _decoder(shapes: Mapping[str, tuple[int, ...]], names: Names, settled: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the decoder; its stages' strides follow from the channels that they take from the backbone."""
    separable = f"{names.convolution_in(0, 0, separable=False)}/weights" not in shapes
    told = {
        "decoder": any(n.startswith("decoder/") for n in shapes),
        "decoder_separable": separable,
        "decoder_batch_norm": f"{names.projection_in(0)}/biases" not in shapes,
    }
    stages = [scope for i in range(3) if (scope := f"{names.projection_in(i)}/weights") in shapes]
    if stages:
        told["decoder_projection_filters"] = shapes[stages[0]][3]
        if strides := _strides([shapes[scope][2] for scope in stages], settled):
            told["decoder_output_stride"] = strides
    scopes = itertools.takewhile(
        lambda scope: any(name.startswith((f"{scope}/", f"{scope}_depthwise/")) for name in shapes),
        (names.convolution_in(0, i, separable) for i in itertools.count()),
    )
    kernel, filters = ("_depthwise/depthwise_weights", "_pointwise/weights") if separable else ("/weights",) * 2
    scopes = list(scopes)
    if scopes:
        told["decoder_kernels"] = tuple(shapes.get(scope + kernel, (3,))[0] for scope in scopes)
    if depth := next((shapes[scope + filters][3] for scope in scopes if scope + filters in shapes), 0):
        told["decoder_filters"] = 0 if depth == settled.get("aspp_depth") else depth
    return told


# Channels of the backbones' low-level features, by their stride; see `LOW_LEVEL` of common/nets/backbones.
_CHANNELS = {
    "xception": {256: 4, 728: 8, 1024: 16},
    "resnet_v1_18": {64: 4, 128: 8, 256: 16},
    "resnet_v1": {256: 4, 512: 8, 1024: 16},
    "mobilenet_v2": {144: 4, 192: 8, 576: 16},
}


def _strides(channels: list[int], settled: Mapping[str, Any]) -> tuple[int, ...]:
    """The strides at which a backbone has features of so many channels; () where it has none."""
    family = next((f for f in ("resnet_v1_18", *_CHANNELS) if settled["backbone"].startswith(f)), None)
    known, multiplier = _CHANNELS.get(family, {}), settled.get("depth_multiplier", 1)
    nearest = [min(known, key=lambda count: abs(count * multiplier - there), default=0) for there in channels]
    is_near = all(abs(n * multiplier - there) <= there / 8 for n, there in zip(nearest, channels, strict=True))
    return tuple(known[n] for n in nearest) if is_near and known else ()


def _backbone(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    if any(name.startswith("MobilenetV2/") for name in shapes):
        # Only the last unit tells the multiplier: rounding to eights makes the first layers of several equal.
        root = shapes.get("MobilenetV2/Conv/weights", (3, 3, 3, 32))[3] / 32
        last = shapes.get("MobilenetV2/expanded_conv_16/project/weights")
        return {"backbone": "mobilenet_v2", "depth_multiplier": last[3] / 320 if last else root}
    for name in shapes:
        if match := re.match(r"(xception_(?:41|65|71))/", name):
            return {"backbone": match[1]}
        if match := re.match(r"(resnet_v1_(?:18|50|101))/", name):
            return {"backbone": match[1] + ("_beta" if any(n.startswith(f"{match[1]}/conv1_") for n in shapes) else "")}
    return {}
