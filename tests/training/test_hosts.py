"""Training on several devices or hosts: the same as on one, and the same again."""

import shutil

import numpy as np
import pytest

from common.training import run_folder
from common.weights import checkpoint_files
from common.weights.weights import Weights
from tests.helpers import hosts
from tests.helpers.tiny import run

# The steps are small, so that rounding stays rounding. With elu it does: where ReLU has its kink, the last bit of a
# score decides between a gradient and none, and one such pixel moves a momentum by 1e-4.
STEPS = ("num_steps=20", "save_interval=5", "learning_rate=.005", "activation=elu")
CASES = {
    "frozen": ('lr_multipliers=[["^scores/", 10.0]]',),
    "live": ("live_batch_norm=true", "keep_prob=.6"),
    "averaged": ("live_batch_norm=true", "void_pixels=averaged", "weight_decay=.01"),
    "accumulated": (
        "variant=accumulated", "batch_size=4", "gradient_clip=1", "schedule=plateau", "plateau_window=5",
        "plateau_tolerance=.5", "plateau_factors=[1,.5,.1]",
    ),
    "adam": ("optimizer=adam", "learning_rate=.001"),
}  # fmt: skip
HARDEST = ("top_k_percent_pixels=.3", "hard_example_mining_step=10")  # on hosts it is refused


def command(sample_set, run_dir, *arguments, settings=()):
    return ("train", "--data", sample_set, "--run-dir", run_dir, "--quiet", *arguments, "--set", *STEPS, *settings)


def figures(run_dir):
    names = ("step", "loss", "pixel_loss", "learning_rate", "miou", "pixel_accuracy")
    return [[entry[name] for name in names] for entry in run_folder.read_log(run_dir)]


def variables(run_dir):
    """All of the newest checkpoint, slots included."""
    weights = Weights(checkpoint_files.newest_checkpoint(run_dir))
    return {name: weights.value(name) for name in weights.names() if weights.value(name).dtype.kind in "fiu"}


def assert_same_but_for_rounding(run_dir, one):
    (losses, scores), (others_losses, others_scores) = (np.hsplit(np.array(figures(d)), [4]) for d in (run_dir, one))
    np.testing.assert_allclose(losses, others_losses, rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores, others_scores, rtol=0, atol=1e-3)  # a pixel or two between two classes
    values, others = variables(run_dir), variables(one)
    assert values.keys() == others.keys()
    for name, value in values.items():
        most = np.abs(others[name]).max()
        np.testing.assert_allclose(value, others[name], rtol=0, atol=5e-6 * most, err_msg=name)


def assert_same(run_dir, other):
    """Bit for bit."""
    assert figures(run_dir) == figures(other)
    values, others = variables(run_dir), variables(other)
    assert values.keys() == others.keys()
    for name, value in values.items():
        assert value.tobytes() == others[name].tobytes(), name


@pytest.fixture(scope="module")
def one(sample_set, tmp_path_factory):
    """Runs on one device, by case."""
    folder = tmp_path_factory.mktemp("one")
    for case, settings in (CASES | {"hardest": HARDEST}).items():
        assert run(*command(sample_set, folder / case, settings=settings)) == 0
    return folder


@pytest.fixture(scope="module")
def on_hosts(sample_set, tmp_path_factory):
    """A function from a number of hosts to the folder of their runs, by case; all of them in one set of processes."""
    folders = {}

    def run_on(count):
        if count not in folders:
            folders[count] = folder = tmp_path_factory.mktemp(f"hosts-{count}")
            runs = [command(sample_set, folder / case, settings=settings) for case, settings in CASES.items()]
            runs.append(command(sample_set, folder / "again", settings=CASES["live"]))
            runs.append(command(sample_set, folder / "again", "--resume", settings=CASES["live"]))  # is at its end
            runs.append(command(sample_set, folder / "hardest", settings=HARDEST))
            *trained, refused = zip(*hosts.in_turn(folder, [runs] * count), strict=True)
            assert trained == [({"status": 0, "err": ""},) * count] * (len(runs) - 1)
            assert [ended["status"] for ended in refused] == [2] * count
        return folders[count]

    return run_on


MANY = pytest.param(4, marks=pytest.mark.full)


@pytest.mark.parametrize("count", [2, MANY])
@pytest.mark.parametrize("case", CASES)
def test_hosts_train_as_one(one, on_hosts, case, count):
    assert_same_but_for_rounding(on_hosts(count) / case, one / case)
    assert run_folder.read_summary(on_hosts(count) / case)["replicas"] == [{"from_step": 0, "count": count}]


@pytest.mark.parametrize("count", [2, MANY])
def test_hosts_give_the_same_bits_again(on_hosts, count):
    assert_same(on_hosts(count) / "again", on_hosts(count) / "live")


@pytest.mark.parametrize("count", [2, MANY])
@pytest.mark.parametrize("case", [*CASES, "hardest"])
def test_devices_train_as_one(sample_set, tmp_path, one, case, count):
    devices = ("--devices", ",".join(f"cpu:{i}" for i in range(count)))
    settings = CASES.get(case, HARDEST)
    assert run(*command(sample_set, tmp_path / case, *devices, settings=settings)) == 0
    assert_same_but_for_rounding(tmp_path / case, one / case)
    if case == "live":
        assert run(*command(sample_set, tmp_path / "again", *devices, settings=settings)) == 0
        assert_same(tmp_path / "again", tmp_path / case)


def test_a_run_goes_on_with_another_number_of_hosts(sample_set, tmp_path, one, on_hosts):
    """2 hosts for 5 steps, 1 for 5, 2 again: the curve is the same, and train.json tells who trained."""
    run_dir = tmp_path / "run"
    shutil.copytree(on_hosts(2) / "live", run_dir)
    again = command(sample_set, run_dir, "--resume", settings=CASES["live"])
    forget_after(run_dir, 5)
    assert run(*again) == 0
    forget_after(run_dir, 10)
    assert [(e.status, e.err) for e in hosts.train_on(tmp_path / "out", 2, *again[1:])] == [(0, "")] * 2
    assert_same_but_for_rounding(run_dir, one / "live")
    parts = [{"from_step": 0, "count": 2}, {"from_step": 5, "count": 1}, {"from_step": 10, "count": 2}]
    assert run_folder.read_summary(run_dir)["replicas"] == parts


def forget_after(run_dir, step):
    """Leave the folder as a run that was killed before its next checkpoint."""
    for checkpoint in checkpoint_files.checkpoints(run_dir):
        if checkpoint_files.step_of(checkpoint) > step:
            checkpoint_files.delete(checkpoint)
