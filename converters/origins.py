"""The programs whose weight files are known by the names in them: what a file holds, and what converts it."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError


@dataclass(frozen=True)
class Origin:
    """A network as one program writes it.

    Attributes:
      program: who wrote it.
      network: what it is.
      marks: regular expressions; the file has an array for each of them.
      scores: regular expression of the biases of the scores, one for each class.
      command: converts it; `{path}` is the file. Empty when nothing here does.
    """

    program: str
    network: str
    marks: tuple[str, ...]
    scores: str
    command: str = ""


KAZUTO, BONLIME = "kazuto1011/deeplab-pytorch", "bonlime/keras-deeplab-v3-plus"
PTH = (".pth", ".pt")
KERAS_SCORES = "^(custom_)?logits_semantic/bias$"
TO_V3PLUS = "python -m converters.keras_to_tf --weights {path} --model v3plus --out CKPT"

ORIGINS = (
    Origin(
        KAZUTO,
        "DeepLab v2 with ResNet-101",
        (r"\blayer4\.block23\.increase\.conv\.weight$", r"\baspp\.(stages\.)?c3\.weight$"),
        r"\baspp\.(stages\.)?c0\.bias$",
        "python -m converters.torch_to_tf --weights {path} --to v2 --out CKPT",
    ),
    Origin(
        KAZUTO,
        "ResNet-101 with a classifier, from which DeepLab v2 is trained",
        (r"\blayer4\.block23\.increase\.conv\.weight$", r"\bfc\.weight$"),
        r"\bfc\.bias$",
    ),
    Origin(
        BONLIME,
        "DeepLab v3+ with Xception-65",
        (r"^entry_flow_conv1_1/kernel$", r"^decoder_conv0_depthwise/depthwise_kernel$"),
        KERAS_SCORES,
        TO_V3PLUS,
    ),
    Origin(
        BONLIME,
        "DeepLab v3 with MobileNetV2",
        (r"^expanded_conv_16_project/kernel$", r"^concat_projection/kernel$"),
        KERAS_SCORES,
        TO_V3PLUS,
    ),
)


def describe_origin(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Lines that say who made a file, what it holds, and how it is converted; none when its program is not known.

    Args:
      path: the file.
      shapes: of its arrays by name.
    """
    origin = next((o for o in ORIGINS if all(any(re.search(m, name) for name in shapes) for m in o.marks)), None)
    if origin is None:
        if path.suffix in PTH:  # no command here takes them as they are
            yield "made by: no program known here; nothing here converts it"
        return
    classes = next((s[0] for name, s in shapes.items() if len(s) == 1 and re.search(origin.scores, name)), None)
    yield f"made by: {origin.program}"
    yield f"holds: {origin.network}" + (f", {classes} classes" if classes else "")
    command = origin.command.format(path=shlex.quote(str(path)))
    yield f"convert: {command or 'nothing here reads it'}"


# Networks whose files people take for those of a network here: by a name in them, what they are.
FOREIGN = {
    r"^MobilenetEdgeTPU/": "a DeepLab with MobileNetEdgeTPU",
    r"^MobilenetV3/": "a DeepLab with MobileNetV3",
    r"^(MobilenetV[12]|resnet_v1_\d+|xception_\d+)/.*[Ll]ogits/": "a classifier for ImageNet",
}


def refuse_foreign(names: Iterable[str]) -> None:
    """Raise UserError when the names of a file's variables are those of a network that no reproduction has."""
    names = list(names)
    for mark, network in FOREIGN.items():
        if any(re.search(mark, name) for name in names):
            raise UserError(f"is {network}, which nothing here runs as a checkpoint")
