"""`python -m reproductions.v1 train | evaluate | predict | describe | reproduce`."""

import sys

from common.cli import main
from common.reproduction import Reproduction
from reproductions.v1.recipe import VARIANTS

REPRODUCTION = Reproduction(
    name="v1",
    title="DeepLab-LargeFOV",
    variants=VARIANTS,
    sample_variants=("sample",),
    scratch_variant="scratch",
    module="reproductions.v1.model",
    last_layer="^fc8_voc12/",
    protocols=({"crf": True},),
)

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
