"""COCO-Stuff: things and stuff of COCO, in 10,000 pictures of train2014 and in all 123,287 of 2017.

labels.txt counts 91 things (1..91) and 91 stuff classes (92..182). A class's id here is its number there minus 1, as
in stuffthingmaps and in the published networks, which have 182 scores. `UNUSED` are the 11 things without a single
annotation. The other 171 classes are what papers count. A mean over the classes that occur leaves the 11 out, so the
182 ids give the same mIoU as 171, and published weights need no other order; `LABELLED` maps one to the other.
"""

from common.data.card import DatasetCard, Folders
from common.data.sets.voc import voc_palette

_CLASSES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street sign,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, hat, backpack,
umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup, fork, knife, spoon, bowl, banana,
apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, mirror,
dining table, window, desk, toilet, door, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster,
sink, refrigerator, blender, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, hair brush, banner,
blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth,
clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other,
floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other,
hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow,
plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf,
sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent, textile-other, towel,
tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other,
waterdrops, window-blind, window-other, wood
"""

_UNUSED = "street sign, hat, shoe, eye glasses, plate, mirror, window, desk, door, blender, hair brush"

CLASSES = tuple(name.strip() for name in _CLASSES.split(","))
UNUSED = tuple(_UNUSED.split(", "))
LABELLED = tuple(i for i, name in enumerate(CLASSES) if name not in UNUSED)  # 171 ids, in order


def _split(folder: str) -> tuple[Folders, ...]:
    """A split of 2017, as its archives unpack here, and in kazuto1011/deeplab-pytorch's folders."""
    return (
        Folders(f"{folder}/*.jpg", ((f"{folder}/", f"stuffthingmaps/{folder}/"), (".jpg", ".png"))),
        Folders(f"images/{folder}/*.jpg", (("images/", "annotations/"), (".jpg", ".png"))),
    )


COCOSTUFF_10K = DatasetCard(
    name="cocostuff10k",
    title="COCO-Stuff 10k",
    classes=CLASSES,
    palette=voc_palette(182),
    image_folder="images",
    mask_folders=("masks",),
    list_folders=("lists",),
    split_sizes={"train": 9000, "val": 1000},  # val is imageLists/test.txt
)

COCOSTUFF_164K = DatasetCard(
    name="cocostuff164k",
    title="COCO-Stuff 164k",
    classes=CLASSES,
    palette=voc_palette(182),
    # Used only for a user's lists of bare ids of training pictures; other lists name both files.
    image_folder="train2017",
    mask_folders=("stuffthingmaps/train2017",),
    list_folders=("",),
    folders={
        **dict.fromkeys(("train", "train2017"), _split("train2017")),
        **dict.fromkeys(("val", "val2017"), _split("val2017")),
    },
    split_sizes={**dict.fromkeys(("train", "train2017"), 118287), **dict.fromkeys(("val", "val2017"), 5000)},
)
