"""`python -m converters.torch_to_tf`: convert DeepLab v2 of kazuto1011/deeplab-pytorch, a `.pth`, to a checkpoint.

Names, shapes and epsilon are those of that repository's libs/models (resnet.py, deeplabv2.py, msc.py). Its older
versions, whose names differ, are read too. PyTorch is not needed.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import program
from common.console import show, stage
from common.errors import UserError
from common.words import NAMED, some, some_of_each
from converters.fit import check
from converters.torch_file import read_torch

if TYPE_CHECKING:
    from common.recipe.recipe import Recipe

Arrays = Mapping[str, np.ndarray]

# The file's names -> those of the newest version: the module around the network, and what was renamed since 2018.
RENAMED = (
    (r"^module\.", ""),
    (r"^(base|scale)\.", ""),
    (r"\.proj\.", ".shortcut."),
    (r"^aspp\.stages\.", "aspp."),
)
UNUSED = r"\.num_batches_tracked$"  # what batch norm counts in training
PARTS = {"shortcut": "shortcut", "conv1": "reduce", "conv2": "conv3x3", "conv3": "increase"}
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
EPSILON = 1e-5  # of its batch norm
PREPROCESSING = {"channel_order": "bgr", "pixel_mean": (104.008, 116.669, 122.675), "pixel_scale": 1.0}


def v2_names() -> Iterator[tuple[str, str]]:
    """Pairs of variable and array: reproduction v2's `deeplab` network, and kazuto1011's newest names."""
    from common.nets.backbones.resnet_v1 import caffe_names
    from common.nets.backbones.units import UNITS

    def layer(where: tuple[int, int, str], name: str) -> Iterator[tuple[str, str]]:
        conv, norm = caffe_names(UNITS[101])(*where)
        yield f"{conv}/weights", f"{name}.conv.weight"
        yield from ((f"{norm}/{ours}", f"{name}.bn.{theirs}") for ours, theirs in NORM.items())

    yield from layer((0, 0, "conv1"), "layer1.conv1")
    for block, units in enumerate(UNITS[101], 1):
        for unit in range(1, units + 1):
            for part, name in PARTS.items():
                if part != "shortcut" or unit == 1:
                    yield from layer((block, unit, part), f"layer{block + 1}.block{unit}.{name}")
    for branch in range(4):
        yield f"fc1_voc12_c{branch}/weights", f"aspp.c{branch}.weight"
        yield f"fc1_voc12_c{branch}/biases", f"aspp.c{branch}.bias"


def newest_names(arrays: Arrays) -> dict[str, str]:
    """The newest version's name -> the file's name, of every array but the counters of training.

    Raises UserError when two arrays have one name there.
    """
    names: dict[str, str] = {}
    for name in arrays:
        if re.search(UNUSED, name):
            continue
        newest = name
        for old, new in RENAMED:
            newest = re.sub(old, new, newest)
        if newest in names:
            raise UserError(f"its arrays {some([names[newest], name])} are both {newest}")
        names[newest] = name
    return names


def v2_variables(arrays: Arrays) -> dict[str, np.ndarray]:
    """The variables of v2's `deeplab` network, float32; kernels [out, in, h, w] become [h, w, in, out].

    Raises:
      UserError: listing every array that is missing, and every one that the network does not have.
    """
    theirs, pairs = newest_names(arrays), dict(v2_names())
    wanted = set(pairs.values())
    missing = [name for name in pairs.values() if name not in theirs]
    unused = [name for newest, name in theirs.items() if newest not in wanted]
    if missing or unused:
        kinds = {"missing arrays": missing, "arrays that this network does not have": unused}
        raise UserError(f"does not fit DeepLab v2 with ResNet-101: {some_of_each(kinds)}")
    values = {variable: arrays[theirs[name]] for variable, name in pairs.items()}
    if whole := [n for n, value in values.items() if value.dtype.kind != "f"]:
        raise UserError(f"{len(whole)} arrays hold no real numbers: {some(whole, NAMED)}")
    return {
        name: np.array(value.transpose(2, 3, 1, 0) if value.ndim == 4 else value, np.float32, order="C")
        for name, value in values.items()
    }


def convert_v2(arrays: Arrays, variant: str) -> tuple[dict[str, np.ndarray], "Recipe"]:
    """The variables, and the recipe of `variant` with what the weights settle: classes, epsilon, preprocessing.

    Raises UserError when names or shapes are not those of the network, or a value is not finite.
    """
    variables = v2_variables(arrays)
    from common.nets.network import build
    from common.tf1 import tf
    from reproductions.v2 import REPRODUCTION

    recipe = REPRODUCTION.recipe_to_train([f"variant={variant}"])
    classes = variables["fc1_voc12_c0/biases"].size
    recipe = recipe.derive(num_classes=classes, batch_norm_epsilon=EPSILON, **PREPROCESSING)
    if recipe.encoder != "deeplab":
        raise UserError(f"--variant {variant}: has the encoder {recipe.encoder}; the file's is deeplab")
    one_scale = recipe.derive(msc_scales=(1.0,))
    check(
        variables,
        lambda: build(REPRODUCTION.load_network(), tf.zeros([1, 65, 65, 3]), one_scale),
        f"DeepLab v2, variant {variant}",
    )
    return variables, recipe


# Reproduction -> its conversion, and the variant unless another is named. The file's network has three scales.
TARGETS = {"v2": (convert_v2, "caffe_msc")}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m converters.torch_to_tf",
        description="Convert a .pth of kazuto1011/deeplab-pytorch to a checkpoint.",
        example="--weights weights/kazuto_deeplabv2/deeplabv2_resnet101_msc-vocaug-20000.pth --out out/vocaug.ckpt",
    )
    parser.add_argument("--weights", type=Path, required=True, metavar="X.pth", help="file of torch.save")
    parser.add_argument("--to", choices=TARGETS, default="v2", help="reproduction to fill (default: %(default)s)")
    parser.add_argument("--variant", metavar="NAME", help="recipe that goes with the weights (default: caffe_msc)")
    parser.add_argument("--out", type=Path, required=True, metavar="CKPT", help="checkpoint prefix to write")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    convert, variant = TARGETS[args.to]
    stage("reading the file")
    arrays = read_torch(args.weights)
    try:
        variables, recipe = convert(arrays, args.variant or variant)
    except UserError as error:
        text = str(error).replace("--set variant=", "--variant ")
        raise UserError(text if text.startswith("--") else f"{args.weights}: {text}") from None
    from common.weights.checkpoints import write

    write(args.out, variables, recipe)
    values = sum(v.size for v in variables.values())
    show(f"{args.out}: {len(variables)} variables, {values:,} parameters, {recipe.num_classes} classes")


if __name__ == "__main__":
    sys.exit(main())
