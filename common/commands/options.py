"""Options that several subcommands share, and what they do to the recipe."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from common import program
from common.console import say
from common.data.card import DatasetCard
from common.data.own import DATASET_FILE, training_settings
from common.data.sample import SAMPLE
from common.errors import UserError, brief
from common.export.choice import AUTO, ENGINES, Choice
from common.recipe.recipe import Recipe, field_types
from common.reproduction import Reproduction
from common.training.hosts import NEEDS_HOSTS, SLURM, TF_CONFIG, Hosts, read_hosts
from common.weights.weights import Weights

if TYPE_CHECKING:
    from common.training.placement import Placement


def add_data(parser: argparse.ArgumentParser, split: str) -> None:
    """Add `--data`, and `--split`, whose default is the recipe's field `split`."""
    parser.add_argument(
        "--data", required=True, metavar="DIR",
        help=f"data set folder, folder of TFRecords, your own dataset.yaml, or '{SAMPLE}' for the drawn sample set",
    )  # fmt: skip
    parser.add_argument("--split", help=f"split name or list file (default: the recipe's {split})")


def add_init(parser: argparse.ArgumentParser) -> None:
    """Add `--init` and what is taken from it."""
    parser.add_argument("--init", metavar="WEIGHTS", help="weights to start from")
    parser.add_argument(
        "--init-averages", action="store_true",
        help="take each variable's moving average from --init, where the file has one (slim's ImageNet networks)",
    )  # fmt: skip
    parser.add_argument(
        "--val-unseen", action="store_true",
        help="--init has not seen the pictures that the run is evaluated on: a new run remembers it (weights that "
        "`make weights` fetched tell themselves what they have seen; others are marked val_seen?)",
    )  # fmt: skip


def open_init(args: argparse.Namespace) -> Weights | None:
    """The weights that `--init` names, if any. Raises UserError as `Weights` does, or when it has no averages."""
    if not args.init:
        if args.init_averages:
            raise UserError("--init-averages: needs --init, which names the weights")
        if args.val_unseen:
            raise UserError("--val-unseen: speaks of the weights of --init; give it with --init, or leave it out")
        return None
    weights = Weights(args.init)
    if args.init_averages:
        if not weights.take_averages():
            raise UserError(f"--init-averages: {weights.path} holds no moving averages; leave it out")
    elif count := len(weights.averages()):
        say(f"{weights.path}: also holds {count} moving averages; --init-averages starts from those", args.quiet)
    return weights


def add_placement(parser: argparse.ArgumentParser) -> None:
    """Add where the parts of a batch are trained: devices of this machine, or hosts."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--devices", metavar="D,D",
        help="divide every batch among these devices of this machine, such as gpu:0,gpu:1",
    )  # fmt: skip
    where.add_argument(
        "--hosts", metavar="A,A",
        help=f"divide every batch among processes, one for each address host:port; the same command everywhere but for "
        f"--task; '{SLURM}' takes them from srun (default: {TF_CONFIG}, if that is set)",
    )  # fmt: skip
    parser.add_argument(
        "--task", type=program.whole_number(0), metavar="I",
        help="this process's place in --hosts; 0 keeps the run's folder",
    )  # fmt: skip
    parser.add_argument(
        "--hosts-wait", type=program.whole_number(1), metavar="SECONDS",
        help="how long to wait for the other hosts to come (default: 60), or with update=asynchronous for one that is "
        "not there, at the start and later (default: 120)",
    )  # fmt: skip


def hosts_of(args: argparse.Namespace) -> Hosts | None:
    """The hosts that the arguments or TF_CONFIG name, if any. Raises UserError for those that cannot be."""
    if args.devices is not None:
        if args.task is not None:
            raise UserError(NEEDS_HOSTS)
        return None
    if args.hosts or os.environ.get(TF_CONFIG):
        # TensorFlow looks at it when it loads. What it says of lost connections would hide our one sentence on them.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return read_hosts(args.hosts, args.task, is_asynchronous(args.settings))


def open_placement(args: argparse.Namespace, hosts: Hosts | None) -> "Placement":
    """Where training runs: on `hosts_of(args)`, or on the devices that `--devices` names; this loads TensorFlow."""
    if hosts and hosts.servers:
        from common.training.servers import PATIENCE, ParameterServers

        return ParameterServers(hosts, args.hosts_wait or PATIENCE)
    if hosts:
        from common.training.cluster import WAIT, Cluster

        return Cluster(hosts, args.hosts_wait or WAIT)
    from common.training.placement import Placement, devices_of

    return Placement(devices_of(args.devices))


def is_asynchronous(settings: Sequence[str]) -> bool:
    """Whether the `--set` arguments ask for asynchronous updates. The last one counts."""
    asked = [text.strip() for key, _, text in (s.partition("=") for s in settings) if key.strip() == "update"]
    return asked[-1:] == ["asynchronous"]


def add_network(parser: argparse.ArgumentParser, reproduction: Reproduction, files: bool = False) -> None:
    """Add what evaluate, predict and export share: weights, the folder of the results, scales and mirroring."""
    keras = ", Keras .h5" if reproduction.keras_names else ""
    files = ", or a network's file: .pb, SavedModel, .onnx, .tflite" if files else ""
    parser.add_argument(
        "--checkpoint", required=True, metavar="WEIGHTS", help=f"checkpoint prefix, V1 file, .npz{keras}{files}"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--scales",
        type=_scales,
        metavar="S,S",
        help="scales to fuse: numbers with commas between them and no blanks, such as 0.5,0.75,1",
    )
    parser.add_argument("--flip", action="store_true", default=None, help="fuse with the mirrored picture too")
    parser.set_defaults(crf=None, precision=None)


def add_inference(parser: argparse.ArgumentParser, reproduction: Reproduction, default: str) -> None:
    """Add what evaluate and predict share: `add_network`, the CRF, the precision and the engine.

    `default` says in words which engine is taken without `--engine`.
    """
    add_network(parser, reproduction, files=True)
    parser.add_argument("--crf", action="store_true", default=None, help="refine by the dense CRF")
    parser.add_argument(
        "--precision", choices=get_args(field_types(Recipe)["precision"]),
        help="what the network computes in (default: the recipe's, fp32)",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=ENGINES,
        help=f"what runs the network; {AUTO}: the fastest that gives TensorFlow's labels (default: {default})",
    )  # fmt: skip


def _scales(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{brief(text)} is not a list of numbers like 0.5,0.75,1") from None


def with_protocol(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """The recipe with the protocol that flags ask for."""
    return recipe.derive(**protocol_changes(args))


def protocol_changes(args: argparse.Namespace) -> dict[str, Any]:
    """The recipe fields that `--scales`, `--flip`, `--crf` and `--precision` ask for."""
    changes = {"eval_scales": args.scales, "eval_flip": args.flip, "crf": args.crf, "precision": args.precision}
    return {name: value for name, value in changes.items() if value is not None}


def choose(reproduction: Reproduction, args: argparse.Namespace, default: str) -> Choice:
    """The checkpoint, the recipe and the engine that the arguments ask for."""
    flags = [name for name in ("engine", "precision") if getattr(args, name)]
    return Choice(reproduction, args.checkpoint, args.settings, protocol_changes(args), args.engine, default, flags)


def dataset_of(weights: Weights, recipe: Recipe) -> str:
    """The data set whose classes the weights have: the description that lies beside them, else the recipe's."""
    kept = weights.path.parent / DATASET_FILE
    return str(kept) if kept.is_file() else recipe.dataset


def add_own_settings(
    reproduction: Reproduction, args: argparse.Namespace, card: DatasetCard | None, init: Weights | None
) -> None:
    """Put the settings of a person's own data set before `args.settings`, where `--data` names a dataset.yaml."""
    if card:
        args.settings = [*training_settings(card), *reproduction.settings_for_own_classes(init), *args.settings]
