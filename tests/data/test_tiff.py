"""TIFF pictures of many channels, large ones, and those that lie somewhere on the earth."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.data import tiff
from common.data.masks import read_image
from common.data.sets.voc import VOC2012
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


@pytest.mark.parametrize("kind", ({}, {"rowsperstrip": 7}, {"tile": (64, 48)}), ids=("one strip", "strips", "tiles"))
@pytest.mark.parametrize("sampled", (2**22, 130 * 90 // 11), ids=("every row", "every eleventh row"))
def test_levels_need_each_segment_once(tmp_path, numbers, kind, sampled, monkeypatch):
    monkeypatch.setattr(tiff, "SAMPLED", sampled)
    tifffile.imwrite(tmp_path / "a.tif", numbers, photometric="minisblack", planarconfig="contig", **kind)
    wanted, put = [], TiffPicture._put
    monkeypatch.setattr(TiffPicture, "_put", lambda self, *segment: (wanted.append(1), put(self, *segment)))
    with TiffPicture(tmp_path / "a.tif", (4, 3, 5)) as picture:
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            assert len(wanted) <= len(file.pages[0].dataoffsets)
        step = max(1, 130 * 90 // sampled)
        assert (picture._black, picture._white) == tuple(np.percentile(numbers[::step, :, [3, 2, 4]], (2, 98)))


def test_levels_leave_out_strips_between_the_sampled_rows(tmp_path, numbers, monkeypatch):
    monkeypatch.setattr(tiff, "SAMPLED", 130 * 90 // 11)
    tifffile.imwrite(tmp_path / "a.tif", numbers, photometric="minisblack", planarconfig="contig", rowsperstrip=1)
    wanted, put = [], TiffPicture._put
    monkeypatch.setattr(TiffPicture, "_put", lambda self, *segment: (wanted.append(1), put(self, *segment)))
    TiffPicture(tmp_path / "a.tif", (1, 2, 3)).__exit__()
    assert len(wanted) == len(range(0, 130, 11))


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
    Image.new("RGBA", (40, 50), (1, 2, 3, 4)).save(tmp_path / "clear.tif")
    Image.new("P", (40, 50), 7).save(tmp_path / "palette.tif")
    for name in ("grey.tif", "turned.tif", "clear.tif", "palette.tif"):
        with opened_picture(tmp_path / name, (), by_strips=True) as picture:
            assert isinstance(picture, np.ndarray), name


@pytest.mark.parametrize("compression", ("lzw", "jpeg", "zstd"))
def test_compressions_of_a_further_package(tmp_path, compression):
    pytest.importorskip("imagecodecs")
    smooth = np.add.outer(np.arange(60), np.arange(3 * 40)).reshape(60, 40, 3).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", smooth, photometric="rgb", compression=compression)
    away = 3 if compression == "jpeg" else 0
    np.testing.assert_allclose(read_image(tmp_path / "a.tif", (3, 2, 1)).astype(int), smooth[..., ::-1], atol=away)


def test_a_compression_whose_package_is_not_there(tmp_path, numbers, monkeypatch):
    def refuse(*_: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    tifffile.imwrite(tmp_path / "a.tif", numbers, photometric="minisblack", planarconfig="contig")
    monkeypatch.setattr(TiffPicture, "_segments", refuse)
    with pytest.raises(UserError, match="a.tif: its compression needs imagecodecs; make setup TIFF=1 installs it"):
        read_image(tmp_path / "a.tif", (3, 2, 1))


@pytest.mark.parametrize("turn", range(1, 9))
def test_chosen_channels_are_upright(tmp_path, turn):
    pixels = np.random.RandomState(2).randint(0, 256, (5, 4, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={274: turn})
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", (1, 2, 3)), read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize("kind", (np.uint8, np.uint16))
def test_white_may_be_nothing(tmp_path, kind):
    grey = np.linspace(0, np.iinfo(kind).max, 300).astype(kind).reshape(20, 15)
    tifffile.imwrite(tmp_path / "black.tif", grey)
    tifffile.imwrite(tmp_path / "white.tif", np.iinfo(kind).max - grey, photometric="miniswhite")
    for channels in ((), (1, 1, 1)):
        found = [read_image(tmp_path / name, channels).astype(int) for name in ("black.tif", "white.tif")]
        np.testing.assert_allclose(*found, atol=1)


def test_what_pillow_does_not_know_is_read_all_the_same(tmp_path, numbers):
    colours = np.random.RandomState(3).rand(9, 8, 3).astype(np.float32)
    tifffile.imwrite(tmp_path / "floats.tif", colours, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "floats.tif"), read_image(tmp_path / "floats.tif", (1, 2, 3)))
    tifffile.imwrite(tmp_path / "five.tif", numbers, photometric="minisblack", planarconfig="contig")
    with pytest.raises(UserError, match=r"five.tif: has 5 channels; choose .* by --set channels=1,2,3"):
        read_image(tmp_path / "five.tif")


def test_inks_and_palettes_have_no_channels(tmp_path):
    picture = Image.new("RGB", (4, 4), (1, 2, 3))
    picture.convert("CMYK").save(tmp_path / "SEPARATED.tif")
    picture.quantize(2).save(tmp_path / "PALETTE.tif")
    for name in ("SEPARATED", "PALETTE"):
        with pytest.raises(UserError, match=f"colours of the kind {name}, and not grey or RGB; leave channels= out"):
            read_image(tmp_path / f"{name}.tif", (1, 1, 1))


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


@pytest.mark.parametrize("turn", range(1, 9))
def test_labels_of_a_turned_picture_lie_as_it_does(tmp_path, turn):
    pixels = np.random.RandomState(4).randint(0, 256, (6, 5, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=[*GEO, (274, "H", 1, turn, True)])
    upright = read_image(tmp_path / "a.tif")
    prediction.write_prediction(tmp_path / "out", tmp_path / "a.tif", upright, upright[..., 0] % 21, VOC2012)
    with tifffile.TiffFile(tmp_path / "out/a_labels.tif") as file:
        np.testing.assert_array_equal(file.pages[0].asarray(), pixels[..., 0] % 21)
        assert file.pages[0].tags.valueof(274, 1) == turn
    assert [tag[3] for tag in place_of(tmp_path / "out/a_labels.tif")] == [tag[3] for tag in GEO]


def test_channels_are_three():
    with pytest.raises(UserError, match="channels=1,2: needs three, such as 4,3,2, or none"):
        Recipe(variant="x", channels=(1, 2))
    with pytest.raises(UserError, match="channels=0,1,2: must be from 1 to"):
        Recipe(variant="x", channels=(0, 1, 2))
