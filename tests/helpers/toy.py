"""A toy of each kind that CONTRIBUTING.md tells how to add: the text of every new file, and the edits of the others."""

import json
from collections.abc import Callable, Mapping

import numpy as np

Edit = Callable[[str], str]
Files = Mapping[str, str | Edit]  # path -> the text of a new file, or the edit of one that is there


def put(new: str, before: str) -> Edit:
    """Insert `new` before the first place where the text `before` stands."""

    def edit(text: str) -> str:
        assert before in text, f"{before!r} is no longer there"
        return text.replace(before, new + before, 1)

    return edit


def each(*edits: Edit) -> Edit:
    """Make one edit after another."""

    def edit(text: str) -> str:
        for one in edits:
            text = one(text)
        return text

    return edit


BACKBONE: Files = {
    "common/nets/backbones/toy.py": '''"""Two convolutions."""

from common.nets import layers
from common.tf1 import tf

DEPTHS = (8, 16)


def toy(images: tf.Tensor, output_stride: int) -> tuple[tf.Tensor, dict[int, tf.Tensor]]:
    """Features [n, ceil(h / output_stride), ceil(w / output_stride), 16], and those of stride 4, of 8 channels."""
    low = tf.nn.relu(layers.conv2d(images, DEPTHS[0], 5, stride=4, bias=True, scope="toy/conv1"))
    net = layers.conv2d(low, DEPTHS[1], 3, stride=output_stride // 4, bias=True, scope="toy/conv2")
    return tf.nn.relu(net), {4: low}
''',
    "common/nets/backbones/registry.py": each(
        put(
            "def _toy(images: tf.Tensor, recipe: Options) -> Features:\n"
            "    return toy.toy(images, recipe.output_stride)\n\n\n",
            before="BACKBONES = {",
        ),
        put('    "toy": Backbone(_toy, 1e-3, 0.997),\n', before='    "mobilenet_v2": Backbone('),
        lambda text: text.replace(", xception", ", toy, xception", 1),
    ),
    "reproductions/v3plus/recipe.py": put('    "toy",\n', before='    "xception_41",\n'),
    "reproductions/v3plus/from_weights.py": put(
        '    if "toy/conv1/weights" in shapes:\n        return {"backbone": "toy"}\n',
        before='    if any(name.startswith("MobilenetV2/")',
    ),
    "reproductions/v3plus/variants.py": put(
        '        PASCAL.derive(variant="toy", backbone="toy", atrous_rates=(), decoder=False),\n',
        before='        PASCAL.derive(variant="scratch"',
    ),
    "tests/nets/test_toy.py": """import pytest

from common.nets.backbones.registry import BACKBONES
from common.tf1 import tf
from reproductions.v3plus.from_weights import fields_from_weights
from reproductions.v3plus.variants import VARIANTS


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_shapes(stride):
    with tf.Graph().as_default():
        features, low = BACKBONES["toy"].build(tf.zeros([1, 65, 97, 3]), VARIANTS["toy"].derive(output_stride=stride))
        assert features.shape == [1, -(-65 // stride), -(-97 // stride), 16]
        assert low[4].shape == [1, 17, 25, 8]


def test_its_weights_are_known():
    assert fields_from_weights({"toy/conv1/weights": (5, 5, 3, 8)})["backbone"] == "toy"
""",
}

LOSS: Files = {
    "common/nets/losses.py": each(
        put(
            "def toy(logits: tf.Tensor, labels: tf.Tensor, recipe: Recipe) -> tf.Tensor:\n"
            '    """Squared distance of the probabilities from the truth, [n, h, w] (Brier score)."""\n'
            "    truth = tf.one_hot(labels, recipe.num_classes)\n"
            "    return tf.reduce_sum((tf.nn.softmax(logits) - truth) ** 2, axis=3)\n\n\n",
            before="LOSSES = {",
        ),
        put('"toy": toy, ', before='"class_balanced": class_balanced}'),
    ),
    "common/recipe/recipe.py": put('"toy", ', before='"class_balanced"]  # see'),
    "tests/nets/test_losses.py": put(
        "def test_the_toy_loss():\n    assert loss_of([[0, 0]], [0], loss='toy') == pytest.approx(0.5)\n\n\n",
        before="def test_every_loss_can_be_chosen",
    ),
}

DATA_SET: Files = {
    "common/data/sets/toy.py": '''"""Apples and pears."""

from common.data.card import DatasetCard

TOY = DatasetCard(
    name="toy",
    title="Toy",
    classes=("table", "apple", "pear"),
    palette=((0, 0, 0), (200, 30, 30), (120, 200, 40)),
    split_sizes={"train": 2, "val": 1},
)
''',
    "common/data/sets/cards.py": each(
        put("from common.data.sets.toy import TOY\n", before="from common.data.sets.voc"),
        put("        TOY,\n", before="    )\n}\n"),
    ),
    "common/data/README.md": put("| `toy` | `data/toy` | train 2, val 1 | 1 kB |\n", before="| `coco` |"),
    "tests/data/test_toy.py": '''import numpy as np
from PIL import Image

from common.data.lists import card_by_name, read_split
from common.data.masks import read_pair


def draw(folder):
    """Three pictures of 40x48 pixels with their masks, in the card's layout."""
    card = card_by_name("toy")
    for name in (card.image_folder, card.mask_folders[0], card.list_folders[0]):
        (folder / name).mkdir(parents=True)
    for i in range(3):
        mask = np.zeros((40, 48), np.uint8)
        mask[5:20, 5 + i : 20], mask[25:35, 20:40] = 1, 2
        pixels = np.asarray(card.palette, np.uint8)[mask] + np.uint8(i)
        Image.fromarray(pixels).save(folder / card.image_folder / f"{i}.jpg")
        Image.fromarray(mask).save(folder / card.mask_folders[0] / f"{i}.png")
    (folder / card.list_folders[0] / "train.txt").write_text("0\\n1\\n")
    (folder / card.list_folders[0] / "val.txt").write_text("2\\n")


def test_pictures_in_its_layout(tmp_path):
    draw(tmp_path)
    card = card_by_name("toy")
    for split, size in card.split_sizes.items():
        pairs = read_split(card, tmp_path, split).pairs
        assert len(pairs) == size
        assert set(np.unique(read_pair(*pairs[0], card)[1])) == {0, 1, 2}
''',
}


def original_answers() -> dict[str, np.ndarray]:
    """The golden file of the toy's original, a program of three lines of numpy."""
    from tests.helpers.golden_cases import weights

    sizes = {"conv1/weights": [1, 1, 3, 8], "conv1/biases": [8], "scores/weights": [1, 1, 8, 21], "scores/biases": [21]}
    w1, b1, w2, b2 = (weights.weight(name, shape) for name, shape in sizes.items())
    hidden = np.maximum(weights.image(7, 33, 41).astype(np.float32) @ w1[0, 0] + b1, 0)
    about = {"seed": 7, "height": 33, "width": 41, "batch": 1}
    return {
        "a/input": np.str_(json.dumps(about)),
        "a/variables": np.str_(json.dumps([*sizes.items()])),
        "a/logits": hidden @ w2[0, 0] + b2,
    }


REPRODUCTION: Files = {
    "reproductions/toy/__init__.py": '''"""The toy, as the shared programs ask for it."""

from common.reproduction import Reproduction
from reproductions.toy.recipe import VARIANTS

REPRODUCTION = Reproduction(
    name="toy",
    title="Toy",
    variants=VARIANTS,
    sample_variants=("sample",),
    scratch_variant="scratch",
    module="reproductions.toy.model",
    last_layer="^scores/",
)

segmenter = REPRODUCTION.segmenter
''',
    "reproductions/toy/recipe.py": '''"""The toy's recipes."""

from dataclasses import dataclass

from common.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class ToyRecipe(Recipe):
    """A run of the toy.

    python -m reproductions.toy train --data sample --run-dir runs/toy --set variant=sample
    """

    width: int = 8
    init_not_loaded: tuple[str, ...] = ("^scores/",)


TOY = ToyRecipe(variant="original")
SCRATCH = TOY.derive(variant="scratch", pixel_mean=(110.0, 110.0, 110.0), pixel_scale=0.02)
SAMPLE = SCRATCH.derive(variant="sample", num_steps=2, batch_size=2, crop_size=(65, 65), save_interval=2)
VARIANTS = {recipe.variant: recipe for recipe in (TOY, SCRATCH, SAMPLE)}
''',
    "reproductions/toy/model.py": '''"""The toy: a colour's class."""

from common.nets import layers
from common.nets.network import Outputs
from common.tf1 import tf
from reproductions.toy.recipe import ToyRecipe


def network(images: tf.Tensor, recipe: ToyRecipe, batch_statistics: bool = False) -> Outputs:
    """Scores [n, h, w, num_classes] of preprocessed `images` [n, h, w, 3]."""
    net = tf.nn.relu(layers.conv2d(images, recipe.width, 1, bias=True, scope="conv1"))
    return Outputs(layers.conv2d(net, recipe.num_classes, 1, bias=True, scope="scores"))
''',
    "reproductions/toy/__main__.py": '''"""`python -m reproductions.toy` and a command."""

import sys

from common.cli import main
from reproductions.toy import REPRODUCTION

if __name__ == "__main__":
    sys.exit(main(REPRODUCTION))
''',
    "reproductions/toy/README.md": "# Toy\n\nA network of two layers. Nothing differs from the original.\n",
    "tests/golden/README.md": put(
        "| `toy.npz` | three lines of numpy | `variables`, `logits` |\n", before="| `v2.npz`"
    ),
    "tests/parity/toy.py": '''"""The toy against the original program (numpy)."""

from collections.abc import Iterator

from common.nets.network import build
from common.nets.pictures import preprocess
from common.tf1 import session, tf
from reproductions.toy.model import network
from reproductions.toy.recipe import TOY
from tests.helpers import golden_cases
from tests.parity.measurement import Measurement, by_largest, by_name

CASES = golden_cases.load("toy")


def measurements() -> Iterator[Measurement]:
    """Every comparison with every case."""
    for case, golden in CASES.items():
        images, _ = golden_cases.inputs(golden)
        with tf.Graph().as_default() as graph, session(graph) as running:
            logits = build(network, preprocess(tf.constant(images), TOY), TOY).logits
            golden_cases.fill(running)
            ours = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
            yield by_name(case, ours, dict(golden_cases.parsed(golden["variables"])))
            yield by_largest(case, "logits", running.run(logits), golden["logits"])
''',
    "common/results/parity.py": put('    "toy": Original("toy/toy", "numpy", "toy"),\n', before='    "v2": Original('),
    "tests/reproductions/test_golden_toy.py": """from tests.parity import toy
from tests.parity.measurement import check


def test_it_answers_as_the_original():
    check(toy.measurements())
""",
    "Makefile": each(
        lambda text: text.replace("REPRODUCTIONS := v1", "REPRODUCTIONS := toy v1", 1),
        put("reproduce-toy: setup  ## [reproduce] the toy\n", before="reproduce-v1: setup"),
    ),
    "README.md": put(
        "| [`toy`](reproductions/toy/README.md) two layers | toy/toy | none |\n", before="| [`v1`](reprod"
    ),
}

PUBLISHED: Files = {
    "results/published.yaml": lambda text: (
        f"""{text.rstrip()}

- source: github toy/toy README
  reproduction: v1
  data: VOC2012
  split: val
  classes: 21
  protocol: {{size: native}}
  trained: {{program: toy/toy}}
  rows:
    - {{model: Two layers, miou: 12.34}}
"""
    ),
}
