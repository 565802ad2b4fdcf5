"""The hosts of a run, by --hosts and --task, by TF_CONFIG, or by Slurm's variables."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import UserError, brief, quoted

SLURM = "slurm"
TF_CONFIG = "TF_CONFIG"
JOBS = ("chief", "worker")  # of TF_CONFIG; a chief comes first
LARGEST_PORT = 65535


@dataclass(frozen=True)
class Hosts:
    """The processes of a run: their addresses `host:port`, in one order everywhere, and which one this is."""

    addresses: tuple[str, ...]
    task: int

    @property
    def own(self) -> str:
        """This process's address."""
        return self.addresses[self.task]


def read_hosts(hosts: str | None, task: int | None) -> Hosts | None:
    """Find the hosts of a run; None for a single process.

    Args:
      hosts: `a:2222,b:2222`, or `slurm`; None takes TF_CONFIG, if it is set.
      task: this process's place among `hosts`, from 0.

    Raises UserError for addresses, a place or variables that cannot be.
    """
    if hosts == SLURM:
        if task is not None:
            raise UserError("--task: Slurm tells a process its place; leave the flag out")
        addresses, task = _of_slurm()
        return _run_of(_checked(addresses, f"--hosts {SLURM}"), task)
    if hosts is not None:
        addresses = _checked([part.strip() for part in hosts.split(",")], "--hosts")
        if task is None or task >= len(addresses):
            given = "is missing" if task is None else f"{task} is none of them"
            raise UserError(f"--task: {given}; give 0 to {len(addresses) - 1}, this process's place in --hosts")
        return _run_of(addresses, task)
    if task is not None:
        raise UserError("--task: needs --hosts, the addresses of all processes")
    if not os.environ.get(TF_CONFIG):
        return None
    addresses, task = _of_tf_config(os.environ[TF_CONFIG])
    return _run_of(_checked(addresses, TF_CONFIG), task)


def _run_of(addresses: tuple[str, ...], task: int) -> Hosts | None:
    return Hosts(addresses, task) if len(addresses) > 1 else None


def _checked(addresses: Sequence[str], title: str) -> tuple[str, ...]:
    for address in addresses:
        port = re.fullmatch(r"[^:,\s]+:([0-9]{1,5})", address)
        if not port or not 0 < int(port[1]) <= LARGEST_PORT:
            raise UserError(f"{title}: {quoted(address)} is no host:port, such as 10.0.0.1:2222")
        if addresses.count(address) > 1:
            raise UserError(f"{title}: {address} is there twice; each process has an address of its own")
    return tuple(addresses)


def _of_tf_config(text: str) -> tuple[tuple[str, ...], int]:
    """The addresses and the place in TF_CONFIG, as Kubeflow's TFJob and TensorFlow's own programs have it."""
    needed = 'it needs {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        cluster, kind, index = dict(config["cluster"]), str(config["task"]["type"]), int(config["task"]["index"])
        jobs = {job: tuple(map(str, cluster.get(job, ()))) for job in JOBS}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{TF_CONFIG}: cannot be read ({type(error).__name__}: {brief(str(error))}); {needed}"
        ) from None
    if others := sorted(map(str, cluster.keys() - JOBS)):
        raise UserError(
            f"{TF_CONFIG}: has the job {brief(', '.join(others))}; only chief and worker train synchronously, --set "
            f"update=asynchronous takes a ps"
        )
    if kind not in jobs or not 0 <= index < len(jobs[kind]):
        raise UserError(f"{TF_CONFIG}: task {brief(kind)} {index} is not in its cluster; {needed}")
    before = len(jobs["chief"]) if kind == "worker" else 0
    return (*jobs["chief"], *jobs["worker"]), before + index


MOST_TASKS = 1024  # of Slurm on one node


def _of_slurm() -> tuple[tuple[str, ...], int]:
    """The addresses and the place that Slurm's variables tell: ports from 8888 on, one for each task of a node.

    Which cards a task sees is Slurm's business: `srun --gpus-per-task=1`. The resolver would count them by nvidia-smi,
    and fails where there is none.
    """
    from common.tf1 import tf

    try:
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=MOST_TASKS, gpus_per_task=1, auto_set_gpu=False
        )
        return tuple(resolver.cluster_spec().as_dict()["worker"]), resolver.task_id
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise UserError(
            f"--hosts {SLURM}: {brief(str(error))}; start the processes by srun, or name them by --hosts a:2222,b:2222"
        ) from None
