import hashlib
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from common.data import sample
from common.data.card import DatasetCard
from common.data.check import survey
from common.data.check.faults import find_faults
from common.data.lists import card_by_name, read_split
from common.data.masks import read_image, read_mask, read_pair, save_label_png
from common.data.sets.cityscapes import CITYSCAPES
from common.data.sets.voc import VOC2012, voc_palette
from common.errors import UserError
from common.tf1 import tf
from common.training.batches import TrainingBatches, augment
from common.training.order import example_order
from tests.bench import parts
from tests.helpers.tiny import SMALL


@pytest.fixture
def voc(tmp_path):
    """A VOC folder with two pictures of 8x6."""
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (8, 6), "red").save(tmp_path / f"JPEGImages/{name}.jpg")
        save_label_png(tmp_path / f"SegmentationClassAug/{name}.png", np.full((6, 8), 15, np.uint8), VOC2012.palette)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("a\nb\n")
    return tmp_path


def test_masks_of_a_kind_that_is_none(tmp_path):
    """Fractions are no class ids, and a film is not its first frame; the check says the same."""
    frames = [Image.fromarray((np.arange(48).reshape(6, 8) % number).astype(np.uint8)) for number in (2, 3)]
    for name in ("film.gif", "film.png", "film.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    Image.new("F", (8, 6), 1.5).save(tmp_path / "float.tif")
    for path in sorted(tmp_path.iterdir()):
        words = "is a film of 2 frames; a mask is one picture" if path.stem == "film" else "holds fractions"
        with pytest.raises(UserError, match=rf"{path.name}: {words}"):
            read_mask(path, VOC2012)
        assert survey._examine((survey.examine_mask, path), VOC2012).problem.startswith(words)
    for name in ("one.gif", "one.png", "one.tif"):
        frames[0].save(tmp_path / name)
        assert read_mask(tmp_path / name, VOC2012).max() == 1


def test_letters_with_accents_in_another_form(voc):
    for folder, ending in (("JPEGImages", "jpg"), ("SegmentationClassAug", "png")):
        (voc / f"{folder}/a.{ending}").rename(voc / f"{folder}/e\u0301te.{ending}")
    (voc / "ImageSets/Segmentation/val.txt").write_text("\u00e9te\nb\n", encoding="utf-8")
    with pytest.raises(UserError, match="2 files .* are missing: .*; letters with accents are stored in another form"):
        read_split(VOC2012, voc, "val")
    faults = find_faults(survey.survey_folder(VOC2012, voc))
    assert "there is e\u0301te.jpg" in next(f.detail for f in faults if f.kind.name == "no-picture")


def test_the_pictures_of_the_bench_weigh_what_vocs_do(tmp_path):
    parts._voc_sized(tmp_path / "set")
    sizes = [path.stat().st_size / 1000 for path in (tmp_path / "set/JPEGImages").iterdir()]
    assert 85 < sum(sizes) / len(sizes) < 105
    with Image.open(next((tmp_path / "set/JPEGImages").iterdir())) as picture:
        assert picture.size == (500, 375)


def test_palettes():
    assert voc_palette(21)[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert voc_palette(21)[20] == (0, 64, 128)
    assert voc_palette(256)[255] == (224, 224, 192)
    assert len(CITYSCAPES.classes) == 19
    assert CITYSCAPES.palette[13] == (0, 0, 142)
    with pytest.raises(ValueError, match="1 colours for 2"):
        DatasetCard("x", "X", ("a", "b"), ((0, 0, 0),))
    with pytest.raises(UserError, match="there are voc2012, cityscapes"):
        card_by_name("voc")


def test_ids_and_originals_lines(voc):
    assert [p[0].name for p in read_split(VOC2012, voc, "val").pairs] == ["a.jpg", "b.jpg"]
    # The seed's own lists: leading slashes; CRLF, a byte order mark and blank lines from other machines.
    line = "/JPEGImages/b.jpg /SegmentationClassAug/b.png"
    (voc / "mine.txt").write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n\r\na\r\n".encode())
    split = read_split(VOC2012, voc, str(voc / "mine.txt"))
    assert [p[1].name for p in split.pairs] == ["b.png", "a.png"]
    assert split.name == "mine"
    assert not split.is_sample
    assert split.title == "VOC2012 mine"


def test_masks_fall_back_to_segmentation_class(voc):
    (voc / "SegmentationClassAug").rename(voc / "SegmentationClass")
    assert read_split(VOC2012, voc, "val").pairs[0][1].parent.name == "SegmentationClass"


def test_bad_lists_are_one_sentence(voc):
    lists = voc / "ImageSets/Segmentation"
    (lists / "empty.txt").write_text("\n")
    (lists / "wide.txt").write_text("a b c\n")
    (lists / "bare.txt").write_text("/JPEGImages/a.jpg\n")
    (lists / "gone.txt").write_text("a\nx\ny\n")
    for split, message in [
        ("empty", "split 'empty' is empty"),
        ("wide", "line 1 is neither"),
        ("bare", "line 1 names no mask: /JPEGImages/a.jpg"),
        ("gone", "4 files of split 'gone' are missing: .*x.jpg, .*x.png, .*y.jpg, .*y.png"),
        ("other", "no split 'other' of VOC2012; looked for ImageSets/Segmentation/other.txt"),
    ]:
        with pytest.raises(UserError, match=message):
            read_split(VOC2012, voc, split)
    with pytest.raises(UserError, match="no such folder"):
        read_split(VOC2012, voc / "nowhere", "val")


def test_cityscapes_folders_and_label_ids(tmp_path):
    for kind, split, city in (("gtFine", "train", "aachen"), ("gtCoarse", "train_extra", "ulm")):
        image = tmp_path / f"leftImg8bit/{split}/{city}/{city}_0_0_leftImg8bit.png"
        mask = tmp_path / f"{kind}/{split}/{city}/{city}_0_0_{kind}_labelIds.png"
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 1)).save(image)
        Image.fromarray(np.array([[7, 26, 0]], np.uint8)).save(mask)
    split = read_split(CITYSCAPES, tmp_path, "train")
    assert [p[0].parent.name for p in split.pairs] == ["aachen", "ulm"]
    # road and car by label id, "unlabelled" ignored
    assert read_mask(split.pairs[0][1], CITYSCAPES).tolist() == [[0, 13, 255]]
    # Train ids, once made, are preferred.
    made = split.pairs[0][1].with_name("aachen_0_0_gtFine_labelTrainIds.png")
    Image.fromarray(np.array([[18, 255, 0]], np.uint8)).save(made)
    assert read_mask(read_split(CITYSCAPES, tmp_path, "train_fine").pairs[0][1], CITYSCAPES).tolist() == [[18, 255, 0]]


def test_every_kind_of_mask_gives_the_same_ids(tmp_path):
    ids = np.array([[0, 15, 20], [255, 1, 15]], np.uint8)
    save_label_png(tmp_path / "palette.png", ids, VOC2012.palette)
    Image.fromarray(ids).save(tmp_path / "grey.png")
    Image.open(tmp_path / "palette.png").convert("RGB").save(tmp_path / "colour.png")
    Image.open(tmp_path / "palette.png").convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(ids.astype(np.uint16)).save(tmp_path / "wide.png")
    # Colours saved as a palette picture of another order.
    shuffled = Image.open(tmp_path / "colour.png").quantize(8)
    shuffled.save(tmp_path / "shuffled.png")
    assert np.asarray(shuffled).tolist() != ids.tolist()
    for kind in ("palette", "grey", "colour", "alpha", "wide", "shuffled"):
        assert read_mask(tmp_path / f"{kind}.png", VOC2012).tolist() == ids.tolist(), kind
    with Image.open(tmp_path / "palette.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[45:48] == [192, 128, 128]


def test_values_outside_the_card_are_refused_by_name(tmp_path):
    Image.fromarray(np.array([[0, 77]], np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(UserError, match=r"m\.png: value 77 is neither a class of voc2012 \(0\.\.20\)"):
        read_mask(tmp_path / "m.png", VOC2012)
    Image.new("RGB", (2, 2), (1, 2, 3)).save(tmp_path / "c.png")
    with pytest.raises(UserError, match=r"c\.png: colour \(1, 2, 3\) is not in the palette"):
        read_mask(tmp_path / "c.png", VOC2012)


def test_every_kind_of_picture_is_read_alike(tmp_path):
    grey = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "wide.png")
    Image.fromarray(np.dstack([grey] * 3 + [grey // 2])).save(tmp_path / "alpha.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(grey.astype(np.int32)).save(tmp_path / "long.tif")
    Image.fromarray((grey / grey.max()).astype(np.float32)).save(tmp_path / "unit.tif")
    assert np.array_equal(read_image(tmp_path / "unit.tif")[..., 0], np.rint(grey / grey.max() * 255))
    for kind in ("grey.png", "wide.png", "alpha.png", "palette.png", "long.tif"):
        assert np.array_equal(read_image(tmp_path / kind), np.dstack([grey] * 3)), kind
    rotated = Image.fromarray(np.dstack([grey] * 3))
    exif = rotated.getexif()
    exif[0x0112] = 6  # turn by 90 degrees to be upright
    rotated.save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png").shape == (6, 4, 3)


def test_broken_pictures_are_named(tmp_path, voc):
    (tmp_path / "text.jpg").write_text("hello")
    whole = (voc / "JPEGImages/a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    for name in ("text.jpg", "cut.jpg"):
        with pytest.raises(UserError, match=f"{name}: cannot be read as a picture"):
            read_image(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        read_image(tmp_path / "none.jpg")
    Image.new("RGB", (9, 6)).save(tmp_path / "other.jpg")
    with pytest.raises(UserError, match=r"a\.png: is 8x6 but its picture .*other\.jpg is 9x6"):
        read_pair(tmp_path / "other.jpg", voc / "SegmentationClassAug/a.png", VOC2012)


def test_sample_set(sample_set):
    train, val = (read_split(VOC2012, sample_set, s) for s in ("train_aug", "val"))
    assert len(train.pairs) >= 48
    assert len(val.pairs) >= 16
    assert val.is_sample
    assert val.title == "sample set val"
    sizes, classes = set(), set()
    for pair in val.pairs:
        image, mask = read_pair(*pair, VOC2012)
        sizes.add(image.shape)
        classes |= set(np.unique(mask))
    assert len(sizes) > 8
    assert 255 in classes
    assert len(classes) >= 7


def test_sample_pixels_are_the_same_on_every_machine():
    """The digest of the drawn pixels (before JPEG) of the first and the last picture."""
    digest = hashlib.sha256()
    for seed in (0, sample.TRAIN_PICTURES + sample.VAL_PICTURES - 1):
        for array in sample.draw(seed):
            digest.update(repr(array.shape).encode() + array.tobytes())
    assert digest.hexdigest() == "f4d8dd759dc1bd0565fae155647968ed13b6b28f3b9b0c0118364e5614957fb8"


def test_sample_files_are_the_same_every_time(sample_set, tmp_path):
    sample.write(tmp_path / "again")
    files = sorted(p.relative_to(sample_set) for p in sample_set.rglob("*") if p.is_file())
    assert all((sample_set / f).read_bytes() == (tmp_path / "again" / f).read_bytes() for f in files)


def test_order_is_a_permutation_per_epoch_and_a_function_of_the_example():
    order = example_order(7, 10, 0, 35)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert list(order[:10]) != list(order[10:20])
    assert list(example_order(7, 10, 13, 29)) == list(order[13:29])
    assert list(example_order(8, 10, 0, 10)) != list(order[:10])
    assert len(example_order(7, 10, 5, 5)) == 0


def test_batches_resume_where_they_stopped(sample_set):
    split = read_split(VOC2012, sample_set, "train")
    straight = list(TrainingBatches(split, SMALL))
    resumed = list(TrainingBatches(split, SMALL, first_step=5))
    assert len(straight) == SMALL.num_steps
    assert len(resumed) == SMALL.num_steps - 5
    for a, b in zip(straight[5:], resumed, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    images, labels = straight[0]
    assert images.shape == (4, 65, 65, 3)
    assert images.dtype == np.float32
    assert labels.dtype == np.uint8


def run_augment(image, label, numbers, recipe):
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = augment(tf.constant(image), tf.constant(label), tf.constant(numbers, tf.float32), recipe)
        return session.run(outputs)


def test_crop_pads_picture_by_mean_and_label_by_ignore():
    recipe = SMALL.derive(crop_size=(6, 7), random_scale=False, random_mirror=False)
    image, label = np.ones((4, 5, 3), np.float32), np.ones((4, 5, 1), np.uint8)
    out, mask = run_augment(image, label, [0, 0, 0.99, 0.99], recipe)
    assert out.shape == (6, 7, 3)
    assert mask.shape == (6, 7, 1)
    assert np.all(out[:4, :5] == 1)
    assert out.sum() == 60
    assert np.all(mask[:4, :5] == 1)
    assert np.all(mask[4:] == 255)
    assert np.all(mask[:, 5:] == 255)


def test_centred_crop_with_black_background_as_the_lfov_original():
    """tf.image.resize_image_with_crop_or_pad: centred on both sides, padding 0 in raw pixels and class 0."""
    recipe = SMALL.derive(crop_size=(6, 3), random_scale=False, random_mirror=False, crop_position="centre",
                          crop_padding="background", padding_pixel=(0.0, 0.0, 0.0),
                          pixel_mean=(5.0, 5.0, 5.0), pixel_scale=1.0)  # fmt: skip
    raw = np.arange(15, dtype=np.float32).reshape(3, 5, 1).repeat(3, axis=2)
    out, mask = run_augment(raw - 5, np.full((3, 5, 1), 7, np.uint8), [0, 0, 0.9, 0.9], recipe)
    with tf.Graph().as_default(), tf.Session() as session:
        expected = session.run(tf.image.resize_image_with_crop_or_pad(raw, 6, 3))
        expected_mask = session.run(tf.image.resize_image_with_crop_or_pad(np.full((3, 5, 1), 7, np.uint8), 6, 3))
    assert np.array_equal(out + 5, expected)
    assert np.array_equal(mask, expected_mask)


@pytest.mark.parametrize("size", [(3, 9), (9, 4), (11, 12), (4, 5)])
@pytest.mark.parametrize("position", ["random", "centre"])
@pytest.mark.parametrize("mirror", [0.4, 0.6])
def test_crops_are_those_of_the_mirrored_and_padded_picture(size, position, mirror):
    """The crop is cut before the picture is mirrored and padded, which takes less memory, and is the same."""
    crop, place = (5, 6), np.array([0.7, 0.3])
    recipe = SMALL.derive(crop_size=crop, random_scale=False, crop_position=position, padding_pixel=(3.0, 200.0, 7.0))
    image = np.random.RandomState(1).uniform(-1, 1, [*size, 3]).astype(np.float32)
    label = np.arange(image[..., :1].size, dtype=np.uint8).reshape(*size, 1)
    out, mask = run_augment(image, label, [0, mirror, *place], recipe)
    missing = np.maximum(np.array(crop) - size, 0)
    before = missing // 2 if position == "centre" else np.zeros(2, int)
    colour = (np.float32([3, 200, 7]) - 110) * np.float32(0.02)
    whole = np.tile(colour, (*np.maximum(size, crop), 1))
    whole_label = np.full([*np.maximum(size, crop), 1], 255, np.uint8)
    inside = tuple(slice(b, b + s) for b, s in zip(before, size, strict=True))
    turn = slice(None, None, -1) if mirror < 0.5 else slice(None)
    whole[inside], whole_label[inside] = image[:, turn], label[:, turn]
    spare = np.array(whole.shape[:2]) - crop
    corner = spare // 2 if position == "centre" else (place * (spare + 1)).astype(int)
    there = tuple(slice(c, c + s) for c, s in zip(corner, crop, strict=True))
    np.testing.assert_allclose(out, whole[there], atol=1e-5)
    assert np.array_equal(mask, whole_label[there])


def test_scale_mirror_and_crop_move_picture_and_label_together():
    ramp = np.tile(np.arange(8, dtype=np.float32)[None, :, None], (8, 1, 3))
    label = ramp[..., :1].astype(np.uint8)
    still = SMALL.derive(crop_size=(4, 4), random_scale=False, random_mirror=True)
    out, mask = run_augment(ramp, label, [0, 0.4, 0, 0], still)
    assert out[0, :, 0].tolist() == mask[0, :, 0].tolist() == [7, 6, 5, 4]
    out, mask = run_augment(ramp, label, [0, 0.6, 0.999, 0.999], still)
    assert out[0, :, 0].tolist() == mask[0, :, 0].tolist() == [4, 5, 6, 7]
    half = SMALL.derive(crop_size=(4, 4), random_scale=True, min_scale=0.5, max_scale=1.5, random_mirror=False)
    out, mask = run_augment(ramp, label, [0, 0, 0, 0], half)
    assert out[0, :, 0].tolist() == mask[0, :, 0].tolist() == [0, 2, 4, 6]


def test_a_bad_file_surfaces_as_it_is(voc):
    (voc / "JPEGImages/b.jpg").write_bytes(b"no picture")
    split = read_split(VOC2012, voc, "val")
    with pytest.raises(UserError, match=r"b\.jpg: cannot be read"):
        list(TrainingBatches(split, SMALL))


def test_a_list_of_a_million_lines_is_read_line_by_line(tmp_path):
    """Nothing is kept of a list once a file of it is missing; the message names a few."""
    lists = tmp_path / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"2012_{i:07d}\n" for i in range(200_000)))
    tracemalloc.start()
    try:
        with pytest.raises(
            UserError, match=r"val\.txt: 400000 files of split 'val' are missing: .* and 3999\d\d more$"
        ) as error:
            read_split(VOC2012, tmp_path, "val")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 2 <= str(error.value).count("2012_") <= 20
    assert peak < 60 << 20  # with all paths kept it is four times as much


def test_wrong_lines_of_a_long_list_are_counted(tmp_path):
    (tmp_path / "val.txt").write_text("a b c\n" * 50_000)
    with pytest.raises(UserError, match=r"line 1 is neither an id nor .* \(as lines 2, 3, 4, 5, 6 and 49994 more\)$"):
        read_split(VOC2012, tmp_path, str(tmp_path / "val.txt"))
