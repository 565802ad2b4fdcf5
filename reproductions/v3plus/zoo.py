"""The models of the official zoo: the networks of its checkpoints, and how its page evaluates them.

Source: tensorflow/models research/deeplab/g3doc/model_zoo.md.
"""

import json

# The official names and width.
ZOO = {"names": "zoo", "aspp_depth": 256}
MOBILENET = {"backbone": "mobilenet_v2", "atrous_rates": (), "decoder": False}
# quantize.md: 2,000 to 5,000 updates from a float network; 3e-5 on PASCAL, and the command's 3,000 of 8 pictures.
EIGHT_BITS = {
    "quantize_delay_step": 0,
    "learning_rate": 3e-5,
    "num_steps": 3000,
    "batch_size": 8,
    "init_not_loaded": (),
}

ADE20K = {
    "dataset": "ade20k",
    "train_split": "train",
    "num_classes": 151,
    "resize_range": (513, 513),
    "resize_factor": 16,
}
CITYSCAPES = {"dataset": "cityscapes", "num_classes": 19, "train_split": "train_fine", "crop_size": (769, 769)}

# The head of the zoo's MobileNetV3: image features of 3/4 of the height, moved without padding, gate one branch of 1x1,
# and the decoder's sum is the scores.
MOBILENET_V3 = {
    "aspp_depth": 128,
    "atrous_rates": (),
    "output_stride": 32,
    "eval_output_stride": 32,
    "image_pooling_stride": (4, 5),
    "aspp_concat_projection": False,
    "aspp_squeeze_and_excitation": True,
    "image_se_uses_qsigmoid": True,
    "decoder_output_stride": (8,),
    "decoder_sum_merge": True,
    "decoder_output_is_logits": True,
}
# MobileNet-EdgeTPU's: MobileNetV2's. The page evaluates at output stride 32 and 16. The slim one keeps the width of the
# last convolution: its public 8 bit file has it, and only so the multiply-adds are the page's.
EDGETPU = {
    "backbone": "mobilenet_edgetpu",
    "atrous_rates": (),
    "decoder": False,
    "output_stride": 32,
    "eval_output_stride": 32,
}

# The zoo's cell, found on Cityscapes: (input, rate) of five separable 3x3 convolutions.
DPC = json.dumps(
    [
        {"op": "conv", "kernel": 3, "input": source, "rate": rate}
        for source, rate in ((-1, [1, 6]), (0, [18, 15]), (1, [6, 3]), (0, [1, 1]), (0, [6, 21]))
    ]
)

# The zoo's checkpoints by their archives' names: network and evaluation as its page gives them (single scale).
_CITY_EVAL = {**CITYSCAPES, "eval_size": "native"}
_CITY_V3 = {**_CITY_EVAL, **MOBILENET_V3, "image_pooling_crop_size": (769, 769)}
ZOO_MODELS = {
    "mnv2_dm05_pascal_trainaug": {**MOBILENET, "depth_multiplier": 0.5},
    "mnv2_dm05_pascal_trainval": {**MOBILENET, "depth_multiplier": 0.5, "eval_output_stride": 8},
    "mnv2_pascal_train_aug": MOBILENET,
    "mnv2_pascal_trainval": {**MOBILENET, "eval_output_stride": 8},
    "xception65_pascal_train_aug": {},
    "xception65_pascal_trainval": {"eval_output_stride": 8},
    "mnv2_cityscapes_train": {**MOBILENET, **_CITY_EVAL},
    "mnv3_large_cityscapes_trainfine": {"backbone": "mobilenet_v3_large_seg", **_CITY_V3},
    "mnv3_small_cityscapes_trainfine": {"backbone": "mobilenet_v3_small_seg", **_CITY_V3},
    "edgetpu_deeplab_cityscapes": {**EDGETPU, **_CITY_EVAL},
    "edgetpu_deeplab_slim_cityscapes": {
        **EDGETPU,
        **_CITY_EVAL,
        "depth_multiplier": 0.75,
        "aspp_depth": 128,
        "last_layer_filters": 1280,
    },
    "xception65_cityscapes_train": _CITY_EVAL,
    "xception71_dpc_cityscapes_trainfine": {"backbone": "xception_71", "dense_prediction_cell": DPC, **_CITY_EVAL},
    "xception71_dpc_cityscapes_trainvalfine": {
        "backbone": "xception_71",
        "dense_prediction_cell": DPC,
        "eval_output_stride": 8,
        **_CITY_EVAL,
    },
    "xception65_ade20k_train": {**ADE20K, "eval_output_stride": 8},
    "mnv2_ade20k_train": {
        **ADE20K,
        "resize_range": (257, 257),
        "crop_size": (257, 257),
        "eval_size": 257,
        "backbone": "mobilenet_v2",
        "atrous_rates": (),
    },
    # Of quantize.md, trained in floats, then in 8 bits. They come last: a float file may tell no less of them.
    "mnv2_dm05_coco_voc_trainaug_8bit": {**MOBILENET, **EIGHT_BITS, "depth_multiplier": 0.5},
    "mnv2_coco_voc_trainaug_8bit": {**MOBILENET, **EIGHT_BITS},
}
