"""DeepLab v3+: its recipes, its network, and the weights it knows, as the shared programs ask for them."""

from common.reproduction import Reproduction
from reproductions.v3plus.from_weights import fields_from_weights, not_in_weights
from reproductions.v3plus.variants import MODELS, VARIANTS

REPRODUCTION = Reproduction(
    name="v3plus",
    title="DeepLab v3+",
    variants=VARIANTS,
    sample_variants=(*(f"sample_{name}" for name in MODELS), "sample_mobilenet_v3", "sample_8bit"),
    scratch_variant="scratch",
    module="reproductions.v3plus.model",
    last_layer="^logits/|^decoder/upsampling_logits/conv_1x1/",
    fields_from_weights=fields_from_weights,
    not_in_weights=not_in_weights,
)

segmenter = REPRODUCTION.segmenter
