"""DeepLab v3's recipes: the original's settings, every row of the paper's tables on val, and rishizek's network.

Source: NanqingD/DeepLabV3-Tensorflow, config.py and train_voc12.py; arXiv 1706.05587; rishizek/tensorflow-deeplab-v3.
Times of the originals are for one GPU (the repository: two days on a GTX 1080 Ti).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from common.errors import UserError
from common.nets.backbones.units import UNITS
from common.recipe.encoder import EncoderRecipe
from common.recipe.recipe import CAFFE_PREPROCESSING, SLIM_PREPROCESSING, format_value

CascadeStride = Literal[8, 16, 32, 64, 128, 256]


@dataclass(frozen=True, kw_only=True)
class V3Recipe(EncoderRecipe):
    """A DeepLab v3 run; the defaults are the original's config.py.

    70.63 mIoU on val in the original's README, "from scratch" and with rates set by hand (`plateau`, and a later
    .0001); its code starts from slim's resnet_v1_101.ckpt and decays by poly. Its `train` list is train_aug.

        python -m reproductions.v3 train --data VOC2012 --run-dir runs/v3 --init resnet_v1_101.ckpt
        python -m reproductions.v3 evaluate --data VOC2012 --split val --checkpoint runs/v3/model.ckpt-600000 --out out
    """

    WEIGHT_FIELDS: ClassVar[tuple[str, ...]] = (
        *EncoderRecipe.WEIGHT_FIELDS,
        "depth",
        "short_block2",
        "aspp",
        "last_block",
        "backbone",
    )

    LATER_FIELDS: ClassVar[tuple[str, ...]] = (*EncoderRecipe.LATER_FIELDS, "backbone")

    # The classifier of slim's ResNet v2, which no network here has.
    NOT_OF_NETWORK: ClassVar[tuple[str, ...]] = ("^resnet_v2_[0-9]+/logits/",)

    # ResNet v2 (preactivation) is rishizek's, and the head then has its names.
    backbone: Literal["resnet_v1", "resnet_v2"] = "resnet_v1"
    depth: Literal[50, 101, 152] = 101
    short_block2: bool = False  # the original's block 2 has 4 units at every depth; ResNet-152's has 8
    aspp: bool = True
    last_block: Literal[4, 5, 6, 7] = 4  # 5 to 7: the cascade of the paper's figure 3

    # Above 32 in cascades only, which halve the features in each block but the last (figure 3a).
    output_stride: CascadeStride = 16
    eval_output_stride: CascadeStride = 16

    channel_order: Literal["rgb", "bgr"] = SLIM_PREPROCESSING["channel_order"]
    pixel_mean: tuple[float, float, float] = SLIM_PREPROCESSING["pixel_mean"]
    # The layers that ImageNet weights don't have; a checkpoint of this network fills all of them (`phase2`).
    init_not_loaded: tuple[str, ...] = ("/(aspp|img_pool|fusion|block[567]|logits)/",)
    initializer: Literal["glorot_uniform", "he_normal"] = "he_normal"

    max_scale: float = 2.0
    crop_size: tuple[int, int] = (513, 513)
    train_split: str = "train_aug"
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    num_steps: int = 600000
    batch_size: int = 4
    save_interval: int = 1000
    validation_interval: int = 1000

    def validate(self) -> None:
        super().validate()
        if len(set(self.atrous_rates)) < len(self.atrous_rates):
            raise UserError(
                f"atrous_rates={format_value(self.atrous_rates)}: rates must differ, they name their branches"
            )
        if len(self.multi_grid) != 3:
            raise UserError(f"multi_grid={','.join(map(str, self.multi_grid))}: needs a factor for each of 3 units")
        greatest = 2 ** (self.last_block + 1)
        for name in ("output_stride", "eval_output_stride"):
            if getattr(self, name) > greatest:
                raise UserError(f"{name}={getattr(self, name)}: blocks 1 to {self.last_block} end at {greatest}")

    def units(self) -> tuple[int, ...]:
        """Units of the blocks 1 to 4."""
        units = UNITS[self.depth]
        return (units[0], 4, *units[2:]) if self.short_block2 else units


ASPP = V3Recipe(variant="aspp")
CASCADE = {"aspp": False, "image_pooling": False, "last_block": 7, "multi_grid": (1, 2, 1)}

# Its code feeds slim's RGB weights BGR pixels minus Caffe's mean (its issue 13) and pads with black.
ORIGINAL = {
    "channel_order": CAFFE_PREPROCESSING["channel_order"],
    "pixel_mean": CAFFE_PREPROCESSING["pixel_mean"],
    "padding_pixel": (0.0, 0.0, 0.0),
}

# The paper, section 4.1: batch 16, 30,000 updates, poly from .007, on train_aug.
PAPER = ASPP.derive(variant="paper", learning_rate=0.007, num_steps=30000, batch_size=16)
# Its second phase starts from the first one's checkpoint: batch norm frozen, output stride 8, .001. The paper takes
# the official trainval there, for the test server; `train` leaves val to be measured on.
PHASE2 = {
    "train_split": "train",
    "learning_rate": 0.001,
    "output_stride": 8,
    "eval_output_stride": 8,
    "freeze_bn": True,
    "init_not_loaded": (),
}
# The paper's end of section 4, for the test server: pictures with a hard class stand twice in the list.
BOOTSTRAPPING = {"repeated_classes": ("bicycle", "chair", "diningtable", "pottedplant", "sofa")}
COCO = {"dataset": "coco", "train_split": "train2017", "validation_interval": 0}

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
STRATEGIES = {
    "os16": {},
    "os8": {"eval_output_stride": 8},
    "os8_ms": {"eval_output_stride": 8, "eval_scales": SCALES},
    "os8_ms_flip": {"eval_output_stride": 8, "eval_scales": SCALES, "eval_flip": True},
}
MULTI_GRIDS = ((1, 1, 1), (1, 2, 1), (1, 2, 3), (1, 2, 4), (2, 2, 2))


def _name(multi_grid: tuple[int, ...]) -> str:
    return "mg" + "".join(map(str, multi_grid))


PLAIN_CASCADE = {**CASCADE, "multi_grid": (1, 1, 1), "depth": 50}

# Cityscapes (section C): 90,000 updates on crops of 769, whole pictures, and three scales.
CITYSCAPES = {
    "dataset": "cityscapes",
    "num_classes": 19,
    "train_split": "train_fine",
    "num_steps": 90000,
    "crop_size": (769, 769),
}
CITY_STRATEGIES = {
    name: {**how, "eval_scales": (0.75, 1.0, 1.25)} if "eval_scales" in how else how for name, how in STRATEGIES.items()
}

# rishizek: ResNet v2 at its plain rates, and weight decay of everything that is trained. Its README counts 46 epochs,
# and its learning rate ends at 1e-6; ours ends at 0.
RISHIZEK = {
    "backbone": "resnet_v2",
    "multi_grid": (1, 1, 1),
    "weight_decay_on": ".",
    "padding_pixel": (0.0, 0.0, 0.0),
    "init_not_loaded": ("^(aspp|upsampling_logits)/|/block[567]/",),
}

TABLES = (
    # Table 1: a cascade at every output stride, in training and evaluation; table 2: its last block.
    *(
        PAPER.derive(variant=f"table1_os{stride}", **PLAIN_CASCADE, output_stride=stride, eval_output_stride=stride)
        for stride in (8, 16, 32, 64, 128, 256)
    ),
    *(PAPER.derive(variant=f"table2_block{last}", **PLAIN_CASCADE | {"last_block": last}) for last in (4, 5, 6, 7)),
    # Table 3: multi-grid in cascades of up to four extra-long blocks.
    *(
        PAPER.derive(
            variant=f"table3_{_name(mg)}_block{last}", aspp=False, image_pooling=False, last_block=last, multi_grid=mg
        )
        for mg in MULTI_GRIDS
        for last in (4, 5, 6, 7)
    ),
    # Table 4: how the best cascade is evaluated.
    *(PAPER.derive(variant=f"table4_{name}", **CASCADE, **how) for name, how in STRATEGIES.items()),
    # Table 5: multi-grid and rates of ASPP; image pooling.
    *(
        PAPER.derive(variant=f"table5_{_name(mg)}", multi_grid=mg, image_pooling=False)
        for mg in ((1, 1, 1), (1, 2, 1), (1, 2, 4))
    ),
    PAPER.derive(variant="table5_mg124_rate24", atrous_rates=(6, 12, 18, 24), image_pooling=False),
    PAPER.derive(variant="table5_mg124_pooling"),
    # Table 6: how that one is evaluated; the last row starts from a checkpoint of `coco`.
    *(PAPER.derive(variant=f"table6_{name}", **how) for name, how in STRATEGIES.items()),
    PAPER.derive(variant="table6_coco", init_not_loaded=(), learning_rate=1e-4, **STRATEGIES["os8_ms_flip"]),
    # Table 8: the effect of each choice in training.
    PAPER.derive(variant="table8_frozen_bn", freeze_bn=True),
    PAPER.derive(variant="table8_small_labels", loss_size="logits"),
    PAPER.derive(variant="table8_crop321", crop_size=(321, 321)),
    # Table 9: batch size; table 10: output stride of training and of evaluation.
    *(PAPER.derive(variant=f"table9_batch{size}", batch_size=size) for size in (4, 8, 12, 16)),
    *(
        PAPER.derive(variant=f"table10_os{train}_os{test}", output_stride=train, eval_output_stride=test)
        for train in (8, 16, 32)
        for test in (8, 16)
    ),
    # Table 12: Cityscapes.
    *(PAPER.derive(variant=f"table12_{name}", **CITYSCAPES, **how) for name, how in CITY_STRATEGIES.items()),
)

# No trained weights: live batch norm with statistics that follow within a short run.
SCRATCH = {"depth": 50, "batch_norm_decay": 0.95, "batch_size": 8, "validation_interval": 0}

VARIANTS = {
    recipe.variant: recipe
    for recipe in (
        ASPP,
        ASPP.derive(variant="cascade", **CASCADE),
        ASPP.derive(variant="original", **ORIGINAL),
        # Its README's schedule: .01, .005, .001, each until the loss stops falling.
        ASPP.derive(variant="plateau", schedule="plateau"),
        PAPER,
        PAPER.derive(variant="phase2", **PHASE2),
        PAPER.derive(variant="coco", **COCO),
        PAPER.derive(variant="bootstrapping", **PHASE2 | BOOTSTRAPPING),
        *TABLES,
        PAPER.derive(variant="rishizek", **RISHIZEK),
        ASPP.derive(variant="scratch", **SCRATCH),
        # The drawn sample set.
        ASPP.derive(
            variant="sample",
            **SCRATCH,
            learning_rate=0.02,
            num_steps=150,
            crop_size=(145, 145),
            min_scale=0.75,
            max_scale=1.5,
            save_interval=50,
        ),
        # ResNet-50 from ImageNet on 600 pictures within an hour of two cores.
        ASPP.derive(
            variant="voc_subset",
            depth=50,
            batch_norm_decay=0.99,
            learning_rate=0.007,
            num_steps=1000,
            batch_size=8,
            crop_size=(257, 257),
            min_scale=0.5,
            max_scale=1.5,
            save_interval=50,
            validation_interval=0,
        ),
    )
}


def fields_from_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The recipe fields that follow from the names in a weight file: depth, head, preprocessing, classes."""
    found = next((m for n in shapes if (m := re.match(r"(resnet_v[12])_(50|101|152)/", n))), None)
    if found is None:
        return {}
    depth = int(found[2])
    if found[1] == "resnet_v2":
        return _rishizek(shapes, depth)
    prefix = f"resnet_v1_{depth}"
    settled: dict[str, Any] = {"depth": depth}
    units = {int(m[1]) for n in shapes if (m := re.match(rf"{prefix}/block2/unit_(\d+)/", n))}
    settled["short_block2"] = bool(units) and max(units) < UNITS[depth][1]
    classifier = shapes.get(f"{prefix}/logits/Conv/biases")
    if classifier is None:  # slim's ImageNet weights: RGB, and the head is the recipe's
        return settled
    # The original fed its network BGR pixels minus Caffe's mean.
    settled |= {key: ORIGINAL[key] for key in ("channel_order", "pixel_mean")} | {"num_classes": classifier[0]}
    rates = sorted({int(m[1]) for n in shapes if (m := re.match(rf"{prefix}/aspp/rate(\d+)/", n))})
    settled["aspp"] = any(n.startswith(f"{prefix}/aspp/") for n in shapes)
    settled["image_pooling"] = any(n.startswith(f"{prefix}/img_pool/") for n in shapes)
    settled["last_block"] = max(int(m[1]) for n in shapes if (m := re.match(rf"{prefix}/block(\d)/", n)))
    if settled["aspp"]:
        return settled | {"atrous_rates": tuple(rates)}
    return settled | {"multi_grid": CASCADE["multi_grid"]}  # not in the names: what the original builds


def _rishizek(shapes: Mapping[str, tuple[int, ...]], depth: int) -> dict[str, Any]:
    """The fields of weights of ResNet v2: slim's own for ImageNet, or rishizek's of a whole network."""
    settled = {"backbone": "resnet_v2", "depth": depth, **SLIM_PREPROCESSING}
    classifier = shapes.get("upsampling_logits/conv_1x1/biases")
    if classifier is None:
        return settled | {"init_not_loaded": RISHIZEK["init_not_loaded"]}
    return settled | {"num_classes": classifier[0], "multi_grid": RISHIZEK["multi_grid"]}
