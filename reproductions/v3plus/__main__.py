"""`python -m reproductions.v3plus train | evaluate | predict | describe | reproduce`."""

import sys

from common.cli import main
from common.reproduction import Reproduction
from reproductions.v3plus.recipe import VARIANTS, recognise

REPRODUCTION = Reproduction(
    name="v3plus",
    title="DeepLab v3+",
    variants=VARIANTS,
    sample_variant="sample",
    scratch_variant="sample",
    module="reproductions.v3plus.model",
    recognise=recognise,
    protocols=(),
)

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
