"""`python -m reproductions.v3plus_simplified train | evaluate | predict | describe | reproduce`."""

import sys

from common.cli import main
from common.reproduction import Reproduction
from reproductions.v3plus_simplified.config import settings
from reproductions.v3plus_simplified.keras_names import keras_names
from reproductions.v3plus_simplified.recipe import VARIANTS, recognise

REPRODUCTION = Reproduction(
    name="v3plus_simplified",
    title="Simplified DeepLab v3+",
    variants=VARIANTS,
    sample_variants=("sample_xception", "sample_mobilenetv2"),
    scratch_variant="scratch",
    module="reproductions.v3plus_simplified.model",
    last_layer="^logits/",
    recognise=recognise,
    keras_names=lambda shapes, recipe: keras_names(shapes, recipe.cell),
    untold=("encoder_middle_conf",),
    config_settings=settings,
)

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
