"""Prediction: write label maps and overlays of pictures, folders and globs."""

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from common.console import Progress
from common.data.card import DatasetCard
from common.data.drawing import overlay
from common.data.figures import add_png_note, drawn_by_us, png_note
from common.data.folders import files_in, files_of_pattern, is_file, is_folder
from common.data.masks import SUFFIXES, colour_labels, picture_size, read_image, save_label_png, too_large, turned_back
from common.data.tiff import LARGE, TiffPicture, has_plain_colours, head_of, is_tiff, place_of, write_labels
from common.errors import UserError, WeightsError, brief
from common.files import atomic
from common.inference.tiles import tiles_of
from common.memory import free_memory
from common.recipe.recipe import Recipe

OVERLAY, LABELS_TIFF = "_overlay.png", "_labels.tif"  # these and the following end the names of results
LOGITS, PROBABILITIES = ".npy", "_probabilities.npy"
LONGEST_FILE_NAME = 255  # bytes, on the usual file systems

if TYPE_CHECKING:  # a wrong path is refused without importing TensorFlow
    from common.inference.outputs import Output
    from common.inference.segmenter import Segmenter


def find_pictures(arguments: Sequence[str], others: Collection[str] = ()) -> list[Path]:
    """The pictures that files, folders and globs name, each once. Folders in folders are not searched.

    A folder without pictures gives its files that end in one of `others`.

    Raises:
      UserError: an argument names nothing.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument)
        if is_folder(path):
            pictures = files_in(path, SUFFIXES) or files_in(path, others)
        elif is_file(path):
            pictures = [path]
        else:
            pictures = files_of_pattern(argument)
        if not pictures:
            what = "folder without pictures" if is_folder(path) else "no such file, folder or pattern"
            raise UserError(f"{brief(argument)}: {what}")
        found.update(dict.fromkeys(pictures))
    return list(found)


def readable(pictures: Iterable[Path], channels: Sequence[int] = ()) -> Iterator[np.ndarray]:
    """The pixels of the pictures that can be read, uint8 [h, w, 3]; `channels` as `read_image`."""
    for path in pictures:
        with contextlib.suppress(UserError, MemoryError):
            yield read_image(path, channels)


@contextlib.contextmanager
def opened_picture(path: Path, channels: Sequence[int], by_strips: bool) -> Iterator[np.ndarray | TiffPicture]:
    """A picture's pixels, uint8 RGB [h, w, 3]; with `by_strips` a large TIFF is read when its pixels are asked for.

    Raises UserError as `read_image`.
    """
    if not (by_strips and is_tiff(path) and (channels or has_plain_colours(path))):
        yield read_image(path, channels)
        return
    with TiffPicture(path, channels) as picture:
        is_large = picture.shape[0] * picture.shape[1] > LARGE
        yield picture if is_large and picture.turn == 1 else read_image(path, channels)


def predict(
    segmenter: "Segmenter",
    pictures: Sequence[Path],
    card: DatasetCard,
    out: Path,
    *,
    save_logits: bool = False,
    save_probabilities: str = "",
    kept: Callable[[np.ndarray], np.ndarray] = np.asarray,
    outputs: Sequence["Output"] = (),
    quiet: bool = False,
    then: Callable[[Path, np.ndarray, np.ndarray], None] | None = None,
) -> list[str]:
    """Write `<stem>.png` and `<stem>_overlay.png` for each picture.

    With `save_logits` `<stem>.npy` too, the network's scores; with `save_probabilities`, float16 or float32,
    `<stem>_probabilities.npy` of that type, [h, w, classes] at the picture's size, which the label map is the greatest
    of.

    `kept` is applied to a label map before anything is written of it, and `outputs` write more.

    A picture that can't be read doesn't stop the others. `then` is called with the path, the pixels and the label map
    of each picture.

    Returns:
      One sentence for each picture that failed.

    Raises:
      UserError: a result would overwrite a picture or another result, or scores of a picture are not finite.
    """
    endings = array_endings(save_logits, save_probabilities)
    refuse_collisions(pictures, out, endings)
    failures = []
    with Progress("predicting", len(pictures), quiet=quiet) as progress:
        for path in pictures:
            try:
                _refuse_long_name(path, endings)
                recipe = segmenter.recipe
                with opened_picture(path, recipe.channels, by_strips=recipe.eval_tile > 0) as image:
                    label, arrays = _label_and_arrays(segmenter, image, save_logits, save_probabilities)
                    label = kept(label)
                    write_prediction(out, path, image, label, card)
                    for output in outputs:
                        output.write(out, path, image, label)
            except WeightsError as error:
                raise UserError(f"{path}: {error}") from None
            except UserError as error:
                failures.append(f"{path}: {str(error).removeprefix(f'{path}: ')}")
                continue
            except MemoryError:
                failures.append(f"{path}: {too_large(picture_size(path)[::-1])}")
                continue
            for ending, array in arrays.items():
                with atomic(out / f"{path.stem}{ending}") as temporary:
                    np.save(temporary, array)
            if then:
                then(path, image, label)
            progress.advance(path.name)
    for output in outputs:
        output.finish(out)
    return failures


def _label_and_arrays(
    segmenter: "Segmenter", image: np.ndarray, save_logits: bool, save_probabilities: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The label map, and the arrays that are wanted by how their files' names end.

    The label map is the one that is written without them. Of tiles and fused passes it is the probabilities' greatest.
    """
    arrays, recipe = {}, segmenter.recipe if save_logits or save_probabilities else None
    if save_probabilities:
        _refuse_more_than_memory(image.shape, recipe.num_classes)
        probabilities = segmenter.probabilities(image)
        arrays[PROBABILITIES] = probabilities.astype(save_probabilities)
    if save_logits and recipe.is_single_pass and not recipe.crf:
        label, arrays[LOGITS] = segmenter.label_and_logits(image)
        return label, arrays
    if save_logits:
        arrays[LOGITS] = segmenter.logits(image)
    if save_probabilities and _is_greatest(recipe, image.shape):
        return probabilities.argmax(axis=-1).astype(np.uint8), arrays
    return segmenter.label(image), arrays


def _is_greatest(recipe: Recipe, shape: Sequence[int]) -> bool:
    """Whether the label map is computed from probabilities; otherwise it is from scores, which round differently."""
    is_fused = not (recipe.is_single_pass or recipe.scale_fusion == "max_logits")
    return recipe.crf or is_fused or tiles_of(recipe, shape[:2]) is not None


def _refuse_more_than_memory(shape: Sequence[int], classes: int) -> None:
    """Raise UserError before probabilities are computed that the memory cannot hold, and a copy of them."""
    height, width = shape[:2]
    mebibytes = height * width * classes * 4 / 2**20
    if 2 * mebibytes > free_memory():
        raise UserError(
            f"--save-probabilities: those of {width}x{height} pixels and {classes} classes take {mebibytes:,.0f} MiB "
            f"twice, more than is free; cut the picture, or leave the flag out"
        )


def classes_line(path: Path, label: np.ndarray, card: DatasetCard) -> str:
    """The classes of a label map [h, w] and their shares, largest first: `a.jpg: background 80%, cat 20%`.

    Pixels of no wanted class are left out where the data set has no background.
    """
    shown = [f"{card.classes[i]} {share:.0%}" for i, share in class_shares(label) if i != card.ignore_label]
    return f"{path.name}: {', '.join(shown) or 'none of these classes'}"


def class_shares(label: np.ndarray) -> list[tuple[int, float]]:
    """The class ids of a label map [h, w] and their shares of its pixels, largest first."""
    ids, counts = np.unique(label, return_counts=True)
    largest = sorted(zip(counts.tolist(), ids.tolist(), strict=True), reverse=True)
    return [(i, count / label.size) for count, i in largest]


def _refuse_long_name(path: Path, arrays: Sequence[str]) -> None:
    """Raise UserError for a picture whose results would have names that are too long for file systems."""
    longest = max((OVERLAY, *arrays), key=len)
    if len(os.fsencode(f"{path.stem}{longest}")) > LONGEST_FILE_NAME:
        raise UserError(f"its name is too long for its results, which end in {longest}; rename it")


def array_endings(save_logits: bool, save_probabilities: str) -> tuple[str, ...]:
    """How the names of the arrays end that `predict` writes for each picture."""
    return (LOGITS,) * save_logits + (PROBABILITIES,) * bool(save_probabilities)


def refuse_collisions(
    pictures: Sequence[Path], out: Path, arrays: Sequence[str] = (), figures: Sequence[str] = ()
) -> None:
    """Raise UserError when two pictures would share a result, or a result would overwrite what is not this suite's.

    `arrays` is from `array_endings`, and `figures` are the endings of further pictures. An array has no room for a
    note: it is the suite's where its label map is.
    """
    inputs = {p.resolve() for p in pictures}
    written: dict[Path, Path] = {}
    for path in pictures:
        labels = (LABELS_TIFF,) if place_of(path) else ()
        for ending in (".png", OVERLAY, *figures, *labels, *arrays):
            name = f"{path.stem}{ending}"
            target = (out / name).resolve()
            if target in inputs:
                raise UserError(
                    f"--out {out}: {name} is one of the pictures and would be overwritten; choose another folder"
                )
            drawn = out / f"{path.stem}.png" if ending in (*labels, *arrays) else target
            if target.exists() and not drawn_by_us(drawn):
                raise UserError(
                    f"--out {out}: {name} is there, and no prediction of this suite; choose another folder, or move it"
                )
            other = written.setdefault(target, path)
            if other != path:
                raise UserError(f"{other} and {path}: would both write {name}; predict them apart")


def write_prediction(out: Path, path: Path, image: np.ndarray, label: np.ndarray, card: DatasetCard) -> None:
    """Write the palette PNG of class ids and the overlay of a picture, uint8 [h, w, 3], and its label, uint8 [h, w].

    The labels of a TIFF that lies somewhere on the earth become a TIFF too, which lies there.
    """
    stem = path.stem
    if place := place_of(path):
        with atomic(out / f"{stem}{LABELS_TIFF}") as temporary:
            turn, colours = head_of(path).turn, colour_labels(np.arange(256, dtype=np.uint8), card.palette)
            write_labels(temporary, turned_back(label, turn), colours, place, turn)
    with atomic(out / f"{stem}.png") as temporary:
        save_label_png(temporary, label, card.palette)
        add_png_note(temporary)
    with atomic(out / f"{stem}{OVERLAY}") as temporary:
        Image.fromarray(overlay(image, label, card.palette, plain=card.ignore_label)).save(
            temporary, pnginfo=png_note()
        )
