import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.data import class_weights
from common.data.card import DatasetCard
from common.data.check import survey as surveys
from common.data.check.__main__ import find_data, main
from common.data.check.faults import KINDS, find_faults
from common.data.check.tables import count_classes, plot_classes
from common.data.lists import read_split
from common.data.masks import read_pair, save_label_png
from common.data.sets.cityscapes import CITYSCAPES
from common.data.sets.voc import VOC2012
from common.errors import UserError
from tests.conftest import ROOT
from tests.helpers.own_data import draw as draw_own
from tests.helpers.own_data import drawn_set

TRAIN, VAL = [f"t{i}" for i in range(24)], [f"v{i}" for i in range(6)]


def picture_of(seed, size=(16, 12)):
    return Image.fromarray(np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8))


def label_of(seed):
    label = np.zeros((12, 16), np.uint8)
    label[2:6, 3:9], label[7:10, 5:12], label[0] = 1 + seed % 3, 15, 255
    return label


class Drawn:
    """A small clean set in VOC's layout, to plant faults in."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
            (folder / name).mkdir(parents=True)
        for seed, name in enumerate(TRAIN + VAL):
            picture_of(seed).save(self.picture(name))
            save_label_png(self.mask(name), label_of(seed), VOC2012.palette)
        self.list("train", TRAIN)
        self.list("val", VAL)

    def picture(self, name):
        return self.folder / f"JPEGImages/{name}.jpg"

    def mask(self, name):
        return self.folder / f"SegmentationClassAug/{name}.png"

    def list(self, split, names):
        (self.folder / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{n}\n" for n in names))

    def append(self, split, line):
        with (self.folder / f"ImageSets/Segmentation/{split}.txt").open("a") as file:
            file.write(f"{line}\n")

    def turn(self, name, orientation, size):
        picture = picture_of(99, size)
        picture.getexif()[0x0112] = orientation
        picture.save(self.picture(name), exif=picture.getexif())

    def survey(self, names=(), card=VOC2012):
        return surveys.survey_folder(card, self.folder, names)

    def faults(self, names=(), card=VOC2012):
        return {(f.kind.name, f.where): f.detail for f in find_faults(self.survey(names, card))}


@pytest.fixture
def drawn(tmp_path):
    return Drawn(tmp_path / "set")


def unreadable_list(d):
    (d.folder / "ImageSets/Segmentation/val.txt").write_bytes(b"v0\n\xff\xfe\n")


def empty_list(d):
    d.list("val", [])


def bad_line(d):
    d.append("train", "t0 t1 t2")


def listed_twice(d):
    d.append("train", "t3")


def no_picture(d):
    d.picture("t4").rename(d.folder / "JPEGImages/t4.jpeg")


def no_mask(d):
    d.mask("t5").unlink()


def lone_mask(d):
    save_label_png(d.mask("x1"), label_of(1), VOC2012.palette)


def cut_picture(d):
    d.picture("t6").write_bytes(d.picture("t6").read_bytes()[:-40])


def text_mask(d):
    d.mask("t7").write_text("no picture")


def zeroed_end(d):
    picture_of(98, (160, 120)).save(d.picture("t8"))
    save_label_png(d.mask("t8"), np.ones((120, 160), np.uint8), VOC2012.palette)
    whole = d.picture("t8").read_bytes()
    d.picture("t8").write_bytes(whole[:-4000] + bytes(4000))


def wrong_checksum(d):
    data = bytearray(d.mask("t8").read_bytes())
    place = data.index(b"IEND") - 8  # the checksum before
    data[place] ^= 1
    d.mask("t8").write_bytes(data)


def other_size(d):
    picture_of(97, (17, 12)).save(d.picture("t9"))


def not_turned(d):
    d.turn("t10", 6, (16, 12))


def strange_value(d):
    Image.fromarray(np.where(label_of(11) == 15, np.uint8(77), label_of(11))).save(d.mask("t11"))


def hidden_value(d):
    mask = Image.fromarray(np.where(label_of(12) == 15, np.uint8(30), np.uint8(0)), "P")
    mask.putpalette([value for i in range(256) for value in ((0, 0, 0) if i in (0, 30) else (9, 9, 9))])
    mask.save(d.mask("t12"))


def strange_colour(d):
    mask = Image.open(d.mask("t13")).convert("RGB")
    mask.putpixel((5, 5), (1, 2, 3))
    mask.save(d.mask("t13"))


def impossible_size(d):
    data = bytearray(d.picture("v5").read_bytes())
    place = data.index(b"\xff\xc0") + 5  # height and width in the frame header
    data[place : place + 4] = b"\xff\x00\xff\x00"
    d.picture("v5").write_bytes(data)


def two_readings(d):
    """Palettes that agree with the card's colours for some classes only, under another number."""
    palette = [(0, 0, 0), VOC2012.palette[2], (9, 9, 9), *VOC2012.palette[3:]]
    save_label_png(d.mask("t14"), np.where(label_of(0) == 15, np.uint8(1), np.uint8(0)), palette)
    save_label_png(d.mask("t15"), np.where(label_of(0) == 15, np.uint8(1), np.uint8(2)), palette)


def unlabelled(d):
    save_label_png(d.mask("t16"), np.full((12, 16), 255, np.uint8), VOC2012.palette)


def leak(d):
    d.picture("v1").write_bytes(d.picture("t17").read_bytes())


def leak_by_name(d):
    d.append("val", "t18")


def split_without_labels(d):
    d.list("test", ["x2"])
    picture_of(96).save(d.picture("x2"))


def duplicate(d):
    d.picture("t19").write_bytes(d.picture("t20").read_bytes())


def shared(d):
    d.list("mine", ["t0", "t1", "x3"])
    picture_of(95).save(d.picture("x3"))
    save_label_png(d.mask("x3"), label_of(1), VOC2012.palette)


def lone_picture(d):
    picture_of(94).save(d.picture("x4"))


def unlisted(d):
    picture_of(93).save(d.picture("x5"))
    save_label_png(d.mask("x5"), label_of(1), VOC2012.palette)


def maybe_turned(d):
    d.turn("t21", 3, (16, 12))


def stretched(d):
    scan = np.arange(192, dtype=np.int32).reshape(12, 16) * 20 - 1000
    Image.fromarray(scan).save(d.picture("t1"), "TIFF")


def three_channels(d):
    Image.fromarray(np.dstack([label_of(1)] * 3)).save(d.mask("t1"))


def in_colour(d):
    Image.open(d.mask("t22")).convert("RGBA").save(d.mask("t22"))


def by_colour(d):
    mask = Image.open(d.mask("t23")).convert("RGB").quantize(8)
    assert np.asarray(mask).tolist() != label_of(23).tolist()
    mask.save(d.mask("t23"))


def other_mode(d):
    Image.fromarray(label_of(0).astype(np.uint16)).save(d.mask("v2"))


def lossy(d):
    Image.new("L", (16, 12), 0).save(d.mask("v3"), "jpeg")


def one_class(d):
    for name in TRAIN + VAL:
        save_label_png(d.mask(name), label_of(0) // 255 * 0, VOC2012.palette)


def never_trained(d):
    save_label_png(d.mask("v4"), np.full((12, 16), 20, np.uint8), VOC2012.palette)


PLANTED = [
    (unreadable_list, "unreadable-list", "%lval", "it is not UTF-8"),
    (empty_list, "empty-list", "%lval", "split 'val'"),
    (bad_line, "bad-line", "%ltrain", "line 25: t0 t1 t2"),
    (listed_twice, "listed-twice", "%pt3", "2 times in ImageSets/Segmentation/train.txt"),
    (no_picture, "no-picture", "%pt4", "there is t4.jpeg"),
    (no_mask, "no-mask", "%pt5", "SegmentationClassAug/t5.png is not there"),
    (lone_mask, "lone-mask", "%mx1", "no picture JPEGImages/x1.*"),
    (cut_picture, "unreadable", "%pt6", "cannot be read as a picture"),
    (text_mask, "unreadable", "%mt7", "cannot be read as a picture (cannot identify image file)"),
    (impossible_size, "unreadable", "%pv5", "cannot be a picture of 65280x65280"),
    (zeroed_end, "damaged", "%pt8", "no end"),
    (wrong_checksum, "damaged", "%mt8", "IDAT"),
    (other_size, "size", "%mt9", "is 16x12, its picture JPEGImages/t9.jpg 17x12"),
    (not_turned, "not-turned", "%mt10", "12x16 upright, 16x12 as stored (EXIF 6)"),
    (strange_value, "value", "%mt11", "77 (21 pixels)"),
    (hidden_value, "hidden-value", "%mt12", "30 (21 pixels) is read as 0"),
    (strange_colour, "colour", "%mt13", "(1, 2, 3) (1 pixels)"),
    (two_readings, "ambiguous-palette", "%mt15", "class 1 here and 2 in SegmentationClassAug/t14.png"),
    (unlabelled, "unlabelled", "%mt16", "192 pixels"),
    (leak, "leak", "%pv1", "in val, also in train as JPEGImages/t17.jpg"),
    (leak_by_name, "leak", "%pt18", "in val, also in train"),
    (split_without_labels, "no-labels", "%ltest", "1 pictures"),
    (duplicate, "duplicate", "%pt20", "the same as JPEGImages/t19.jpg"),
    (shared, "shared", "%ltrain", "2 pictures are in ImageSets/Segmentation/mine.txt too"),
    (lone_picture, "lone-picture", "%px4", "no mask SegmentationClassAug/x4.*"),
    (unlisted, "unlisted", "%px5", "SegmentationClassAug/x5.png"),
    (maybe_turned, "maybe-turned", "%pt21", "EXIF orientation 3"),
    (stretched, "stretched", "%pt1", "32 bit, from -923.6 to 2743.6"),
    (three_channels, "three-channels", "%mt1", "colour"),
    (in_colour, "in-colour", "%mt22", "colour with alpha"),
    (by_colour, "by-colour", "%mt23", "is person"),
    (other_mode, "other-mode", "%mv2", "16 bit instead of palette"),
    (lossy, "lossy", "%mv3", "0 (192 pixels)"),
    (one_class, "one-class", "background", "class 0 of 21"),
    (never_trained, "never-trained", "tvmonitor", "class 20"),
]
HIDE_OTHERS = (unreadable_list, empty_list, wrong_checksum, one_class)
FOLDERS = {"%l": "ImageSets/Segmentation/{}.txt", "%p": "JPEGImages/{}.jpg", "%m": "SegmentationClassAug/{}.png"}


def place(pattern):
    return FOLDERS[pattern[:2]].format(pattern[2:]) if pattern[:2] in FOLDERS else pattern


def training_refuses(folder):
    """Whether training or evaluation would stop at one of the two splits."""
    try:
        for name in ("train", "val"):
            split = read_split(VOC2012, folder, name)
            for pair in split.pairs:
                read_pair(*pair, VOC2012)
    except UserError:
        return True
    return False


@pytest.mark.parametrize(("plant", "kind", "where", "words"), PLANTED, ids=[p[0].__name__ for p in PLANTED])
def test_every_planted_fault_is_found_alone(drawn, plant, kind, where, words):
    plant(drawn)
    faults = drawn.faults()
    assert words in faults.pop((kind, place(where)), "not found")
    # What goes with it: the other reading's first file, a file that is not as most.
    expected = {"two_readings": {"by-colour"}, "lossy": {"other-mode"}, "empty_list": {"unlisted"}}.get(
        plant.__name__, set()
    )
    assert {name for name, _ in faults} == expected
    if plant is not impossible_size and training_refuses(drawn.folder):  # that would take 17 GB to refuse
        assert KINDS[kind].is_error


def test_all_planted_at_once_by_the_command(drawn, tmp_path):
    """Status 2, every fault with its file in the output, and all of them in the JSON."""
    for plant, *_ in PLANTED:
        if plant not in HIDE_OTHERS:
            plant(drawn)
    drawn.list("empty", [])
    command = [sys.executable, "-m", "common.data.check", str(drawn.folder), "--workers", "2", "--quiet"]
    command += ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "all.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert not done.stderr
    stored = json.loads((tmp_path / "all.json").read_text())
    found = {(f["kind"], f["where"]) for f in stored["faults"]}
    for plant, kind, where, _ in PLANTED:
        if plant not in HIDE_OTHERS:
            assert (kind, place(where)) in found, kind
            assert f"{place(where)}: " in done.stdout
            assert f": {kind} (" in done.stdout
    assert ("empty-list", place("%lempty")) in found
    errors = sum(f["error"] for f in stored["faults"])
    assert f"{errors} errors, {len(found) - errors} notes" in done.stdout
    with Image.open(tmp_path / "out/class_frequencies.png") as chart:
        assert chart.format == "PNG"
        assert chart.width > 500


def test_kinds_are_a_table_that_the_tests_cover(drawn):
    planted = {kind for _, kind, *_ in PLANTED} | {"ambiguous-colour", "ignored-only", "never-shown"}
    assert planted == set(KINDS)
    assert sum(kind.is_error for kind in KINDS.values()) >= 12


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_clean_set_passes(sample_set, tmp_path, capsys, workers):
    assert main([str(sample_set), "--out", str(tmp_path / "chart.png"), "--workers", workers]) == 0
    out, err = capsys.readouterr()
    assert "0 errors, 0 notes" in out
    assert "error:" not in out
    assert "note:" not in out
    assert not err
    assert Image.open(tmp_path / "chart.png").format == "PNG"
    assert "trainval" in out
    assert "pottedplant" in out
    assert "palette" in out


def test_only_the_splits_asked_for(drawn):
    for plant in (no_mask, lone_picture, unlisted, other_mode):
        plant(drawn)
    assert set(drawn.faults(["val"])) == {("other-mode", "SegmentationClassAug/v2.png")}
    survey = drawn.survey([str(drawn.folder / "ImageSets/Segmentation/val.txt")])
    assert [split.name for split in survey.splits] == ["val"]
    assert not survey.whole


def test_files_are_read_once_however_many_splits_name_them(drawn, monkeypatch):
    drawn.list("trainval", TRAIN + VAL)
    drawn.list("train_aug", TRAIN)
    read, whole = [], surveys._examine
    monkeypatch.setattr(surveys, "_examine", lambda task, card, channels: read.append(task[1]) or whole(task, card))
    assert drawn.faults() == {}
    assert len(read) == len(set(read)) == 2 * len(TRAIN + VAL)


def test_folders_label_maps_and_a_test_split_without_labels(tmp_path):
    """Cityscapes: label ids are mapped, the masks of its test split say nothing, aliases are one split."""
    label = np.full((4, 6), 7, np.uint8)
    label[0] = 11
    for number, (split, values) in enumerate({"train": label, "val": label + 1, "test": label * 0 + 3}.items()):
        name = tmp_path / f"%s/{split}/ulm/ulm_{number}_0_%s.png"
        for part in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
            (tmp_path / part[0] / split / "ulm").mkdir(parents=True)
            image = picture_of(number, (6, 4)) if part[0] == "leftImg8bit" else Image.fromarray(values)
            image.save(str(name) % part)
    survey = surveys.survey_folder(CITYSCAPES, tmp_path)
    assert [split.name for split in survey.splits] == ["train", "val", "test"]
    faults = {(f.kind.name, f.where) for f in find_faults(survey)}
    assert faults == {("no-labels", "split test"), ("never-trained", "sidewalk"), ("never-trained", "wall")}
    assert [c.pixels for c in count_classes(survey)][:4] == [18, 18, 6, 6]
    lone = tmp_path / "gtFine/val/ulm/ulm_9_0_gtFine_labelIds.png"
    Image.fromarray(label).save(lone)
    assert ("lone-mask", str(lone.relative_to(tmp_path))) in {
        (f.kind.name, f.where) for f in find_faults(surveys.survey_folder(CITYSCAPES, tmp_path))
    }


def test_a_set_of_ones_own(tmp_path, capsys):
    """A dataset.yaml: pairs by stem, raw values and colours as it says, what is left out."""
    path = drawn_set(tmp_path / "finds")
    assert main([str(path), "--out", str(tmp_path)]) == main([str(path.parent), "--out", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    pixels = [int((draw_own(seed)[1] == 2).sum()) for seed in range(24)]
    assert sum(line[:2] == ["2", "coin"] and line[3:5] == ["24", f"{sum(pixels):,}"] for line in lines) == 2

    masks = path.parent / "masks"
    for mask in sorted(masks.iterdir()):
        Image.fromarray(np.asarray(Image.open(mask)) * 100).save(mask)
    path.write_text(path.read_text() + "label_map: {0: background, 100: brick, 200: coin}\n")
    (masks / "find_03.png").rename(masks / "find_33.png")
    Image.fromarray(np.where(draw_own(4)[1], np.uint8(7), np.uint8(0))).save(masks / "find_04.png")
    faults = {(f.kind.name, f.where): f.detail for f in find_faults(surveys.survey_folder(*find_data(path, None)))}
    assert faults.pop(("value", "masks/find_04.png")) == f"7 ({(draw_own(4)[1] > 0).sum():,} pixels)"
    assert faults.pop(("lone-mask", "masks/find_33.png")) == "no picture photos/find_33.*"
    assert faults.pop(("lone-picture", "photos/find_03.jpeg")) == "no mask masks/find_03.*"
    assert not faults

    (path.parent / "some.txt").write_text("find_05\nfind_99\n")
    path.write_text(path.read_text() + "splits: {train: some.txt}\n")
    assert main([str(path), "--out", str(tmp_path)]) == 2
    assert "bad-line (1)" in (out := capsys.readouterr().out)
    assert "some.txt: line 2: find_99" in out
    assert ["train", "1", "1"] in [line.split()[:3] for line in out.splitlines()]  # the rest is seen
    path.write_text("classes: 3\n")
    assert main([str(path)]) == 2
    assert "dataset.yaml: name: is missing" in capsys.readouterr().err


def test_black_and_white_masks(tmp_path, capsys):
    """255 is ignored: nothing but background is left, which trains nothing."""
    path = drawn_set(tmp_path / "finds", 4)
    path.write_text(path.read_text().replace("background, brick, coin", "background, find"))
    for mask in (path.parent / "masks").iterdir():
        Image.fromarray((np.asarray(Image.open(mask)) > 0).astype(np.uint8) * 255).save(mask)
    assert main([str(path), "--out", str(tmp_path), "--quiet"]) == 2
    out = capsys.readouterr().out
    hint = "255 is ignored unless `label_map: {0: background, 255: find}` in dataset.yaml"
    assert "error: one-class (1): " in out
    assert "background: class 0 of 2; " in out
    assert hint in out
    assert class_weights.main(["--data", str(path), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "finds train: no class but background occurs" in error
    assert hint in error
    path.write_text(path.read_text() + "label_map: {0: background, 255: find}\n")
    assert main([str(path), "--out", str(tmp_path), "--quiet"]) == 0
    assert class_weights.main(["--data", str(path), "--quiet"]) == 0


def test_a_class_that_no_mask_shows(tmp_path):
    path = drawn_set(tmp_path / "finds")
    path.write_text(path.read_text().replace("coin]", "coin, key]"))
    faults = {(f.kind.name, f.where): f.detail for f in find_faults(surveys.survey_folder(*find_data(path, None)))}
    assert faults == {("never-shown", "key"): "class 3"}


def test_colours_of_ones_own(tmp_path):
    path = drawn_set(tmp_path / "finds")
    red = np.array([(0, 0, 0), (200, 0, 0), (0, 200, 0)], np.uint8)
    for mask in sorted((path.parent / "masks").iterdir()):
        Image.fromarray(red[np.asarray(Image.open(mask))]).quantize(8).save(mask)
    colours = "'0,0,0': background, '200,0,0': brick"
    path.write_text(path.read_text() + f"label_map: {{{colours}}}\n")
    faults = find_faults(surveys.survey_folder(*find_data(path, None)))
    assert {f.kind.name for f in faults} == {"colour"}
    assert faults[0].detail.startswith("(0, 200, 0) (")
    path.write_text(path.read_text().replace("brick}", "brick, others: coin}"))
    survey = surveys.survey_folder(*find_data(path, None))
    assert not find_faults(survey)
    assert count_classes(survey)[2].masks == 24


def card_of(classes, palette, **more):
    return DatasetCard("mine", "Mine", classes, palette, **more)


def test_colours_that_stand_for_two_things(drawn):
    card = card_of(("a", "b", "snow"), ((0, 0, 0), (0, 0, 0), (255, 255, 255)))
    for name in TRAIN + VAL:
        Image.fromarray(label_of(0) // 255 * 0).save(drawn.mask(name))
    Image.new("RGB", (16, 12), "white").save(drawn.mask("t1"))
    Image.new("RGB", (16, 12), "black").save(drawn.mask("t2"))
    faults = drawn.faults(card=card)
    assert faults["ambiguous-colour", "SegmentationClassAug/t1.png"] == "(255, 255, 255) is snow and no class"
    assert faults["ambiguous-colour", "SegmentationClassAug/t2.png"] == "(0, 0, 0) is a and b"
    assert len([kind for kind, _ in faults if kind == "ambiguous-colour"]) == 2


def test_masks_of_ignored_classes_only(drawn):
    card = card_of(VOC2012.classes, VOC2012.palette, ignored_classes=(0,))
    Image.fromarray(np.zeros((12, 16), np.uint8)).save(drawn.mask("t1"))
    assert drawn.faults(card=card)["ignored-only", "SegmentationClassAug/t1.png"] == "192 pixels"
    assert count_classes(drawn.survey(card=card))[0].name == "background (ignored)"


def test_the_table_of_real_pictures(voc_subset, tmp_path):
    """Against sums over the masks as Pillow gives them, of every third picture of both lists."""
    lists = {}
    for split in ("train_aug", "val"):
        lists[split] = (voc_subset / f"ImageSets/Segmentation/{split}.txt").read_text().split()[::3]
        (tmp_path / f"{split}.txt").write_text("\n".join(lists[split]))
    out = tmp_path / "all.json"
    arguments = [str(voc_subset), "--split", *(str(tmp_path / f"{s}.txt") for s in lists), "--json", str(out)]
    assert main([*arguments, "--out", str(tmp_path / "c.png"), "--quiet"]) == 0
    stored = json.loads(out.read_text())
    pixels, masks = np.zeros((2, 256), np.int64), np.zeros((2, 256), np.int64)
    for k, names in enumerate(lists.values()):
        for name in names:
            with Image.open(voc_subset / f"SegmentationClassAug/{name}.png") as mask:
                counts = np.bincount(np.asarray(mask).ravel(), minlength=256)
            pixels[k] += counts
            masks[k] += counts > 0
    tables = [(stored["classes"], pixels.sum(0), masks.sum(0))]
    tables += [(split["classes"], pixels[k], masks[k]) for k, split in enumerate(stored["splits"])]
    for table, pixels_there, masks_there in tables:
        assert [row["id"] for row in table] == [*range(21), 255]
        assert [row["pixels"] for row in table] == [pixels_there[i] for i in (*range(21), 255)]
        assert [row["masks"] for row in table] == [masks_there[i] for i in (*range(21), 255)]
        for row in table[:21]:
            assert row["share"] == pytest.approx(pixels_there[row["id"]] / pixels_there[:21].sum())
        assert table[21]["share"] == pytest.approx(pixels_there[255] / pixels_there.sum())
    assert {int(v): n for v, n in stored["stored_values"].items()} == {v: n for v, n in enumerate(pixels.sum(0)) if n}


def test_the_printed_table(drawn, tmp_path, capsys):
    assert main([str(drawn.folder), "--out", str(tmp_path / "c.png")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train", "24", "24", "16/16/16", "12/12/12", "colour", "palette"] in lines
    everything = np.concatenate([label_of(seed).ravel() for seed in range(30)])
    person = int((everything == 15).sum())
    share = f"{person / (everything != 255).sum():.2%}"
    assert ["15", "person", "#c08080", "30", f"{person:,}", share, share, share] in lines


@pytest.mark.parametrize("number", [3, 151])
def test_the_chart_shows_every_class_in_its_colour(drawn, tmp_path, number):
    colours = [(10 + i, 255 - i, 200) for i in range(number)]
    card = card_of(tuple(f"class ${i}$" for i in range(number)), tuple(colours))
    names = TRAIN + VAL
    for k, name in enumerate(names):
        ids = np.arange(k * 192, (k + 1) * 192) % number
        Image.fromarray(ids.reshape(12, 16).astype(np.uint8)).save(drawn.mask(name))
    plot_classes(tmp_path / "chart.png", drawn.survey(card=card))
    pixels = np.asarray(Image.open(tmp_path / "chart.png").convert("RGB"))
    shown, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    shown = dict(zip(map(tuple, shown.tolist()), counts.tolist(), strict=True))
    assert all(shown.get(colour, 0) > 100 for colour in colours)


def test_wrong_arguments_are_one_sentence(drawn, tmp_path, capsys):
    records = tmp_path / "records"
    records.mkdir()
    (records / "train-00000-of-00001.tfrecord").write_bytes(b"")
    (tmp_path / "nothing").mkdir()
    for arguments, message in [
        ([str(tmp_path / "nowhere")], "nowhere: no such folder"),
        ([str(drawn.folder), "--dataset", "voc"], "dataset=voc: no such data set; there are voc2012"),
        ([str(drawn.folder), "--split", "vla"], "no split 'vla' of VOC2012; looked for ImageSets"),
        ([str(tmp_path / "nothing")], "no split of VOC2012; looked for ImageSets/Segmentation/<split>.txt"),
        ([str(records)], "holds TFRecords, which `python -m common.data.tfrecord build` checks"),
        ([str(records), "--split", "train"], "holds TFRecords"),
        ([str(drawn.folder), "--dataset", "ade20k"], "it looks like --dataset voc2012"),
        ([str(drawn.folder), "--out", "chart.pdf"], "--out chart.pdf: the chart is a PNG"),
    ]:
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert message in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert not out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(drawn):
    drawn.picture("t1").chmod(0)
    assert "Permission denied" in drawn.faults()["unreadable", "JPEGImages/t1.jpg"]


def test_a_line_of_megabytes_is_quoted_in_part(drawn, tmp_path, capsys):
    (drawn.folder / "ImageSets/Segmentation/long.txt").write_text("a" * 22_000_000 + "\n")
    assert main([str(drawn.folder), "--split", "long", "--quiet", "--out", str(tmp_path / "c.png")]) == 2
    printed = capsys.readouterr()
    assert "line 1 has 22,000,000 characters" in printed.out + printed.err
    assert len(printed.out + printed.err) < 3000


def test_a_long_name_is_quoted_in_part(drawn, tmp_path, capsys):
    (drawn.folder / "ImageSets/Segmentation/long.txt").write_text("a" * 5000 + "\n")
    assert main([str(drawn.folder), "--split", "long", "--quiet", "--out", str(tmp_path / "c.png")]) == 2
    assert max(map(len, capsys.readouterr().out.splitlines())) < 700


def test_channels_of_pictures_with_many(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    numbers = np.random.RandomState(0).randint(0, 4096, (30, 40, 5)).astype(np.uint16)
    for name in "abcd":
        tifffile.imwrite(
            tmp_path / f"images/{name}.tif", numbers, photometric="minisblack", planarconfig="contig", description=name
        )
        Image.fromarray((numbers[..., 0] > 2000).astype(np.uint8)).save(tmp_path / f"masks/{name}.png")
    (tmp_path / "dataset.yaml").write_text("name: x\nclasses: [background, thing]\nimages: images\nmasks: masks\n")
    command = [str(tmp_path), "--out", str(tmp_path / "chart.png"), "--quiet"]
    assert main([*command, "--channels", "5,4,2"]) == 0
    assert "5 channels" not in capsys.readouterr().out
    assert main([*command, "--channels", "6,4,2"]) == 2
    assert "has 5 channels, and channels=6,4,2 asks for more" in capsys.readouterr().out
    for wrong in ("4,3", "0,1,2", "a,b,c"):
        with pytest.raises(SystemExit):
            main([*command, "--channels", wrong])
        assert f"{wrong} is not three channels like 4,3,2" in capsys.readouterr().err.replace("'", "")
