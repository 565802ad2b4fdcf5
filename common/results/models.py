"""`python -m common.results.models`: measure every network, and compare it with published figures.

    python -m common.results.models [NAME ...] [--write]
    python -m reproductions.v1 describe --table

Parameters, multiply-adds at 513x513, output stride, receptive field and checkpoint of the networks that
results/published_models.yaml names; `--write` puts them into results/models.md and models.json.
"""

import argparse
import dataclasses
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common import program
from common.console import Progress, show
from common.errors import UserError
from common.files import read_yaml, write_json, write_text
from common.paths import ROOT
from common.recipe.recipe import Recipe
from common.recipe.settings import apply_settings
from common.reproduction import Reproduction, reproductions
from common.results.records import results_dir
from common.text_table import aligned, markdown

if TYPE_CHECKING:
    from common.nets.describe import Figures

SIDE = 513  # pixels of the square input that figures are published for
PUBLISHED_MODELS = "published_models.yaml"

ABOUT = (
    "Multiply-adds are of convolutions on one picture of {size}x{size}. Receptive field in pixels; 'whole': image "
    "pooling sees the whole picture, and the convolutions see what is in brackets. Parameters include the statistics "
    "of batch norm; those in brackets are trained. Checkpoint: the size of the variables alone. Beside a published "
    "figure stands the ratio ours / published, which for parameters is that of the trained ones."
)
PADDED = (
    "'padded': counted as TensorFlow 1 computes dilated convolutions, by space_to_batch on pictures enlarged to a "
    "multiple of the rate. The published figures must have been counted in this way: ours are then within 1.3 % of "
    "them where the network is the same. The rest, 0.01 to 0.24 G except for the one with a note, grows with the "
    "parameters (about 2.6 operations each) and the sums of the shortcuts (0.6 each), as if a profiler had also "
    "counted initialisers and weight decay."
)


@dataclass(frozen=True)
class Row:
    """A network: its reproduction, title, recipe variant and settings, its figures, and published figures.

    `published` is by figure, a key of `PUBLISHED`: `value`, `source` and perhaps `note`.
    """

    reproduction: Reproduction
    model: str
    variant: str
    settings: tuple[str, ...]
    figures: "Figures"
    published: Mapping[str, Mapping[str, Any]]

    def ratio(self, figure: str) -> float:
        """Ours over the published one."""
        return PUBLISHED[figure][0](self.figures) / self.published[figure]["value"]


# Published figures: ours in the unit of the file, and how many digits are printed.
PUBLISHED: dict[str, tuple[Callable[["Figures"], float], str]] = {
    "parameters": (lambda f: f.trained / 1e6, "g"),
    "multiply_adds": (lambda f: f.multiply_adds / 1e9, ".2f"),
    "receptive_field": (lambda f: f.receptive_field.width, "g"),
    "checkpoint": (lambda f: f.checkpoint_bytes / 1e6, "g"),
}


def choose(names: Sequence[str]) -> list[Reproduction]:
    """The reproductions of these names, all when there are none. Raises UserError for a name without one."""
    known = reproductions()
    if strange := [name for name in names if name not in known]:
        raise UserError(f"{strange[0]}: no such reproduction; there are {', '.join(known)}")
    return [known[name] for name in names or known]


def read_models() -> dict[str, list[dict[str, Any]]]:
    """The entries of published_models.yaml by reproduction. Raises UserError when it cannot be read."""
    path = ROOT / "results" / PUBLISHED_MODELS
    try:
        return {group["reproduction"]: group["models"] for group in read_yaml(path)}
    except (OSError, TypeError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def measure_models(which: Iterable[Reproduction], size: int = SIDE, quiet: bool = False) -> list[Row]:
    """Measure a row for each network of these reproductions, one graph after the other; published figures are for SIDE
    only."""
    from common.nets.describe import measure
    from common.tf1 import tf

    models, rows = read_models(), []
    todo = [(r, entry) for r in which for entry in models.get(r.name, ())]
    with Progress("networks", len(todo), quiet=quiet) as progress:
        for reproduction, entry in todo:
            settings = tuple(entry.get("settings", ()))
            recipe: Recipe = apply_settings(reproduction.variants, entry["variant"], settings).at_evaluation()
            with tf.Graph().as_default():
                figures, _, _ = measure(reproduction.load_network(), recipe, size)
            published = {k: entry[k] for k in PUBLISHED if k in entry and (size == SIDE or k != "multiply_adds")}
            rows.append(Row(reproduction, entry["model"], entry["variant"], settings, figures, published))
            progress.advance(f"{reproduction.title} {entry['model']}")
    return rows


HEADER = (
    "model", "OS", "receptive field", "published", "parameters (M)", "published", "multiply-adds (G)", "published",
    "padded (G)", "checkpoint (MB)", "published",
)  # fmt: skip


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]], list[str]]:
    """Header and cells, without columns that are empty in every row, and the footnotes that cells refer to."""
    notes: list[str] = []
    table = [_cells(row, notes) for row in rows]
    filled = [i for i in range(len(HEADER)) if any(line[i] for line in table)]
    return [HEADER[i] for i in filled], [[line[i] for i in filled] for line in table], notes


def _cells(row: Row, notes: list[str]) -> list[str]:
    figures = row.figures

    def published(key: str) -> str:
        entry = row.published.get(key)
        if entry is None:
            return ""
        said = [entry["source"], *([entry["note"]] if "note" in entry else [])]
        notes.extend(note for note in said if note not in notes)
        marks = "".join(f"[{notes.index(note) + 1}]" for note in said)
        return f"{entry['value']:{PUBLISHED[key][1]}} ({row.ratio(key):.3f}) {marks}"

    field = figures.receptive_field
    padded = f"{figures.padded_multiply_adds / 1e9:.2f}"
    if entry := row.published.get("multiply_adds"):
        padded += f" ({figures.padded_multiply_adds / 1e9 / entry['value']:.3f})"
    return [
        row.model,
        str(figures.output_stride),
        str(field or "unknown").replace("whole picture", "whole"),
        published("receptive_field"),
        f"{figures.parameters / 1e6:.2f} ({figures.trained / 1e6:.2f})",
        published("parameters"),
        f"{figures.multiply_adds / 1e9:.2f}",
        published("multiply_adds"),
        padded,
        f"{figures.checkpoint_bytes / 1e6:.1f}",
        published("checkpoint"),
    ]


def _by_reproduction(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.reproduction.title, []).append(row)
    return groups


def as_text(rows: Sequence[Row], size: int = SIDE) -> str:
    """The tables for a terminal, one per reproduction, each with its notes, and an explanation."""
    parts = []
    for title, group in _by_reproduction(rows).items():
        header, lines, notes = cells(group)
        numbered = [_wrapped(f"[{i}] {note}", "    ") for i, note in enumerate(notes, 1)]
        parts.append("\n".join([title, aligned(header, lines), *numbered]))
    return "\n\n".join([*parts, f"{_wrapped(ABOUT.format(size=size))}\n{_wrapped(PADDED)}"])


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def as_markdown(rows: Sequence[Row], size: int = SIDE) -> str:
    """results/models.md."""
    parts = [
        "# Models",
        f"Written by `make models` from the graphs themselves and `{PUBLISHED_MODELS}`; changes by hand are lost.",
        ABOUT.format(size=size),
        PADDED,
    ]
    for title, group in _by_reproduction(rows).items():
        header, lines, notes = cells(group)
        parts += [f"## {title}", markdown(header, lines, numbers=True)]
        if notes:
            parts.append("\n".join(f"- [{i}] {note}" for i, note in enumerate(notes, 1)))
    return "\n\n".join(parts) + "\n"


def as_json(rows: Sequence[Row], size: int = SIDE) -> dict[str, Any]:
    """results/models.json: whole numbers in place of millions, and a ratio beside each published figure."""

    def entry(row: Row) -> dict[str, Any]:
        published = {key: {**figure, "ratio": round(row.ratio(key), 4)} for key, figure in row.published.items()}
        return {
            "reproduction": row.reproduction.name,
            "title": row.reproduction.title,
            "model": row.model,
            "variant": row.variant,
            "settings": list(row.settings),
            **dataclasses.asdict(row.figures),
            "published": published,
        }

    return {"size": size, "models": [entry(row) for row in rows]}


def print_models(which: Iterable[Reproduction], size: int = SIDE, quiet: bool = False) -> list[Row]:
    """Measure and print; what `describe --table` does for one reproduction."""
    rows = measure_models(which, size, quiet)
    show(as_text(rows, size))
    return rows


def _run(args: argparse.Namespace) -> None:
    rows = print_models(choose(args.names), quiet=args.quiet)
    if args.write:
        text, data = results_dir() / "models.md", results_dir() / "models.json"
        write_text(text, as_markdown(rows))
        write_json(data, as_json(rows))
        show(f"\n{text}\n{data}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.results.models",
        description="Parameters, multiply-adds, receptive fields and checkpoints, beside what was published.",
        example="v3plus",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="reproductions (default: all)")
    parser.add_argument("--write", action="store_true", help="also write models.md and models.json into results/")
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    if args.write and args.names:
        parser.error("--write takes all reproductions, not some")
    return program.run(lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
