"""The networks that the bench measures, as recipes; nothing here needs TensorFlow."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.recipe.recipe import Recipe
from common.reproduction import Reproduction

PICTURE = (513, 513)
# Drawn weights: He initialisation and small residual branches carry the signal through, so label maps have regions.
DRAWN = {"initializer": "he_normal"}


@dataclass(frozen=True)
class Network:
    """A network of a reproduction: its name in tables, and the recipe as a variant and changed fields."""

    title: str
    reproduction: str
    variant: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Reproduction:
        """The reproduction."""
        return importlib.import_module(f"reproductions.{self.reproduction}").REPRODUCTION

    def recipe(self, **changes: Any) -> Recipe:
        """The recipe with drawn weights' fields, the network's own, and `changes`."""
        return self.load().variants[self.variant].derive(**{**DRAWN, **self.fields, **changes})

    def settings(self) -> list[str]:
        """The same recipe as arguments of the command line."""
        fields = {"variant": self.variant, **DRAWN, **self.fields}
        return [word for key, value in fields.items() for word in ("--set", f"{key}={value}")]


NETWORKS = {
    "mobilenetv2_os8": Network("v3+ MobileNetV2, output stride 8", "v3plus", "mnv2_pascal_trainval"),
    "mobilenetv2_os16": Network("v3+ MobileNetV2, output stride 16", "v3plus", "mnv2_pascal_train_aug"),
    "resnet101": Network("v2 ResNet-101, output stride 8", "v2", "deeplab", {"residual_gamma": 0.2}),
    "xception65": Network("v3+ Xception-65, output stride 16, decoder", "v3plus", "xception65_pascal_train_aug"),
    "largefov": Network("v1 LargeFOV, VGG-16", "v1", "paper"),
    "resnet50": Network("v3 ResNet-50, output stride 16, ASPP", "v3", "original", {"depth": 50, "residual_gamma": 0.2}),
    "simplified": Network("simplified v3+, MobileNetV2", "v3plus_simplified", "mobilenetv2"),
}
