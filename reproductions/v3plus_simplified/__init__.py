"""Simplified DeepLab v3+: its recipes, its network, and the weights it knows, as the shared programs ask for them."""

from common.reproduction import Reproduction
from reproductions.v3plus_simplified.config import settings
from reproductions.v3plus_simplified.keras_names import keras_names, not_in_weights
from reproductions.v3plus_simplified.recipe import VARIANTS, fields_from_weights

REPRODUCTION = Reproduction(
    name="v3plus_simplified",
    title="Simplified DeepLab v3+",
    variants=VARIANTS,
    sample_variants=("sample_xception", "sample_mobilenetv2"),
    scratch_variant="scratch",
    module="reproductions.v3plus_simplified.model",
    last_layer="^logits/",
    fields_from_weights=fields_from_weights,
    keras_names=keras_names,
    not_in_weights=not_in_weights,
    config_settings=settings,
)

segmenter = REPRODUCTION.segmenter
