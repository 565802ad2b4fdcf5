"""Keras' own networks with drawn weights, in a process of their own: they need the eager mode that we do without.

`python tests/helpers/keras_reference.py OUT:NAME:LAYER:ALPHA:SIZE,SIZE ...` writes for each network OUT.h5 (whole
model), OUT.weights.h5 (Keras 3) and OUT.npz: an image and the output of LAYER for each size. An ALPHA of `imagenet` is
the network as Keras builds it around its ImageNet weights, with the drawn ones in their place.
"""

import sys

import numpy as np
import tensorflow as tf
from keras.src.applications import efficientnet


def write(out: str, name: str, layer: str, alpha: str, sizes: str) -> None:
    around_imagenet = alpha == "imagenet"
    options = {"alpha": float(alpha)} if alpha and not around_imagenet else {}
    shape = (224, 224, 3) if name.startswith("NASNet") else (None, None, 3)
    make = getattr(tf.keras.applications, name)
    model = make(weights=None, include_top=False, input_shape=shape, **options)
    rng = np.random.RandomState(0)
    for variable in model.variables:  # batch norm that does something
        if variable.name in ("gamma", "moving_variance", "variance"):
            variable.assign(0.5 + rng.rand(*variable.shape))
        elif variable.name in ("beta", "moving_mean", "mean"):
            variable.assign(0.1 * rng.randn(*variable.shape))
    for part in model.layers:
        if isinstance(part, tf.keras.layers.Normalization):
            part.finalize_state()  # it computes with copies
    model.save(f"{out}.h5")
    model.save_weights(f"{out}.weights.h5")
    if around_imagenet:
        efficientnet.file_utils.get_file = lambda *_, **__: f"{out}.h5"  # what Keras would download
        model = make(weights="imagenet", include_top=False, input_shape=shape)
    low, high = (0, 255) if name.startswith("EfficientNet") else (-1, 1)  # as each expects its pictures
    cut = tf.keras.Model(model.input, model.get_layer(layer).output)
    arrays = {}
    for size in map(int, sizes.split(",")):
        image = rng.uniform(low, high, (1, size, size, 3)).astype(np.float32)
        arrays |= {f"image_{size}": image, f"features_{size}": cut(image, training=False).numpy()}
    np.savez(f"{out}.npz", **arrays)


if __name__ == "__main__":
    for network in sys.argv[1:]:
        write(*network.split(":"))
