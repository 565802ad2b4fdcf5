"""PASCAL-Context: its classes beside other programs' lists, and masks from its label files and from the JSON list."""

import io
import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

from common.data.lists import card_by_name, read_split
from common.data.prepare import pascal_context
from common.data.sets.pascal_context import LABELS, PASCAL_CONTEXT
from tests.helpers import archive_sets as sets
from tests.helpers.preparing import error, goes_through

MASKS = "data/VOC2010/SegmentationClassContext"
ORIGIN = "data/VOC2010/SegmentationClassContext.origin"

# The numbers that zhanghang1989/detail-api, mmsegmentation (tools/convert_datasets/pascal_context.py) and others keep,
# in their order; they sort them, and a label's place becomes its class id.
KEPT = [
    0, 2, 259, 260, 415, 324, 9, 258, 144, 18, 19, 22, 23, 397, 25, 284, 158, 159, 416, 33, 162, 420, 454, 295, 296,
    427, 44, 45, 46, 308, 59, 440, 445, 31, 232, 65, 354, 424, 68, 326, 72, 458, 34, 207, 80, 355, 85, 347, 220, 349,
    360, 98, 187, 104, 105, 366, 189, 368, 113, 115,
]  # fmt: skip
# The names of mmsegmentation's first PascalContextDataset (mmseg/datasets/pascal_context.py, 2020), in the order of
# 59_labels.txt: VOC's classes first.
NAMES = """
background aeroplane bicycle bird boat bottle bus car cat chair cow table dog horse motorbike person pottedplant sheep
sofa train tvmonitor bag bed bench book building cabinet ceiling cloth computer cup door fence floor flower food grass
ground keyboard light mountain mouse curtain platform sign plate road rock shelves sidewalk sky snow bedclothes track
tree truck wall water window wood
"""


def test_the_classes_are_those_of_other_programs():
    assert card_by_name("pascal_context") is PASCAL_CONTEXT
    assert [0, *LABELS] == sorted(KEPT)
    assert sorted(PASCAL_CONTEXT.classes) == sorted(NAMES.split())
    assert list(PASCAL_CONTEXT.classes[1:]) == sorted(PASCAL_CONTEXT.classes[1:])  # labels.txt is in this order
    assert len(PASCAL_CONTEXT.classes) == len(set(PASCAL_CONTEXT.palette)) == 60
    assert PASCAL_CONTEXT.split_sizes == {"train": 4998, "val": 5105}
    ids = np.searchsorted(sorted(KEPT), [2, 284, 458])
    assert pascal_context.CLASS_IDS[[2, 284, 458]].tolist() == ids.tolist()
    assert not pascal_context.CLASS_IDS[[n for n in range(460) if n not in KEPT]].any()


@pytest.mark.parametrize("source", pascal_context.SOURCES)
def test_both_sources_give_the_same_masks(run, tmp_path, source):
    code, out, _ = run("pascal-context", "--from", source)
    assert code == 0
    assert f"  the masks are from {source}\n" in out
    assert "--set variant=pascal_context\n" in out
    for split, stems in sets.VOC2010.items():
        pairs = read_split(PASCAL_CONTEXT, tmp_path / "data/VOC2010", split)
        assert pairs.title == f"PASCAL-Context {split}"
        assert [image.stem for image, _ in pairs.pairs] == stems
        for index, stem in enumerate(stems):
            assert np.array_equal(pairs.read(index)[1], sets.columns(sets.CONTEXT_CLASSES[stem])), stem
    with Image.open(tmp_path / MASKS / "2008_000008.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[3:6] == [128, 0, 0]


def test_the_json_serves_where_nobody_has_the_labels(run, server, tmp_path):
    del server.files["pascal_context/trainval.tar.gz"]
    code, out, err = run("pascal-context")
    assert code == 0
    assert "trainval.tar.gz: cannot be fetched" in err
    assert "the masks are from json" in out
    assert (tmp_path / ORIGIN).read_text() == "json\n"
    server.files["pascal_context/trainval.tar.gz"] = sets.context_tar()
    assert "the masks are from json" in run("pascal-context")[1]  # what is there stays
    assert f"{MASKS}: is from json, not from labels; delete it" in error(run("pascal-context", "--from", "labels"))
    del server.files["pascal_context/trainval.tar.gz"], server.files["trainval_merged.json"]
    for file in (tmp_path / "data/pascal_context").iterdir():
        file.unlink()
    assert "trainval_merged.json: cannot be fetched" in error(run("pascal-context"))


def mat(**variables):
    file = io.BytesIO()
    scipy.io.savemat(file, variables)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (sets.mat_file({"LabelMap": sets.columns([2], np.uint16)})[:-40], "cannot be read as a label map of PASCAL-C"),
        (b"", "cannot be read as a label map of PASCAL-Context"),
        (sets.part_mat("2008_000008"), "cannot be read as a label map of PASCAL-Context"),
        (mat(LabelMap=np.full((3, 4), 460)), "is not a label map of PASCAL-Context, whose labels are whole numbers"),
        (mat(LabelMap=np.full((3, 4), 1.5)), "is not a label map of PASCAL-Context, whose labels are whole numbers"),
        (mat(LabelMap=np.zeros((3, 4, 3))), "is not a label map of PASCAL-Context"),
        (mat(LabelMap="sky"), "cannot be read as a label map"),
        (mat(LabelMap=np.zeros((4, 5))), "2008_000015.png is 5x4, its picture 12x10; delete " + MASKS),
    ],
)
def test_label_files_that_are_not_right(run, tmp_path, content, text):
    assert run("pascal-context")[0] == 0
    mask, labels = tmp_path / MASKS / "2008_000015.png", "data/pascal_context/labels/trainval/2008_000015.mat"
    mask.unlink()
    (tmp_path / labels).write_bytes(content)
    found = error(run("pascal-context"))
    assert text in found
    assert labels in found or mask.name in found
    assert not list((tmp_path / MASKS).glob(".*"))
    (tmp_path / labels).unlink()
    mask.unlink(missing_ok=True)
    assert f"{labels}: cannot be read as a label map of PASCAL-Context" in error(run("pascal-context"))


def test_labels_of_another_set(run, server, tmp_path):
    """An archive whose label 2 is no aeroplane would give wrong classes to every picture."""
    assert run("pascal-context")[0] == 0
    names = tmp_path / "data/pascal_context/labels/labels.txt"
    names.write_text(names.read_text().replace("2: aeroplane\n", "2: air plane\n").replace("25: bird\n", ""))
    text = error(run("pascal-context"))
    assert "labels.txt: are not PASCAL-Context's 459 labels: 2 is airplane instead of aeroplane, 25 is missing" in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: b"[]", "is no list of PASCAL in Detail"),
        (lambda data: b"{", "trainval_merged.json"),
        (lambda data: json.dumps(data | {"images": [{}]}).encode(), "is no list of PASCAL in Detail"),
        *(
            (lambda data, label=label: edited(data, category_id=label), "2008_000002.jpg has label")
            for label in (460, -1, 2.7, "2", None)
        ),
        *((lambda data, side=side: sized(data, side), "has the size (") for side in ("10", None, 10.0, -3, 10**9)),
        (lambda data: json.dumps(data | {"images": []}).encode(), "train has no pictures; complete it"),
        (
            lambda data: edited(data, segmentation={"size": [1, 1], "counts": "0"}),
            "has no readable region of label 427",
        ),
        (lambda data: edited(data, segmentation={"size": [10, 12], "counts": "\u1234"}), "has no readable region"),
        (lambda data: json.dumps(data | {"images": data["images"][1:]}).encode(), ""),
    ],
)
def test_lists_that_are_not_right(run, server, tmp_path, change, text):
    server.files["trainval_merged.json"] = change(json.loads(sets.detail_json()))
    result = run("pascal-context", "--from", "json")
    if text:
        assert text in error(result)
        assert not list((tmp_path / "data").rglob(".writing*"))
        assert not list((tmp_path / "data").rglob("SegmentationContext/*.txt"))
    else:  # a picture that the list leaves out is in no split
        assert "  train                1 pictures\n" in result[1]


def sized(data, height):
    data["images"][0]["height"] = height
    return json.dumps(data).encode()


def edited(data, **changes):
    first = min(data["annos_segmentation"], key=lambda a: (a["image_id"], a["category_id"]))
    first |= changes
    return json.dumps(data).encode()


def test_it_goes_through_everything(run, tmp_path):
    assert run("pascal-context")[0] == 0
    metrics = goes_through(tmp_path / "data/VOC2010", PASCAL_CONTEXT, tmp_path)
    assert list(metrics["per_class_iou"]) == list(PASCAL_CONTEXT.classes)
