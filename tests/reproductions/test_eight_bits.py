"""DeepLab v3+ in 8 bits: its recipes, their figures, the zoo's entries, and ranges of TensorFlow Lite files."""

import numpy as np
import pytest

from common.data.masks import read_image
from common.downloads.manifest import read_manifest
from common.errors import UserError
from common.nets.describe import measure
from common.tf1 import tf
from common.weights.weights import Weights
from converters import tflite_to_tf
from reproductions import v3plus
from reproductions.v3plus.model import network
from reproductions.v3plus.variants import VARIANTS
from tests.conftest import SHARED

NAMES = ("mnv2_coco_voc_trainaug_8bit", "mnv2_dm05_coco_voc_trainaug_8bit")
CORAL = SHARED / "weights/coral_deeplabv3_mnv2_pascal_quant.tflite"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "bf16"}, "quantize_delay_step=0: an 8 bit network is computed in float32; set precision=fp32"),
        ({"backbone": "xception_65"}, "quantize_delay_step=0: backbone=xception_65 has no 8 bit form"),
        ({"quantize_range_decay": 1.0}, "quantize_range_decay=1.0: must be at least 0 and below 1"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(UserError, match=message):
        VARIANTS[NAMES[0]].derive(**changes)


def test_a_float_recipe_keeps_its_identity():
    """The ids of stored records hold the new fields only where they say something."""
    assert not [name for name in VARIANTS["model_d"].identity() if name.startswith("quantize_")]
    assert VARIANTS[NAMES[0]].identity()["quantize_delay_step"] == 0


def test_multiply_adds_are_those_of_the_float_network():
    found = {}
    for name in (NAMES[1], "mnv2_dm05_pascal_trainaug"):
        with tf.Graph().as_default():
            figures, variables, _ = measure(network, VARIANTS[name], 65)
            found[name] = figures.multiply_adds, len(variables), figures.receptive_field
    (adds, count, field), (float_adds, float_count, float_field) = found.values()
    assert (adds, count, field) == (float_adds, float_count + 240, float_field)


@pytest.mark.parametrize("variant", NAMES)
def test_the_manifest_has_its_archive(variant):
    found = [w for entry in read_manifest().entries.values() for w in entry.weights if w.variant == variant]
    assert [w.reproduction for w in found] == ["v3plus"]


@pytest.mark.skipif(not CORAL.is_file(), reason="no real files beside the checkout")
def test_a_tensorflow_lite_files_ranges_are_kept(tmp_path, voc_subset):
    out = tmp_path / "model.ckpt"
    assert tflite_to_tf.main([str(CORAL), "--out", str(out), "--no-report", "--ranges"]) == 0
    weights = Weights(out)
    assert sum("_quant/" in name for name in weights.names()) == 240
    scale, zero = 0.2014983743429184, 36  # of the file's scores
    ends = [weights.value(f"logits/semantic/act_quant/{end}") for end in ("min", "max")]
    np.testing.assert_allclose(ends, [-zero * scale, (255 - zero) * scale], rtol=1e-6)
    picture = read_image(sorted(voc_subset.glob("JPEGImages/*.jpg"))[0])
    with v3plus.segmenter(CORAL) as file, v3plus.segmenter(out) as ours:
        assert ours.recipe.quantize_delay_step == 0
        assert len(np.unique(ours.logits(picture))) <= 256
        assert np.mean(file.label(picture) == ours.label(picture)) > 0.98


def test_a_float_files_ranges_cannot_be_kept(tmp_path, capsys):
    path = SHARED / "weights/deeplabv3_257_mv_gpu.tflite"
    if not path.is_file():
        pytest.skip("no real files beside the checkout")
    assert tflite_to_tf.main([str(path), "--out", str(tmp_path / "x.ckpt"), "--no-report", "--ranges"]) == 2
    assert "has no range of 8 bits (weights_quant); leave it out for a float network" in capsys.readouterr().err
