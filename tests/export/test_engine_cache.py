"""Checkpoints run by other engines: from the cache, without TensorFlow, with TensorFlow's labels or not at all."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from common.console import hush
from common.data import sample
from common.engines import programs
from common.engines.interface import LABELS
from common.engines.programs import PROGRAMS
from common.errors import UserError
from common.export import cache as caching
from common.export import prepare
from common.export.cache import CachedNetwork
from common.export.choice import AUTO, PREPARED, Choice, SettledByFirstPicture
from common.inference import engine_segmenter
from common.inference.engine_segmenter import EngineSegmenter
from common.inference.segmenter import Segmenter
from common.results import records
from tests.conftest import ROOT, files_no_larger_than
from tests.export.test_export import write_random_weights
from tests.helpers import tiny
from tests.helpers.pinned import pin_seconds

PICTURE = sample.draw(70)[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_random_weights(tmp_path_factory.mktemp("weights") / "tiny.npz", tiny.network, tiny.SMALL)


@pytest.fixture(scope="module")
def prepared(weights, tmp_path_factory):
    """A cache with the network of `weights`, compared on a picture by ONNX Runtime, which was faster; take copies."""
    folder = tmp_path_factory.mktemp("prepared") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        pin_seconds(patch)
        patch.setenv("DEEPLAB_CACHE", str(folder))
        settled(weights, "onnxruntime")
    return folder


@pytest.fixture(autouse=True)
def pinned(monkeypatch):
    """Other engines are faster than TensorFlow, whatever else the machine does."""
    pin_seconds(monkeypatch)


@pytest.fixture
def filled(prepared, cache):
    shutil.copytree(prepared, cache)
    return cache


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in (70, 71):
        Image.fromarray(sample.draw(seed)[0]).save(folder / f"{seed}.png")
    return folder


def settled(weights, engine=AUTO, settings=(), **changes):
    choice = Choice(tiny.TINY, weights, settings, changes, engine)
    choice.settle([PICTURE])
    return choice


def is_hit(weights, engine=None, settings=(), **changes):
    return isinstance(Choice(tiny.TINY, weights, settings, changes, engine).weights, CachedNetwork)


def entries(cache):
    return sorted(path for path in cache.iterdir() if (path / caching.ENTRY).exists())


PROTOCOLS = {
    "plain": (),
    "padded": ("eval_size=257", "eval_padding=around"),
    "resized": ("resize_range=97,129", "eval_size=129"),
    "scales": ("eval_scales=0.5,1.25", "eval_flip=true"),
    "greatest": ("eval_scales=1,1.25", "scale_fusion=max_logits"),
    "crf": ("crf=true",),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("engine", PROGRAMS)
def test_an_engine_gives_what_tensorflow_gives(weights, engine, protocol):
    if not PROGRAMS[engine].is_installed:
        pytest.skip(f"{engine} is not installed")
    if (engine, protocol) == ("openvino", "resized"):  # OpenVINO 2026.4 divides sizes with another rounding
        with pytest.raises(UserError, match="OpenVINO gives TensorFlow's label on"):
            settled(weights, engine, PROTOCOLS[protocol])
        return
    choice = settled(weights, engine, PROTOCOLS[protocol])
    assert choice.recipe.engine == engine
    plain = Choice(tiny.TINY, weights, PROTOCOLS[protocol], engine="tensorflow")
    other = sample.draw(71)[0][:100, :77]
    with choice.segmenter() as ours, plain.segmenter() as theirs:
        assert isinstance(ours, EngineSegmenter)
        assert isinstance(theirs, Segmenter)
        for picture in (PICTURE, other):
            assert (ours.label(picture) == theirs.label(picture)).mean() > 0.9999
            np.testing.assert_allclose(ours.probabilities(picture), theirs.probabilities(picture), atol=1e-4)
            np.testing.assert_allclose(ours.logits(picture), theirs.logits(picture), rtol=1e-3, atol=1e-3)
        label, logits = ours.label_and_logits(PICTURE)
        assert ours.recipe.crf or (label == ours.label(PICTURE)).all()
        np.testing.assert_array_equal(logits, ours.logits(PICTURE))
        with pytest.raises(UserError, match="loss is TensorFlow's alone"):
            ours.label_and_loss(PICTURE, label)
    with pytest.raises(UserError, match="this segmenter is closed"):
        ours.label(PICTURE)


# The command line where these cannot be imported; an evaluation's pictures.npz takes SciPy, a prediction nothing.
WITHOUT = """
import sys
for name in ("tensorflow", "tf_slim", "keras", "tf2onnx", *["scipy", "onnx"] * ("predict" in sys.argv)):
    sys.modules[name] = None
from tests.helpers import tiny
sys.exit(tiny.run(*sys.argv[1:]))
"""


def without_tensorflow(*words):
    command = [sys.executable, "-c", WITHOUT, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))


@pytest.mark.parametrize("words", [(), ("--engine", "onnxruntime"), ("--save-logits", "--save-probabilities")])
def test_the_second_prediction_does_without_tensorflow(weights, filled, pictures, tmp_path, words):
    done = without_tensorflow("predict", pictures, "--checkpoint", weights, "--out", tmp_path / "out", *words)
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime" in done.stderr
    assert "runs the network: TensorFlow's label on 100.00 % of the pixels of 1 picture" in done.stderr
    plain = tiny.run("predict", pictures, "--checkpoint", weights, "--out", tmp_path / "o", "--engine", "tensorflow")
    assert plain == 0
    for name in ("70.png", "71.png"):
        ours, theirs = (np.asarray(Image.open(tmp_path / out / name)) for out in ("out", "o"))
        assert (ours == theirs).mean() > 0.9999


def test_quiet_says_nothing(weights, filled, pictures, tmp_path):
    done = without_tensorflow("predict", pictures, "--checkpoint", weights, "--out", tmp_path / "out", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_evaluation_takes_tensorflow_unless_told(weights, filled, sample_set, tmp_path):
    words = ("evaluate", "--data", sample_set, "--checkpoint", weights, "--quiet", "--limit", 3)
    assert without_tensorflow(*words, "--out", tmp_path / "a").returncode != 0
    done = without_tensorflow(*words, "--out", tmp_path / "b", "--engine", "onnxruntime")
    assert done.returncode == 0, done.stderr
    assert tiny.run(*words, "--out", tmp_path / "a") == 0
    plain, ours = (records.read_record(tmp_path / name / records.BESIDE) for name in "ab")
    assert plain["miou"] == pytest.approx(ours["miou"], abs=1e-3)
    assert "engine" not in plain["protocol"]
    assert "engine" not in plain
    assert "onnxruntime" not in plain["versions"]
    assert ours["protocol"]["engine"] == ours["recipe"]["engine"] == "onnxruntime"
    assert ours["engine"] == {"agreement": 1.0, "pictures": 1, "pixels": PICTURE[..., 0].size}
    assert ours["versions"]["onnxruntime"] == PROGRAMS["onnxruntime"].version
    assert ours["checkpoint"] == plain["checkpoint"]
    assert (ours["id"], ours["code"]) != (plain["id"], plain["code"])


def test_nothing_is_prepared_unless_asked_for(weights, cache, pictures, tmp_path):
    assert tiny.run("predict", pictures, "--checkpoint", weights, "--out", tmp_path / "out") == 0
    assert not cache.exists()


def test_what_changes_the_network_misses(weights, filled, tmp_path, monkeypatch):
    assert is_hit(weights)
    assert is_hit(weights, "onnxruntime")
    assert not is_hit(weights, "tensorflow")
    assert not is_hit(weights, settings=("eval_size=129",))
    assert not is_hit(weights, eval_flip=True)
    assert not is_hit(weights, precision="bf16")
    copy = shutil.copy(weights, tmp_path / "copy.npz")
    assert is_hit(copy)  # by its content
    values = dict(np.load(copy))
    name = next(iter(values))
    np.savez(copy, **values | {name: values[name] + 1})
    assert not is_hit(copy)
    monkeypatch.setattr(caching, "code_digest", lambda module: "of another day")
    assert not is_hit(weights)


def test_the_code_of_a_network_is_in_its_key(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "common", tmp_path / "common")
    shutil.copytree(ROOT / "reproductions", tmp_path / "reproductions")
    monkeypatch.setattr(caching, "ROOT", tmp_path)
    before = caching.code_digest("reproductions.v3plus.model")
    for name in ("common/nets/layers.py", "reproductions/v3plus/model.py", "common/tf1.py"):
        (tmp_path / name).write_text((tmp_path / name).read_text() + "\nX = 1\n")
        after = caching.code_digest("reproductions.v3plus.model")
        assert after != before
        before = after
    (tmp_path / "reproductions/v2/model.py").write_text("")
    assert caching.code_digest("reproductions.v3plus.model") == before


def test_another_version_of_an_engine_is_compared_again(weights, filled, monkeypatch):
    other = dataclasses.replace(PROGRAMS["onnxruntime"])
    other.__dict__["version"] = "99"
    monkeypatch.setitem(programs.PROGRAMS, "onnxruntime", other)
    assert not is_hit(weights)
    assert settled(weights, "onnxruntime").weights.entry.trial("onnxruntime", "fp32").version == "99"


@pytest.mark.parametrize("name", [caching.ENTRY, caching.WEIGHTS, caching.FILES[LABELS]])
@pytest.mark.parametrize("how", ["cut", "gone", "other"])
def test_a_damaged_entry_is_made_again(weights, filled, name, how):
    (folder,) = entries(filled)
    path = folder / name
    whole = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if how == "cut" else whole[:-9] + b"\0" + whole[-8:])
    assert not is_hit(weights)
    settled(weights, "onnxruntime")
    assert is_hit(weights)
    assert entries(filled) == [folder]


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": 1}', '{"schema": 99}', "null"])
def test_a_strange_entry_is_none(weights, filled, content):
    (folder,) = entries(filled)
    (folder / caching.ENTRY).write_text(content)
    assert not is_hit(weights)


def test_two_processes_at_once(weights, cache, pictures, tmp_path):
    words = [sys.executable, "-m", "tests.helpers.tiny", "predict", str(pictures), "--checkpoint", str(weights)]
    words += ["--engine", "onnxruntime", "--out"]
    running = [
        subprocess.Popen([*words, str(tmp_path / name)], cwd=ROOT, stderr=subprocess.PIPE, text=True) for name in "ab"
    ]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert sum("preparing" in text for text in said) == 1
    assert sum(text.count("waiting for another process") for text in said) <= 1
    (folder,) = entries(cache)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*caching.FILES.values(), "entry.json", "weights"])


@pytest.mark.parametrize("quiet", [False, True])
def test_waiting_for_another_process_is_said_once(cache, monkeypatch, capsys, quiet):
    tries = []

    @contextlib.contextmanager
    def busy_twice(folder, busy, nested):
        tries.append(folder)
        if len(tries) < 3:
            raise UserError("it is held")
        yield

    monkeypatch.setattr(caching, "locked", busy_twice)
    with caching.held("0" * 32, quiet) as folder:
        assert tries == [folder] * 3
    said = f"waiting for another process, which prepares the network for other engines in {folder}\n"
    assert capsys.readouterr().err == ("" if quiet else said)


def other_labels(monkeypatch, share):
    """From now on an engine gives another label for this share of the pixels."""
    whole = engine_segmenter.EngineSegmenter.label

    def label(self, picture):
        found = whole(self, picture).copy()
        found.flat[: int(share * found.size)] += 1
        return found

    monkeypatch.setattr(engine_segmenter.EngineSegmenter, "label", label)


def test_an_engine_with_other_labels_is_refused(weights, cache, pictures, tmp_path, monkeypatch, capsys):
    other_labels(monkeypatch, 0.02)
    words = ("predict", pictures, "--checkpoint", weights, "--out", tmp_path / "out", "--engine")
    for _ in range(2):  # the second time the comparison is read
        assert tiny.run(*words, "onnxruntime") == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: --engine onnxruntime: ONNX Runtime gives TensorFlow's label on 98.0")
        assert error.endswith("of 2 pictures, below 99.99 %; take --engine tensorflow")
    assert not (tmp_path / "out").exists()
    assert tiny.run(*words, "auto") == 0
    said = capsys.readouterr().err
    assert "TensorFlow runs the network: ONNX Runtime gives TensorFlow's label on 98.0" in said
    assert tiny.run(*words[:-1]) == 0
    assert capsys.readouterr().err == ""


def test_a_single_other_pixel_in_ten_thousand_is_allowed(weights, cache, monkeypatch):
    other_labels(monkeypatch, 1 / PICTURE[..., 0].size)
    assert 1 / PICTURE[..., 0].size < 1e-4
    assert isinstance(settled(weights, "onnxruntime").weights, CachedNetwork)


def test_an_engine_that_fails_is_left_out(weights, cache, monkeypatch, capsys):
    def fails(model, precision):
        raise RuntimeError("no such op")

    monkeypatch.setitem(programs.PROGRAMS, "openvino", dataclasses.replace(PROGRAMS["onnxruntime"], title="OpenVINO"))
    broken = dataclasses.replace(PROGRAMS["onnxruntime"], load=fails)
    monkeypatch.setitem(programs.PROGRAMS, "onnxruntime", broken)
    assert settled(weights).recipe.engine == "openvino"
    assert "ONNX Runtime cannot run this network (no such op)" in capsys.readouterr().err
    assert is_hit(weights, AUTO)  # it is not tried again
    with pytest.raises(UserError, match="--engine onnxruntime: ONNX Runtime cannot run it; take --engine tensorflow"):
        settled(weights, "onnxruntime")


def test_the_fastest_engine_is_taken(weights, filled, monkeypatch):
    (folder,) = entries(filled)
    monkeypatch.setitem(programs.PROGRAMS, "openvino", dataclasses.replace(PROGRAMS["onnxruntime"], title="OpenVINO"))
    entry = caching.read(folder)
    first = entry.trials["onnxruntime fp32"]
    for seconds, engine in ((first.seconds / 2, "openvino"), (first.seconds * 2, "onnxruntime")):
        entry.trials["openvino fp32"] = dataclasses.replace(first, seconds=seconds)
        entry.save()
        for asked in (None, AUTO):
            assert Choice(tiny.TINY, weights, (), engine=asked).recipe.engine == engine
    entry.trials["openvino fp32"] = dataclasses.replace(first, seconds=1e-9, agreement=0.999)
    entry.save()
    assert Choice(tiny.TINY, weights, (), engine=AUTO).recipe.engine == "onnxruntime"


@pytest.mark.parametrize("others", [1.4, 0.87])
def test_tensorflow_runs_where_no_engine_was_faster(weights, cache, pictures, tmp_path, monkeypatch, capsys, others):
    pin_seconds(monkeypatch, tensorflow=0.87, others=others)
    words = ("predict", pictures, "--checkpoint", weights, "--out", tmp_path / "out")
    line = f"TensorFlow runs the network: ONNX Runtime took {others:.3f} s a picture instead of 0.870 s\n"
    assert tiny.run(*words, "--engine", "auto") == 0
    assert capsys.readouterr().err.endswith(f"\n{line}")
    for more in ((), ("--engine", "auto")):  # from here on the comparison is read
        assert tiny.run(*words, *more) == 0
        assert capsys.readouterr().err == line
    assert tiny.run(*words, "--quiet") == 0
    assert capsys.readouterr().err == ""
    with tiny.TINY.segmenter(weights) as segmenter:
        assert isinstance(segmenter, Segmenter)
    assert isinstance(settled(weights, "onnxruntime").weights, CachedNetwork)  # by its name it runs


def test_an_engine_competes_with_tensorflow_in_its_own_precision(weights, cache, monkeypatch):
    other = dataclasses.replace(PROGRAMS["onnxruntime"], title="OpenVINO", precisions=("fp32", "bf16"))
    other = dataclasses.replace(other, load=lambda path, precision: PROGRAMS["onnxruntime"].load(path, "fp32"))
    monkeypatch.setitem(programs.PROGRAMS, "openvino", other)
    seconds = {"Segmenter fp32": 3.0, "Segmenter bf16": 1.0, "EngineSegmenter bf16": 2.0}

    def timed(segmenter, pictures):
        return [(segmenter.label(p), seconds[f"{type(segmenter).__name__} {segmenter.recipe.precision}"])
                for p in pictures]  # fmt: skip

    monkeypatch.setattr(prepare, "timed", timed)
    choice = settled(weights, precision="bf16")
    assert choice.recipe.engine == "tensorflow"
    assert choice.described() == "TensorFlow runs the network: OpenVINO took 2.000 s a picture instead of 1.000 s"


def test_refusals(weights, cache, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(programs.PROGRAMS, "openvino", dataclasses.replace(PROGRAMS["openvino"], package="nosuch"))
    words = ("predict", pictures, "--checkpoint", weights, "--out", tmp_path / "out", "--engine")
    cases = {
        ("openvino",): "OpenVINO is not installed; make setup ENGINES=1 installs it",
        ("onnxruntime", "--precision", "bf16"): "ONNX Runtime computes in fp32 alone; leave it out, or take --engine",
        ("onnxruntime", "--set", "precision=bf16"): "ONNX Runtime computes in fp32 alone",
        ("caffe",): "invalid choice: 'caffe'",
    }
    for more, reason in cases.items():
        assert tiny.run(*words, *more) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert reason in error
    assert not cache.exists()


def test_a_setting_chooses_the_engine_too(weights, filled):
    assert Choice(tiny.TINY, weights, ("engine=onnxruntime",), default="tensorflow").recipe.engine == "onnxruntime"
    assert Choice(tiny.TINY, weights, ("engine=onnxruntime",), engine="tensorflow").recipe.engine == "tensorflow"
    assert Choice(tiny.TINY, weights, (), default="tensorflow").recipe.engine == "tensorflow"
    assert Choice(tiny.TINY, weights, (), default=PREPARED).recipe.engine == "onnxruntime"


def test_a_cache_that_cannot_be_written(weights, tmp_path, pictures, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEEPLAB_CACHE", str(tmp_path / "file" / "cache"))
    words = ("predict", pictures, "--checkpoint", weights, "--out", tmp_path / "out", "--engine")
    assert tiny.run(*words, "onnxruntime") == 2
    assert f"error: DEEPLAB_CACHE={tmp_path}/file/cache: cannot be written" in capsys.readouterr().err
    assert tiny.run(*words, "auto") == 0
    assert f"TensorFlow runs the network: DEEPLAB_CACHE={tmp_path}/file/cache: cannot be w" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing(weights, cache, monkeypatch):
    with files_no_larger_than(20_000), pytest.raises(UserError, match=r"DEEPLAB_CACHE=.*File too large"):
        settled(weights, "onnxruntime")
    assert not cache.exists() or not [path for path in cache.rglob("*") if path.is_file()]


def test_the_cache_is_bounded_and_swept(weights, filled, monkeypatch):
    (folder,) = entries(filled)
    for name in ("0" * 32, "1" * 32):
        shutil.copytree(folder, filled / name)
        os.utime(filled / name / caching.ENTRY, (1, 1))
    (filled / ("2" * 32)).mkdir()
    (filled / ("2" * 32) / "weights").write_text("of a process that was killed")
    size = sum(path.stat().st_size for path in folder.iterdir())
    os.utime(filled / ("1" * 32) / caching.ENTRY, (2, 2))
    monkeypatch.setattr(caching, "MOST_BYTES", 2.5 * size)
    caching.prune(kept=folder)
    assert entries(filled) == sorted([folder, filled / ("1" * 32)])
    assert not (filled / ("2" * 32)).exists()


def test_python_takes_an_engine(weights, cache):
    with tiny.TINY.segmenter(weights, engine="onnxruntime") as segmenter:
        assert isinstance(segmenter, SettledByFirstPicture)
        assert segmenter.recipe.engine == "tensorflow"
        label = segmenter.label(PICTURE)
        assert segmenter.recipe.engine == "onnxruntime"
    with tiny.TINY.segmenter(weights) as segmenter:
        assert isinstance(segmenter, EngineSegmenter)
        assert (segmenter.label(PICTURE) == label).all()
    with tiny.TINY.segmenter(weights, engine="tensorflow") as segmenter:
        assert isinstance(segmenter, Segmenter)


def test_a_large_picture_goes_to_tensorflow(weights, filled, pictures, tmp_path, monkeypatch, capsys):
    hush(False)  # a test before may have been quiet
    choice = Choice(tiny.TINY, weights, ())
    with choice.segmenter() as segmenter:
        label = segmenter.label(PICTURE)
        monkeypatch.setattr(engine_segmenter, "LARGEST_PIXELS", 100)
        assert (segmenter.label(PICTURE) == label).mean() > 0.9999
    assert "too large for ONNX Runtime; TensorFlow takes it" in capsys.readouterr().err
    words = ("predict", pictures, "--checkpoint", weights, "--out", tmp_path / "out", "--quiet")
    assert tiny.run(*words) == 0
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match="engines are compared on pictures of at most"):
        settled(weights, "onnxruntime", ("eval_size=65",))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RuntimeError("bad shape"),
            r"ONNX Runtime cannot take a picture of 96x64 pixels \(bad shape\); --engine tensorf",
        ),
        (MemoryError(), "96x64 pixels"),
    ],
)
def test_a_picture_that_an_engine_cannot_take(weights, filled, error, message):
    def load(path, precision):
        def run(values):
            raise error

        return run

    (folder,) = entries(filled)
    files = {role: caching.read(folder).path(role) for role in caching.FILES}
    with (
        EngineSegmenter(files, tiny.SMALL, dataclasses.replace(PROGRAMS["onnxruntime"], load=load)) as running,
        pytest.raises(UserError, match=message),
    ):
        running.label(np.zeros((64, 96, 3), np.uint8))


def test_a_runs_recipe_stays_with_its_weights(weights, filled):
    """The record asks the weights for it."""
    choice = Choice(tiny.TINY, weights, ())
    assert choice.weights.recipe() is None
    (folder,) = entries(filled)
    content = json.loads((folder / caching.ENTRY).read_text())
    assert content["recipe"] == choice.recipe.derive(engine="tensorflow").to_json()
    assert (folder / caching.WEIGHTS).stat().st_size > prepare.LEAST_SHARED


def test_an_engine_of_no_such_name(weights, cache):
    with pytest.raises(
        UserError, match="engine=bogus: there is none of this name; take one of tensorflow, onnxruntime"
    ):
        tiny.TINY.segmenter(weights, engine="bogus")


def test_the_protocol_is_the_one_of_tensorflow(weights, filled):
    """Also of recipes that evaluate at another stride than they train at."""

    class Recipe(tiny.TinyRecipe):
        def at_evaluation(self):
            return self.derive(width=7)

    recipe = Recipe(variant="small", engine="onnxruntime")
    (folder,) = entries(filled)
    files = {role: caching.read(folder).path(role) for role in caching.FILES}
    with EngineSegmenter(files, recipe, PROGRAMS["onnxruntime"]) as running:
        assert running.recipe.width == 7


def test_nothing_reports_home(weights, filled, pictures, tmp_path):
    """ONNX Runtime would keep a file for that in the person's folder of caches."""
    words = ["predict", str(pictures), "--checkpoint", str(weights), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": ""}
    command = [sys.executable, "-m", "tests.helpers.tiny", *words, "--engine", "onnxruntime"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert not (tmp_path / "home").exists()


def test_a_folder_called_as_a_file_of_the_cache_is_in_nobodys_way(weights, tmp_path, monkeypatch):
    (tmp_path / caching.WEIGHTS).mkdir()  # as in a checkout after `make weights`
    monkeypatch.chdir(tmp_path)
    assert isinstance(settled(weights, "onnxruntime").weights, CachedNetwork)
