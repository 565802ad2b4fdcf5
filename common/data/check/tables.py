"""A survey's findings as tables, as JSON, and as a chart of the classes' frequencies."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from common.data.check.faults import MODES, Fault
from common.data.check.survey import Survey, SurveyedSplit
from common.data.figures import plot_note
from common.data.masks import IGNORE_COLOURS
from common.errors import LONGEST_QUOTE, brief
from common.plots import save_plot
from common.text_table import aligned, percent

FILES_OF_A_KIND = 20  # files printed of each kind of fault


@dataclass(frozen=True)
class ClassCount:
    """The counts of a class in the masks that can be read. The last row is the ignore label's.

    Attributes:
      masks: how many show it.
      pixels: its pixels in all of them.
      share: of the labelled pixels; of all pixels for the ignore label; 0 when there are none.
    """

    class_id: int
    name: str
    colour: tuple[int, int, int]
    masks: int
    pixels: int
    share: float


def count_classes(survey: Survey, split: SurveyedSplit | None = None) -> list[ClassCount]:
    """Count each class by id, and then the ignore label, over the distinct masks of a split, or of all."""
    card = survey.card
    wanted = dict.fromkeys(mask for _, mask in split.pairs) if split else survey.masks
    found = [survey.masks[mask].pixels for mask in wanted if mask in survey.masks]
    names = dict(enumerate(zip(card.classes, card.palette, strict=True)))
    names.pop(card.ignore_label, None)
    names[card.ignore_label] = ("ignored", IGNORE_COLOURS[0])
    pixels = {i: sum(counts.get(i, 0) for counts in found) for i in names}
    everywhere = sum(pixels.values())
    labelled = everywhere - pixels[card.ignore_label]
    return [
        ClassCount(
            class_id=i,
            name=f"{name} (ignored)" if i in card.ignored_classes else name,
            colour=colour,
            masks=sum(i in counts for counts in found),
            pixels=pixels[i],
            share=pixels[i] / ((everywhere if i == card.ignore_label else labelled) or 1),
        )
        for i, (name, colour) in names.items()
    ]


def split_table(survey: Survey) -> str:
    """A row for each split: pictures and masks that are there, their sizes (min/median/max) and how they are stored."""
    header, rows = ("split", "pictures", "masks", "width", "height", "pictures' modes", "masks' modes"), []
    for split in survey.splits:
        pictures, masks = _files(survey, split)
        sizes = [picture.size for picture in pictures if picture.size]
        spans = [f"{min(s)}/{median(s):.0f}/{max(s)}" for s in zip(*sizes, strict=True)] or ["-", "-"]
        modes = [_modes([f.mode for f in files if f.mode]) for files in (pictures, masks)]
        rows.append((split.name, f"{len(pictures):,}", f"{len(masks):,}", *spans, *modes))
    return aligned(header, rows, left=(0, 5, 6))


def class_table(survey: Survey) -> str:
    """A row for each class: masks, pixels and share, in all and by split; then values that are no class."""
    counts, splits = count_classes(survey), survey.splits if len(survey.splits) > 1 else ()
    shares = [count_classes(survey, split) for split in splits]
    header, rows = ("id", "class", "colour", "masks", "pixels", "share", *(split.name for split in splits)), []
    for i, row in enumerate(counts):
        share = [_percent(table[i].share) for table in (counts, *shares)]
        rows.append((str(row.class_id), row.name, _hex(row.colour), f"{row.masks:,}", f"{row.pixels:,}", *share))
    return aligned(header, rows, left=(1, 2))


def fault_list(faults: Sequence[Fault], shown: int = FILES_OF_A_KIND) -> str:
    """List the faults by kind, at most `shown` of each."""
    lines = []
    for kind, group in groupby(faults, key=lambda fault: fault.kind):
        found = list(group)
        lines.append(f"{'error' if kind.is_error else 'note'}: {kind.name} ({len(found):,}): {kind.sentence}")
        lines += [f"    {brief(fault.where)}: {brief(fault.detail, 2 * LONGEST_QUOTE)}" for fault in found[:shown]]
        if len(found) > shown:
            lines.append(f"    and {len(found) - shown:,} more; --json FILE lists all")
    return "\n".join(lines)


def _files(survey: Survey, split: SurveyedSplit) -> tuple[list, list]:
    columns = zip(*split.pairs, strict=True) if split.pairs else ((), ())
    kinds = zip(columns, (survey.pictures, survey.masks), strict=True)
    return tuple([files[path] for path in dict.fromkeys(column) if path in files] for column, files in kinds)


def _modes(modes: Sequence[str]) -> str:
    counts = {mode: modes.count(mode) for mode in sorted(set(modes), key=modes.count, reverse=True)}
    return ", ".join(MODES.get(m, m) + (f" {n:,}" if len(counts) > 1 else "") for m, n in counts.items()) or "-"


def _percent(share: float) -> str:
    return "<0.01%" if 0 < share < 0.0001 else f"{percent(share)}%"


def as_json(survey: Survey, faults: Sequence[Fault]) -> dict[str, Any]:
    """The tables and all faults as plain JSON."""

    def classes(split: SurveyedSplit | None = None) -> list[dict]:
        return [
            {"id": c.class_id, "name": c.name, "masks": c.masks, "pixels": c.pixels, "share": c.share}
            for c in count_classes(survey, split)
        ]

    values: dict[int, int] = {}
    for mask in survey.masks.values():
        for value, pixels in mask.values.items():
            values[value] = values.get(value, 0) + pixels
    splits = [
        {
            "name": split.name,
            "list": str(split.source) if split.source else None,
            "pictures": len(_files(survey, split)[0]),
            "masks": len(_files(survey, split)[1]),
            "classes": classes(split),
        }
        for split in survey.splits
    ]
    return {
        "folder": str(survey.folder),
        "dataset": survey.card.name,
        "splits": splits,
        "classes": classes(),
        "stored_values": {str(value): values[value] for value in sorted(values)},
        "faults": [
            {"kind": f.kind.name, "error": f.kind.is_error, "where": f.where, "detail": f.detail} for f in faults
        ],
    }


def plot_classes(path: Path, survey: Survey, rows_per_column: int = 40) -> None:
    """Write a bar chart of the pixels per class, on a logarithmic scale, in the classes' colours."""
    from matplotlib.figure import Figure  # here: it takes a third of a second

    counts = count_classes(survey)
    columns = -(-len(counts) // rows_per_column)
    rows = -(-len(counts) // columns)
    figure = Figure(figsize=(max(7.5, 4.6 * columns), 0.21 * rows + 1.3), layout="constrained")
    most, least = (f((c.pixels for c in counts if c.pixels), default=1) for f in (max, min))
    for number in range(columns):
        part = counts[number * rows : (number + 1) * rows]
        axes = figure.add_subplot(1, columns, number + 1)
        places = range(len(part))
        axes.set(xscale="log", xlim=(least / 3, most * 8), ylim=(rows - 0.4, -0.6), xlabel="pixels")
        axes.barh(
            places, [c.pixels for c in part], color=[_hex(c.colour) for c in part], edgecolor="0.3", linewidth=0.5
        )
        axes.tick_params(axis="x", labelsize=8)
        axes.set_yticks(places, [f"{c.name}  {c.class_id}" for c in part], fontsize=8)
        for place, row in enumerate(part):
            text = f" {_percent(row.share)}" if row.pixels else " none"
            axes.text(row.pixels or least / 3, place, text, va="center", fontsize=7, color="0.25")
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_title(survey), fontsize=10)
    save_plot(figure, path, plot_note(path), dpi=110)


def _title(survey: Survey) -> str:
    splits = ", ".join(split.name for split in survey.splits)
    return (
        f"{survey.card.title}: pixels per class in {len(survey.masks):,} masks ({splits})\n"
        f"per cent of the labelled pixels; of all pixels for 'ignored'"
    )


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + bytes(colour).hex()
