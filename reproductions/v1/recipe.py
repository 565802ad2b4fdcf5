"""VGG-16's recipes: those of DrSleep's TensorFlow program, and those of the papers' Caffe solvers.

Source: DrSleep/tensorflow-deeplab-lfov, train.py and deeplab_lfov/; arXiv 1412.7062 and 1606.00915.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from common.errors import UserError
from common.recipe.recipe import CAFFE_PREPROCESSING, Recipe


@dataclass(frozen=True, kw_only=True)
class V1Recipe(Recipe):
    """A run of a VGG-16 network; the defaults are LargeFOV's in the original's train.py: 57 mIoU on val by its README.

    python -m reproductions.v1 train --data VOC2012 --run-dir runs/v1 --init model.ckpt-init
    python -m reproductions.v1 evaluate --data VOC2012 --split val --checkpoint runs/v1/model.ckpt-20000 --out out
    """

    FC6_FIELDS: ClassVar[tuple[str, ...]] = ("fc6_kernel", "fc6_channels", "atrous_rates", "pool5a")
    MSC_FIELDS: ClassVar[tuple[str, ...]] = ("multi_scale_features", "fusion_stride", "eval_fusion_stride")

    WEIGHT_FIELDS: ClassVar[tuple[str, ...]] = (*Recipe.WEIGHT_FIELDS, "atrous_rate", "pooling", *FC6_FIELDS)
    TRAINED_FIELDS: ClassVar[tuple[str, ...]] = ("atrous_rate", "atrous_rates", "pool5a")
    EVALUATION_FIELDS: ClassVar[tuple[str, ...]] = (*Recipe.EVALUATION_FIELDS, "eval_fusion_stride")
    LATER_FIELDS: ClassVar[tuple[str, ...]] = (*Recipe.LATER_FIELDS, *FC6_FIELDS, *MSC_FIELDS)

    atrous_rate: int = 12  # of fc6
    atrous_rates: tuple[int, ...] = ()  # ASPP: one for each branch of fc6, fc7 and fc8; () is one branch of atrous_rate
    fc6_kernel: int = 3
    fc6_channels: int = 1024  # of fc6 and fc7
    pool5a: bool = True  # the average pool before fc6, which LargeFOV alone has
    multi_scale_features: bool = False  # add scores of the picture's and the first four max pools' features
    fusion_stride: Literal[8, 4, 2, 1] = 8  # where they are added: in training, and in evaluation
    eval_fusion_stride: Literal[8, 4, 2, 1] = 1
    keep_prob: float = 0.5  # dropout after fc6 and fc7, in training
    pooling: Literal["tensorflow", "caffe"] = "tensorflow"  # the rules at the borders

    channel_order: Literal["rgb", "bgr"] = CAFFE_PREPROCESSING["channel_order"]
    pixel_mean: tuple[float, float, float] = CAFFE_PREPROCESSING["pixel_mean"]

    optimizer: Literal["momentum", "adam", "sgd"] = "adam"
    learning_rate: float = 1e-4
    schedule: Literal["poly", "step", "constant"] = "constant"
    weight_decay: float = 0.0
    weight_decay_on: str = "/w$"
    batch_size: int = 16
    save_interval: int = 500

    min_scale: float = 0.75
    max_scale: float = 1.25
    random_mirror: bool = False
    crop_position: Literal["random", "centre"] = "centre"
    crop_padding: Literal["ignored", "background"] = "background"
    padding_pixel: Literal["mean"] | tuple[float, float, float] = (0.0, 0.0, 0.0)
    void_pixels: Literal["masked", "averaged"] = "averaged"

    def validate(self) -> None:
        super().validate()
        if not 0 < self.keep_prob <= 1:
            raise UserError(f"keep_prob={self.keep_prob}: must be above 0 and at most 1")
        # The authors pad fc6 equally on all sides. TensorFlow's SAME does too, where the padding is even.
        if odd := [rate for rate in self.branches.values() if (self.fc6_kernel - 1) * rate % 2]:
            raise UserError(f"fc6_kernel={self.fc6_kernel}: needs even rates, so that fc6 keeps its size; not {odd[0]}")

    @property
    def branches(self) -> dict[str, int]:
        """The atrous rate of each branch, by the ending of its layers' names."""
        return {f"_{i}": rate for i, rate in enumerate(self.atrous_rates, 1)} or {"": self.atrous_rate}

    def at_evaluation(self) -> Self:
        return self.derive(fusion_stride=self.eval_fusion_stride) if self.multi_scale_features else self


ORIGINAL = V1Recipe(variant="original")

# The Caffe solver of the paper, with what the original's README lists as missing: weight decay, multipliers, the
# ignore label masked, mirroring, random crops, Caffe's pooling. From vgg16_20M: 62.25 on val (table 1).
PAPER = ORIGINAL.derive(
    variant="paper",
    pooling="caffe",
    align_corners=True,
    eval_size=513,
    optimizer="momentum",
    learning_rate=1e-3,
    schedule="step",
    num_steps=6000,
    step_size=2000,
    batch_size=30,
    weight_decay=5e-4,
    lr_multipliers=(("^fc8.*/w$", 10.0), ("^fc8.*/b$", 20.0), ("/b$", 2.0)),
    random_scale=False,  # the paper's augmentation begins with 1606.00915's table 4
    random_mirror=True,
    crop_position="random",
    crop_padding="ignored",
    padding_pixel="mean",
    void_pixels="masked",
    init_not_loaded=("^fc8_voc12/",),
    # The values of run_densecrf.sh of the released LargeFOV, as its ports have them; 1412.7062, section 5.1, searched
    # 50 to 100 and 3 to 10.
    crf_bilateral_sxy=49.0,
    crf_bilateral_srgb=5.0,
)

# The papers' other networks on VGG-16. Only LargeFOV has the average pool, as the released prototxts do.
DEEPLAB = {"fc6_kernel": 4, "fc6_channels": 4096, "atrous_rate": 4, "pool5a": False}
SEVEN = {**DEEPLAB, "fc6_kernel": 7}
ASPP_S, ASPP_L = ({"atrous_rates": rates, "pool5a": False} for rates in ((2, 4, 8, 12), (6, 12, 18, 24)))
ASPP_START = {"init_not_loaded": ("^fc8_voc12_",)}  # the archive's init.caffemodel has fc6_1 to fc7_4

# 1412.7062, section 4.3: a trained network stays as it is, and learns the layers that are added to it. The released
# DeepLab-MSc trains fc8 on, MSc-LargeFOV does not.
ADDED = "_(conv|fc|ms)/"
MSC = {
    "multi_scale_features": True,
    "lr_multipliers": ((f"{ADDED}w$", 1.0), (f"{ADDED}b$", 2.0), ("", 0.0)),
    "init_not_loaded": (ADDED,),
}
MSC_FC8 = {**MSC, "lr_multipliers": (*MSC["lr_multipliers"][:2], ("^fc8.*/w$", 1.0), ("^fc8.*/b$", 2.0), ("", 0.0))}

# What the authors' scripts of the dense CRF have for the networks of 4x4 and for MSc; 1606.00915's is the default.
CRF_4X4 = {"crf_bilateral_compat": 5.0, "crf_bilateral_sxy": 50.0, "crf_bilateral_srgb": 10.0}
CRF_MSC = {"crf_bilateral_compat": 3.0, "crf_bilateral_sxy": 95.0, "crf_bilateral_srgb": 3.0}
CRF_V2 = {"crf_bilateral_compat": 4.0, "crf_bilateral_sxy": 67.0, "crf_bilateral_srgb": 3.0}

POLY = {"schedule": "poly", "batch_size": 10, "num_steps": 20000}  # 1606.00915, from table 3 on
FOR_CITYSCAPES = {"dataset": "cityscapes", "num_classes": 19, "train_split": "train_fine", **POLY, **CRF_V2}
FOR_CONTEXT = {"dataset": "pascal_context", "num_classes": 60, "train_split": "train", **POLY, **CRF_V2}

# Each by its published mIoU on val, in brackets with the CRF. `--init` is the checkpoint of `make weights NAME=...`.
#   python -m reproductions.v1 train --data VOC2012 --run-dir runs/NAME --init INIT --set variant=NAME
#   python -m reproductions.v1 evaluate --data VOC2012 --split val --checkpoint runs/NAME/model.ckpt-N --out out [--crf]
NETWORKS = {
    # arXiv 1412.7062, tables 1 and 2, by the paper's batch of 20; from vgg16_128, and vgg16_ilsvrc for 7x7.
    "deeplab": {**DEEPLAB, "batch_size": 20, **CRF_4X4},  # 59.80 (63.74)
    "deeplab_rate8": {**DEEPLAB, "atrous_rate": 8, "batch_size": 20, **CRF_4X4},  # 63.41 (67.14)
    "deeplab_7x7": {**SEVEN, "batch_size": 20},  # 64.38 (67.64)
    "msc": {**DEEPLAB, **MSC_FC8, "batch_size": 20, **CRF_MSC},  # 61.30 (65.21), from a run of deeplab
    "msc_largefov": MSC,  # 64.21 (68.70), from a run of paper
    # arXiv 1606.00915, table 3; from deeplabv2_vgg16's init. ASPP-L with CRF has 72.6 on test (section 4.1.2).
    "aspp_s": {**ASPP_S, **ASPP_START, **POLY, **CRF_V2},  # 66.98 (69.73)
    "aspp_l": {**ASPP_L, **ASPP_START, **POLY, **CRF_V2},  # 68.96 (71.57)
    # arXiv 1606.00915, table 5: this on COCO, then `paper` from its checkpoint: 72.7 on test with the CRF.
    "coco": {"dataset": "coco", "train_split": "train2017"},
    # arXiv 1606.00915, tables 8 and 9; pictures are cut into parts there, and whole here.
    "cityscapes_half": {**FOR_CITYSCAPES, "resize_range": (512, 1024), "eval_size": 1025},  # 62.97 (64.18)
    "cityscapes": {**FOR_CITYSCAPES, "eval_size": "native"},  # 64.89 (65.94)
    "pascal_context": FOR_CONTEXT,  # table 6: 37.6 (39.6)
}

# No trained weights: He initialisation carries the signal through fifteen ReLUs, and the original's optimiser trains
# it within hundreds of steps; no dropout for so few pictures.
SCRATCH = PAPER.derive(
    variant="scratch",
    initializer="he_normal",
    pixel_scale=0.02,
    eval_size="native",
    random_scale=True,
    optimizer="adam",
    learning_rate=2e-4,
    lr_multipliers=(),
    schedule="poly",
    weight_decay=0.0,
    batch_size=4,
    keep_prob=1.0,
    init_not_loaded=(),
)

VARIANTS = {
    recipe.variant: recipe
    for recipe in (
        ORIGINAL,
        PAPER,
        # 1606.00915, table 2: poly, by batch and updates. The best of them, 65.88 on val, is paper_poly.
        PAPER.derive(variant="paper_poly", schedule="poly", batch_size=10, num_steps=20000),
        *(
            PAPER.derive(variant=f"table2_poly_{batch}_{steps}", schedule="poly", batch_size=batch, num_steps=steps)
            for batch, steps in ((30, 6000), (30, 10000), (10, 10000))
        ),
        *(PAPER.derive(variant=name, **how) for name, how in NETWORKS.items()),
        SCRATCH,
        # The drawn sample set: 0.7 mIoU after 5 minutes on 2 cores (make reproduce-v1).
        SCRATCH.derive(variant="sample", num_steps=300, crop_size=(145, 145), save_interval=100),
        # ASPP-S there: 0.83 mIoU, within 5 minutes too.
        SCRATCH.derive(variant="sample_aspp", **ASPP_S, num_steps=240, crop_size=(145, 145), save_interval=100),
    )
}


def fields_from_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The recipe fields that follow from the names and shapes in a weight file: its network, and its classes.

    Rates are in no file. Trained weights have those of the released network with these layers.
    """
    fc6 = [shape for name, shape in shapes.items() if re.search(r"^fc6(_[1-9])?/w$", name) and len(shape) == 4]
    if not fc6:
        return {}
    kernel, _, _, channels = fc6[0]
    found: dict[str, Any] = {"fc6_kernel": kernel, "fc6_channels": channels}
    if "data_conv/w" in shapes:
        found["multi_scale_features"] = True
    scores = next((shape for name, shape in shapes.items() if re.search(r"^fc8_voc12(_1)?/b$", name)), None)
    if scores:
        found |= {**(ASPP_L if len(fc6) > 1 else RELEASED.get(kernel, {})), **found, "num_classes": scores[0]}
    return found


RELEASED = {4: DEEPLAB, 7: SEVEN}  # by fc6's kernel
