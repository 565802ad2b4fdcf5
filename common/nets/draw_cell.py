"""The graph of a head designed in JSON, as text and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.plots import save_plot
from common.recipe.cell import Branch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEATURES, FUSION = "features", "concat, 1x1"
COLOURS = {"conv": "#cfe5ff", "pyramid_pooling": "#ffe3b8", None: "0.9"}


def tree(cell: Sequence[Branch]) -> str:
    """A line for each branch below the one that it reads."""
    lines = [FEATURES]

    def add(source: int, indent: str) -> None:
        readers = [i for i, branch in enumerate(cell) if branch.input == source]
        for i in readers:
            last = i == readers[-1]
            lines.append(f"{indent}{'└─' if last else '├─'} {i}: {cell[i]}")
            add(i, indent + ("   " if last else "│  "))

    add(-1, "")
    return "\n".join([*lines, f"{FUSION} of {', '.join(map(str, range(len(cell))))}"])


def draw(cell: Sequence[Branch], path: Path, note: Mapping[str, str] | None = None) -> None:
    """Write the graph to `path`, as PNG with the texts of `note`: features on the left, the fusion on the right."""
    from matplotlib.figure import Figure

    depths = {-1: 0}
    for i, branch in enumerate(cell):
        depths[i] = depths[branch.input] + 1
    rows = _rows(cell)
    columns, height = max(depths.values()) + 2, max(rows.values()) + 1
    middle = (height - 1) / 2
    places = {i: (depths[i], rows.get(i, middle)) for i in depths} | {len(cell): (columns - 1, middle)}
    figure = Figure(figsize=(2.3 * columns, max(2.0, 0.8 * height)), layout="constrained")
    axes = figure.add_subplot(xlim=(-0.5, columns - 0.5), ylim=(height - 0.4, -0.9))
    axes.axis("off")
    names = {-1: FEATURES, len(cell): FUSION} | {i: _label(branch, i) for i, branch in enumerate(cell)}
    boxes = {}
    for i, (x, y) in places.items():
        colour = COLOURS[cell[i].op if 0 <= i < len(cell) else None]
        style = {"boxstyle": "round,pad=0.4", "facecolor": colour, "edgecolor": "0.3"}
        boxes[i] = axes.text(x, y, names[i], ha="center", va="center", fontsize=9, bbox=style, zorder=3)
    for i, branch in enumerate(cell):
        _arrow(axes, places, boxes, branch.input, i, "black")
        _arrow(axes, places, boxes, i, len(cell), "0.65")
    save_plot(figure, path, note, dpi=120, kind="png")


def _rows(cell: Sequence[Branch]) -> dict[int, float]:
    """A row for each branch: leaves one below the other, others beside the middle of their readers."""
    rows: dict[int, float] = {}

    def place(i: int) -> float:
        readers = [place(j) for j, branch in enumerate(cell) if branch.input == i]
        leaves = sum(not any(b.input == j for b in cell) for j in rows)
        rows[i] = sum(readers) / len(readers) if readers else leaves
        return rows[i]

    for i, branch in enumerate(cell):
        if branch.input == -1:
            place(i)
    return rows


def _label(branch: Branch, index: int) -> str:
    return f"{index}: {branch}".replace(" rate", "\nrate").replace(", enlarged", "\nenlarged")


def _arrow(axes: "Axes", places: dict, boxes: dict, start: int, end: int, colour: str) -> None:
    """From box to box, in a bow where another box lies between them."""
    (x, y), (right, row) = places[start], places[end]
    hidden = y == row and any(x < other < right and level == y for other, level in places.values())
    axes.annotate(
        "", xy=(right, row), xytext=(x, y), zorder=2,
        arrowprops={
            "arrowstyle": "->", "color": colour, "patchA": boxes[start].get_bbox_patch(),
            "patchB": boxes[end].get_bbox_patch(), "connectionstyle": f"arc3,rad={-0.35 if hidden else 0}",
        },
    )  # fmt: skip
