"""`python -m reproductions.v2 train | evaluate | predict | describe | reproduce`."""

import sys

from common.cli import main
from common.reproduction import Reproduction
from reproductions.v2.recipe import MSC, VARIANTS, recognise

REPRODUCTION = Reproduction(
    name="v2",
    title="DeepLab v2",
    variants=VARIANTS,
    sample_variants=("sample",),
    scratch_variant="scratch",
    module="reproductions.v2.model",
    last_layer="^(fc1_voc12|decoder/aspp)",
    recognise=recognise,
    protocols=({"crf": True},),
    further_protocols=({"msc_scales": MSC["msc_scales"]}, {"msc_scales": MSC["msc_scales"], "crf": True}),
)

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
