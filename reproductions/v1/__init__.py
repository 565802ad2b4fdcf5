"""DeepLab on VGG-16: its recipes, its networks, and the weights it knows, as the shared programs ask for them."""

from common.reproduction import Reproduction
from reproductions.v1.recipe import VARIANTS, fields_from_weights

REPRODUCTION = Reproduction(
    name="v1",
    title="DeepLab-LargeFOV",
    variants=VARIANTS,
    sample_variants=("sample", "sample_aspp"),
    scratch_variant="scratch",
    module="reproductions.v1.model",
    last_layer="^(fc8_voc12(_[0-9]+)?|[a-z0-9]+_ms)/",
    fields_from_weights=fields_from_weights,
    protocols=({"crf": True},),
)

segmenter = REPRODUCTION.segmenter
