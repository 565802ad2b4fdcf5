"""DeepLab v3+'s recipe: every number of a run; its variants stand in variants.py.

Source: asahi417/SemanticSegmentation (the seed), bin/train.py and its parameter files; tensorflow/models
research/deeplab and its model zoo; arXiv 1802.02611.
"""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from common.console import say
from common.errors import UserError, brief
from common.recipe.cell import Branch, given_cell, read_cell
from common.recipe.encoder import EncoderRecipe
from common.recipe.recipe import SLIM_PREPROCESSING
from common.recipe.values import format_value
from reproductions.v3plus.names import HEAD

Backbone = Literal[
    "xception_41",
    "xception_65",
    "xception_65_coco",
    "xception_71",
    "resnet_v1_18",
    "resnet_v1_50",
    "resnet_v1_101",
    "resnet_v1_18_beta",
    "resnet_v1_50_beta",
    "resnet_v1_101_beta",
    "resnet_v2_50",
    "resnet_v2_101",
    "mobilenet_v2",
    "mobilenet_v3_large_seg",
    "mobilenet_v3_small_seg",
    "mobilenet_edgetpu",
    "nas_pnasnet",
    "nas_hnasnet",
]

# The seed's name of a backbone that is another's network with weights of its own: (backbone, archive of the weights).
STARTED = {"xception_65_coco": ("xception_65", "xception_65_coco_pretrained")}

# Preprocessing by backbone: [-1, 1], but for the ResNets with the original root.
UNIT_RANGE = {"channel_order": "rgb", "pixel_mean": (127.5, 127.5, 127.5), "pixel_scale": 2 / 255}
IMAGENET_MEAN = {"channel_order": "rgb", "pixel_mean": (123.15, 115.90, 103.06), "pixel_scale": 1.0}


def preprocessing(backbone: str) -> dict[str, Any]:
    if backbone.startswith("resnet_v2"):
        return SLIM_PREPROCESSING
    return IMAGENET_MEAN if backbone in ("resnet_v1_18", "resnet_v1_50", "resnet_v1_101") else UNIT_RANGE


DECODER_STRIDES = (16, 8, 4)  # at which backbones give low-level features

# Fields that came after the first records, all of them the weights' own.
HEAD_OPTIONS = (
    "image_pooling_crop_size",
    "image_pooling_stride",
    "aspp_concat_projection",
    "aspp_squeeze_and_excitation",
    "image_se_uses_qsigmoid",
    "decoder_output_stride",
    "decoder_filters",
    "decoder_projection_filters",
    "decoder_kernels",
    "decoder_sum_merge",
    "decoder_output_is_logits",
    "aspp",
    "logits_kernel_size",
    "image_pyramid",
    "merge_method",
    "bounded_activation",
    "nas_stem_filters",
    "nas_classification_head",
    "nas_remove_os32_stride",
    "last_layer_filters",
)

# Of 8 bit networks.
QUANTISATION = ("quantize_delay_step", "quantize_range_decay")
QUANTISED_BACKBONES = ("mobilenet_v2",)  # whose residual sums have ranges


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
        *HEAD_OPTIONS,
    )

    LATER_FIELDS: ClassVar[tuple[str, ...]] = (
        *EncoderRecipe.LATER_FIELDS,
        *HEAD_OPTIONS,
        "drop_path_keep_prob",
        *QUANTISATION,
    )

    # The last layers of slim's MobileNetV2 and ResNet v2 for ImageNet; DeepLab's head begins before them.
    NOT_OF_NETWORK: ClassVar[tuple[str, ...]] = ("^MobilenetV2/(Conv_1|Logits)/", "^resnet_v2_[0-9]+/logits/")

    names: Literal["seed", "zoo", "rishizek"] = "seed"  # of the head's variables
    backbone: Backbone = "xception_65"
    depth_multiplier: float = 1.0  # of the channels of MobileNets
    multi_grid: tuple[int, ...] = ()  # () or a factor for each of the last block's rates: two of ResNet-18, else three
    aspp_depth: int = 128
    aspp_separable: bool = True
    aspp_batch_norm: bool = True
    decoder: bool = True
    decoder_separable: bool = True
    decoder_batch_norm: bool = True
    # A cell in ASPP's place (arXiv 1809.04184): the path of its JSON, or the JSON itself, which the recipe keeps.
    dense_prediction_cell: str = ""

    # Further options of research/deeplab (common.py there), for the zoo's newer models and the paper's tables 1 and 2.
    image_pooling_crop_size: tuple[int, ...] = ()  # pixels (height, width) of the pooling window; () is the picture
    image_pooling_stride: tuple[int, int] = (1, 1)  # of that window, in cells
    aspp_concat_projection: bool = True
    aspp_squeeze_and_excitation: bool = False
    image_se_uses_qsigmoid: bool = False
    decoder_output_stride: tuple[int, ...] = (4,)  # of the decoder's stages, coarse to fine: some of 16, 8, 4
    decoder_filters: int = 0  # 0: as many as aspp_depth, or as classes with decoder_output_is_logits
    decoder_projection_filters: int = 48  # of the low-level features
    decoder_kernels: tuple[int, ...] = (3, 3)  # of the convolutions of each of its stages
    decoder_sum_merge: bool = False
    decoder_output_is_logits: bool = False
    # Without ASPP there is no image pooling either: the scores are the sum of a convolution for each atrous rate, as in
    # DeepLab v2 (aspp_with_batch_norm=false of research/deeplab).
    aspp: bool = True
    logits_kernel_size: int = 1  # above 1 without ASPP alone
    image_pyramid: tuple[float, ...] = ()  # factors of the inputs that the network merges; () is one input
    merge_method: Literal["max", "avg"] = "max"
    bounded_activation: bool = False  # at most 6, in Xception, ASPP and decoder, for 8 bit networks
    # Of MobileNetV3's and MobileNet-EdgeTPU's last convolution, whatever depth_multiplier; 0 multiplies them too.
    last_layer_filters: int = 0
    # Of nas_pnasnet and nas_hnasnet (Auto-DeepLab), whose output stride without the classification head is always 8.
    nas_stem_filters: int = 20  # a sum of a cell at stride 4 has as many channels
    nas_classification_head: bool = False  # with the layers of an ImageNet network
    nas_remove_os32_stride: bool = False  # cells of stride 32 lie at 16
    drop_path_keep_prob: float = 1.0  # of the last cell's operations, at the end of training

    # 8 bit networks: from which step training rounds weights and values; -1 is never. Evaluation then always does.
    quantize_delay_step: int = -1
    quantize_range_decay: float = 0.999  # of the moving averages of the values' ranges

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
        if self.backbone == "nas_hnasnet" and not self.nas_classification_head:  # its path ends there
            object.__setattr__(self, "output_stride", 8)
            object.__setattr__(self, "eval_output_stride", 8)

    def validate(self) -> None:
        super().validate()
        units = 2 if self.backbone.startswith("resnet_v1_18") else 3
        if len(self.multi_grid) not in (0, units):
            raise UserError(f"multi_grid: needs a factor for each of {units} convolutions, or none")
        if self.cell and self.output_stride == 32:
            raise UserError("output_stride=32: a dense prediction cell has rates for 16 and 8 only")
        if len(self.image_pooling_crop_size) not in (0, 2):
            raise UserError("image_pooling_crop_size: needs a height and a width, or none")
        if len(set(self.image_pyramid)) < len(self.image_pyramid):
            raise UserError(f"image_pyramid={format_value(self.image_pyramid)}: the factors must differ")
        self._check_decoder()
        self._check_scores()
        if self.logits_kernel_size > 1 and (self.aspp or not self.atrous_rates):
            raise UserError(
                f"logits_kernel_size={self.logits_kernel_size}: takes ASPP's place, so it needs aspp=false and "
                f"atrous_rates"
            )
        if self.cell and not self.aspp:
            raise UserError("aspp=false: leaves no place for a dense_prediction_cell; take one of both")
        if not 0 < self.drop_path_keep_prob <= 1:
            raise UserError(f"drop_path_keep_prob={self.drop_path_keep_prob}: must be above 0 and at most 1")
        if self.quantize_delay_step >= 0:
            self._check_quantisation()

    def _check_decoder(self) -> None:
        strides, shown = self.decoder_output_stride, format_value(self.decoder_output_stride)
        if not strides or list(strides) != sorted({*strides} & {*DECODER_STRIDES}, reverse=True):
            raise UserError(f"decoder_output_stride={brief(shown)}: needs some of 16, 8 and 4, coarse to fine")
        if not self.decoder_kernels:
            raise UserError("decoder_kernels: needs the side of one convolution at least, such as 3")
        if self.decoder and self.decoder_separable and 1 in self.decoder_kernels:
            raise UserError(
                f"decoder_kernels={format_value(self.decoder_kernels)}: a 1x1 convolution is not separable; take "
                f"decoder_separable=false"
            )

    def _check_scores(self) -> None:
        if self.decoder_output_is_logits and not (self.decoder and self.decoder_sum_merge):
            raise UserError("decoder_output_is_logits=true: needs decoder=true and decoder_sum_merge=true")
        if self.decoder_output_is_logits and self.decoder_filters not in (0, self.num_classes):
            raise UserError(
                f"decoder_filters={self.decoder_filters}: with decoder_output_is_logits=true it is num_classes="
                f"{self.num_classes}, or 0 for it"
            )

        is_gate = self.aspp and self.image_pooling and self.aspp_squeeze_and_excitation
        if is_gate and self.atrous_rates and not self.aspp_concat_projection:
            raise UserError(
                "aspp_squeeze_and_excitation=true: weighs one branch, or the projection of several; take "
                "aspp_concat_projection=true, or no atrous_rates"
            )

    def _check_quantisation(self) -> None:
        shown = f"quantize_delay_step={self.quantize_delay_step}"
        if self.backbone not in QUANTISED_BACKBONES:
            raise UserError(
                f"{shown}: backbone={self.backbone} has no 8 bit form; take {' or '.join(QUANTISED_BACKBONES)}, or set "
                f"quantize_delay_step=-1"
            )
        if self.precision != "fp32":
            raise UserError(
                f"{shown}: an 8 bit network is computed in float32; set precision=fp32, not {self.precision}"
            )
        if not 0 <= self.quantize_range_decay < 1:
            raise UserError(f"quantize_range_decay={self.quantize_range_decay}: must be at least 0 and below 1")

    @property
    def least_input(self) -> tuple[int, int] | None:
        return self.image_pooling_crop_size or None if self.image_pooling else None

    @property
    def cell(self) -> tuple[Branch, ...]:
        return read_cell(self.dense_prediction_cell) if self.dense_prediction_cell else ()

    @property
    def quantised_from(self) -> int | None:
        return self.quantize_delay_step if self.quantize_delay_step >= 0 else None

    @property
    def range_decay(self) -> float:
        return self.quantize_range_decay

    def in_floats(self) -> Self:
        return self.derive(quantize_delay_step=-1)

    @property
    def scores_stride(self) -> int:
        return self.decoder_output_stride[-1] if self.decoder else self.output_stride

    def at_evaluation(self) -> Self:
        """Several scales or mirrored pictures take the place of the pyramid, as in research/deeplab."""
        recipe = super().at_evaluation()
        return recipe if recipe.is_single_pass else recipe.derive(image_pyramid=())

    def at_factor(self, factor: float) -> Self:
        """The recipe of the network on one input of the pyramid: a pooling window grows and shrinks with the input."""
        window = tuple(int((side - 1) * factor + 1) for side in self.image_pooling_crop_size)
        return self.derive(image_pyramid=(), image_pooling_crop_size=window)


@functools.cache  # said once a process
def _started(name: str) -> str:
    """The backbone that the seed calls `name`; prints which weights it starts from there."""
    backbone, archive = STARTED[name]
    say(
        f"backbone={name}: is {backbone} started from the zoo's {archive}; give these weights by --init "
        f"(make weights NAME={archive})"
    )
    return backbone
