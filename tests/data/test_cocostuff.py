"""COCO-Stuff: its 182 ids and 171 classes beside other programs' lists, and the masks of both of its editions."""

import numpy as np
import pytest
from PIL import Image

from common.data.lists import card_by_name, read_split
from common.data.prepare import cocostuff
from common.data.sets.cocostuff import CLASSES, COCOSTUFF_10K, COCOSTUFF_164K, LABELLED, UNUSED
from tests.helpers import archive_sets as sets
from tests.helpers.preparing import error, goes_through

FOLDER = "data/cocostuff10k/cocostuff-10k-v1.1"

# The 80 things of COCO's instances_*.json with their ids, as torchvision and detectron2 print them: the gaps are the
# things without annotations.
THINGS = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck", 9: "boat",
    10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat",
    18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe",
    27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove", 41: "skateboard",
    42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass", 47: "cup", 48: "fork", 49: "knife",
    50: "spoon", 51: "bowl", 52: "banana", 53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot",
    58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard",
    77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book",
    85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush",
}  # fmt: skip
# The 91 stuff classes of mmsegmentation's COCOStuffDataset (mmseg/datasets/coco_stuff.py), which follow the 80 things.
STUFF = """
banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile,
cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other,
floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other,
hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow,
plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf,
sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-other, towel,
tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other,
waterdrops, window-blind, window-other, wood
"""


def test_the_classes_are_those_of_other_programs():
    for name, title, sizes in (
        ("cocostuff10k", "COCO-Stuff 10k", {"train": 9000, "val": 1000}),
        ("cocostuff164k", "COCO-Stuff 164k",
         {"train": 118287, "train2017": 118287, "val": 5000, "val2017": 5000}),
    ):  # fmt: skip
        card = card_by_name(name)
        assert (card.title, card.classes, card.split_sizes) == (title, CLASSES, sizes)
        assert len(set(card.palette)) == len(set(card.classes)) == 182
    stuff = [name.strip() for name in STUFF.split(",")]
    assert {i: CLASSES[i - 1] for i in THINGS} == THINGS
    assert [*CLASSES[91:]] == stuff
    # 171 classes, in mmsegmentation's order; the ids that are left are those without annotations.
    assert [CLASSES[i] for i in LABELLED] == [*THINGS.values(), *stuff]
    assert len(LABELLED) == 171
    assert [CLASSES.index(name) + 1 for name in UNUSED] == [i for i in range(1, 92) if i not in THINGS]


def test_10k(run, tmp_path):
    code, out, _ = run("cocostuff10k")
    assert code == 0
    assert out.splitlines()[0] == FOLDER
    assert "--set variant=cocostuff10k\n" in out
    wanted = sets.columns(sets.STUFF_CLASSES)
    wanted[:, len(sets.STUFF_CLASSES) :] = 181
    for split, stems in {"train": sets.STUFF["train"], "val": sets.STUFF["test"]}.items():
        pairs = read_split(COCOSTUFF_10K, tmp_path / FOLDER, split)
        assert [image.stem for image, _ in pairs.pairs] == stems
        assert np.array_equal(pairs.read(0)[1], wanted)
    with Image.open(tmp_path / FOLDER / f"masks/{sets.STUFF['train'][0]}.png") as mask:
        assert mask.mode == "P"


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float64])
def test_numbers_in_every_type(tmp_path, kind):
    """kazuto1011/deeplab-pytorch subtracts in the file's own type, which makes 255 of an unsigned 0 as of a signed."""
    (tmp_path / "x.mat").write_bytes(sets.mat_file({"S": np.array([[0, 1, 182]], kind)}))
    assert cocostuff.read_stuff(tmp_path / "x.mat").tolist() == [[255, 0, 181]]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (sets.mat_file({"S": sets.columns([1])})[:-30], "cannot be read as a label map of COCO-Stuff 10k"),
        (sets.mat_file({"LabelMap": sets.columns([1])}), "cannot be read as a label map of COCO-Stuff 10k"),
        (sets.mat_file({"S": sets.columns([183])}), "whose labels are whole numbers from 0 to 182"),
        (sets.mat_file({"S": np.int16([[-1, 2]])}), "whose labels are whole numbers from 0 to 182"),
    ],
)
def test_files_that_are_not_right(run, tmp_path, content, text):
    assert run("cocostuff10k")[0] == 0
    stem = sets.STUFF["train"][1]
    (tmp_path / FOLDER / f"masks/{stem}.png").unlink()
    (tmp_path / FOLDER / f"annotations/{stem}.mat").write_bytes(content)
    found = error(run("cocostuff10k"))
    assert text in found
    assert f"{FOLDER}/annotations/{stem}.mat" in found
    assert not list((tmp_path / FOLDER / "masks").glob(".*"))


@pytest.mark.parametrize("layout", ["ours", "kazuto1011"])
def test_164k(run, tmp_path, layout):
    code, out, _ = run("cocostuff164k")
    assert code == 0
    assert out.splitlines()[:3] == [
        "data/coco",
        "  train                3 pictures",
        "  val                  1 pictures",
    ]
    assert "--set variant=cocostuff164k\n" in out
    folder = tmp_path / "data/coco"
    if layout == "kazuto1011":
        (folder / "images").mkdir()
        for split in sets.COCO:
            (folder / split).rename(folder / "images" / split)
            (folder / "stuffthingmaps" / split).rename(folder / "annotations" / split)
    for name, split in (("train", "train2017"), ("train2017", "train2017"), ("val", "val2017"), ("val2017", "val2017")):
        pairs = read_split(COCOSTUFF_164K, folder, name)
        assert [image.stem for image, _ in pairs.pairs] == sets.COCO[split]
        label = pairs.read(0)[1]
        assert label[0, :6].tolist() == [*sets.STUFF_CLASSES, 181]


def test_a_map_that_is_damaged(run, tmp_path):
    assert run("cocostuff164k")[0] == 0
    path = tmp_path / "data/coco/stuffthingmaps/train2017/000000000025.png"
    path.write_bytes(path.read_bytes()[:60])
    assert error(run("cocostuff164k")).endswith("; delete data/coco/stuffthingmaps and run this again to replace it")


@pytest.mark.parametrize("card", [COCOSTUFF_10K, COCOSTUFF_164K], ids=lambda card: card.name)
def test_182_classes_go_through_everything(run, tmp_path, card):
    assert run(card.name)[0] == 0
    metrics = goes_through(tmp_path / (FOLDER if card is COCOSTUFF_10K else "data/coco"), card, tmp_path)
    assert list(metrics["per_class_iou"]) == list(CLASSES)
    there = {name for name, iou in metrics["per_class_iou"].items() if iou is not None}
    assert there == {CLASSES[i] for i in sets.STUFF_CLASSES if i != 255}
    assert np.shape(metrics["confusion_matrix"]) == (182, 182)
