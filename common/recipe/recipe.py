"""The recipe: one frozen dataclass that holds every number a run depends on.

A reproduction subclasses `Recipe` with its network's options and names its variants; `--set
key=value` derives another one. A record stores the whole recipe, so its run can be repeated.
"""

import dataclasses
import functools
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from common.errors import UserError, brief
from common.paths import plain_name
from common.recipe import checks
from common.recipe.cell import Branch
from common.recipe.ranges import EPOCH, INTERVALS, check_range
from common.recipe.values import checked, format_value
from common.words import nearest

Loss = Literal["softmax", "class_balanced"]  # see common/nets/losses.py

# Preprocessing belongs to the weights: the mean that their training subtracted, per channel in the given order.
CAFFE_PREPROCESSING = {
    "channel_order": "bgr",
    "pixel_mean": (104.00698793, 116.66876762, 122.67891434),
    "pixel_scale": 1.0,
}
SLIM_PREPROCESSING = {"channel_order": "rgb", "pixel_mean": (123.68, 116.78, 103.94), "pixel_scale": 1.0}


# What the numbers of a protocol say. A record holds it word for word.
METRIC = (
    "one confusion matrix over all pictures, whole pictures at their own size, ignore label removed, "
    "mean over the classes that occur in the labels"
)

STRIDE_UNTOLD = "output stride not told"  # ends the words on a network's file that does not tell it


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every number of a run; units and ranges stand beside the fields."""

    # Fields that belong to the weights, not to the run that uses them: they stay when the variant changes.
    WEIGHT_FIELDS: ClassVar[tuple[str, ...]] = ("num_classes", "channel_order", "pixel_mean", "pixel_scale")

    # Of WEIGHT_FIELDS those that weights without their last layer, such as ImageNet's, leave to the recipe.
    TRAINED_FIELDS: ClassVar[tuple[str, ...]] = ()

    # Fields that say how weights are evaluated: `variant=` changes these alone for weights with a stored recipe.
    EVALUATION_FIELDS: ClassVar[tuple[str, ...]] = (
        "resize_range", "resize_factor", "resize_rule", "picture_interpolation", "eval_size", "eval_padding",
        "eval_scales", "eval_flip", "scale_fusion", "eval_tile", "eval_overlap", "crf", "crf_iterations",
        "crf_gaussian_sxy", "crf_gaussian_compat", "crf_bilateral_sxy", "crf_bilateral_srgb", "crf_bilateral_compat",
    )  # fmt: skip

    # Fields that are newer than the ids of records and the names of run folders: part of them unless at the default.
    LATER_FIELDS: ClassVar[tuple[str, ...]] = (
        "precision", "update", "labels_align_corners", "slow_start_step", "slow_start_learning_rate",
        "end_learning_rate", "decay_steps", "repeated_classes", "repeat_count", "sampling", "engine", "network_file",
        "input_node", "labels_node", "probabilities_node", "scores_node", "eval_tile", "eval_overlap", "channels",
    )  # fmt: skip

    # Regular expressions of entries of weight files that are never loaded, such as another task's classifier.
    NOT_OF_NETWORK: ClassVar[tuple[str, ...]] = ()

    variant: str

    # What the network reads: (pixel - pixel_mean) * pixel_scale, channels in channel_order, pixels 0..255.
    num_classes: int = 21
    ignore_label: int = 255
    channel_order: Literal["rgb", "bgr"] = "rgb"
    pixel_mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pixel_scale: float = 1.0
    align_corners: bool = False  # of the network's bilinear resizes and of the scores' to the picture's size
    channels: tuple[int, ...] = ()  # of picture files with more than three: red, green and blue, counted from 1

    # Data: a dataset card by name, and the split to train on.
    dataset: str = "voc2012"
    train_split: str = "train_aug"
    val_split: str = "val"
    # Pictures with one of these classes (names or ids) stand `repeat_count` times in the list to train on.
    repeated_classes: tuple[str, ...] = ()
    repeat_count: int = 2
    # Each epoch has every picture once, or each example draws a class, then a picture that has it.
    sampling: Literal["uniform", "class_balanced"] = "uniform"

    # Pictures and masks are first resized into a range: (least short side, greatest long side), or () for none. With
    # a factor f, sides become multiples of f plus 1; for the rules, of which `square` gives up the aspect, see
    # common/nets/sizes.py.
    resize_range: tuple[int, ...] = ()
    resize_factor: int = 0
    resize_rule: Literal["mended", "original", "fit", "square"] = "mended"
    mask_interpolation: Literal["nearest", "bilinear"] = "nearest"  # bilinear mixes class ids, as an original did
    picture_interpolation: Literal["bilinear", "nearest"] = "bilinear"

    # Augmentation: one factor for both sides, uniform in [min_scale, max_scale]; crop in pixels (height, width).
    random_scale: bool = True
    min_scale: float = 0.5
    max_scale: float = 1.5
    scale_step: float = 0.0  # factors are min_scale, min_scale + step, ...; 0 draws them continuously
    random_mirror: bool = True
    crop_size: tuple[int, int] = (321, 321)
    crop_position: Literal["random", "centre"] = "random"
    crop_padding: Literal["ignored", "background"] = "ignored"  # the class around a picture: none, or 0
    padding_pixel: Literal["mean"] | tuple[float, float, float] = "mean"  # RGB, of crops and at evaluation

    # Initialisation, where no weights are given for a variable.
    initializer: Literal["glorot_uniform", "he_normal", "truncated_normal"] = "glorot_uniform"
    residual_gamma: float = 1.0  # gamma of each residual branch's last batch norm
    calibration_batches: int = 0  # batches whose statistics fill batch norm before the first step
    init_not_loaded: tuple[str, ...] = ()  # regular expressions of variables that --init does not fill

    # Loss: class_balanced is the sum over the classes of weighted binary cross-entropies of the probabilities.
    loss: Loss = "softmax"
    # One per class, or none; 'auto' measures 1 - the class's share of the training pixels.
    class_weights: Literal["auto"] | tuple[float, ...] = ()
    # Void pixels are left out of the mean, or count in it with a loss of 0 (averaged) or of log(num_classes)
    # (constant), or are class 0, in evaluation too (background).
    void_pixels: Literal["masked", "averaged", "constant", "background"] = "masked"
    loss_size: Literal["logits", "labels"] = "logits"  # labels are brought to the scores' size, or scores to labels'
    labels_align_corners: bool = False  # when labels are brought to the scores' size, as research/deeplab does

    # Hard pixels: the loss is the mean of this share of the greatest losses; the share falls to it linearly from 1 over
    # so many updates (0: at once).
    top_k_percent_pixels: float = 1.0
    hard_example_mining_step: int = 0

    # What convolutions and the like compute in, in training and at evaluation; variables and losses stay float32.
    precision: Literal["fp32", "bf16"] = "fp32"

    # Optimisation. A learning-rate multiplier goes to the variables its regular expression matches first.
    optimizer: Literal["momentum", "adam", "sgd"] = "momentum"
    momentum: float = 0.9
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_epsilon: float = 1e-8
    learning_rate: float = 2.5e-4
    schedule: Literal["poly", "step", "constant", "plateau"] = "poly"
    power: float = 0.9
    end_learning_rate: float = 0.0  # where poly ends
    decay_steps: int = 0  # updates of poly's way there; 0 is all of them
    # A constant rate for so many updates first; the schedule begins after them.
    slow_start_step: int = 0
    slow_start_learning_rate: float = 1e-4
    step_size: int = 2000
    step_factor: float = 0.1
    # plateau: the learning rate takes the next factor after `patience` windows of updates in a row whose mean pixel
    # loss was not below the best one by the tolerance (a share of it) and the delta. Without factors they are powers of
    # step_factor.
    plateau_factors: tuple[float, ...] = (1.0, 0.5, 0.1)
    plateau_window: int = 1000
    plateau_patience: int = 1
    plateau_tolerance: float = 0.01
    plateau_min_delta: float = 0.0
    min_learning_rate: float = 0.0
    lr_multipliers: tuple[tuple[str, float], ...] = ()
    gradient_clip: float = 0.0  # greatest global norm of the gradients; 0 is no limit
    weight_decay: float = 5e-4
    weight_decay_on: str = "weights"  # regular expression
    weight_decay_fixed: tuple[tuple[str, float], ...] = ()  # (regular expression, its own decay), of those decayed
    num_steps: int = 20000
    epochs: int = 0  # passes over the data; num_steps then follows from it
    batch_size: int = 10  # pictures per forward pass
    grad_update_every: int = 1  # forward passes per update, gradients averaged
    # Of many processes: all make one update together, or each its own on parameter servers, which nothing repeats.
    update: Literal["synchronous", "asynchronous"] = "synchronous"
    seed: int = 1234
    save_interval: int = 1000  # steps; of this and the two other intervals -1 is an epoch
    validation_interval: int = 0  # steps between measurements of loss and mIoU on `val_split`; 0 is never
    best_by: Literal["miou", "loss"] = "miou"  # of validation: which checkpoint is kept as best.ckpt

    # Evaluation: 'native' runs the picture at its own size and ignores resize_range. N resizes it into resize_range, if
    # there is one, and pads it with the mean to N x N; the scores are cropped and resized back.
    eval_size: Literal["native"] | int = "native"
    eval_padding: Literal["after", "around"] = "after"  # below and to the right, or on all sides
    eval_scales: tuple[float, ...] = (1.0,)
    eval_flip: bool = False
    scale_fusion: Literal["mean_probability", "max_logits"] = "mean_probability"
    # Tiles of so many pixels a side, segmented like pictures; their probabilities are averaged. 0: whole pictures.
    eval_tile: int = 0
    eval_overlap: int = 128  # pixels that neighbouring tiles share, at least

    # What runs the network at evaluation, and what a network's file (common/engines) fixes itself, in words. The nodes
    # name the file's input and outputs where they have other names than common/engines/interface.py knows.
    engine: Literal["tensorflow", "onnxruntime", "openvino"] = "tensorflow"
    network_file: str = ""
    input_node: str = ""
    labels_node: str = ""
    probabilities_node: str = ""
    scores_node: str = ""

    # The dense CRF on the result (common/inference/crf.py): DeepLab v2's published parameters.
    crf: bool = False
    crf_iterations: int = 10
    crf_gaussian_sxy: float = 3.0
    crf_gaussian_compat: float = 3.0
    crf_bilateral_sxy: float = 67.0
    crf_bilateral_srgb: float = 3.0
    crf_bilateral_compat: float = 4.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = checked(field.name, field_types(type(self))[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        self.validate()

    def validate(self) -> None:
        """Raise UserError for numbers that no run can have, and for a variant that is no plain name."""
        plain_name(self.variant, "variant")  # it becomes part of folders' and records' names
        for field in dataclasses.fields(self):
            check_range(field.name, getattr(self, field.name))
        checks.check_patterns(
            [self.weight_decay_on, *self.init_not_loaded]
            + [pattern for pattern, _ in (*self.lr_multipliers, *self.weight_decay_fixed)]
        )
        if min(self.plateau_factors, default=1) <= 0:
            raise UserError(f"plateau_factors={brief(format_value(self.plateau_factors))}: needs factors above 0")
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            raise UserError(f"adam_betas={brief(format_value(self.adam_betas))}: must be at least 0 and below 1")
        checks.check_class_weights(self.class_weights, self.num_classes, self.loss)
        checks.check_schedule(self.schedule, self.num_steps, self.slow_start_step, self.epochs)
        if not 0 < self.top_k_percent_pixels <= 1:
            raise UserError(f"top_k_percent_pixels={self.top_k_percent_pixels}: is a share, above 0 and at most 1")
        if self.resize_range:
            checks.check_resize_range(self.resize_range, self.resize_factor)
        if 0 < self.scale_step < (self.max_scale - self.min_scale) / 1000:
            raise UserError(f"scale_step={self.scale_step}: makes more than a thousand factors; 0 draws any between")
        if self.max_scale < self.min_scale:
            raise UserError(f"max_scale={self.max_scale}: must not be below min_scale={self.min_scale}")
        if min(self.crop_size) <= 0:
            raise UserError(f"crop_size={brief(format_value(self.crop_size))}: both sides must be above 0")
        checks.check_eval_size(self.eval_size, self.eval_scales)
        if len(self.channels) not in (0, 3):
            raise UserError(f"channels={format_value(self.channels)}: needs three, such as 4,3,2, or none")
        checks.check_tiles(self.eval_tile, self.eval_overlap, self.eval_resize_range)
        if self.num_classes > self.ignore_label:
            raise UserError(f"num_classes={self.num_classes}: must not exceed ignore_label={self.ignore_label}")
        checks.check_memory(self.crop_size, self.batch_size, self.eval_size, self.eval_scales, self.resize_range)

    @property
    def resize_align_corners(self) -> bool:
        """Whether the resize into `resize_range` aligns corners, as research/deeplab's does."""
        return self.resize_rule != "fit"

    @property
    def eval_resize_range(self) -> tuple[int, ...]:
        """`resize_range`, unless evaluation takes pictures at their own size."""
        return () if self.eval_size == "native" else self.resize_range

    @property
    def scores_stride(self) -> int | None:
        """The stride to which scores of a smaller scale are resized first; None resizes straight to the picture."""
        return None

    @property
    def least_input(self) -> tuple[int, int] | None:
        """The least height and width of the network's input at scale 1, where the recipe tells it."""
        return None

    def check_input(self, height: int, width: int, name: str) -> None:
        """Raise UserError when the network takes no input of this size; `name` says what set it."""
        if self.least_input and (height < self.least_input[0] or width < self.least_input[1]):
            least = ",".join(map(str, self.least_input))
            raise UserError(
                f"{name}: {height}x{width} pixels are fewer than image_pooling_crop_size={least} averages over; take "
                f"more, or --set a smaller image_pooling_crop_size"
            )

    @property
    def cell(self) -> tuple[Branch, ...]:
        """The branches of a head that is designed in JSON; other heads have none."""
        return ()

    @property
    def batch_statistics(self) -> bool:
        """Whether training normalises by the batch's statistics and updates the stored ones."""
        return False

    @property
    def quantised_from(self) -> int | None:
        """The step from which training rounds to 8 bits, as evaluation then does (`common.nets.quantisation`)."""
        return None

    @property
    def range_decay(self) -> float:
        """The decay of the moving averages of an 8 bit network's ranges."""
        return 0.999

    def in_floats(self) -> Self:
        """The recipe of the same network without its rounding to 8 bits."""
        return self

    def fields_set_by_data(self) -> set[str]:
        """The fields that are measured on the training pictures: see `training.start.with_data_fields`."""
        steps = {"num_steps"} if self.epochs else set()
        weights = {"class_weights"} if self.class_weights == "auto" else set()
        return steps | weights | {name for name in INTERVALS if getattr(self, name) == EPOCH}

    def class_ids(self, mask: np.ndarray) -> np.ndarray:
        """The class ids of a mask, uint8 [h, w]; void becomes class 0 with `void_pixels=background`."""
        if self.void_pixels != "background":
            return mask
        return np.where(mask == self.ignore_label, np.uint8(0), mask)

    def at_evaluation(self) -> Self:
        """The recipe of the network that evaluates."""
        return self

    def at_one_scale(self) -> Self:
        """The recipe that evaluates each picture once: at scale 1, not mirrored."""
        return self.derive(eval_scales=(1.0,), eval_flip=False)

    @property
    def is_single_pass(self) -> bool:
        """Whether evaluation runs the network once a picture, at scale 1 and not mirrored."""
        return self.eval_scales == (1.0,) and not self.eval_flip

    @property
    def by_engine(self) -> bool:
        """Whether a network's file, or another program than TensorFlow, segments the pictures."""
        return bool(self.network_file) or self.engine != "tensorflow"

    @property
    def tells_stride(self) -> bool:
        """Whether the output stride is known, which a network's file of another program may not tell."""
        return not self.network_file.endswith(STRIDE_UNTOLD)

    def protocol(self) -> dict[str, Any]:
        """How this recipe makes and compares label maps, in JSON types, as a record states it."""
        resized = ("resize_range", "resize_factor", "resize_rule") if self.eval_resize_range else ()
        return {
            **{name: self.to_json()[name] for name in resized},
            **({"void": "class 0"} if self.void_pixels == "background" else {}),
            "eval_size": self.eval_size,
            "scales": list(self.eval_scales),
            "flip": self.eval_flip,
            **({"channels": list(self.channels)} if self.channels else {}),
            **({"eval_tile": self.eval_tile, "eval_overlap": self.eval_overlap} if self.eval_tile else {}),
            "scale_fusion": None if self.is_single_pass else self.scale_fusion,
            "crf": self.crf_parameters(),
            **({"precision": self.precision} if self.precision != "fp32" else {}),
            **({"engine": self.engine} if self.engine != "tensorflow" else {}),
            **({"network_file": self.network_file} if self.network_file else {}),
            "metric": METRIC,
        }

    def derive(self, **changes: Any) -> Self:
        """A recipe with some fields changed."""
        return dataclasses.replace(self, **changes)

    def crf_parameters(self) -> dict[str, float] | None:
        """The CRF's parameters as `common.inference.crf.CrfParameters` takes them; None without a CRF."""
        if not self.crf:
            return None
        return {f.name[4:]: getattr(self, f.name) for f in dataclasses.fields(self) if f.name.startswith("crf_")}

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON types; tuples become lists."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def identity(self) -> dict[str, Any]:
        """`to_json` as it was before later fields: ids of records and names of run folders are made of it."""
        defaults = {f.name: f.default for f in dataclasses.fields(self) if f.name in self.LATER_FIELDS}
        return {name: value for name, value in self.to_json().items() if defaults.get(name, ...) != getattr(self, name)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], source: str = "the stored recipe") -> Self:
        """The inverse of `to_json`. Raises UserError on an unknown, missing or mistyped field."""
        for key in data:
            check_field(cls, key, source)
        if "variant" not in data:
            raise UserError(f"{source}: holds no recipe (no field 'variant')")
        try:
            return cls(**data)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None


def check_field(cls: type[Recipe], key: str, source: str) -> None:
    """Raise UserError, with the nearest name, when the recipe has no field `key`; `source` begins the message."""
    names = [f.name for f in dataclasses.fields(cls)]
    if key not in names:
        raise UserError(
            f"{source} {brief(key)}: no such field in the recipe; {nearest(key, names)}`describe` lists them all"
        )


@functools.cache
def field_types(cls: type[Recipe]) -> dict[str, Any]:
    """The type of every field of a recipe."""
    return typing.get_type_hints(cls)
