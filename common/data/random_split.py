"""`python -m common.data.random_split`: shuffle train_aug and val together and split them 90 to 10.

tonandr/deeplabv3plus_keras reports its scores on such a split (its README: random, one tenth for validation, seed
1024). They can't be compared with scores on other splits. Every command takes `random_train` and `random_val` as split
names; this one writes them as lists. The original's list is not published. This split draws from the same pictures, but
in an order of its own.
"""

import argparse
import sys
from pathlib import Path

from common import program
from common.console import show
from common.data.lists import card_by_name, read_split
from common.data.split import NAMES
from common.errors import UserError
from common.files import write_text


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.data.random_split",
        description="Write the random 90/10 split of train_aug and val.",
        example="--data data/sample --out out/lists",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data set folder")
    parser.add_argument("--dataset", default="voc2012", help="its card (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the two lists")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    data = args.data.resolve()
    lists: dict[Path, str] = {}
    for name in NAMES:
        pairs = read_split(card_by_name(args.dataset), data, name).pairs
        lines = [" ".join(path.resolve().relative_to(data).as_posix() for path in pair) for pair in pairs]
        lists[args.out / f"{name}.txt"] = "".join(f"{line}\n" for line in lines)
    for path, text in lists.items():
        if path.exists() and path.read_bytes() != text.encode("utf-8", "surrogateescape"):
            raise UserError(f"--out {args.out}: {path.name} is there, and another list; name another, or move it away")
    for path, text in lists.items():
        write_text(path, text)
        show(f"{path}: {text.count(chr(10))} pictures")


if __name__ == "__main__":
    sys.exit(main())
