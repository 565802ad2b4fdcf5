"""ADE20K, the scene parsing benchmark of 2016 (ADEChallengeData2016): 150 classes and "other".

A mask's value is the class id, 1..150 in the order of objectInfo150. 0 is "other". The published checkpoints have a
score for it, so it is a class of the network. Pixels labelled 0 count neither in the loss nor in the mean IoU, as with
research/deeplab's `ignore_label=0`. (There a predicted 0 adds a class of IoU 0 to the mean; here the mean is over the
classes that occur in the labels.) In asahi417's program 0 is a class like the others.
"""

from common.data.card import DatasetCard, Folders
from common.data.sets.voc import voc_palette

_CLASSES = """
other, wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair,
seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers,
counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow,
screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop,
stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower,
chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel, pole, land, bannister, escalator,
ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming pool,
stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot,
animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan,
pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
"""


def _split(folder: str) -> tuple[Folders, ...]:
    return (Folders(f"images/{folder}/*.jpg", (("images/", "annotations/"), (".jpg", ".png"))),)


ADE20K = DatasetCard(
    name="ade20k",
    title="ADE20K",
    classes=tuple(name.strip() for name in _CLASSES.split(",")),
    palette=voc_palette(151),  # the benchmark's own gives several classes the same colour
    ignored_classes=(0,),
    # Used only for a user's lists of bare ids of training pictures; other lists name both files.
    image_folder="images/training",
    mask_folders=("annotations/training",),
    list_folders=("lists", ""),
    folders={
        **dict.fromkeys(("train", "training"), _split("training")),
        **dict.fromkeys(("val", "validation"), _split("validation")),
    },
    split_sizes={
        **dict.fromkeys(("train", "training"), 20210),
        **dict.fromkeys(("val", "validation"), 2000),
    },
)
