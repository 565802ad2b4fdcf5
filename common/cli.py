"""The command line that every reproduction shares: one file a subcommand, in common/commands."""

import argparse
import shlex
import sys
from pathlib import Path

from common import program
from common.commands import describe, evaluate, export, predict, reproduce, train
from common.recipe.settings import check_settings, split_settings
from common.reproduction import Reproduction

COMMAND_MODULES = (train, evaluate, predict, export, describe, reproduce)
COMMANDS = {module.__name__.rpartition(".")[2]: module for module in COMMAND_MODULES}


def main(reproduction: Reproduction, arguments: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0 all done, 2 wrong arguments or input, 128 + n on signal n."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parser(reproduction).parse_args(arguments)
    args.command_line = f"python -m reproductions.{reproduction.name} {shlex.join(arguments)}"
    return program.run(lambda: _run(reproduction, args))


def _run(reproduction: Reproduction, args: argparse.Namespace) -> int | None:
    args.settings = [setting for text in args.settings for setting in split_settings(text)]
    if getattr(args, "config", None):
        command = "train" if args.command == "reproduce" else args.command
        args.settings = reproduction.config_settings(args.config, command, args.quiet) + args.settings
    check_settings(reproduction.variants, args.settings)  # before weights are opened, which takes seconds
    return COMMANDS[args.command].run(reproduction, args)


def _parser(reproduction: Reproduction) -> argparse.ArgumentParser:
    parser = program.ArgumentParser(
        prog=f"python -m reproductions.{reproduction.name}",
        description=f"{reproduction.title}. Variants: {', '.join(reproduction.variants)}.",
        example="describe",
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        example = module.EXAMPLE.format(name=reproduction.name, variant=reproduction.sample_variants[0])
        sub = subparsers.add_parser(name, help=module.ABOUT, description=module.ABOUT, example=example)
        sub.set_defaults(command=name)
        sub.add_argument(
            "--set", dest="settings", metavar="K=V", nargs="+", action="extend", default=[],
            help="override fields of the recipe; variant=NAME chooses the recipe to start from",
        )  # fmt: skip
        sub.add_argument("--quiet", action="store_true", help="no progress, for scripts")
        if reproduction.config_settings:
            sub.add_argument(
                "--config", type=Path, metavar="FILE",
                help="the original's configuration file (JSON); --set goes before it",
            )  # fmt: skip
        module.add_arguments(sub, reproduction)
    return parser
