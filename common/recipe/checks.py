"""Rules that several fields of a recipe keep together; `ranges.py` has the limits of each alone."""

import math
import re
from collections.abc import Iterable
from typing import Any, Literal

from common.errors import UserError, brief
from common.recipe.values import format_value

MOST_GIGABYTES = 64  # of the pictures that a step, or an evaluation, has in memory at once


def check_patterns(patterns: Iterable[str]) -> None:
    """Raise UserError for a text that is no regular expression."""
    for pattern in patterns:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise UserError(f"'{brief(pattern)}': is not a regular expression ({brief(str(error))})") from None


def check_memory(
    crop_size: tuple[int, int],
    batch_size: int,
    eval_size: Literal["native"] | int,
    eval_scales: tuple[float, ...],
    resize_range: tuple[int, ...],
) -> None:
    """Raise UserError for sizes whose pictures alone, float32 with three channels, take too much memory."""
    side = eval_size if isinstance(eval_size, int) else 0
    pixels: list[tuple[dict[str, Any], float]] = [
        ({"crop_size": crop_size, "batch_size": batch_size}, crop_size[0] * crop_size[1] * batch_size),
        ({"eval_size": eval_size, "eval_scales": eval_scales}, (side * max(eval_scales)) ** 2),
        ({"resize_range": resize_range}, resize_range[0] ** 2 if resize_range else 0),  # the least, for short sides
    ]
    for fields, count in pixels:
        gigabytes = 12 * count / 1e9
        if gigabytes > MOST_GIGABYTES:
            said = " and ".join(f"{name}={brief(format_value(value))}" for name, value in fields.items())
            raise UserError(
                f"{said}: the pictures alone need {gigabytes:,.0f} GB of memory; take less than {MOST_GIGABYTES} GB"
            )


def check_eval_size(eval_size: Literal["native"] | int, eval_scales: tuple[float, ...]) -> None:
    """Raise UserError for a size or scales at which no picture can be evaluated."""
    if isinstance(eval_size, int) and eval_size <= 0:
        raise UserError(f"eval_size={eval_size}: must be above 0, or 'native'")
    if not eval_scales or not all(0.01 <= scale <= 16 for scale in eval_scales):
        raise UserError(f"eval_scales={brief(format_value(eval_scales))}: needs factors from 0.01 to 16")


def check_tiles(tile: int, overlap: int, resize_range: tuple[int, ...]) -> None:
    """Raise UserError for tiles that cannot be laid over pictures as they are evaluated."""
    if tile and 2 * overlap > tile:
        raise UserError(f"eval_overlap={overlap}: must be at most half of eval_tile={tile}")
    if tile and resize_range:
        raise UserError(f"eval_tile={tile}: is for pictures that are not resized; add eval_size=native")


def check_class_weights(weights: Literal["auto"] | tuple[float, ...], classes: int, loss: str) -> None:
    """Raise UserError unless there is a weight for each of the classes, in the range that the loss needs."""
    if weights == "auto":
        return
    shown = f"class_weights={brief(format_value(weights))}"
    if loss == "class_balanced" and not weights:
        raise UserError("loss=class_balanced: needs class_weights, one per class from 0 to 1, or 'auto'")
    if weights and len(weights) != classes:
        raise UserError(f"{shown}: {len(weights)} weights for {classes} classes; 'auto' measures them")
    if weights and not 0 <= min(weights) <= max(weights) <= (1 if loss == "class_balanced" else math.inf):
        raise UserError(f"{shown}: must be at least 0, and with loss=class_balanced at most 1")


def check_schedule(schedule: str, num_steps: int, slow_start_step: int, epochs: int) -> None:
    """Raise UserError for a slow start that no schedule follows."""
    if slow_start_step and schedule == "plateau":
        raise UserError(
            f"slow_start_step={slow_start_step}: a plateau schedule follows the losses and has no slow start; take "
            f"another schedule, or slow_start_step=0"
        )
    if slow_start_step >= num_steps and not epochs:  # with epochs the data tell num_steps
        raise UserError(f"slow_start_step={slow_start_step}: must be below num_steps={num_steps}")


def check_resize_range(limits: tuple[int, ...], factor: int) -> None:
    """Raise UserError unless the limits are a least short and a greatest long side, above the factor."""
    if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
        raise UserError(
            f"resize_range={brief(format_value(limits))}: needs the least short side and the greatest "
            f"long side, such as 513,513"
        )
    if factor >= limits[1]:
        raise UserError(
            f"resize_factor={factor}: must be below the greatest side of resize_range={format_value(limits)}"
        )
