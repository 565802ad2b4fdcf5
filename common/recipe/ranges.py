"""The least and the greatest numbers that a field of a recipe takes, whatever the other fields are.

The greatest ones are far beyond every network that trains: they tell a slip of the hand before it takes the memory.
"""

import math
from typing import Any

from common.errors import UserError, brief
from common.recipe.values import format_value

_COUNTS = (
    "num_classes",
    "num_steps",
    "batch_size",
    "step_size",
    "plateau_patience",
)
_AMOUNTS = (
    "weight_decay",
    "power",
    "momentum",
    "residual_gamma",
    "step_factor",
    "plateau_tolerance",
    "plateau_min_delta",
    "min_learning_rate",
    "epochs",
    "hard_example_mining_step",
    "gradient_clip",
    "resize_factor",
    "slow_start_step",
    "slow_start_learning_rate",
    "end_learning_rate",
    "decay_steps",
)
MOST_OF_ANY = 10**12
LARGEST_FLOAT = 1e30  # networks compute in float32, whose largest is 3.4e38
EPOCH = -1  # an interval of steps that is a pass over the data
INTERVALS = {"save_interval": 1, "plateau_window": 1, "validation_interval": 0}  # with the least other value
CRF = {  # by the CRF's own names, of common/inference/crf.py; a recipe puts crf_ before them
    "iterations": (0, 1000),
    **dict.fromkeys(("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"), (0.001, 1_000_000)),
    **dict.fromkeys(("gaussian_compat", "bilateral_compat"), (0, 1_000_000)),
}
RANGES = {
    **dict.fromkeys(_COUNTS, (1, math.inf)),
    **dict.fromkeys(_AMOUNTS, (0, math.inf)),
    "seed": (0, 2**31 - 1),
    **{f"crf_{name}": limits for name, limits in CRF.items()},
    "ignore_label": (0, 255),
    "grad_update_every": (1, 10_000),
    "calibration_batches": (0, 10_000),
    "repeat_count": (1, 1000),
    "image_pyramid": (0.1, 4),
    **dict.fromkeys(("min_scale", "max_scale"), (0.01, 32)),
    "scale_step": (0, 32),
    **dict.fromkeys(("eval_tile", "eval_overlap"), (0, 100_000)),
    **dict.fromkeys(("atrous_rate", "atrous_rates", "multi_grid", "conv_rate_multiplier", "channels"), (1, 1000)),
    **dict.fromkeys(("aspp_depth", "concat_channels", "reduction_size", "decoder_projection_filters"), (1, 10_000)),
    "fc6_channels": (1, 10_000),
    "fc6_kernel": (1, 31),
    "decoder_filters": (0, 10_000),
    "nas_stem_filters": (1, 10_000),
    "quantize_delay_step": (-1, math.inf),
    **dict.fromkeys(("decoder_kernels", "logits_kernel_size"), (1, 100)),
    **dict.fromkeys(("depth_multiplier", "mv2_depth_multiplier"), (-math.inf, 16)),
    "image_pooling_crop_size": (1, 100_000),
    "image_pooling_stride": (1, 1000),
    "last_layer_filters": (0, 10_000),
}
ABOVE_ZERO = (
    "learning_rate",
    "pixel_scale",
    "adam_epsilon",
    "depth_multiplier",
    "mv2_depth_multiplier",
)
MOST_ENTRIES = 300  # of a list; classes are 255 at the most


def check_range(name: str, value: Any) -> None:
    """Raise UserError for a field's value that is wrong whatever the other fields are."""
    numbers = value if isinstance(value, tuple) else (value,)
    if len(numbers) > MOST_ENTRIES:
        raise UserError(
            f"{name}={brief(format_value(value))}: has {len(numbers):,} entries; take {MOST_ENTRIES} at most"
        )
    if any(isinstance(n, int) and abs(n) > MOST_OF_ANY for n in numbers):
        raise UserError(f"{name}={brief(value)}: is too large; no number of a recipe is beyond {MOST_OF_ANY:,}")
    if any(isinstance(n, float) and not abs(n) <= LARGEST_FLOAT for n in numbers):  # NaN is not
        raise UserError(f"{name}={brief(format_value(value))}: must be finite, and at most {LARGEST_FLOAT:.1g}")
    if name in RANGES:
        check_limits(name, value, *RANGES[name])
    if name in INTERVALS and value != EPOCH and value < INTERVALS[name]:
        raise UserError(f"{name}={value}: must be at least {INTERVALS[name]}, or -1 for an epoch")
    if name in ABOVE_ZERO and value <= 0:
        raise UserError(f"{name}={value}: must be above 0")


def check_limits(name: str, value: Any, least: float, most: float) -> None:
    """Raise UserError for a number, or for numbers, outside `least` to `most`."""
    if not all(least <= n <= most for n in (value if isinstance(value, tuple) else (value,))):
        limits = f"at most {most}" if least == -math.inf else f"from {least} to {most}"
        limits = f"at least {least}" if most == math.inf else limits
        raise UserError(f"{name}={brief(format_value(value))}: must be {limits}")
