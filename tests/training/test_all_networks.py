"""All five reproductions on two devices and on two hosts; longer than `make test` waits."""

import sys

import pytest

from common.training import run_folder
from tests.conftest import ROOT
from tests.helpers import hosts
from tests.helpers.hosts import Host

VARIANTS = {
    "v1": "sample",
    "v2": "sample",
    "v3": "sample",
    "v3plus": "sample_model_d",
    "v3plus_simplified": "sample_mobilenetv2",
}
LIMIT = 600.0  # seconds


@pytest.mark.full
@pytest.mark.parametrize("name", VARIANTS)
def test_two_steps_are_those_of_one_device(sample_set, tmp_path, name):
    """The first loss is equal; the second one follows updates of random weights, where rounding grows."""
    command = [sys.executable, "-m", f"reproductions.{name}", "train", "--data", sample_set, "--quiet"]
    settings = ["--set", f"variant={VARIANTS[name]}", "num_steps=2", "batch_size=2", "learning_rate=1e-4"]
    addresses = hosts.free_addresses(2)
    places = {
        "one": [()],
        "devices": [("--devices", "cpu:0,cpu:1")],
        "hosts": [("--hosts", ",".join(addresses), "--task", task) for task in range(2)],
    }
    losses = {}
    for where, processes in places.items():
        run_dir = tmp_path / where
        started = [
            Host([*command, "--run-dir", run_dir, *settings, *place], tmp_path / f"{where}-{i}", cwd=ROOT)
            for i, place in enumerate(processes)
        ]
        try:
            ended = hosts.wait(started, LIMIT)
        finally:
            for process in started:
                process.kill()
        assert {e.status for e in ended} == {0}, ended
        losses[where] = [entry["loss"] for entry in run_folder.read_log(run_dir)]
    for where in ("devices", "hosts"):
        assert losses[where][0] == pytest.approx(losses["one"][0], rel=5e-5)
        assert losses[where][1] == pytest.approx(losses["one"][1], rel=5e-3)
