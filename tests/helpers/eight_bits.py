"""The tiny reproduction in 8 bits, for tests of what training and its files do with ranges."""

from dataclasses import dataclass

from common.cli import main
from common.reproduction import Reproduction
from tests.helpers.tiny import SMALL, TinyRecipe


@dataclass(frozen=True, kw_only=True)
class EightBitRecipe(TinyRecipe):
    quantize_delay_step: int = -1

    @property
    def quantised_from(self) -> int | None:
        return self.quantize_delay_step if self.quantize_delay_step >= 0 else None

    @property
    def range_decay(self) -> float:
        return 0.5

    def in_floats(self) -> "EightBitRecipe":
        return self.derive(quantize_delay_step=-1)


FLOAT = EightBitRecipe(**{**SMALL.to_json(), "variant": "float", "init_not_loaded": (), "num_steps": 4})
VARIANTS = {
    recipe.variant: recipe
    for recipe in (
        FLOAT,
        FLOAT.derive(variant="at_once", quantize_delay_step=0, calibration_batches=0),
        FLOAT.derive(variant="live", quantize_delay_step=1, live_batch_norm=True, calibration_batches=0),
    )
}
EIGHT_BITS = Reproduction(
    name="eight_bits",
    title="Tiny of 8 bits",
    variants=VARIANTS,
    sample_variants=("at_once",),
    scratch_variant="at_once",
    module="tests.helpers.tiny",
    last_layer="^scores/",
)


def run(*arguments: object) -> int:
    """The command line in this process; argparse's exit becomes its status."""
    try:
        return main(EIGHT_BITS, [str(a) for a in arguments])
    except SystemExit as exit_:
        return exit_.code
