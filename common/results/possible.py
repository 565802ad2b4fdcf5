"""Which values the data of a published row can have: by the recipes' ranges, the manifest and the data sets' cards."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from common.data.sets.cards import CARDS
from common.data.split import NAMES
from common.errors import UserError, quoted
from common.recipe.ranges import check_range
from common.recipe.recipe import Recipe
from common.results.protocol import Protocol
from common.training.seen import suite_manifest

OFFICIAL_SPLITS = ("train", "val", "trainval", "test")

# What training starts from, besides the weights that `make weights` knows: in words, and for Keras' own files the call
# that fetches them.
WITHOUT_NAME = {
    "random": "no weights",
    "imagenet": "weights trained on ImageNet, which the source does not name",
    "coco": "weights trained on COCO, which a training there must make first",
}
KERAS_FILES = {
    "xception_weights_tf_dim_ordering_tf_kernels_notop.h5": "Xception",
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5": "MobileNetV2",
}
# What a reproduction's training on COCO starts from, where it has one.
COCO_STARTS = {"v1": "vgg16_20m", "v3": "resnet_v1_101", "v3plus": "random"}
# By reproduction and variant: what a training starts from that another one starts from.
FIRST_STAGES = {
    ("v1", "deeplab"): "vgg16_128",
    ("v1", "paper"): "vgg16_20m",
    **{("v3plus", f"auto_deeplab_{size}_coco"): "random" for size in "sml"},
}


def inits_text() -> str:
    """Explain `INIT` in the commands that a missing number takes."""
    keras = "; ".join(
        f"`.venv/bin/python -c 'import keras; keras.applications.{call}(include_top=False)'` fetches "
        f"`~/.keras/models/{file}`"
        for file, call in KERAS_FILES.items()
    )
    return (
        "`INIT` is the file of the weights of that name: `make weights` lists the names, and `make weights NAME=name` "
        "fetches and converts them (behind a slash stands which of several files). Names that end in `.h5` are files "
        f"of Keras: {keras}. `random` is {WITHOUT_NAME['random']}. A row that starts from COCO trains there first, and "
        "one that starts from another variant's run makes that run first."
    )


def is_published(name: str) -> bool:
    """Whether the manifest has these weights: `entry`, or `entry/file` where the entry has several."""
    entry, _, file = name.partition("/")
    entries = suite_manifest().entries
    return entry in entries and any(file in weights.path for weights in entries[entry].weights)


def data_fault(data: str, split: str, classes: int) -> str:
    """Say what is wrong with a table's data set, split or classes, as the end of a sentence; empty where nothing is."""
    cards = {card.title: card for card in CARDS.values()}
    if data not in cards:
        return f"data is {quoted(data)}; there are {', '.join(cards)}"
    if split not in (splits := _splits(cards[data].name)):
        return f"split is {quoted(split)}; {data} has {', '.join(splits)}"
    count = len(cards[data].classes)
    if classes not in (count, count - 1):  # some leave the background out
        return f"classes is {classes}; {data} has {count}, or {count - 1} without the background"
    return ""


def _splits(dataset: str) -> tuple[str, ...]:
    card = CARDS[dataset]
    own = NAMES if dataset == "voc2012" else ()
    return tuple(dict.fromkeys([*OFFICIAL_SPLITS, *card.split_sizes, *card.folders, *own]))


def protocol_faults(protocol: Protocol, has_stride: bool) -> Iterator[str]:
    """Say what is wrong with a protocol; `has_stride` is whether its networks have more than one output stride."""
    stride, size, sides = protocol.output_stride, protocol.size, protocol.resize_range
    if stride is not None and not has_stride:
        yield f"output_stride is {stride}; these networks have but one, so leave it out"
    elif stride is not None and stride not in (4, 8, 16, 32, 64, 128, 256):
        yield f"output_stride is {stride}, and needs a power of two from 4 to 256"
    if isinstance(size, int) and size < 1:
        yield f"size is {size}, and needs a side above 0, or native"
    if sides and (len(sides) != 2 or not 0 < sides[0] <= sides[1]):
        yield f"resize_range is {list(sides)}, and needs the least short side and the greatest long side"
    if protocol.crop < 0:
        yield f"crop is {protocol.crop}, and needs a side above 0, or 0 for whole pictures"
    for name, factors in (("scales", protocol.scales or (0,) * (protocol.scales == ())), ("msc", protocol.msc)):
        if not all(0.01 <= factor <= 16 for factor in factors):
            yield f"{name} is {list(getattr(protocol, name))}, and needs factors from 0.01 to 16"
    if not protocol.told and protocol != Protocol(told=False):
        yield "told is false, so nothing else can be said"


def training_faults(default: Recipe, fields: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with a training's fields, which are changes of the reproduction's default recipe."""
    for name, value in fields.items():
        if re.match("variant$|eval_|crf|scale_fusion$|msc_scales$", name):
            yield f"{name} trains nothing; the row's protocol says how it was evaluated"
            return
        try:
            check_range(name, value)
        except UserError as error:
            yield _as_fault(error)
            return
    dataset = fields.get("dataset", default.dataset)
    if dataset not in CARDS:
        yield f"dataset is {quoted(dataset)}; there are {', '.join(CARDS)}"
    elif (split := fields.get("train_split")) and split not in (splits := _splits(dataset)):
        yield f"train_split is {quoted(split)}; {dataset} has {', '.join(splits)}"
    else:
        try:
            default.derive(**fields)
        except UserError as error:
            yield _as_fault(error)


def _as_fault(error: UserError) -> str:
    """`batch_size is -1, and must be at least 1` from `batch_size=-1: must be at least 1`."""
    return re.sub(r"^(\w+)=(.*?): ", r"\1 is \2, and ", str(error))


def origin_faults(init: str, weights: str, ours: str) -> Iterator[str]:
    """Say what is wrong with the names of published weights; `ours` is the reproduction whose recipe trains, if any."""
    if weights and not is_published(weights):
        yield f"weights is {quoted(weights)}, which the manifest does not have; `make weights` lists the names"
    if init in (variant for name, variant in FIRST_STAGES if ours in ("", name)):
        return
    if init and init not in WITHOUT_NAME and init not in KERAS_FILES and not is_published(init):
        kinds = ", ".join([*WITHOUT_NAME, *KERAS_FILES])
        yield f"init is {quoted(init)}, which is no name that `make weights` lists, and none of {kinds}"
    if init == "coco" and ours and ours not in COCO_STARTS:
        yield f"init is 'coco'; no recipe of {ours} makes such weights, so name those that it starts from"
    if init == "imagenet" and ours:
        yield "init is 'imagenet'; say which weights, since a recipe of ours can start from them"
