"""`python -m reproductions.v1 train | evaluate | predict | describe | reproduce`."""

import sys

from common.cli import main
from common.reproduction import Reproduction
from reproductions.v1.recipe import VARIANTS, recognise


def load_network():
    from reproductions.v1.model import network

    return network


REPRODUCTION = Reproduction(
    name="v1",
    title="DeepLab-LargeFOV",
    variants=VARIANTS,
    sample_variant="sample",
    scratch_variant="scratch",
    load_network=load_network,
    recognise=recognise,
    protocols=({"crf": True},),
)

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
