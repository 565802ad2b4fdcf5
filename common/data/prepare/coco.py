"""MS-COCO with the classes of PASCAL VOC: the program that paints the masks.

`python -m common.data.prepare.coco --data COCO_DIR --split train2017` reads `annotations/instances_train2017.json`
and writes `SegmentationVOC/train2017/<stem>.png` and `lists/train2017.txt`; then `train --data COCO_DIR
--split train2017 --set dataset=coco` trains on it.

Source: arXiv 1706.05587 section 4.3, "Pretrained on COCO": of trainval minus minival (the pictures of
train2017) those "that have annotation regions larger than 1000 pixels and contain the classes defined in
PASCAL VOC 2012", all other classes being background. The paper leaves the rest open; here
  - a picture is kept when more than 1000 of its pixels carry one of the 20 classes, as in
    jfzhang95/pytorch-deeplab-xception (torchvision's references sum the areas of the annotations instead). The
    paper arrives at about 60K pictures; whether it counts by picture or by region is not said.
  - where instances overlap, the smaller one covers the larger: it is mostly in front (a bottle on a table, a cat on a
    sofa). jfzhang95 keeps the first in the file's order, which means nothing; torchvision ignores such pixels.
  - crowds become the ignore label, below the instances: a crowd's outline runs around a group and takes in what is
    between its members. The ports paint them as their class.
"""

import argparse
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common import program
from common.console import Progress, say, show
from common.data.masks import read_mask, save_label_png
from common.data.polygons.regions import Picture, paint, read_pictures
from common.data.prepare.job import write_list
from common.data.sets.coco import COCO, LIST_FOLDER, MASK_FOLDER
from common.errors import UserError
from common.files import atomic
from common.parallel import parallel_map
from common.words import some

SPLITS = ("train2017", "val2017", "train2014", "val2014")


@dataclass(frozen=True)
class CocoMasks:
    """The masks that were made.

    Attributes:
      list_path: the list, one `image mask` per line.
      kept, without_class, too_small: numbers of pictures.
      pixels: int64 [21], per class id, in the kept pictures; ignored: those with the ignore label.
    """

    list_path: Path
    kept: int
    without_class: int
    too_small: int
    pixels: np.ndarray
    ignored: int


def prepare(
    data_dir: Path, split: str, out: Path, min_pixels: int = 1000, workers: int = 1, quiet: bool = False
) -> CocoMasks:
    """Paint the masks of `split` and write its list, relative to `out`; masks that are done are kept.

    Raises UserError: folders, annotations or pictures that are missing or do not fit each other.
    """
    annotations = data_dir / "annotations" / f"instances_{split}.json"
    images = _image_folder(data_dir, split)
    to_pictures = Path(os.path.relpath(data_dir.resolve(), out.resolve()))
    if str(to_pictures).split() != [str(to_pictures)]:
        raise UserError(f"--out {out}: lists cannot hold the blanks in {to_pictures}; leave --out away or rename")
    say(f"reading {annotations}", quiet)
    pictures, without_class = read_pictures(annotations, images, out / MASK_FOLDER / split)
    _check_images(pictures, annotations)

    lines, pixels = [], np.zeros(256, np.int64)
    work = functools.partial(_paint, annotations=annotations, min_pixels=min_pixels)
    with parallel_map(workers) as run, Progress(f"masks of {split}", len(pictures), quiet=quiet) as progress:
        for picture, counts in zip(pictures, run(work, pictures), strict=True):
            if _labelled(counts) > min_pixels:
                pixels += counts
                image = to_pictures / picture.image.relative_to(data_dir)
                lines.append(f"{image.as_posix()} {picture.mask.relative_to(out).as_posix()}")
            progress.advance()
    if not lines:
        raise UserError(f"{annotations}: no picture has more than {min_pixels} labelled pixels; lower --min-pixels")
    list_path = out / LIST_FOLDER / f"{split}.txt"
    write_list(list_path, lines)
    too_small = len(pictures) - len(lines)
    return CocoMasks(list_path, len(lines), without_class, too_small, pixels[: len(COCO.classes)], int(pixels[255]))


def _paint(picture: Picture, annotations: Path, min_pixels: int) -> np.ndarray:
    """Write the mask if it has more than `min_pixels` labelled pixels; returns pixels per value, int64 [256]."""
    label = _finished(picture, annotations)
    if label is None:
        _check_size(picture, annotations)
        try:
            label = paint(picture)
        except UserError as error:
            raise UserError(f"{annotations}: {error}") from None
        if _labelled(np.bincount(label.ravel(), minlength=256)) > min_pixels:
            with atomic(picture.mask) as temporary:
                save_label_png(temporary, label, COCO.palette)
    return np.bincount(label.ravel(), minlength=256)


def _finished(picture: Picture, annotations: Path) -> np.ndarray | None:
    """The mask of an earlier run, unless it is broken, of another size, or older than the annotations."""
    try:
        if picture.mask.stat().st_mtime_ns < annotations.stat().st_mtime_ns:
            return None
        label = read_mask(picture.mask, COCO)
    except (FileNotFoundError, UserError):
        return None
    return label if label.shape == (picture.height, picture.width) else None


def _labelled(counts: np.ndarray) -> int:
    return int(counts[1 : len(COCO.classes)].sum())


def _image_folder(data_dir: Path, split: str) -> Path:
    """`<split>` as COCO's zips unpack, or `images/<split>`."""
    if not data_dir.is_dir():
        raise UserError(f"--data {data_dir}: no such folder; it must hold COCO's annotations and pictures")
    folders = (data_dir / split, data_dir / "images" / split)
    found = next((f for f in folders if f.is_dir()), None)
    if found is None:
        raise UserError(f"--data {data_dir}: has no pictures of {split}; unpack {split}.zip there, to {folders[0]}")
    return found


def _check_images(pictures: list[Picture], annotations: Path) -> None:
    missing = [str(p.image) for p in pictures if not p.image.is_file()]
    if missing:
        raise UserError(
            f"{annotations}: {len(missing)} of its pictures are missing, unpack the zip again: {some(missing)}"
        )


def _check_size(picture: Picture, annotations: Path) -> None:
    try:
        with Image.open(picture.image) as image:
            width, height = image.size
    except OSError as error:
        raise UserError(f"{picture.image}: cannot be read as a picture ({error}); unpack it again") from None
    if (height, width) != (picture.height, picture.width):
        raise UserError(
            f"{picture.image}: is {width}x{height} but {annotations} says {picture.width}x{picture.height}; "
            f"unpack the pictures of the same split"
        )


def _run(args: argparse.Namespace) -> None:
    done = prepare(args.data, args.split, args.out or args.data, args.min_pixels, args.workers, args.quiet)
    show(
        f"{done.kept} pictures kept; {done.without_class} have none of the classes, "
        f"{done.too_small} no more than {args.min_pixels} labelled pixels"
    )
    total = done.pixels.sum() + done.ignored
    for name, pixels in [*zip(COCO.classes, done.pixels, strict=True), ("ignored", done.ignored)]:
        show(f"{name:>15s} {pixels:14,d} pixels {pixels / total:7.2%}")
    show(done.list_path)


def main(arguments: list[str] | None = None) -> int:
    parser = program.ArgumentParser(
        prog="python -m common.data.prepare.coco",
        description=__doc__.partition("\n")[0],
        example="--data data/coco --split val2017",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with annotations and pictures")
    parser.add_argument("--split", choices=SPLITS, required=True)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where masks and list go (default: the data folder)")
    parser.add_argument(
        "--min-pixels", type=program.whole_number(0), default=1000, metavar="N",
        help="drop pictures with no more labelled pixels than this (default: %(default)s)",
    )  # fmt: skip
    program.add_workers(parser)
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
