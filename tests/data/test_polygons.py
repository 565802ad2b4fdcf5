import base64
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from common.data.lists import card_by_name, read_split
from common.data.own import read_card
from common.data.polygons import __main__ as polygons
from common.data.polygons import painting
from common.files import WRITING
from tests.conftest import ROOT, files_no_larger_than
from tests.data.test_coco import plain_rle
from tests.helpers.leftovers import killed_name
from tests.helpers.own_data import CLASSES, draw, drawn_photos, write_labelme

LETTERS = {".": 0, "a": 1, "b": 2, "c": 3, "#": 255}  # background, apple, pear, quince, ignored
HEIGHT, WIDTH = 6, 10


def drawn(text):
    return np.array([[LETTERS[letter] for letter in row] for row in text.split()], np.uint8)


def box(x, y, x_end, y_end):
    return [[x, y], [x_end, y], [x_end, y_end], [x, y_end]]


def flat(points):
    return [float(n) for point in points for n in point]


def picture(path, height=HEIGHT, width=WIDTH, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.RandomState(1).randint(0, 255, (height, width, 3)).astype(np.uint8)).save(path, **options)
    return path


def encoded(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def labelme(folder, name, shapes, **changes):
    """`name`.jpg with its JSON beside it; a shape is (label, points) or (label, points, type) or with more fields."""
    outlines = []
    for label, points, *more in shapes:
        outline = {"label": label, "points": points, "group_id": None, "flags": {}, "shape_type": "polygon"}
        outlines.append(outline | ({"shape_type": more[0]} if more else {}) | (more[1] if len(more) > 1 else {}))
    content = {"version": "5.5.0", "flags": {}, "shapes": outlines, "imagePath": f"{name}.jpg", "imageData": None}
    content |= {"imageHeight": HEIGHT, "imageWidth": WIDTH} | changes
    folder.mkdir(parents=True, exist_ok=True)
    if content["imageData"] is None and changes.get("imagePath") is None:
        picture(folder / f"{name}.jpg")
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def coco(folder, annotations, names=("apple", "pear", "quince"), images=("a.png", "b.png"), file="default", **changes):
    """CVAT's zip, unpacked; an annotation is (picture, label, segmentation), or with a dict of fields instead."""
    pictures = [
        {"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT, "license": 0} for i, name in enumerate(images, 1)
    ]
    for name in images:
        picture(folder / "images" / name)
    content = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "categories": [{"id": 10 * i, "name": name, "supercategory": ""} for i, name in enumerate(names, 1)],
        "images": pictures,
        "annotations": [
            {"id": i, "image_id": image_id, "category_id": 10 * (1 + names.index(label)), "iscrowd": 0, "area": 1.0}
            | (rest if isinstance(rest, dict) else {"segmentation": rest})
            for i, (image_id, label, rest) in enumerate(annotations, 1)
        ],
    } | changes
    path = folder / f"annotations/instances_{file}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def run(*arguments):
    try:
        return polygons.main([str(a) for a in arguments])
    except SystemExit as exit_:
        return exit_.code


def mask(folder, stem):
    with Image.open(folder / "masks" / f"{stem}.png") as image:
        assert image.mode == "P"
        return np.asarray(image)


def check(folder, stem, text):
    assert mask(folder, stem).tolist() == drawn(text).tolist(), "\n".join(
        "".join({v: k for k, v in LETTERS.items()}[int(p)] for p in row) for row in mask(folder, stem)
    )


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_the_drawn_photographs(tmp_path, out, capsys):
    """From photographs and labelme's files to a data set that trains; masks are the drawn ones, pixel for pixel."""
    photos = drawn_photos(tmp_path / "photos", 6)
    write_labelme(photos)
    drawn_photos(tmp_path / "photos", 8)  # two without outlines
    assert run(tmp_path / "photos", "--out", out, "--quiet") == 0
    card = card_by_name(str(out))
    assert card.classes == CLASSES
    assert card.name == "out"
    found = 0
    for name in ("train", "val"):
        split = read_split(card, out, name)
        for i, (image, _) in enumerate(split.pairs):
            expected = draw(int(image.stem[-2:]))
            assert np.array_equal(split.read(i)[1], expected[1])
            assert image.parent == out / "../photos"
            found += 1
    assert found == 6
    stdout, err = capsys.readouterr()
    counts = np.bincount(np.concatenate([draw(i)[1].ravel() for i in range(6)]))
    assert stdout.startswith("6 pictures; 0 of them without shapes, all background\n")
    for name, count in zip(CLASSES, counts, strict=True):
        assert re.search(rf" {name} +\d pictures +{count:,} pixels +{count / counts.sum():.2%}\n", stdout)
    assert stdout.endswith(f"{out}/dataset.yaml\n")
    assert "2 files of" in err


# Points lie between pixels; a pixel belongs to the shape that holds its centre. By hand:
SHAPES = {
    "rectangle": ([("apple", [[1, 1], [4, 3]], "rectangle")], ".......... .aaa...... .aaa......"),
    "rectangle backwards": ([("apple", [[4, 3], [1, 1]], "rectangle")], ".......... .aaa...... .aaa......"),
    "four corners": ([("apple", box(1, 1, 4, 3), "rectangle")], ".......... .aaa...... .aaa......"),
    # Legs of 8 and 4: row y is inside where x + 0.5 < 2 (4 - (y + 0.5)).
    "triangle": ([("pear", [[0, 0], [8, 0], [0, 4]])], "bbbbbbb... bbbbb..... bbb....... b........."),
    # Row y + 0.5 reaches 3.25 - y to either side of x = 5.
    "hanging triangle": ([("pear", [[1.25, 1], [8.75, 1], [5, 4.75]])], ".......... "
                         "..bbbbbb.. ...bbbb... ....bb...."),
    "part of a pixel": ([("apple", box(1.4, 0.4, 3.6, 1.6))], ".aaa...... .aaa......"),
    "no type": ([("apple", box(0, 0, 2, 1), None)], "aa........"),
    "turned": ([("apple", [[5, 0.25], [7.75, 3], [5, 5.75], [2.25, 3]], "oriented_rectangle")],
               ".......... ....aa.... ...aaaa... ...aaaa... ....aa...."),
    # Radius 2 around (4, 3): centres at 0.5 and 1.5 from it, all but the corners.
    "circle": ([("apple", [[4, 3], [6, 3]], "circle")], ".......... ...aa..... ..aaaa.... ..aaaa.... ...aa....."),
    "later over earlier": ([("apple", box(0, 0, 2, 2)), ("pear", box(0, 0, 6, 4)), ("quince", box(4, 1, 8, 2))],
                           "bbbbbb.... bbbbcccc.. bbbbbb.... bbbbbb...."),
    "a hole": ([("apple", box(1, 0, 8, 4)), ("_background_", box(3, 1, 5, 3))],
               ".aaaaaaa.. .aa..aaa.. .aa..aaa.. .aaaaaaa.."),
    "ignored": ([("apple", box(0, 0, 4, 2)), ("__ignore__", box(3, 0, 6, 1)), ("ignore", box(0, 5, 1, 6))],
                "aaa###.... aaaa...... .......... .......... .......... #........."),
    "clipped": ([("apple", box(-3, -3, 3, 2)), ("pear", box(8, 4, 14, 9)), ("quince", box(-5, -5, -1, 3))],
                "aaa....... aaa....... .......... .......... ........bb ........bb"),
    "clipped triangle": ([("apple", [[-4.25, 1], [4.25, 1], [0, 5.25]])],
                         ".......... aaaa...... aaa....... aa........ a........."),
    "endless circle": ([("pear", [[0, 0], [1e200, 0]], "circle")], "bbbbbbbbbb " * 6),
    "clipped circle": ([("pear", [[0, 0], [0, 2]], "circle")], "bb........ b........."),
    "all": ([("apple", box(0, 0, 10, 6))], "aaaaaaaaaa " * 6),
    "nothing": ([], ""),
    # A patch whose corner pixel is (2, 1), with a hole; and one that reaches out of the picture.
    "patches": ([("apple", [[2, 1], [4, 3]], "mask",
                  {"mask": encoded(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8) * 255)}),
                 ("pear", [[-1, -1], [0, 1]], "mask", {"mask": encoded(np.ones((3, 2), np.uint8))}),
                 ("pear", [[9, 5], [11, 6]], "mask", {"mask": encoded(np.ones((2, 3), np.uint8))})],
                "b......... b.aaa..... ..a.a..... ..aaa..... .......... .........b"),
}  # fmt: skip


@pytest.mark.parametrize("case", SHAPES)
def test_labelme_shapes(tmp_path, out, case):
    shapes, expected = SHAPES[case]
    labelme(tmp_path / "photos", "a", shapes)
    rows = expected.split()
    with np.errstate(over="raise"):
        assert run(tmp_path / "photos", "--out", out, "--classes", "apple,pear,quince", "--quiet") == 0
    check(out, "a", " ".join(rows + ["." * WIDTH] * (HEIGHT - len(rows))))


def test_labels_are_sorted_and_the_background_is_first(tmp_path, out):
    labelme(tmp_path / "p", "a", [("pear", box(0, 0, 1, 1)), (" apple ", box(2, 0, 3, 1)), ("ignore", box(4, 0, 5, 1))])
    labelme(tmp_path / "p", "b", [("no", box(0, 0, 1, 1)), ("background", box(0, 0, 1, 1))])
    assert run(tmp_path / "p/b.json", tmp_path / "p/a.json", "--out", out, "--name", "été: fruit") == 0
    text = (out / "dataset.yaml").read_text(encoding="utf-8").splitlines()
    assert text[1:] == ["name: 'été: fruit'", "classes: [background, apple, 'no', pear]", "images: ../p",
                        "masks: masks", "val_share: 0.2", "seed: 1"]  # fmt: skip
    assert card_by_name(str(out)).classes == ("background", "apple", "no", "pear")
    assert mask(out, "a")[0, :5].tolist() == [3, 0, 1, 0, 255]
    assert mask(out, "b")[0, 0] == 0
    with Image.open(out / "masks/a.png") as image:
        assert image.getpalette()[3:6] == [128, 0, 0]


def test_classes_in_an_order_of_ones_own(tmp_path, out):
    labelme(tmp_path / "p", "a", [("pear", box(0, 0, 1, 1)), ("apple", box(2, 0, 3, 1))])
    assert run(tmp_path / "p", "--out", out, "--classes", "pear, quince,apple") == 0
    assert card_by_name(str(out)).classes == ("background", "pear", "quince", "apple")
    assert mask(out, "a")[0, :3].tolist() == [1, 0, 3]
    assert run(tmp_path / "p", "--out", tmp_path / "named", "--classes", "_background_,pear,apple") == 0
    assert card_by_name(str(tmp_path / "named")).classes == ("_background_", "pear", "apple")


def test_pictures_elsewhere_and_in_folders(tmp_path, out):
    """Paths as Windows writes them, or of another machine; one folder for each day."""
    picture(tmp_path / "photos/day1/a.jpg")
    picture(tmp_path / "photos/day2/a.png")
    shape = [("apple", box(0, 0, 2, 1))]
    labelme(tmp_path / "json/day1", "one", shape, imagePath="..\\..\\photos\\day1\\a.jpg")
    labelme(
        tmp_path / "json/day2", "two", shape, imagePath="../../photos/day2/a.png", imageHeight=None, imageWidth=None
    )
    assert run(tmp_path / "json", "--out", out) == 0
    card = read_card(out / "dataset.yaml")
    assert card.splits["train"].images == "../photos"
    assert {p.relative_to(out).as_posix() for p in out.rglob("*.png")} == {"masks/day1/a.png", "masks/day2/a.png"}
    assert sum(len(read_split(card, out, name).pairs) for name in ("train", "val")) == 2
    labelme(tmp_path / "json2", "one", shape, imagePath="C:\\Users\\me\\day1\\a.jpg")
    assert run(tmp_path / "json2", "--out", tmp_path / "out2") == 2
    assert run(tmp_path / "json2", "--out", tmp_path / "out2", "--images", tmp_path / "photos/day1") == 0
    assert card_by_name(str(tmp_path / "out2")).splits["val"].images == "../photos/day1"


def test_links_keep_their_names(tmp_path, out):
    picture(tmp_path / "store/0001.jpg")
    path = labelme(tmp_path / "photos", "a", [("apple", box(0, 0, 2, 1))])
    (tmp_path / "photos/a.jpg").unlink()
    (tmp_path / "photos/a.jpg").symlink_to(tmp_path / "store/0001.jpg")
    assert run(path, "--out", out) == 0
    assert mask(out, "a").sum() == 2
    assert read_card(out / "dataset.yaml").splits["train"].images == "../photos"


def test_embedded_pictures_are_unpacked(tmp_path, out):
    """With one that only lies in its JSON, all pictures go to `images`."""
    pixels = np.random.RandomState(2).randint(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for name in "abc":
        labelme(
            tmp_path / "j", name, [("apple", box(0, 0, 2, 1))], imageData=encoded(pixels), imagePath=f"../{name}.jpg"
        )
    picture(tmp_path / "b.jpg")
    assert run(tmp_path / "j", "--out", out) == 0
    assert sorted(p.name for p in (out / "images").iterdir()) == ["a.png", "b.jpg", "c.png"]
    assert np.array_equal(np.asarray(Image.open(out / "images/a.png")), pixels)
    assert (out / "images/b.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    card = card_by_name(str(out))
    assert len(read_split(card, out, "train").pairs) == 2
    assert read_split(card, out, "val").read(0)[1].sum() == 2
    assert run(tmp_path / "j", "--out", out) == 0  # again


def test_photographs_turned_by_their_exif_tag(tmp_path, out):
    """labelme shows and measures them upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = labelme(tmp_path / "p", "a", [("apple", box(0, 0, 2, 1))], imageHeight=WIDTH, imageWidth=HEIGHT)
    picture(tmp_path / "p/a.jpg", exif=exif)
    assert run(path, "--out", out) == 0
    assert mask(out, "a").shape == (WIDTH, HEIGHT)
    card = card_by_name(str(out))
    (out / "dataset.yaml").write_text((out / "dataset.yaml").read_text().replace("0.2", "0"))
    assert read_split(card_by_name(str(out)), out, "train").read(0)[1].sum() == 2
    assert card.classes[1] == "apple"


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_outlines_on_turned_photographs(tmp_path, out, turn, kind):
    """Shapes lie on the upright picture, or on the stored one where the file's size is that of the stored one."""
    options = {"tiffinfo": {0x0112: turn}} if kind == "tif" else {"exif": b"Exif\0\0" + exif_block(turn)}
    name = f"a.{kind}"
    on_side = turn > 4
    upright = (WIDTH, HEIGHT) if on_side else (HEIGHT, WIDTH)
    shapes = [("apple", box(0, 0, 3, 2))]
    path = labelme(
        tmp_path / "p", "a", shapes, imagePath=name, imageHeight=upright[0], imageWidth=upright[1], imageData=""
    )
    picture(tmp_path / "p" / name, **options)
    assert run(path, "--out", out) == 0
    expected = np.zeros(upright, np.uint8)
    expected[:2, :3] = 1
    assert np.array_equal(mask(out, "a"), expected)
    stored = coco(tmp_path / "stored", [(1, "apple", [flat(box(0, 0, 3, 2))])], images=(name,))
    picture(tmp_path / "stored/images" / name, **options)
    assert run(stored, "--out", tmp_path / "drawn") == 0
    drawn_there = np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn_there[:2, :3] = 1
    turns = {5: lambda a: a.T, 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).T, 8: np.rot90}
    assert np.array_equal(mask(tmp_path / "drawn", "a"), turns[turn](drawn_there) if on_side else drawn_there)


def exif_block(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif.tobytes().removeprefix(b"Exif\0\0")


def test_a_category_that_only_groups_others(tmp_path, out, capsys):
    """Roboflow writes one first; COCO's `person` is its own group and stays."""
    groups = {"fruits": "none", "apple": "fruits", "pear": "fruits", "person": "person"}
    categories = [{"id": i, "name": name, "supercategory": group} for i, (name, group) in enumerate(groups.items())]
    shapes = [(1, "apple", {"segmentation": [flat(box(0, 0, 2, 1))], "category_id": 1})]
    path = coco(tmp_path / "cvat", shapes, names=("apple",), images=("a.png",), categories=categories)
    assert run(path, "--out", out) == 0
    assert read_card(out / "dataset.yaml").classes == ("background", "apple", "pear", "person")
    assert "fruits: left out: only the supercategory of others" in capsys.readouterr().err
    shapes[0][2]["category_id"] = 0
    path = coco(tmp_path / "used", shapes, names=("apple",), images=("a.png",), categories=categories)
    assert run(path, "--out", tmp_path / "used-out") == 0
    assert read_card(tmp_path / "used-out/dataset.yaml").classes[:2] == ("background", "fruits")


def test_numbers_as_text(tmp_path, out):
    path = coco(tmp_path / "cvat", [(1, "pear", [flat(box(0, 0, 2, 1))])], images=("a.png",))
    content = json.loads(path.read_text())
    content["images"][0] |= {"id": "1", "height": str(HEIGHT), "width": str(WIDTH)}
    content["annotations"][0]["category_id"] = "20"
    path.write_text(json.dumps(content))
    assert run(path, "--out", out) == 0
    assert mask(out, "a").sum() == 4


def test_cvat_export(tmp_path, out, capsys):
    """Smaller over larger, wherever they stand; several parts; a picture with nothing on it; a category without use."""
    coco(
        tmp_path / "cvat",
        [
            (1, "pear", [flat(box(2, 1, 4, 2))]),
            (1, "apple", [flat(box(0, 0, 6, 4)), flat(box(8, 4, 10, 6))]),
            (1, "apple", [flat(box(3, 0, 5, 1)), [1.0, 1.0, 2.0, 2.0]]),
        ],
    )
    assert run(tmp_path / "cvat", "--out", out) == 0
    card = card_by_name(str(out))
    assert card.classes == ("background", "apple", "pear", "quince")
    assert card.splits["train"].images == "../cvat/images"
    check(out, "a", "aaaaaa.... aabbaa.... aaaaaa.... aaaaaa.... ........aa ........aa")
    check(out, "b", ".......... " * HEIGHT)
    said = capsys.readouterr().out
    assert said.startswith("2 pictures; 1 of them without shapes, all background\n")
    assert re.search(r" quince +0 pictures +0 pixels", said)


def test_run_lengths_and_holes(tmp_path, out):
    ring = drawn("aaaa...... a..a...... aaaa...... .......... .......... ..........") == 1
    other = drawn(".......... .......... .......... .....bbb.. .....b.b.. .....bbb..") == 2
    compressed = coco_mask.encode(np.asfortranarray(other.astype(np.uint8)))
    rle = {"size": [HEIGHT, WIDTH], "counts": compressed["counts"].decode()}
    annotations = [(1, "apple", {"segmentation": plain_rle(ring)}), (1, "pear", {"segmentation": rle})]
    coco(tmp_path / "cvat", annotations, images=("a.png",))
    assert run(tmp_path / "cvat", "--out", out) == 0
    check(out, "a", "aaaa...... a..a...... aaaa...... .....bbb.. .....b.b.. .....bbb..")


def test_crowds(tmp_path, out):
    """CVAT's brush sets iscrowd, so it is the class; COCO's own crowds are ignored below all else, if one says so."""
    brush = drawn(".bbbb..... .bbbb.....") == 2
    brush = np.vstack([brush, np.zeros((4, WIDTH), bool)])
    shapes = [(1, "apple", [flat(box(0, 0, 7, 1))]), (1, "pear", {"segmentation": plain_rle(brush), "iscrowd": 1})]
    coco(tmp_path / "cvat", shapes, images=("a.png",))
    assert run(tmp_path / "cvat", "--out", out) == 0
    rest = " .........." * 4
    check(out, "a", "aaaaaaa... .bbbb....." + rest)
    assert run(tmp_path / "cvat", "--out", out, "--crowds", "ignore") == 0
    check(out, "a", "aaaaaaa... .####....." + rest)


def test_labels_that_are_no_class(tmp_path, out):
    shapes = [(1, "ignore", [flat(box(0, 0, 4, 1))]), (1, "pear", [flat(box(2, 0, 4, 1))]),
              (1, "background", [flat(box(3, 0, 4, 1))])]  # fmt: skip
    coco(tmp_path / "cvat", shapes, ("background", "quince", "pear", "ignore"), ("a.png",))
    assert run(tmp_path / "cvat", "--out", out) == 0
    assert card_by_name(str(out)).classes == ("background", "quince", "pear")
    check(out, "a", "##b......." + " .........." * 5)


def test_boxes(tmp_path, out, capsys):
    """CVAT writes a rectangle as a box without an outline; so does every set for detection."""
    coco(tmp_path / "cvat", [(1, "pear", {"segmentation": [], "bbox": [1, 1, 3, 2]})], images=("a.png",))
    assert run(tmp_path / "cvat", "--out", out) == 2
    assert not out.exists()
    assert re.search(
        r"annotation 1 \('pear'\) has a box and no outline; draw one, or .* by --boxes", capsys.readouterr()[1]
    )
    assert run(tmp_path / "cvat", "--out", out, "--boxes") == 0
    check(out, "a", ".......... .bbb...... .bbb......" + " .........." * 3)


@pytest.mark.parametrize("layout", ["images", "images/val", "val", ".", "annotations", "far"])
def test_where_coco_pictures_are_found(tmp_path, out, layout):
    path = coco(tmp_path / "c", [(1, "pear", [flat(box(0, 0, 2, 1))])], images=("a.png",), file="val")
    target = tmp_path / "c" / layout / "a.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "c/images/a.png").rename(target)
    assert run(path, "--out", out, *(["--images", target.parent] if layout == "far" else [])) == 0
    assert mask(out, "a").sum() == 4


def test_several_files(tmp_path, out):
    """Categories are each file's own."""
    coco(tmp_path / "c", [(1, "pear", [flat(box(0, 0, 2, 1))])], ("pear",), ("a.png",), "train")
    coco(tmp_path / "c", [(1, "apple", [flat(box(0, 0, 2, 1))])], ("apple", "pear"), ("b.png",), "val")
    labelme(tmp_path / "c/images", "d", [("quince", box(0, 0, 2, 1))])
    assert run(tmp_path / "c", "--out", out) == 0
    assert card_by_name(str(out)).classes == ("background", "pear", "apple", "quince")
    assert [mask(out, stem)[0, 0] for stem in "abd"] == [1, 2, 3]


def test_run_again_with_more(tmp_path, out, capsys):
    """Masks are made anew, what was changed in dataset.yaml stays; masks without annotations are told."""
    labelme(tmp_path / "p", "a", [("apple", box(0, 0, 2, 1)), ("pear", box(0, 0, 1, 1))])
    assert run(tmp_path / "p", "--out", out) == 0
    mine = (out / "dataset.yaml").read_text().replace("0.2", "0.5").replace("masks", "./masks/") + "# mine\n"
    (out / "dataset.yaml").write_text(mine.replace("./masks/", "masks"))
    labelme(tmp_path / "p", "a", [("apple", box(0, 0, 3, 1))])
    labelme(tmp_path / "p", "b", [("pear", box(0, 0, 4, 1))])
    assert run(tmp_path / "p", "--out", out) == 0
    assert mask(out, "a").sum() == 3
    assert mask(out, "b").sum() == 8
    assert (out / "dataset.yaml").read_text() == mine.replace("./masks/", "masks")
    (tmp_path / "p/b.json").unlink()
    labelme(tmp_path / "p", "a", [("apple", box(0, 0, 3, 1)), ("pear", box(0, 0, 1, 1))])
    capsys.readouterr()
    assert run(tmp_path / "p", "--out", out) == 0
    assert "1 masks belong to pictures without annotations, such as b.png" in capsys.readouterr().err
    labelme(tmp_path / "p", "a", [("quince", box(0, 0, 3, 1))])
    before = (out / "masks/a.png").read_bytes()
    assert run(tmp_path / "p", "--out", out) == 2
    message = (
        r"dataset\.yaml: has classes \['background', 'apple', 'pear'\], now it is \['background', 'quince'\]; "
        r"delete it or choose another --out"
    )
    assert re.search(message, capsys.readouterr().err)
    assert (out / "masks/a.png").read_bytes() == before


def test_masks_of_ones_own_are_not_written_over(tmp_path, out, capsys):
    labelme(tmp_path / "p", "a", [("apple", box(0, 0, 3, 1))])
    picture(out / "masks/a.png")
    assert run(tmp_path / "p", "--out", out) == 2
    assert f"--out {out}: holds masks already, but no dataset.yaml; choose another folder" in capsys.readouterr().err


def test_a_killed_run_leaves_nothing_that_matters(tmp_path, out):
    labelme(tmp_path / "p", "a", [("apple", box(0, 0, 3, 1))])
    masks = out / killed_name(WRITING, "abc") / "masks"
    masks.mkdir(parents=True)
    (masks / "x.png").write_text("")
    assert run(tmp_path / "p", "--out", out) == 0
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*")) == ["dataset.yaml", "masks", "masks/a.png"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_stopped_on_the_way(tmp_path, out, monkeypatch, stop):
    for name in "abc":
        labelme(tmp_path / "p", name, [("apple", box(0, 0, 3, 1))])
    count = []

    def save(*arguments, save=painting.save_label_png):
        count.append(1)
        if len(count) == 3:
            raise stop
        save(*arguments)

    monkeypatch.setattr(painting, "save_label_png", save)
    assert run(tmp_path / "p", "--out", out / "deep") == (130 if stop is KeyboardInterrupt else 2)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("")
    count.clear()
    assert run(tmp_path / "p", "--out", out) in (130, 2)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_a_full_disk(tmp_path, out, capsys):
    labelme(tmp_path / "p", "a", [("apple", box(0, 0, 3, 1))])
    picture(tmp_path / "p/a.jpg", 300, 300)
    noise = encoded(np.random.RandomState(0).randint(0, 2, (300, 300)).astype(np.uint8) * 255)
    labelme(tmp_path / "p", "b", [("apple", [[0, 0], [299, 299]], "mask", {"mask": noise})], imageHeight=300,
            imageWidth=300, imagePath="b.jpg")  # fmt: skip
    picture(tmp_path / "p/b.jpg", 300, 300)
    (tmp_path / "p/a.json").unlink()
    with files_no_larger_than(4000):
        assert run(tmp_path / "p", "--out", out) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not out.exists()


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def labelme_fault(what):
    return {
        "kind": lambda f: (f / "x.json").write_text('{"version": 1}'),
        "list": lambda f: (f / "x.json").write_text("[1]"),
        "broken": lambda f: (f / "x.json").write_text('{"shapes": ['),
        "binary": lambda f: (f / "x.json").write_bytes(b"\xff\xfe\x00"),
        "no JSON": lambda f: (f / "a.json").unlink(),
        "no picture": lambda f: (f / "a.jpg").unlink(),
        "not a picture": lambda f: (f / "a.jpg").write_text("hello"),
        "size": lambda f: edit(f / "a.json", imageHeight=7),
        "no path": lambda f: edit(f / "a.json", imagePath=None),
        "shapes": lambda f: edit(f / "a.json", shapes={"label": 3}),
        "no label": lambda f: edit(f / "a.json", shapes=[{"points": []}]),
        "label": lambda f: edit(f / "a.json", shapes=[{"label": 5, "points": []}]),
        "linestrip": lambda f: labelme(f, "a", [("apple", [[0, 0], [3, 3]], "linestrip")]),
        "point": lambda f: labelme(f, "a", [("pear", box(0, 0, 1, 1)), ("apple", [[0, 0]], "point")]),
        "two points": lambda f: labelme(f, "a", [("apple", [[0, 0], [3, 3]])]),
        "no numbers": lambda f: labelme(f, "a", [("apple", [["a", 0], [3, 3], [4, 5]])]),
        "nan": lambda f: labelme(f, "a", [("apple", [[float("nan"), 0], [3, 3], [4, 5]])]),
        "far": lambda f: labelme(f, "a", [("apple", [[1e9, 0], [3, 3], [4, 5]])]),
        "circle": lambda f: labelme(f, "a", [("apple", [[0, 0], [3, 3], [4, 5]], "circle")]),
        "patch": lambda f: labelme(f, "a", [("apple", [[0, 0], [3, 3]], "mask", {"mask": "!!!"})]),
        "data": lambda f: labelme(f, "b", [], imageData="no base64!"),
        "data of no picture": lambda f: labelme(f, "b", [], imageData=base64.b64encode(b"hello").decode()),
        "twice": lambda f: labelme(f, "b", [("apple", box(0, 0, 1, 1))], imagePath="a.jpg"),
        "stem": lambda f: picture(f / "a.png") and labelme(f, "b", [("apple", box(0, 0, 1, 1))], imagePath="a.png"),
        "no class": lambda f: labelme(f, "a", [("background", box(0, 0, 1, 1))]),
        "empty label": lambda f: labelme(f, "a", [("", box(0, 0, 1, 1))]),
        "many": lambda f: labelme(f, "a", [(f"c{i}", box(0, 0, 1, 1)) for i in range(255)]),
    }[what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("kind", r"x\.json: is neither labelme's JSON \(with `shapes`\) nor COCO's \(with .*\); leave it out"),
        ("list", r"x\.json: is neither labelme's"),
        ("broken", r"x\.json: is not readable JSON"),
        ("binary", r"x\.json: is not readable JSON"),
        ("no JSON", r"p: holds no JSON files; name the folder or files that labelme or CVAT wrote"),
        (
            "no picture",
            r"a\.json: its picture a\.jpg is not there; put it beside the JSON file, or name its folder by --images",
        ),
        ("not a picture", r"a\.jpg: cannot be read as a picture"),
        ("size", r"a\.json: was drawn on 10x7 pixels, but a\.jpg has 10x6; take the picture it was drawn on"),
        ("no path", r"a\.json: is not as labelme writes it \(.*\); save it again in labelme"),
        ("shapes", r"a\.json: is not as labelme writes it"),
        ("no label", r"a\.json: is not as labelme writes it \(KeyError\('label'\)\)"),
        ("label", r"a\.json: is not as labelme writes it"),
        ("linestrip", r"a\.json: shape 1 \('apple'\) is a linestrip, which has no area; draw a polygon or delete it"),
        ("point", r"a\.json: shape 2 \('apple'\) is a point, which has no area"),
        ("two points", r"a\.json: shape 1 \('apple'\) is no polygon \(it has 2 points\); draw it again"),
        ("no numbers", r"a\.json: shape 1 \('apple'\) is no polygon \(could not convert .*\); draw it again"),
        ("nan", r"a\.json: shape 1 \('apple'\) is no polygon \(its points are not pairs of numbers\); draw it again"),
        ("far", r"a\.json: shape 1 \('apple'\) of a\.jpg can't be drawn \(a point lies far outside .*\); correct it"),
        ("circle", r"a\.json: shape 1 \('apple'\) is no circle \(.*\); draw it again"),
        ("patch", r"a\.json: shape 1 \('apple'\) is no mask \(.*\); draw it again"),
        ("data", r"b\.json: imageData is no base64 \(.*\); save it again, or add the picture"),
        ("data of no picture", r"b\.json: imageData: cannot be read as a picture"),
        ("twice", r"b\.json: annotates .*a\.jpg, and so does .*a\.json; leave one of the two out"),
        ("stem", r"b\.json: a\.png has the stem of a picture of .*a\.json; rename one"),
        ("no class", r"no shape has a label that is a class; draw some, or name them by --classes"),
        ("empty label", r"a\.json: shape 1 \(''\) has no label; give it one or delete it"),
        ("many", r"out/dataset\.yaml: classes: are 256; there must be 2 to 255"),
    ],
)
def test_labelme_faults(tmp_path, out, capsys, what, message):
    folder = tmp_path / "p"
    labelme(folder, "a", [("apple", box(0, 0, 2, 2))])
    labelme_fault(what)(folder)
    assert run(folder, "--out", out) == 2
    assert not out.exists()
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.startswith("error: "), error
    assert error.count("\n") == 1, error


def coco_fault(what):
    def annotation(**changes):
        def change(path):
            data = json.loads(path.read_text())
            data["annotations"][0] |= changes
            path.write_text(json.dumps(data))

        return change

    return {
        "category": annotation(category_id=7),
        "image": annotation(image_id=9),
        "segmentation": annotation(segmentation="none"),
        "odd polygon": annotation(segmentation=[[0, 0, 1, 1, 2, 2, 3]]),
        "rle of another size": annotation(segmentation={"size": [3, 3], "counts": [9]}),
        "short rle": annotation(segmentation={"size": [HEIGHT, WIDTH], "counts": [9]}),
        "annotations": lambda p: edit(p, annotations=[5]),
        "size": lambda p: edit(p, images=[{"id": 1, "file_name": "a.png", "height": 10, "width": 6}]),
        "missing": lambda p: [f.unlink() for f in (p.parent.parent / "images").iterdir()],
        "no images": lambda p: edit(p, images=[], annotations=[]),
        "panoptic": lambda p: edit(p, categories=[{"id": 10}]),
    }[what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "category",
            r"instances_default\.json: is not as COCO's instances files are \(KeyError\(7\)\); export it again",
        ),
        ("image", r"instances_default\.json: is not as COCO's .*image 9"),
        (
            "segmentation",
            r"instances_default\.json: annotation 1 \('pear'\) has neither polygons nor an RLE; correct it",
        ),
        ("odd polygon", r"instances_default\.json: annotation 1 \('pear'\) has neither polygons nor an RLE"),
        ("rle of another size", r"annotation 1 of a\.png has no readable segmentation \(its size .*\); correct it"),
        (
            "short rle",
            r"annotation 1 of a\.png has no readable segmentation \(its counts do not add up .*\); correct it",
        ),
        ("annotations", r"instances_default\.json: is not as COCO's instances files are"),
        ("size", r"instances_default\.json: was drawn on 6x10 pixels, but a\.png has 10x6; take the picture it was"),
        (
            "missing",
            r"instances_default\.json: 2 of its pictures are not there, name their folder, --images: a\.png, b\.p",
        ),
        ("no images", r"instances_default\.json: lists no pictures; export the annotations of some"),
        ("panoptic", r"instances_default\.json: is not as COCO's instances files are \(KeyError\('name'\)\)"),
    ],
)
def test_coco_faults(tmp_path, out, capsys, what, message):
    coco_fault(what)(coco(tmp_path / "c", [(1, "pear", [flat(box(0, 0, 2, 1))])]))
    assert run(tmp_path / "c", "--out", out) == 2
    assert not out.exists()
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.startswith("error: "), error
    assert error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--classes", "pear"],
            r"a\.json: the label of shape 1 \('apple'\) of a\.jpg is none of --classes; correct it, or",
        ),
        (["--classes", "apple,background"], r"--classes: background can't be there; the background is first"),
        (["--classes", "apple,ignore"], r"--classes: ignore can't be there"),
        (["--classes", "apple,apple"], r"--classes: 'apple,apple' is not a list of different names like a"),
        (["--classes", ","], r"--classes: ',' is not a list of different names"),
        (["--name", "coco"], r"out/dataset\.yaml: name: coco is the name of a known data set"),
        (["--crowds", "both"], r"--crowds: invalid choice"),
        (["--quiet", "--images", "nowhere"], r"a\.json: its picture a\.jpg is not there"),
    ],
)
def test_wrong_arguments(tmp_path, out, capsys, arguments, message):
    labelme(tmp_path / "p", "a", [("apple", box(0, 0, 2, 2))])
    assert run(*arguments, "--out", out, tmp_path / "p") == 2
    assert not out.exists()
    assert re.search(message, capsys.readouterr().err)


def test_a_file_that_is_not_there(tmp_path, out, capsys):
    assert run(tmp_path / "nowhere.json", "--out", out) == 2
    assert not out.exists()
    assert "nowhere.json: no such file or folder; name what labelme or CVAT wrote" in capsys.readouterr().err


def test_as_a_command(tmp_path):
    write_labelme(drawn_photos(tmp_path / "photos", 3))
    command = [sys.executable, "-m", "common.data.polygons", tmp_path / "photos", "--out", "made"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("made/dataset.yaml\n")
    assert read_card(tmp_path / "made/dataset.yaml").splits["train"].images == "../photos"
