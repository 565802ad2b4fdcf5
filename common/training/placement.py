"""Where a training step runs: in one process, on one device or on several; or on several hosts."""

import contextlib
import re
from collections.abc import Sequence
from typing import Self

from common.errors import UserError, quoted
from common.nets.replicas import ALONE, Replicas
from common.recipe.recipe import Recipe
from common.tf1 import session, tf

LAST_CPU = 63  # TensorFlow makes all that lie before it


class Placement:
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
        if recipe.quantised_from is not None and self.count > 1:
            raise UserError(
                "an 8 bit network is trained on one device, as the ranges of its values are; leave --devices and "
                "--hosts out, or train it in floats first"
            )
        if recipe.batch_size % self.count:
            what = "devices" if self.devices else "hosts"
            raise UserError(
                f"batch_size={recipe.batch_size}: the whole batch cannot be divided among {self.count} {what}; set a "
                f"multiple of {self.count}"
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


HERE = Placement()


def devices_of(text: str | None) -> tuple[str, ...]:
    """The devices that `--devices` names, as TensorFlow does: `/gpu:0`.

    Raises UserError for one that is none, is named twice, or that this machine lacks.
    """
    devices = [_device(name.strip().lower()) for name in text.split(",")] if text is not None else []
    if len(devices) == 1:
        raise UserError("--devices: names one device; name two or more, or choose a card by CUDA_VISIBLE_DEVICES")
    for kind, number in devices:
        if devices.count((kind, number)) > 1:
            raise UserError(f"--devices: {kind}:{number} is there twice")
    cards = len(tf.config.list_physical_devices("GPU")) if any(kind == "gpu" for kind, _ in devices) else 0
    for kind, number in devices:
        if kind == "gpu" and number >= cards:
            raise UserError(
                f"--devices: TensorFlow sees no gpu:{number} here, but {cards} in all; GPU=1 installs its build"
            )
    return tuple(f"/{kind}:{number}" for kind, number in devices)


def _device(name: str) -> tuple[str, int]:
    found = re.fullmatch(r"(gpu|cpu):([0-9]{1,3})", name)
    if not found or (found[1] == "cpu" and int(found[2]) > LAST_CPU):
        raise UserError(f"--devices: {quoted(name)} is no device, such as gpu:0 or cpu:1 (up to cpu:{LAST_CPU})")
    return found[1], int(found[2])
