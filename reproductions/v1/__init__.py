"""DeepLab-LargeFOV: its recipes, its network, and the weights it knows, as the shared programs ask for them."""

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

segmenter = REPRODUCTION.segmenter
