"""The recipe fields that v3 and v3+ share: a backbone at a chosen output stride, ASPP, live batch norm."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from common.errors import UserError
from common.recipe.recipe import Recipe

NOMINAL_STRIDE = 16  # the output stride for which atrous rates are given

Stride = Literal[8, 16, 32]


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe(Recipe):
    """Network options of arXiv 1706.05587 and 1802.02611.

    Training and evaluation choose their output strides independently: the weights are the same
    (1706.05587, table 10).
    """

    WEIGHT_FIELDS: ClassVar[tuple[str, ...]] = (
        *Recipe.WEIGHT_FIELDS,
        "multi_grid",
        "atrous_rates",
        "image_pooling",
        "batch_norm_epsilon",
    )

    EVALUATION_FIELDS: ClassVar[tuple[str, ...]] = (*Recipe.EVALUATION_FIELDS, "eval_output_stride")

    output_stride: Stride = 16  # in training
    eval_output_stride: Stride = 16
    multi_grid: tuple[int, ...] = (1, 2, 4)  # factors of the rates of the units of the last blocks
    atrous_rates: tuple[int, ...] = (6, 12, 18)  # of ASPP, at output stride 16
    scale_atrous_rates: bool = True  # double them at output stride 8, halve them at 32
    image_pooling: bool = True

    # Batch norm in training: normalise by the batch and update the stored statistics, or normalise by the stored ones.
    fine_tune_batch_norm: bool = True
    freeze_bn: bool = False  # statistics, gamma and beta are constants
    batch_norm_epsilon: float = 1e-5
    batch_norm_decay: float | None = 0.9997  # None: each part of the network has its own

    loss_size: Literal["logits", "labels"] = "labels"

    def validate(self) -> None:
        super().validate()
        if self.batch_statistics and self.batch_size < 2:
            raise UserError(
                f"batch_size={self.batch_size}: live batch norm has nothing to normalise by in one picture (image "
                f"pooling would give its own mean back); take batch_size=2 or more, or freeze_bn=true"
            )
        if self.batch_norm_decay is not None and not 0 <= self.batch_norm_decay < 1:
            raise UserError(f"batch_norm_decay={self.batch_norm_decay}: must be at least 0 and below 1")

    @property
    def batch_statistics(self) -> bool:
        """Whether training normalises by the batch: `fine_tune_batch_norm`, unless `freeze_bn` overrules it.

        `freeze_bn` also keeps gamma and beta constant.
        """
        return self.fine_tune_batch_norm and not self.freeze_bn

    def at_evaluation(self) -> Self:
        return self.derive(output_stride=self.eval_output_stride)

    def protocol(self) -> dict[str, Any]:
        return {"output_stride": self.output_stride if self.tells_stride else None, **super().protocol()}

    def rates(self) -> tuple[int, ...]:
        """ASPP's rates at `output_stride`."""
        factor = NOMINAL_STRIDE / self.output_stride if self.scale_atrous_rates else 1
        return tuple(max(1, round(rate * factor)) for rate in self.atrous_rates)
