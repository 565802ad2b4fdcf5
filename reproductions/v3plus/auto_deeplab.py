"""Auto-DeepLab's recipes (arXiv 1901.02985, section 5.2): the cell and the path that were found, trained from scratch.

Parameters are the paper's (table 2: 10.15, 21.62 and 44.42 millions) when ASPP and decoder are not separable. The paper
tells neither how often ScheduledDropPath keeps a path, nor the batch. The first is ours; a repetition of the paper
(zhangximing666/Auto-DeepLab_MS) takes a batch of 8 from its counts.
"""

from reproductions.v3plus.zoo import ADE20K, CITYSCAPES, ZOO

STEM_FILTERS = {"s": 20, "m": 32, "l": 48}

MODEL = {
    **ZOO,
    "backbone": "nas_hnasnet",
    "aspp_separable": False,
    "decoder_separable": False,
    "output_stride": 8,
    "eval_output_stride": 8,
    # The original decays the depthwise kernels of the cells too.
    "weight_decay_on": "/weights$|^hnasnet/.*_weights$",
    "drop_path_keep_prob": 0.8,
    "learning_rate": 0.05,
    "batch_size": 8,
}
DATA = {
    "": {**CITYSCAPES, "num_steps": 1_500_000, "eval_size": "native"},
    "_coco": {"dataset": "coco", "train_split": "train2017", "num_steps": 4_000_000},
    # From a checkpoint of `_coco`.
    "_voc": {"train_split": "train_aug", "num_steps": 1_500_000, "init_not_loaded": ()},
    "_ade20k": {**ADE20K, "resize_factor": 32, "num_steps": 4_000_000},
}
AUTO_DEEPLAB = {
    f"auto_deeplab_{size}{name}": {**MODEL, "nas_stem_filters": filters, **data}
    for name, data in DATA.items()
    for size, filters in STEM_FILTERS.items()
}
