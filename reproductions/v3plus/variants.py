"""DeepLab v3+'s variants: the seed's models, the paper's tables, the zoo's models, and the sample runs."""

from common.recipe.recipe import SLIM_PREPROCESSING
from reproductions.v3plus.auto_deeplab import AUTO_DEEPLAB
from reproductions.v3plus.official import TRAINING, gradient_multipliers
from reproductions.v3plus.recipe import V3PlusRecipe
from reproductions.v3plus.zoo import ADE20K, CITYSCAPES, MOBILENET, MOBILENET_V3, ZOO, ZOO_MODELS

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
# rishizek's network and README: ResNet v2 at its plain rates, weight decay of everything that is trained, and no
# resize with aligned corners. Its learning rate ends at 1e-6; ours ends at 0.
RISHIZEK = {
    **PLAIN,
    **SLIM_PREPROCESSING,
    "names": "rishizek",
    "backbone": "resnet_v2_101",
    "aspp_depth": 256,
    "align_corners": False,
    "initializer": "he_normal",
    "scale_step": 0.0,
    "padding_pixel": (0.0, 0.0, 0.0),
    "train_split": "train_aug",
    "learning_rate": 0.007,
    "weight_decay": 2e-4,
    "weight_decay_on": ".",
    "batch_size": 15,
    "eval_size": "native",
}
XCEPTION = {"no_decoder": {**PLAIN, "decoder": False}, "decoder": PLAIN, "separable": {}}

# Tables 1 and 2: the channels of the decoder's 1x1 convolution, and the convolutions behind it, on ResNet-101.
DECODERS = {
    **{f"table1_{n}": {"decoder_kernels": (3,), "decoder_projection_filters": n} for n in (8, 16, 32, 48, 64)},
    "table2_3x3_256_x3": {"decoder_kernels": (3, 3, 3)},
    "table2_3x3_128": {"decoder_kernels": (3,), "decoder_filters": 128},
    "table2_1x1_256": {"decoder_kernels": (1,)},
    "table2_conv3_conv2": {"decoder_kernels": (3,), "decoder_output_stride": (8, 4)},
}
# Table 7: 90,000 updates on crops of 769 of Cityscapes' pictures, which keep their 1024x2048 pixels.
TABLE_7 = {**CITYSCAPES, "num_steps": 90000, "eval_size": "native"}
CITIES = {
    "table7_no_decoder": {"decoder": False},
    "table7_decoder": {},
    "table7_no_image_pooling": {"image_pooling": False},
    "table7_xception71": {"backbone": "xception_71", "image_pooling": False},
}
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
# The zoo's MobileNetV3 on the drawn pictures, whose sides are 144 or more: a window of image pooling fits in each.
SAMPLE_MOBILENET_V3 = {
    **SAMPLE,
    **MOBILENET_V3,
    "names": "zoo",
    "backbone": "mobilenet_v3_large_seg",
    "image_pooling_crop_size": (129, 129),
    "image_pooling_stride": (1, 1),
    "num_steps": 300,
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
        # The paper: table 3 (ResNet-101) and table 5 (Xception-65: plain, decoder, separable convolutions); tables 1, 2
        # and 7, and table 3 without the decoder, follow the zoo.
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
        *(
            PASCAL.derive(variant=f"table3_no_decoder_{name}", **PAPER | RESNET | how, decoder=False)
            for name, how in STRATEGIES.items()
        ),
        *(PASCAL.derive(variant=name, **PAPER | RESNET | decoder) for name, decoder in DECODERS.items()),
        *(PASCAL.derive(variant=name, **PAPER | TABLE_7 | model) for name, model in CITIES.items()),
        *(PASCAL.derive(variant=name, **model) for name, model in AUTO_DEEPLAB.items()),
        PASCAL.derive(variant="coco", **PAPER | COCO),
        PASCAL.derive(variant="phase2", **PAPER | PHASE2),
        PASCAL.derive(
            variant="table6_test", **PAPER | PHASE2 | STRATEGIES["os8_ms_flip"] | {"train_split": "trainval"}
        ),
        PASCAL.derive(variant="official", **OFFICIAL),
        PASCAL.derive(variant="official_last_layers", **OFFICIAL | {"lr_multipliers": gradient_multipliers(10.0)}),
        PASCAL.derive(variant="rishizek", **RISHIZEK),
        PASCAL.derive(variant="scratch", **SCRATCH),
        PASCAL.derive(variant="sample_8bit", **SAMPLE | EIGHT_BITS, num_steps=90),
        *(
            # Without the decoder, scores are learnt at a sixteenth of the size, which takes longer.
            PASCAL.derive(
                variant=f"sample_{name}", **SAMPLE, **model, num_steps=90 if model.get("decoder", True) else 150
            )
            for name, model in MODELS.items()
        ),
        PASCAL.derive(variant="sample_mobilenet_v3", **SAMPLE_MOBILENET_V3),
    )
}
