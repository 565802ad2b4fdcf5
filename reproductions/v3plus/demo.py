"""`python -m reproductions.v3plus.demo [IMAGE|DIR|GLOB ...]`: real weights on photographs; `make demo` runs it."""

import argparse
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from common import program
from common.console import say, show
from common.data.card import DatasetCard
from common.data.figures import note, png_note, refuse_foreign
from common.downloads.fetch import fetch
from common.errors import UserError
from common.export.choice import AUTO, ENGINES, TENSORFLOW, Choice
from common.files import atomic, check_writable

# The same weights, MobileNetV2 trained on VOC trainval; the first that can be had is taken.
WEIGHTS = ("max_image_segmenter", "deeplabv3_mnv2_pascal_trainval")
PHOTOGRAPHS = "photographs"
OUT = Path("out/demo")
SIDE = 513  # pixels; the longer side of the pictures that the network was trained on
SHEET = "demo.png"
SHEET_PICTURES = 8
PANEL = 250
FIGURE_SUFFIXES = (".jpg", ".jpeg", ".png")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 all done, 2 wrong arguments or input, 130 on Ctrl-C."""
    parser = program.ArgumentParser(
        prog="python -m reproductions.v3plus.demo",
        description="Segment photographs with DeepLab's MobileNetV2 weights for PASCAL VOC, which are fetched.",
        example="--out out/demo",
    )
    parser.add_argument(
        "pictures", nargs="*", metavar="IMAGE|DIR|GLOB", help="default: a person and a cat, which are fetched"
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR", help="folder for the results (default: %(default)s)"
    )
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write the sheet here too, as .jpg or .png")
    parser.add_argument(
        "--engine", choices=ENGINES, default=AUTO,
        help=f"what runs the network; {AUTO}: the fastest that gives TensorFlow's labels (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    if args.figure and args.figure.suffix.lower() not in FIGURE_SUFFIXES:
        parser.error(f"--figure {args.figure}: must end in {' or '.join(FIGURE_SUFFIXES)}")
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    started = time.monotonic()
    # Imported here: wrong flags are reported before it.
    from common.data.lists import card_by_name
    from common.inference import prediction

    given = [name for text in args.pictures for name in named_pictures(text)]
    pictures = prediction.find_pictures(given or _photographs(args.quiet))
    for path in pictures:
        if path.stem == Path(SHEET).stem:
            raise UserError(f"{path}: its label map would be called {SHEET} as the sheet is; rename the picture")
        if args.figure and path.resolve() == args.figure.resolve():
            raise UserError(f"--figure {args.figure}: is one of the pictures and would be overwritten")
    check_writable(args.out, f"--out {args.out}")
    refuse_foreign(args.out / SHEET, f"--out {args.out}")
    refuse_foreign(args.figure, f"--figure {args.figure}")
    name, weights = fetch_weights(args.quiet)
    segmenter = AtTrainedSize(weights, prediction.readable(pictures), args.engine)
    sheet = _Sheet(card_by_name(segmenter.recipe.dataset))
    failures = prediction.predict(segmenter, pictures, sheet.card, args.out, quiet=args.quiet, then=sheet.add)
    status = program.report_failures(failures)
    show(f"weights {weights} ({name} of common/downloads/manifest.yaml)")
    for line in sheet.found:
        show(line)
    show(segmenter.engine)
    for path in filter(None, (args.out / SHEET, args.figure) if sheet.rows else ()):
        sheet.save(path)
        show(f"sheet {path}")
    show(f"{len(sheet.found)} of {len(pictures)} pictures written to {args.out} in {time.monotonic() - started:.0f} s")
    return status


def named_pictures(text: str) -> list[str]:
    """Split the text of `make demo IMAGES="..."` into names.

    The whole text is one name if such a file or pattern exists, blanks included. Otherwise its words are names; quotes
    keep blanks within a name.
    """
    from common.inference.prediction import find_pictures

    try:
        find_pictures([text])
    except UserError:
        try:
            return shlex.split(text) or [text]
        except ValueError:  # an unclosed quote is part of a name
            return [text]
    return [text]


def _photographs(quiet: bool) -> list[str]:
    try:
        return [str(path) for path in fetch(PHOTOGRAPHS, quiet=quiet).paths]
    except UserError as error:
        raise UserError(f"{error}; pictures of your own need none of these: make demo IMAGES=photo.jpg") from None


def fetch_weights(quiet: bool = False) -> tuple[str, Path]:
    """Fetch the first weights that can be fetched; returns their name in the manifest and their checkpoint.

    Raises:
      UserError: none can be fetched; the message has the reason of each.
    """
    reasons = []
    for name, other in zip(WEIGHTS, (*WEIGHTS[1:], None), strict=True):
        try:
            return name, fetch(name, quiet=quiet).ready[0].path
        except UserError as error:
            reasons.append(str(error))
            say(f"{name}: {error}; trying {other}", quiet or not other)
    raise UserError(f"the weights cannot be had; {'; '.join(reasons)}")


class AtTrainedSize:
    """A segmenter that resizes the longer side of each picture to SIDE, as research/deeplab's own demo does.

    The label map is resized back to the picture's size. A photograph of any size takes the same second.
    """

    def __init__(self, weights: Path, pictures: Iterable[np.ndarray] = (), engine: str = TENSORFLOW):
        """Open the weights; engines are compared on the first of `pictures`, uint8 [h, w, 3]."""
        from reproductions.v3plus import REPRODUCTION

        settings = ["eval_output_stride=8", f"eval_size={SIDE}"]
        choice = Choice(REPRODUCTION, weights, settings, engine=engine)
        choice.settle(map(_at_trained_size, pictures), quiet=True)  # `engine` says it
        self.recipe, self.engine = choice.recipe, choice.described()
        self._segmenter = choice.segmenter()

    def label(self, picture: np.ndarray) -> np.ndarray:
        """uint8 class ids [h, w] of a uint8 RGB picture; see `Segmenter.label`."""
        label = self._segmenter.label(_at_trained_size(picture))
        return np.asarray(Image.fromarray(label).resize(picture.shape[1::-1], Image.Resampling.NEAREST))


def _at_trained_size(picture: np.ndarray) -> np.ndarray:
    photograph = Image.fromarray(picture)
    factor = SIDE / max(photograph.size)
    size = [max(1, int(factor * side)) for side in photograph.size]
    return np.asarray(photograph.resize(size, Image.Resampling.LANCZOS))


class _Sheet:
    """The contact sheet of the first pictures, and one line on each picture."""

    def __init__(self, card: DatasetCard):
        self.card, self.rows, self.found = card, [], []
        self._legend: set[int] = set()  # class ids of the pictures on the sheet

    def add(self, path: Path, picture: np.ndarray, label: np.ndarray) -> None:
        """Add a picture, uint8 [h, w, 3], and its class ids [h, w]."""
        from common.data.drawing import overlay
        from common.inference.prediction import classes_line

        self.found.append(classes_line(path, label, self.card))
        if len(self.rows) < SHEET_PICTURES:
            small = Image.fromarray(picture), Image.fromarray(overlay(picture, label, self.card.palette))
            for panel in small:
                panel.thumbnail((PANEL, PANEL))
            self.rows.append([np.asarray(panel) for panel in small])
            self._legend.update(np.unique(label).tolist())

    def save(self, path: Path) -> None:
        """Write the sheet, two pictures a row, as its suffix says."""
        from common.data.drawing import sheet, two_a_row

        page = sheet(*two_a_row(self.rows, ["picture", "overlay"]), sorted(self._legend), self.card, PANEL)
        with atomic(path) as temporary:
            page.save(temporary, quality=90, comment=note(), pnginfo=png_note())  # each format takes its own


if __name__ == "__main__":
    sys.exit(main())
