"""The networks of bonlime/keras-deeplab-v3-plus: their layers by name, and MobileNetV2's scores in Keras.

`python tests/helpers/keras_deeplab.py FOLDER` writes weights.h5, image.npy and scores.npy, in a process of its own
because Keras needs the eager mode that we do without.
"""

import sys
from collections.abc import Callable

import numpy as np

Shape = tuple[int, ...]
Layers = dict[str, dict[str, Shape]]

# Filters, stride and rate of MobileNetV2's 17 units at output stride 8.
UNITS = (
    (16, 1, 1), (24, 2, 1), (24, 1, 1), (32, 2, 1), (32, 1, 1), (32, 1, 1), (64, 1, 1), (64, 1, 2), (64, 1, 2),
    (64, 1, 2), (96, 1, 2), (96, 1, 2), (96, 1, 2), (160, 1, 2), (160, 1, 4), (160, 1, 4), (320, 1, 4),
)  # fmt: skip


class _Shapes:
    def __init__(self):
        self.layers: Layers = {}

    def norm(self, name: str, depth: int) -> None:
        self.layers[f"{name}_BN"] = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (depth,))

    def conv(self, name: str, entering: int, leaving: int, size: int = 1) -> None:
        self.layers[name] = {"kernel": (size, size, entering, leaving)}
        self.norm(name, leaving)

    def depthwise(self, name: str, depth: int) -> None:
        self.layers[name] = {"depthwise_kernel": (3, 3, depth, 1)}
        self.norm(name, depth)

    def separable(self, name: str, entering: int, leaving: int) -> None:
        self.depthwise(f"{name}_depthwise", entering)
        self.conv(f"{name}_pointwise", entering, leaving)

    def scores(self, name: str, classes: int) -> None:
        self.layers[name] = {"kernel": (1, 1, 256, classes), "bias": (classes,)}


def mobilenet_layers(classes: int = 21, scores: str = "logits_semantic") -> Layers:
    """Layer -> array -> shape."""
    net, depth = _Shapes(), 32
    net.conv("Conv", 3, 32, 3)
    for unit, (filters, _, _) in enumerate(UNITS):
        prefix = f"expanded_conv_{unit}_" if unit else "expanded_conv_"
        wide = depth * 6 if unit else depth
        if unit:
            net.conv(f"{prefix}expand", depth, wide)
        net.depthwise(f"{prefix}depthwise", wide)
        net.conv(f"{prefix}project", wide, filters)
        depth = filters
    for name, entering in (("image_pooling", 320), ("aspp0", 320), ("concat_projection", 512)):
        net.conv(name, entering, 256)
    net.scores(scores, classes)
    return net.layers


def xception_layers(classes: int = 21) -> Layers:
    """Layer -> array -> shape."""
    net = _Shapes()
    net.conv("entry_flow_conv1_1", 3, 32, 3)
    net.conv("entry_flow_conv1_2", 32, 64, 3)
    entry = [("entry_flow_block1", (128,) * 3), ("entry_flow_block2", (256,) * 3), ("entry_flow_block3", (728,) * 3)]
    middle = [(f"middle_flow_unit_{i}", (728,) * 3) for i in range(1, 17)]
    leave = [("exit_flow_block1", (728, 1024, 1024)), ("exit_flow_block2", (1536, 1536, 2048))]
    entering = 64
    for prefix, depths in (*entry, *middle, *leave):
        if prefix.startswith("entry") or prefix == "exit_flow_block1":
            net.conv(f"{prefix}_shortcut", entering, depths[-1])
        for i, depth in enumerate(depths, 1):
            net.separable(f"{prefix}_separable_conv{i}", entering, depth)
            entering = depth
    net.conv("image_pooling", 2048, 256)
    net.conv("aspp0", 2048, 256)
    for i in (1, 2, 3):
        net.separable(f"aspp{i}", 2048, 256)
    net.conv("concat_projection", 1280, 256)
    net.conv("feature_projection0", 256, 48)
    net.separable("decoder_conv0", 304, 256)
    net.separable("decoder_conv1", 256, 256)
    net.scores("logits_semantic", classes)
    return net.layers


def filled(layers: Layers, value: Callable[[int, Shape], np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Layer -> array -> value of (its number, its shape)."""
    places = [(layer, name, shape) for layer, arrays in layers.items() for name, shape in arrays.items()]
    made: dict[str, dict[str, np.ndarray]] = {}
    for i, (layer, name, shape) in enumerate(places):
        made.setdefault(layer, {})[name] = value(i, shape)
    return made


def _write(folder: str) -> None:
    import tensorflow as tf
    from tensorflow.keras import layers as k

    def norm(x, name: str, epsilon: float):
        return k.BatchNormalization(epsilon=epsilon, name=f"{name}_BN")(x)

    def conv(x, name: str, depth: int, epsilon: float, size: int = 1, stride: int = 1):
        x = k.Conv2D(depth, size, strides=stride, padding="same", use_bias=False, name=name)(x)
        return norm(x, name, epsilon)

    entered = k.Input((65, 65, 3))
    x = k.ReLU(6)(conv(entered, "Conv", 32, 1e-3, 3, 2))
    for unit, (filters, stride, rate) in enumerate(UNITS):
        prefix, before = (f"expanded_conv_{unit}_" if unit else "expanded_conv_"), x
        if unit:
            x = k.ReLU(6)(conv(x, f"{prefix}expand", 6 * x.shape[-1], 1e-3))
        x = k.DepthwiseConv2D(
            3, strides=stride, padding="same", use_bias=False, dilation_rate=rate, name=f"{prefix}depthwise"
        )(x)
        x = k.ReLU(6)(norm(x, f"{prefix}depthwise", 1e-3))
        x = conv(x, f"{prefix}project", filters, 1e-3)
        if stride == 1 and before.shape[-1] == filters:
            x = k.Add()([before, x])
    pooled = k.GlobalAveragePooling2D(keepdims=True)(x)
    pooled = k.UpSampling2D(x.shape[1])(k.ReLU()(conv(pooled, "image_pooling", 256, 1e-5)))
    x = k.Concatenate()([pooled, k.ReLU()(conv(x, "aspp0", 256, 1e-5))])
    x = k.ReLU()(conv(x, "concat_projection", 256, 1e-5))
    model = tf.keras.Model(entered, k.Conv2D(21, 1, name="logits_semantic")(x))
    rng = np.random.RandomState(0)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(0.5 + rng.rand(*variable.shape))
        elif variable.name in ("beta", "moving_mean"):
            variable.assign(0.1 * rng.randn(*variable.shape))
    model.save(f"{folder}/weights.h5")
    image = rng.randint(0, 256, (65, 65, 3)).astype(np.uint8)
    np.save(f"{folder}/image.npy", image)
    np.save(f"{folder}/scores.npy", model(image[None] / np.float32(127.5) - 1, training=False).numpy())


if __name__ == "__main__":
    _write(sys.argv[1])
