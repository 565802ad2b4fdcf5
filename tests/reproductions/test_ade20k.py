"""ADE20K: the card, masks whose 0 belongs to no class, the resize range, and a drawn miniature through everything."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from common.data import tfrecord
from common.data.lists import card_by_name, read_split
from common.data.masks import colour_labels, read_mask
from common.data.sets.ade20k import ADE20K
from common.data.sets.cityscapes import CITYSCAPES
from common.data.shards.examples import example
from common.data.shards.frames import frame
from common.errors import UserError
from common.inference.segmenter import Segmenter
from common.nets.network import Outputs
from common.nets.sizes import size_in_range
from common.results.protocol import protocol_text
from common.tf1 import tf
from common.training.batches import TrainingBatches, augment
from tests.conftest import ROOT
from tests.helpers.tiny import SMALL, run

SIZES = {"training": ((80, 120), (150, 96), (64, 64), (97, 130), (201, 75), (90, 91)),
         "validation": ((70, 100), (530, 400), (120, 90))}  # fmt: skip
ADE = ("--set", "dataset=ade20k", "--set", "num_classes=151")
RANGE = ("--set", "resize_range=97,97", "--set", "resize_factor=16", "--set", "eval_size=97")


def draw(seed, height, width):
    """A picture of stripes and its mask: 0 (other), then classes from 1 to 150, in bands down the picture."""
    rng = np.random.RandomState(seed)
    values = np.array([0, 1, 150, *rng.randint(2, 150, 3)], np.uint8)
    bands = (np.arange(height) * len(values) // height)[:, None] + np.zeros(width, int)
    colours = rng.randint(0, 256, (len(values), 3))
    picture = colours[bands] + 20 * (np.arange(width) // 8 % 2)[:, None]
    return np.clip(picture, 0, 255).astype(np.uint8), values[bands]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A miniature ADEChallengeData2016; not to be changed."""
    root = tmp_path_factory.mktemp("ADEChallengeData2016")
    for part, sizes in SIZES.items():
        for kind in ("images", "annotations"):
            (root / kind / part).mkdir(parents=True)
        for number, size in enumerate(sizes, 1):
            picture, mask = draw(number, *size)
            name = f"ADE_{part.removesuffix('ing').removesuffix('idation')}_{number:08d}"
            Image.fromarray(picture).save(root / f"images/{part}/{name}.jpg", quality=95)
            Image.fromarray(mask).save(root / f"annotations/{part}/{name}.png")
    return root


@pytest.fixture(scope="module")
def records(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("records")
    for split in ("train", "val"):
        build = ["build", "--data", folder, "--split", split, "--shards", 2, "--out", out, "--dataset", "ade20k"]
        assert tfrecord.main([*map(str, build), "--quiet"]) == 0
    return out


def test_card():
    assert card_by_name("ade20k") is ADE20K
    assert len(ADE20K.classes) == 151
    assert len(set(ADE20K.classes)) == len(set(ADE20K.palette)) == 151
    for index, name in {0: "other", 1: "wall", 13: "person", 54: "stairs", 81: "bus", 150: "flag"}.items():
        assert ADE20K.classes[index] == name
    assert ADE20K.palette[0] == (0, 0, 0)
    assert ADE20K.split_sizes == {"train": 20210, "training": 20210, "val": 2000, "validation": 2000}


@pytest.mark.parametrize("names", [("train", "training"), ("val", "validation")])
def test_splits_lie_in_folders_of_either_name(folder, names):
    split, other = (read_split(ADE20K, folder, name) for name in names)
    assert split.pairs == other.pairs
    assert len(split.pairs) == len(SIZES[names[1]])
    assert split.title == f"ADE20K {names[0]}"
    for image, mask in split.pairs:
        assert image.parent == folder / "images" / names[1]
        assert mask.parent == folder / "annotations" / names[1]
        assert image.stem == mask.stem
        assert mask.suffix == ".png"


def test_lists_select_pictures(folder, tmp_path):
    path = tmp_path / "some.txt"
    path.write_text(
        "ADE_train_00000002\nimages/validation/ADE_val_00000001.jpg annotations/validation/ADE_val_00000001.png"
    )
    split = read_split(ADE20K, folder, str(path))
    assert [split.read(k)[1].shape for k in (0, 1)] == [SIZES["training"][1], SIZES["validation"][0]]


def test_raw_zero_is_ignored_and_other_values_stay(folder):
    for k, size in enumerate(SIZES["validation"]):
        raw = draw(k + 1, *size)[1]
        mask = read_split(ADE20K, folder, "val").read(k)[1]
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, np.where(raw == 0, 255, raw))
        assert 150 in mask


def test_every_kind_of_mask_gives_the_same_ids(tmp_path):
    """64 and 128 are classes whose greys are other classes' colours."""
    raw = np.array([[0, 1, 150], [64, 128, 255]], np.uint8)
    grey = Image.fromarray(raw)
    ramp = Image.fromarray(raw, "P")
    ramp.putpalette([v for v in range(256) for _ in range(3)])
    few = ramp.copy()
    few.putdata([0, 64, 64, 0, 64, 128])
    coloured = Image.fromarray(colour_labels(raw, ADE20K.palette))
    for name, image in (("grey", grey), ("ramp", ramp), ("colour", coloured), ("few", few)):
        image.save(tmp_path / f"{name}.png")
    for name in ("grey", "ramp", "colour"):
        assert read_mask(tmp_path / f"{name}.png", ADE20K).tolist() == [[255, 1, 150], [64, 128, 255]], name
    with Image.open(tmp_path / "few.png") as image:
        assert image.mode == "P"
    assert read_mask(tmp_path / "few.png", ADE20K).tolist() == [[255, 64, 64], [255, 64, 128]]
    Image.fromarray(raw + 1).save(tmp_path / "beyond.png")
    with pytest.raises(
        UserError, match=r"value 151 is neither a class of ade20k \(0\.\.150\) nor the ignore label 255"
    ):
        read_mask(tmp_path / "beyond.png", ADE20K)
    Image.fromarray(np.zeros((1, 2), np.uint8)).save(tmp_path / "zero.png")
    assert read_mask(tmp_path / "zero.png", CITYSCAPES).tolist() == [[0, 0]]  # elsewhere 0 is a class


def test_records_hold_what_the_folder_gives(folder, records):
    for split in ("train", "val"):
        there, here = (read_split(ADE20K, data, split) for data in (folder, records))
        assert [[p.name for p in pair] for pair in here.pairs] == [[p.name for p in pair] for pair in there.pairs]
        for k in range(len(there.pairs)):
            assert all(np.array_equal(a, b) for a, b in zip(there.read(k), here.read(k), strict=True))
    recipe = SMALL.derive(dataset="ade20k", num_classes=151, resize_range=(97, 97), resize_factor=16)
    splits = [read_split(ADE20K, data, "train") for data in (folder, records)]
    for a, b in zip(*(TrainingBatches(split, recipe) for split in splits), strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        assert 0 not in a[1]
        assert 255 in a[1]


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("image/segmentation/class/encoded", "val-00000-of-00001.tfrecord"),
        ("image/segmentation/encoded", "validation.tfrecord"),
    ],
    ids=["official", "asahi417"],
)
def test_the_originals_records_hold_raw_values(folder, tmp_path, key, file):
    """Both copy the data set's own mask files."""
    pairs = read_split(ADE20K, folder, "val").pairs
    data = [
        {"image/encoded": image.read_bytes(), "image/filename": image.stem, key: mask.read_bytes()}
        for image, mask in pairs
    ]
    (tmp_path / file).write_bytes(b"".join(frame(example(d)) for d in data))
    read = read_split(ADE20K, tmp_path, "val")
    for k, (_, mask) in enumerate(pairs):
        with Image.open(mask) as image:
            raw = np.asarray(image)
        assert np.array_equal(read.read(k)[1], np.where(raw == 0, 255, raw))


def sizes_in_range(sizes, *arguments):
    with tf.Graph().as_default(), tf.Session() as session:
        size = tf.placeholder(tf.int32, [2])
        result = size_in_range(size, *arguments)
        return [tuple(session.run(result, {size: s}).tolist()) for s in sizes]


@pytest.mark.parametrize(
    ("size", "original", "mended"),
    [
        # 16 k + 1 from 375 * 497 / 500 = 372.75 and 375 * 513 / 500 = 384.75
        ((375, 500), (385, 497), (385, 513)),
        ((1024, 2048), (257, 497), (257, 513)),  # 248.5; 256.5
        ((512, 683), (385, 497), (385, 513)),
        ((683, 512), (497, 385), (513, 385)),
        ((256, 256), (497, 497), (513, 513)),
        ((1500, 2000), (385, 497), (385, 513)),
        ((333, 500), (337, 497), (353, 513)),  # 331.002; 341.658
        ((1, 1000), (1, 497), (1, 513)),
        ((200, 218), (465, 513), (481, 513)),  # float32: 218 * (497 / 218) > 497
    ],
)
def test_ade20ks_range(size, original, mended):
    """513, 513 and a factor of 16: the official flags."""
    assert sizes_in_range([size], (513, 513), 16, "original") == [original]
    assert sizes_in_range([size], (513, 513), 16) == [mended]


def test_the_aspect_may_be_given_up():
    """keep_aspect_ratio=false of research/deeplab: both sides are the greater one after the range and the factor."""
    sizes = [(375, 500), (500, 375), (256, 256), (333, 500)]
    assert sizes_in_range(sizes, (513, 513), 16, "square") == [(513, 513)] * 4
    assert sizes_in_range([(100, 300), (300, 320)], (97, 200), 0, "square") == [(200, 200), (103, 103)]


def test_the_originals_float32_puts_some_lengths_at_513():
    """Those whose k * (497 / k) comes out above 497: 315 of the lengths from 200 to 2499."""
    sides = np.arange(200, 2500, dtype=np.float32)
    above = sides * (np.float32(497) / sides) > 497
    lengths = [(200, k) for k in range(200, 2500)]
    longest = [max(size) for size in sizes_in_range(lengths, (513, 513), 16, "original")]
    assert above.sum() == 315
    assert longest == np.where(above, 513, 497).tolist()
    assert {max(size) for size in sizes_in_range(lengths, (513, 513), 16)} == {513}


def test_ranges_in_general():
    assert sizes_in_range([(100, 150), (100, 500)], (300, 1000)) == [(300, 450), (200, 1000)]
    assert sizes_in_range([(375, 500)], (513, 513), 8, "original") == [(385, 505)]  # 378.75
    assert sizes_in_range([(375, 500)], (513, 513), 0, "original") == [(385, 513)]
    assert sizes_in_range([(375, 500)], (513, 513)) == [(384, 513)]
    assert sizes_in_range([(375, 500)], (510, 510), 16) == sizes_in_range([(375, 500)], (497, 497), 16)
    assert sizes_in_range([(375, 500)], (510, 510), 16, "original") == [(385, 497)]  # no step too many here


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize_range": (513,)}, "resize_range=513: needs the least short side and the greatest long side"),
        ({"resize_range": (600, 513)}, "resize_range=600,513: needs the least"),
        ({"resize_range": (0, 513)}, "resize_range=0,513: needs the least"),
        ({"resize_range": (513, 513), "resize_factor": 513}, "resize_factor=513: must be below the greatest side"),
        ({"resize_factor": -1}, "resize_factor=-1: must be at least 0"),
        ({"resize_rule": "later"}, "resize_rule=later: needs one of mended, original, fit"),
    ],
)
def test_ranges_that_are_none(changes, message):
    with pytest.raises(UserError, match=message):
        SMALL.derive(**changes)


def test_training_brings_picture_and_label_into_range():
    ramp = np.tile(np.arange(5, dtype=np.float32)[None, :, None], (3, 1, 3))
    recipe = SMALL.derive(
        crop_size=(5, 9), random_scale=False, random_mirror=False, resize_range=(9, 9), resize_factor=4
    )
    with tf.Graph().as_default(), tf.Session() as session:
        image, label = session.run(
            augment(tf.constant(ramp), tf.constant(ramp[..., :1].astype(np.uint8)), tf.zeros([4]), recipe)
        )
    # 3x5 by 9 / 5 is 5.4 x 9, and 5.4 goes up to 9; corners stay corners, halves are rounded up.
    np.testing.assert_allclose(image[:, :, 0], np.tile(np.arange(9) / 2, (5, 1)), atol=1e-6)
    assert label[0, :, 0].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_training_and_evaluation_give_the_aspect_up():
    """resize_rule=square: 3x5 becomes 9x9 in both, and scores return to 3x5."""
    picture = np.tile((np.arange(5) * 50).astype(np.uint8)[None, :, None], (3, 1, 3))
    recipe = SMALL.derive(
        num_classes=3, crop_size=(9, 9), random_scale=False, random_mirror=False, resize_range=(9, 9), resize_factor=4,
        resize_rule="square", eval_size=9, pixel_mean=(0,) * 3, pixel_scale=1.0,
    )  # fmt: skip
    with tf.Graph().as_default(), tf.Session() as session:
        mask = tf.constant(picture[..., :1] // 50)
        image, label = session.run(augment(tf.constant(picture, tf.float32), mask, tf.zeros([4]), recipe))
    np.testing.assert_allclose(image[:, :, 0], np.tile(np.arange(9) * 25, (9, 1)), atol=1e-4)
    assert label[8, :, 0].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    segmenter = Segmenter(identity, recipe, None)
    np.testing.assert_allclose(segmenter.logits(picture), image, atol=1e-4)
    assert segmenter.label(picture).shape == (3, 5)
    segmenter.close()


def identity(images, recipe, batch_statistics=False):
    """A network whose scores are the picture."""
    tf.get_variable("unused", [])
    return Outputs(images)


@pytest.mark.parametrize("eval_size", [33, 20])
def test_scores_come_back_to_the_pictures_own_size(eval_size):
    """A ramp in, a ramp out, whatever lies between; native leaves the range out."""
    picture = np.tile((np.arange(40) * 5).astype(np.uint8)[None, :, None], (21, 1, 3))
    recipe = SMALL.derive(
        num_classes=3, resize_range=(33, 33), resize_factor=8, eval_size=eval_size, pixel_mean=(0,) * 3
    )
    segmenter = Segmenter(identity, recipe, None)
    assert segmenter.logits(picture).shape == (eval_size, 33, 3)  # 21x40 in range is 17x33
    fused = segmenter.fused(picture)
    assert fused.shape == (21, 40, 3)
    assert segmenter.label(picture).shape == (21, 40)
    segmenter.close()
    scores = Segmenter(identity, recipe.derive(scale_fusion="max_logits"), None)
    np.testing.assert_allclose(scores.fused(picture) / recipe.pixel_scale, picture, atol=1e-3)
    scores.close()
    native = Segmenter(identity, recipe.derive(eval_size="native"), None)
    assert native.logits(picture).shape == (21, 40, 3)
    native.close()


def metrics_of(data, checkpoint, out, *settings):
    evaluate = ("evaluate", "--data", data, "--split", "val", "--checkpoint", checkpoint, "--out", out, "--quiet")
    assert run(*evaluate, *settings) == 0
    return json.loads((out / "metrics.json").read_text())


def check_metrics(metrics):
    matrix = np.array(metrics["confusion_matrix"])
    counted = sum(int((draw(k + 1, *size)[1] != 0).sum()) for k, size in enumerate(SIZES["validation"]))
    assert metrics["images"] == 3
    assert matrix.shape == (151, 151)
    assert matrix.sum() == counted
    assert matrix[0].sum() == 0
    assert metrics["per_class_iou"]["other"] is None
    scored = [v for v in metrics["per_class_iou"].values() if v is not None]
    assert metrics["miou"] == pytest.approx(np.mean(scored), abs=1e-6)


def test_build_train_evaluate(folder, records, tmp_path):
    """Folder and records give the same losses and the same figures; other is neither trained nor counted."""
    losses, figures = [], []
    for name, data in (("folder", folder), ("records", records)):
        train = ("train", "--data", data, "--split", "train", "--run-dir", tmp_path / name, "--quiet")
        assert run(*train, *ADE, *RANGE, "--set", "resize_rule=original") == 0
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
        figures.append(metrics_of(data, tmp_path / "folder/model.ckpt-8", tmp_path / "out"))
    assert losses[0] == losses[1]
    assert figures[0] == figures[1]
    check_metrics(figures[0])
    protocol = figures[0]["protocol"]
    assert protocol["resize_range"] == [97, 97]
    assert protocol["resize_rule"] == "original"
    assert protocol_text(protocol) == "sides brought to 97..97, padded to 97, scale 1"
    native = metrics_of(folder, tmp_path / "folder/model.ckpt-8", tmp_path / "out", "--set", "eval_size=native")
    check_metrics(native)
    assert "resize_range" not in native["protocol"]
    assert native["confusion_matrix"] != figures[0]["confusion_matrix"]


def test_classes_and_card_belong_together(folder, tmp_path, capsys):
    assert (
        run("train", "--data", folder, "--split", "train", "--run-dir", tmp_path / "r", "--set", "dataset=ade20k") == 2
    )
    assert "num_classes=21: the network's classes are not the 151 of ade20k" in capsys.readouterr().err


def test_v3plus_trains_and_evaluates(records, tmp_path):
    """The commands as they are typed; 513 with a factor of 16 is ADE20K's range."""
    settings = [
        *("dataset=ade20k", "num_classes=151", "train_split=train", "resize_range=513,513", "resize_factor=16"),
        *("backbone=mobilenet_v2", "atrous_rates=", "decoder=false", "crop_size=65", "batch_size=2", "num_steps=2"),
    ]
    settings = [word for setting in settings for word in ("--set", setting)]

    def v3plus(*arguments):
        command = [
            sys.executable,
            "-m",
            "reproductions.v3plus",
            *map(str, arguments),
            "--data",
            str(records),
            "--quiet",
        ]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    v3plus("train", "--run-dir", tmp_path / "run", *settings)
    v3plus("evaluate", "--split", "val", "--checkpoint", tmp_path / "run/model.ckpt-2", "--out", tmp_path / "out")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    check_metrics(metrics)
    assert metrics["protocol"]["resize_range"] == [513, 513]
    assert metrics["protocol"]["eval_size"] == 513
