"""Drawings of results: overlays, rows, and contact sheets with a legend."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.data.card import DatasetCard
from common.data.figures import png_note
from common.data.masks import IGNORE_COLOURS, colour_labels

Palette = Sequence[tuple[int, int, int]]


def overlay(
    image: np.ndarray, label: np.ndarray, palette: Palette, opacity: float = 0.6, plain: int | None = None
) -> np.ndarray:
    """Blend the classes' colours into a picture: uint8 RGB [h, w, 3].

    Class 0 is not drawn when its colour is black, nor is the value `plain`.
    """
    unmarked = [0] if tuple(palette[0]) == (0, 0, 0) else []
    unmarked += [] if plain is None else [plain]
    drawn = np.empty((*label.shape, 3), np.uint8)
    for top in range(0, len(label), ROWS):
        rows = slice(top, top + ROWS)  # a large picture in float32 would fill the memory
        pixels, ids = image[rows, :], label[rows]
        blended = pixels * (1 - opacity) + colour_labels(ids, palette).astype(np.float32) * opacity
        drawn[rows] = np.where(np.isin(ids, unmarked)[..., None], pixels, np.rint(blended))
    return drawn


ROWS = 512  # that are blended at once


def picture_row(image: np.ndarray, label: np.ndarray, prediction: np.ndarray, palette: Palette) -> np.ndarray:
    """Put picture, label and prediction side by side: uint8 RGB [h, 3 w, 3]."""
    return np.concatenate([image, colour_labels(label, palette), colour_labels(prediction, palette)], axis=1)


def two_a_row(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str]
) -> tuple[list[Sequence[np.ndarray]], Sequence[str]]:
    """Put two rows of a sheet side by side; returns the new rows and titles."""
    pairs = [[*rows[i], *(rows[i + 1] if i + 1 < len(rows) else [])] for i in range(0, len(rows), 2)]
    return pairs, [*titles] * min(2, len(rows))


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str],
    legend: Sequence[int],
    card: DatasetCard,
    panel: int = 180,
) -> Image.Image:
    """Draw a contact sheet: one row of panels per picture, column titles, and a legend of the class ids in `legend`.

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
    """Reduce the page to 256 colours that include the classes' own: a third of the size, for figures in git."""
    adaptive = page.quantize(256 - len(palette) - 1).getpalette()
    fixed = [value for colour in (*palette, IGNORE_COLOURS[0]) for value in colour]
    colours = Image.new("P", (1, 1))
    colours.putpalette((fixed + adaptive)[: 3 * 256])
    return page.quantize(palette=colours, dither=Image.Dither.NONE)


def png_bytes(pixels: np.ndarray, records: Sequence[str] = ()) -> bytes:
    """Encode uint8 RGB [h, w, 3] as a PNG file's bytes, with the ids of the records that it belongs to."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", pnginfo=png_note(records))
    return buffer.getvalue()
