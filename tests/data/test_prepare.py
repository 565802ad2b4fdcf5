"""`make data`: every set from small archives of the real layouts, on a server that misbehaves on demand."""

import contextlib
import errno
import fcntl
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common import parallel
from common.data.lists import card_by_name, read_split
from common.data.prepare import job, sbd, voc
from tests.conftest import ROOT, files_no_larger_than
from tests.helpers import archive_sets as sets
from tests.helpers.file_server import breaks_after, names
from tests.helpers.preparing import BY_HAND, error, put_by_hand

LISTS = "data/VOC2012/ImageSets/Segmentation"
EXTRA = ("leftImg8bit_trainextra.zip", "gtCoarse.zip")
# name: (what is asked of the server, the folder to train on)
SETS = {
    "voc2012": (["VOCtrainval_11-May-2012.tar", "list.zip"], "data/VOC2012"),
    "sbd": (["benchmark.tgz"], "data/sbd/dataset"),
    "voc-aug": (["VOCtrainval_11-May-2012.tar", "SegmentationClassAug.zip", "list.zip"], "data/VOC2012"),
    "ade20k": (["ADEChallengeData2016.zip"], "data/ade20k/ADEChallengeData2016"),
    "cityscapes": ([], "data/cityscapes"),
    "coco": (["train2017.zip", "val2017.zip", "annotations_trainval2017.zip"], "data/coco"),
    "pascal-context": (["VOCtrainval_03-May-2010.tar", "pascal_context/trainval.tar.gz"], "data/VOC2010"),
    "pascal-person-part": (["VOCtrainval_03-May-2010.tar", "pascal_person_part.zip"], "data/VOC2010"),
    "cocostuff10k": (["cocostuff-10k-v1.1.zip"], "data/cocostuff10k/cocostuff-10k-v1.1"),
    "cocostuff164k": (
        ["train2017.zip", "val2017.zip", "annotations_trainval2017.zip", "stuffthingmaps_trainval2017.zip"],
        "data/coco",
    ),
}


def content(folder):
    """Every file's bytes by its name; but for the day in digests.json."""
    return {
        name: (folder / name).read_bytes() if not name.endswith("digests.json") else digests(folder / name)
        for name in names(folder)
    }


def digests(path):
    return {name: record["sha256"] for name, record in json.loads(path.read_text()).items()}


def asked(server):
    return [path for path, _ in server.requests]


@pytest.mark.parametrize("name", SETS)
def test_each_set_from_an_empty_folder_and_then_again(run, server, tmp_path, name):
    files, folder = SETS[name]
    code, out, _ = run(name)
    assert code == 0
    assert out.splitlines()[0] == folder
    assert out.splitlines()[-1].startswith("next: python -m ")
    assert asked(server) == files
    first = content(tmp_path / "data")
    assert not [file for file in first if "/." in file or file.endswith(".part")]
    # The set's own folder is left out: a lock comes and goes in it.
    inside = [path for path in (tmp_path / "data").rglob("*") if path.parent != tmp_path / "data"]
    times = {path: path.stat().st_mtime_ns for path in inside}
    again = run(name, "--quiet")
    assert again == (0, out, "")
    assert asked(server) == files
    assert content(tmp_path / "data") == first
    assert {path: path.stat().st_mtime_ns for path in times} == times  # nothing was even written anew

    for archive in files:  # gigabytes that nobody needs any more
        next((tmp_path / "data").rglob(Path(archive).name)).unlink()
    assert run(name, "--quiet") == (0, out, "")
    assert asked(server) == files


def test_the_work_can_be_given_to_other_processes(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(parallel, "IN_PROCESS", 1)
        assert run("sbd", "--workers", "2")[0] == 0

    @contextlib.contextmanager
    def as_if_there(workers, items):
        yield lambda work, items: map(pickle.loads(pickle.dumps(work)), items)

    monkeypatch.setattr(job, "parallel_map", as_if_there)
    assert all(run(name, "--workers", "1")[0] == 0 for name in SETS)


def test_voc2012(run, tmp_path):
    _, out, _ = run("voc2012")
    for split, ids in {"train": sets.VOC_TRAIN, "val": sets.VOC_VAL, "test": sets.TEST}.items():
        assert (tmp_path / LISTS / f"{split}.txt").read_text().split() == ids
    trainval = ["2007_000032", "2007_000033", "2008_000012", "2008_000015"]
    assert (tmp_path / LISTS / "trainval.txt").read_text().split() == trainval
    assert out.splitlines()[:5] == [
        "data/VOC2012",
        "  train                2 pictures",
        "  val                  2 pictures",
        "  trainval             4 pictures",
        "  test                 2 pictures",
    ]
    assert "test: 0 of its pictures are here" in out
    (tmp_path / LISTS / "trainval.txt").unlink()
    assert run("voc2012")[0] == 0
    assert (tmp_path / LISTS / "trainval.txt").read_text().split() == trainval


def test_a_list_of_somebody_else_stays(run, server, tmp_path):
    assert run("voc2012")[0] == 0
    mine = tmp_path / LISTS / "train_aug.txt"
    mine.write_text("/JPEGImages/a.jpg /SegmentationClassAug/a.png\n")
    code, _, err = run("voc-aug")
    assert code == 2
    assert "train_aug.txt: is there, and another list" in err
    assert mine.read_text() == "/JPEGImages/a.jpg /SegmentationClassAug/a.png\n"


@pytest.mark.parametrize("source", voc.SOURCES)
def test_train_aug(run, server, tmp_path, source):
    code, out, _ = run("voc-aug", "--from", source)
    assert code == 0
    assert "  train_aug            4 pictures\n" in out
    assert (tmp_path / LISTS / "train_aug.txt").read_text().split() == sets.TRAIN_AUG
    for split, ids in {"train_aug": sets.TRAIN_AUG, "val": sets.VOC_VAL}.items():
        pairs = read_split(card_by_name("voc2012"), tmp_path / "data/VOC2012", split)
        assert [mask.parent.name for _, mask in pairs.pairs] == ["SegmentationClassAug"] * len(ids)
        for index, stem in enumerate(ids):
            assert np.array_equal(pairs.read(index)[1], sets.augmented_mask(stem)), stem
    assert ("benchmark.tgz" in asked(server)) == (source == "sbd")
    masks = tmp_path / "data/VOC2012/SegmentationClassAug"
    assert sorted(p.stem for p in masks.iterdir()) == sorted(sets.TRAIN_AUG + sets.VOC_VAL)
    if source == "sbd":
        with Image.open(masks / "2008_000002.png") as mask:
            assert mask.mode == "P"
            assert mask.getpalette()[3 * 5 : 3 * 6] == [128, 0, 128]
        assert np.asarray(Image.open(masks / "2008_000015.png")).max() == 255  # VOC's own, not SBD's


def test_sbd_serves_where_nobody_has_the_ready_made_masks(run, server, tmp_path):
    del server.files["SegmentationClassAug.zip"]
    assert "SegmentationClassAug.zip: cannot be fetched" in error(run("voc-aug", "--from", "segmentation-class-aug"))
    code, _, err = run("voc-aug")
    assert code == 0
    assert "building data/VOC2012/SegmentationClassAug from SBD instead" in err
    assert (tmp_path / LISTS / "train_aug.txt").read_text().split() == sets.TRAIN_AUG


def test_sbd_serves_where_the_ready_made_masks_are_damaged(run, server, tmp_path):
    """Nobody knows the digest of this file: it is asked of every source, and then built."""
    server.files["SegmentationClassAug.zip"] = server.files["SegmentationClassAug.zip"][:-300]
    text = error(run("voc-aug", "--from", "segmentation-class-aug"))
    assert "is cut short or damaged" in text or "sha256 is" in text
    code, out, err = run("voc-aug")
    assert code == 0
    assert "building data/VOC2012/SegmentationClassAug from SBD instead" in err
    assert "  SegmentationClassAug is from sbd\n" in out


@pytest.mark.parametrize("source", voc.SOURCES)
def test_masks_of_another_source_than_asked_for(run, server, tmp_path, source):
    other = next(name for name in voc.SOURCES if name != source)
    assert run("voc-aug", "--from", other)[0] == 0
    first = content(tmp_path / "data")
    text = error(run("voc-aug", "--from", source))
    assert f"data/VOC2012/SegmentationClassAug: is from {other}, not from {source}; delete it and run this" in text
    for arguments in ([], ["--from", other]):
        assert f"  SegmentationClassAug is from {other}\n" in run("voc-aug", *arguments)[1]
    assert content(tmp_path / "data") == first
    subprocess.run(["rm", "-r", "data/VOC2012/SegmentationClassAug"], check=True)
    assert f"  SegmentationClassAug is from {source}\n" in run("voc-aug", "--from", source)[1]
    (tmp_path / "data/VOC2012" / voc.ORIGIN).unlink()  # as a person's own copy
    assert "  SegmentationClassAug is from a source that was not written down\n" in run("voc-aug")[1]


@pytest.mark.parametrize("name", SETS)
def test_a_read_only_copy_is_verified_without_a_lock(run, tmp_path, monkeypatch, name):
    assert run(name)[0] == 0
    for lock in (tmp_path / "data").rglob(".lock"):
        lock.unlink()
    opened = Path.open

    def read_only(path, mode="r", *arguments, **options):
        if mode[0] != "r":
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", read_only)
    assert run(name)[0] == 0
    assert not list((tmp_path / "data").rglob(".lock"))


def test_the_file_of_sbd_is_as_scipy_reads_the_real_one(tmp_path):
    (tmp_path / "x.mat").write_bytes(sets.mat("GTcls", sets.sbd_mask("2008_000002")))
    import scipy.io

    struct = scipy.io.loadmat(tmp_path / "x.mat")["GTcls"]
    assert struct.shape == (1, 1)
    assert struct.dtype.names == ("Boundaries", "Segmentation", "CategoriesPresent")
    assert struct["Boundaries"][0, 0].shape == (20, 1)
    assert struct["CategoriesPresent"][0, 0].tolist() == [[5]]
    read = sbd.read_segmentation(tmp_path / "x.mat")
    assert read.dtype == np.uint8
    assert np.array_equal(read, sets.sbd_mask("2008_000002"))


@pytest.mark.parametrize("extra", [False, True])
def test_cityscapes(run, tmp_path, archives, extra):
    if extra:
        put_by_hand(tmp_path, archives, EXTRA)
    code, out, _ = run("cityscapes")
    folder = tmp_path / "data/cityscapes"
    fine = {"train_fine": "train", "val_fine": "val", "val": "val", "test": "test"}
    coarse = {"train_coarse": "train", "val_coarse": "val", "train_extra": "train_extra"} if extra else {}
    wanted = {
        split: f"leftImg8bit/{part}/{sets.CITIES[part]}_leftImg8bit.png "
        f"{kind}/{part}/{sets.CITIES[part]}_{kind}_labelTrainIds.png\n"
        for kind, splits in (("gtFine", fine), ("gtCoarse", coarse))
        for split, part in splits.items()
    }
    if extra:
        wanted["train"] = wanted["train_fine"] + wanted["train_extra"]
    assert code == 0
    assert {p.stem: p.read_text() for p in (folder / "dataset").iterdir()} == wanted
    assert extra or "no train_coarse, val_coarse, train_extra" in out
    card = card_by_name("cityscapes")
    for split, text in wanted.items():
        pairs = read_split(card, folder, split)
        assert len(pairs.pairs) == text.count("\n")
        with Image.open(pairs.pairs[0][1]) as mask:  # grey, for programs that read one channel
            assert mask.mode == "L"
            assert np.asarray(mask)[:, 0].tolist() == sets.TRAIN_IDS


def test_cityscapes_zips_that_come_later_and_masks_that_are_damaged(run, tmp_path, archives):
    assert run("cityscapes")[0] == 0
    first = content(tmp_path / "data")
    mask = next((tmp_path / "data/cityscapes/gtFine").rglob("*_labelTrainIds.png"))
    mask.write_bytes(mask.read_bytes()[:50])
    assert run("cityscapes")[0] == 0
    assert content(tmp_path / "data") == first
    put_by_hand(tmp_path, archives, EXTRA[:1])  # pictures alone are of no use
    assert run("cityscapes")[0] == 0
    put_by_hand(tmp_path, archives, EXTRA)
    code, out, _ = run("cityscapes")
    assert code == 0
    assert "  train                2 pictures" in out
    assert "  train_extra          1 pictures" in out


def test_cityscapes_zips_that_are_not_there(run, tmp_path, archives):
    (tmp_path / "data/cityscapes" / BY_HAND[0]).unlink()
    text = error(run("cityscapes"))
    assert "Register at https://www.cityscapes-dataset.com" in text
    assert "Put gtFine_trainvaltest.zip into data/cityscapes, then run this command again" in text
    (tmp_path / "data/cityscapes" / BY_HAND[0]).write_bytes(archives[BY_HAND[1]])
    assert "gtFine_trainvaltest.zip: sha256 is" in error(run("cityscapes"))


def test_ade20k(run, tmp_path):
    code, out, _ = run("ade20k")
    assert code == 0
    assert "  train                2 pictures\n  val                  1 pictures\n" in out
    for split, folder in (("train", "training"), ("val", "validation")):
        pairs = read_split(card_by_name("ade20k"), tmp_path / SETS["ade20k"][1], split).pairs
        assert [image.stem for image, _ in pairs] == sets.ADE[folder]


def test_coco(run, tmp_path):
    code, out, _ = run("coco", "--workers", "1")
    assert code == 0
    assert "1 of 3 in train2017, 1 of 1 in val2017" in out
    for split, stem in (("train2017", "000000000009"), ("val2017", "000000000139")):
        text = (tmp_path / f"data/coco/lists/{split}.txt").read_text()
        assert text == f"{split}/{stem}.jpg SegmentationVOC/{split}/{stem}.png\n"
        pairs = read_split(card_by_name("coco"), tmp_path / "data/coco", split)
        assert np.unique(pairs.read(0)[1]).tolist() == [0, 12]


def test_official_sizes_are_asserted(run, monkeypatch, tmp_path):
    assert "train has 2 pictures instead of 1,464" in error(run("voc2012", partial=False))
    assert "train has 3 pictures instead of 8,498" in error(run("sbd", partial=False))
    assert "train has 2 pictures instead of 20,210" in error(run("ade20k", partial=False))
    assert "train_fine has 1 pictures instead of 2,975" in error(run("cityscapes", partial=False))
    assert "train2017 has 3 pictures instead of 118,287" in error(run("coco", partial=False))
    assert "train has 2 pictures instead of 4,998" in error(run("pascal-context", partial=False))
    assert "train has 1 pictures instead of 1,716" in error(run("pascal-person-part", partial=False))
    assert "train has 2 pictures instead of 9,000" in error(run("cocostuff10k", partial=False))
    assert "train has 3 pictures instead of 118,287" in error(run("cocostuff164k", partial=False))
    monkeypatch.setattr(voc, "SIZES", {"train": 2, "val": 2, "trainval": 4, "test": 2, "train_aug": 4})
    assert run("voc-aug", partial=False)[0] == 0
    monkeypatch.setitem(voc.SIZES, "train_aug", 10582)
    text = error(run("voc-aug", partial=False))
    assert "train_aug has 4 pictures, the official one 10,582; delete" in text
    assert "--allow-partial" in text


@pytest.mark.parametrize("know", ["sbd", "lists", "nothing"])
def test_the_differences_of_train_aug_are_listed(run, server, monkeypatch, tmp_path, know):
    """Against SBD's lists, the published one, or none: then only what VOC's lists say can be missing."""
    monkeypatch.setattr(voc, "SIZES", {"train": 2, "val": 2, "trainval": 4, "test": 2, "train_aug": 4})
    server.files["SegmentationClassAug.zip"] = sets.augmented_zip(
        missing=["2008_000002", "2007_000032", "2008_000012"], extra=["2010_000001"]
    )
    if know == "sbd":
        assert run("sbd")[0] == 0
    if know == "nothing":
        del server.files["list.zip"]
    text = error(run("voc-aug", partial=False))
    if know == "nothing":
        assert "train_aug has 2 pictures, the official one 4" in text
        assert "2 without a mask: 2007_000032, 2008_000012; 1 without a picture: 2010_000001;" in text
        return
    assert "train_aug has 2 pictures, the official one 4" in text
    assert "3 without a mask: 2007_000032, 2008_000002, 2008_000012" in text
    assert "1 not in any list: 2010_000001" in text
    assert not (tmp_path / LISTS / "train_aug.txt").exists()


def test_a_mask_of_sbd_that_is_missing(run, tmp_path):
    assert run("sbd")[0] == 0
    (tmp_path / "data/sbd/dataset/cls/2008_000003.mat").unlink()
    assert "cls/2008_000003.mat cannot be read as a mask of SBD" in error(run("sbd"))
    code, out, err = run("voc-aug", "--from", "sbd")
    assert code == 0
    assert "1 without a mask: 2008_000003" in err
    assert "  train_aug            3 pictures" in out
    (tmp_path / "data/sbd/dataset/cls/2008_000002.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    assert "cls/2008_000002.mat cannot be read as a mask of SBD" in error(run("sbd"))


def test_files_that_are_damaged_are_named(run, tmp_path):
    assert run("voc-aug")[0] == 0
    picture = tmp_path / "data/VOC2012/JPEGImages/2007_000033.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-40])  # its head is whole
    text = error(run("voc2012"))
    assert "1 of 4 are not right: data/VOC2012/JPEGImages/2007_000033.jpg cannot be read" in text
    assert "delete data/VOC2012 and run this again" in text
    picture.write_bytes(whole)
    (tmp_path / "data/VOC2012/SegmentationClassAug/2008_000003.png").write_bytes(sets.encoded(np.zeros((4, 5), "u1")))
    assert "2008_000003.png is 5x4, its picture 12x10; delete data/VOC2012/SegmentationClassAug" in error(
        run("voc-aug")
    )
    picture.write_bytes(whole[:-40])  # no new masks mend a picture
    assert error(run("voc-aug")).endswith("; delete data/VOC2012 and run this again to replace it")
    picture.write_bytes(whole)
    (tmp_path / "data/VOC2012/SegmentationClass/2007_000033.png").unlink()
    assert "SegmentationClass/2007_000033.png" in error(run("voc2012"))


def test_what_is_deleted_as_told_comes_anew(run, tmp_path):
    for name, file, folder in (
        ("coco", "train2017/000000000009.jpg", "data/coco/train2017"),
        ("cityscapes", f"leftImg8bit/val/{sets.CITIES['val']}_leftImg8bit.png", "data/cityscapes/leftImg8bit"),
        ("ade20k", f"ADEChallengeData2016/images/training/{sets.ADE['training'][0]}.jpg",
         "data/ade20k/ADEChallengeData2016"),
    ):  # fmt: skip
        assert run(name)[0] == 0
        path = tmp_path / f"data/{name}" / file
        path.write_bytes(path.read_bytes()[:-40])
        assert error(run(name)).endswith(f"; delete {folder} and run this again to replace it")
        subprocess.run(["rm", "-r", folder], check=True)
        assert run(name)[0] == 0


def test_sizes_are_compared_as_training_reads_them(tmp_path):
    """Only the picture is turned by its EXIF tag, whatever the mask says."""
    turned = Image.Exif()
    turned[0x0112] = 6
    picture, mask = tmp_path / "a.jpg", tmp_path / "a.png"
    Image.new("RGB", (8, 6)).save(picture, exif=turned)
    for size, problem in (((6, 8), None), ((8, 6), job.Problem(mask, "is 8x6, its picture 6x8"))):
        Image.new("L", size).save(mask, exif=turned)
        assert job.pair_problem((picture, mask)) == problem


def test_the_test_list_is_the_last_thing_to_be_missed(run, server, tmp_path):
    del server.files["list.zip"]
    for name, split in (("voc2012", "trainval"), ("voc-aug", "train_aug")):
        result = run(name)
        assert "test.txt: the list is missing" in error(result)
        assert error(result).endswith("all else is in place")
        assert f"  {split} " in result[1]
        assert (tmp_path / LISTS / f"{split}.txt").is_file()
    server.files["list.zip"] = b"no zip"
    assert error(run("voc2012")).endswith("all else is in place")
    (tmp_path / LISTS / "test.txt").write_text("2008_000006\n2008_000011\n")  # as VOC2012test.tar has it
    assert run("voc2012")[0] == 0


DOWNLOADS = [(name, file) for name, (files, _) in SETS.items() for file in files if name != "voc-aug"]
DOWNLOADS += [("voc-aug", "SegmentationClassAug.zip")]


@pytest.mark.parametrize(("name", "file"), DOWNLOADS)
def test_broken_connections_go_on_where_they_broke(run, server, name, file, archives):
    third = len(archives[file]) // 3
    server.answers[file] = [breaks_after(third)]
    assert run(name, "--quiet")[0] == 0
    headers = [headers.get("Range") for path, headers in server.requests if path == file]
    assert headers == [None, f"bytes={third}-"]


@pytest.mark.parametrize(("name", "file"), [(n, f) for n, f in DOWNLOADS if n in ("voc2012", "sbd", "ade20k")][::1])
def test_wrong_digests(run, server, tmp_path, name, file, archives):
    """Of the files whose digest is known; list.zip has none, and has to be a zip."""
    server.files[file] = archives[file][:-1] + b"!" if file != "list.zip" else b"no zip at all"
    text = error(run(name))
    assert file in text
    assert "sha256 is" in text or "is cut short or damaged" in text
    assert file not in [path.name for path in (tmp_path / "data").rglob("*")]
    assert not [p for p in (tmp_path / "data").rglob("*") if p.name.startswith(".unpacking") or p.suffix == ".part"]
    server.files[file] = archives[file]
    assert run(name)[0] == 0


MASKS = {
    "voc-aug": "SegmentationClassAug/*.png",
    "cityscapes": "*_labelTrainIds.png",
    "coco": "SegmentationVOC/*/*.png",
    "pascal-context": "SegmentationClassContext/*.png",
    "pascal-person-part": "SegmentationPersonPart/*.png",
    "cocostuff10k": "masks/*.png",
}
FULL = [(name, phase) for name in SETS for phase in ("download", "unpack", "masks")]
FULL = [case for case in FULL if case != ("cityscapes", "download") and (case[1] != "masks" or case[0] in MASKS)]


@pytest.mark.parametrize(("name", "phase"), FULL)
def test_a_full_disk(run, tmp_path, name, phase, archives):
    """One sentence, nothing half-written; with room again the same command ends as if nothing had been."""
    arguments = [name, "--quiet", "--workers", "1", *(["--from", "sbd"] if name == "voc-aug" else [])]
    assert run(*arguments)[0] == 0
    whole = content(tmp_path / "data")
    if phase == "masks":
        for mask in (tmp_path / "data").rglob(MASKS[name]):
            mask.unlink()
        if name == "voc-aug":
            (tmp_path / "data/VOC2012/SegmentationClassAug").rmdir()
    else:
        kept = [file for file in whole if file.endswith((".zip", ".tar", ".tgz", ".tar.gz", "digests.json"))]
        kept = {file: (tmp_path / "data" / file).read_bytes() for file in kept if phase == "unpack"}
        subprocess.run(["rm", "-r", "data"], check=True)
        put_by_hand(tmp_path, archives)
        for file, data in kept.items():
            (tmp_path / "data" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / file).write_bytes(data)
    with files_no_larger_than(50):
        text = error(run(*arguments))
    assert "File too large" in text
    assert phase != "unpack" or "nothing was unpacked" in text
    half = [p for p in (tmp_path / "data").rglob("*") if p.name.startswith((".writing", ".unpacking"))]
    assert half == []
    assert not [p for p in (tmp_path / "data").rglob("*.png") if not p.stat().st_size]
    assert run(*arguments)[0] == 0
    assert content(tmp_path / "data") == whole


@pytest.mark.parametrize("name", SETS)
def test_a_second_process_at_work(run, server, tmp_path, name):
    own = {"ade20k": "ade20k", "cityscapes": "cityscapes", "coco": "coco", "sbd": "sbd", "cocostuff164k": "coco",
           "cocostuff10k": "cocostuff10k"}  # fmt: skip
    folder = f"data/{own[name]}" if name in own else "data"
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    with (tmp_path / folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert f"error: {folder}: another process is at work in it; wait until" in error(run(name))
    assert asked(server) == []
    assert run(name)[0] == 0


KILL = """
import os, signal, sys
from pathlib import Path
from PIL import Image
from common.data.prepare import __main__ as prepare
from common.downloads import archives, download
target = {
    "download": (download, "write_all"),
    "unpack": (archives, "_make"),
    "mask": (Image.Image, "save"),
    "rename": (Path, "replace"),
}[sys.argv[1]]
count = int(sys.argv[2])
original = getattr(*target)

def killed(*arguments, **options):
    global count
    count -= 1
    if not count:
        if sys.argv[1] == "mask":
            Path(arguments[1]).write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

setattr(*target, killed)
sys.exit(prepare.main(sys.argv[3:]))
"""
DEATHS = [
    ("voc-aug", "download", 2),
    ("voc-aug", "unpack", 9),
    ("voc-aug", "mask", 3),
    ("sbd", "unpack", 4),
    ("ade20k", "unpack", 3),
    ("cityscapes", "unpack", 3),
    ("cityscapes", "mask", 2),
    ("coco", "download", 3),
    ("coco", "mask", 2),
    ("pascal-context", "mask", 2),
    ("pascal-person-part", "mask", 1),
    ("cocostuff10k", "mask", 3),
    # an archive's state, the archive, its digest; a mask; a list
    *(("voc-aug", "rename", count) for count in (1, 2, 3, 10, 16, 17)),
    *(("coco", "rename", count) for count in (10, 11)),
    ("cityscapes", "rename", 7),
]


@pytest.mark.parametrize(("name", "phase", "count"), DEATHS)
def test_a_process_that_was_killed_is_taken_up(run, manifest, tmp_path, archives, name, phase, count):
    source = ["--from", "sbd"] if name == "voc-aug" else []
    arguments = [name, "--allow-partial", "--manifest", str(manifest), "--workers", "1", "--quiet", *source]
    done = subprocess.run(
        [sys.executable, "-c", KILL, phase, str(count), *arguments],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    if phase == "mask":
        assert list((tmp_path / "data").rglob(".writing-*"))
    assert run(name, "--workers", "1", "--quiet", *source)[0] == 0
    after = content(tmp_path / "data")
    assert not [file for file in after if ".unpacking" in file or ".writing" in file]
    subprocess.run(["rm", "-r", "data"], check=True)
    put_by_hand(tmp_path, archives)
    assert run(name, "--workers", "1", "--quiet", *source)[0] == 0
    assert content(tmp_path / "data") == after


def test_as_a_person_types_it(manifest, tmp_path):
    def type_(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "common.data.prepare", *arguments],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip

    done = type_("ade20k", "--out", "sets", "--manifest", str(manifest), "--allow-partial", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sets/ade20k/ADEChallengeData2016\n")
    done = type_("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(SETS)


def test_as_make_types_it():
    def make(*words):
        return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True)

    out = make("-n", "data", "NAME=voc-aug", "PARTIAL=1").stdout  # tests/test_make.py says what becomes of them
    assert 'prepare "${NAME:---list}"' in out
    assert "${PARTIAL:+--allow-partial}" in out
    done = make("check")
    assert done.returncode == 2
    assert "error: say which: make check DATA=folder or dataset.yaml" in done.stdout


def test_wrong_arguments(run, manifest):
    for arguments, text in (
        (["voc2007"], "invalid choice: 'voc2007'"),
        ([], "give either a NAME or --list"),
        (["sbd", "--list"], "give either a NAME or --list"),
        (["voc2012", "--from", "sbd"], "--from is for voc-aug"),
        (["--list", "--from", "sbd"], "--from is for voc-aug"),
        (["pascal-context", "--from", "sbd"], "sbd is no source of pascal-context, which has labels and json"),
        (["voc2012", "--workers", "0"], "0 is not a whole number of at least 1"),
    ):
        assert text in error(run(*arguments))
    manifest.unlink()
    assert "manifest.yaml: no such file" in error(run("sbd"))
