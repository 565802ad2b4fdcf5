"""Build TFRecords from a data folder.

`python -m common.data.tfrecord build --data DIR --split S --shards N --out DIR` writes `S-00000-of-0000N.tfrecord`
and so on, and the index `S.json`; then `--data` of train and evaluate takes the folder.

Shards hold parts of the list, in its order. A picture is stored as its file's bytes, a mask as a grey PNG of class
ids, so the original programs can read them too. During a build the index is `.S.json`. It lists every finished shard,
so a killed build goes on from there. A shard is kept when its digest is right; a new build also repairs a damaged
folder.
"""

import argparse
import os
import sys
from pathlib import Path

from common import program
from common.console import say, show
from common.data.lists import open_data
from common.data.shards.build import build
from common.data.shards.index import index_path
from common.errors import UserError


def _run(args: argparse.Namespace) -> int:
    data = open_data(args.data)
    if args.out.resolve() == data.folder.resolve():
        raise UserError(f"--out {args.out}: is the data folder itself; choose another")
    split = data.split(args.split, args.dataset)
    received = build(split, args.out, args.shards, args.workers, args.quiet)
    if received:
        say(f"stopped by signal {received}; run the same command again, finished shards are kept")
        return 128 + received
    show(index_path(args.out, split.name))
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = program.ArgumentParser(
        prog="python -m common.data.tfrecord",
        description=__doc__.partition("\n")[0],
        example="build --data sample --split val --shards 2 --out out/shards",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sub = commands.add_parser(
        "build",
        help="write a split as shards with an index",
        example="--data sample --split val --shards 2 --out out/shards",
    )
    sub.add_argument("--data", required=True, metavar="DIR", help="data set folder, or 'sample' for the drawn one")
    sub.add_argument("--split", required=True, help="split name or list file")
    sub.add_argument("--shards", type=program.whole_number(1), required=True, metavar="N", help="files to write")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the TFRecords")
    sub.add_argument("--dataset", default="voc2012", help="name of the data set (default: %(default)s)")
    sub.add_argument(
        "--workers",
        type=program.whole_number(1, program.MOST_WORKERS),
        default=os.cpu_count(),
        metavar="N",
        help="threads (default: all cores)",
    )
    sub.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
