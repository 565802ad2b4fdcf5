"""Saving matplotlib's plots, whose words come from people's files."""

import functools
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from common.console import say
from common.errors import is_control, visible
from common.files import atomic

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Fonts that have what matplotlib's own lacks: Chinese, Japanese, Korean, Arabic, Indian and other scripts, and emoji.
FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic",
    "PingFang SC", "PingFang HK", "Hiragino Sans GB", "Apple SD Gothic Neo", "Arial Unicode MS", "Noto Sans Arabic",
    "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans Hebrew", "Noto Emoji", "Symbola",
)  # fmt: skip


def save_plot(figure: "Figure", path: Path, metadata: dict[str, str], dpi: int, kind: str | None = None) -> None:
    """Write a plot; `kind` is its format (default: by the ending of `path`), `metadata` as of `figures.plot_note`.

    Names stand as they are, dollars too, but control characters are escaped. Letters that no font here has become
    boxes, with a note that says so.
    """
    from matplotlib.text import Text  # here: it takes a third of a second

    numbers = {id(label) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in _numbers(axis)}
    for text in figure.findobj(Text):
        text.set_fontfamily(["DejaVu Sans", *_fonts()])
        if id(text) not in numbers:
            text.set_parse_math(False)
            text.set_text(visible(text.get_text()))
    with atomic(path) as temporary, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(temporary, dpi=dpi, metadata=metadata, format=kind)
    if any(_lacks_a_letter(str(warning.message)) for warning in caught):
        say(
            f"{path}: no font here has some letters of its names; install one that has them, such as Noto Sans CJK or "
            f"Noto Emoji"
        )


def _numbers(axis: "Axis") -> list["Text"]:
    """The labels that matplotlib makes for an axis, in its own notation of powers; none where an axis has names."""
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    if isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):  # as set_yticks(places, names) has it
        return []
    return axis.get_ticklabels(which="both")


def _lacks_a_letter(warning: str) -> bool:
    """Whether matplotlib's warning is of a character without a font, and not of one that no font has."""
    match = re.match(r"Glyph (\d+) .*missing from", warning, re.DOTALL)
    return match is not None and not is_control(chr(int(match[1])))


@functools.cache
def _fonts() -> tuple[str, ...]:
    """Those of FONTS that this machine has."""
    from matplotlib.font_manager import fontManager

    names = set(fontManager.get_font_names())
    return tuple(font for font in FONTS if font in names)
