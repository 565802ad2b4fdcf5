"""What predict writes beside label maps: ids, outlines that make the same label map again, cut-outs, some classes."""

import json

import numpy as np
import pytest
from PIL import Image

from common.data.lists import card_by_name
from common.data.masks import read_mask
from common.data.polygons import contours
from common.data.polygons.__main__ import main as polygons
from common.data.polygons.annotations import read_annotations
from common.data.sets.cityscapes import CITYSCAPES
from common.data.sets.voc import VOC2012
from common.errors import UserError
from common.inference.outputs import Contours, Cutout, Kept, LabelIds
from common.inference.prediction import classes_line, predict
from tests.helpers.tiny import run

NAMES = ",".join(VOC2012.classes[1:])


class Fixed:
    """A segmenter that gives the same label map for every picture."""

    def __init__(self, label):
        from common.recipe.recipe import Recipe

        self.recipe, self._label = Recipe(variant="x"), label

    def label(self, image):
        return self._label


def blobs(seed, classes, size=(60, 80)):
    """A label map of nested regions, holes, single pixels, and pixels that touch by a corner alone."""
    rng = np.random.RandomState(seed)
    label = np.zeros(size, np.uint8)
    for _ in range(40):
        (y, x), (h, w) = rng.randint(0, size), rng.randint(1, 30, 2)
        label[y : y + h, x : x + w] = rng.randint(classes)
    label[rng.rand(*size) < 0.05] = rng.randint(classes)
    return label


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "pictures" / "a b.jpg"
    path.parent.mkdir()
    Image.new("RGB", (80, 60), (9, 90, 200)).save(path)
    return path


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["labelme", "coco"])
def test_outlines_make_the_same_label_map_again(tmp_path, picture, seed, kind):
    label, out = blobs(seed, 6), tmp_path / "out"
    assert not predict(Fixed(label), [picture], VOC2012, out, outputs=[Contours(VOC2012)], quiet=True)
    arguments = ["--images", str(picture.parent), "--classes", NAMES, "--out", str(tmp_path / "again"), "--quiet"]
    assert polygons([str(out / kind), *arguments]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "again" / "masks" / "a b.png")), label)


@pytest.mark.parametrize("card", [VOC2012, CITYSCAPES], ids=["VOC", "Cityscapes"])
@pytest.mark.parametrize("kind", ["labelme", "coco"])
def test_ids_and_ignored_pixels_come_back_without_being_named(tmp_path, picture, card, kind):
    """Three classes of many are drawn; the folder has the name of a known data set."""
    label, out = blobs(3, 3) * 5, tmp_path / "out"
    label[40:50, 10:30] = 255
    predict(Fixed(label), [picture], card, out, outputs=[Contours(card)], quiet=True)
    made = tmp_path / "coco"
    assert polygons([str(out / kind), "--images", str(picture.parent), "--out", str(made), "--quiet"]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(made / "masks" / "a b.png")), label)
    again = card_by_name(str(made))
    assert (again.classes, again.name) == (card.classes, "own_coco")


def test_outlines_of_other_pictures_are_not_forgotten(tmp_path, picture):
    other, out = picture.with_name("c.jpg"), tmp_path / "out"
    Image.open(picture).save(other)
    predict(Fixed(blobs(0, 3)), [picture, other], VOC2012, out, outputs=[Contours(VOC2012)], quiet=True)
    with pytest.raises(UserError, match=r"instances\.json lists other pictures, such as a b\.jpg; choose"):
        Contours(VOC2012).refuse(out, [other])


def test_outlines_by_hand():
    label = np.zeros((5, 6), np.uint8)
    label[1:4, 1:5] = 2
    label[2, 2] = 0
    label[2, 3] = 1
    ring, *inner = contours.outlines(label, nothing=0)
    assert ring.points.tolist() == [[1, 1], [5, 1], [5, 4], [1, 4]]
    assert (ring.class_id, ring.area, ring.box) == (2, 12, (1, 1, 4, 3))
    assert sorted(one.class_id for one in inner) == [0, 1], "the hole is painted as background"
    assert not contours.outlines(np.zeros((3, 3), np.uint8), nothing=0)


def test_outlines_of_a_data_set_without_background(tmp_path, picture):
    label, out = blobs(5, 5), tmp_path / "out"
    kept = Kept(CITYSCAPES, ("road", "wall"))
    predict(Fixed(label), [picture], CITYSCAPES, out, kept=kept, outputs=[Contours(CITYSCAPES)], quiet=True)
    content = json.loads((out / "labelme" / "a b.json").read_text())
    assert {shape["label"] for shape in content["shapes"]} <= {"road", "wall", "ignore"}
    assert content["imagePath"] == "../../pictures/a b.jpg"
    with Image.open(out / "a b.png") as written:
        np.testing.assert_array_equal(np.asarray(written), np.where(np.isin(label, (0, 3)), label, 255))


def test_what_is_said_of_some_classes_is_of_these(tmp_path, picture):
    label, said = blobs(5, 5), []
    then = lambda path, _, label: said.append(classes_line(path, label, CITYSCAPES))  # noqa: E731
    predict(Fixed(label), [picture], CITYSCAPES, tmp_path, kept=Kept(CITYSCAPES, ("wall",)), then=then, quiet=True)
    assert said == [f"a b.jpg: wall {(label == 3).mean():.0%}"]


def test_corrections_are_not_overwritten(tmp_path, picture):
    out = tmp_path / "out"
    predict(Fixed(blobs(0, 3)), [picture], VOC2012, out, outputs=[Contours(VOC2012)], quiet=True)
    Contours(VOC2012).refuse(out, [picture])
    for name, key in (("labelme/a b.json", "shapes"), ("coco/instances.json", "annotations")):
        written = (out / name).read_text()
        corrected = json.loads(written)
        del corrected[key][0]
        for text in (json.dumps(corrected), '{"shapes": []}', "[]", "{"):
            (out / name).write_text(text)
            with pytest.raises(UserError, match=f"--save-contours: .*{name} is there, and may hold corrections"):
                Contours(VOC2012).refuse(out, [picture])
        (out / name).write_text(written)


def test_without_a_picture_nothing_is_written(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"x")
    outputs = [Contours(VOC2012)]
    assert predict(Fixed(None), [tmp_path / "broken.png"], VOC2012, tmp_path / "out", outputs=outputs, quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_label_map_of_the_pictures_name_is_no_picture(tmp_path):
    """coco/instances.json names a.png, and beside coco lies the label map a.png."""
    Image.new("RGB", (80, 60)).save(tmp_path / "a.png")
    predict(
        Fixed(blobs(0, 3)), [tmp_path / "a.png"], VOC2012, tmp_path / "out", outputs=[Contours(VOC2012)], quiet=True
    )
    with pytest.raises(UserError, match=r"1 of its pictures are not there, name their folder, --images: a\.png"):
        read_annotations([tmp_path / "out/coco"], quiet=True)
    (found,), _ = read_annotations([tmp_path / "out/coco"], tmp_path, quiet=True)
    assert found.image == tmp_path / "a.png"


def test_ids_of_the_cityscapes_server(tmp_path, picture):
    label = np.arange(60 * 80, dtype=np.uint8).reshape(60, 80) % 19
    predict(Fixed(label), [picture], CITYSCAPES, tmp_path, outputs=[LabelIds(CITYSCAPES)], quiet=True)
    path = tmp_path / "a b_labelIds.png"
    assert np.asarray(Image.open(path))[0, :4].tolist() == [7, 8, 11, 12]
    np.testing.assert_array_equal(read_mask(path, CITYSCAPES), label)
    with pytest.raises(UserError, match="--label-ids: VOC2012 has no ids"):
        LabelIds(VOC2012)


def test_cut_out(tmp_path, picture):
    label = np.zeros((60, 80), np.uint8)
    label[10:20, 30:50], label[30:40, 5:9] = 15, 8
    kept = Kept(VOC2012, ("person",))
    predict(Fixed(label), [picture], VOC2012, tmp_path, kept=kept, outputs=[Cutout(VOC2012)], quiet=True)
    with Image.open(tmp_path / "a b_cutout.png") as cut, Image.open(picture) as whole:
        np.testing.assert_array_equal(np.asarray(cut)[..., 3] == 255, label == 15)
        np.testing.assert_array_equal(np.asarray(cut)[..., :3], np.asarray(whole))


def test_a_class_that_is_none():
    with pytest.raises(UserError, match="--classes persn: is no class of .*; did you mean person"):
        Kept(VOC2012, ("cat", "persn"))


def test_command(tmp_path, picture, capsys):
    """All of it by the command line, on a network of 21 classes."""
    from tests.inference.test_tiles import tiny_values

    np.savez(tmp_path / "w.npz", **tiny_values())
    command = ["predict", picture, "--checkpoint", tmp_path / "w.npz", "--out", tmp_path / "out", "--quiet"]
    every = ["--save-contours", "--background", "transparent", "--classes", "person, cat"]
    assert run(*command, *every) == 0
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert names == {"a b.png", "a b_overlay.png", "a b_cutout.png", "labelme/a b.json", "coco/instances.json"}
    assert run(*command, *every) == 0, "once more"
    assert run(*command, "--label-ids") == 2
    assert run(*command, "--classes", "persn") == 2
    assert run(*command, "--classes", "cat,") == 2
    assert "Traceback" not in capsys.readouterr().err
