"""`python -m converters.keras_to_tf`: convert Keras weights, by layer name, to a checkpoint with tf-slim names.

Keras convolutions have biases where tf-slim's have none. Before a batch norm a bias only shifts the input, so it is
subtracted from the stored mean: (x + b) - m = x - (m - b), exactly.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import program
from common.console import show, stage
from common.errors import UserError
from common.words import NAMED, some
from converters.fit import check, refuse_design, refuse_others, variables_of
from converters.keras_v3plus import MODELS, convert_v3plus
from converters.keras_weights import Layers, read_keras_weights

if TYPE_CHECKING:
    from common.recipe.recipe import Recipe
    from common.tf1 import tf

# What Keras applications subtract from BGR pixels for weights that came from Caffe.
KERAS_CAFFE_MEAN = (103.939, 116.779, 123.68)


def resnet50_variables(layers: Layers) -> dict[str, np.ndarray]:
    """resnet_v1_50 under tf-slim's names, with its classifier, from Keras' ResNet50 (2017 names, as in Caffe).

    Args:
      layers: `res2a_branch2a`: kernel, bias; `bn2a_branch2a`: gamma, beta, moving_mean, moving_variance; ...

    Raises:
      UserError: listing every missing layer, and every one that is not used.
    """
    from common.nets.backbones.resnet_v1 import slim_names
    from common.nets.backbones.units import UNITS

    names, branch = slim_names("resnet_v1_50"), {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b"}
    pairs = [((0, 0, "conv1"), "conv1", "bn_conv1")]
    for block, units in enumerate(UNITS[50], 1):
        for unit in range(1, units + 1):
            for part in ("shortcut",) * (unit == 1) + ("conv1", "conv2", "conv3"):
                stem = f"{block + 1}{'abcdef'[unit - 1]}_{branch.get(part, 'branch2c')}"
                pairs.append(((block, unit, part), f"res{stem}", f"bn{stem}"))

    refuse_others(layers, {name for _, *both in pairs for name in both} | {"fc1000"}, "ResNet50")

    variables = {}
    for where, conv, norm in pairs:
        conv_scope, norm_scope = names(*where)
        variables[f"{conv_scope}/weights"] = _variable(layers, conv, "kernel")
        for leaf in ("gamma", "beta", "moving_mean", "moving_variance"):
            variables[f"{norm_scope}/{leaf}"] = _variable(layers, norm, leaf)
        if "bias" in layers[conv]:
            mean, bias = variables[f"{norm_scope}/moving_mean"], layers[conv]["bias"]
            if mean.shape != bias.shape:
                raise UserError(f"layer {conv}: its bias has shape {bias.shape}, its batch norm {mean.shape}")
            variables[f"{norm_scope}/moving_mean"] = (mean.astype(np.float64) - bias).astype(np.float32)
    kernel = _variable(layers, "fc1000", "kernel")
    variables["resnet_v1_50/logits/weights"] = kernel.reshape(1, 1, *kernel.shape)
    variables["resnet_v1_50/logits/biases"] = _variable(layers, "fc1000", "bias")
    return variables


def _variable(layers: Layers, layer: str, name: str) -> np.ndarray:
    if name not in layers[layer]:
        raise UserError(f"layer {layer} has no {name}; it has {some(layers[layer], NAMED) or 'nothing'}")
    return layers[layer][name]


def resnet50_scores(images: "tf.Tensor") -> "tf.Tensor":
    """ImageNet scores [n, 1, 1, 1000] of preprocessed images, by the network that the variables are for."""
    from common.nets import layers
    from common.nets.backbones import resnet_v1 as resnet
    from common.nets.backbones.units import UNITS
    from common.tf1 import tf

    blocks = [resnet.Block(256 * 2**i, n, stride=2 if i else 1) for i, n in enumerate(UNITS[50])]
    features, _ = resnet.resnet_v1(images, tuple(blocks), resnet.slim_names("resnet_v1_50"))
    pooled = tf.reduce_mean(features, axis=[1, 2], keepdims=True)
    return layers.conv2d(pooled, 1000, 1, bias=True, scope="resnet_v1_50/logits")


def convert_resnet50(layers: Layers, args: argparse.Namespace) -> tuple[dict[str, np.ndarray], "Recipe"]:
    """ResNet50 with its classifier, and the recipe of v2's ResNet-50."""
    from common.tf1 import tf
    from reproductions.v2.recipe import V2Recipe

    refuse_design(args, "ResNet-50")
    variables = resnet50_variables(layers)
    check(variables, lambda: resnet50_scores(tf.zeros([1, 65, 65, 3])), "ResNet-50")
    preprocessing = {"channel_order": "bgr", "pixel_mean": KERAS_CAFFE_MEAN}
    return variables, V2Recipe(variant="res50", encoder="res50", **preprocessing)


def convert_simplified(layers: Layers, args: argparse.Namespace) -> tuple[dict[str, np.ndarray], "Recipe"]:
    """Convert the whole network of deeplabv3plus_keras, or one of its base networks alone; the weights decide parts of
    the recipe."""
    from common.nets.network import build
    from common.tf1 import tf
    from common.weights.weights import Weights
    from reproductions.v3plus_simplified import REPRODUCTION
    from reproductions.v3plus_simplified.recipe import HEAD

    weights = Weights.of_keras(args.weights, layers)
    settings = (REPRODUCTION.config_settings(args.config) if args.config else []) + args.settings
    recipe = REPRODUCTION.recipe_to_run(settings, weights)
    names = [n for n in weights.shapes if not (weights.left_over and re.search(weights.left_over, n))]
    whole = any(re.search(HEAD, name) for name in names)

    def network():
        build(REPRODUCTION.load_network(), tf.zeros([1, *recipe.crop_size, 3]), recipe)

    wanted = {n for n in variables_of(network) if whole or not re.search(HEAD, n)}
    variables = {n: weights.value(n) for n in weights.shapes if n in wanted or n in names}
    check(variables, network, recipe.base_model, r"^$" if whole else HEAD)
    return variables, recipe


# The recipe travels with the weights: a run that starts from them takes its preprocessing.
TARGETS = {
    "res50": convert_resnet50,
    "v3plus_simplified": convert_simplified,
    **dict.fromkeys(MODELS, convert_v3plus),
}


def classify(checkpoint: Path, picture: Path) -> np.ndarray:
    """float32 [1000]: ImageNet probabilities of the centre of a picture by the converted ResNet-50.

    The picture's shorter side becomes 257, its centre 225 (8k + 1, where SAME padding and Keras'
    explicit one agree).
    """
    from PIL import Image

    from common.data.masks import read_image
    from common.nets.pictures import preprocess
    from common.tf1 import session, tf
    from common.weights.checkpoints import restore
    from common.weights.weights import Weights
    from reproductions.v2.recipe import V2Recipe

    image = Image.fromarray(read_image(picture))
    scale = 257 / min(image.size)
    image = image.resize([max(225, round(side * scale)) for side in image.size], Image.BILINEAR)
    left, top = (image.width - 225) // 2, (image.height - 225) // 2
    pixels = np.asarray(image.crop((left, top, left + 225, top + 225)))
    weights = Weights(checkpoint)
    recipe = V2Recipe.from_json(weights.recipe())
    with tf.Graph().as_default(), session() as sess:
        images = preprocess(tf.constant(pixels[None]), recipe)
        scores = resnet50_scores(images)
        restore(sess, weights, tf.global_variables())
        return sess.run(tf.nn.softmax(scores))[0, 0, 0]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m converters.keras_to_tf",
        description="Convert Keras weights to a TensorFlow checkpoint.",
        example="--weights weights/resnet50_keras/tfjs/model.json --out out/resnet50.ckpt",
    )
    parser.add_argument("--weights", type=Path, required=True, help=".h5, .npz, or a TF.js model.json")
    parser.add_argument("--model", choices=TARGETS, default="res50", help="network to fill (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="CKPT", help="checkpoint prefix to write")
    parser.add_argument("--config", type=Path, metavar="FILE", help="deeplabv3plus_keras' configuration file")
    parser.add_argument(
        "--set", dest="settings", metavar="K=V", nargs="+", action="extend", default=[],
        help="fields of its recipe, such as the encoder_middle_conf that the file does not tell",
    )  # fmt: skip
    parser.add_argument("--classify", type=Path, nargs="+", default=[], metavar="PICTURE", help="then name these")
    args = parser.parse_args(arguments)
    if args.classify and args.model != "res50":
        parser.error("--classify: only ResNet-50 has a classifier here")
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    stage("reading the file")
    layers = read_keras_weights(args.weights)
    try:
        variables, recipe = TARGETS[args.model](layers, args)
    except UserError as error:
        named = str(error).startswith(("--", f"{args.weights}: "))
        raise UserError(str(error) if named else f"{args.weights}: {error}") from None
    from common.weights.checkpoints import write

    write(args.out, variables, recipe)
    show(f"{args.out}: {len(variables)} variables, {sum(v.size for v in variables.values()):,} parameters")
    for picture in args.classify:
        stage("classifying")
        probabilities = classify(args.out, picture)
        best = probabilities.argsort()[::-1][:3]
        show(f"{picture}: " + ", ".join(f"class {i} ({probabilities[i]:.2f})" for i in best))


if __name__ == "__main__":
    sys.exit(main())
