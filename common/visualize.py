"""Pictures for people: overlays, rows, sheets with a legend, the training curve."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common import run_folder
from common.data.card import DatasetCard
from common.data.masks import IGNORE_COLOURS, colour_labels
from common.recipe import Recipe

Palette = Sequence[tuple[int, int, int]]


def overlay(image: np.ndarray, label: np.ndarray, palette: Palette, opacity: float = 0.6) -> np.ndarray:
    """uint8 RGB [h, w, 3] with the classes' colours blended in; class 0 is left as it is when it is black."""
    colours = colour_labels(label, palette).astype(np.float32)
    blended = image * (1 - opacity) + colours * opacity
    plain = (label == 0) & (tuple(palette[0]) == (0, 0, 0))
    return np.where(plain[..., None], image, np.rint(blended)).astype(np.uint8)


def picture_row(image: np.ndarray, label: np.ndarray, prediction: np.ndarray, palette: Palette) -> np.ndarray:
    """picture | label | prediction, side by side: uint8 RGB [h, 3 w, 3]."""
    return np.concatenate([image, colour_labels(label, palette), colour_labels(prediction, palette)], axis=1)


def two_a_row(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str]
) -> tuple[list[Sequence[np.ndarray]], Sequence[str]]:
    """The rows and titles of a sheet half as tall and twice as wide."""
    pairs = [[*rows[i], *(rows[i + 1] if i + 1 < len(rows) else [])] for i in range(0, len(rows), 2)]
    return pairs, [*titles] * min(2, len(rows))


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    legend: Sequence[int],
    card: DatasetCard,
    panel: int = 180,
) -> Image.Image:
    """A contact sheet: a row of panels a picture, column titles, and a legend of the classes named by id.

    Panels are shrunk to `panel` pixels.
    """
    gap, line = 6, 22
    font = ImageFont.load_default(size=14)
    width = len(titles) * (panel + gap) + gap
    columns = max(1, width // 130)
    legend_lines = -(-len(legend) // columns)
    page = Image.new("RGB", (width, line + len(rows) * (panel + gap) + gap + legend_lines * line), "white")
    draw = ImageDraw.Draw(page)
    for c, title in enumerate(titles):
        draw.text((gap + c * (panel + gap), 3), title, "black", font)
    for r, panels in enumerate(rows):
        for c, pixels in enumerate(panels):
            thumbnail = Image.fromarray(pixels)
            thumbnail.thumbnail((panel, panel))
            x = gap + c * (panel + gap) + (panel - thumbnail.width) // 2
            page.paste(thumbnail, (x, line + r * (panel + gap) + (panel - thumbnail.height) // 2))
    top = line + len(rows) * (panel + gap) + gap
    for i, class_id in enumerate(legend):
        x, y = gap + i % columns * 130, top + i // columns * line
        draw.rectangle((x, y, x + 14, y + 14), fill=tuple(card.palette[class_id]), outline="grey")
        draw.text((x + 20, y - 2), card.classes[class_id], "black", font)
    return page


def few_colours(page: Image.Image, palette: Palette) -> Image.Image:
    """The page in 256 colours, the classes' own among them: a third of the size, for figures that lie in git."""
    adaptive = page.quantize(256 - len(palette) - 1).getpalette()
    fixed = [value for colour in (*palette, IGNORE_COLOURS[0]) for value in colour]
    colours = Image.new("P", (1, 1))
    colours.putpalette((fixed + adaptive)[: 3 * 256])
    return page.quantize(palette=colours, dither=Image.Dither.NONE)


def png_bytes(pixels: np.ndarray) -> bytes:
    """uint8 RGB [h, w, 3] as a PNG file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def plot_training_curve(run_dir: Path, recipe: Recipe, pictures: int) -> Path | None:
    """Write `training_curve.png`: the loss per step, its mean per epoch of `pictures`, and mIoU if it was measured."""
    log = run_folder.read_log(run_dir)
    if not log:
        return None
    # Here, not above: pyplot takes half a second that `predict` need not wait for.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = np.array([e["step"] for e in log])
    losses = np.array([e["pixel_loss"] for e in log])
    per_epoch = pictures / (recipe.batch_size * recipe.grad_update_every)
    epochs = ((steps - 1) // per_epoch).astype(int)
    validation = run_folder.read_log(run_dir, run_folder.VALIDATION)
    columns = 3 if validation else 2
    figure, (left, right, *rest) = pyplot.subplots(1, columns, figsize=(4.5 * columns, 3.2), layout="constrained")
    right.sharey(left)
    left.plot(steps, losses, linewidth=0.8)
    left.set(xlabel="step", ylabel="pixel loss", yscale="log", title="per step")
    means = [losses[epochs == e].mean() for e in np.unique(epochs)]
    right.plot(np.unique(epochs) + 1, means, marker="o", markersize=3)
    right.set(xlabel=f"epoch of {pictures} pictures", title="per epoch (mean)")
    for axes in rest:
        axes.plot([e["step"] for e in validation], [e["miou"] for e in validation], marker="o", markersize=3)
        axes.set(xlabel="step", title=f"mIoU on {validation[-1]['images']} val pictures")
    for axes in (left, right, *rest):
        axes.grid(alpha=0.3)
    path = run_dir / "training_curve.png"
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
