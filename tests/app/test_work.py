"""The work behind the page, against what `predict` writes."""

import io
import json
import threading

import numpy as np
import pytest
import tifffile
from PIL import Image

from common import cli
from common.app import work
from common.app.examples import find_examples
from common.app.models import find_models
from common.app.work import Settings, SharedSegmenter
from common.data import sample
from common.data.drawing import overlay
from common.data.sets.cards import CARDS
from common.data.sets.voc import VOC2012
from common.errors import UserError
from reproductions import v3plus
from tests.app.conftest import EXPORTED, FETCHED, RUN

PICTURE = sample.draw(3)[0]


@pytest.fixture
def models(world, monkeypatch):
    monkeypatch.chdir(world)
    return find_models()


def encoded(picture, kind="png"):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind)
    return buffer.getvalue()


def test_it_finds_what_was_fetched_trained_and_exported(models, world):
    assert list(models) == [FETCHED, RUN, EXPORTED]
    assert [model.is_file for model in models.values()] == [False, False, True]
    assert [model.has_strides for model in models.values()] == [True, True, False]
    (world / "out/damaged").mkdir(exist_ok=True)
    (world / "out/damaged/export.json").write_text("{")
    assert list(find_models()) == list(models)


def test_models_of_one_title_are_told_apart(models, world):
    other = world / "out/more/export"
    other.mkdir(parents=True)
    for name in ("model.pb", "export.json"):
        (other / name).write_bytes((world / "out/export" / name).read_bytes())
    titles = set(find_models()) - set(models)
    (other / "export.json").unlink()
    assert titles == {"out/export/model.pb", "out/more/export/model.pb"}


def test_weights_in_their_place_are_another_model(models, world):
    (world / "runs/mine/model.ckpt-8.index").touch()
    assert find_models()[RUN] != models[RUN]
    assert find_models()[FETCHED] == models[FETCHED]


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        (Settings(), []),
        (Settings(output_stride=16), ["--set", "eval_output_stride=16"]),
        (Settings(scales=(0.5, 1.0), flip=True), ["--scales", "0.5,1", "--flip"]),
        (Settings(crf=True, engine="tensorflow"), ["--crf", "--engine", "tensorflow"]),
    ],
)
def test_the_label_map_is_what_predict_writes(models, settings, flags, tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "drawn.png")
    variant = ["--set", *models[FETCHED].settings, *[flag for flag in flags if "eval_output_stride" in flag]]
    others = [] if "--set" in flags else flags
    arguments = ["predict", tmp_path / "drawn.png", "--checkpoint", models[FETCHED].path, "--out", tmp_path / "out",
                 "--background", "transparent", "--save-contours", "--quiet", *others, *variant]  # fmt: skip
    assert cli.main(v3plus.REPRODUCTION, [str(a) for a in arguments]) == 0
    result = SharedSegmenter(models[FETCHED], settings).segment(PICTURE)
    written = tmp_path / "out"
    assert len(np.unique(result.label)) > 1
    np.testing.assert_array_equal(result.label, np.asarray(Image.open(written / "drawn.png")))
    files = work.downloads_of(result.card, [])
    contents = {ending: file.content("drawn.png", PICTURE, result.label, result.card) for ending, file in files.items()}
    assert contents[".png"] == (written / "drawn.png").read_bytes()
    assert contents["_cutout.png"] == (written / "drawn_cutout.png").read_bytes()
    theirs = json.loads((written / "labelme/drawn.json").read_text())
    assert json.loads(contents[".json"]) == theirs | {"imagePath": "drawn.png"}
    assert (result.seconds > 0, "TensorFlow" in result.engine) == (True, True)


def test_a_file_runs_as_it_is(models):
    result = SharedSegmenter(models[EXPORTED], Settings(output_stride=8)).segment(PICTURE)
    assert result.engine == "model.pb runs as it is"
    assert result.label.shape == PICTURE.shape[:2]


def test_two_people_get_their_own_results(models):
    """One segmenter, many threads, pictures of two sizes."""
    shared = SharedSegmenter(models[FETCHED], Settings())
    pictures = [PICTURE, np.ascontiguousarray(PICTURE[:-30, ::-1])]
    wanted = [shared.segment(picture).label for picture in pictures]
    found = {}

    def ask(number):
        found[number] = shared.segment(pictures[number % 2]).label

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        np.testing.assert_array_equal(found[number], wanted[number % 2])


def test_two_people_never_run_at_once(models, monkeypatch):
    shared, inside, most = SharedSegmenter(models[FETCHED], Settings()), [0], [0]
    segment = shared.segment(PICTURE) and shared._segmenter.label

    def watched(picture):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        try:
            return segment(picture)
        finally:
            inside[0] -= 1

    monkeypatch.setattr(shared._segmenter, "label", watched)
    threads = [threading.Thread(target=shared.segment, args=(PICTURE,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_uploads_are_read_as_every_picture_is():
    np.testing.assert_array_equal(work.read_upload("a.png", encoded(PICTURE)), PICTURE)
    colours = (PICTURE / np.float32(255)).astype(np.float32)
    stream = io.BytesIO()
    tifffile.imwrite(stream, colours, photometric="rgb")
    assert work.read_upload("floats.tif", stream.getvalue()).shape == PICTURE.shape
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((8, 9, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(UserError, match=r"^five\.tif: has 5 channels; choose"):
        work.read_upload("five.tif", stream.getvalue())
    grey = work.read_upload("grey.png", encoded(PICTURE[..., 0]))
    assert grey.shape == PICTURE.shape


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("bad.png", b"nothing", "bad.png: cannot be read as a picture"),
        ("cut.png", encoded(PICTURE)[:3000], "cut.png: cannot be read as a picture"),
        ("large.png", encoded(np.zeros((5001, 5000), np.uint8)), "large.png: 5000x5001 pixels are more than the 16"),
        ("../up.png", encoded(PICTURE), "this picture: '../up.png' is no plain name"),
    ],
)
def test_bad_uploads_are_refused_in_a_sentence(name, data, message):
    with pytest.raises(UserError, match=f"^{message}"):
        work.read_upload(name, data)


def test_what_the_page_shows_is_not_larger_than_a_page():
    large = np.kron(PICTURE, np.ones((10, 10, 1), np.uint8))
    label = np.kron(sample.draw(3)[1], np.ones((10, 10), np.uint8))
    drawn = work.draw(large, label, VOC2012, 0.5)
    assert max(drawn.shape) == work.SHOWN_SIDE
    small = work.draw(PICTURE, sample.draw(3)[1], VOC2012, 0.5)
    np.testing.assert_array_equal(small, overlay(PICTURE, sample.draw(3)[1], VOC2012.palette, 0.5, plain=255))
    assert set(np.unique(work.for_the_screen(label, is_label=True))) <= set(np.unique(label))


def test_the_border_parts_two_drawings():
    left, right = np.zeros((4, 10, 3), np.uint8), np.full((4, 10, 3), 9, np.uint8)
    joined = work.side_by_side(left, right, 0.5)
    assert joined[0, :, 0].tolist() == [0, 0, 0, 0, 255, 255, 9, 9, 9, 9]
    assert (work.side_by_side(left, right, 0.0) == 9).all()
    assert (work.side_by_side(left, right, 1.0) == 0).all()
    assert (left == 0).all()


def test_classes_of_another_data_set_leave_nothing():
    label = np.array([[0, 8, 15]], np.uint8)  # background, cat, person
    result = work.Result(label, VOC2012, 0.1, "")
    assert work.keep(result, []).tolist() == [[0, 8, 15]]
    assert work.keep(result, ["cat", "road"]).tolist() == [[0, 8, 0]]
    assert work.keep(result, ["road"]).tolist() == [[0, 0, 0]]


def test_cutting_out_needs_something_to_leave_out():
    streets = CARDS["cityscapes"]
    assert "_cutout.png" not in work.downloads_of(streets, [])
    assert "_cutout.png" in work.downloads_of(streets, ["car"])


def test_the_examples(world, monkeypatch, tmp_path):
    monkeypatch.chdir(world)
    drawn = find_examples()
    assert list(drawn) == ["drawn3.png", "drawn7.png", "drawn11.png"]
    np.testing.assert_array_equal(drawn["drawn3.png"](), PICTURE)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/photographs/photographs"
    folder.mkdir(parents=True)
    Image.fromarray(PICTURE).save(folder / "chelsea.png")
    assert list(find_examples()) == ["chelsea.png", "drawn3.png", "drawn7.png"]
