"""Tables as text: for a terminal, and as Markdown; and the figures in them."""

import math
import re
from collections.abc import Iterable, Sequence

from common.errors import on_one_line


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Columns as wide as their widest cell. Columns whose number is in `left` are aligned left, the others right.

    A control character in a cell is escaped, and so is a line's end.
    """
    lines = [[on_one_line(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = False) -> str:
    """A Markdown table; with `numbers` the first column is aligned left, the others right.

    Cells may hold code and links. Bars, tags and line ends in them are escaped.
    """
    rule = ["---", *["---:" if numbers else "---"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in (header, rule, *rows))


def _cell(text: str) -> str:
    """The cell as GitHub needs it: bars end a cell even in code, tags are none in code."""
    parts = re.split(r"(`[^`]*`)", on_one_line(text))
    parts = [part if part.startswith("`") and part.endswith("`") else escaped(part, "<>") for part in parts]
    return escaped("".join(parts), "|")


def escaped(text: str, characters: str = "\\`*_[]<>") -> str:
    """A name as Markdown shows it letter by letter: a backslash before every one of `characters` that has none."""
    return re.sub(rf"(?<!\\)[{re.escape(characters)}]", r"\\\g<0>", text)


def percent(share: float | None) -> str:
    """The share in per cent with two decimals, without a sign; `-` when there is none.

    A share below 1 is never rounded to 100.00.
    """
    if share is None or math.isnan(share):
        return "-"
    return f"{100 * share if share >= 1 else min(100 * share, 99.99):.2f}"
