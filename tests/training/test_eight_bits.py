"""Training of 8 bit networks: its ranges are state that is saved, resumed, started, and owned by one device."""

import numpy as np
import pytest

from common.errors import UserError
from common.training.placement import Placement
from common.weights import checkpoint_files
from common.weights.weights import Weights
from tests.helpers import eight_bits
from tests.helpers.eight_bits import EIGHT_BITS, VARIANTS

SCORES = "scores/act_quant/max"


def train(sample_set, run_dir, variant, *words, **settings):
    pairs = [f"{name}={value}" for name, value in {"variant": variant, "save_interval": 2, **settings}.items()]
    return eight_bits.run("train", "--data", sample_set, "--run-dir", run_dir, "--quiet", *words, "--set", *pairs)


def values_of(path):
    weights = Weights(path)
    return {name: weights.value(name) for name in weights.shapes if name != "recipe_json"}


@pytest.fixture(scope="module")
def floats(sample_set, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("float") / "run"
    assert train(sample_set, run_dir, "float") == 0
    return run_dir / "model.ckpt-4"


@pytest.mark.parametrize("variant", ["at_once", "live"])
def test_a_resumed_run_is_the_straight_one_to_the_bit(variant, sample_set, tmp_path):
    """Also its ranges, of which every step needs those of the step before."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        assert train(sample_set, folder, variant) == 0
    checkpoint_files.delete(killed / "model.ckpt-4")
    assert train(sample_set, killed, variant, "--resume") == 0
    wanted, found = (values_of(folder / "model.ckpt-4") for folder in (straight, killed))
    assert wanted.keys() == found.keys()
    assert all(np.array_equal(found[name], value) for name, value in wanted.items())
    halfway = values_of(straight / "model.ckpt-2")
    assert len({6.0, float(halfway[SCORES]), float(wanted[SCORES])}) == 3


def test_a_float_network_starts_it_and_the_ranges_that_start_are_named(floats, sample_set, tmp_path, capsys):
    words = ("--init", floats)
    pairs = ["variant=at_once", "learning_rate=1e-9", "num_steps=2", "save_interval=2"]
    assert eight_bits.run("train", "--data", sample_set, "--run-dir", tmp_path / "r", *words, "--set", *pairs) == 0
    said = capsys.readouterr().err
    assert "a float network has no ranges: 16 start as they are (conv1/weights_quant/min, " in said
    before, after = values_of(floats), values_of(tmp_path / "r/model.ckpt-2")
    np.testing.assert_allclose(after["conv2/weights"], before["conv2/weights"], atol=1e-6)
    assert after[SCORES] not in (0, 6)


def test_weights_with_some_of_the_ranges_are_refused(sample_set, tmp_path, capsys):
    """And so are an 8 bit network's ranges where a float one is evaluated."""
    assert train(sample_set, tmp_path / "r", "at_once") == 0
    values = values_of(tmp_path / "r/model.ckpt-4")
    np.savez(tmp_path / "some.npz", **{name: v for name, v in values.items() if name != SCORES})
    assert train(sample_set, tmp_path / "s", "at_once", "--init", tmp_path / "some.npz") == 2
    assert f"1 missing in the file: {SCORES}" in capsys.readouterr().err
    np.savez(tmp_path / "all.npz", **values)
    assert train(sample_set, tmp_path / "t", "float", "--init", tmp_path / "all.npz") == 2
    assert "16 extra in the file: conv1/act_quant/max" in capsys.readouterr().err


def test_evaluation_has_the_ranges_of_the_checkpoint(sample_set, tmp_path):
    assert train(sample_set, tmp_path / "r", "at_once") == 0
    weights = Weights(tmp_path / "r/model.ckpt-4")
    with EIGHT_BITS.open_segmenter(weights, EIGHT_BITS.recipe_to_run([], weights)) as segmenter:
        scores = segmenter.logits(np.random.RandomState(0).randint(0, 255, (65, 65, 3), np.uint8))
    assert 2 < len(np.unique(scores)) <= 256
    assert scores.max() <= weights.value(SCORES) * 1.01


def test_several_devices_are_refused():
    for devices in (("/cpu:0", "/cpu:1"), ()):
        placement = Placement(devices)
        placement.check(VARIANTS["float"])
        if devices:
            with pytest.raises(UserError, match="an 8 bit network is trained on one device"):
                placement.check(VARIANTS["at_once"])
        else:
            placement.check(VARIANTS["at_once"])
