"""DeepLab-LargeFOV's recipes: those of DrSleep's TensorFlow program, and those of the paper's Caffe solver.

Source: DrSleep/tensorflow-deeplab-lfov, train.py and deeplab_lfov/; arXiv 1412.7062 and 1606.00915.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from common.errors import UserError
from common.recipe.recipe import CAFFE_PREPROCESSING, Recipe


@dataclass(frozen=True, kw_only=True)
class V1Recipe(Recipe):
    """A LargeFOV run; the defaults are the original's train.py: 57 mIoU on val by its README.

    python -m reproductions.v1 train --data VOC2012 --run-dir runs/v1 --init model.ckpt-init
    python -m reproductions.v1 evaluate --data VOC2012 --split val --checkpoint runs/v1/model.ckpt-20000 --out out
    """

    WEIGHT_FIELDS: ClassVar[tuple[str, ...]] = (*Recipe.WEIGHT_FIELDS, "atrous_rate", "pooling")

    atrous_rate: int = 12  # of fc6
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
        SCRATCH,
        # The drawn sample set: 0.7 mIoU after 5 minutes on 2 cores (make reproduce-v1).
        SCRATCH.derive(variant="sample", num_steps=300, crop_size=(145, 145), save_interval=100),
    )
}
