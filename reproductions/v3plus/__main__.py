"""`python -m reproductions.v3plus train | evaluate | predict | describe | reproduce`."""

import sys

from common.cli import main
from common.reproduction import Reproduction
from reproductions.v3plus.recipe import MODELS, STRATEGIES, VARIANTS, recognise

REPRODUCTION = Reproduction(
    name="v3plus",
    title="DeepLab v3+",
    variants=VARIANTS,
    sample_variants=tuple(f"sample_{name}" for name in MODELS),
    scratch_variant="scratch",
    module="reproductions.v3plus.model",
    last_layer="^logits/",
    recognise=recognise,
    further_protocols=tuple(how for name, how in STRATEGIES.items() if name != "os16"),
)

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
