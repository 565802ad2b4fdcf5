"""The simplified v3+'s recipes: tonandr/deeplabv3plus_keras by base network and design.

Source: its README and configuration file (December 2019, and 2021 for the class-balanced loss), and the behaviour of
its program.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from common.errors import UserError
from common.recipe.cell import ENCODER_MIDDLE_CONF, Branch, given_cell, read_cell
from common.recipe.ranges import EPOCH
from common.recipe.recipe import Loss, Recipe

BaseModel = Literal[
    "xception",
    "mobilenetv2",
    "densenet121",
    "densenet169",
    "densenet201",
    "nasnetmobile",
    "nasnetlarge",
    "efficientnetb0",
    "efficientnetb1",
    "efficientnetb2",
    "efficientnetb3",
    "efficientnetb4",
    "efficientnetb5",
    "efficientnetb6",
    "efficientnetb7",
]


def design(*branches: tuple[int, list[int]], pooled: int | None = None) -> str:
    """An encoder_middle_conf as JSON: 3x3 convolutions by (input, rate), and a pool of single pixels on `pooled`."""
    conf = [{"kernel": 3, "rate": rate, "op": "conv", "input": source} for source, rate in branches]
    if pooled is not None:
        conf.append(
            {"kernel": 1, "rate": [1, 1], "op": "pyramid_pooling", "input": pooled, "target_size_factor": [1, 1]}
        )
    return json.dumps(conf)


# The designs of the original's README. The Cityscapes one is the dense prediction cell but for its first rate.
XCEPTION = design((-1, [1, 1]), (0, [6, 6]), (0, [12, 12]), (0, [18, 18]), pooled=0)
CITYSCAPES = MOBILENETV2 = design((-1, [1, 1]), (0, [18, 15]), (1, [6, 3]), (0, [1, 1]), (0, [6, 21]))

# ss_pw of the original: 1 - the share of each class in the pixels of train_aug and val, void counted as background.
PUBLISHED_WEIGHTS = (
    0.29754999, 0.99106889, 0.99236374, 0.99122957, 0.99350396, 0.99455487, 0.98728424,
    0.98090446, 0.96883489, 0.98753125, 0.99376389, 0.98942612, 0.97222875, 0.99080578,
    0.98845309, 0.92606652, 0.99393374, 0.99374322, 0.98782171, 0.98659656, 0.99233476,
)  # fmt: skip

HEAD = "^(aspp|concat_projection|decoder|logits)"


@dataclass(frozen=True, kw_only=True)
class SimplifiedRecipe(Recipe):
    """A run of the simplified v3+; the defaults are the original's for PASCAL VOC, with the defects mended.

    python -m reproductions.v3plus_simplified train --data VOC2012 --init xception_notop.h5
    python -m reproductions.v3plus_simplified train --data VOC2012 --config conf.json --init mobilenet_v2.h5
    """

    WEIGHT_FIELDS: ClassVar[tuple[str, ...]] = (
        *Recipe.WEIGHT_FIELDS,
        "base_model",
        "output_stride",
        "encoder_middle_conf",
        "boundary_refinement",
        "reduction_size",
        "concat_channels",
        "conv_rate_multiplier",
        "mv2_depth_multiplier",
        "efficientnet_input",
        "bn_scale",
    )

    base_model: BaseModel = "xception"
    output_stride: Literal[8, 16] = 16  # the layer at which the base network is cut
    # The path of its JSON, or the JSON itself, which the recipe keeps.
    encoder_middle_conf: str = XCEPTION
    boundary_refinement: bool = True
    reduction_size: int = 256  # channels of each branch
    concat_channels: int = 256
    conv_rate_multiplier: int = 1
    dropout_rate: float = 0.5
    mv2_depth_multiplier: float = 1.0  # MobileNetV2's alpha
    # What an EfficientNet's own normalisation makes of a picture: what its ImageNet weights were trained on, or what
    # the original feeds. See common.nets.backbones.efficientnet.normalise.
    efficientnet_input: Literal["imagenet", "original"] = "imagenet"
    bn_scale: bool = True  # gamma in the head's batch norms
    bn_momentum: float = 0.9  # the head's decay of moving statistics
    base_bn_momentum: float | None = None  # the base network's; None: Keras' own, of two updates a step where refined
    freeze_bn: bool = False  # batch norm by the stored statistics, gamma and beta constant

    pixel_mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    pixel_scale: float = 2 / 255  # [-1, 1]

    # The whole picture in a square of grey, at its own aspect.
    resize_range: tuple[int, ...] = (512, 512)
    resize_rule: Literal["mended", "original", "fit", "square"] = "fit"
    crop_size: tuple[int, int] = (512, 512)
    crop_position: Literal["random", "centre"] = "centre"
    eval_size: Literal["native"] | int = 512
    eval_padding: Literal["after", "around"] = "around"
    random_scale: bool = False
    random_mirror: bool = False

    init_not_loaded: tuple[str, ...] = (HEAD,)
    loss: Loss = "class_balanced"
    class_weights: Literal["auto"] | tuple[float, ...] = PUBLISHED_WEIGHTS
    optimizer: Literal["momentum", "adam", "sgd"] = "adam"
    adam_betas: tuple[float, float] = (0.5, 0.99)
    adam_epsilon: float = 1e-7  # Keras'
    learning_rate: float = 1e-4
    schedule: Literal["poly", "step", "constant", "plateau"] = "plateau"
    plateau_factors: tuple[float, ...] = ()
    step_factor: float = 0.99
    plateau_patience: int = 5  # epochs
    plateau_tolerance: float = 0.0
    plateau_min_delta: float = 1e-4
    min_learning_rate: float = 1e-8
    # Keras' l2(4e-5) is twice the half that counts here; the separable kernels have none.
    weight_decay: float = 8e-5
    weight_decay_on: str = r"^(aspp\d+|concat_projection|decoder/feature_projection|logits)/weights$"
    epochs: int = 64
    save_interval: int = EPOCH
    plateau_window: int = EPOCH
    validation_interval: int = EPOCH
    batch_size: int = 6
    best_by: Literal["miou", "loss"] = "loss"

    def __post_init__(self):
        given = given_cell(self.encoder_middle_conf, ENCODER_MIDDLE_CONF)
        object.__setattr__(self, "encoder_middle_conf", given)
        super().__post_init__()

    def validate(self) -> None:
        super().validate()
        for name in ("dropout_rate", "bn_momentum", "base_bn_momentum"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: must be at least 0 and below 1")
        if any(side % self.output_stride for side in self.crop_size):
            raise UserError(
                f"crop_size={self.crop_size}: sides must be multiples of output_stride={self.output_stride}"
            )
        self._check_pools()

    def _check_pools(self) -> None:
        """Raise UserError unless every pool's output is enlarged to the features' size: branches are concatenated."""
        for i, branch in enumerate(self.cell):
            for side, factor in zip(self.crop_size, branch.target_size_factor, strict=True):
                features = side // self.output_stride
                enlarged = features // branch.kernel * factor
                if branch.op == "pyramid_pooling" and enlarged != features:
                    raise UserError(
                        f"{ENCODER_MIDDLE_CONF}: branch {i} pools {features} pixels by {branch.kernel} and enlarges "
                        f"them {factor} times, which gives {enlarged}; they must be {features} again"
                    )

    @property
    def cell(self) -> tuple[Branch, ...]:
        return read_cell(self.encoder_middle_conf, ENCODER_MIDDLE_CONF)

    @property
    def batch_statistics(self) -> bool:
        return not self.freeze_bn

    def protocol(self) -> dict[str, Any]:
        return {"output_stride": self.output_stride if self.tells_stride else None, **super().protocol()}


DEFAULT = SimplifiedRecipe(variant="xception")
BASE = {
    "xception": {},
    "mobilenetv2": {"base_model": "mobilenetv2", "encoder_middle_conf": MOBILENETV2},
    "densenet121": {"base_model": "densenet121", "encoder_middle_conf": MOBILENETV2},
    "nasnetmobile": {"base_model": "nasnetmobile", "encoder_middle_conf": MOBILENETV2},
    "efficientnetb0": {"base_model": "efficientnetb0", "encoder_middle_conf": MOBILENETV2},
}

# What the original's program of 2021 does with data; see this package's README.
ORIGINAL = {
    "train_split": "random_train",
    "val_split": "random_val",
    "void_pixels": "background",
    "crop_padding": "background",
    "mask_interpolation": "bilinear",
    "efficientnet_input": "original",
}

# Its README of December 2019, with 0.879 (Xception) and 0.539 mIoU (MobileNetV2) on its random split: softmax
# cross-entropy, nearest neighbour, and the numbers of the file that it shows.
README_2019 = {
    **ORIGINAL,
    "mask_interpolation": "nearest",
    "picture_interpolation": "nearest",
    "loss": "softmax",
    "class_weights": (),
    "learning_rate": 5e-5,
    "adam_betas": (0.0, 0.99),
    "weight_decay": 2e-3,
    "dropout_rate": 0.8,
}

# No trained weights: statistics that follow within a short run.
SCRATCH = {
    "initializer": "he_normal",
    "base_bn_momentum": 0.9,
    "learning_rate": 1e-3,
    "adam_betas": (0.9, 0.999),
    "class_weights": "auto",
}
SAMPLE = {
    **SCRATCH,
    "resize_range": (192, 192),
    "crop_size": (192, 192),
    "eval_size": 192,
    "random_mirror": True,
    "batch_size": 4,
    "epochs": 0,
    "num_steps": 150,
    "save_interval": 50,
    "validation_interval": 0,
    "schedule": "poly",
    "dropout_rate": 0.1,
}

VARIANTS = {
    recipe.variant: recipe
    for recipe in (
        *(DEFAULT.derive(variant=name, **base) for name, base in BASE.items()),
        DEFAULT.derive(
            variant="cityscapes",
            encoder_middle_conf=CITYSCAPES,
            dataset="cityscapes",
            num_classes=19,
            train_split="train_fine",
            class_weights="auto",
        ),
        *(
            DEFAULT.derive(variant=f"{program}_{name}", **BASE[name] | how)
            for program, how in (("original", ORIGINAL), ("readme2019", README_2019))
            for name in ("xception", "mobilenetv2")
        ),
        DEFAULT.derive(variant="scratch", **SCRATCH),
        *(DEFAULT.derive(variant=f"sample_{name}", **SAMPLE | BASE[name]) for name in ("xception", "mobilenetv2")),
    )
}


def fields_from_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The recipe fields that follow from names and shapes in a file: base network, stride, design, channels,
    classes."""
    settled = _base(shapes)
    if not settled or "concat_projection/weights" not in shapes:
        return settled
    if settled["base_model"].startswith("efficientnet"):
        settled["efficientnet_input"] = "original"  # a whole model is of the original's program
    separable = [f"aspp{i}_separable/depthwise_weights" in shapes for i in range(sum(map(_is_branch, shapes)))]
    for conf in (
        XCEPTION,
        MOBILENETV2,
    ):  # weights don't show rates and inputs, so take the published design with these operations
        if [branch.op == "conv" for branch in read_cell(conf, ENCODER_MIDDLE_CONF)] == separable:
            settled["encoder_middle_conf"] = conf
    classes = shapes["logits/weights"][3]
    return settled | {
        **({"class_weights": "auto"} if classes != len(PUBLISHED_WEIGHTS) else {}),
        "boundary_refinement": "decoder/feature_projection/weights" in shapes,
        "reduction_size": shapes["aspp0/weights"][3],
        "concat_channels": shapes["concat_projection/weights"][3],
        "bn_scale": "concat_projection/BatchNorm/gamma" in shapes,
        "num_classes": classes,
    }


def _is_branch(name: str) -> bool:
    return re.fullmatch(r"aspp\d+/weights", name) is not None


# By base network: a layer of it, and one that only the cut at output stride 16 has.
_MARKS = {
    "xception": ("block1_conv1/weights", "block5_sepconv1/pointwise_weights"),
    "mobilenetv2": ("Conv1/weights", "block_6_expand/weights"),
    "nasnetmobile": ("stem_conv1/weights", "reduction_conv_1_reduce_[46]/weights"),
    "densenet121": ("conv1_conv/weights", "pool4_conv/weights"),
    "efficientnetb0": ("stem_conv/weights", "block4a_expand_conv/weights"),
}
ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # that Keras has weights for


def _base(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    name = next((base for base, (mark, _) in _MARKS.items() if mark in shapes), None)
    if name is None:
        return {}
    deep = re.compile(_MARKS[name][1])
    settled = {"base_model": name, "output_stride": 16 if any(map(deep.fullmatch, shapes)) else 8}
    if name != "xception":
        settled["encoder_middle_conf"] = MOBILENETV2
    if name in _SIZES:
        settled |= _SIZES[name](shapes)
    return settled


def _mobilenet_size(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    from common.nets.backbones.mobilenet_v2 import UNITS, divisible

    depths = {c: s[3] for i, (_, c, _) in enumerate(UNITS) if (s := shapes.get(f"block_{i}_project/weights"))}
    fitting = [a for a in ALPHAS if all(divisible(count * a, 8) == depth for count, depth in depths.items())]
    return {"mv2_depth_multiplier": fitting[0]} if fitting else {}


def _densenet_size(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    units = sum(re.fullmatch(r"conv4_block\d+_1_conv/weights", n) is not None for n in shapes)
    return {"base_model": {32: "densenet169", 48: "densenet201"}.get(units, "densenet121")}


def _nasnet_size(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    return {"base_model": {96: "nasnetlarge"}.get(shapes["stem_conv1/weights"][3], "nasnetmobile")}


def _efficientnet_size(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Find the EfficientNet with these channels after the first convolution, and these channels and units in its third
    row."""
    from common.nets.backbones.efficientnet import SCALES, scaled_rows, stem_depth

    units = sum(re.fullmatch(r"block3[a-z]_dwconv/depthwise_weights", n) is not None for n in shapes)
    found = *(shapes.get(f"{n}/weights", (0,))[-1] for n in ("stem_conv", "block3a_project_conv")), units
    for name, (width, depth) in SCALES.items():
        _, _, channels, count, _ = scaled_rows(width, depth)[2]
        if found == (stem_depth(width), channels, count):
            return {"base_model": name}
    return {}


_SIZES = {
    "mobilenetv2": _mobilenet_size,
    "densenet121": _densenet_size,
    "nasnetmobile": _nasnet_size,
    "efficientnetb0": _efficientnet_size,
}
