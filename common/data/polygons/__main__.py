"""Masks from polygons: `python -m common.data.polygons JSON|DIR... --out DIR`.

Reads labelme's JSON files, one per picture, or COCO's JSON, as CVAT exports it ("COCO 1.0"). Writes `masks/<stem>.png`
and a dataset.yaml to train on; class 0 is the background. In labelme's files later shapes cover earlier ones. In COCO's
the order means nothing, so smaller shapes cover larger ones. Pixels with the label `ignore` (or `__ignore__`) are left
out of training. An `iscrowd` object is painted as its class, because CVAT sets `iscrowd` for every object drawn with
the brush; use `--crowds ignore` where it means a crowd, as in COCO's own files.

A picture that exists only inside labelme's JSON is unpacked to `images`; then all other pictures are copied there.
"""

import argparse
import sys
from pathlib import Path

from common import program
from common.console import show
from common.data import own
from common.data.polygons.annotations import read_annotations
from common.data.polygons.painting import CROWDS, PaintedSet, class_names, paint_set


def _report(made: PaintedSet) -> None:
    empty = sum(not picture.shapes for picture in made.annotated)
    show(f"{len(made.annotated)} pictures; {empty} of them without shapes, all background")
    total = made.pixels.sum()
    for i, name in [*enumerate(made.classes), (own.IGNORE_LABEL, "ignored")]:
        show(f"{name:>15s} {made.pictures[i]:7,d} pictures {made.pixels[i]:14,d} pixels {made.pixels[i] / total:7.2%}")
    show(made.path)


def _run(args: argparse.Namespace) -> None:
    annotated, labels = read_annotations(args.json, args.images, args.boxes, args.quiet)
    classes = class_names(labels, args.classes, annotated)
    _report(paint_set(annotated, classes, args.out, name=args.name, crowds=args.crowds, quiet=args.quiet))


def main(arguments: list[str] | None = None) -> int:
    parser = program.ArgumentParser(
        prog="python -m common.data.polygons",
        description="Paint masks and write a dataset.yaml.",
        example="out/v3plus-labels/labelme --out out/painted",
    )
    parser.add_argument(
        "json", type=Path, nargs="+", metavar="JSON|DIR", help="labelme's or COCO's files, or their folder"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help=f"folder for masks and {own.DATASET_FILE}"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the pictures' folder (default: as the files say)")
    parser.add_argument(
        "--classes",
        type=program.names,
        default=(),
        metavar="A,B",
        help="the classes after the background, in this order (default: all labels)",
    )
    parser.add_argument("--name", default="", help="the data set's name (default: the folder's)")
    parser.add_argument(
        "--crowds", choices=CROWDS, default=CROWDS[0], help="how COCO's iscrowd is painted (default: %(default)s)"
    )
    parser.add_argument("--boxes", action="store_true", help="paint COCO's boxes that have no outline")
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
