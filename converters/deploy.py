"""The deploy prototxts of the released DeepLab nets, written from the same tables as their TensorFlow graphs.

For a `.caffemodel` that comes without its prototxt. Layer names are those of the released models
(deeplab_largefov's train2_iter_8000, deeplabv2_vgg16's and deeplabv2_resnet101's train_iter_20000).
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from common.nets.backbones.units import UNITS
from common.reproduction import Reproduction, Shapes

if TYPE_CHECKING:
    from reproductions.v1.recipe import V1Recipe


class _Prototxt:
    """Layers in order; each reads the last top by default."""

    def __init__(self, name: str, size: int):
        self.lines = [
            f'name: "{name}"',
            'input: "data"',
            f"input_shape {{ dim: 1 dim: 3 dim: {size} dim: {size} }}",
        ]
        self.top = "data"

    def layer(
        self, name: str, kind: str, params: str = "", bottoms: tuple[str, ...] = (), in_place: bool = False
    ) -> str:
        bottoms = bottoms or (self.top,)
        top = bottoms[0] if in_place else name
        read = " ".join(f'bottom: "{b}"' for b in bottoms)
        self.lines.append(f'layer {{ name: "{name}" type: "{kind}" {read} top: "{top}" {params} }}')
        self.top = top
        return top

    def conv(
        self, name: str, depth: int, size: int, stride: int = 1, rate: int = 1, bias: bool = True, bottom: str = ""
    ) -> str:
        pad = rate * (size - 1) // 2
        params = (
            f"convolution_param {{ num_output: {depth} kernel_size: {size} stride: {stride} pad: {pad} "
            f"dilation: {rate} bias_term: {str(bias).lower()} }}"
        )
        return self.layer(name, "Convolution", params, (bottom,) if bottom else ())

    def pool(self, name: str, stride: int, method: str = "MAX") -> None:
        self.layer(name, "Pooling", f"pooling_param {{ pool: {method} kernel_size: 3 stride: {stride} pad: 1 }}")

    def relu(self, name: str) -> None:
        self.layer(name, "ReLU", in_place=True)

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def vgg16(variant: str, size: int = 321, num_classes: int = 21) -> str:
    """The network of a variant of v1 up to its scores, for pictures of `size` x `size`.

    The scores are `fc8_voc12`, or with features of several layers `fc_fusion`, as large as the picture.
    """
    from common.nets.backbones.vgg16 import LARGE_FOV  # with TensorFlow, which wrong arguments need not wait for

    recipe: V1Recipe = importlib.import_module("reproductions.v1.recipe").VARIANTS[variant]
    net = _Prototxt(variant, size)
    for i, stage in enumerate(LARGE_FOV, 1):
        for j in range(1, stage.convolutions + 1):
            net.conv(f"conv{i}_{j}", stage.depth, 3, rate=stage.rate)
            net.relu(f"relu{i}_{j}")
        net.pool(f"pool{i}", stage.stride)
    if recipe.pool5a:
        net.pool("pool5a", 1, "AVE")
    features = net.top
    branches = [
        _three_layers(net, recipe.fc6_channels, (f"fc6{ending}", f"fc7{ending}", f"fc8_voc12{ending}"), num_classes,
                      features, recipe.fc6_kernel, rate)
        for ending, rate in recipe.branches.items()
    ]  # fmt: skip
    if len(branches) > 1:
        net.layer("fc8_voc12", "Eltwise", bottoms=tuple(branches))
    if recipe.multi_scale_features:
        _fuse(net, num_classes)
    return net.text()


def _three_layers(
    net: _Prototxt, depth: int, names: Sequence[str], num_classes: int, bottom: str, size: int, rate: int = 1
) -> str:
    """Two convolutions of `depth` with ReLU and dropout, then the scores; the first is of `size` at `rate`."""
    net.conv(names[0], depth, size, rate=rate, bottom=bottom)
    for name, after in zip(names, names[1:], strict=False):
        ending = name.removeprefix("fc") if name.startswith("fc") else f"_{name}"
        net.relu(f"relu{ending}")
        net.layer(f"drop{ending}", "Dropout", in_place=True)
        net.conv(after, num_classes if after == names[-1] else depth, 1)
    return net.top


def _fuse(net: _Prototxt, num_classes: int) -> None:
    """Enlarge the scores of the picture, of four pools and of fc8 to the picture's size, and add them."""
    enlarged = {"data": 1, "pool1": 2, "pool2": 4, "pool3": 8, "pool4": 8, "fc8_voc12": 8}
    tops = []
    for name, factor in enlarged.items():
        top = name
        if name != "fc8_voc12":
            top = _three_layers(net, 128, (f"{name}_conv", f"{name}_fc", f"{name}_ms"), num_classes, name, 3)
        if factor > 1:
            top = net.layer(f"{name}_interp", "Interp", f"interp_param {{ zoom_factor: {factor} }}", (top,))
        tops.append(top)
    net.layer("fc_fusion", "Eltwise", bottoms=tuple(tops))


def resnet101(size: int = 321, num_classes: int = 21) -> str:
    """DeepLab v2's ResNet-101 on one scale, up to its scores `fc1_voc12`."""
    from common.nets.backbones.resnet_v1 import caffe_names, dilated_blocks

    net, names = _Prototxt("deeplabv2_resnet101", size), caffe_names(UNITS[101])

    def conv_bn(
        where: tuple[int, int, str],
        depth: int,
        kernel: int,
        stride: int = 1,
        rate: int = 1,
        relu: bool = True,
        bottom: str = "",
    ) -> str:
        conv, norm = names(*where)
        net.conv(conv, depth, kernel, stride, rate, bias=False, bottom=bottom)
        net.layer(norm, "BatchNorm", "batch_norm_param { use_global_stats: true }", in_place=True)
        net.layer(norm.replace("bn", "scale", 1), "Scale", "scale_param { bias_term: true }", in_place=True)
        if relu:
            net.relu(f"{conv}_relu")
        return net.top

    conv_bn((0, 0, "conv1"), 64, 7, stride=2)
    net.pool("pool1", 2)
    for b, block in enumerate(dilated_blocks(UNITS[101]), 1):
        for u in range(1, block.units + 1):
            entry, stride, width = net.top, block.stride if u == 1 else 1, block.depth // 4
            shortcut = entry if u > 1 else conv_bn((b, u, "shortcut"), block.depth, 1, stride, relu=False)
            residual = conv_bn((b, u, "conv1"), width, 1, stride, bottom=entry)
            residual = conv_bn((b, u, "conv2"), width, 3, rate=block.rate)
            residual = conv_bn((b, u, "conv3"), block.depth, 1, relu=False)
            name = names(b, u, "conv3")[0].partition("_")[0]
            net.layer(name, "Eltwise", bottoms=(shortcut, residual))
            net.relu(f"{name}_relu")
    features = net.top
    branches = [
        net.conv(f"fc1_voc12_c{i}", num_classes, 3, rate=rate, bottom=features)
        for i, rate in enumerate((6, 12, 18, 24))
    ]
    net.layer("fc1_voc12", "Eltwise", bottoms=tuple(branches))
    return net.text()


# model: (reproduction, variant, prototxt)
MODELS: dict[str, tuple[str, str, Callable[[int, int], str]]] = {
    "deeplab_largefov": ("v1", "paper", functools.partial(vgg16, "paper")),
    "deeplabv2_resnet101": ("v2", "caffe", resnet101),
    **{
        model: ("v1", variant, functools.partial(vgg16, variant))
        for model, variant in (
            ("deeplab_vgg16", "deeplab"),
            ("deeplab_vgg16_7x7", "deeplab_7x7"),
            ("deeplab_msc", "msc"),
            ("deeplab_msc_largefov", "msc_largefov"),
            ("deeplabv2_vgg16", "aspp_l"),
        )
    },
}

# A model by the kernel of its fc6, and whether it has features of several layers.
BY_FC6 = {
    (3, False): "deeplab_largefov",
    (3, True): "deeplab_msc_largefov",
    (4, False): "deeplab_vgg16",
    (4, True): "deeplab_msc",
    (7, False): "deeplab_vgg16_7x7",
}
BY_LAYER = {"fc6_4": "deeplabv2_vgg16", "res5c_branch2c": "deeplabv2_resnet101"}


def recognised(blobs: Mapping[str, Sequence[np.ndarray]]) -> str | None:
    """The released net that has these layers, a key of `MODELS`; None where none has."""
    for layer, model in BY_LAYER.items():
        if layer in blobs:
            return model
    fc6 = blobs.get("fc6") or ()
    if not fc6 or "conv5_3" not in blobs:
        return None
    pixels = fc6[0].size / (len(blobs["fc6"][1]) if len(fc6) > 1 else fc6[0].shape[0]) / 512  # of its kernel
    return BY_FC6.get((round(pixels**0.5), "data_conv" in blobs))


LEAVES = {"v1": ("w", "b"), "v2": ("weights", "biases")}  # the last names of a layer's variables, by blob


def variant_of(shapes: Shapes, reproduction: Reproduction, default: str) -> str:
    """The first variant whose network the shapes of Caffe's blobs `<layer>/<number>` tell; else `default`."""
    variables = {
        f"{name[:-2]}/{leaf}": (*shape[2:], *shape[1:2], *shape[:1])
        for index, leaf in enumerate(LEAVES[reproduction.name])
        for name, shape in shapes.items()
        if name.endswith(f"/{index}")
    }
    told = reproduction.fields_from_weights(variables)
    told.pop("num_classes", None)  # a variant is for any number
    recipes = {default: reproduction.variants[default], **reproduction.variants}
    return next((v for v, r in recipes.items() if all(getattr(r, n) == told[n] for n in told)), default)


def as_convolutions(blobs: dict[str, list[np.ndarray]], kernels: Mapping[str, int]) -> dict[str, list[np.ndarray]]:
    """The blobs with fully connected layers, as ImageNet's VGG-16 has them, in the shape of convolutions.

    Args:
      blobs: by layer, the weights first.
      kernels: the side of the kernel of each convolution.
    """
    made = dict(blobs)
    for name in made.keys() & kernels.keys():
        (weights, *others), kernel = made[name], kernels[name]
        is_matrix = weights.ndim == 2 or weights.ndim == 4 and weights.shape[:2] == (1, 1)  # as old files have one
        if is_matrix and weights.shape[-1] % kernel**2 == 0:
            made[name] = [weights.reshape(weights.shape[-2], -1, kernel, kernel), *others]
    return made
