"""The hosts of a run, by --hosts and --task, by TF_CONFIG, or by Slurm's variables."""

import json
import os
import re
from dataclasses import dataclass
from typing import Any

from common.errors import UserError, brief, quoted

SLURM = "slurm"
TF_CONFIG = "TF_CONFIG"
JOBS = ("chief", "worker")  # of TF_CONFIG; a chief comes first
SERVER = "ps"  # the job of TensorFlow's parameter servers
LARGEST_PORT = 65535
NEEDS_HOSTS = "--task: needs --hosts, the addresses of all processes"


@dataclass(frozen=True)
class Hosts:
    """The processes of a run: their addresses `host:port`, in one order everywhere, and which one this is.

    Attributes:
      addresses: of those that train, the chief's first.
      task: this process's place among them, or among the servers.
      servers: of the parameter servers of asynchronous training.
      is_server: whether this process is one of them.
    """

    addresses: tuple[str, ...]
    task: int
    servers: tuple[str, ...] = ()
    is_server: bool = False

    @property
    def is_chief(self) -> bool:
        """Whether this process keeps the run's folder."""
        return self.task == 0 and not self.is_server

    @property
    def own(self) -> str:
        """This process's address."""
        return (self.servers if self.is_server else self.addresses)[self.task]


def read_hosts(hosts: str | None, task: int | None, asynchronous: bool = False) -> Hosts | None:
    """Find the hosts of a run; None for a single process.

    Args:
      hosts: `a:2222,b:2222`, or `slurm`; None takes TF_CONFIG, if it is set.
      task: this process's place among `hosts`, from 0.
      asynchronous: whether TF_CONFIG may have parameter servers.

    Raises UserError for addresses, a place or variables that cannot be.
    """
    if hosts == SLURM:
        if task is not None:
            raise UserError("--task: Slurm tells a process its place; leave the flag out")
        return _checked(_of_slurm(), f"--hosts {SLURM}")
    if hosts is not None:
        addresses = tuple(part.strip() for part in hosts.split(","))
        found = _checked(Hosts(addresses, task or 0), "--hosts")
        if task is None or task >= len(addresses):
            given = "is missing" if task is None else f"{task} is none of them"
            raise UserError(f"--task: {given}; give 0 to {len(addresses) - 1}, this process's place in --hosts")
        return found
    if task is not None:
        raise UserError(NEEDS_HOSTS)
    config = os.environ.get(TF_CONFIG)
    return _checked(_of_tf_config(config, asynchronous), TF_CONFIG) if config else None


def _checked(hosts: Hosts, title: str) -> Hosts | None:
    addresses = (*hosts.addresses, *hosts.servers)
    for address in addresses:
        port = re.fullmatch(r"[^:,\s]+:([0-9]{1,5})", address)
        if not port or not 0 < int(port[1]) <= LARGEST_PORT:
            raise UserError(f"{title}: {quoted(address)} is no host:port, such as 10.0.0.1:2222")
        if addresses.count(address) > 1:
            raise UserError(f"{title}: {address} is there twice; each process has an address of its own")
    return hosts if len(addresses) > 1 else None


def _of_tf_config(text: str, asynchronous: bool) -> Hosts:
    """The hosts in TF_CONFIG, as Kubeflow's TFJob and TensorFlow's own programs have it."""
    needed = 'it needs {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        cluster, kind, index = dict(config["cluster"]), str(config["task"]["type"]), _index(config["task"]["index"])
        known = (*JOBS, SERVER) if asynchronous else JOBS
        jobs = {job: tuple(map(str, cluster.get(job, ()))) for job in known}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{TF_CONFIG}: cannot be read ({type(error).__name__}: {brief(str(error))}); {needed}"
        ) from None
    if others := sorted(map(str, cluster.keys() - known)):
        raise UserError(
            f"{TF_CONFIG}: has the job {brief(', '.join(others))}; only chief and worker train synchronously, --set "
            f"update=asynchronous takes a ps"
        )
    if kind not in jobs or not 0 <= index < len(jobs[kind]):
        raise UserError(f"{TF_CONFIG}: task {brief(kind)} {index} is not in its cluster; {needed}")
    if kind == SERVER and not (jobs["chief"] or jobs["worker"]):
        raise UserError(f"{TF_CONFIG}: has no chief and no worker, which train; {needed}")
    before = len(jobs["chief"]) if kind == "worker" else 0
    return Hosts((*jobs["chief"], *jobs["worker"]), before + index, jobs.get(SERVER, ()), kind == SERVER)


def _index(value: Any) -> int:
    """A place as TF_CONFIG has it, a whole number or its digits. Raises ValueError for what only looks like one."""
    if type(value) is int or (isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value)):
        return int(value)
    raise ValueError(f"index {value} is no whole number")


MOST_TASKS = 1024  # of Slurm on one node


def _of_slurm() -> Hosts:
    """The hosts that Slurm's variables tell: ports from 8888 on, one for each task of a node.

    Which cards a task sees is Slurm's business: `srun --gpus-per-task=1`. The resolver would count them by nvidia-smi,
    and fails where there is none.
    """
    from common.tf1 import tf

    try:
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=MOST_TASKS, gpus_per_task=1, auto_set_gpu=False
        )
        return Hosts(tuple(resolver.cluster_spec().as_dict()["worker"]), resolver.task_id)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise UserError(
            f"--hosts {SLURM}: {brief(str(error))}; start the processes by srun, or name them by --hosts a:2222,b:2222"
        ) from None
