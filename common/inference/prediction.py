"""Prediction: label maps and overlays of pictures, folders and globs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from common.console import Progress
from common.data.card import DatasetCard
from common.data.drawing import overlay
from common.data.folders import files_in, files_of_pattern, is_file
from common.data.masks import SUFFIXES, read_image, save_label_png
from common.errors import UserError, brief
from common.files import atomic

if TYPE_CHECKING:  # a wrong path is answered without waiting for TensorFlow
    from common.inference.segmenter import Segmenter


def find_pictures(arguments: Sequence[str]) -> list[Path]:
    """The pictures that files, folders (their pictures, not below) and globs name, without repeats.

    Raises:
      UserError: an argument that names nothing.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            pictures = files_in(path, SUFFIXES)
        elif is_file(path):
            pictures = [path]
        else:
            pictures = files_of_pattern(argument)
        if not pictures:
            what = "folder without pictures" if path.is_dir() else "no such picture, folder or pattern"
            raise UserError(f"{brief(argument)}: {what}")
        found.update(dict.fromkeys(pictures))
    return list(found)


def predict(
    segmenter: "Segmenter",
    pictures: Sequence[Path],
    card: DatasetCard,
    out: Path,
    *,
    save_logits: bool = False,
    quiet: bool = False,
    then: Callable[[Path, np.ndarray, np.ndarray], None] | None = None,
) -> list[str]:
    """Write `<stem>.png`, `<stem>_overlay.png` and, with `save_logits`, `<stem>.npy` for each picture.

    A picture that can't be read doesn't stop the others. `then` gets the path, the pixels and the label map of each.

    Returns:
      One sentence for each picture that failed.

    Raises:
      UserError: a result would overwrite a picture or another result.
    """
    refuse_collisions(pictures, out)
    failures = []
    recipe = segmenter.recipe
    with Progress("predicting", len(pictures), quiet=quiet) as progress:
        for path in pictures:
            try:
                image = read_image(path)
            except UserError as error:
                failures.append(str(error))
                continue
            try:
                if save_logits and recipe.is_single_pass and not recipe.crf:
                    label, logits = segmenter.label_and_logits(image)
                else:
                    label = segmenter.label(image)
                    logits = segmenter.logits(image) if save_logits else None
            except UserError as error:
                failures.append(f"{path}: {error}")
                continue
            write_prediction(out, path.stem, image, label, card)
            if logits is not None:
                with atomic(out / f"{path.stem}.npy") as temporary:
                    np.save(temporary, logits)
            if then:
                then(path, image, label)
            progress.advance(path.name)
    return failures


def refuse_collisions(pictures: Sequence[Path], out: Path) -> None:
    """Raise UserError when two pictures would share a result, or a result would overwrite a picture."""
    inputs = {p.resolve() for p in pictures}
    written: dict[Path, Path] = {}
    for path in pictures:
        for name in (f"{path.stem}.png", f"{path.stem}_overlay.png"):
            target = (out / name).resolve()
            if target in inputs:
                raise UserError(
                    f"--out {out}: {name} is one of the pictures and would be overwritten; choose another folder"
                )
            other = written.setdefault(target, path)
            if other != path:
                raise UserError(f"{other} and {path}: would both write {name}; predict them apart")


def write_prediction(out: Path, stem: str, image: np.ndarray, label: np.ndarray, card: DatasetCard) -> None:
    """The palette PNG of class ids and the overlay, for uint8 [h, w, 3] and [h, w]."""
    with atomic(out / f"{stem}.png") as temporary:
        save_label_png(temporary, label, card.palette)
    with atomic(out / f"{stem}_overlay.png") as temporary:
        Image.fromarray(overlay(image, label, card.palette)).save(temporary)
