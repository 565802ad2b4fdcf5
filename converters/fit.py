"""Whether the arrays of another program's file are those of a network here: all of them, and in its shapes."""

import argparse
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from common.errors import UserError
from common.words import NAMED, some, some_of_each


def variables_of(network: Callable[[], Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the variables that `network` makes."""
    from common.tf1 import tf

    with tf.Graph().as_default():
        network()
        return {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}


def check(variables: dict[str, np.ndarray], network: Callable[[], Any], title: str, but_for: str = r"^$") -> None:
    """Raises UserError listing every variable that is missing, extra or of another shape, or naming one not finite."""
    check_shapes(variables, {n: s for n, s in variables_of(network).items() if not re.search(but_for, n)}, title)


def check_shapes(variables: dict[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]], title: str) -> None:
    """`check` against the network's shapes by name."""
    from common.weights.checkpoints import describe_difference

    if difference := describe_difference(wanted, {n: v.shape for n, v in variables.items()}):
        raise UserError(f"does not fit {title}: {difference}")
    if broken := [n for n, v in variables.items() if not np.isfinite(v).all()]:
        raise UserError(f"{len(broken)} variables are not finite: {some(broken, NAMED)}")


def refuse_design(args: argparse.Namespace, title: str) -> None:
    """Raises UserError when the arguments describe a design, which this network does not have."""
    if args.config or args.settings:
        raise UserError(f"--config and --set: {title} has no design; they are for --model v3plus_simplified")


def refuse_others(given: Collection[str], wanted: Collection[str], title: str, noun: str = "layers") -> None:
    """Raises UserError listing everything that is missing, and everything that the network does not have."""
    missing, unused = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or unused:
        raise UserError(some_of_each({f"missing {noun}": missing, f"{noun} that {title} does not have": unused}))
