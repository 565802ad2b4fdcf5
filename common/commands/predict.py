"""`predict`: label maps and overlays of pictures."""

import argparse
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from common import program
from common.commands.options import add_inference, choose, dataset_of
from common.console import show
from common.data.card import DatasetCard
from common.data.lists import card_by_name
from common.data.sets.voc import voc_palette
from common.errors import UserError
from common.export.choice import PREPARED
from common.files import check_writable
from common.inference.base import BaseSegmenter
from common.inference.film import OVERLAY as FILM_OVERLAY
from common.inference.film import SUFFIXES as FILM_SUFFIXES
from common.inference.film import first_frames, is_film, predict_film, refuse_films
from common.inference.outputs import Contours, Cutout, Kept, LabelIds, Output, has_background
from common.inference.prediction import array_endings, classes_line, find_pictures, predict, readable, refuse_collisions
from common.reproduction import Reproduction
from common.words import NAMED, some

ABOUT = "label maps and overlays of pictures"
EXAMPLE = (
    "data/sample/JPEGImages/sample_000064.jpg --checkpoint runs/try-{name} --out out/{name}-labels "
    "--save-probabilities --save-contours"
)


def add_arguments(parser: argparse.ArgumentParser, reproduction: Reproduction) -> None:
    """Add the options of `predict`."""
    parser.add_argument("pictures", nargs="+", metavar="IMAGE|DIR|GLOB|FILM")
    add_inference(parser, reproduction, "the fastest of tensorflow and those that an earlier run prepared")
    parser.add_argument(
        "--save-logits", action="store_true",
        help="also write <stem>.npy: the network's scores at scale 1, float32 [h / stride, w / stride, classes]",
    )  # fmt: skip
    parser.add_argument(
        "--save-probabilities", choices=("float32", "float16"), nargs="?", const="float32", default="",
        help="also write <stem>_probabilities.npy: [h, w, classes] at the picture's size, by --scales, --flip and "
        "--crf; `python -m common.inference.crf` takes it",
    )  # fmt: skip
    parser.add_argument(
        "--label-ids", action="store_true",
        help="also write <stem>_labelIds.png: Cityscapes' own ids 7, 8, 11, ..., as its server takes them",
    )  # fmt: skip
    parser.add_argument(
        "--save-contours", action="store_true",
        help="also write labelme/<stem>.json and coco/instances.json: outlines to correct in an annotation program; "
        "`python -m common.data.polygons` makes masks of them again",
    )  # fmt: skip
    parser.add_argument(
        "--classes", type=program.names, default=(), metavar="A,B",
        help="keep these classes alone, such as person,cat; all else becomes background",
    )  # fmt: skip
    parser.add_argument(
        "--background", choices=("transparent",),
        help="also write <stem>_cutout.png: the picture, and nothing where no class is",
    )  # fmt: skip
    parser.add_argument(
        "--save-labels", action="store_true",
        help="of a film, whose result is <stem>_overlay.mp4, also write <stem>_frames/<number>.png: label maps",
    )  # fmt: skip


def _outputs(args: argparse.Namespace, card: DatasetCard) -> list[Output]:
    """Further outputs beside the label maps. Raises UserError for what the classes do not allow."""
    found: list[Output] = [LabelIds(card)] if args.label_ids else []
    if args.background:
        if not (args.classes or has_background(card)):
            raise UserError(f"--background transparent: {card.title} has no background; name --classes that stay")
        found.append(Cutout(card))
    return [*found, Contours(card)] if args.save_contours else found


def with_names(card: DatasetCard, classes: int) -> DatasetCard:
    """The card, or one of numbered classes where the weights have another number: they are of another data set."""
    if classes == len(card.classes):
        return card
    names = tuple(f"class {i}" for i in range(classes))
    return dataclasses.replace(card, classes=names, palette=voc_palette(classes))


def run(reproduction: Reproduction, args: argparse.Namespace) -> int:
    """Segment every picture; returns the exit status: 2 when one of them failed."""
    found = find_pictures(args.pictures, FILM_SUFFIXES)
    films, pictures = [path for path in found if is_film(path)], [path for path in found if not is_film(path)]
    _refuse_flags(args, films, pictures)
    choice = choose(reproduction, args, PREPARED)
    card = with_names(card_by_name(dataset_of(choice.weights, choice.recipe)), choice.recipe.num_classes)
    if args.save_logits and choice.recipe.eval_tile:
        raise UserError("--save-logits: are scores of whole pictures, and eval_tile cuts them; leave one of both out")
    kept, outputs = Kept(card, args.classes), _outputs(args, card)
    arrays = array_endings(args.save_logits, args.save_probabilities)
    refuse_collisions(pictures, args.out, arrays, [output.ending for output in outputs if output.ending])
    for output in outputs:
        output.refuse(args.out, pictures)
    refuse_films(films, args.out, args.save_labels)
    check_writable(args.out, f"--out {args.out}")

    lines: list[str] = []
    choice.settle(itertools.chain(readable(pictures, choice.recipe.channels), first_frames(films)), args.quiet)
    with choice.segmenter() as segmenter:
        failures = predict(
            segmenter, pictures, card, args.out, save_logits=args.save_logits,
            save_probabilities=args.save_probabilities, kept=kept, outputs=outputs, quiet=args.quiet,
            then=lambda path, _, label: lines.append(classes_line(path, label, card)),
        )  # fmt: skip
        for line in lines:
            show(line)
        if pictures:
            show(f"{len(pictures) - len(failures)} of {len(pictures)} pictures written to {args.out}")
        stopped = _predict_films(segmenter, films, card, args, kept, failures)
    return program.report_failures(failures) if stopped is None else 128 + stopped


def _refuse_flags(args: argparse.Namespace, films: Sequence[Path], pictures: Sequence[Path]) -> None:
    """Raise UserError for flags that films, or pictures, have no use for."""
    of_pictures = ("save_logits", "save_probabilities", "label_ids", "save_contours", "background")
    given = [f"--{name.replace('_', '-')}" for name in of_pictures if getattr(args, name)]
    if films and given:
        raise UserError(f"{given[0]}: is for pictures, and {films[0]} is a film; leave one of both out")
    if args.save_labels and not films:
        raise UserError(f"--save-labels: is for films; of {pictures[0].name} the label map is written anyway")


def _predict_films(
    segmenter: BaseSegmenter,
    films: Sequence[Path],
    card: DatasetCard,
    args: argparse.Namespace,
    kept: Kept,
    failures: list[str],
) -> int | None:
    """Write the films, and add a sentence to `failures` for each that cannot be read; returns the signal that stops."""
    for number, path in enumerate(films, 1):
        try:
            done = predict_film(
                segmenter, path, card, args.out, kept=kept, save_frames=args.save_labels, quiet=args.quiet
            )
        except UserError as error:
            failures.append(f"{path}: {str(error).removeprefix(f'{path}: ')}")
            continue
        show(f"{path.name}: {done} written to {args.out / path.stem}{FILM_OVERLAY}")
        if done.signal:
            if later := [film.name for film in films[number:]]:
                show(f"not begun: {some(later, NAMED)}")
            return done.signal
    return None
