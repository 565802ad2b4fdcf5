"""The simplified v3+'s base networks against Keras' own, tf.keras.applications, with drawn weights."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from common.nets import layers
from common.recipe.recipe import Recipe
from common.tf1 import session, slim, tf
from common.weights.checkpoints import restore
from common.weights.weights import Weights
from reproductions.v3plus_simplified import REPRODUCTION
from reproductions.v3plus_simplified.model import BASE_MODELS
from reproductions.v3plus_simplified.recipe import BASE, DEFAULT
from tests.conftest import ROOT
from tests.parity.measurement import Measurement, by_largest

ORIGINAL_INPUT = {"efficientnet_input": "original"}
# By file: name in tf.keras.applications, layer at which the original cuts it, alpha, sizes, our recipe.
NETWORKS = {
    "xception": ("Xception", "block13_sepconv2_bn", "", "128,224", {}),
    "xception8": ("Xception", "block4_sepconv2_bn", "", "128,224", {"output_stride": 8}),
    "mobilenetv2": ("MobileNetV2", "block_12_add", "1", "128,224", {}),
    "mobilenetv2_8": (
        "MobileNetV2",
        "block_5_add",
        "0.35",
        "128,224",
        {"mv2_depth_multiplier": 0.35, "output_stride": 8},
    ),
    "mobilenetv2_wide": ("MobileNetV2", "block_12_add", "1.4", "128", {"mv2_depth_multiplier": 1.4}),
    "densenet121": ("DenseNet121", "pool4_conv", "", "128,224", {}),
    "nasnetmobile": ("NASNetMobile", "activation_132", "", "224", {}),
    "efficientnetb0": ("EfficientNetB0", "block5c_add", "", "128,224", ORIGINAL_INPUT),
    "efficientnetb0_8": ("EfficientNetB0", "block3b_add", "", "128", ORIGINAL_INPUT | {"output_stride": 8}),
    "efficientnetb0_imagenet": ("EfficientNetB0", "block5c_add", "imagenet", "128", {}),
    "efficientnetb3": ("EfficientNetB3", "block5e_add", "", "64", ORIGINAL_INPUT),
}
# The larger ones: 1.5 GB of weights.
LARGE = {
    **{
        f"efficientnetb{number}": (f"EfficientNetB{number}", f"block5{unit}_add", "", "64", ORIGINAL_INPUT)
        for number, unit in zip((1, 2, 4, 5, 6, 7), "ddfghj", strict=True)
    },
    "efficientnetb7_8": ("EfficientNetB7", "block3g_add", "", "64", ORIGINAL_INPUT | {"output_stride": 8}),
    "nasnetlarge": ("NASNetLarge", "activation_180", "", "224", {}),
}


def measurements() -> Iterator[Measurement]:
    """Every comparison with each network; the LARGE ones are written one after the other, and are long tests."""
    for networks in (NETWORKS, *({file: about} for file, about in LARGE.items())):
        with tempfile.TemporaryDirectory() as folder:
            written_by_keras(Path(folder), networks)
            for file in networks:
                yield from features_of(Path(folder), file)


def recipe_of(file: str) -> Recipe:
    """The recipe whose base network is that of a file."""
    base = file.partition("8")[0].partition("_")[0] or file
    return DEFAULT.derive(**BASE.get(base, BASE["densenet121"] | {"base_model": base}) | (NETWORKS | LARGE)[file][4])


def written_by_keras(folder: Path, networks: Mapping[str, tuple]) -> Path:
    """The folder, with the networks as Keras builds and saves them."""
    given = [":".join([f"{folder}/{file}", *about[:4]]) for file, about in networks.items()]
    subprocess.run([sys.executable, ROOT / "tests/helpers/keras_reference.py", *given], check=True, capture_output=True)
    return folder


def features(recipe: Recipe, weights: Weights, images: np.ndarray) -> np.ndarray:
    """The output of the base network alone with a Keras file's weights, float32 [n, h, w, channels]."""
    base = BASE_MODELS[recipe.base_model]
    if recipe.base_model.startswith("efficientnet") and recipe.efficientnet_input == "imagenet":
        images = images / 127.5 - 1  # it brings [-1, 1] back to the pixels that Keras takes
    with tf.Graph().as_default(), session() as sess:
        with slim.arg_scope([layers.batch_norm], epsilon=base.epsilon):
            outputs = base.build(tf.constant(images), recipe)
        restore(sess, weights, tf.global_variables())
        return sess.run(outputs)


def features_of(folder: Path, file: str) -> list[Measurement]:
    """Whole-model and Keras 3 files; layers beyond the cut are left over, nothing else may be."""
    recipe, answers, found = recipe_of(file), np.load(folder / f"{file}.npz"), []
    for size in (NETWORKS | LARGE)[file][3].split(","):
        for form in (".h5", ".weights.h5") if size == "128" else (".h5",):
            weights = Weights(folder / f"{file}{form}")
            REPRODUCTION.recipe_to_run([], weights)  # names them
            ours, theirs = features(recipe, weights, answers[f"image_{size}"]), answers[f"features_{size}"]
            detail = f"features, {size}x{size}, from {form}"
            found.append(by_largest(file, "logits", ours, theirs, tolerance=1e-4, detail=detail))
    return found
