"""The recipe fields that the names and shapes of a weight file tell."""

import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from common.nets.backbones.units import divisible
from common.reproduction import Untold
from reproductions.v3plus.names import MARKS, NAMES, Names
from reproductions.v3plus.recipe import preprocessing
from reproductions.v3plus.zoo import DPC


class Told(NamedTuple):
    """Marks of a MobileNet in a file.

    Attributes:
      network: the first part of all names.
      units: channels of some units by their numbers; the last one is in no smaller network.
      first, last: channels of the first and the last convolution.
      strides: of the low-level features, by their channels.
    """

    network: str
    units: Mapping[int, int]
    first: int
    last: int
    strides: Mapping[int, int]


# In this order: the large one has all units of the small one.
MOBILENETS = {
    "mobilenet_v3_large_seg": Told(
        "MobilenetV3", {2: 24, 5: 40, 9: 80, 11: 112, 14: 80}, 16, 480, {72: 4, 120: 8, 672: 16}
    ),
    "mobilenet_v3_small_seg": Told("MobilenetV3", {2: 24, 5: 40, 7: 48, 10: 48}, 16, 288, {16: 4, 88: 8, 144: 16}),
    "mobilenet_edgetpu": Told("MobilenetEdgeTPU", {4: 32, 8: 48, 12: 96, 20: 160, 21: 192}, 32, 1280, {}),
}
# What a multiplier of channels may be: of several that make the same widths, the nearest to 1 in this order.
MULTIPLIERS = sorted((n / 20 for n in range(1, 41)), key=lambda multiplier: abs(multiplier - 1))


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
    fused = shapes.get("meta_architecture/concat_projection/weights" if cell else f"{names.fusion}/weights")
    settled |= {
        "names": family,
        "image_pooling": cell or any(n.startswith(names.image_pooling) for n in shapes),
    }
    if biases := shapes.get(f"{names.logits}/biases"):
        settled["num_classes"] = biases[0]
    if fused or (fused := shapes.get(f"{names.branch(0)}/weights")):
        settled["aspp_depth"] = fused[3]
    options = _head_options(shapes, names, settled["backbone"])
    decoder = _decoder(shapes, names, settled)
    if options["decoder_sum_merge"]:
        kept = {"decoder", "decoder_output_stride"} | ({"decoder_batch_norm"} - {*options})
        decoder = {name: value for name, value in decoder.items() if name in kept}
    settled |= decoder | options
    if family == "rishizek":
        settled["align_corners"] = False
    if not cell and not any(n.startswith(names.branch(0)) for n in shapes):  # the scores take ASPP's place
        kernel, summed = shapes.get(f"{names.logits}/weights", (1,))[0], f"{names.logits}_1/weights" in shapes
        rates = {} if summed or kernel > 1 else {"atrous_rates": ()}  # else the rates are the recipe's
        return settled | {"aspp": False, "logits_kernel_size": kernel, **rates}
    if cell:
        return settled | {"dense_prediction_cell": DPC}
    branch = re.compile(names.aspp.format(r"(\d+)") + "(_depthwise)?/")
    branches = {int(m[1]) for n in shapes if (m := branch.match(n))}
    settled["aspp_separable"] = f"{names.aspp.format(1)}/weights" not in shapes
    settled["aspp_batch_norm"] = f"{names.branch(0)}/biases" not in shapes
    if max(branches, default=0) == 0:  # the rates of three branches are the recipe's
        settled["atrous_rates"] = ()
    return settled


def not_in_weights(shapes: Mapping[str, tuple[int, ...]]) -> Untold:
    """The fields of squeeze and excitation that no file tells, and the variants that have the zoo's."""
    told = fields_from_weights(shapes)
    if not told.get("aspp_squeeze_and_excitation"):
        return Untold()
    names = ("image_se_uses_qsigmoid", "image_pooling_crop_size", "image_pooling_stride", "eval_output_stride")
    small = "small" if "small" in told["backbone"] else "large"
    hint = f"the zoo's are those of --set variant=mnv3_{small}_cityscapes_trainfine, and --set changes each"
    return Untold(names, hint, by_variant=True)


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
    for backbone, told in MOBILENETS.items():
        if f"{told.network}/expanded_conv_{max(told.units)}/project/weights" in shapes:
            return {"backbone": backbone, **_widths(shapes, told)}
    for scope, multiple in NAS_DEPTHS.items():
        if first := shapes.get(f"{scope}/cell_0/1x1/weights"):
            head = {"nas_classification_head": f"{scope}/classification_head_conv/weights" in shapes}
            return {"backbone": f"nas_{scope}", "nas_stem_filters": first[3] // multiple, **head}
    for name in shapes:
        if match := re.match(r"(xception_(?:41|65|71))/", name):
            return {"backbone": match[1]}
        if match := re.match(r"(resnet_v2_(?:50|101))/", name):
            return {"backbone": match[1]}
        if match := re.match(r"(resnet_v1_(?:18|50|101))/", name):
            return {"backbone": match[1] + ("_beta" if any(n.startswith(f"{match[1]}/conv1_") for n in shapes) else "")}
    return {}


NAS_DEPTHS = {"pnasnet": 2, "hnasnet": 1}  # channels of the first cell for each of `nas_stem_filters`


def _widths(shapes: Mapping[str, tuple[int, ...]], told: Told) -> dict[str, Any]:
    """The multiplier of the channels, and the last convolution's where it has not that one."""
    widths = {f"expanded_conv_{unit}/project": count for unit, count in told.units.items()} | {"Conv": told.first}
    shown = {name: shapes.get(f"{told.network}/{name}/weights") for name in (*widths, "Conv_1")}
    found = {name: shape[3] for name, shape in shown.items() if shape}

    def differing(multiplier: float) -> int:
        counts = {**widths, "Conv_1": told.last}
        return sum(divisible(counts[name] * multiplier, 8) != width for name, width in found.items())

    multiplier, last = min(MULTIPLIERS, key=differing), found.get("Conv_1", 0)
    is_own = last and last != divisible(told.last * multiplier, 8)
    return {"depth_multiplier": multiplier, "last_layer_filters": last if is_own else 0}


def _head_options(shapes: Mapping[str, tuple[int, ...]], names: Names, backbone: str) -> dict[str, Any]:
    """The options of research/deeplab's newer heads that a file tells."""
    plain, separable = (names.sum_in(0, separable) for separable in (False, True))
    branch, projection = names.branch(0), shapes.get(f"{names.projection_in(0)}/weights")
    summed = f"{plain}/weights" in shapes or f"{separable}_depthwise/depthwise_weights" in shapes
    scores = summed and not any(n.startswith(f"{names.logits}/") for n in shapes)
    options: dict[str, Any] = {
        "aspp_concat_projection": f"{branch}/weights" not in shapes or f"{names.fusion}/weights" in shapes,
        "aspp_squeeze_and_excitation": (
            f"{names.image_pooling}/biases" in shapes and f"{branch}/BatchNorm/beta" in shapes
        ),
        "decoder_sum_merge": summed,
        "decoder_output_is_logits": scores,
    }
    if scores:
        options["decoder_batch_norm"] = True  # which has no meaning there
    elif summed:
        options["decoder_separable"] = f"{plain}/weights" not in shapes
    if summed and projection:
        filters, depth = projection[3], shapes.get(f"{branch}/weights", (0,))[-1]
        options |= {"num_classes": filters} if scores else {"decoder_filters": 0 if filters == depth else filters}
    if projection and backbone in MOBILENETS:
        strides = MOBILENETS[backbone].strides
        options["decoder_output_stride"] = (strides.get(projection[2], 4),)
    return options
