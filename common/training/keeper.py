"""The keeper of a run's folder while it trains. The chief has one; the other hosts keep nothing."""

import contextlib
from pathlib import Path
from typing import Self

from common.console import Progress
from common.data.split import Split
from common.recipe.recipe import Recipe
from common.tf1 import tf
from common.training.epochs import steps_per_epoch
from common.training.log import RunLog
from common.training.order import listed_pictures
from common.training.start import Start
from common.training.trainer import Trainer, Update
from common.training.validation import Validation
from common.weights.checkpoint_files import step_of


class Keeper:
    """Logs every update, saves the checkpoints that are due and validates; its files are open within `with`.

    Attributes:
      checkpoint: the newest one, if there is one.
    """

    def __init__(
        self, session: tf.Session, trainer: Trainer, validation: Validation,
        run_dir: Path, recipe: Recipe, split: Split, start: Start, quiet: bool,
    ):  # fmt: skip
        self.checkpoint = start.checkpoint
        self._run_dir, self._recipe, self._split = run_dir, recipe, split
        self._session, self._trainer, self._validation, self._start = session, trainer, validation, start
        self._quiet = quiet

    def __enter__(self) -> Self:
        recipe, start = self._recipe, self._start
        graph = None if start.checkpoint else self._session.graph
        with contextlib.ExitStack() as opened:
            per_epoch = steps_per_epoch(recipe, len(listed_pictures(self._split, recipe)))
            self._log = opened.enter_context(RunLog(self._run_dir, graph, per_epoch))
            progress = Progress("training", recipe.num_steps, start.step, self._quiet, at_once=True)
            self._progress = opened.enter_context(progress)
            self._opened = opened.pop_all()
        return self

    def validate(self, step: int) -> None:
        """Validate after `step`, if that is due and was not done by a run that was killed in it."""
        self._validation.run_if_due(self._session, self._trainer, self._log, step)

    def keep(self, update: Update, seconds: float) -> None:
        """Log an update that took so long; save and validate where it is due."""
        self._log.write_step(update.step, update.figures, seconds)
        note = "loss {loss:.3f} (pixels {pixel_loss:.3f})".format(**update.figures)
        self._progress.advance(note, update.step - update.before)
        if self._trainer.is_due(update.step, update.before):
            pictures = self._trainer.preview(self._session, update)
            self._log.write_pictures(update.step, pictures, self._split.card.palette)
            self.checkpoint = self._trainer.save(self._session, update.step)
        self.validate(update.step)

    def end(self, step: int) -> None:
        """Save what a signal ended between two checkpoints."""
        if self.checkpoint is None or step_of(self.checkpoint) != step:
            self.checkpoint = self._trainer.save(self._session, step)

    def __exit__(self, *_: object) -> None:
        self._opened.close()


class NoKeeper:
    """The keeper of a host that is not the chief: it only measures its part of the validation."""

    checkpoint = None

    def __init__(self, session: tf.Session, trainer: Trainer, validation: Validation):
        self._session, self._trainer, self._validation = session, trainer, validation

    def __enter__(self) -> Self:
        return self

    def validate(self, step: int) -> None:
        """Take part in the validation after `step`, if that is due."""
        self._validation.run_if_due(self._session, self._trainer, None, step)

    def keep(self, update: Update, seconds: float) -> None:
        """Keep nothing of an update."""
        self.validate(update.step)

    def end(self, step: int) -> None:
        """Save nothing."""

    def __exit__(self, *_: object) -> None: ...
