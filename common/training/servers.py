"""TensorFlow's parameter servers: the processes of asynchronous training, and what they tell each other."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self, TypeVar

from common.console import StopSignal, say
from common.errors import UserError, one_line
from common.program import report_failures
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.training.cluster import LOST, listen, server_config
from common.training.hosts import SERVER, TF_CONFIG, Hosts
from common.training.placement import Placement
from common.training.watch import EVERY, OtherProgramError, look_at

PATIENCE = 120  # seconds in which a lost process may be started again
GRACE = 15  # seconds that a stopped server leaves to a chief that is stopped too, and saves

CLOSED = 0  # the state of a run: above, it is open to workers, by a number of the chief's; below, it is over
SIGNALLED = 128  # and a signal's number: the exit status of what it ended

Result = TypeVar("Result")


def over(status: int) -> int:
    """The state of a run whose chief ends with this exit status; and the status, of such a state."""
    return CLOSED - 1 - status


class Lookout:
    """Looks at the processes that this one needs, from `start` to `stop`; ends this one when one is away for too long.

    TensorFlow waits for a lost process for ever, and no time limit of its own ends that.

    Args:
      needed: address -> what it is, for people.
      patience: seconds.
    """

    def __init__(self, needed: Mapping[str, str], patience: float):
        self._needed, self._patience, self._stopped = needed, patience, threading.Event()
        self._here: set[str] = set()
        self._back, self._answered = 0.0, float("inf")  # when a lost one came back, and TensorFlow's last answer

    def start(self) -> None:
        """Begin to look."""
        for address in self._needed:
            threading.Thread(target=self._follow, args=[address], daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def answered(self) -> None:
        """Note that TensorFlow has answered."""
        self._answered = time.monotonic()

    def sees(self, *addresses: str) -> bool:
        """Whether all of these were there a moment ago."""
        return self._here.issuperset(addresses)

    def _follow(self, address: str) -> None:
        seen, is_met = time.monotonic(), False
        while not self._stopped.wait(EVERY if is_met else EVERY / 4):
            reason, now = absence(address), time.monotonic()
            if reason:
                self._here.discard(address)
                if now - seen > self._patience:
                    self._end(f"has been away for {self._patience:g} s ({reason})", address)
                continue
            if is_met and address not in self._here:
                self._back = now
            seen, is_met = now, True
            self._here.add(address)
            if self._answered < self._back < now - self._patience:
                self._end("came back, and TensorFlow does not go on", address)

    def _end(self, what: str, address: str) -> None:
        if not self._stopped.is_set():
            sentence = f"{self._needed[address]} {address} {what}; start all of them again, the chief with --resume"
            os._exit(report_failures([sentence]))


def absence(address: str) -> str | None:
    """Why TensorFlow's server is not at an address; None when it is."""
    try:
        look_at(address)
    except OtherProgramError:
        return "another program answers there"
    except OSError as error:
        return error.strerror or str(error)
    return None


class Board:
    """The chief's word to all: the state of the run on every server, and on the first one `agreement.facts`.

    A server that is started again has state CLOSED. The board is built on the default graph; that of a server itself
    has the server's own state alone.
    """

    def __init__(self, hosts: Hosts):
        options = {"trainable": False, "collections": []}
        self._states = []
        for index in [hosts.task] if hosts.is_server else range(len(hosts.servers)):
            with tf.device(f"/job:{SERVER}/task:{index}"):
                name = f"asynchronous/state_{index}"
                self._states.append(tf.get_variable(name, [], tf.int64, tf.initializers.zeros(), **options))
        if hosts.is_server:
            return
        with tf.device(f"/job:{SERVER}/task:0"):
            self._facts = tf.get_variable("asynchronous/facts", initializer=tf.constant(""), **options)
        self._new_state, self._new_facts = tf.placeholder(tf.int64, []), tf.placeholder(tf.string, [])
        self._tell = tf.group(*(state.assign(self._new_state) for state in self._states))
        self._publish = self._facts.assign(self._new_facts).op

    def tell(self, session: tf.Session, state: int) -> None:
        """Set the state on all servers."""
        session.run(self._tell, {self._new_state: state})

    def publish(self, session: tf.Session, facts: str) -> None:
        """Set the facts."""
        session.run(self._publish, {self._new_facts: facts})

    def state(self, session: tf.Session) -> int:
        """The state on the first server, or on the server itself."""
        try:
            return int(session.run(self._states[0]))
        except (tf.errors.FailedPreconditionError, tf.errors.NotFoundError):
            return CLOSED

    def facts(self, session: tf.Session) -> str:
        """The facts, when the run is open."""
        return session.run(self._facts).decode()


class ParameterServers(Placement):
    """One of the processes of asynchronous training; a `with` block starts its server.

    Args:
      hosts: all of them, and which one this is.
      patience: seconds to wait for another one that is not there, at the start and later.
    """

    is_asynchronous = True

    def __init__(self, hosts: Hosts, patience: float = PATIENCE):
        super().__init__(is_chief=hosts.is_chief)
        self.hosts = hosts
        self._patience, self._failing = patience, None
        self._job = SERVER if hosts.is_server else "worker"
        servers = {} if hosts.is_server else dict.fromkeys(hosts.servers, "parameter server")
        chief = {} if self.is_chief else {hosts.addresses[0]: "the chief"}
        self._lookout = Lookout(servers | chief, patience)

    def check(self, recipe: Recipe) -> None:
        """Raise UserError when a recipe cannot be trained asynchronously."""
        if recipe.update != "asynchronous":
            raise UserError(f"{TF_CONFIG}: has the job {SERVER}, which only --set update=asynchronous takes")
        unfit = {
            "live batch norm, whose statistics nobody would own; freeze it": recipe.batch_statistics,
            "grad_update_every, whose sums would be everybody's; set it to 1": recipe.grad_update_every > 1,
            "schedule=plateau, which follows the losses of one process; choose another": recipe.schedule == "plateau",
            "precision=bf16, which TensorFlow's servers cannot compute in; take fp32": recipe.precision == "bf16",
            "8 bits, whose ranges nobody would own; train in floats": recipe.quantised_from is not None,
            "validation during training; set validation_interval=0 and evaluate the checkpoints": (
                recipe.validation_interval
            ),
        }
        for what, is_asked in unfit.items():
            if is_asked:
                raise UserError(f"update=asynchronous: does not go with {what}")

    def name_of(self, index: int) -> str:
        """This process's address."""
        return self.hosts.own

    def variables_on_servers(self) -> contextlib.AbstractContextManager[None]:
        """Within the block, variables go to the servers in turn, and all else to this process."""
        own = f"/job:{self._job}/task:{self.hosts.task}"
        return tf.device(tf.train.replica_device_setter(len(self.hosts.servers), f"/job:{SERVER}", own))

    def session(self, graph: tf.Graph, precision: str = "fp32") -> tf.Session:
        """A session on this process and the servers; a server's is on itself alone."""
        config = server_config(precision)
        config.device_filters.append(f"/job:{self._job}/task:{self.hosts.task}")
        if not self.hosts.is_server:
            config.device_filters.append(f"/job:{SERVER}")
        return tf.Session(self._server.target, graph=graph, config=config)

    def go_on(
        self, graph: tf.Graph, precision: str, train: Callable[[tf.Session], Result], stop: StopSignal | None = None
    ) -> Result:
        """Call `train` with a session; again with a new one, when a server was lost and is back.

        Raises:
          UserError: it was not lost, or not only.
          SystemExit: a signal came while it was away.
        """
        while True:
            while not self._lookout.sees(*self.hosts.servers) and not (stop and stop.received):
                time.sleep(EVERY / 4)
            if stop and stop.received:
                say(f"stopped by signal {stop.received} while a parameter server was away; go on with --resume")
                raise SystemExit(SIGNALLED + stop.received)
            try:
                self._lookout.answered()
                with self.session(graph, precision) as session:
                    return train(session)
            except LOST as error:
                now = time.monotonic()
                self._failing = self._failing or now
                if now - self._failing > self._patience:
                    kind = type(error).__name__
                    raise UserError(f"TensorFlow fails again and again ({kind}: {one_line(error)})") from None
                say("a parameter server was lost; the run goes on from its newest checkpoint when all are there")
                time.sleep(2 * EVERY)

    def answered(self, has_trained: bool = False) -> None:
        """Note that TensorFlow has answered, or that an update was made."""
        self._lookout.answered()
        self._failing = None if has_trained else self._failing

    def serve(self, quiet: bool = False) -> int:
        """Hold variables until the chief says that the run is over, and all have left; returns the chief's status.

        A signal ends it too, after some time for a chief that has the same signal and saves.
        """
        with self, tf.Graph().as_default() as graph, StopSignal() as stop:
            board = Board(self.hosts)
            with self.session(graph) as session:
                say(f"parameter server {self.hosts.own} serves", quiet)
                while (state := board.state(session)) >= CLOSED and not stop.received:
                    time.sleep(EVERY)
            self._lookout.stop()
            _wait_until_gone(self.hosts.addresses, GRACE if stop.received else self._patience)
        return SIGNALLED + stop.received if stop.received else over(state)

    def __enter__(self) -> Self:
        cluster = {"worker": list(self.hosts.addresses), SERVER: list(self.hosts.servers)}
        self._server = listen(self.hosts.own, cluster, self._job, self.hosts.task, server_config())
        self._lookout.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._lookout.stop()


def _wait_until_gone(addresses: tuple[str, ...], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not all(absence(address) for address in addresses):
        time.sleep(EVERY / 4)
