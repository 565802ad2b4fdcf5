"""`python -m common.results.zoo`: write results/zoo.md, the official zoo's checkpoints beside its page.

What fetches and reads each, its parameters and its multiply-adds, measured from the graphs.

Source: tensorflow/models research/deeplab/g3doc/model_zoo.md (April 2020), as results/published_zoo.yaml has it.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common import program
from common.console import Progress, show
from common.errors import UserError
from common.files import read_yaml, write_text
from common.paths import ROOT
from common.recipe.recipe import Recipe
from common.recipe.settings import apply_settings
from common.reproduction import Reproduction, reproductions
from common.results.records import results_dir
from common.text_table import markdown
from common.training.seen import suite_manifest

PUBLISHED_ZOO = "published_zoo.yaml"
REPRODUCTION = "v3plus"  # whose network reads them
TOLERANCE = 0.01  # of multiply-adds; what is further off has a note

ABOUT = (
    "Every checkpoint of the page of tensorflow/models research/deeplab, fetched by `make weights NAME=...` and read "
    "by `--set variant=...`; a start is read by `--init`. Parameters are the network's that are in the checkpoint, "
    "with the statistics of batch norm; for starts they are the backbone's. Multiply-adds are of convolutions in "
    "thousand millions, of all scales together, counted as TensorFlow 1 computes them (see models.md). Archives of the "
    "page also hold the optimiser's state or a frozen graph, so `MB` is more than 4 bytes a parameter."
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of the page.

    Attributes:
      name: on the page.
      weights: the manifest's entry.
      reader: the variant, and settings, that read it.
      recipe: theirs, in evaluation.
      is_start: whether it scores no classes.
      size: [height, width] of the network's input.
      megabytes: of the archive, as the page says.
      evaluated: the page's lines; see the file.
    """

    name: str
    weights: str
    reader: str
    recipe: Recipe
    is_start: bool
    size: tuple[int, int]
    megabytes: float | None
    evaluated: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
      checkpoint: of the page.
      parameters: see `ABOUT`.
      page: a line of the page for it; empty where there is none.
      multiply_adds: ours, evaluated as that line says.
    """

    checkpoint: Checkpoint
    parameters: int
    page: Mapping[str, Any]
    multiply_adds: int

    @property
    def ratio(self) -> float:
        """Ours over the page's."""
        return self.multiply_adds / 1e9 / self.page["multiply_adds"]


def read_zoo() -> tuple[dict[str, str], dict[str, list[Checkpoint]]]:
    """The notes by name, and the checkpoints by the page's table. Raises UserError when they cannot be read."""
    path = ROOT / "results" / PUBLISHED_ZOO
    try:
        data, reproduction = read_yaml(path), reproductions()[REPRODUCTION]
        tables = {
            part["data"]: [_checkpoint(entry, part, reproduction) for entry in part["checkpoints"]]
            for part in data["tables"]
        }
        return data["notes"], tables
    except (OSError, TypeError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _checkpoint(entry: Mapping[str, Any], part: Mapping[str, Any], reproduction: Reproduction) -> Checkpoint:
    (weights, *_) = suite_manifest().entry(entry["weights"]).weights
    variant, settings = entry.get("variant") or weights.variant, entry.get("settings", [])
    recipe = apply_settings(reproduction.variants, variant, settings)
    return Checkpoint(
        entry["checkpoint"],
        entry["weights"],
        " ".join([variant, *settings]),
        recipe.at_evaluation(),
        not weights.variant,
        tuple(entry.get("size", part["size"])),
        entry.get("megabytes"),
        tuple(entry.get("evaluated", ())),
    )


def measure_zoo(quiet: bool = False) -> dict[str, list[Line]]:
    """Measure the lines of every table; a network at a size and stride is built once."""
    _, tables = read_zoo()
    counts: dict[tuple, tuple[int, int]] = {}
    lines: dict[str, list[Line]] = {}
    with Progress("the zoo", sum(map(len, tables.values())), quiet=quiet) as progress:
        for data, checkpoints in tables.items():
            for checkpoint in checkpoints:
                lines.setdefault(data, []).extend(measure(checkpoint, counts))
                progress.advance(checkpoint.name)
    return lines


def measure(checkpoint: Checkpoint, counts: dict[tuple, tuple[int, int]]) -> Iterator[Line]:
    """The lines of a checkpoint; `counts` keeps parameters and multiply-adds of networks at sizes and strides."""
    for page in checkpoint.evaluated or ({},):
        recipe = checkpoint.recipe.derive(output_stride=page.get("output_stride", checkpoint.recipe.output_stride))
        total = 0
        for scale in page.get("scales", (1.0,)):
            sides = [int((side - 1) * scale + 1) for side in checkpoint.size]
            parameters, multiply_adds = _counted(recipe, (sides[0], sides[1]), checkpoint.is_start, counts)
            total += multiply_adds * (2 if page.get("mirror") else 1)
        yield Line(checkpoint, parameters, page, total)


def _counted(
    recipe: Recipe, size: tuple[int, int], is_start: bool, counts: dict[tuple, tuple[int, int]]
) -> tuple[int, int]:
    """Parameters and multiply-adds of a network, from `counts` if it was built before."""
    key = (*(getattr(recipe, name) for name in recipe.WEIGHT_FIELDS), recipe.output_stride, size, is_start)
    if key not in counts:
        counts[key] = _count(recipe, size, is_start)
    return counts[key]


def _count(recipe: Recipe, size: tuple[int, int], is_start: bool) -> tuple[int, int]:
    from common.nets.describe import multiply_adds
    from common.nets.network import build
    from common.tf1 import tf

    not_read = recipe.init_not_loaded if is_start else ()
    with tf.Graph().as_default() as graph:
        build(reproductions()[REPRODUCTION].load_network(), tf.zeros([1, *size, 3]), recipe)
        read = [v for v in tf.global_variables() if not any(re.search(p, v.op.name) for p in not_read)]
        return sum(v.shape.num_elements() for v in read), multiply_adds(graph, padded=True)


HEADER = (
    "checkpoint", "`make weights NAME=`", "variant", "parameters (M)", "MB", "OS", "scales", "multiply-adds (G)",
    "page", "ratio",
)  # fmt: skip


def as_markdown(tables: Mapping[str, Sequence[Line]]) -> str:
    """results/zoo.md."""
    notes, _ = read_zoo()
    names = list(notes)
    parts = [
        "# The official zoo",
        f"Written by `make models` from the graphs themselves and `{PUBLISHED_ZOO}`; changes by hand are lost.",
        ABOUT,
    ]
    for data, lines in tables.items():
        parts += [f"## {data}", markdown(HEADER, [_cells(line, names) for line in lines], numbers=True)]
    parts.append("\n".join(f"- [{i}] {note}" for i, note in enumerate(notes.values(), 1)))
    return "\n\n".join(parts) + "\n"


def _cells(line: Line, names: Sequence[str]) -> list[str]:
    checkpoint, page = line.checkpoint, line.page
    mark = f" [{names.index(page['note']) + 1}]" if "note" in page else ""
    scales = " ".join(f"{scale:g}" for scale in page.get("scales", (1.0,))) + (
        " + mirror" if page.get("mirror") else ""
    )
    told = "multiply_adds" in page
    return [
        checkpoint.name,
        f"`{checkpoint.weights}`",
        f"`{checkpoint.reader}`" + (" (start)" if checkpoint.is_start else ""),
        f"{line.parameters / 1e6:.2f}",
        f"{checkpoint.megabytes:g}" if checkpoint.megabytes else "",
        "" if checkpoint.is_start else str(page.get("output_stride", checkpoint.recipe.output_stride)),
        "" if checkpoint.is_start else scales,
        "" if checkpoint.is_start else f"{line.multiply_adds / 1e9:.2f}",
        f"{page['multiply_adds']:g}" if told else "",
        f"{line.ratio:.3f}{mark}" if told else "",
    ]


def _run(args: argparse.Namespace) -> None:
    text = results_dir() / "zoo.md"
    write_text(text, as_markdown(measure_zoo(args.quiet)))
    show(str(text))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m common.results.zoo",
        description="Write zoo.md: the official zoo's checkpoints beside its page.",
        example="",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
