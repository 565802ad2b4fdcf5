"""DeepLab v2's recipes: the original's settings, and what is derived from them.

Source: zhengyang-wang/Deeplab-v2--ResNet-101--Tensorflow, main.py and main_msc.py, and its branch
smoothed_dilated_conv; arXiv 1606.00915. Times are for one data-centre GPU of 2018 unless stated.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from common.errors import UserError
from common.recipe.recipe import CAFFE_PREPROCESSING, SLIM_PREPROCESSING, Recipe


@dataclass(frozen=True, kw_only=True)
class V2Recipe(Recipe):
    """A DeepLab v2 run; the defaults are the original's main.py.

    From deeplab_resnet_init.ckpt (ResNet-101 trained on COCO) on train_aug: 75.1 to 75.4 mIoU on val
    in the original's issue threads; the paper has 76.35 with its Caffe solver. Time: 11 s a step on 2
    cores (4.5 s measured for 4 crops of 321), so the 20,000 steps want a GPU.

        python -m reproductions.v2 train --data VOC2012 --run-dir runs/v2 --init deeplab_resnet_init.ckpt
        python -m reproductions.v2 evaluate --data VOC2012 --split val --checkpoint runs/v2/model.ckpt-20000 --out out
    """

    WEIGHT_FIELDS: ClassVar[tuple[str, ...]] = (
        *Recipe.WEIGHT_FIELDS,
        "encoder",
        "dilated_type",
        "atrous_rates",
        "multi_grid",
        "batch_norm_epsilon",
    )

    EVALUATION_FIELDS: ClassVar[tuple[str, ...]] = (*Recipe.EVALUATION_FIELDS, "msc_scales")

    # deeplab: ResNet-101 under Caffe's names; res101, res50: under tf-slim's.
    encoder: Literal["deeplab", "res101", "res50"] = "deeplab"
    dilated_type: Literal["regular", "decompose", "smooth_GI", "smooth_SSC"] = "regular"
    atrous_rates: tuple[int, ...] = (6, 12, 18, 24)
    multi_grid: tuple[int, ...] = ()  # () or a factor for each of the last block's three rates
    msc_scales: tuple[float, ...] = (1.0,)  # multi-scale inputs, fused by the maximum; the first is 1
    batch_norm_epsilon: float = 0.001  # tf.contrib's default, as the original has it; Caffe's is 1e-5

    channel_order: Literal["rgb", "bgr"] = CAFFE_PREPROCESSING["channel_order"]
    pixel_mean: tuple[float, float, float] = CAFFE_PREPROCESSING["pixel_mean"]
    # The original never loads a classifier into a training run; smoothing starts as the identity.
    init_not_loaded: tuple[str, ...] = ("^fc1_voc12", "^decoder/", "^resnet_v1_[0-9]+/logits/", "/fix_w$")
    lr_multipliers: tuple[tuple[str, float], ...] = (
        ("(fc|decoder/).*(weights|gamma)", 10.0),
        ("(fc|decoder/).*(biases|beta)", 20.0),
    )

    def validate(self) -> None:
        super().validate()
        if self.msc_scales[:1] != (1.0,) or min(self.msc_scales) <= 0:
            raise UserError("msc_scales: must start with 1 and hold factors above 0")
        if not self.atrous_rates:
            raise UserError("atrous_rates: needs one rate or more")
        if len(self.multi_grid) not in (0, 3):
            raise UserError("multi_grid: needs a factor for each of 3 units, or none")

    def protocol(self) -> dict[str, Any]:
        inputs = {"msc_scales": list(self.msc_scales)} if len(self.msc_scales) > 1 else {}
        return {**inputs, **super().protocol()}


DEEPLAB = V2Recipe(variant="deeplab")

# main_msc.py: one picture a pass, ten passes an update. With 20,000 updates that is the paper's MSC.
MSC = {"msc_scales": (1.0, 0.75, 0.5), "batch_size": 1, "grad_update_every": 10}

CAFFE = {"batch_norm_epsilon": 1e-5, "align_corners": True, "eval_size": 513}

# From ImageNet weights (slim resnet_v1_{101,50}.ckpt): 70.7 to 71.7 mIoU in the original's threads.
# The original feeds BGR here too; `--set channel_order=bgr --set pixel_mean=104.00698793,116.66876762,122.67891434`.
SLIM = {key: SLIM_PREPROCESSING[key] for key in ("channel_order", "pixel_mean")}

# The branch smoothed_dilated_conv trains at 1e-3 and, without COCO, reaches 72.1 to 72.3 (base 71.7).
SMOOTHED_RATE = 1e-3
SMOOTHED = {
    "": {},
    "_multi_grid": {"multi_grid": (1, 2, 4)},
    "_smooth_GI": {"dilated_type": "smooth_GI"},
    "_smooth_SSC": {"dilated_type": "smooth_SSC"},
}

# The paper's table 4, each row adding to the one before: multi-scale inputs, COCO weights, random scaling, LargeFOV in
# the classifier's place (which the first rows don't tell: rate 1 here), and ASPP, which is deeplab_msc.
TABLE4 = {
    "base": {"encoder": "res101", **SLIM, "random_scale": False, "atrous_rates": (1,)},
    "msc": {"encoder": "res101", **SLIM, **MSC, "random_scale": False, "atrous_rates": (1,)},
    "coco": {**MSC, "random_scale": False, "atrous_rates": (1,)},
    "augmentation": {**MSC, "atrous_rates": (1,)},
    "largefov": {**MSC, "atrous_rates": (12,)},
}

# The paper's table 9, without multi-scale inputs: what is added to a ResNet-101 from ImageNet on full-size Cityscapes
# pictures. The first classifier and the updates are not told: rate 1, and as on VOC.
CITYSCAPES = {"dataset": "cityscapes", "num_classes": 19, "train_split": "train_fine"}
TABLE9 = {
    "base": {"random_scale": False, "atrous_rates": (1,)},
    "largefov": {"random_scale": False, "atrous_rates": (12,)},
    "aspp": {"random_scale": False},
    "augmentation": {},
    "crf": {"crf": True},
}

# No trained weights: He initialisation, residual branches that start small (as in arXiv 1706.02677),
# batch norm calibrated on training pictures. Says that training works; no published number is near it.
SCRATCH = {"initializer": "he_normal", "residual_gamma": 0.2, "calibration_batches": 6, "batch_size": 4}

# Tables 6 and 7 (PASCAL-Context, PASCAL-Person-Part), by what their rows add. Sections 4.2 and 4.3 tell no schedule:
# it is table 4's here. On persons' parts, LargeFOV and ASPP brought nothing.
TABLES_6_AND_7 = {
    "pascal_context": (
        {"dataset": "pascal_context", "num_classes": 60, "train_split": "train"},
        {
            "_base": TABLE4["base"],
            "_msc": TABLE4["msc"],
            "_coco": TABLE4["augmentation"],
            "_largefov": TABLE4["largefov"],
            "": MSC,
        },
    ),
    "pascal_person_part": (
        {"dataset": "pascal_person_part", "num_classes": 7, "train_split": "train"},
        {"_base": TABLE4["base"], "_msc": TABLE4["msc"], "": TABLE4["augmentation"]},
    ),
}

# kazuto1011/deeplab-pytorch, configs/cocostuff10k.yaml and cocostuff164k.yaml, from COCO weights. There the rate falls
# at every tenth step.
COCOSTUFF = {
    "num_classes": 182,
    "train_split": "train",
    "pixel_mean": (104.008, 116.669, 122.675),
    "batch_norm_epsilon": 1e-5,
    "align_corners": True,
    "msc_scales": MSC["msc_scales"],
    "batch_size": 5,
    "grad_update_every": 2,
    "scale_step": 0.25,
}

VARIANTS = {
    recipe.variant: recipe
    for recipe in (
        DEEPLAB,
        DEEPLAB.derive(variant="deeplab_msc", **MSC),
        # The paper's network as Caffe computes it; converted weights choose this one.
        DEEPLAB.derive(variant="caffe", **CAFFE),
        DEEPLAB.derive(variant="caffe_msc", **CAFFE, **MSC),
        DEEPLAB.derive(variant="res101", encoder="res101", **SLIM),
        DEEPLAB.derive(variant="res101_msc", encoder="res101", **SLIM, **MSC),
        DEEPLAB.derive(variant="res50", encoder="res50", **SLIM),
        DEEPLAB.derive(variant="res50_msc", encoder="res50", **SLIM, **MSC),
        DEEPLAB.derive(variant="decompose", dilated_type="decompose", learning_rate=SMOOTHED_RATE),
        # arXiv 1808.08931: from COCO, and from ImageNet alone; with ASPP (tables 1 and 2), and LargeFOV (3 and 4).
        *(
            DEEPLAB.derive(
                variant=(prefix + name).strip("_") or "deeplab_kdd18", learning_rate=SMOOTHED_RATE, **start | how
            )
            for prefix, start in (
                ("", {}),
                ("res101_kdd18", {"encoder": "res101", **SLIM}),
                ("largefov_kdd18", {"atrous_rates": (12,)}),
                ("res101_largefov_kdd18", {"encoder": "res101", **SLIM, "atrous_rates": (12,)}),
            )
            for name, how in SMOOTHED.items()
        ),
        *(DEEPLAB.derive(variant=f"table4_{name}", **how) for name, how in TABLE4.items()),
        DEEPLAB.derive(variant="cityscapes", **CITYSCAPES),
        *(
            DEEPLAB.derive(variant=f"table9_{name}", encoder="res101", **SLIM, **CITYSCAPES, **how)
            for name, how in TABLE9.items()
        ),
        *(
            DEEPLAB.derive(variant=name + addition, **data | how)
            for name, (data, rows) in TABLES_6_AND_7.items()
            for addition, how in rows.items()
        ),
        # Pictures and masks are warped to 513x513 first.
        DEEPLAB.derive(
            variant="cocostuff10k",
            dataset="cocostuff10k",
            **COCOSTUFF,
            resize_range=(513, 513),
            resize_rule="square",
            eval_size=513,
        ),
        DEEPLAB.derive(variant="cocostuff164k", dataset="cocostuff164k", **COCOSTUFF, num_steps=100_000),
        # A new classifier with 73,728 inputs per class is unstable at ten times the rate: one rate for all layers.
        DEEPLAB.derive(variant="scratch", **SCRATCH, lr_multipliers=()),
        # The drawn sample set: 0.89 mIoU after 4 minutes on 2 cores (make reproduce-v2).
        DEEPLAB.derive(
            variant="sample",
            **SCRATCH,
            learning_rate=1e-3,
            num_steps=150,
            crop_size=(145, 145),
            min_scale=0.75,
            save_interval=50,
        ),
    )
}


def fields_from_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The recipe fields that follow from the names in a weight file: encoder, preprocessing, smoothing, classes."""
    encoder = next((e for e, name in ENCODER_MARKS.items() if any(n.startswith(name) for n in shapes)), None)
    if encoder is None:
        return {}
    # A checkpoint of the original program, whatever its encoder, was trained on BGR; slim's own on RGB.
    whole = any(n.startswith(("decoder/", "fc1_voc12")) for n in shapes)
    slim_weights = encoder != "deeplab" and not whole
    settled = {"encoder": encoder, **(SLIM if slim_weights else DEEPLAB_PREPROCESSING)}
    if whole:
        biases = next((s for n, s in shapes.items() if re.search("(fc1_voc12_c0|aspp/conv1)/biases$", n)), None)
        settled |= {"num_classes": biases[0]} if biases else {}
    smoothing = {len(s) for n, s in shapes.items() if n.endswith("/fix_w")}
    if smoothing:
        settled["dilated_type"] = "smooth_GI" if smoothing == {2} else "smooth_SSC"
    return settled


ENCODER_MARKS = {"res101": "resnet_v1_101/", "res50": "resnet_v1_50/", "deeplab": "res2a_branch1/"}
DEEPLAB_PREPROCESSING = {"channel_order": DEEPLAB.channel_order, "pixel_mean": DEEPLAB.pixel_mean}
