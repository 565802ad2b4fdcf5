"""The deploy prototxts of the two released DeepLab nets, written from the same tables as their TensorFlow graphs.

For a `.caffemodel` that comes without its prototxt. Layer names are those of the released models
(deeplab_largefov's train2_iter_8000, deeplabv2_resnet101's train_iter_20000).
"""

from collections.abc import Callable

from common.nets.backbones.units import UNITS


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


def largefov(size: int = 321, num_classes: int = 21) -> str:
    """DeepLab-LargeFOV up to its scores `fc8_voc12`, for pictures of `size` x `size`."""
    from common.nets.backbones.vgg16 import LARGE_FOV  # with TensorFlow, which wrong arguments need not wait for

    net = _Prototxt("deeplab_largefov", size)
    for i, stage in enumerate(LARGE_FOV, 1):
        for j in range(1, stage.convolutions + 1):
            net.conv(f"conv{i}_{j}", stage.depth, 3, rate=stage.rate)
            net.relu(f"relu{i}_{j}")
        net.pool(f"pool{i}", stage.stride)
    net.pool("pool5a", 1, "AVE")
    for i, size_, rate in ((6, 3, 12), (7, 1, 1)):
        net.conv(f"fc{i}", 1024, size_, rate=rate)
        net.relu(f"relu{i}")
        net.layer(f"drop{i}", "Dropout", in_place=True)
    net.conv("fc8_voc12", num_classes, 1)
    return net.text()


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
    "deeplab_largefov": ("v1", "paper", largefov),
    "deeplabv2_resnet101": ("v2", "caffe", resnet101),
}
