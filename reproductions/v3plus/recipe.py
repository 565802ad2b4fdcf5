"""DeepLab v3+'s recipes: the seed's settings, the paper's tables, and the models of the official zoo.

Source: asahi417/SemanticSegmentation (the seed), bin/train.py and its parameter files; tensorflow/models
research/deeplab and its model zoo; arXiv 1802.02611.
"""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from common.console import say
from common.errors import UserError
from common.recipe.cell import Branch, given_cell, read_cell
from common.recipe.encoder import EncoderRecipe

Backbone = Literal[
    "xception_41",
    "xception_65",
    "xception_65_coco",
    "xception_71",
    "resnet_v1_50",
    "resnet_v1_101",
    "resnet_v1_50_beta",
    "resnet_v1_101_beta",
    "mobilenet_v2",
]

# The seed's name of a backbone that is another's network with weights of its own: (backbone, archive of the weights).
STARTED = {"xception_65_coco": ("xception_65", "xception_65_coco_pretrained")}

# Preprocessing by backbone: [-1, 1], but for the ResNets with the original root.
UNIT_RANGE = {"channel_order": "rgb", "pixel_mean": (127.5, 127.5, 127.5), "pixel_scale": 2 / 255}
IMAGENET_MEAN = {"channel_order": "rgb", "pixel_mean": (123.15, 115.90, 103.06), "pixel_scale": 1.0}


def preprocessing(backbone: str) -> dict[str, Any]:
    return IMAGENET_MEAN if backbone in ("resnet_v1_50", "resnet_v1_101") else UNIT_RANGE


@dataclass(frozen=True)
class Names:
    """Scopes of the head's layers in one family of checkpoints."""

    image_pooling: str
    aspp: str
    projection: str
    decoder: tuple[str, str]
    plain_decoder: tuple[str, str]  # when its convolutions are not separable
    logits: str


NAMES = {
    "zoo": Names(
        image_pooling="image_pooling",
        aspp="aspp{}",
        projection="decoder/feature_projection0",
        decoder=("decoder/decoder_conv0", "decoder/decoder_conv1"),
        plain_decoder=("decoder/decoder_conv0/decoder_conv0_1", "decoder/decoder_conv0/decoder_conv0_2"),
        logits="logits/semantic",
    ),
    "seed": Names(
        image_pooling="global_average_pooling/Conv",
        aspp="aspp_{}",
        projection="decoder/layer_0/feature_projection",
        decoder=("decoder/layer_0/decoder_conv_0", "decoder/layer_0/decoder_conv_1"),
        plain_decoder=("decoder/layer_0/decoder_conv_0", "decoder/layer_0/decoder_conv_1"),
        logits="logits/conv",
    ),
}
HEAD = "^(image_pooling|global_average_pooling|aspp|concat_projection|decoder|logits|meta_architecture)"


@dataclass(frozen=True, kw_only=True)
class V3PlusRecipe(EncoderRecipe):
    """A DeepLab v3+ run; the defaults are the seed's for PASCAL VOC, with the defects mended.

    From xception_65_coco_pretrained: 0.81 mIoU in the seed's README (model D; on random crops of 321).

        python -m reproductions.v3plus train --data VOC2012 --run-dir runs/d --init x65-...-sc-cr300k_init.ckpt
        python -m reproductions.v3plus evaluate --data VOC2012 --checkpoint runs/d/model.ckpt-30000 --out out
    """

    WEIGHT_FIELDS: ClassVar[tuple[str, ...]] = (
        *EncoderRecipe.WEIGHT_FIELDS,
        "names",
        "backbone",
        "depth_multiplier",
        "aspp_depth",
        "aspp_separable",
        "aspp_batch_norm",
        "decoder",
        "decoder_separable",
        "decoder_batch_norm",
        "dense_prediction_cell",
    )

    # The last layers of slim's MobileNetV2 for ImageNet; DeepLab's head begins before them.
    NOT_OF_NETWORK: ClassVar[tuple[str, ...]] = ("^MobilenetV2/(Conv_1|Logits)/",)

    names: Literal["seed", "zoo"] = "seed"  # of the head's variables
    backbone: Backbone = "xception_65"
    depth_multiplier: float = 1.0  # of MobileNetV2's channels
    multi_grid: tuple[int, ...] = ()  # () or a factor for each of the last block's three rates
    aspp_depth: int = 128
    aspp_separable: bool = True
    aspp_batch_norm: bool = True
    decoder: bool = True
    decoder_separable: bool = True
    decoder_batch_norm: bool = True
    # A cell in ASPP's place (arXiv 1809.04184): the path of its JSON, or the JSON itself, which the recipe keeps.
    dense_prediction_cell: str = ""

    channel_order: Literal["rgb", "bgr"] = UNIT_RANGE["channel_order"]
    pixel_mean: tuple[float, float, float] = UNIT_RANGE["pixel_mean"]
    pixel_scale: float = UNIT_RANGE["pixel_scale"]
    align_corners: bool = True
    batch_norm_decay: float | None = None

    initializer: Literal["glorot_uniform", "he_normal", "truncated_normal"] = "truncated_normal"
    init_not_loaded: tuple[str, ...] = (HEAD, "^xception_[0-9]+/logits/", "^resnet_v1_[0-9]+/logits/")
    max_scale: float = 2.0
    scale_step: float = 0.25
    crop_size: tuple[int, int] = (513, 513)
    train_split: str = "train"
    learning_rate: float = 0.001
    weight_decay: float = 4e-5
    weight_decay_on: str = "/weights$"  # not the depthwise ones
    num_steps: int = 30000
    batch_size: int = 8
    eval_size: Literal["native"] | int = 513

    def __post_init__(self):
        if self.backbone in STARTED:
            object.__setattr__(self, "backbone", _started(self.backbone))
        object.__setattr__(self, "dense_prediction_cell", given_cell(self.dense_prediction_cell))
        super().__post_init__()

    def validate(self) -> None:
        super().validate()
        if len(self.multi_grid) not in (0, 3):
            raise UserError("multi_grid: needs a factor for each of 3 convolutions, or none")
        if self.cell and self.output_stride == 32:
            raise UserError("output_stride=32: a dense prediction cell has rates for 16 and 8 only")

    @property
    def cell(self) -> tuple[Branch, ...]:
        return read_cell(self.dense_prediction_cell) if self.dense_prediction_cell else ()

    @property
    def scores_stride(self) -> int:
        return 4 if self.decoder else self.output_stride


@functools.cache  # said once a process
def _started(name: str) -> str:
    """The backbone that the seed calls `name`; prints which weights it starts from there."""
    backbone, archive = STARTED[name]
    say(
        f"backbone={name}: is {backbone} started from the zoo's {archive}; give these weights by --init "
        f"(make weights NAME={archive})"
    )
    return backbone


PASCAL = V3PlusRecipe(variant="pascal")

# The seed's four models: decoder or not, Xception-41 or -65 (the latter from COCO).
MODELS = {
    "model_a": {"backbone": "xception_41", "decoder": False},
    "model_b": {"backbone": "xception_41"},
    "model_c": {"decoder": False},
    "model_d": {},
}

# The seed's unintended behaviour; see this package's README.
SEED = {
    "void_pixels": "constant",
    "scale_atrous_rates": False,
    "weight_decay_on": r"^(?!xception).*/weights$",
    "weight_decay_fixed": ((r"(aspp|decoder_conv)_\d_pointwise/weights$", 4e-5),),
    "padding_pixel": (123.15, 115.90, 103.06),
}

ADE20K = {
    "dataset": "ade20k",
    "train_split": "train",
    "num_classes": 151,
    "resize_range": (513, 513),
    "resize_factor": 16,
}
CITYSCAPES = {"dataset": "cityscapes", "num_classes": 19, "train_split": "train_fine", "crop_size": (769, 769)}

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
_STRATEGIES = {"": {}, "_ms": {"eval_scales": SCALES}, "_ms_flip": {"eval_scales": SCALES, "eval_flip": True}}
# How a checkpoint is evaluated: os16, os16_ms, ..., os8_ms_flip.
STRATEGIES = {
    f"os{stride}{name}": {"eval_output_stride": stride, **how}
    for stride in (16, 8)
    for name, how in _STRATEGIES.items()
}

# The official names and width, and the paper's training (section 4): .007 poly, 30,000 updates of 16 on train_aug.
ZOO = {"names": "zoo", "aspp_depth": 256}
PAPER = {**ZOO, "train_split": "train_aug", "learning_rate": 0.007, "batch_size": 16}
PLAIN = {"aspp_separable": False, "decoder_separable": False}  # before the paper takes separable convolutions
RESNET = {"backbone": "resnet_v1_101_beta", "multi_grid": (1, 2, 4), "weight_decay": 1e-4, **PLAIN}
XCEPTION = {"no_decoder": {**PLAIN, "decoder": False}, "decoder": PLAIN, "separable": {}}
MOBILENET = {"backbone": "mobilenet_v2", "atrous_rates": (), "decoder": False}

# The zoo's cell, found on Cityscapes: (input, rate) of five separable 3x3 convolutions.
DPC = json.dumps(
    [
        {"op": "conv", "kernel": 3, "input": source, "rate": rate}
        for source, rate in ((-1, [1, 6]), (0, [18, 15]), (1, [6, 3]), (0, [1, 1]), (0, [6, 21]))
    ]
)

# The zoo's checkpoints by their archives' names: network and evaluation as its page gives them (single scale).
_CITY_EVAL = {**CITYSCAPES, "eval_size": "native"}
ZOO_MODELS = {
    "mnv2_dm05_pascal_trainaug": {**MOBILENET, "depth_multiplier": 0.5},
    "mnv2_dm05_pascal_trainval": {**MOBILENET, "depth_multiplier": 0.5, "eval_output_stride": 8},
    "mnv2_pascal_train_aug": MOBILENET,
    "mnv2_pascal_trainval": {**MOBILENET, "eval_output_stride": 8},
    "xception65_pascal_train_aug": {},
    "xception65_pascal_trainval": {"eval_output_stride": 8},
    "mnv2_cityscapes_train": {**MOBILENET, **_CITY_EVAL},
    "xception65_cityscapes_train": _CITY_EVAL,
    "xception71_dpc_cityscapes_trainfine": {"backbone": "xception_71", "dense_prediction_cell": DPC, **_CITY_EVAL},
    "xception71_dpc_cityscapes_trainvalfine": {
        "backbone": "xception_71",
        "dense_prediction_cell": DPC,
        "eval_output_stride": 8,
        **_CITY_EVAL,
    },
    "xception65_ade20k_train": {**ADE20K, "eval_output_stride": 8},
    "mnv2_ade20k_train": {
        **ADE20K,
        "resize_range": (257, 257),
        "crop_size": (257, 257),
        "eval_size": 257,
        "backbone": "mobilenet_v2",
        "atrous_rates": (),
    },
}

# No trained weights: live batch norm with statistics that follow within a short run.
SCRATCH = {
    "initializer": "he_normal",
    "batch_norm_decay": 0.9,
    "batch_size": 4,
    "learning_rate": 0.02,
    "scale_step": 0.0,
    "train_split": "train_aug",
}
# Crops that hold most of a picture: image pooling then sees in training what it sees in evaluation.
SAMPLE = {
    **SCRATCH,
    "crop_size": (193, 193),
    "min_scale": 0.75,
    "max_scale": 1.25,
    "save_interval": 45,
    "eval_size": "native",
}

VARIANTS = {
    recipe.variant: recipe
    for recipe in (
        PASCAL,
        PASCAL.derive(variant="ade20k", **ADE20K, aspp_depth=256),
        PASCAL.derive(variant="seed", **SEED),
        *(PASCAL.derive(variant=name, **model) for name, model in MODELS.items()),
        # The paper: table 3 (ResNet-101) and table 5 (Xception-65: plain, decoder, separable convolutions).
        *(PASCAL.derive(variant=f"table3_{name}", **PAPER | RESNET | how) for name, how in STRATEGIES.items()),
        *(
            PASCAL.derive(
                variant=f"table3_train32_os{stride}", **PAPER | RESNET, output_stride=32, eval_output_stride=stride
            )
            for stride in (32, 16, 8)
        ),
        PASCAL.derive(
            variant="table3_train32_no_decoder",
            **PAPER | RESNET,
            decoder=False,
            output_stride=32,
            eval_output_stride=32,
        ),
        *(
            PASCAL.derive(variant=f"table5_{kind}_{name}", **PAPER | model | how)
            for kind, model in XCEPTION.items()
            for name, how in STRATEGIES.items()
        ),
        *(PASCAL.derive(variant=name, **PAPER | model) for name, model in ZOO_MODELS.items()),
        PASCAL.derive(variant="scratch", **SCRATCH),
        *(
            # Without the decoder, scores are learnt at a sixteenth of the size, which takes longer.
            PASCAL.derive(
                variant=f"sample_{name}", **SAMPLE, **model, num_steps=90 if model.get("decoder", True) else 150
            )
            for name, model in MODELS.items()
        ),
    )
}


def fields_from_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The recipe fields that follow from names and shapes in a file: backbone, head, decoder, preprocessing,
    classes."""
    shapes = {n: s for n, s in shapes.items() if len(s) == 4 or not n.endswith("weights")}  # others fit no network
    settled = _backbone(shapes)
    if not settled:
        return {}
    settled |= preprocessing(settled["backbone"])
    family = next((f for f, marks in _MARKS.items() if any(n.startswith(marks) for n in shapes)), None)
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


# How the head's names begin in each family, whichever of them are there.
_MARKS = {
    "zoo": (
        "logits/semantic",
        "image_pooling/",
        "aspp0/",
        "decoder/feature_",
        "decoder/decoder_",
        "meta_architecture/",
    ),
    "seed": ("logits/conv", "global_average_pooling/", "aspp_0/", "decoder/layer_0/"),
}


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
