"""Asynchronous training on parameter servers: processes that are killed, start again and end; and what is refused."""

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from common.recipe.settings import with_newer_fields
from common.results import records
from common.tf1 import tf
from common.training import run_folder
from common.training.hosts import Hosts, read_hosts
from common.training.servers import ParameterServers
from common.training.trainer import Trainer
from common.weights.weights import Weights
from tests.helpers.parameter_servers import Job
from tests.helpers.tiny import SMALL, TINY, run

ENDLESS = {"num_steps": 100_000, "save_interval": 20, "learning_rate": 0.01}
PS = {"ps": ["127.0.0.1:1"], "chief": ["127.0.0.1:2"], "worker": ["127.0.0.1:3"]}


def tf_config(job="chief", index=0, **cluster):
    return json.dumps({"cluster": cluster or PS, "task": {"type": job, "index": index}})


def losses(run_dir):
    return [entry["loss"] for entry in run_folder.read_log(run_dir)]


def marks(sample_set, checkpoint, out):
    assert run("evaluate", "--data", sample_set, "--checkpoint", checkpoint, "--out", out, "--quiet") == 0
    return records.read_record(out / records.BESIDE)["marks"]


def test_a_chief_and_a_worker_train_together(sample_set, tmp_path):
    with Job(tmp_path, sample_set, servers=2, num_steps=400, save_interval=50) as job:
        job.start_all()
        assert set(job.statuses().values()) == {0}, job.outputs()
    steps = [entry["step"] for entry in job.log()]
    assert steps == sorted(set(steps))
    assert len(steps) < steps[-1] - 20  # the others are the worker's
    assert 400 <= steps[-1] <= 401
    assert np.mean(losses(job.run_dir)[-50:]) < 0.6 * np.mean(losses(job.run_dir)[:5])
    checkpoint = job.run_dir / f"model.ckpt-{steps[-1]}"
    assert Weights(checkpoint).recipe()["update"] == "asynchronous"
    assert not [name for name in Weights(checkpoint).shapes if "asynchronous" in name]
    assert run_folder.read_summary(job.run_dir)["replicas"] == [{"from_step": 0, "count": 2}]
    assert marks(sample_set, checkpoint, tmp_path / "out") == {"sample": True, "asynchronous": True}


@pytest.mark.full
def test_the_job_goes_on_after_every_kill(sample_set, tmp_path):
    """Of a worker, a server and the chief, one after the other; a signal to the chief saves and ends all."""
    with Job(tmp_path, sample_set, **ENDLESS) as job:
        job.start_all()
        job.wait_for_text("joined", "worker")
        job.kill("worker")
        job.wait_for_step(job.step() + 40)
        job.start("worker")
        job.wait_for_text("joined", "worker", times=2)

        job.kill("ps")
        lost = job.step()
        job.start("ps")
        job.wait_for_step(lost + 20)
        job.wait_for_text("joined", "worker", times=3)
        assert job.output("chief").count("a parameter server was lost") == 1

        job.kill("chief")
        lost = job.step()
        job.start("chief", 0, "--resume")
        job.wait_for_step(lost + 20)
        job.terminate("chief")
        assert set(job.statuses().values()) == {128 + signal.SIGTERM}, job.outputs()
    check_log(job)


def check_log(job):
    """No step is there twice, the last one is saved, and the weights were never those of the start again."""
    steps = [entry["step"] for entry in job.log()]
    assert steps == sorted(set(steps))
    assert (job.run_dir / f"model.ckpt-{steps[-1]}.index").is_file()
    found = losses(job.run_dir)
    medians = [np.median(found[i : i + 9]) for i in range(40, len(found) - 9)]
    assert max(medians) < 0.8 * np.mean(found[:5])


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_random_kills(sample_set, tmp_path):
    """Whoever is killed and however long that takes to start again, the job goes on."""
    chance = random.Random(18)
    with Job(tmp_path, sample_set, servers=2, workers=2, **ENDLESS) as job:
        job.start_all()
        job.wait_for_step(60)
        for _ in range(15):
            victim = chance.choice(list(job.processes))
            job.kill(*victim)
            lost = job.step()
            time.sleep(chance.choice([0, 1, 5, 20]))
            job.start(*victim, *(["--resume"] if victim[0] == "chief" else []))
            job.wait_for_step(lost + 20)
            time.sleep(chance.uniform(0, 5))
        for index in (0, 1):  # one that comes when all have left would wait for them, and end with status 2
            job.wait_for(lambda i=index: "joined" in job.output("worker", i).rpartition("comparing")[2], "it joins")
        job.terminate("chief")
        assert set(job.statuses().values()) == {128 + signal.SIGTERM}, job.outputs()
    check_log(job)


@pytest.mark.full
def test_a_chief_alone_makes_the_run_of_one_process(sample_set, tmp_path):
    with Job(tmp_path, sample_set, servers=2, workers=0, num_steps=12, save_interval=5) as job:
        job.start_all()
        assert set(job.statuses().values()) == {0}, job.outputs()
    settings = ["--set", "num_steps=12", "save_interval=5", "--quiet"]
    assert run("train", "--data", sample_set, "--run-dir", tmp_path / "one", *settings) == 0
    np.testing.assert_allclose(losses(job.run_dir), losses(tmp_path / "one"), rtol=1e-6)
    ours, theirs = (Weights(folder / "model.ckpt-12") for folder in (job.run_dir, tmp_path / "one"))
    assert ours.shapes == theirs.shapes


@pytest.mark.full
@pytest.mark.parametrize("victim", ["ps", "chief"])
def test_nobody_waits_for_ever(sample_set, tmp_path, victim):
    """Without a server or a chief for good, all others end with a sentence."""
    with Job(tmp_path, sample_set, patience=30, **ENDLESS) as job:
        job.start_all()
        job.wait_for_text("joined", "worker")
        job.kill(victim)
        others = [key for key in job.processes if key[0] != victim]
        assert set(job.statuses(*others, seconds=60).values()) == {2}, job.outputs()
        for other in others:
            assert f"{job.cluster[victim][0]} has been away for 30 s" in job.output(*other)


@pytest.mark.full
def test_a_stopped_worker_leaves_and_a_stopped_server_waits_for_the_chief(sample_set, tmp_path):
    with Job(tmp_path, sample_set, **ENDLESS) as job:
        job.start_all()
        job.wait_for_text("joined", "worker")
        job.terminate("worker")
        assert job.statuses(("worker", 0)) == {("worker", 0): 128 + signal.SIGTERM}
        job.wait_for_step(100)
        job.terminate("ps")
        job.terminate("chief")
        assert set(job.statuses().values()) == {128 + signal.SIGTERM}, job.outputs()
    check_log(job)


@pytest.mark.full
def test_an_unlike_worker_is_refused_and_the_job_goes_on(sample_set, tmp_path):
    with Job(tmp_path, sample_set, workers=2, **ENDLESS) as job:
        for key in (("ps", 0), ("chief", 0), ("worker", 0)):
            job.start(*key)
        job.start("worker", 1, "learning_rate=0.02")
        assert job.statuses(("worker", 1)) == {("worker", 1): 2}
        assert "it has other recipe (learning_rate 0.02 instead of 0.01)" in job.output("worker", 1)
        job.wait_for_step(job.step() + 20)
        job.terminate("chief")
        job.statuses()


@pytest.mark.full
def test_a_chief_that_fails_ends_all(sample_set, tmp_path):
    with Job(tmp_path, sample_set, **ENDLESS | {"learning_rate": 1e30}) as job:
        job.start_all()
        assert set(job.statuses().values()) == {2}, job.outputs()
    assert "not finite at step" in job.output("chief")


REFUSALS = {
    ("live_batch_norm=true",): "does not go with live batch norm",
    ("grad_update_every=2",): "does not go with grad_update_every",
    ("schedule=plateau",): "does not go with schedule=plateau",
    ("precision=bf16",): "does not go with precision=bf16",
    ("validation_interval=2",): "does not go with validation during training",
}


@pytest.mark.parametrize("settings", REFUSALS, ids=" ".join)
def test_recipes_that_do_not_go_so_are_refused(sample_set, tmp_path, monkeypatch, capsys, settings):
    monkeypatch.setenv("TF_CONFIG", tf_config())
    assert refusal(capsys, sample_set, tmp_path / "r", *settings) == f"update=asynchronous: {REFUSALS[settings]}"
    assert not (tmp_path / "r").exists()


def refusal(capsys, data, run_dir, *settings, flags=(), update="asynchronous"):
    """The beginning of the sentence with which a call is refused, up to its first comma or semicolon."""
    given = ["--data", data, "--run-dir", run_dir, *flags, "--set", f"update={update}", *settings]
    assert run("train", *given) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error.removeprefix("error: ").split(", ")[0].split("; ")[0].strip()


@pytest.mark.parametrize(
    "flags", [(), ("--devices", "cpu:0,cpu:1"), ("--hosts", "127.0.0.1:1,127.0.0.1:2", "--task", "0")]
)
@pytest.mark.parametrize("cluster", [None, {"chief": ["127.0.0.1:1"], "worker": ["127.0.0.1:2"]}, PS])
def test_it_needs_parameter_servers(sample_set, tmp_path, monkeypatch, capsys, flags, cluster):
    if cluster is PS and not flags:
        pytest.skip("this is what it needs")
    if cluster:
        monkeypatch.setenv("TF_CONFIG", tf_config(**cluster))
    found = refusal(capsys, sample_set, tmp_path / "r", flags=flags)
    assert found == "update=asynchronous: needs a TF_CONFIG whose cluster has a ps"
    assert not (tmp_path / "r").exists()


def test_a_synchronous_run_takes_no_parameter_server(sample_set, tmp_path, monkeypatch, capsys):
    for job in PS:
        monkeypatch.setenv("TF_CONFIG", tf_config(job))
        found = refusal(capsys, sample_set, tmp_path / "r", update="synchronous")
        assert found.startswith("TF_CONFIG: ")
        assert "ps" in found


def test_reproduce_refuses_what_cannot_be_repeated(capsys):
    assert run("reproduce", "--set", "update=asynchronous") == 2
    assert "no such run can be repeated" in capsys.readouterr().err


def test_a_run_keeps_its_kind_of_update(sample_set, tmp_path, capsys):
    """A synchronous run does not go on asynchronously."""
    short = ["--data", sample_set, "--run-dir", tmp_path / "r", "--quiet"]
    assert run("train", *short, "--set", "num_steps=1", "calibration_batches=0") == 0
    assert run("train", *short, "--resume", "--set", "update=asynchronous") == 2
    assert "needs a TF_CONFIG" in capsys.readouterr().err


def test_variables_lie_on_the_servers_in_turn():
    """The rest is with each process; saving too, so that the chief's folder has the checkpoints."""
    servers = ["127.0.0.1:1", "127.0.0.1:2"]
    placement = ParameterServers(Hosts(("127.0.0.1:3", "127.0.0.1:4"), 1, tuple(servers)))
    with tf.Graph().as_default() as graph:
        with placement.variables_on_servers():
            Trainer(TINY.load_network(), SMALL, Path("nowhere"), 1, placement)
        of_saver = [op for op in graph.get_operations() if op.type in ("SaveV2", "RestoreV2")]
        assert {op.device.partition("/device")[0] for op in of_saver} == {"/job:worker/task:1"}
        held = [op.device for op in graph.get_operations() if op.type == "VarHandleOp"]
        assert set(held) == {"/job:ps/task:0", "/job:ps/task:1"}
        assert min(Counter(held).values()) > 0.4 * len(held)
        assert not [op for op in graph.get_operations() if op.type == "Conv2D" and "worker" not in op.device]


def test_hosts_of_a_job(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config("ps"))
    found = read_hosts(None, None, asynchronous=True)
    assert (found.addresses, found.servers) == (("127.0.0.1:2", "127.0.0.1:3"), ("127.0.0.1:1",))
    assert (found.own, found.is_server) == ("127.0.0.1:1", True)
    monkeypatch.setenv("TF_CONFIG", tf_config("worker"))
    assert read_hosts(None, None, asynchronous=True).own == "127.0.0.1:3"
    with pytest.raises(UserError, match="has the job ps; only chief and worker train synchronously"):
        read_hosts(None, None)
    monkeypatch.setenv("TF_CONFIG", tf_config("ps", ps=["127.0.0.1:1"]))
    with pytest.raises(UserError, match="has no chief and no worker"):
        read_hosts(None, None, asynchronous=True)


def test_the_recipe_of_an_older_checkpoint_is_synchronous():
    stored = {name: value for name, value in SMALL.to_json().items() if name != "update"}
    assert type(SMALL).from_json(stored) == SMALL
    assert with_newer_fields(stored, SMALL) == SMALL.to_json()  # so that such a run goes on
    assert "update" not in SMALL.identity()
    assert SMALL.derive(update="asynchronous").identity()["update"] == "asynchronous"
