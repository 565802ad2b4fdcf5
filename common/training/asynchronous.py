"""Asynchronous training: each process updates the weights by itself, on TensorFlow's parameter servers.

TF_CONFIG names the processes, which all start by the same command. A ps holds variables of the network and of the
optimiser. The chief, or the first worker where there is none, trains and keeps the run's folder. The other workers
train.

Such a run is not repeatable. An update uses gradients of weights that others have changed meanwhile, in an order that
nobody decides; a checkpoint may hold a few updates of some variables that it lacks of others. Repeatable are the start
(that of one process), and which examples process i of n reads at its update number k: part i of the batch that n
processes would divide, by (seed, k, i). A process that joins at step s counts its updates from s // n on. A chief that
trains alone makes the run of one process.

A killed worker joins again. After a killed ps or chief the run goes on from the newest checkpoint, once both are there:
later updates are lost and not counted. An update that is under way at that moment may still be added to those weights.
A process that stays alone, such as a worker that comes when all have left, ends with status 2 after its patience.
"""

import contextlib
import random
import time
from dataclasses import dataclass
from pathlib import Path

from common.console import StopSignal, say
from common.data.lists import check_classes
from common.data.split import Split
from common.errors import UserError
from common.nets.network import Network
from common.nets.replicas import Replicas
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.training import run_folder
from common.training.agreement import facts, refuse_difference
from common.training.batches import TrainingBatches
from common.training.cluster import LOST
from common.training.curve import plot_training_curve
from common.training.keeper import Keeper
from common.training.order import listed_pictures
from common.training.servers import CLOSED, SIGNALLED, Board, ParameterServers, over
from common.training.start import Start, begin_folder, find_start, refuse_nothing_to_learn
from common.training.train import Trained
from common.training.trainer import Trainer
from common.training.validation import Validation
from common.training.watch import EVERY
from common.weights.weights import Weights

ERROR = 2  # the exit status after a user's error


def train_asynchronously(
    network: Network,
    recipe: Recipe,
    split: Split,
    run_dir: Path,
    *,
    placement: ParameterServers,
    init: Weights | None = None,
    resume: bool = False,
    keep: int = 5,
    val_split: Split | None = None,
    val_limit: int | None = None,
    val_unseen: bool = False,
    quiet: bool = False,
    command: str = "",
) -> Trained:
    """Train as `common.training.train.train` does, as the chief or a worker; there is no validation.

    `log.jsonl` has the chief's updates alone, by the steps of the run. All processes count steps together. Each may
    make one update beyond `recipe.num_steps`, so that the last checkpoint's number may be higher.

    Raises:
      UserError: as there; or a recipe that does not go so, or a process that stays away.
    """
    placement.check(recipe)
    check_classes(recipe, split.card)
    recipe.check_input(*recipe.crop_size, "crop_size")
    if placement.is_chief:
        refuse_nothing_to_learn(recipe, split)
    folder = run_folder.locked(run_dir) if placement.is_chief else contextlib.nullcontext()
    with folder, placement, tf.Graph().as_default() as graph:
        # The server listens meanwhile: this may take longer than others wait for it.
        own_facts = facts(network, recipe, {"pictures": split}, init, quiet)
        with placement.variables_on_servers():
            trainer = Trainer(network, recipe, run_dir, keep, placement)
        board = Board(placement.hosts)
        graph.finalize()
        if not placement.is_chief:
            work = _Worker(recipe, split, placement, trainer, board, own_facts, quiet)
            return placement.go_on(graph, recipe.precision, work)
        with StopSignal() as stop:
            beginning = (network, run_dir, init, resume, val_unseen, command, stop)
            lead = _Chief(recipe, split, placement, trainer, board, own_facts, quiet, *beginning)
            trained = placement.go_on(graph, recipe.precision, lead, stop)
    plot_training_curve(run_dir, recipe, len(listed_pictures(split, recipe)))
    return trained


@dataclass
class _Worker:
    """Trains, when it is called with a session, whenever the chief lets it, until the chief says that it is over."""

    recipe: Recipe
    split: Split
    placement: ParameterServers
    trainer: Trainer
    board: Board
    facts: str
    quiet: bool

    def __call__(self, session: tf.Session) -> Trained:
        while (state := self._state(session)) >= CLOSED:
            if state > CLOSED:
                names = [self.placement.hosts.addresses[0], self.placement.hosts.own]
                refuse_difference([self.board.facts(session), self.facts], names)
                self._train_while(session, state)
            time.sleep(EVERY)
        status = over(state)
        if status and status < SIGNALLED:
            raise UserError("the chief ended with an error, which its own output tells; start all of them again")
        return Trained(None, _step(session), status - SIGNALLED if status else None)

    def batches(self, step: int) -> TrainingBatches:
        """This process's examples from the run's step on."""
        count, index = len(self.placement.hosts.addresses), self.placement.hosts.task
        of_all, first = self.recipe.derive(batch_size=self.recipe.batch_size * count), step // count
        last = first + max(1, self.recipe.num_steps - step)  # where the others make none
        return TrainingBatches(self.split, of_all, first, last, Replicas(count, index))

    def _state(self, session: tf.Session) -> int:
        state = self.board.state(session)
        self.placement.answered()
        return state

    def _train_while(self, session: tf.Session, state: int) -> None:
        """Train while the run is in this state, and steps are left."""
        step = _step(session)
        if step >= self.recipe.num_steps:
            return
        say(f"joined at step {step} of {self.recipe.num_steps}", self.quiet)
        with self.batches(step) as batches:
            while step < self.recipe.num_steps and self._state(session) == state:
                step = self.trainer.update(session, batches, step + 1).step
                self.placement.answered(has_trained=True)


@dataclass
class _Chief(_Worker):
    """Trains, when it is called with a session, from the newest checkpoint or the start to the end."""

    network: Network
    run_dir: Path
    init: Weights | None
    resume: bool
    val_unseen: bool
    command: str
    stop: StopSignal

    def __call__(self, session: tf.Session) -> Trained:
        try:
            self._tell(session, CLOSED)
            start = find_start(self.run_dir, self.recipe, self.split, self.init, self.resume)
            self.resume = True  # where a lost server makes it begin again
            if start.step >= self.recipe.num_steps:
                say(f"{start.checkpoint}: already at {start.step} of {self.recipe.num_steps} steps", self.quiet)
            else:
                start = self._train_from(session, start)
        except LOST:
            raise
        except Exception:
            self._tell(session, over(ERROR))
            raise
        signal = self.stop.received if start.step < self.recipe.num_steps else None
        self._tell(session, over(SIGNALLED + signal if signal else 0))
        return Trained(start.checkpoint, start.step, signal)

    def _tell(self, session: tf.Session, state: int) -> None:
        self.board.tell(session, state)
        self.placement.answered()

    def _train_from(self, session: tf.Session, start: Start) -> Start:
        """Let the workers join, and train; returns where a later call would start."""
        self.trainer.initialise(session, start, self.split, self.quiet)
        count = len(self.placement.hosts.addresses)
        begin_folder(self.run_dir, self.recipe, self.split, start, count, self.command, None, self.val_unseen)
        self.board.publish(session, self.facts)
        validation = Validation(self.network, self.recipe, None, self.run_dir, None, self.quiet)
        keeping = (session, self.trainer, validation, self.run_dir, self.recipe, self.split, start, self.quiet)
        done = start.step
        with Keeper(*keeping) as keeper, self.batches(done) as batches:
            self._tell(session, random.randint(CLOSED + 1, 1 << 31))
            while done < self.recipe.num_steps and not self.stop.received:
                started = time.monotonic()
                update = self.trainer.update(session, batches, done + 1)
                self.placement.answered(has_trained=True)
                done = update.step
                keeper.keep(update, time.monotonic() - started)
            keeper.end(done)
        return Start(keeper.checkpoint, done, self.init)


def _step(session: tf.Session) -> int:
    """The updates that all have made."""
    return int(session.run(tf.train.get_global_step(session.graph)))
