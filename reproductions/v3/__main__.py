"""`python -m reproductions.v3 train | evaluate | predict | describe | reproduce`."""

import sys

from common.cli import main
from common.reproduction import Reproduction
from reproductions.v3.recipe import SCALES, VARIANTS, recognise

REPRODUCTION = Reproduction(
    name="v3",
    title="DeepLab v3",
    variants=VARIANTS,
    sample_variants=("sample",),
    scratch_variant="scratch",
    module="reproductions.v3.model",
    last_layer="/logits/Conv/",
    recognise=recognise,
    protocols=(
        {"eval_output_stride": 8},
        {"eval_output_stride": 8, "eval_scales": SCALES},
        {"eval_output_stride": 8, "eval_scales": SCALES, "eval_flip": True},
    ),
)

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
