"""Keras weights of bonlime/keras-deeplab-v3-plus, by the names of the zoo's checkpoints from which they were made.

Facts: that repository's model.py, extract_weights.py and load_weights.py.
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.errors import UserError
from common.weights.keras_h5 import Layers
from converters.fit import check_shapes, refuse_design, refuse_others, variables_of

if TYPE_CHECKING:
    from common.recipe.recipe import Recipe


@dataclass(frozen=True)
class Zoo:
    """A network of bonlime/keras-deeplab-v3-plus, which its author filled from a checkpoint of the official zoo.

    Attributes:
      title: what messages call it.
      mark: a layer that it alone has.
      variants: number of classes -> the variant of v3plus; other numbers, and a person's own, take that of 21.
    """

    title: str
    mark: str
    variants: Mapping[int, str]


ZOO = {
    "v3plus_xception": Zoo(
        "DeepLab v3+ with Xception-65",
        "entry_flow_conv1_1",
        {21: "xception65_pascal_trainval", 19: "xception65_cityscapes_train"},
    ),
    "v3plus_mobilenetv2": Zoo(
        "DeepLab v3 with MobileNetV2",
        "expanded_conv_depthwise",
        {21: "mnv2_pascal_trainval", 19: "mnv2_cityscapes_train"},
    ),
}
ANY = "v3plus"  # of these networks: the file's layers tell which
MODELS = (ANY, *ZOO)
# The zoo's names -> the Keras layers', as that repository's extract_weights.py makes them.
KERAS_NAMES = (
    (r"^(xception_65|MobilenetV2|decoder)/", ""),
    (r"^(entry|exit)_flow/(block\d)/unit_1/xception_module/", r"\1_flow/\2/"),
    (r"^middle_flow/block1/(unit_\d+)/xception_module/", r"middle_flow/\1/"),
    (r"/BatchNorm/", "_BN/"),
    (r"/weights$", "/kernel"),
    (r"/depthwise_weights$", "/depthwise_kernel"),
    (r"/biases$", "/bias"),
)
SCORES, OWN_SCORES = "logits_semantic", "custom_logits_semantic"  # the last layer; with a person's own classes
# Names that files may have instead: those of own classes, and of a depthwise kernel that Keras 3 saved.
OTHER_NAMES = ((f"^{OWN_SCORES}/", f"{SCORES}/"), (r"_depthwise/kernel$", "_depthwise/depthwise_kernel"))


def keras_place(variable: str) -> str:
    """The Keras array, `layer/name`, that holds a variable of the zoo's network."""
    for old, new in KERAS_NAMES:
        variable = re.sub(old, new, variable)
    layer, _, name = variable.rpartition("/")
    return f"{layer.replace('/', '_')}/{name}"


def convert_v3plus(layers: Layers, args: argparse.Namespace) -> tuple[dict[str, np.ndarray], "Recipe"]:
    """A network of bonlime/keras-deeplab-v3-plus, and the zoo's recipe that goes with its backbone and classes.

    Raises UserError when the file has neither backbone, another than `--model` names, or other arrays or shapes.
    """
    from common.nets.network import build
    from common.tf1 import tf
    from reproductions.v3plus import REPRODUCTION

    refuse_design(args, "DeepLab v3+ of the zoo")
    zoo = _zoo_network(layers, args.model)
    arrays = _zoo_arrays(layers)
    scores = arrays.get(f"{SCORES}/bias")
    classes = 21 if scores is None else scores.size
    variant = zoo.variants.get(21 if OWN_SCORES in layers else classes, zoo.variants[21])
    recipe = REPRODUCTION.variants[variant].derive(num_classes=classes)

    def network():
        build(REPRODUCTION.load_network(), tf.zeros([1, 65, 65, 3]), recipe)

    shapes = variables_of(network)
    places = {variable: keras_place(variable) for variable in shapes}
    refuse_others(arrays, set(places.values()), zoo.title, "arrays")
    variables = {variable: arrays[place] for variable, place in places.items()}
    check_shapes(variables, shapes, zoo.title)
    return variables, recipe


def _zoo_network(layers: Layers, model: str) -> Zoo:
    """The network that the file's layers are of. Raises UserError when it is not `model`."""
    wanted = [zoo for name, zoo in ZOO.items() if model in (ANY, name)]
    found = next((zoo for zoo in wanted if zoo.mark in layers), None)
    if found is None:
        raise UserError(f"is not {' or '.join(f'{zoo.title} (it has no layer {zoo.mark})' for zoo in wanted)}")
    return found


def _zoo_arrays(layers: Layers) -> dict[str, np.ndarray]:
    """`layer/name` -> array, by the names of the published files; an array keeps its name where that name is taken."""
    arrays = {f"{layer}/{name}": value for layer, values in layers.items() for name, value in values.items()}
    for old, new in OTHER_NAMES:
        renamed = {name: re.sub(old, new, name) for name in arrays}
        arrays = {name if renamed[name] in arrays else renamed[name]: value for name, value in arrays.items()}
    return arrays
