"""Where the hosts of a run come from: --hosts and --task, TF_CONFIG, and Slurm's variables."""

import json

import pytest

from common.errors import UserError
from common.training.hosts import Hosts, read_hosts
from tests.helpers.tiny import run

TWO = {"worker": ["a:2222", "b:2222"]}
SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "node[01-02]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("TF_CONFIG", *SLURM):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")  # else the command with --hosts would set it for later tests


def tf_config(monkeypatch, cluster, kind="worker", index=0):
    task = {"type": kind, "index": index}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task, "environment": "cloud"}))


def test_the_flags(monkeypatch):
    assert read_hosts("a:2222, b:1", 1) == Hosts(("a:2222", "b:1"), 1)
    assert read_hosts("a:2222,b:1", 1).own == "b:1"
    assert read_hosts("a:2222", 0) is None  # one process
    assert read_hosts(None, None) is None
    tf_config(monkeypatch, TWO)
    assert read_hosts("c:1,d:1", 0).addresses == ("c:1", "d:1")  # flags come before TF_CONFIG


@pytest.mark.parametrize(
    ("hosts", "task", "sentence"),
    [
        ("a:1,b:1", None, "--task: is missing; give 0 to 1"),
        ("a:1,b:1", 2, "--task: 2 is none of them; give 0 to 1"),
        (None, 0, "--task: needs --hosts"),
        ("a:1,a:1", 0, "--hosts: a:1 is there twice"),
        ("a,b:1", 0, "--hosts: 'a' is no host:port"),
        ("a:0,b:1", 0, "--hosts: 'a:0' is no host:port"),
        ("a:65536,b:1", 0, "--hosts: 'a:65536' is no host:port"),
        ("a:²,b:1", 0, "is no host:port"),
        (":1,b:1", 0, "is no host:port"),
        ("a:1,,b:1", 0, "--hosts: '' is no host:port"),
        ("", None, "--hosts: '' is no host:port"),  # as of a variable that is not set
        ("slurm", 0, "--task: Slurm tells a process its place"),
        ("slurm", None, "--hosts slurm: SLURM_PROCID not found"),
    ],
)
def test_flags_that_cannot_be(hosts, task, sentence):
    with pytest.raises(UserError) as error:
        read_hosts(hosts, task)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_tf_config(monkeypatch):
    tf_config(monkeypatch, TWO, index=1)
    assert read_hosts(None, None) == Hosts(("a:2222", "b:2222"), 1)
    tf_config(monkeypatch, TWO, index="1")  # some write it as text
    assert read_hosts(None, None).task == 1
    with_chief = {"chief": ["c:2222"], **TWO}
    tf_config(monkeypatch, with_chief, index=1)
    assert read_hosts(None, None) == Hosts(("c:2222", "a:2222", "b:2222"), 2)
    tf_config(monkeypatch, with_chief, "chief")
    assert read_hosts(None, None).task == 0
    tf_config(monkeypatch, {"worker": ["a:2222"]})
    assert read_hosts(None, None) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "cannot be read (JSONDecodeError"),
        ("[" * 100_000, "cannot be read (RecursionError"),
        ("7", "cannot be read (TypeError"),
        ("{}", "cannot be read (KeyError: 'cluster')"),
        (json.dumps({"cluster": TWO}), "cannot be read (KeyError: 'task')"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker"}}), "cannot be read (KeyError: 'index')"),
        (json.dumps({"cluster": TWO, "task": {"type": [], "index": 0}}), "task [] 0 is not in its cluster"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker", "index": 1e999}}), "cannot be read (ValueError"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker", "index": 2}}), "task worker 2 is not in its cluster"),
        (json.dumps({"cluster": TWO, "task": {"type": "evaluator", "index": 0}}), "task evaluator 0 is not in"),
        (json.dumps({"cluster": {"worker": None}, "task": {"type": "worker", "index": 0}}), "cannot be read (TypeE"),
        (json.dumps({"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}), "'a' is no host:port"),
        (json.dumps({"cluster": {**TWO, "ps": ["p:1"]}, "task": {"type": "ps", "index": 0}}), "has the job ps; only"),
    ],
)
def test_a_tf_config_that_cannot_be(monkeypatch, text, sentence):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError) as error:
        read_hosts(None, None)
    assert str(error.value).startswith("TF_CONFIG: ")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_slurm(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    addresses = ("node01:8888", "node01:8889", "node02:8888", "node02:8889")
    assert read_hosts("slurm", None) == Hosts(addresses, 3)
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "two")
    with pytest.raises(UserError, match="--hosts slurm: .*start the processes by srun"):
        read_hosts("slurm", None)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--hosts", "a:1,b:1", "--task", 0, "--devices", "cpu:0"), "argument --devices: not allowed with argument"),
        (("--devices", "cpu:0,cpu:1", "--task", 0), "--task: needs --hosts"),
        (("--devices", "cpu:0,cpu:0"), "--devices: cpu:0 is there twice"),
        (("--devices", "tpu:0"), "--devices: 'tpu:0' is no device"),
        (("--devices", ""), "--devices: '' is no device"),
        (("--devices", "cpu:1"), "--devices: names one device"),
        (("--devices", "cpu:0,cpu:00"), "--devices: cpu:0 is there twice"),
        (("--devices", "cpu:0,cpu:99999999999"), "--devices: 'cpu:99999999999' is no device"),
        (("--devices", "gpu:98,gpu:99"), "--devices: TensorFlow sees no gpu:98 here"),
        (("--devices", "cpu:0,cpu:1,cpu:2"), "batch_size=4: the whole batch cannot be divided among 3 devices"),
        (("--hosts", "a:1,b:1,c:1", "--task", 0), "batch_size=4: the whole batch cannot be divided among 3 hosts"),
        (
            ("--hosts", "a:1,b:1", "--task", 0, "--set", "top_k_percent_pixels=.5"),
            "top_k_percent_pixels=0.5: a host cannot tell the hardest pixels of a batch from its own part",
        ),
    ],
)
def test_the_command_refuses(sample_set, tmp_path, capsys, flags, sentence):
    assert run("train", "--data", sample_set, "--run-dir", tmp_path / "run", "--quiet", *flags) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert sentence in said
    assert not (tmp_path / "run").exists()
