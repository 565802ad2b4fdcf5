import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from common.data.lists import card_by_name, read_split
from common.data.masks import read_mask, read_pair
from common.data.polygons.regions import VOC_IDS
from common.data.prepare import coco
from common.data.sets.coco import COCO
from common.data.sets.voc import VOC2012
from tests.conftest import ROOT
from tests.helpers import tiny

# The 80 categories of instances_*2017.json, ids as in the file.
CATEGORIES = dict(
    enumerate(
        """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,-,stop sign,
        parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,-,backpack,umbrella,-,-,handbag,
        tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,
        tennis racket,bottle,-,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,
        hot dog,pizza,donut,cake,chair,couch,potted plant,bed,-,dining table,-,-,toilet,-,tv,laptop,mouse,remote,
        keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,-,book,clock,vase,scissors,teddy bear,hair drier,
        toothbrush""".replace("\n", "").split(","),
        1,
    )
)
CATEGORIES = {i: name.strip() for i, name in CATEGORIES.items() if name.strip() != "-"}
IDS = {name: i for i, name in CATEGORIES.items()}
LETTERS = {".": 0, "p": 15, "b": 5, "t": 20, "s": 18, "#": 255}  # person, bottle, tvmonitor, sofa, ignored


def drawn(text):
    return np.array([[LETTERS[letter] for letter in row] for row in text.split()], np.uint8)


def box(x, y, x_end, y_end):
    """The polygon around pixels x..x_end-1, y..y_end-1."""
    return [x, y, x_end, y, x_end, y_end, x, y_end]


def plain_rle(inside):
    """COCO's uncompressed RLE: lengths of runs of 0 and 1 in turn, column by column."""
    counts, value = [0], 0
    for pixel in inside.ravel(order="F"):
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(inside.shape), "counts": counts}


def compressed_rle(inside):
    rle = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": [int(s) for s in rle["size"]], "counts": rle["counts"].decode()}


# Of each picture: [(category, segmentation, iscrowd)], and the mask by hand; None where it has too few pixels.
SCENES = {
    # The bottle, first in the file, lies on the sofa; the sofa has two parts; the second polygon of it is a line.
    "polygons": (
        [("bottle", [box(3, 1, 5, 4)], 0), ("couch", [box(1, 2, 7, 4), [1, 1, 5, 5], box(0, 5, 2, 6)], 0)],
        "........ ...bb... .ssbbss. .ssbbss. ........ ss......",
    ),
    # A crowd is ignored, except where an instance lies, in whatever order; a crowd of another class is background.
    "crowd": (
        [
            ("person", [box(1, 1, 4, 3)], 0),
            ("person", plain_rle(drawn("........ .####... .####... .####... ........ ........") == 255), 1),
            ("banana", plain_rle(drawn("........ ........ ........ ........ ........ ########") == 255), 1),
            ("tv", [box(6, 0, 8, 2)], 0),
        ],
        "......tt .ppp#.tt .ppp#... .####... ........ ........",
    ),
    "rle": (
        [
            ("tv", compressed_rle(drawn("tttt.... t..t.... tttt.... ........ ........ ........") == 20), 0),
            ("pizza", [box(0, 0, 8, 6)], 0),
        ],
        "tttt.... t..t.... tttt.... ........ ........ ........",
    ),
    "few": ([("bottle", [box(0, 0, 5, 1)], 0), ("person", plain_rle(np.ones((6, 8), int)), 1)], None),
    "other": ([("pizza", [box(0, 0, 8, 6)], 0)], None),
    "empty": ([], None),
}


def write_coco(folder, scenes, images="train2017", scale=1):
    """COCO of 8x6 pictures in `folder`, file names as in 2014's sets."""
    (folder / images).mkdir(parents=True)
    split = Path(images).name
    pictures, annotations = [], []
    # Shuffled, as the real files are.
    for image_id, (name, (regions, _)) in reversed(list(enumerate(scenes.items(), 1))):
        file = f"{name}_{image_id:03d}.jpg"
        noise = np.random.RandomState(image_id).randint(0, 255, (6 * scale, 8 * scale, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / images / file)
        pictures.append({"id": image_id, "file_name": file, "width": 8 * scale, "height": 6 * scale})
        for category, segmentation, crowd in regions:
            about = {"id": 10 + len(annotations), "image_id": image_id, "category_id": IDS[category]}
            annotations.append(about | {"segmentation": segmentation, "iscrowd": crowd})
    (folder / "annotations").mkdir()
    categories = [{"id": i, "name": name} for i, name in CATEGORIES.items()]
    data = {"images": pictures, "annotations": annotations, "categories": categories}
    path = folder / f"annotations/instances_{split}.json"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def folder(tmp_path):
    write_coco(tmp_path / "coco", SCENES)
    return tmp_path / "coco"


def prepare(folder, *arguments, split="train2017"):
    """The command line in this process, pictures of more than 5 labelled pixels."""
    try:
        return coco.main(["--data", str(folder), "--split", split, "--min-pixels", "5", "--workers", "1", *arguments])
    except SystemExit as exit_:
        return exit_.code


def masks_of(folder):
    return {p.stem.partition("_")[0]: p for p in (folder / "SegmentationVOC/train2017").iterdir()}


def test_all_80_names_map_to_what_the_known_programs_map_them_to():
    assert len(CATEGORIES) == 80
    # CAT_LIST of jfzhang95/pytorch-deeplab-xception and torchvision's references: position is the VOC class.
    known = [0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72]
    assert {IDS[name]: voc for name, voc in VOC_IDS.items()} == {c: i for i, c in enumerate(known) if i}
    assert [name for name in CATEGORIES.values() if name in VOC_IDS and name not in VOC2012.classes] == [
        "motorcycle", "airplane", "couch", "potted plant", "dining table", "tv"
    ]  # fmt: skip
    assert card_by_name("coco") is COCO
    assert COCO.classes == VOC2012.classes
    assert COCO.palette == VOC2012.palette


def test_masks_list_and_summary(folder, capfd):
    assert prepare(folder) == 0
    masks = masks_of(folder)
    kept = {name: drawn(text) for name, (_, text) in SCENES.items() if text}
    assert masks.keys() == kept.keys()
    for name, expected in kept.items():
        assert read_mask(masks[name], COCO).tolist() == expected.tolist(), name
    with Image.open(masks["rle"]) as image:
        assert image.mode == "P"
        assert image.getpalette()[45:48] == [192, 128, 128]
    assert (folder / "lists/train2017.txt").read_text().splitlines() == [
        f"train2017/{n}.jpg SegmentationVOC/train2017/{n}.png" for n in ("crowd_002", "polygons_001", "rle_003")
    ]
    out, err = capfd.readouterr()
    assert out.startswith("3 pictures kept; 2 have none of the classes, 1 no more than 5 labelled pixels\n")
    pixels = np.bincount(np.concatenate([m.ravel() for m in kept.values()]), minlength=256)
    for name, value in (("background", 0), ("person", 15), ("sofa", 18), ("ignored", 255)):
        assert re.search(rf" {name} +{pixels[value]} pixels +{pixels[value] / 144:.2%}", out)
    assert out.endswith("lists/train2017.txt\n")
    assert err.count("\n") == 1
    assert not list(folder.rglob(".writing*"))


def test_a_list_of_somebody_else_stays(folder, capfd):
    mine = folder / "lists/train2017.txt"
    mine.parent.mkdir()
    mine.write_text("my/own.jpg my/own.png\n")
    assert prepare(folder) == 2
    assert mine.read_text() == "my/own.jpg my/own.png\n"
    assert f"{mine}: is there, and another list" in capfd.readouterr().err
    mine.unlink()
    assert prepare(folder) == 0
    mine.write_text(mine.read_text().split("\n")[0] + "\n")  # as a run with more --min-pixels leaves it
    assert prepare(folder) == 0
    assert len(mine.read_text().splitlines()) == 3


@pytest.mark.parametrize("images", ["images/train2017", "val2014"])
def test_layouts_and_splits(tmp_path, images):
    split = Path(images).name
    write_coco(tmp_path, SCENES, images)
    assert prepare(tmp_path, "--quiet", split=split) == 0
    pairs = read_split(COCO, tmp_path, split).pairs
    assert pairs[0][0] == tmp_path / images / "crowd_002.jpg"
    assert len(pairs) == 3
    assert read_pair(*pairs[0], COCO)[1][0, 7] == 20


def test_another_out_folder_is_a_data_folder(folder, tmp_path, monkeypatch):
    before = sorted(folder.rglob("*"))
    monkeypatch.chdir(tmp_path)
    assert prepare(Path("coco"), "--out", "deep/er") == 0
    assert sorted(folder.rglob("*")) == before
    assert (tmp_path / "deep/er/lists/train2017.txt").read_text().startswith("../../coco/train2017/crowd_002.jpg Seg")
    assert len(read_split(COCO, tmp_path / "deep/er", "train2017").pairs) == 3
    assert prepare(Path("coco"), "--out", "deeper") == 0  # beside it: no blanks anywhere


def test_workers_do_the_same(folder, tmp_path):
    assert prepare(folder) == 0
    assert prepare(folder, "--out", str(tmp_path / "two"), "--workers", "2") == 0
    for name, path in masks_of(folder).items():
        assert path.read_bytes() == masks_of(tmp_path / "two")[name].read_bytes()


def test_finished_masks_are_kept_and_others_painted_again(folder, monkeypatch, capsys):
    painted, stop_at = [], 3

    def paint(picture, painting=coco.paint):
        if len(painted) == stop_at:
            raise KeyboardInterrupt
        painted.append(picture.mask.stem.partition("_")[0])
        return painting(picture)

    monkeypatch.setattr(coco, "paint", paint)
    assert prepare(folder) == 130
    assert painted == ["crowd", "few", "polygons"]
    assert masks_of(folder).keys() == {"crowd", "polygons"}
    assert not (folder / "lists").exists()

    painted, stop_at = [], None
    assert prepare(folder) == 0
    assert painted == ["few", "rle"]
    said = capsys.readouterr().out

    # Cut short, of another size, with a foreign value, older than the annotations: painted again.
    masks = masks_of(folder)
    whole = masks["rle"].read_bytes()
    for spoil in (
        lambda path: path.write_bytes(whole[: len(whole) // 2]),
        Image.new("L", (9, 9)).save,
        Image.new("L", (8, 6), 77).save,
    ):
        spoil(masks["rle"])
        painted.clear()
        assert prepare(folder) == 0
        assert painted == ["few", "rle"]
        assert masks["rle"].read_bytes() == whole
    later = time.time() + 10
    os.utime(folder / "annotations/instances_train2017.json", (later, later))
    painted.clear()
    assert prepare(folder) == 0
    assert painted == ["crowd", "few", "polygons", "rle"]
    # What was kept counts in the summary.
    assert capsys.readouterr().out.splitlines() == said.splitlines() * 4


def test_more_pixels_drop_pictures_that_have_a_mask(folder):
    assert prepare(folder) == 0
    assert prepare(folder, "--min-pixels", "10") == 0  # the television has exactly ten
    assert [p[0].stem for p in read_split(COCO, folder, "train2017").pairs] == ["polygons_001"]
    assert prepare(folder, "--min-pixels", "9") == 0
    assert len(read_split(COCO, folder, "train2017").pairs) == 3


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")
def test_killed_and_run_again(tmp_path):
    scenes = {f"s{i}": ([("person", [box(0, 0, 300, 200)], 0)], None) for i in range(300)}
    write_coco(tmp_path, scenes, scale=100)
    command = [
        sys.executable,
        "-m",
        "common.data.prepare.coco",
        "--data",
        tmp_path,
        "--split",
        "train2017",
        "--workers",
        "2",
    ]
    masks = tmp_path / "SegmentationVOC/train2017"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while not (masks.is_dir() and any(masks.glob("s*.png"))):
            assert process.poll() is None
            time.sleep(0.01)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGKILL)
    assert len(children) >= 2
    end = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]  # no orphans
    finished = {p: p.stat().st_mtime_ns for p in masks.glob("s*.png")}
    assert 0 < len(finished) < 300
    assert not (tmp_path / "lists").exists()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert len(read_split(COCO, tmp_path, "train2017").pairs) == 300
    assert all(p.stat().st_mtime_ns == t for p, t in finished.items())


def edit(folder, change):
    path = folder / "annotations/instances_train2017.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def remove(path):
    for p in sorted(path.rglob("*"), reverse=True):
        p.rmdir() if p.is_dir() else p.unlink()
    path.rmdir() if path.is_dir() else path.unlink()


def segmentation(value):
    """An edit of the first annotation of `rle_003`, number 13."""

    def change(data):
        next(a for a in data["annotations"] if a["image_id"] == 3)["segmentation"] = value

    return lambda folder: edit(folder, change)


BROKEN = r"instances_train2017\.json: annotation 13 of rle_003\.jpg has no readable segmentation \(.*{}.*\); correct it"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove, r"--data .*/coco: no such folder"),
        (lambda f: remove(f / "train2017"), r"--data .*/coco: has no pictures of train2017; unpack train2017\.zip"),
        (lambda f: remove(f / "annotations"), r"instances_train2017\.json: no such file; unpack COCO's annotations"),
        (
            lambda f: (f / "annotations/instances_train2017.json").write_text('{"images": [{"id'),
            r"instances_train2017\.json: is not readable JSON",
        ),
        (lambda f: edit(f, lambda d: d.pop("categories")), r"is no COCO instances file \(KeyError\('categories'\)\)"),
        (
            lambda f: (f / "annotations/instances_train2017.json").write_text("[1]"),
            r"instances_train2017\.json: is no COCO instances file",
        ),
        (
            lambda f: edit(f, lambda d: d.update(categories=[{"id": 1, "name": "lamp"}])),
            r"instances_train2017\.json: has none of VOC's classes among its categories",
        ),
        (
            lambda f: [remove(f / f"train2017/{n}.jpg") for n in ("few_004", "rle_003", "other_005")],
            r"json: 2 of its pictures are missing, unpack the zip again: \S+/few_004\.jpg, \S+/rle_003\.jpg$",
        ),
        (
            lambda f: Image.new("RGB", (7, 6)).save(f / "train2017/crowd_002.jpg"),
            r"crowd_002\.jpg: is 7x6 but .*instances_train2017\.json says 8x6; unpack",
        ),
        (
            lambda f: (f / "train2017/crowd_002.jpg").write_text("no picture"),
            r"crowd_002\.jpg: cannot be read as a picture",
        ),
        (segmentation([[1, 1, 5, 1, 1e300, 5]]), BROKEN.format("far outside")),
        (segmentation([[1, 1, 5, 1, float("nan"), 5]]), BROKEN.format("far outside")),
        (segmentation([["a"] * 6]), BROKEN.format("could not convert")),
        (segmentation({"size": [6, 9], "counts": [54]}), BROKEN.format("its size")),
        (segmentation({"size": [6, 8], "counts": [1, 2]}), BROKEN.format("do not add up")),
        (segmentation({"size": [6, 8], "counts": "zzzz"}), BROKEN.format("Invalid RLE")),
        (segmentation(None), BROKEN.format("not iterable")),
    ],
)
def test_errors_are_one_sentence(folder, capfd, change, message):
    change(folder)
    assert prepare(folder, "--quiet") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert re.search(message, err.strip()), err


def test_many_missing_pictures_are_counted(tmp_path, capfd):
    scenes = {f"s{i}": ([("person", [box(0, 0, 8, 6)], 0)], None) for i in range(9)}
    write_coco(tmp_path, scenes)
    for path in (tmp_path / "train2017").iterdir():
        path.unlink()
    assert prepare(tmp_path, "--quiet") == 2
    err = capfd.readouterr().err
    assert "9 of its pictures are missing" in err
    assert err.count(".jpg") == 5
    assert err.strip().endswith(" and 4 more")


def test_errors_come_out_of_workers(folder, capfd):
    segmentation([[1, 1, 5, 1, 1e300, 5]])(folder)
    assert prepare(folder, "--quiet", "--workers", "2") == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert re.search(BROKEN.format("far outside"), err)


def test_command_line(folder, capfd):
    def status(*arguments):
        command = [sys.executable, "-m", "common.data.prepare.coco", "--data", folder, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    for arguments, message in [
        (["--split", "train2019"], "invalid choice: 'train2019'"),
        (["--split", "train2017", "--min-pixels", "-1"], "--min-pixels: -1 is not a whole number"),
        (["--split", "train2017", "--workers", "x"], "--workers: x is not a whole number"),
        (["--split", "train2017"], "no picture has more than 1000 labelled pixels; lower --min-pixels"),
        (["--split", "val2017"], "has no pictures of val2017"),
        (["--split", "train2017", "--min-pixels", "5", "--out", f"{folder}/lists/a b"], None),
    ]:
        code, out, err = status(*arguments, "--quiet")
        if message:
            assert code == 2
            assert out == ""
            assert err.count("\n") == 1
            assert message in err
        else:
            assert code == 0
            assert err == ""
    spaced = folder.rename(folder.with_name("my coco"))
    assert prepare(spaced, "--out", str(spaced.with_name("out"))) == 2
    assert "lists cannot hold the blanks in ../my coco" in capfd.readouterr().err
    assert prepare(spaced) == 0  # below the data folder there is none


def test_the_tiny_reproduction_trains_on_it(tmp_path):
    scenes = {
        f"s{i}": ([("person", [box(4 * i, 5, 40 + 4 * i, 40)], 0), ("dog", [box(50, 5, 70, 50)], 0)], None)
        for i in range(6)
    }
    write_coco(tmp_path / "coco", scenes, scale=10)
    assert prepare(tmp_path / "coco", "--quiet", "--min-pixels", "1000") == 0
    run_dir = tmp_path / "run"
    code = tiny.run(
        "train", "--data", tmp_path / "coco", "--split", "train2017", "--run-dir", run_dir, "--quiet",
        "--set", "dataset=coco", "num_steps=2", "save_interval=2",
    )  # fmt: skip
    assert code == 0
    assert list(run_dir.glob("**/model.ckpt-2.index"))
