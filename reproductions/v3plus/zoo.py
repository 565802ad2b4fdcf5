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

# The zoo's cell, found on Cityscapes: (input, rate) of five separable 3x3 convolutions.
DPC = json.dumps(
    [
        {"op": "conv", "kernel": 3, "input": source, "rate": rate}
        for source, rate in ((-1, [1, 6]), (0, [18, 15]), (1, [6, 3]), (0, [1, 1]), (0, [6, 21]))
    ]
)

# The zoo's checkpoints by their archives' names: network and evaluation as its page gives them (single scale).
_CITY_EVAL = {**CITYSCAPES, "eval_size": "native"}
ZOO_MODELS = {
    "mnv2_dm05_pascal_trainaug": {**MOBILENET, "depth_multiplier": 0.5},
    "mnv2_dm05_pascal_trainval": {**MOBILENET, "depth_multiplier": 0.5, "eval_output_stride": 8},
    "mnv2_pascal_train_aug": MOBILENET,
    "mnv2_pascal_trainval": {**MOBILENET, "eval_output_stride": 8},
    "xception65_pascal_train_aug": {},
    "xception65_pascal_trainval": {"eval_output_stride": 8},
    "mnv2_cityscapes_train": {**MOBILENET, **_CITY_EVAL},
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
