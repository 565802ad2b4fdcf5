"""DeepLab v3+'s variants: the seed's models, the paper's tables, the zoo's models, and the sample runs."""

from reproductions.v3plus.official import TRAINING, gradient_multipliers
from reproductions.v3plus.recipe import V3PlusRecipe
from reproductions.v3plus.zoo import ADE20K, ZOO, ZOO_MODELS

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

# research/deeplab's train.py with the defaults of its flags; it advises .007 for train_aug.
OFFICIAL = {**ZOO, **TRAINING, "learning_rate": 1e-4}

# Both phases of the paper's training for the test server, after one on COCO. The first is table 5's on train_aug at
# output stride 16; the second goes on from its checkpoint at output stride 8, batch norm frozen, at .001 (1706.05587,
# section 4.1, whose protocol the paper takes). `train` leaves val to be measured on; table 6 takes trainval.
COCO = {"dataset": "coco", "train_split": "train2017"}
PHASE2 = {
    "train_split": "train",
    "learning_rate": 0.001,
    "output_stride": 8,
    "eval_output_stride": 8,
    "freeze_bn": True,
    "init_not_loaded": (),
}

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
        PASCAL.derive(variant="coco", **PAPER | COCO),
        PASCAL.derive(variant="phase2", **PAPER | PHASE2),
        PASCAL.derive(
            variant="table6_test", **PAPER | PHASE2 | STRATEGIES["os8_ms_flip"] | {"train_split": "trainval"}
        ),
        PASCAL.derive(variant="official", **OFFICIAL),
        PASCAL.derive(variant="official_last_layers", **OFFICIAL | {"lr_multipliers": gradient_multipliers(10.0)}),
        PASCAL.derive(variant="scratch", **SCRATCH),
        *(
            # Without the decoder, scores are learnt at a sixteenth of the size, which takes longer.
            PASCAL.derive(
                variant=f"sample_{name}", **SAMPLE, **model, num_steps=90 if model.get("decoder", True) else 150
            )
            for name, model in MODELS.items()
        ),
    )
}
