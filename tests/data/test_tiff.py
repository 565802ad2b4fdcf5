"""TIFF pictures of many channels, large ones, and those that lie somewhere on the earth."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.data.masks import read_image
from common.data.tiff import TiffPicture, place_of, write_labels
from common.errors import UserError
from common.inference import prediction
from common.inference.prediction import opened_picture
from common.recipe.recipe import Recipe

KINDS = {
    "one strip": {},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (64, 48)},
    "compressed": {"compression": "zlib", "predictor": True},
    "planes": {"planarconfig": "separate", "rowsperstrip": 50},
}
GEO = [(33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 400000.0, 5000000.0, 0.0), True),
       (34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True)]  # fmt: skip


@pytest.fixture
def numbers():
    return np.random.RandomState(0).randint(0, 4096, (130, 90, 5)).astype(np.uint16)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_channels_are_read_row_by_row(tmp_path, numbers, kind):
    kind = {"planarconfig": "contig", **kind}
    stored = numbers if kind["planarconfig"] == "contig" else numbers.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", **kind)
    with TiffPicture(tmp_path / "a.tif", (4, 3, 5)) as picture:
        whole = np.asarray(picture)
        np.testing.assert_array_equal(picture[33:101, 5:60], whole[33:101, 5:60])
    black, white = np.percentile(numbers[..., [3, 2, 4]], (2, 98))
    expected = np.clip((numbers[..., [3, 2, 4]] - black) * 255 / (white - black), 0, 255)
    np.testing.assert_allclose(whole, expected, atol=0.51)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", (4, 3, 5)), whole)


def test_a_large_picture_is_what_pillow_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "LARGE", 100)
    pixels = np.random.RandomState(1).randint(0, 256, (50, 40, 3), np.uint8)
    for kind in KINDS.values():
        stored = pixels.transpose(2, 0, 1) if "planarconfig" in kind else pixels
        tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **kind)
        with opened_picture(tmp_path / "a.tif", (), by_strips=True) as picture:
            assert isinstance(picture, TiffPicture)
            np.testing.assert_array_equal(picture[10:30, 3:9], read_image(tmp_path / "a.tif")[10:30, 3:9])


def test_what_pillow_reads_otherwise_is_left_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "LARGE", 100)
    Image.new("L", (40, 50), 7).save(tmp_path / "grey.tif")
    Image.new("RGB", (40, 50), (1, 2, 3)).save(tmp_path / "turned.tif", exif=Image.Exif(), tiffinfo={274: 6})
    for name in ("grey.tif", "turned.tif"):
        with opened_picture(tmp_path / name, (), by_strips=True) as picture:
            assert isinstance(picture, np.ndarray), name


def test_channels_of_other_pictures(tmp_path):
    pixels = np.arange(4 * 6, dtype=np.uint8).reshape(2, 3, 4)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (4, 1, 2)), pixels[..., [3, 0, 1]])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("five.tif", r"five.tif: has 5 channels, and channels=6,1,1 asks for more"),
        ("rgb.png", r"rgb.png: has 3 channels, and channels=6,1,1 asks for others"),
        ("broken.tif", r"broken.tif: cannot be read as a TIFF \("),
        ("cut.tif", r"cut.tif: cannot be read as a TIFF \("),
        ("none.tif", r"none.tif: .*[Nn]o such file"),
    ],
)
def test_channels_that_are_not_there(tmp_path, numbers, name, message):
    tifffile.imwrite(tmp_path / "five.tif", numbers, photometric="minisblack", planarconfig="contig")
    Image.new("RGB", (3, 3)).save(tmp_path / "rgb.png")
    (tmp_path / "broken.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    (tmp_path / "cut.tif").write_bytes((tmp_path / "five.tif").read_bytes()[:5000])
    with pytest.raises(UserError, match=message):
        read_image(tmp_path / name, (6, 1, 1) if "cut" not in name else (1, 1, 1))


def test_a_head_that_claims_more_than_the_file_holds(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        for name in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[name].overwrite(60000)
    with pytest.raises(UserError, match="cannot be a picture of 60000x60000 in"):
        read_image(tmp_path / "a.tif", (1, 2, 3))


def test_a_label_map_lies_where_its_picture_lies(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 5, 3), np.uint8), photometric="rgb", extratags=GEO)
    label = np.arange(30, dtype=np.uint8).reshape(6, 5)
    place, colours = place_of(tmp_path / "a.tif"), np.arange(768, dtype=np.uint16).astype(np.uint8).reshape(256, 3)
    write_labels(tmp_path / "l.tif", label, colours, place)
    assert [tag[3] for tag in place_of(tmp_path / "l.tif")] == [tag[3] for tag in GEO]
    with Image.open(tmp_path / "l.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), label)
        assert image.getpalette("RGB")[:6] == [0, 1, 2, 3, 4, 5]
    Image.new("RGB", (3, 3)).save(tmp_path / "b.tif")
    assert not place_of(tmp_path / "b.tif")
    assert not place_of(tmp_path / "none.tif")


def test_channels_are_three():
    with pytest.raises(UserError, match="channels=1,2: needs three, such as 4,3,2, or none"):
        Recipe(variant="x", channels=(1, 2))
    with pytest.raises(UserError, match="channels=0,1,2: must be from 1 to"):
        Recipe(variant="x", channels=(0, 1, 2))
