"""Pictures as people have them: levels, EXIF turns, endings, and files that no memory holds."""

import io
import struct
import subprocess
import sys
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from common.data import levels, masks
from common.data.check import survey
from common.data.masks import Encoded, picture_size, read_image, read_mask
from common.data.sets.voc import VOC2012
from common.errors import UserError
from tests.conftest import ROOT

NODATA_TAG = 42113


def grey_of(path):
    image = read_image(path)
    assert (image == image[..., :1]).all()
    return image[..., 0]


def stretched(values, low, high):
    return np.clip(np.rint((values - low) / (high - low) * 255), 0, 255).astype(np.uint8)


@pytest.fixture
def ramp():
    """2500 numbers of a scan, from -1024 to 3000."""
    return np.linspace(-1024, 3000, 2500).reshape(50, 50)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_numbers_beyond_8_bit_are_stretched_by_their_percentiles(tmp_path, ramp, kind):
    values = ramp.astype(kind)
    path = tmp_path / "a.tif"
    assert cv2.imwrite(str(path), values)
    low, high = np.percentile(values, (2, 98))
    assert np.array_equal(grey_of(path), stretched(values.astype(float), low, high))
    assert len(np.unique(grey_of(path))) > 240
    assert survey._examine((survey.examine_picture, path), VOC2012).stretched == pytest.approx((low, high))


def test_nan_infinity_and_nodata_are_black_and_count_for_nothing(tmp_path, ramp):
    values = ramp.astype(np.float32)
    low, high = np.percentile(values[5:], (2, 98))
    values[0], values[1], values[2], values[3] = np.nan, np.inf, -9999, np.finfo(np.float32).min
    values[4] = 77777
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={NODATA_TAG: "77777"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grey = grey_of(tmp_path / "a.tif")
    assert not grey[:5].any()
    assert np.array_equal(grey[5:], stretched(values[5:].astype(float), low, high))


def test_levels_that_are_a_pictures_own_are_kept(tmp_path):
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    unit = grey / 199
    unit[0, 0] = np.nan
    Image.fromarray(unit.astype(np.float32)).save(tmp_path / "unit.tif")
    expected = np.rint(grey / np.float32(199) * 255)
    assert np.array_equal(grey_of(tmp_path / "unit.tif"), expected)
    for kind in (np.int32, np.float32):
        Image.fromarray(grey.astype(kind)).save(tmp_path / "a.tif")
        assert np.array_equal(grey_of(tmp_path / "a.tif"), grey)
    wide = grey.astype(np.uint16) * 3  # dark, and it stays so
    for name in ("wide.png", "wide.tif"):
        Image.fromarray(wide).save(tmp_path / name)
        assert np.array_equal(grey_of(tmp_path / name), np.rint(wide / 65535 * 255))
    (tmp_path / "wide.pgm").write_bytes(b"P5 20 10 65535\n" + wide.astype(">u2").tobytes())
    assert np.array_equal(grey_of(tmp_path / "wide.pgm"), np.rint(wide / 65535 * 255))


def with_sample_format(path, stored, wanted):
    """Overwrite the tag of a TIFF that says what its numbers are."""
    old, new = (struct.pack("<HHIHH", 339, 3, 1, value, 0) for value in (stored, wanted))
    assert path.read_bytes().count(old) == 1
    path.write_bytes(path.read_bytes().replace(old, new))


def test_32_bit_without_a_sign(tmp_path):
    values = np.linspace(0, 2**32 - 1, 400).astype(np.uint32).reshape(20, 20)
    Image.fromarray(values.view(np.int32)).save(tmp_path / "a.tif")
    with_sample_format(tmp_path / "a.tif", 2, 1)
    assert np.array_equal(grey_of(tmp_path / "a.tif"), stretched(values.astype(float), *np.percentile(values, (2, 98))))


def test_nearly_one_number_everywhere(tmp_path):
    values = np.full((20, 20), -5, np.int32)
    values[3, 3] = 700
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert grey_of(tmp_path / "a.tif").sum() == 255


@pytest.mark.parametrize("value, words", [
    (np.nan, "holds no number"), (-9999, "holds no number"), (1e30, "holds one number everywhere, 1e"),
    (0, "holds one number everywhere, 0"),
])  # fmt: skip
def test_pictures_in_which_nothing_can_be_seen(tmp_path, value, words):
    Image.new("F", (8, 6), value).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=rf"a\.tif: {words}"):
        read_image(tmp_path / "a.tif")


def test_complex_numbers_are_no_picture(tmp_path):
    Image.new("F", (8, 6), 2.0).save(tmp_path / "a.tif")
    with_sample_format(tmp_path / "a.tif", 3, 6)
    with pytest.raises(UserError, match=r"a\.tif: cannot be read as a TIFF \("):
        read_image(tmp_path / "a.tif")


def entry(tag, kind, count, value):
    return struct.pack("<HHI", tag, kind, count) + value


def exif(turn, *others, count=None):
    """An EXIF block: the turn, then entries of 12 bytes."""
    head = b"II*\0" + struct.pack("<IH", 8, count or 1 + len(others))
    return head + entry(0x112, 3, 1, struct.pack("<HH", turn, 0)) + b"".join(others) + bytes(4)


MALFORMED = {
    "text as a fraction": [entry(0x11A, 2, 3, b"ab\0\0")],
    "text as a width": [entry(0x100, 2, 4, b"abc\0")],
    "an offset far away": [entry(0x11A, 5, 1, b"\xff\xff\0\0")],
    "GPS far away": [entry(0x8825, 4, 1, b"\xf0\xff\xff\xff")],
    "a pointer of text": [entry(0x8769, 2, 4, b"abc\0")],
    "a pointer before the file": [entry(0x8769, 6, 1, b"\xff\xff\xff\xff")],
    "XMP of numbers": [entry(0x2BC, 6, 2, b"\xff\xff\xff\xff")],
    "an unknown kind": [entry(0x9999, 77, 1, b"abcd")],
}
BLOCKS = {name: lambda turn, entries=entries: exif(turn, *entries) for name, entries in MALFORMED.items()} | {
    "sound": exif, "more entries than there are": lambda turn: exif(turn, count=40)
}  # fmt: skip


def tiff(pixels, block):
    """A TIFF that holds the entries of the EXIF block among its own."""
    height, width = pixels.shape[:2]
    own = {256: width, 257: height, 258: 8, 259: 1, 262: 2, 273: 8, 277: 3, 278: height, 279: pixels.size}
    entries = [entry(tag, 4, 1, struct.pack("<I", value)) for tag, value in own.items()]
    entries += [block[at : at + 12] for at in range(10, len(block) - 4, 12)]
    entries = {each[:2]: each for each in reversed(entries)}  # its own before the block's
    ordered = sorted(entries.values(), key=lambda each: struct.unpack("<H", each[:2]))
    head = b"II*\0" + struct.pack("<I", 8 + pixels.size)
    return head + pixels.tobytes() + struct.pack("<H", len(ordered)) + b"".join(ordered) + bytes(4)


def encoded(pixels, form, block):
    buffer = io.BytesIO()
    if form == "TIFF":
        return tiff(pixels, block)
    Image.fromarray(pixels).save(buffer, form, quality=95)
    data = buffer.getvalue()
    if form == "JPEG":
        block = b"Exif\0\0" + block
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    chunk = b"eXIf" + block
    return data[:33] + struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


@pytest.fixture(scope="module")
def blocks_of_colour():
    return np.kron(np.random.RandomState(0).randint(0, 256, (5, 7, 3)), np.ones((8, 8, 1))).astype(np.uint8)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_pictures_are_turned_as_opencv_turns_them(tmp_path, blocks_of_colour, form, block):
    for turn in range(1, 9):
        path = tmp_path / f"a.{form.lower()}"
        path.write_bytes(encoded(blocks_of_colour, form, BLOCKS[block](turn)))
        expected = cv2.imread(str(path))[..., ::-1]
        image = read_image(path)
        assert image.shape == expected.shape
        assert picture_size(path) == image.shape[:2]
        assert np.abs(image.astype(int) - expected).max() < 20  # two JPEG decoders
        seen = survey._examine((survey.examine_picture, path), VOC2012)
        assert (seen.size, seen.stored, seen.orientation) == (image.shape[1::-1], (56, 40), turn)


def test_a_block_that_is_none_turns_nothing(tmp_path, blocks_of_colour):
    for block in (b"XX*\0" + exif(6)[4:], exif(6)[:16], exif(0), exif(9)):
        (tmp_path / "a.png").write_bytes(encoded(blocks_of_colour, "PNG", block))
        assert np.array_equal(read_image(tmp_path / "a.png"), blocks_of_colour)


def test_no_warning_of_pillow_reaches_a_person(tmp_path, blocks_of_colour):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(blocks_of_colour, "JPEG", BLOCKS["more entries than there are"](6)))
    code = f"from common.data.masks import read_image; from pathlib import Path; read_image(Path({str(path)!r}))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stderr == ""


def test_no_word_of_libtiff_reaches_a_person(tmp_path, capfd):
    path = tmp_path / "a.tif"
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (60, 80, 3), np.uint8)).save(
        path, compression="tiff_deflate"
    )
    whole = bytearray(path.read_bytes())
    whole[200:260] = bytes(60)
    path.write_bytes(whole)
    with pytest.raises(UserError):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_png_with_megabytes_of_text_or_of_a_profile(tmp_path, blocks_of_colour):
    text = PngImagePlugin.PngInfo()
    text.add_text("scene", "x" * (2 << 20), zip=True)
    for extra in ({"pnginfo": text}, {"icc_profile": bytes(2 << 20)}):
        Image.fromarray(blocks_of_colour).save(tmp_path / "a.png", **extra)
        assert np.array_equal(read_image(tmp_path / "a.png"), blocks_of_colour)


def test_a_head_that_claims_more_than_the_file_can_hold():
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    file = Encoded("a.png", b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b""))
    for read in (read_image, picture_size, lambda f: read_mask(f, VOC2012)):
        with pytest.raises(UserError, match=r"^a\.png: cannot be a picture of 100000x100000 in \d+ bytes"):
            read(file)


def test_a_picture_larger_than_the_memory(tmp_path, monkeypatch, blocks_of_colour):
    Image.fromarray(blocks_of_colour).save(tmp_path / "a.png")

    def load(self):
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(UserError, match=r"a\.png: 56x40 pixels need more memory than there is; make the picture"):
        read_image(tmp_path / "a.png")


def test_masks_with_the_id_in_all_channels(tmp_path):
    ids = np.array([[0, 1, 2], [20, 255, 1]], np.uint8)
    path = tmp_path / "m.png"
    opaque = np.full_like(ids, 255)
    for channels in ([ids] * 3, [*[ids] * 3, opaque], [ids, opaque]):
        Image.fromarray(np.dstack(channels)).save(path)
        assert read_mask(path, VOC2012).tolist() == ids.tolist()
    Image.fromarray(np.dstack([ids + np.uint8(30)] * 3)).save(path)
    with pytest.raises(UserError, match=r"m\.png: value 30 is neither a class of voc2012"):
        read_mask(path, VOC2012)
    shown = np.dstack([[[0, 128, 255]]] * 3).astype(np.uint8)  # all of them colours of the palette
    Image.fromarray(shown).save(path)
    assert read_mask(path, VOC2012).tolist() == [[0, 7, 255]]


def test_masks_of_16_bit_in_three_channels_are_refused(tmp_path):
    """Pillow gives the upper byte of each, in which class ids are all 0."""
    assert cv2.imwrite(str(tmp_path / "m.png"), np.full((4, 4, 3), 3, np.uint16))
    with pytest.raises(UserError, match=r"m\.png: holds 16 bit in several channels"):
        read_mask(tmp_path / "m.png", VOC2012)
    assert "several channels" in survey._examine((survey.examine_mask, tmp_path / "m.png"), VOC2012).problem


def test_every_ending_is_one_that_pillow_knows():
    known = {*Image.registered_extensions(), ".jfif"}
    assert set(masks.SUFFIXES) <= known
    assert levels.PERCENTILES == (2, 98)
