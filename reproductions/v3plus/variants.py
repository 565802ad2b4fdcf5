"""DeepLab v3+'s variants: the seed's models, the paper's tables, the zoo's models, and the sample runs."""

from reproductions.v3plus.recipe import V3PlusRecipe
from reproductions.v3plus.zoo import ADE20K, MOBILENET, ZOO, ZOO_MODELS

PASCAL = V3PlusRecipe(variant="pascal")

# The seed's four models: decoder or not, Xception-41 or -65 (the latter from COCO).
MODELS = {
    "model_a": {"backbone": "xception_41", "decoder": False},
    "model_b": {"backbone": "xception_41"},
    "model_c": {"decoder": False},
    "model_d": {},
}

# The seed's unintended behaviour; see this package's README.
SEED = {
    "void_pixels": "constant",
    "scale_atrous_rates": False,
    "weight_decay_on": r"^(?!xception).*/weights$",
    "weight_decay_fixed": ((r"(aspp|decoder_conv)_\d_pointwise/weights$", 4e-5),),
    "padding_pixel": (123.15, 115.90, 103.06),
}

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
_STRATEGIES = {"": {}, "_ms": {"eval_scales": SCALES}, "_ms_flip": {"eval_scales": SCALES, "eval_flip": True}}
# How a checkpoint is evaluated: os16, os16_ms, ..., os8_ms_flip.
STRATEGIES = {
    f"os{stride}{name}": {"eval_output_stride": stride, **how}
    for stride in (16, 8)
    for name, how in _STRATEGIES.items()
}

# The paper's training (section 4): .007 poly, 30,000 updates of 16 on train_aug.
PAPER = {**ZOO, "train_split": "train_aug", "learning_rate": 0.007, "batch_size": 16}
PLAIN = {"aspp_separable": False, "decoder_separable": False}  # before the paper takes separable convolutions
RESNET = {"backbone": "resnet_v1_101_beta", "multi_grid": (1, 2, 4), "weight_decay": 1e-4, **PLAIN}
XCEPTION = {"no_decoder": {**PLAIN, "decoder": False}, "decoder": PLAIN, "separable": {}}

# No trained weights: live batch norm with statistics that follow within a short run.
SCRATCH = {
    "initializer": "he_normal",
    "batch_norm_decay": 0.9,
    "batch_size": 4,
    "learning_rate": 0.02,
    "scale_step": 0.0,
    "train_split": "train_aug",
}
# Crops that hold most of a picture: image pooling then sees in training what it sees in evaluation.
SAMPLE = {
    **SCRATCH,
    "crop_size": (193, 193),
    "min_scale": 0.75,
    "max_scale": 1.25,
    "save_interval": 45,
    "eval_size": "native",
}
# MobileNetV2 with a decoder, rounded to 8 bits in its last third, with ranges that follow within a short run.
EIGHT_BITS = {
    **MOBILENET,
    "names": "zoo",
    "decoder": True,
    "quantize_delay_step": 60,
    "quantize_range_decay": 0.9,
}

VARIANTS = {
    recipe.variant: recipe
    for recipe in (
        PASCAL,
        PASCAL.derive(variant="ade20k", **ADE20K, aspp_depth=256),
        PASCAL.derive(variant="seed", **SEED),
        *(PASCAL.derive(variant=name, **model) for name, model in MODELS.items()),
        # The paper: table 3 (ResNet-101) and table 5 (Xception-65: plain, decoder, separable convolutions).
        *(PASCAL.derive(variant=f"table3_{name}", **PAPER | RESNET | how) for name, how in STRATEGIES.items()),
        *(
            PASCAL.derive(
                variant=f"table3_train32_os{stride}", **PAPER | RESNET, output_stride=32, eval_output_stride=stride
            )
            for stride in (32, 16, 8)
        ),
        PASCAL.derive(
            variant="table3_train32_no_decoder",
            **PAPER | RESNET,
            decoder=False,
            output_stride=32,
            eval_output_stride=32,
        ),
        *(
            PASCAL.derive(variant=f"table5_{kind}_{name}", **PAPER | model | how)
            for kind, model in XCEPTION.items()
            for name, how in STRATEGIES.items()
        ),
        *(PASCAL.derive(variant=name, **PAPER | model) for name, model in ZOO_MODELS.items()),
        PASCAL.derive(variant="scratch", **SCRATCH),
        PASCAL.derive(variant="sample_8bit", **SAMPLE | EIGHT_BITS, num_steps=90),
        *(
            # Without the decoder, scores are learnt at a sixteenth of the size, which takes longer.
            PASCAL.derive(
                variant=f"sample_{name}", **SAMPLE, **model, num_steps=90 if model.get("decoder", True) else 150
            )
            for name, model in MODELS.items()
        ),
    )
}
