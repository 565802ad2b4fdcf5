"""The Python interface: what a notebook does, against what the commands write."""

import re

import numpy as np
import pytest
from PIL import Image

from common import cli
from common.downloads.fetch import folder_of
from common.downloads.manifest import read_manifest
from common.errors import UserError
from common.weights import checkpoints
from reproductions import v3plus
from tests.conftest import ROOT
from tests.helpers import golden_cases, small_v3plus

NATIVE = {"eval_size": "native"}
PICTURE = golden_cases.weights.image(3, 65, 97)[0]
# Options of Python, and the command line's.
PROTOCOLS = {
    "padded": ({"eval_size": 129}, ["--set", "eval_size=129"]),
    "native": (NATIVE, ["--set", "eval_size=native"]),
    "stride": ({**NATIVE, "eval_output_stride": 8}, ["--set", "eval_size=native", "eval_output_stride=8"]),
    "scales": ({**NATIVE, "eval_scales": (0.5, 1.0)}, ["--scales", "0.5,1", "--set", "eval_size=native"]),
    "mirror": ({**NATIVE, "eval_flip": True}, ["--flip", "--set", "eval_size=native"]),
    "greatest": (
        {**NATIVE, "eval_flip": True, "scale_fusion": "max_logits"},
        ["--flip", "--set", "eval_size=native", "scale_fusion=max_logits"],
    ),
    "crf": ({**NATIVE, "crf": True, "crf_iterations": 2}, ["--crf", "--set", "eval_size=native", "crf_iterations=2"]),
    "all": (
        {**NATIVE, "eval_scales": (1, 1.5), "eval_flip": True, "crf": True, "crf_iterations": 1},
        ["--scales", "1,1.5", "--flip", "--crf", "--set", "eval_size=native", "crf_iterations=1"],
    ),
}


@pytest.fixture(scope="module")
def weights():
    """Golden weights whose scores are far enough apart for the CRF to leave several classes."""
    values = small_v3plus.values(golden=True)
    return values | {name: 20 * values[name] for name in ("logits/semantic/weights", "logits/semantic/biases")}


@pytest.fixture(scope="module")
def checkpoint(weights, tmp_path_factory):
    prefix = tmp_path_factory.mktemp("weights") / "model.ckpt"
    checkpoints.write(prefix, weights)
    return prefix


@pytest.fixture(scope="module")
def segmenter(checkpoint):
    with v3plus.segmenter(checkpoint, eval_size="native") as opened:
        yield opened


@pytest.mark.parametrize("name", PROTOCOLS)
def test_it_gives_what_predict_writes(name, checkpoint, tmp_path):
    options, flags = PROTOCOLS[name]
    path = tmp_path / "photo.png"
    Image.fromarray(PICTURE).save(path)
    arguments = ["predict", path, "--checkpoint", checkpoint, "--out", tmp_path / "out", "--quiet", *flags]
    assert cli.main(v3plus.REPRODUCTION, [str(a) for a in arguments]) == 0
    written = np.asarray(Image.open(tmp_path / "out" / "photo.png"))
    with v3plus.segmenter(checkpoint, **options) as segmenter:
        for picture in (path, str(path), PICTURE):
            label = segmenter.label(picture)
            assert label.dtype == np.uint8
            assert label.shape == PICTURE.shape[:2]
            np.testing.assert_array_equal(label, written)
            probabilities = segmenter.probabilities(picture)
            assert probabilities.dtype == np.float32
            assert probabilities.shape == (*label.shape, 21)
            np.testing.assert_array_equal(probabilities.argmax(axis=-1), label)
            np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)
    assert len(np.unique(written)) > 1  # else it would show little


def test_options_reach_the_recipe(checkpoint):
    options = {
        "eval_scales": (0.5, 1.0), "eval_flip": True, "crf": False, "batch_norm_decay": None, "crop_size": (33, 65),
        "lr_multipliers": (("logits", 10.0),), "class_weights": (), "init_not_loaded": ("^(a|b){1,2}",),
        "padding_pixel": (1, 2.5, 3), "learning_rate": 1e-05,
    }  # fmt: skip
    with v3plus.segmenter(checkpoint, variant="sample_model_a", **options) as segmenter:
        recipe = segmenter.recipe
        assert {name: getattr(recipe, name) for name in options} == options
        assert recipe.variant == "sample_model_a"
        assert recipe.backbone == "mobilenet_v2"
        assert recipe.depth_multiplier == 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval_scale": 1}, "no such field in the recipe; did you mean eval_scales?"),
        ({"crf": "perhaps"}, "crf=perhaps: needs true or false"),
        ({"eval_scales": ("a", 1)}, "eval_scales=a: needs a number"),
        ({"eval_size": None}, "eval_size=None: needs 'native' or a whole number"),
        ({"eval_output_stride": 4}, "eval_output_stride=4: needs"),
        ({"eval_scales": np.array([0.5, 1])}, "eval_scales="),
        ({"variant": "sample_model"}, "--set variant=sample_model: no such variant; did you mean"),
    ],
)
def test_a_wrong_option_is_one_clear_sentence(checkpoint, options, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        v3plus.segmenter(checkpoint, **options)
    assert "\n" not in str(error.value)


def test_weights_that_are_not_there():
    with pytest.raises(UserError, match=r"^weights/model.ckpt: no such weights"):
        v3plus.segmenter("weights/model.ckpt")


def test_weights_that_do_not_fit(tmp_path):
    np.savez(tmp_path / "w.npz", **{"MobilenetV2/Conv/weights": np.zeros((3, 3, 3, 8), np.float32)})
    with pytest.raises(UserError, match="w.npz"):
        v3plus.segmenter(tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (PICTURE / 255, "the picture is float64 of shape (65, 97, 3); give a path, or uint8 RGB of shape [h, w, 3]"),
        (PICTURE[..., 0], "the picture is uint8 of shape (65, 97)"),
        (PICTURE[None], "the picture is uint8 of shape (1, 65, 97, 3)"),
        (np.concatenate([PICTURE, PICTURE[..., :1]], axis=2), "the picture is uint8 of shape (65, 97, 4)"),
        (np.zeros((0, 7, 3), np.uint8), "the picture is uint8 of shape (0, 7, 3)"),
        (None, "the picture is a NoneType; give a path"),
        ([[1, 2], [3]], "the picture is a list; give a path, or uint8 RGB of shape [h, w, 3]"),
        ("nowhere.jpg", "nowhere.jpg: no such file"),
        (__file__, "cannot be read as a picture"),
    ],
)
def test_a_wrong_picture_is_one_clear_sentence(segmenter, picture, message):
    for ask in (segmenter.label, segmenter.probabilities, segmenter.logits):
        with pytest.raises(UserError, match=re.escape(message)) as error:
            ask(picture)
        assert "\n" not in str(error.value)


def test_a_picture_of_pillow_is_one(segmenter):
    np.testing.assert_array_equal(segmenter.label(Image.fromarray(PICTURE)), segmenter.label(PICTURE))


def test_a_closed_segmenter_says_so(checkpoint):
    with v3plus.segmenter(checkpoint, **NATIVE) as segmenter:
        segmenter.label(PICTURE)
    segmenter.close()  # twice is no harm
    mask = np.zeros(PICTURE.shape[:2], np.uint8)
    for ask in (
        lambda: segmenter.label(PICTURE),
        lambda: segmenter.probabilities(PICTURE),
        lambda: segmenter.logits(PICTURE),
        lambda: segmenter.label_and_logits(PICTURE),
        lambda: segmenter.label_and_loss(PICTURE, mask),
    ):
        with pytest.raises(UserError, match="this segmenter is closed"):
            ask()


def test_two_segmenters_side_by_side(checkpoint, weights, tmp_path):
    other = tmp_path / "other.ckpt"
    checkpoints.write(other, weights | {"logits/semantic/biases": 30 * weights["logits/semantic/biases"][::-1]})
    with v3plus.segmenter(checkpoint, **NATIVE) as alone:
        before = alone.label(PICTURE)
    with v3plus.segmenter(checkpoint, **NATIVE) as first, v3plus.segmenter(other, **NATIVE) as second:
        np.testing.assert_array_equal(first.label(PICTURE), before)
        assert (second.label(PICTURE) != before).mean() > 0.5
        np.testing.assert_array_equal(first.label(PICTURE), before)
        second.close()
        np.testing.assert_array_equal(first.label(PICTURE), before)


def readme_section() -> str:
    return re.search(r"^## In Python\n(.*?)^#", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)[1]


def test_the_readme_as_it_stands_there(weights, tmp_path, monkeypatch):
    """Its lines run where `make demo` has been, with small weights in the place of those that it leaves."""
    entries = read_manifest().entries
    fetched, photographs = entries["max_image_segmenter"], entries["photographs"]
    prefix = tmp_path / folder_of(fetched) / fetched.weights[0].checkpoint
    checkpoints.write(prefix, weights)
    unpacked = photographs.files[0].unpack
    for name in unpacked.members:
        path = tmp_path / folder_of(photographs) / unpacked.to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PICTURE).save(path)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    block = "\n".join(line[4:] for line in readme_section().splitlines() if line.startswith("    "))
    exec(compile(block, "README.md", "exec"), names)
    with names["segmenter"]:
        label, probabilities = names["label"], names["probabilities"]
    assert label.dtype == np.uint8
    assert label.shape == PICTURE.shape[:2]
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (*PICTURE.shape[:2], 21)
    np.testing.assert_array_equal(probabilities.argmax(axis=-1), label)
    mentioned = re.search(r"`(v3plus\.segmenter\(checkpoint, [^`]*\))`", readme_section())[1]
    with eval(mentioned, {"v3plus": v3plus, "checkpoint": prefix}) as segmenter:
        assert segmenter.recipe.eval_output_stride == 16
        assert segmenter.recipe.crf
