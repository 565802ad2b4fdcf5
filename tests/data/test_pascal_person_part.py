"""PASCAL-Person-Part: how parts are merged, beside another program's list, and masks from both of its archives."""

import numpy as np
import pytest

from common.data.lists import card_by_name, read_split
from common.data.prepare import person_part
from common.data.sets.pascal_person_part import PASCAL_PERSON_PART
from tests.helpers import archive_sets as sets
from tests.helpers.preparing import error, goes_through

MASKS = "data/VOC2010/SegmentationPersonPart"

# HUMAN_PART of six classes in facebookresearch/astmt (fblib/dataloaders/pascal_context.py).
ASTMT = {
    "hair": 1, "head": 1, "lear": 1, "lebrow": 1, "leye": 1, "lfoot": 6, "lhand": 4, "llarm": 4, "llleg": 6,
    "luarm": 3, "luleg": 5, "mouth": 1, "neck": 2, "nose": 1, "rear": 1, "rebrow": 1, "reye": 1, "rfoot": 6,
    "rhand": 4, "rlarm": 4, "rlleg": 6, "ruarm": 3, "ruleg": 5, "torso": 2,
}  # fmt: skip


def test_the_parts_are_merged_as_in_another_program():
    assert card_by_name("pascal_person_part") is PASCAL_PERSON_PART
    assert person_part.CLASS_IDS == ASTMT
    assert len(PASCAL_PERSON_PART.classes) == len(set(PASCAL_PERSON_PART.palette)) == 7
    assert PASCAL_PERSON_PART.split_sizes == {"train": 1716, "val": 1817}


def test_the_struct_is_as_scipy_reads_the_real_one(tmp_path):
    """Fields and shapes as programs that read the real files take them apart: postBG/BodyPartsSegmentation.pytorch."""
    import scipy.io

    (tmp_path / "x.mat").write_bytes(sets.part_mat("2008_000008"))
    anno = scipy.io.loadmat(tmp_path / "x.mat")["anno"][0, 0]
    assert anno.dtype.names == ("imname", "objects")
    boat, person = anno["objects"][0, :]
    assert person.dtype.names == ("class", "class_ind", "bbox", "mask", "parts")
    assert (boat["class"][0], person["class"][0], person["class_ind"][0, 0]) == ("boat", "person", 15)
    assert boat["parts"].size == 0
    assert person["parts"].dtype.names == ("part_name", "mask")
    assert person["parts"][0, 0]["part_name"][0] == "hair"
    assert person["parts"][0, 0]["mask"].shape == (10, 12)


@pytest.mark.parametrize("source", person_part.SOURCES)
def test_both_sources_give_the_same_masks(run, tmp_path, source):
    code, out, _ = run("pascal-person-part", "--from", source)
    assert code == 0
    assert f"  the masks are from {source}\n" in out
    assert "--set variant=pascal_person_part\n" in out
    for split, stems in {"train": ["2008_000008"], "val": ["2008_000002"]}.items():  # without the sheep's picture
        pairs = read_split(PASCAL_PERSON_PART, tmp_path / "data/VOC2010", split)
        assert pairs.title == f"PASCAL-Person-Part {split}"
        assert [image.stem for image, _ in pairs.pairs] == stems
        assert np.array_equal(pairs.read(0)[1], sets.columns(sets.PART_CLASSES[stems[0]]))
    assert sorted(path.stem for path in (tmp_path / MASKS).iterdir()) == ["2008_000002", "2008_000008"]


def test_the_parts_serve_where_nobody_has_the_ready_made_masks(run, server):
    server.files["pascal_person_part.zip"] = server.files["pascal_person_part.zip"][:-200]
    code, out, err = run("pascal-person-part")
    assert code == 0
    assert "taking another source instead" in err
    assert "the masks are from parts" in out
    assert "is from parts, not from ready-made" in error(run("pascal-person-part", "--from", "ready-made"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (sets.part_mat("2008_000008")[:200], "cannot be read as an annotation of PASCAL-Part"),
        (b"no file of Matlab", "cannot be read as an annotation of PASCAL-Part"),
        (sets.mat_file({"anno": 1}), "cannot be read as an annotation of PASCAL-Part"),
        (sets.mat_file({"LabelMap": sets.columns([2], np.uint16)}), "cannot be read as an annotation of PASCAL-Part"),
    ],
)
def test_annotations_that_are_not_right(run, tmp_path, content, text):
    assert run("pascal-person-part", "--from", "parts")[0] == 0
    (tmp_path / MASKS / "2008_000008.png").unlink()
    annotation = "data/pascal_part/Annotations_Part/2008_000008.mat"
    (tmp_path / annotation).write_bytes(content)
    assert f"{annotation}: {text}" in error(run("pascal-person-part"))
    assert not list((tmp_path / MASKS).glob(".*"))


def test_a_part_that_no_person_has(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sets.PARTS, "2008_000008", ["torso", "beak"])
    assert run("pascal-person-part", "--from", "parts")[0] == 0
    (tmp_path / "data/pascal_part/Annotations_Part/2008_000008.mat").write_bytes(sets.part_mat("2008_000008"))
    assert "as an annotation of PASCAL-Part ('beak')" in error(run("pascal-person-part"))


def test_ready_made_masks_that_are_not_right(run, tmp_path):
    assert run("pascal-person-part")[0] == 0
    (tmp_path / MASKS / "2008_000008.png").unlink()
    ready = "data/pascal_person_part/pascal_person_part/pascal_person_part_gt/2008_000008.png"
    (tmp_path / ready).write_bytes(sets.encoded(sets.columns([7])))
    assert f"{ready}: value 7 is neither a class of pascal_person_part (0..6)" in error(run("pascal-person-part"))


def test_it_goes_through_everything(run, tmp_path):
    assert run("pascal-person-part")[0] == 0
    metrics = goes_through(tmp_path / "data/VOC2010", PASCAL_PERSON_PART, tmp_path)
    assert list(metrics["per_class_iou"]) == list(PASCAL_PERSON_PART.classes)
