"""DeepLab v2's ResNet-101 in torch, to time an update of its weights as the product's recipe makes it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

RATES = (6, 12, 18, 24)


class Bottleneck(nn.Module):
    """A residual unit with its stride in the first convolution and its rate in the second."""

    def __init__(self, inputs: int, width: int, stride: int, rate: int):
        super().__init__()
        self.residual = nn.Sequential(
            *convolution(inputs, width, 1, stride), nn.ReLU(inplace=True),
            *convolution(width, width, 3, rate=rate), nn.ReLU(inplace=True),
            *convolution(width, 4 * width, 1),
        )  # fmt: skip
        is_same = inputs == 4 * width and stride == 1
        self.shortcut = nn.Identity() if is_same else nn.Sequential(*convolution(inputs, 4 * width, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.shortcut(x) + self.residual(x), inplace=True)


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, rate: int = 1) -> tuple[nn.Module, nn.Module]:
    """A convolution and its batch norm."""
    padding = (size // 2) * rate
    return nn.Conv2d(inputs, outputs, size, stride, padding, rate, bias=False), nn.BatchNorm2d(outputs, eps=1e-3)


class DeepLabV2(nn.Module):
    """ResNet-101 at output stride 8, and ASPP as a sum: [n, 3, h, w] to scores [n, classes, h / 8, w / 8]."""

    def __init__(self, classes: int = 21):
        super().__init__()
        layers = [*convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        inputs = 64
        for width, units, stride, rate in ((64, 3, 1, 1), (128, 4, 2, 1), (256, 23, 1, 2), (512, 3, 1, 4)):
            for unit in range(units):
                layers.append(Bottleneck(inputs, width, stride if unit == 0 else 1, rate))
                inputs = 4 * width
        self.features = nn.Sequential(*layers)
        self.aspp = nn.ModuleList(nn.Conv2d(inputs, classes, 3, padding=rate, dilation=rate) for rate in RATES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        return sum(branch(features) for branch in self.aspp)


def update(crops: int, size: int, precision: str = "fp32") -> Callable[[], None]:
    """An update on drawn crops: momentum, weight decay, frozen statistics, the loss at the scores' size."""
    rng = np.random.RandomState(0)
    images = torch.from_numpy(rng.randn(crops, 3, size, size).astype(np.float32))
    images = images.to(memory_format=torch.channels_last)
    labels = torch.from_numpy(rng.randint(0, 21, (crops, size, size)))[:, ::8, ::8].contiguous()
    torch.manual_seed(0)
    network = DeepLabV2().eval().to(memory_format=torch.channels_last)  # eval: batch norm by its stored statistics
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-5, momentum=0.9, weight_decay=5e-4)

    def work() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            scores = network(images)
        functional.cross_entropy(scores.float(), labels).backward()
        optimizer.step()

    return work
