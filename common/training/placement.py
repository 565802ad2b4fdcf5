"""Where a training step runs: in one process, on one device or on several; or on several hosts."""

import contextlib
from collections.abc import Sequence
from typing import Self

from common.errors import UserError, quoted
from common.nets.replicas import ALONE, Replicas
from common.recipe.recipe import Recipe
from common.tf1 import session, tf

KINDS = ("gpu", "cpu")  # of devices


class OneProcess:
    """One process; with several devices each of them gets a part of every batch.

    Attributes:
      devices: such as `/gpu:0`, or empty.
      replicas: this process's place among all.
      is_chief: whether it keeps the run's folder.
      is_asynchronous: whether each process updates the weights by itself.
    """

    is_asynchronous = False

    def __init__(self, devices: Sequence[str] = (), replicas: Replicas = ALONE, is_chief: bool = True):
        self.devices, self.replicas, self.is_chief = tuple(devices), replicas, is_chief

    @property
    def count(self) -> int:
        """Into how many parts a batch is divided."""
        return max(len(self.devices), self.replicas.count)

    def check(self, recipe: Recipe) -> None:
        """Raise UserError when a batch of the recipe cannot be divided, or is not to be."""
        if recipe.update == "asynchronous":
            raise UserError(
                "update=asynchronous: needs a TF_CONFIG whose cluster has a ps, and neither --hosts nor --devices "
                "beside it"
            )
        if recipe.batch_size % self.count:
            what = "--devices" if self.devices else "--hosts"
            raise UserError(
                f"batch_size={recipe.batch_size}: cannot be divided among {self.count} of {what}; it is the whole batch"
            )

    def session(self, graph: tf.Graph, precision: str) -> tf.Session:
        """A session on these devices; see `common.tf1.session`."""
        return session(graph, precision, self.devices)

    def exchange(self, text: str) -> list[str]:
        """The texts of all processes of the run, the chief's first."""
        return [text]

    def together(self) -> contextlib.AbstractContextManager[None]:
        """The block in which TensorFlow may wait for other processes."""
        return contextlib.nullcontext()

    def name_of(self, index: int) -> str:
        """The name of a process among all, for people; empty for a single one."""
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


HERE = OneProcess()


def devices_of(text: str | None) -> tuple[str, ...]:
    """The devices that `--devices` names, as TensorFlow does: `/gpu:0`.

    Raises UserError for one that is none, is named twice, or that this machine lacks.
    """
    names = [name.strip().lower() for name in text.split(",")] if text is not None else []
    for name in names:
        kind, _, number = name.partition(":")
        if kind not in KINDS or not number.isdecimal():
            raise UserError(f"--devices: {quoted(name)} is no device, such as gpu:0 or cpu:1")
        if names.count(name) > 1:
            raise UserError(f"--devices: {name} is there twice")
    cards = len(tf.config.list_physical_devices("GPU")) if any(name.startswith("gpu") for name in names) else 0
    for name in names:
        if name.startswith("gpu") and int(name[4:]) >= cards:
            raise UserError(f"--devices: TensorFlow sees no {name} here, but {cards} in all; GPU=1 installs its build")
    return tuple(f"/{name}" for name in names)
