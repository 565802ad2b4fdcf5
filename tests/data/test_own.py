import re

import numpy as np
import pytest
from PIL import Image

from common.data.lists import card_by_name, check_classes, read_split
from common.data.masks import read_mask
from common.data.own import locate, read_card, training_settings
from common.data.sets.cards import CARDS
from common.data.sets.voc import VOC2012, voc_palette
from common.errors import UserError
from common.recipe.settings import apply_settings
from tests.conftest import ROOT
from tests.helpers.own_data import CLASSES, draw, drawn_set
from tests.helpers.tiny import SMALL

COUNT = 24
BASE = f"name: finds\nclasses: [{', '.join(CLASSES)}]\n"
FOLDERS = "images: photos\nmasks: masks\n"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The drawn set; no test changes it."""
    return drawn_set(tmp_path_factory.mktemp("own") / "their", COUNT).parent


@pytest.fixture
def small(tmp_path):
    """The same with four photographs, to be changed."""
    return drawn_set(tmp_path / "their", 4).parent


def write(folder, text, name="dataset.yaml"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def read(folder, split):
    """A split by the path of the dataset.yaml, as the commands read it; every mask is the drawn one."""
    card, data = locate(folder / "dataset.yaml")
    found = read_split(card_by_name(str(folder / "dataset.yaml")), data, split)
    assert found.card == card
    for i, (image, _) in enumerate(found.pairs):
        picture, mask, _ = draw(int(re.search(r"find_(\d\d)", image.stem)[1]))
        pixels, label = found.read(i)
        assert pixels.shape == picture.shape, image
        assert np.array_equal(label, mask), image
    return found


def stems(split):
    return [image.stem for image, _ in split.pairs]


def test_the_shortest_file(drawn):
    train, val = (read(drawn, name) for name in ("train", "val"))
    # The same on every machine.
    assert stems(val) == ["find_03", "find_13", "find_14", "find_18", "find_20"]
    assert stems(train) == [f"find_{i:02d}" for i in range(COUNT) if f"find_{i:02d}" not in stems(val)]
    card = train.card
    assert (card.name, card.title, card.classes, card.ignore_label) == ("finds", "finds", CLASSES, 255)
    assert card.palette == voc_palette(3)
    assert train.title == "finds train"
    assert not train.is_sample
    assert {image.suffix for image, _ in train.pairs} == {".jpg", ".png", ".JPG", ".jpeg"}
    assert train.ids[0] == "find_00"
    with pytest.raises(UserError, match=r"--data .*: no split 'train_aug' of finds; there are train, val, or name a"):
        read_split(card, drawn, "train_aug")


def test_a_record_of_it_is_not_called_a_subset(drawn, tmp_path):
    from common.results import records

    val = read(drawn, "val")
    assert records.marks(val, 5, tmp_path, val_seen=False) == {}
    assert records.marks(val, 3, tmp_path, val_seen=False) == {"subset": 3}


def test_recipes_take_it_by_settings(drawn, monkeypatch):
    monkeypatch.chdir(drawn.parent)
    recipe = apply_settings({"small": SMALL}, SMALL, training_settings(locate(drawn)[0]))
    assert recipe == SMALL.derive(dataset="their/dataset.yaml", num_classes=3, train_split="train", val_split="val")
    card = card_by_name(recipe.dataset)
    check_classes(recipe, card)
    assert len(read_split(card, drawn, recipe.train_split).pairs) == 19
    with pytest.raises(
        UserError, match="num_classes=21: the network's classes are not the 3 of finds; set dataset and"
    ):
        check_classes(SMALL, card)


def test_share_and_seed(small):
    write(small, BASE + FOLDERS + "val_share: 0.5\nseed: 7\n")
    first = stems(read(small, "val"))
    assert len(first) == 2
    assert sorted(first + stems(read(small, "train"))) == [f"find_{i:02d}" for i in range(4)]
    others = {tuple(stems(read(small, "val"))) for s in range(8) if write(small, BASE + FOLDERS + f"seed: {s}\n")}
    assert len(others) > 1
    assert all(len(val) == 1 for val in others)
    write(small, BASE + FOLDERS + "val_share: 0\n")
    assert len(read(small, "train").pairs) == 4
    with pytest.raises(UserError, match="no split 'val' of finds; there are train, .*: val_share: 0 leaves none for"):
        read(small, "val")
    write(small, BASE + FOLDERS + "splits: {Train: train.txt, val: val.txt}\n")
    with pytest.raises(UserError, match="there are Train, val, .*yaml: splits: add `train: ` with a list or folders"):
        read(small, "train")


def test_lists(small):
    write(small, BASE + FOLDERS + "splits: {train: lists/train.txt, val: lists/val.txt}\n")
    (small / "lists").mkdir()
    (small / "photos/two words.jpg").write_bytes((small / "photos/find_00.jpg").read_bytes())
    (small / "masks/two words.png").write_bytes((small / "masks/find_00.png").read_bytes())
    # Stems, names, paths below images, both files; CRLF, a byte order mark and blank lines from other machines.
    lines = ["find_03", "find_01.png", "photos/find_00.jpg", "photos/find_02.JPG masks/find_02.png", "", " find_03 "]
    (small / "lists/train.txt").write_bytes("\r\n".join(["\ufefffind_02", *lines]).encode())
    assert stems(read(small, "train")) == [f"find_0{i}" for i in (2, 3, 1, 0, 2, 3)]
    write(small / "lists", "two words\n", "val.txt")
    card, data = locate(small)
    val = read_split(card, data, "val")
    assert val.name == "val"
    assert val.pairs[0][1] == small / "masks/two words.png"
    mine = write(small, "find_01\n", "mine.txt")
    split = read_split(card, data, str(mine))
    assert (split.name, split.title, stems(split)) == ("mine", "finds mine", ["find_01"])
    # Without folders a list says it all, with absolute paths too.
    write(small, BASE + "splits: {test: pairs.txt}\n")
    write(small, f"photos/find_00.jpg masks/find_00.png\n{small}/photos/find_01.png masks/find_01.png\n", "pairs.txt")
    assert stems(read(small, "test")) == ["find_00", "find_01"]


def test_a_folder_for_each_split(small):
    for split, names in (("train", "012"), ("val", "3")):
        for kind in ("photos", "masks"):
            (small / split / kind).mkdir(parents=True)
            for path in [p for n in names for p in (small / kind).glob(f"find_0{n}.*")]:
                path.rename(small / split / kind / path.name)
    (small / "photos").rmdir()
    folders = [f"  {s}: {{images: {s}/photos, masks: {s}/masks}}\n" for s in ("train", "val")]
    write(small, BASE + "splits:\n" + "".join(folders))
    assert stems(read(small, "train")) == ["find_00", "find_01", "find_02"]
    assert stems(read(small, "val")) == ["find_03"]
    assert read(small, "val").ids == ("val/photos/find_03",)


def test_folders_below_and_within_each_other(small):
    """photos/day1/a.jpg goes with photos/labels/day1/a.png; hidden files and other files do not matter."""
    (small / "photos/day1").mkdir()
    (small / "photos/find_00.jpg").rename(small / "photos/day1/find_00.jpg")
    (small / "masks/day1").mkdir()
    (small / "masks/find_00.png").rename(small / "masks/day1/find_00.png")
    (small / "masks").rename(small / "photos/labels")
    (small / "photos/._find_01.png").write_bytes(b"left by another system")
    (small / "photos/.thumbs").mkdir()
    (small / "photos/.thumbs/find_01.png").write_bytes(b"")
    (small / "photos/notes.txt").write_text("")
    write(small, BASE + "images: photos\nmasks: photos/labels\nval_share: 0\n")
    train = read(small, "train")
    assert stems(train) == ["find_00", "find_01", "find_02", "find_03"]
    assert train.ids[:2] == ("day1/find_00", "find_01")


def test_pictures_and_masks_in_one_folder(small):
    for path in (small / "masks").iterdir():
        path.rename(small / "photos" / f"{path.stem}_mask.png")
    write(small, BASE + "images: photos\nmasks: ./photos\nmask_ending: _mask\nval_share: 0\n")
    assert len(read(small, "train").pairs) == 4


def test_elsewhere(small, tmp_path, monkeypatch):
    """The file may lie apart from the pictures; a folder stands for its dataset.yaml; names may come from the shell."""
    (tmp_path / "notes").mkdir()
    write(tmp_path / "notes", BASE + f"images: ../their/photos\nmasks: {small}/masks\nval_share: 0\n", "finds.yml")
    card, data = locate(tmp_path / "notes/finds.yml")
    assert data == tmp_path / "notes"
    assert len(read_split(card, data, "train").pairs) == 4
    monkeypatch.chdir(tmp_path)
    assert card_by_name("their") == card_by_name(str(small)) == card_by_name("./their/dataset.yaml")
    assert card_by_name("their").source == "their/dataset.yaml"
    assert locate(tmp_path) == (None, tmp_path)
    assert card_by_name("voc2012") is VOC2012
    monkeypatch.chdir(small)
    assert len(read_split(card_by_name("dataset.yaml"), small, "train").pairs) == 3


def test_files_without_a_partner_are_told_once(small, capsys):
    (small / "masks/find_02.png").unlink()
    (small / "masks/find_09.png").write_bytes(b"")
    assert len(read(small, "train").pairs) + len(read(small, "val").pairs) == 3
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert re.search(r"their/dataset\.yaml: 1 files of .*/photos have no mask and are left out: find_02\.JPG$", said[0])
    assert re.search(r"1 files of .*/masks have no picture and are left out: find_09\.png$", said[1])


def test_letters_with_accents_pair_in_either_form(small):
    (small / "photos/find_00.jpg").rename(small / "photos/find_00 e\u0301te\u0301.jpg")
    (small / "masks/find_00.png").rename(small / "masks/find_00 \u00e9t\u00e9.png")
    write(small, BASE + FOLDERS + "val_share: 0\n")
    assert len(read(small, "train").pairs) == 4


def test_predicting_needs_no_pictures(tmp_path):
    card = read_card(write(tmp_path, BASE + FOLDERS))
    assert card.classes == CLASSES
    assert list(card.splits) == ["train", "val"]


def test_names_are_read_as_they_are_written(tmp_path):
    card = read_card(write(tmp_path, "name: 1e3\nclasses: [no, 'yes', 007, ~, été]\n" + FOLDERS))
    assert card.name == "1e3"
    assert card.classes == ("no", "yes", "007", "~", "été")


def test_classes_by_their_numbers(tmp_path):
    card = read_card(write(tmp_path, "name: finds\nclasses: {0: background, 2: coin, 1: brick}\n" + FOLDERS))
    assert card.classes == CLASSES
    assert card.palette == voc_palette(3)
    colours = read_card(write(tmp_path, "name: finds\nclasses: {0: black, 1: red}\n" + FOLDERS))
    assert colours.classes == ("0", "1")
    assert colours.palette == ((0, 0, 0), (255, 0, 0))


def repaint(folder, paint):
    """Every mask anew: `paint` turns class ids into a picture."""
    for path in sorted((folder / "masks").iterdir()):
        label = np.asarray(Image.open(path))
        path.unlink()
        paint(label).save(path.with_suffix(".png"))


COLOURS = {"background": (10, 20, 30), "brick": (255, 0, 0), "coin": (0, 255, 127)}


def in_colour(label, colours=()):
    return Image.fromarray(np.array(colours or [*COLOURS.values()], np.uint8)[label])


@pytest.mark.parametrize(
    "text",
    [
        "classes: {background: [10, 20, 30], brick: red, coin: springgreen}\n",
        "classes: {background: '10,20,30', brick: '#ff0000', coin: '#00ff7f'}\n",
        "classes: [background, brick, coin]\npalette: [[10, 20, 30], red, '#00FF7F']\n",
        "classes:\n  - background\n  - brick\n  - coin\npalette:\n  - 10, 20, 30\n  - red\n  - [0, 255, 127]\n",
    ],
)
def test_colour_masks_by_the_palette(small, text):
    repaint(small, in_colour)
    write(small, "name: finds\n" + text + FOLDERS + "val_share: 0\n")
    assert read(small, "train").card.palette == tuple(COLOURS.values())


def test_a_label_map_of_colours(small):
    """Two colours for the brick, white for what is not known; whatever mode the files have."""
    label_map = "label_map: {'0,0,0': background, red: brick, '#ffff00': 1, '#808080': coin, white: ignore}\n"
    write(small, BASE + FOLDERS + "val_share: 0\n" + label_map)
    repaint(small, lambda label: in_colour(label, [(0, 0, 0), (255, 0, 0), (128, 128, 128)]))
    card = read(small, "train").card
    assert card.palette == voc_palette(3)  # what predictions are drawn in
    picture = Image.fromarray(np.array([[(255, 255, 0), (255, 255, 255), (0, 0, 0), (128, 128, 128)]], np.uint8))
    for mode in ("RGB", "RGBA", "P"):
        shown = picture.convert(mode) if mode != "P" else picture.quantize(4)
        shown.save(small / "one.png")
        assert read_mask(small / "one.png", card).tolist() == [[1, 255, 0, 2]], mode
    Image.fromarray(np.array([[0, 128, 255]], np.uint8)).save(small / "grey.png")
    assert read_mask(small / "grey.png", card).tolist() == [[0, 2, 255]]
    picture.putpixel((0, 0), (1, 1, 1))
    picture.save(small / "one.png")
    with pytest.raises(UserError, match=r"one\.png: colour \(1, 1, 1\) is not in the label_map of finds; save"):
        read_mask(small / "one.png", card)
    write(small, BASE + FOLDERS + label_map.replace("white: ignore", "others: ignore"))
    assert read_mask(small / "one.png", card_by_name(str(small))).tolist() == [[255, 255, 0, 2]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_label_map_of_values(small, dtype):
    write(small, BASE + FOLDERS + "val_share: 0\nlabel_map: {0: background, 255: brick, 7: 2, 9: ignore}\n")
    repaint(small, lambda label: Image.fromarray(np.array([0, 255, 7], dtype)[label]))
    card = read(small, "train").card
    Image.fromarray(np.array([[0, 7, 9, 255]], dtype)).save(small / "one.png")
    assert read_mask(small / "one.png", card).tolist() == [[0, 2, 255, 1]]
    Image.fromarray(np.array([[0, 8]], dtype)).save(small / "one.png")
    with pytest.raises(UserError, match=r"one\.png: value 8 has no meaning in finds, whose masks hold 0, 7, 9, 255; c"):
        read_mask(small / "one.png", card)
    write(small, BASE + FOLDERS + "label_map: {0: background, others: coin}\n")
    assert read_mask(small / "one.png", card_by_name(str(small))).tolist() == [[0, 2]]


def test_values_of_a_palette_picture_go_by_the_label_map(small):
    """Not by the colours that its palette shows, even where these are another class's."""
    image = Image.fromarray(np.array([[0, 2]], np.uint8))
    image.putpalette([0, 0, 0, 9, 9, 9, 128, 0, 0])
    image.save(small / "one.png")
    assert read_mask(small / "one.png", card_by_name(str(small))).tolist() == [[0, 1]]
    write(small, BASE + FOLDERS + "label_map: {0: background, 2: coin}\n")
    assert read_mask(small / "one.png", card_by_name(str(small))).tolist() == [[0, 2]]


def test_wide_values_are_not_taken_modulo_anything(small):
    write(small, BASE + FOLDERS + "label_map: {0: background, 65535: coin, 300: brick}\n")
    card = card_by_name(str(small))
    Image.fromarray(np.array([[0, 300, 65535]], np.uint16)).save(small / "one.png")
    assert read_mask(small / "one.png", card).tolist() == [[0, 1, 2]]
    for value in (-1, 65536, 65537):
        Image.fromarray(np.array([[0, value]], np.int32)).save(small / "one.tif")
        with pytest.raises(UserError, match=f"value {value} has no meaning"):
            read_mask(small / "one.tif", card)
    Image.fromarray(np.array([[0, -5]], np.int32)).save(small / "one.tif")
    with pytest.raises(UserError, match=r"value -5 is neither a class of voc2012"):
        read_mask(small / "one.tif", VOC2012)


def test_another_ignore_label_becomes_255(small):
    """So that recipes, colours and records need not know of it."""
    write(small, BASE + FOLDERS + "ignore_label: 100\n")
    card = card_by_name(str(small))
    assert card.ignore_label == 255
    Image.fromarray(np.array([[0, 2, 100]], np.uint8)).save(small / "one.png")
    assert read_mask(small / "one.png", card).tolist() == [[0, 2, 255]]
    write(small, BASE + FOLDERS + "ignore_label: 0\nlabel_map: {1: background, 2: brick, 3: coin}\n")
    Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8)).save(small / "one.png")
    assert read_mask(small / "one.png", card_by_name(str(small))).tolist() == [[255, 0, 1, 2]]


def test_records_hold_class_ids(small, tmp_path):
    from common.data.shards import build

    write(small, BASE + FOLDERS + "val_share: 0\nlabel_map: {2: background, 0: brick, 1: coin}\n")
    repaint(small, lambda label: Image.fromarray(np.array([2, 0, 1], np.uint8)[label]))
    split = read(small, "train")
    assert build.build(split, tmp_path / "records", 2, 1, quiet=True) is None
    records = read_split(split.card, tmp_path / "records", "train")
    assert records.title == "finds train"
    assert len(records.pairs) == 4
    for i in range(4):
        assert all(np.array_equal(a, b) for a, b in zip(records.read(i), split.read(i), strict=True))


FAULTS = [
    ("", r"holds no keys; begin with `name: mine`"),
    ("- name\n", r"holds no keys"),
    ("name: finds\n  classes: [a\n", r"line 2: cannot be read as YAML \(.*\); correct it there"),
    ("name: finds\n\tclasses: []\n", r"line 2: cannot be read as YAML"),
    ("name: \x00", r"cannot be read as YAML"),
    ("a: " + "[" * 5000, r"cannot be read as YAML \(it is nested too deeply\)"),
    (BASE + FOLDERS + "name: x\n", r"line 5: cannot be read as YAML \(name is there twice\); correct it there"),
    (BASE + FOLDERS + "? [a, b]\n: c\n", r"line 5: cannot be read as YAML \(found unhashable key\)"),
    (BASE + "image: photos\n", r"image: is no key of a data set; did you mean images\? there are name, classes, pal"),
    (BASE.replace("finds", ""), r"name: is not a line of text; write a word for tables"),
    (BASE.replace("finds", "|\n a\n b"), r"name: is not a line of text"),
    ("classes: [a, b]\n" + FOLDERS, r"name: is missing; write a word for tables, such as `name: fruit`"),
    (BASE.replace("finds", "VOC 2012") + FOLDERS, r"name: VOC 2012 is the name of a known data set; choose another"),
    (BASE.replace("finds", "COCO (VOC classes)") + FOLDERS, r"name: COCO .* is the name of a known data set"),
    ("name: finds\n" + FOLDERS, r"classes: is missing; list the names, the first for mask value 0: `classes: \[backg"),
    (
        "name: finds\nclasses: apple\n",
        r"classes: must be a list of names, `\[background, apple\]`, or of `name: colour`",
    ),
    ("name: finds\nclasses: {0: a, 7: b}\n", r"classes: their numbers must be 0 to 1; list the names"),
    ("name: finds\nclasses: [{a: red}]\n", r"classes: must be a list of names"),
    ("name: finds\nclasses: [a, '']\n", r"classes: must be a list of names"),
    ("name: finds\nclasses: [apple]\n", r"classes: are 1; there must be 2 to 255, including the background"),
    (f"name: finds\nclasses: {list(range(256))}\n", r"classes: are 256; there must be 2 to 255"),
    ("name: finds\nclasses: [a, b, a]\n", r"classes: a is there twice; give every class its own name"),
    ("name: finds\nclasses: [a, ignore]\n", r"classes: `ignore` is no class; give pixels without a class ignore_label"),
    (
        "name: finds\nclasses: {a: red, b: '#ff0000'}\n",
        r"classes: a and b have the same colour \[255, 0, 0\]; give each",
    ),
    ("name: finds\nclasses: {a: red, b: }\n", r"classes: b:  is no colour; write \[r, g, b\], red, or '#ff0000'"),
    (
        BASE + "palette: [red, blue, red]\n",
        r"palette: background and coin have the same colour \[255, 0, 0\]; give each",
    ),
    (
        BASE + "palette: [red, blue]\n",
        r"palette: must list 3 colours, one for each class, such as \[\[0, 0, 0\], red\]",
    ),
    (BASE + "palette: [red, blue, [0, 0, 256]]\n", r"palette: coin: \['0', '0', '256'\] is no colour; write"),
    (BASE + "palette: [red, blue, reddish]\n", r"palette: coin: reddish is no colour; write"),
    ("name: x\nclasses: {a: red, b: blue}\npalette: [red, blue]\n", r"palette: the classes have their colours already"),
    (BASE + FOLDERS + "ignore_label: 2\n", r"ignore_label: 2 is the value of class coin; take another, or say by labe"),
    (
        BASE + FOLDERS + "ignore_label: void\n",
        r"ignore_label: void is no mask value; write a whole number, such as 255",
    ),
    (BASE + FOLDERS + "ignore_label: [255]\n", r"ignore_label: \['255'\] is no mask value"),
    (
        BASE + "label_map: {7: coins}\n",
        r"label_map: 7 stands for coins, which is no class; did you mean coin\? name one",
    ),
    (BASE + "label_map: {7: 3}\n", r"label_map: 7 stands for 3, which is no class; name one of classes, or `ignore`"),
    (BASE + "label_map: {7: [coin]}\n", r"label_map: 7 stands for \['coin'\], which is no class"),
    (
        BASE + "label_map: {seven: coin}\n",
        r"label_map: seven is neither a mask value nor a colour; write 7, red, '255,0",
    ),
    (BASE + "label_map: {70000: coin}\n", r"label_map: 70000 is neither a mask value nor a colour"),
    (BASE + "label_map: {7: coin, 07: brick}\n", r"label_map: 07 is there twice, written in two ways; remove one"),
    (BASE + "label_map: {red: coin, '#f00': brick}\n", r"label_map: #f00 is there twice, written in two ways"),
    (BASE + "label_map: {others: coin}\n", r"label_map: must say what mask values or colours stand for, such as `\{0:"),
    (BASE + "label_map: [coin]\n", r"label_map: must say what mask values or colours stand for"),
    (BASE + "label_map: {9: coin}\nignore_label: 9\n", r"ignore_label: 9 is coin in label_map; remove one of the two"),
    (BASE, r"images: is missing; name the folders: `images: photos` and `masks: masks`"),
    (BASE + "images: photos\n", r"masks: is missing; write a folder, such as `masks: masks`"),
    (BASE + "images: [photos]\nmasks: masks\n", r"images: is not a line of text; write a folder"),
    (BASE + "images: photos\nmasks: photos/\n", r"masks: is also the folder of the images; say by mask_ending how the"),
    (BASE + FOLDERS + "mask_ending: [_mask]\n", r"mask_ending: must be the text that masks' names have after their"),
    (BASE + FOLDERS + "val_share: 1\n", r"val_share: 1 is no share; write a number from 0 to below 1, such as 0.2"),
    (BASE + FOLDERS + "val_share: 20%\n", r"val_share: 20% is no share"),
    (BASE + FOLDERS + "val_share: nan\n", r"val_share: nan is no share"),
    (BASE + FOLDERS + "seed: -1\n", r"seed: -1 is no whole number from 0 to 2\^32 - 1; write one, such as 1"),
    (
        BASE + FOLDERS + "splits: {train: t.txt}\nval_share: 0.1\n",
        r"val_share: the splits are given already; remove one",
    ),
    (BASE + FOLDERS + "splits: {train: t.txt}\nseed: 3\n", r"seed: the splits are given already"),
    (
        BASE + FOLDERS + "splits: train.txt\n",
        r"splits: must say what each split is, such as `\{train: train.txt, val: v",
    ),
    (BASE + FOLDERS + "splits: {}\n", r"splits: must say what each split is"),
    (
        BASE + "splits: {train: [t.txt]}\n",
        r"splits: train: must be a list file, or `\{images: folder, masks: folder\}`",
    ),
    (BASE + "splits: {val: {images: photos}}\n", r"splits: val: masks: is missing; write a folder, such as"),
    (
        BASE + "splits: {val: {images: p, mask: m}}\n",
        r"splits: val: mask: is no key of a split; there are images and m",
    ),
    (BASE + "splits: {val: {images: p, masks: p}}\n", r"splits: val: masks: is also the folder of the images"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_faults_of_the_file(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: {message}") as error:
        read_card(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_files_that_cannot_be_read(tmp_path):
    for name in ("none.yaml", "none.yml"):
        with pytest.raises(
            UserError, match=r"none\.ya?ml: no such file; --data, or --set dataset=, must name the data"
        ):
            locate(tmp_path / name)
    (tmp_path / "dataset.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(UserError, match=r"dataset\.yaml: cannot be read as YAML \(it is not UTF-8.*\); save it as"):
        read_card(tmp_path / "dataset.yaml")
    with pytest.raises(
        UserError, match=r"dataset=mine: no such data set; there are voc2012, .*, or the path of a datas"
    ):
        card_by_name("mine")


def change(what):
    """What is wrong on the disk, and the file that shows it; the default text is the shortest one."""
    return {
        "no folder": lambda f: (f / "photos").rename(f / "pictures"),
        "no masks": lambda f: (f / "masks").rename(f / "labels"),
        "no pictures": lambda f: [p.rename(p.with_suffix(".heic")) for p in (f / "photos").iterdir()],
        "no stems": lambda f: [p.rename(p.with_name(f"{p.stem}_mask.png")) for p in (f / "masks").iterdir()],
        "images above": lambda f: write(f, BASE + "images: .\nmasks: masks\n"),
        "stem twice": lambda f: Image.new("L", (5, 5)).save(f / "photos/find_00.png"),
        "one pair": lambda f: [p.unlink() for p in (f / "masks").iterdir() if p.stem != "find_00"],
        "ending": lambda f: write(f, BASE + FOLDERS.replace("masks\n", "photos\n") + "mask_ending: _m\n"),
        "no list": lambda f: write(f, BASE + FOLDERS + "splits: {train: train.txt}\n"),
        "entry": lambda f: (
            write(f, "find_00\nfind_77\nfind_78\n", "train.txt")
            and write(f, BASE + FOLDERS + "splits: {train: train.txt}\n")
        ),
        "pair": lambda f: (
            write(f, "photos/find_00.jpg masks/find_99.png\n", "train.txt")
            and write(f, BASE + "splits: {train: train.txt}\n")
        ),
        "stem without folders": lambda f: (
            write(f, "find_00\n", "train.txt") and write(f, BASE + "splits: {train: train.txt}\n")
        ),
        "empty list": lambda f: (
            write(f, "\n \n", "train.txt") and write(f, BASE + FOLDERS + "splits: {train: train.txt}\n")
        ),
        "binary list": lambda f: (
            (f / "train.txt").write_bytes(b"\xff\xfe\x00") and write(f, BASE + FOLDERS + "splits: {train: train.txt}\n")
        ),
    }[what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no folder", r"dataset\.yaml: images: there is no folder .*/photos; correct the path, which starts at this"),
        ("no masks", r"dataset\.yaml: masks: there is no folder .*/masks; correct the path"),
        ("no pictures", r"dataset\.yaml: images: .*/photos holds no pictures; correct the path or the files' names"),
        ("no stems", r"images, masks: no picture in .*/photos has the path, without suffix, of a mask in .*/masks "
                     r"\(the first are find_00\.jpg and find_00_mask\.png\); name the folders in which they are alike"),
        ("images above", r"\(the first are photos/find_00\.jpg and find_00\.png\); name the folders"),
        ("stem twice", r"photos/find_00\.jpg and find_00\.png: have the same stem; keep one, or rename it"),
        ("one pair", r"val_share: 0\.2 of 1 pictures leaves none to train on; add pictures, or write val_share: 0"),
        ("ending", r"dataset\.yaml: masks: .*/photos holds no pictures whose stems end in _m; correct the path"),
        ("no list", r"dataset\.yaml: splits: train: there is no list .*train\.txt; correct the path, which starts"),
        ("entry", r"train\.txt: line 2 names no picture in .*/photos with a mask in .*/masks: find_77; correct the "
                  r"list or add the files \(as lines 3\)"),
        ("pair", r"train\.txt: 1 files of split 'train' are missing: .*masks/find_99\.png"),
        ("stem without folders", r"train\.txt: line 1 is not `image mask`: find_00; write both, or give .*data"
                                 r"set\.yaml the folders images and masks"),
        ("empty list", r"train\.txt: split 'train' is empty; it must name at least one picture"),
        ("binary list", r"train\.txt: cannot be read as a list"),
    ],
)  # fmt: skip
def test_faults_on_the_disk(small, what, message):
    change(what)(small)
    card, data = locate(small)
    with pytest.raises(UserError, match=message) as error:
        read_split(card, data, "train")
    assert "\n" not in str(error.value)


def test_what_the_readme_shows(tmp_path):
    text = (ROOT / "common/data/README.md").read_text(encoding="utf-8").partition("## Your own pictures")[2]
    example = "".join(f"{line}\n" for line in re.findall(r"^    (\w+: .*)$", text, re.MULTILINE)[:5])
    card = read_card(write(tmp_path, example))
    assert card.classes == ("background", "apple", "pear")
    assert list(card.splits) == ["train", "val"]
    rows = [re.findall(r"`([^`]+)`", row.split(" | ")[0]) for row in re.findall(r"^\| (`.*) \|$", text, re.MULTILINE)]
    assert len(rows) > 8
    base = {line.partition(":")[0]: line for line in example.splitlines()}
    for row in rows:
        lines = {entry.partition(":")[0]: entry.replace("...", "v.txt") for entry in row}
        if "splits" in lines:
            base.pop("val_share", None)
        read_card(write(tmp_path, "\n".join((base | lines).values())))


def test_known_cards_are_as_they_were():
    assert list(CARDS) == [
        "voc2012", "cityscapes", "coco", "ade20k", "pascal_context", "pascal_person_part", "cocostuff10k",
        "cocostuff164k",
    ]  # fmt: skip
    assert not any(card.splits or card.source or card.raw_labels.values for card in CARDS.values())
