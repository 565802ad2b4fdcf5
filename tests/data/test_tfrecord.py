"""Building TFRecords, reading them and the originals', and everything that can be wrong with them."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from common.data import tfrecord
from common.data.lists import is_sample_set, read_split
from common.data.masks import save_label_png
from common.data.sets.cityscapes import CITYSCAPES
from common.data.sets.voc import VOC2012
from common.data.shards import build as building
from common.data.shards import frames
from common.data.shards.examples import example
from common.data.shards.frames import frame, read_record, scan
from common.data.shards.index import find_shards
from common.errors import UserError
from common.files import WRITING, locked
from common.tf1 import tf
from common.training.batches import TrainingBatches
from tests.conftest import ROOT, files_no_larger_than
from tests.helpers.leftovers import killed_name
from tests.helpers.tiny import SMALL, run


def build(*arguments, shards=4):
    try:
        return tfrecord.main(["build", "--quiet", "--shards", str(shards), *map(str, arguments)])
    except SystemExit as exit_:
        return exit_.code


@pytest.fixture(scope="module")
def built(sample_set, tmp_path_factory):
    """The sample set's train and val as records; not to be changed."""
    out = tmp_path_factory.mktemp("records")
    for split, shards in (("train", 4), ("val", 3)):
        assert build("--data", sample_set, "--split", split, "--out", out, shards=shards) == 0
    return out


@pytest.fixture
def copy(built, tmp_path):
    """The records, to be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in built.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def index(folder, split):
    return json.loads((folder / f"{split}.json").read_text())


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)


def error_of(capsys, status):
    assert status == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


def test_the_index_says_what_is_there(built, sample_set):
    names = {p.name for p in built.iterdir()}
    assert names == {"train.json", "val.json", *(f"train-0000{k}-of-00004.tfrecord" for k in range(4)),
                     *(f"val-0000{k}-of-00003.tfrecord" for k in range(3))}  # fmt: skip
    stored = index(built, "val")
    assert (stored["dataset"], stored["split"], stored["is_sample"]) == ("voc2012", "val", True)
    assert stored["records"] == 16
    assert [s["records"] for s in stored["shards"]] == [5, 5, 6]
    split = read_split(VOC2012, sample_set, "val")
    assert [n for s in stored["shards"] for n in s["pictures"]] == [p.name for p, _ in split.pairs]
    for shard in stored["shards"]:
        path = built / shard["file"]
        assert path.stat().st_size == shard["bytes"]
        assert building._digest(path) == shard["sha256"]
        assert [offset for offset, _ in scan(path)] == shard["offsets"]
    assert is_sample_set(built)


def test_records_and_folder_give_the_same_batches(built, sample_set):
    recipe = SMALL.derive(crop_size=(33, 33), num_steps=50)
    splits = [read_split(VOC2012, folder, "train") for folder in (sample_set, built)]
    assert splits[0].title == splits[1].title
    assert splits[1].is_sample
    steps = 0
    for ours, theirs in zip(*(TrainingBatches(split, recipe) for split in splits), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
        steps += 1
    assert steps == 50


def test_tensorflow_and_nanqingds_reader_understand_the_records(built, sample_set):
    """Keys and decoding of libs/datasets/dataset_factory.py; TensorFlow decodes a palette to colours, not to ids."""
    features = {k: tf.FixedLenFeature([], tf.string) for k in ("image/encoded", "image/segmentation/encoded")}
    split = read_split(VOC2012, sample_set, "val")
    shards = [str(p) for p in sorted(built.glob("val-*"))]
    with tf.Graph().as_default(), tf.Session() as session:
        record = tf.data.make_one_shot_iterator(tf.data.TFRecordDataset(shards)).get_next()
        values = tf.parse_single_example(record, features)
        picture = tf.image.decode_jpeg(values["image/encoded"], channels=3)
        mask = tf.image.decode_png(values["image/segmentation/encoded"], channels=1)
        for k in range(len(split.pairs)):
            shape, ids = session.run((tf.shape(picture), mask))
            assert np.array_equal(ids[..., 0], split.read(k)[1])
            assert tuple(shape) == (*ids.shape[:2], 3)


def test_our_framing_is_tensorflows(tmp_path):
    data = [b"", b"x", os.urandom(100_000)]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for d in data:
            writer.write(d)
    (tmp_path / "ours").write_bytes(b"".join(map(frame, data)))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert [d for _, d in scan(tmp_path / "theirs")] == data
    assert read_record(tmp_path / "theirs", 33) == data[2]


def test_masks_of_every_kind_become_grey_pngs(tmp_path):
    """Palette, colour and Cityscapes' label ids are read back as the folder gives them; grey ones stay as they are."""
    ids = np.array([[0, 15, 255], [20, 1, 0]], np.uint8)
    voc = tmp_path / "voc"
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (voc / folder).mkdir(parents=True)
    for name in ("palette", "colour", "grey"):
        Image.new("RGB", (3, 2), "red").save(voc / f"JPEGImages/{name}.jpg")
        save_label_png(voc / f"SegmentationClassAug/{name}.png", ids, VOC2012.palette)
    grey = voc / "SegmentationClassAug/grey.png"
    Image.fromarray(ids).save(grey, compress_level=0)
    with Image.open(voc / "SegmentationClassAug/colour.png") as image:
        image.convert("RGB").save(voc / "SegmentationClassAug/colour.png")
    (voc / "mine.txt").write_text("palette\ncolour\ngrey\n")
    assert build("--data", voc, "--split", voc / "mine.txt", "--out", tmp_path / "out", shards=1) == 0
    split = read_split(VOC2012, tmp_path / "out", "mine")
    assert all(np.array_equal(split.read(k)[1], ids) for k in range(3))
    assert not split.is_sample
    assert grey.read_bytes() in read_record(*split.places[2])

    city = tmp_path / "city"
    image = city / "leftImg8bit/val/ulm/ulm_0_0_leftImg8bit.png"
    mask = city / "gtFine/val/ulm/ulm_0_0_gtFine_labelIds.png"
    for path in (image, mask):
        path.parent.mkdir(parents=True)
    Image.new("RGB", (3, 1)).save(image)
    Image.fromarray(np.array([[7, 26, 0]], np.uint8)).save(mask)
    arguments = ("--data", city, "--split", "val", "--dataset", "cityscapes", "--out", tmp_path / "out")
    assert build(*arguments, shards=1) == 0
    split = read_split(CITYSCAPES, tmp_path / "out", "val")
    assert split.read(0)[1].tolist() == [[0, 13, 255]]
    assert split.pairs[0][1].name == mask.name
    with pytest.raises(UserError, match=r"val\.json: holds TFRecords of cityscapes, not of voc2012; set dataset="):
        read_split(VOC2012, tmp_path / "out", "val")


@pytest.fixture(scope="module")
def long_list(sample_set, tmp_path_factory):
    """A list long enough to be interrupted, and the digests of its records."""
    path = tmp_path_factory.mktemp("list") / "long.txt"
    names = (sample_set / "ImageSets/Segmentation/trainval.txt").read_text()
    path.write_text(names * 10)
    out = path.with_name("straight")
    assert build("--data", sample_set, "--split", path, "--out", out, "--workers", 3, shards=16) == 0
    return path, [s["sha256"] for s in index(out, "long")["shards"]]


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_build_goes_on_and_ends_alike(sample_set, long_list, tmp_path, kill, capsys):
    path, digests = long_list
    out = tmp_path / "out"
    arguments = ["--data", str(sample_set), "--split", str(path), "--out", str(out), "--workers", "2"]
    command = [sys.executable, "-m", "common.data.tfrecord", "build", *arguments, "--shards", "16"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list(out.glob("long-*"))) < 3:
        time.sleep(0.001)
    process.send_signal(kill)
    _, errors = process.communicate()
    assert process.returncode == (-kill if kill == signal.SIGKILL else 128 + kill), errors
    assert kill == signal.SIGKILL or "run the same command again, finished shards are kept" in errors
    assert not (out / "long.json").exists()
    with pytest.raises(UserError, match="the build of split 'long' is not finished"):
        read_split(VOC2012, out, "long")
    shards = json.loads((out / ".long.json").read_text())["shards"]
    finished = {s["file"]: (out / s["file"]).stat().st_ino for s in shards}
    assert 1 <= len(finished) < 16
    (out / killed_name(WRITING, "x_long.tfrecord")).write_bytes(b"half a shard")
    assert build(*arguments, shards=8) == 2
    assert "shard_count 16 instead of 8" in capsys.readouterr().err
    assert build(*arguments, shards=16) == 0
    assert [s["sha256"] for s in index(out, "long")["shards"]] == digests
    assert len(list(out.iterdir())) == 17  # shards and index, nothing left behind
    assert all((out / file).stat().st_ino == inode for file, inode in finished.items())  # not written again


def test_building_again_does_nothing_or_mends(copy, sample_set, capsys):
    arguments = ("--data", sample_set, "--split", "val", "--out", copy)
    before = {p.name: p.stat().st_mtime_ns for p in copy.iterdir()}
    assert build(*arguments, shards=3) == 0
    assert {p.name: p.stat().st_mtime_ns for p in copy.iterdir()} == before
    flip(copy / "val-00001-of-00003.tfrecord", 5000)
    (copy / "val-00002-of-00003.tfrecord").unlink()
    stored = index(copy, "val")
    assert build(*arguments, shards=3) == 0
    assert index(copy, "val") == stored
    assert read_split(VOC2012, copy, "val").read(15) is not None
    changed = {p.name for p in copy.iterdir() if before[p.name] != p.stat().st_mtime_ns}
    assert changed == {"val-00001-of-00003.tfrecord", "val-00002-of-00003.tfrecord", "val.json"}


def test_a_second_build_in_the_folder_is_refused(copy, sample_set, capsys):
    with locked(copy, "building in it; wait for it"):
        status = build("--data", sample_set, "--split", "val", "--out", copy, shards=3)
    assert f"process {os.getpid()} is building in it; wait for it" in error_of(capsys, status)


def test_a_full_disk_is_one_sentence_and_leaves_no_half_shard(sample_set, tmp_path, capsys):
    with files_no_larger_than(100_000):
        status = build("--data", sample_set, "--split", "train", "--out", tmp_path / "out", shards=2)
    assert "File too large; correct that and run the build again" in error_of(capsys, status)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".train.json"]
    assert build("--data", sample_set, "--split", "train", "--out", tmp_path / "out", shards=2) == 0


def test_a_broken_picture_stops_the_build_by_name(tmp_path, sample_set, capsys):
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (tmp_path / folder).mkdir()
        for path in sorted((sample_set / folder).iterdir())[:4]:
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "few.txt").write_text("".join(f"sample_00000{k}\n" for k in range(4)))
    picture = tmp_path / "JPEGImages/sample_000002.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:3000])
    few = ("--data", tmp_path, "--split", "few", "--out", tmp_path / "out")
    status = build(*few, shards=2)
    assert "sample_000002.jpg: cannot be read as a picture" in error_of(capsys, status)
    picture.write_bytes(whole)
    assert build(*few, shards=2) == 0
    assert len(read_split(VOC2012, tmp_path / "out", "few").pairs) == 4
    # Changed after the build came to its end, it is another data set's.
    picture.write_bytes(whole + b"x")
    assert "holds split 'few' already (other files)" in error_of(capsys, build(*few, shards=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--shards": "0"}, "--shards: 0 is not a whole number of at least 1"),
        ({"--shards": "17"}, "--shards 17: must be from 1 to 16, the pictures of split 'val'"),
        ({"--shards": "two"}, "--shards: two is not a whole number"),
        ({"--workers": "0"}, "--workers: 0 is not a whole number of at least 1"),
        ({"--split": "nope"}, "no split 'nope'"),
        ({"--dataset": "cities"}, "dataset=cities: no such data set"),
        ({"--data": "nowhere"}, "--data nowhere: no such folder"),
        ({"--out": "FILE"}, "cannot be written"),
        ({"--out": "DATA"}, "is the data folder itself"),
    ],
)
def test_wrong_arguments(sample_set, tmp_path, capsys, changes, message):
    (tmp_path / "file").touch()
    given = {"--data": sample_set, "--split": "val", "--shards": "2", "--out": tmp_path / "out", **changes}
    given["--out"] = {"FILE": tmp_path / "file", "DATA": sample_set}.get(given["--out"], given["--out"])
    assert message in error_of(capsys, build(*(v for pair in given.items() for v in pair)))
    assert not (tmp_path / "out").exists()


def test_records_are_neither_built_again_nor_written_over(built, sample_set, tmp_path, capsys):
    status = build("--data", built, "--split", "val", "--out", tmp_path)
    assert "split 'val' is in TFRecords already" in error_of(capsys, status)
    (tmp_path / "val-00000-of-00004.tfrecord").touch()
    status = build("--data", sample_set, "--split", "val", "--out", tmp_path)
    assert "holds split 'val' already (val-00000-of-00004.tfrecord without an index)" in error_of(capsys, status)


@pytest.fixture(scope="module")
def checkpoint(sample_set, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    settings = ("num_steps=2", "calibration_batches=0")
    assert run("train", "--data", sample_set, "--run-dir", run_dir, "--quiet", "--set", *settings) == 0
    return run_dir / "model.ckpt-2"


def evaluate(data, checkpoint, out, *arguments):
    return run("evaluate", "--data", data, "--checkpoint", checkpoint, "--out", out, "--quiet", *arguments)


@pytest.mark.parametrize(
    ("where", "message"),
    [("length", "its length fails its checksum"), ("payload", "its data fail their checksum"),
     ("checksum", "its data fail their checksum"), ("tail", "is cut off"), ("boundary", "is cut off")],
)  # fmt: skip
def test_a_damaged_record_is_named_by_file_and_offset(copy, checkpoint, tmp_path, capsys, where, message):
    shard = index(copy, "val")["shards"][1]
    path, offset = copy / shard["file"], shard["offsets"][-1]
    if where in ("tail", "boundary"):
        path.write_bytes(path.read_bytes()[: -100 if where == "tail" else offset])
    else:
        flip(path, offset + {"length": 1, "payload": 1000, "checksum": shard["bytes"] - offset - 1}[where])
    text = error_of(capsys, evaluate(copy, checkpoint, tmp_path))
    assert f"{path}: example at byte offset {offset} {'' if 'cut' in message else 'is damaged: '}{message}" in text
    assert "build the TFRecords again" in text
    # Without the index, as the originals leave their records.
    (copy / "val.json").unlink()
    if where != "boundary":
        assert f"{path}: example at byte offset {offset} " in error_of(capsys, evaluate(copy, checkpoint, tmp_path))


def test_damage_met_while_training(copy, tmp_path, capsys):
    for shard in index(copy, "train")["shards"]:
        for offset in shard["offsets"]:
            flip(copy / shard["file"], offset + 99)
    status = run("train", "--data", copy, "--split", "train", "--run-dir", tmp_path / "run", "--quiet")
    assert "is damaged: its data fail their checksum" in error_of(capsys, status)


def test_an_index_that_does_not_fit_its_shards(copy, checkpoint, tmp_path, capsys):
    stored, path = index(copy, "val"), copy / "val.json"
    first, second = (copy / s["file"] for s in stored["shards"][:2])

    def error(message):
        assert message in error_of(capsys, evaluate(copy, checkpoint, tmp_path))

    for broken in ("[1]", '{"shards": 3}', json.dumps({**stored, "format": 2}), json.dumps({**stored, "more": 1}),
                   json.dumps(stored).replace('"sample_000064.jpg"', "7")):  # fmt: skip
        path.write_text(broken)
        error("val.json: is not an index of format 1")
    path.write_text("{")
    error("val.json: is not readable JSON")
    path.write_text(json.dumps({**stored, "records": 15}))
    error("val.json: its counts of examples and shards")
    path.write_text(json.dumps({**stored, "shards": stored["shards"][:2]}))
    error("val.json: its counts of examples and shards")
    path.write_text(json.dumps(stored))
    whole = first.read_bytes()
    first.write_bytes(whole + b"x")
    error(f"has {len(whole) + 1} bytes, {len(whole)} in val.json")
    # Another record of the same size and with right checksums.
    first.write_bytes(whole)
    name = stored["shards"][0]["pictures"][0].encode()
    record = read_record(first, 0)
    other = frame(record.replace(name, name[::-1]))
    first.write_bytes(other + whole[len(other) :])
    error("holds gpj.460000_elpmas")
    first.unlink()
    error(f"{first}: no such file, but val.json names it")
    for left in copy.glob("*.tfrecord"):
        left.unlink()
    error("no such file, but val.json names it")


def test_training_on_records_is_training_on_the_folder(built, sample_set, tmp_path):
    """Same losses; a run goes on from either; pictures that were trained on are known in records too."""
    logs = []
    for name, data in (("folder", sample_set), ("records", built)):
        assert run("train", "--data", data, "--split", "train", "--run-dir", tmp_path / name, "--quiet") == 0
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        logs.append([json.loads(line)["loss"] for line in lines])
    assert logs[0] == logs[1]
    for path in (tmp_path / "folder").glob("model.ckpt-8*"):
        path.unlink()
    resume = ("--run-dir", tmp_path / "folder", "--resume", "--quiet")
    assert run("train", "--data", built, "--split", "train", *resume) == 0
    results = []
    for data in (sample_set, built):
        out = tmp_path / "out"
        checkpoint = tmp_path / "records/model.ckpt-8"
        assert evaluate(data, checkpoint, out, "--split", "train", "--limit", "5", "--record") == 0
        results.append((out / "metrics.json").read_bytes())
        (record,) = (tmp_path / "results/runs").glob("*.json")
        assert json.loads(record.read_text())["marks"] == {"sample": True, "val_seen": True, "subset": 5}
    assert results[0] == results[1]


def nanqingd(picture, mask, name):
    """convert_voc12.py: the mask by tf.image.encode_png from the ids."""
    return {
        "image/height": mask.shape[0], "image/width": mask.shape[1], "image/filename": f"{name}.jpg",
        "image/format": "JPEG", "image/encoded": picture,
        "image/segmentation/format": "PNG", "image/segmentation/encoded": png(mask),
    }  # fmt: skip


def raw(picture, mask, name):
    """dataset_factory.py's default format."""
    return {
        **nanqingd(picture, mask, name),
        "image/segmentation/format": "RAW",
        "image/segmentation/encoded": mask.tobytes(),
    }


def official(picture, mask, name):
    """research/deeplab/datasets/build_data.py."""
    return {
        "image/encoded": picture, "image/filename": name, "image/format": "jpeg", "image/height": mask.shape[0],
        "image/width": mask.shape[1], "image/channels": 3,
        "image/segmentation/class/encoded": png(mask), "image/segmentation/class/format": "png",
    }  # fmt: skip


def asahi417(picture, mask, name):
    """tfrecorder.py: the file's whole path."""
    return {
        "image/encoded": picture,
        "image/filename": f"/home/x/VOC2012/JPEGImages/{name}.jpg",
        "image/segmentation/encoded": png(mask),
    }


def png(mask):
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, split, family, indices):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for k in indices:
            image, mask = split.pairs[k][0], split.read(k)[1]
            writer.write(example(family(image.read_bytes(), mask, image.stem)))


@pytest.mark.parametrize(
    ("family", "files"),
    [
        (nanqingd, ["VOC12_val.tfrecord"]),
        (raw, ["VOC12_val.tfrecord"]),
        (official, ["val-00000-of-00002.tfrecord", "val-00001-of-00002.tfrecord"]),
        (official, ["voc_val-00000-of-00002", "voc_val-00001-of-00002"]),
        (asahi417, ["validation.tfrecord"]),
    ],
)
def test_original_records(sample_set, tmp_path, family, files, checkpoint):
    folder = read_split(VOC2012, sample_set, "val")
    for part, file in enumerate(files):
        write(tmp_path / file, folder, family, np.array_split(range(16), len(files))[part])
        write(tmp_path / file.replace("val", "train"), folder, family, [part])
    split = read_split(VOC2012, tmp_path, "val")
    # The names are the folder's, so a run may go on from either.
    assert [(p.name, m.name) for p, m in split.pairs] == [(p.name, m.name) for p, m in folder.pairs]
    assert split.title == "VOC2012 val"
    assert not split.is_sample
    for k in range(16):
        assert all(np.array_equal(a, b) for a, b in zip(split.read(k), folder.read(k), strict=True))
    assert evaluate(tmp_path, checkpoint, tmp_path / "out", "--limit", "2") == 0


def test_originals_file_names(sample_set, tmp_path):
    folder = read_split(VOC2012, sample_set, "val")
    write(tmp_path / "train-00001-of-00002.tfrecord", folder, official, [0])
    with pytest.raises(UserError, match=r"of the 00002 shards like train-00001-of-00002.tfrecord 0 are missing"):
        read_split(VOC2012, tmp_path, "train")
    with pytest.raises(UserError, match=r"no TFRecords of split 'val'; there are TFRecords of: train$"):
        read_split(VOC2012, tmp_path, "val")
    write(tmp_path / "train-00000-of-00001.tfrecord", folder, official, [0])
    with pytest.raises(UserError, match="several sets of shards could be split 'train'"):
        read_split(VOC2012, tmp_path, "train")
    (tmp_path / "VOC12_val.tfrecord").touch()
    with pytest.raises(UserError, match=r"VOC12_val\.tfrecord: split 'val' is empty"):
        read_split(VOC2012, tmp_path, "val")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xff\xff", "byte offset 0 holds no tf.train.Example"),
        (example({"image/filename": "a"}), "has no image/encoded"),
        (example({"image/encoded": b"x"}), "has neither image/segmentation/encoded nor"),
        (example({"image/encoded": b"x", "image/filename": "a", "image/segmentation/encoded": b"x"}),
         r"byte offset 0 \(a\): cannot be read as a picture"),
        (example({"image/encoded": b"x", "image/segmentation/format": "raw", "image/segmentation/encoded": b"xxx",
                  "image/height": 2, "image/width": 2}), "3 bytes of raw mask are not"),
    ],
    ids=["no example", "no picture", "no mask", "no JPEG", "raw of another size"],
)  # fmt: skip
def test_records_of_something_else(tmp_path, data, message):
    (tmp_path / "val.tfrecord").write_bytes(frame(data))
    with pytest.raises(UserError, match=message):
        read_split(VOC2012, tmp_path, "val").read(0)


def test_a_sample_stays_a_sample_without_its_index(copy, sample_set):
    (copy / "val.json").unlink()
    split = read_split(VOC2012, copy, "val")
    assert split.is_sample
    assert split.title == "sample set val"
    assert len(split.pairs) == 16


@pytest.mark.parametrize("damage", ['{"a": 1}', "{", ""])
def test_a_damaged_index_is_mended_by_building_again(damage, copy, sample_set, capsys):
    path, arguments = copy / "val.json", ("--data", sample_set, "--split", "val", "--out", copy)
    stored = index(copy, "val")
    path.write_text(damage)
    assert build(*arguments, shards=3) == 0
    assert index(copy, "val") == stored


def test_a_length_beyond_the_file_asks_for_no_memory(tmp_path):
    """Its checksum is right, so that the length is what somebody wrote."""
    length = struct.pack("<Q", 1 << 62)
    whole = frame(b"apple")
    path = tmp_path / "val.tfrecord"
    path.write_bytes(whole + length + frames._checksum(length) + b"x" * 50)
    assert read_record(path, 0) == b"apple"
    for read in (lambda: read_record(path, len(whole)), lambda: list(scan(path))):
        with pytest.raises(UserError, match=rf"example at byte offset {len(whole)} is cut off; restore the file"):
            read()


def test_a_shard_of_a_count_that_nobody_has_is_none(tmp_path):
    (tmp_path / "train-00000-of-9999999999999.tfrecord").touch()
    with pytest.raises(UserError, match="no TFRecords of split 'train'; there are TFRecords of: train-00000-of-9999"):
        find_shards(tmp_path, "train")
