"""DeepLab v3: its recipes, its network, and the weights it knows, as the shared programs ask for them."""

from common.reproduction import Reproduction
from reproductions.v3.recipe import SCALES, VARIANTS, fields_from_weights

REPRODUCTION = Reproduction(
    name="v3",
    title="DeepLab v3",
    variants=VARIANTS,
    sample_variants=("sample",),
    scratch_variant="scratch",
    module="reproductions.v3.model",
    last_layer="/logits/Conv/|^upsampling_logits/",
    fields_from_weights=fields_from_weights,
    protocols=(
        {"eval_output_stride": 8},
        {"eval_output_stride": 8, "eval_scales": SCALES},
        {"eval_output_stride": 8, "eval_scales": SCALES, "eval_flip": True},
    ),
)

segmenter = REPRODUCTION.segmenter
