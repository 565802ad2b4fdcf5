"""The processes of a run on several hosts, joined by TensorFlow's own server; none of them waits for a lost one."""

import contextlib
import functools
import itertools
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

import numpy as np

from common.errors import UserError, brief, one_line
from common.nets.replicas import Replicas
from common.recipe.recipe import Recipe
from common.tf1 import session_config, tf
from common.training.hosts import Hosts
from common.training.placement import Placement
from common.training.watch import AGAIN, Watch

JOB = "/job:worker/replica:0/task:"
WAIT = 60  # seconds that the first host waits for the last one
AGREED = 15.0  # seconds in which hosts that have met compare a few kilobytes; or one of them is none of this run
NUMBERS = itertools.count(1)  # of the sums of this process: TensorFlow's server takes a number once
_AGREED: set[Hosts] = set()  # those that have met in this process: between two runs one may evaluate for hours

LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError, tf.errors.CancelledError,
    tf.errors.InternalError, tf.errors.FailedPreconditionError, tf.errors.NotFoundError,
)  # fmt: skip


class Cluster(Placement):
    """One of the processes of a run on several hosts. A `with` block joins the others.

    Each host trains on its part of every batch. The first one is the chief, which alone keeps the run's folder.

    Args:
      hosts: all of them, and which one this is.
      wait: seconds to wait for the others.
    """

    def __init__(self, hosts: Hosts, wait: float = WAIT):
        place = Replicas(len(hosts.addresses), hosts.task, f"{JOB}{hosts.task}", NUMBERS)
        super().__init__(replicas=place, is_chief=hosts.is_chief)
        self._hosts, self._wait = hosts, wait

    def check(self, recipe: Recipe) -> None:
        """Raise UserError for a batch that cannot be divided, a loss that cannot be summed, or another precision."""
        super().check(recipe)
        if recipe.precision != "fp32":
            raise UserError(
                f"precision={recipe.precision}: TensorFlow's servers fuse convolutions into an op that lacks it; take "
                f"--devices, or precision=fp32"
            )
        if recipe.top_k_percent_pixels < 1:
            raise UserError(
                f"top_k_percent_pixels={recipe.top_k_percent_pixels}: a host cannot tell the hardest pixels of a batch "
                f"from its own part; take --devices, or top_k_percent_pixels=1"
            )

    def session(self, graph: tf.Graph, precision: str = "fp32") -> tf.Session:
        """A session on this host's server; its sums go between the hosts."""
        config = _config(precision)
        config.device_filters.append(JOB.replace("/replica:0", "") + str(self._hosts.task))
        config.isolate_session_state = True
        return tf.Session(_server(self._hosts).target, graph=graph, config=config)

    def exchange(self, text: str) -> list[str]:
        """The texts of all hosts, in their order."""
        own = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        lengths = self._of_all(np.array([len(own)], np.int32))[:, 0]
        texts = self._of_all(np.pad(own, [0, lengths.max() - len(own)]))
        return [bytes(row[:length].astype(np.uint8)).decode() for row, length in zip(texts, lengths, strict=True)]

    def _of_all(self, numbers: np.ndarray) -> np.ndarray:
        with tf.Graph().as_default() as graph:
            everybodys = self.replicas.of_all(tf.constant(numbers))
            with self.together(), self.session(graph) as session:
                found = session.run(everybodys)
        _AGREED.add(self._hosts)
        return found

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """The block in which TensorFlow may wait for other hosts. Raises UserError when one of them is lost."""
        limit = float("inf") if self._hosts in _AGREED else AGREED
        late = f"the hosts did not agree within {limit:g} s; --hosts must be the same on all, and --task different"
        try:
            with self._watch.waiting(limit, late):
                yield
        except LOST as error:
            lost = self._watch.name_lost()
            raise UserError(lost or f"the hosts lost touch ({_reason(error)}); {AGAIN}") from None

    def name_of(self, index: int) -> str:
        """The address of a host."""
        return self._hosts.addresses[index]

    def __enter__(self) -> Self:
        _server(self._hosts)
        self._watch = Watch(self._hosts)
        try:
            self._watch.meet(self._wait)
            self.exchange("")
        except BaseException:
            self._watch.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leave when all have come to the end, so that nobody looks lost who is done.

        A host passes the first exchange when the chief has saved. In the second one nothing can be lost any more; it
        keeps those here whom others still read from.
        """
        try:
            if kind is None:
                self.exchange("")
                with contextlib.suppress(UserError):
                    self.exchange("")
        finally:
            self._watch.stop()


def _reason(error: tf.errors.OpError) -> str:
    """The reason that TensorFlow gives; of a sum it stands behind other words, often in the second line."""
    found = re.search(r"Collective ops is aborted by: (.+)", str(error))
    return brief(found[1]) if found else one_line(error)


@functools.cache
def _server(hosts: Hosts) -> tf.distribute.Server:
    """TensorFlow's server on this host's port; a process cannot end it, and has one."""
    return listen(hosts.own, {"worker": list(hosts.addresses)}, "worker", hosts.task, _config())


def listen(
    own: str, cluster: Mapping[str, Sequence[str]], job: str, task: int, config: tf.ConfigProto
) -> tf.distribute.Server:
    """Start TensorFlow's server of a task on its port. Raises UserError when that is taken."""
    title = f"--hosts {own}: cannot be listened on"
    with socket.socket() as probe:  # gRPC would share a port that is taken
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(own.rpartition(":")[2])))
        except OSError as error:
            raise UserError(f"{title} ({error.strerror}); choose a free port") from None
    try:
        return tf.distribute.Server(dict(cluster), job, task, config=config)
    except tf.errors.OpError as error:
        raise UserError(f"{title} ({one_line(error)})") from None


def server_config(precision: str = "fp32") -> tf.ConfigProto:
    """The configuration of a server, and of a session on one: `session_config` with the server's own threads."""
    config = session_config(precision)
    config.use_per_session_threads = False
    return config


def _config(precision: str = "fp32") -> tf.ConfigProto:
    config = server_config(precision)
    config.experimental.collective_group_leader = f"{JOB}0"
    return config
