"""DeepLab v2: its recipes, its network, and the weights it knows, as the shared programs ask for them."""

from common.reproduction import Reproduction
from reproductions.v2.recipe import VARIANTS, fields_from_weights

REPRODUCTION = Reproduction(
    name="v2",
    title="DeepLab v2",
    variants=VARIANTS,
    sample_variants=("sample",),
    scratch_variant="scratch",
    module="reproductions.v2.model",
    last_layer="^(fc1_voc12|decoder/aspp)",
    fields_from_weights=fields_from_weights,
    protocols=({"crf": True},),
)

segmenter = REPRODUCTION.segmenter
