"""Films: frame rate and length stay, a signal leaves a film that plays, and wrong films are one sentence."""

import os
import signal

import numpy as np
import pytest
from PIL import Image

from common.data.sets.voc import VOC2012
from common.errors import UserError
from common.inference.film import SUFFIXES as FILMS
from common.inference.film import Segmented, is_film, opened_film, predict_film, refuse_films
from common.inference.prediction import find_pictures
from tests.helpers.tiny import run
from tests.inference.test_tiles import tiny_values

ffmpeg = pytest.importorskip("imageio_ffmpeg")


class ByBrightness:
    """A segmenter that gives class 15 to bright frames."""

    def __init__(self, then=None):
        self.seen, self._then = 0, then

    def label(self, frame):
        self.seen += 1
        if self._then:
            self._then(self.seen)
        return np.full(frame.shape[:2], 15 if frame.mean() > 127 else 0, np.uint8)


def write(path, frames=25, rate=12.5, size=(64, 48)):
    writer = ffmpeg.write_frames(str(path), size, fps=rate, macro_block_size=1)
    writer.send(None)
    for i in range(frames):
        writer.send(np.full((size[1], size[0], 3), 255 * (i >= frames // 2), np.uint8))
    writer.close()


@pytest.fixture
def clip(tmp_path):
    write(tmp_path / "a clip.mp4")
    return tmp_path / "a clip.mp4"


def test_rate_and_length_stay(clip, tmp_path):
    out = tmp_path / "out"
    assert predict_film(ByBrightness(), clip, VOC2012, out, save_frames=True, quiet=True) == (25, 25, None)
    with opened_film(out / "a clip_overlay.mp4") as film:
        frames = list(film.frames)
        assert (film.rate, film.size, len(frames)) == (12.5, (64, 48), 25)
    assert frames[0].max() < 20, "class 0 is not drawn"
    assert abs(frames[-1].mean(axis=(0, 1)) - (0.4 * 255 + 0.6 * np.array(VOC2012.palette[15]))).max() < 6
    labels = sorted((out / "a clip_frames").iterdir())
    assert [path.name for path in labels] == [f"{i:06d}.png" for i in range(25)]
    assert np.asarray(Image.open(labels[0])).max() == 0
    assert np.asarray(Image.open(labels[-1])).min() == 15


def test_a_signal_leaves_what_was_done(clip, tmp_path):
    stopping = ByBrightness(lambda seen: os.kill(os.getpid(), signal.SIGINT) if seen == 7 else None)
    assert predict_film(stopping, clip, VOC2012, tmp_path / "out", quiet=True) == (7, 25, signal.SIGINT)
    assert str(Segmented(7, 25, signal.SIGINT)) == "stopped, 7 frames of about 25"
    with opened_film(tmp_path / "out" / "a clip_overlay.mp4") as film:
        assert len(list(film.frames)) == 7
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a clip_overlay.mp4"]


def test_an_error_leaves_nothing(clip, tmp_path):
    def fail(seen):
        if seen == 3:
            raise UserError("no")

    with pytest.raises(UserError):
        predict_film(ByBrightness(fail), clip, VOC2012, tmp_path / "out", quiet=True)
    assert not list((tmp_path / "out").iterdir())


def test_only_its_own_film_is_overwritten(clip, tmp_path):
    out = tmp_path / "out"
    predict_film(ByBrightness(), clip, VOC2012, out, quiet=True)
    refuse_films([clip], out)
    write(out / "a clip_overlay.mp4", frames=2)
    with pytest.raises(UserError, match="a clip_overlay.mp4 is there, and no film of this suite"):
        refuse_films([clip], out)
    other = clip.with_suffix(".avi")
    other.write_bytes(clip.read_bytes())
    with pytest.raises(UserError, match="would both write"):
        refuse_films([clip, other], tmp_path / "other")


def test_frames_of_a_longer_film_do_not_stay(clip, tmp_path):
    out = tmp_path / "out"
    predict_film(ByBrightness(), clip, VOC2012, out, save_frames=True, quiet=True)
    write(clip, frames=3)
    refuse_films([clip], out, save_frames=True)
    predict_film(ByBrightness(), clip, VOC2012, out, save_frames=True, quiet=True)
    assert sorted(path.name for path in (out / "a clip_frames").iterdir()) == [f"{i:06d}.png" for i in range(3)]

    def fail(seen):
        raise UserError("no")

    with pytest.raises(UserError):
        predict_film(ByBrightness(fail), clip, VOC2012, out, save_frames=True, quiet=True)
    assert len(list((out / "a clip_frames").iterdir())) == 3, "what was there before stays"
    assert sorted(path.name for path in out.iterdir()) == ["a clip_frames", "a clip_overlay.mp4"]

    for name in ("000000.png", "mine.txt"):
        Image.new("L", (4, 4)).save(out / "a clip_frames" / name, format="PNG")
        with pytest.raises(UserError, match=f"a clip_frames/{name} is there, and no frame of this suite"):
            refuse_films([clip], out, save_frames=True)
        (out / "a clip_frames" / name).unlink()


def test_a_film_that_is_cut_short_says_so(tmp_path):
    pictures = np.random.RandomState(0).randint(0, 256, (60, 48, 64, 3), np.uint8)
    writer = ffmpeg.write_frames(str(tmp_path / "whole.mp4"), (64, 48), macro_block_size=1,
                                 output_params=["-movflags", "+faststart"])  # fmt: skip
    writer.send(None)
    for picture in pictures:
        writer.send(picture)
    writer.close()
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    done = predict_film(ByBrightness(), tmp_path / "cut.mp4", VOC2012, tmp_path / "out", quiet=True)
    assert done.frames < 54
    assert str(done) == f"{done.frames} frames of about 60, so it may be damaged,"


def test_folders_and_patterns(tmp_path):
    np.savez(tmp_path / "w.npz", **tiny_values())
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.avi"):
        write(tmp_path / "clips" / name, frames=2)
    for number, named in enumerate((tmp_path / "clips", tmp_path / "clips" / "*.*")):
        out = tmp_path / f"out {number}"
        assert run("predict", named, "--checkpoint", tmp_path / "w.npz", "--out", out, "--quiet") == 0
        assert sorted(path.name for path in out.iterdir()) == ["a_overlay.mp4", "b_overlay.mp4"]
    Image.new("RGB", (40, 30)).save(tmp_path / "clips" / "p.jpg")
    found = find_pictures([str(tmp_path / "clips")], FILMS)
    assert [path.name for path in found] == ["p.jpg"], "a folder with pictures gives these alone"


def test_command(clip, tmp_path, capsys):
    np.savez(tmp_path / "w.npz", **tiny_values())
    (tmp_path / "broken.mp4").write_bytes(clip.read_bytes()[:300])
    Image.new("RGB", (40, 30)).save(tmp_path / "p.jpg")
    command = ["--checkpoint", tmp_path / "w.npz", "--out", tmp_path / "out", "--quiet"]
    assert run("predict", clip, tmp_path / "p.jpg", *command, "--classes", "cat", "--save-labels") == 0
    said = capsys.readouterr().out
    assert "p.jpg: " in said
    assert f"a clip.mp4: 25 frames written to {tmp_path}/out/a clip_overlay.mp4" in said
    for wrong, message in (
        ([clip, "--save-contours"], "--save-contours: is for pictures, and"),
        ([tmp_path / "broken.mp4"], "broken.mp4: cannot be read as a film"),
        ([tmp_path / "none.mp4"], "none.mp4: no such file"),
        (
            [tmp_path / "p.jpg", "--save-labels"],
            "--save-labels: is for films; of p.jpg the label map",
        ),
    ):
        assert run("predict", *wrong, *command) == 2
        assert message in capsys.readouterr().err


def test_without_ffmpeg(clip, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match="a clip.mp4: films need imageio-ffmpeg; make setup FILM=1 installs it"):
        refuse_films([clip], clip.parent / "out")


def test_endings(tmp_path):
    assert is_film(tmp_path / "A.MP4")
    assert not is_film(tmp_path / "a.gif"), "Pillow reads its first frame"
