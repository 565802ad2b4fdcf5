"""Keras' own networks with drawn weights, in a process of their own: they need the eager mode that we do without.

`python tests/helpers/keras_reference.py OUT:NAME:LAYER:ALPHA:SIZE,SIZE ...` writes for each network OUT.h5 (whole
model), OUT.weights.h5 (Keras 3) and OUT.npz: an image and the output of LAYER for each size.
"""

import sys

import numpy as np
import tensorflow as tf


def write(out: str, name: str, layer: str, alpha: str, sizes: str) -> None:
    options = {"alpha": float(alpha)} if alpha else {}
    shape = (224, 224, 3) if name == "NASNetMobile" else (None, None, 3)
    model = getattr(tf.keras.applications, name)(weights=None, include_top=False, input_shape=shape, **options)
    rng = np.random.RandomState(0)
    for variable in model.variables:  # batch norm that does something
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(0.5 + rng.rand(*variable.shape))
        elif variable.name in ("beta", "moving_mean"):
            variable.assign(0.1 * rng.randn(*variable.shape))
    model.save(f"{out}.h5")
    model.save_weights(f"{out}.weights.h5")
    cut = tf.keras.Model(model.input, model.get_layer(layer).output)
    arrays = {}
    for size in map(int, sizes.split(",")):
        image = rng.uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
        arrays |= {f"image_{size}": image, f"features_{size}": cut(image, training=False).numpy()}
    np.savez(f"{out}.npz", **arrays)


if __name__ == "__main__":
    for network in sys.argv[1:]:
        write(*network.split(":"))
