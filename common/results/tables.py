"""RESULTS.md and the README's tables, made of records and published numbers alone."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_text
from common.recipe.recipe import METRIC
from common.results import speed
from common.results.marks import explanation, mark_names
from common.results.matching import matching_record, what_it_needs
from common.results.possible import inits_text
from common.results.protocol import protocol_text
from common.results.published import PublishedRow, read_published
from common.results.readme import fill
from common.results.records import read_records, results_dir
from common.text_table import markdown, percent

README_ROWS = 10  # of measurements on real pictures

RULE = (
    "Our number stands beside a published one only when its record has the same data, complete, the same protocol, "
    "and no mark that the published one lacks. Its weights must be the published ones, or trained as they were, from "
    "the same start to the recipe's end. `results/published.yaml` states all of this as data. A repository's figure "
    "for a paper's network also stands in the paper's row, with its protocol where that differs from the paper's."
)


def write_results(readme: Path | None = None) -> list[str]:
    """Write RESULTS.md and the part of the README between its markers. Without new records nothing changes.

    Returns:
      A sentence for each file that is no record as its run wrote it: the tables are those of the others.

    Raises:
      UserError: published.yaml cannot be read, or the README has lost its markers.
    """
    left_out: list[str] = []
    records, published, bench = read_records(left_out=left_out), read_published(), None
    try:
        bench = speed.read_bench()
    except UserError as error:
        left_out.append(f"{error}; left out")
    write_text(results_dir() / "RESULTS.md", results_text(records, published, bench))
    fill("results", readme_tables(records, published), readme)
    return left_out


def results_text(records: list[dict], published: list[PublishedRow], bench: Mapping[str, Any] | None = None) -> str:
    """RESULTS.md: what was measured, what is comparable with published numbers, what is missing, the sample runs, and
    the speed that `make bench` measured."""
    ours = [matching_record(row, records) for row in published]
    parts = [
        "# Results",
        "Written by `make results` from `results/runs/*.json` and `results/published.yaml`; changes by hand are lost.",
        f"mIoU in per cent: {METRIC}.",
        explanation(),
        "## Measured on real pictures",
        _measured(_real(records)),
        _commands(_real(records)),
        "## Published, and reproduced here",
        RULE,
        *(_by_source(published, ours, reproduced=True) or ["None yet."]),
        "## What is missing, and what it takes",
        f"Published numbers without one of ours. `DATA` is the data set's folder. {inits_text()}",
        *_by_source(published, ours, reproduced=False),
        "## Sample runs",
        "The pictures are drawn. These rows show that training, evaluation and tables work; they reproduce nothing.",
        _measured(_sample(records), before=True),
        _commands(_sample(records)),
        "## Speed",
        speed.section(bench),
    ]
    return _from_results("\n\n".join(part for part in parts if part)) + "\n"


def readme_tables(records: list[dict], published: list[PublishedRow]) -> str:
    """The README's results: the published numbers with ours, at most `README_ROWS` measurements, and a link to all."""
    headlines = [(row, ours) for row in published if row.headline and (ours := matching_record(row, records))]
    real = sorted(_real(records), key=lambda r: (len(r["marks"]), -r["data"]["images"], *record_order(r)))
    parts = [
        explanation(),
        "**Measured on real pictures**",
        _measured(real[:README_ROWS]),
    ]
    if headlines:
        rows = [[row.model, row.table.title, *_side_by_side(row, ours, published), row.table.source]
                for row, ours in headlines]  # fmt: skip
        header = ("model", "data", "protocol", "paper", "repository", "ours", "difference", "source")
        parts += ["**Published, and reproduced here** (mIoU, per cent)", markdown(header, rows)]
    parts.append(
        "All numbers with their sources, records and commands, the sample runs, and the commands that each "
        "missing number needs: [results/RESULTS.md](results/RESULTS.md)."
    )
    return "\n\n".join(parts) + "\n"


def _real(records: Iterable[dict]) -> list[dict]:
    return [r for r in records if not r["marks"].get("sample")]


def shown_records(records: Iterable[dict]) -> list[dict]:
    """The records that tables show: all but sample runs that were made again."""
    return [*_real(records), *_sample(records)]


def _sample(records: Iterable[dict]) -> list[dict]:
    """The newest record of each sample run; every machine repeats these runs."""
    newest: dict[str, dict] = {}
    for r in sorted(records, key=lambda r: r["finished"]):
        if r["marks"].get("sample"):
            what = [r["reproduction"], r["variant"], r.get("changed"), r["data"], protocol_text(r["protocol"])]
            newest[json.dumps(what, sort_keys=True)] = r
    return list(newest.values())


def _measured(records: list[dict], before: bool = False) -> str:
    if not records:
        return "None yet."
    header = ["model", "data", "pictures", "protocol", "mIoU", "pixel acc.", "trained from", "marks", "record"]
    if before:
        header.insert(4, "untrained")
    rows = []
    for r in sorted(records, key=record_order):
        training = r["training"] or {}
        start = Path(training["init"]).name if training.get("init") else "random" if training else "-"
        row = [
            f"{r['title']} {r['variant']}",
            ("part of " if "subset" in r["marks"] else "") + r["data"]["title"],
            str(r["data"]["images"]),
            protocol_text(r["protocol"]),
            percent(r["miou"]),
            percent(r["pixel_accuracy"]),
            start,
            " ".join(f"`{text}`" for text in mark_names(r["marks"]).values()),
            f"[{r['id'][-10:]}]({_record_link(r)})",
        ]
        if before:
            row.insert(4, percent(r.get("miou_before_training")))
        rows.append(row)
    return markdown(header, rows)


def _commands(records: list[dict]) -> str:
    """The exact command of each record, folded away."""
    if not records:
        return ""
    lines = [f"- {r['id'][-10:]}: `{r['command']}`" for r in sorted(records, key=record_order)]
    return "\n".join(["<details><summary>The commands</summary>", "", *lines, "", "</details>"])


def record_order(record: dict) -> tuple:
    """Published weights, which nobody trained here, come first; then by model; one scale before several."""
    protocol = record["protocol"]
    how = (
        len(protocol["scales"]),
        len(protocol.get("msc_scales", ())),
        protocol["flip"],
        protocol.get("crf") is not None,
        protocol.get("output_stride") or 0,  # 0: not told
    )
    names = record["reproduction"], record["variant"], record["data"]["title"]
    return record["training"] is not None, *names, *how, record["id"]


def _by_source(published: Sequence[PublishedRow], ours: Sequence[dict | None], reproduced: bool) -> list[str]:
    """A titled table for each source: its rows with a record of ours, or its rows without one."""
    parts = []
    for source, pairs in itertools.groupby(zip(published, ours, strict=True), key=lambda pair: pair[0].table):
        chosen = [(row, record) for row, record in pairs if (record is not None) == reproduced]
        if chosen:
            title = f"### {source.source}\n\n{source.title}, {source.classes} classes."
            parts.append(title + (f" {source.note}" if source.note else ""))
            parts.append(_reproduced(chosen, published) if reproduced else _missing(chosen, published))
    return parts


def _reproduced(chosen: Sequence[tuple[PublishedRow, dict]], published: Sequence[PublishedRow]) -> str:
    header = ("model", "protocol", "paper", "repository", "ours", "difference", "pictures")
    rows = [[row.model, *_side_by_side(row, record, published), str(record["data"]["images"])]
            for row, record in chosen]  # fmt: skip
    return markdown(header, rows)


def _missing(chosen: Sequence[tuple[PublishedRow, None]], published: Sequence[PublishedRow]) -> str:
    header = ("model", "protocol", "paper", "repository", "what it takes")
    return markdown(header, [[row.model, *_published_sides(row, published), what_it_needs(row)] for row, _ in chosen])


def _side_by_side(row: PublishedRow, ours: dict, published: Sequence[PublishedRow]) -> list[str]:
    """The cells of a row: protocol, the paper's number, a repository's, ours with a link to its record, difference."""
    difference = f"{100 * ours['miou'] - row.miou:+.2f}"
    return [*_published_sides(row, published), f"[{percent(ours['miou'])}]({_record_link(ours)})", difference]


def _published_sides(row: PublishedRow, published: Sequence[PublishedRow]) -> list[str]:
    value = published_value(row)
    sides = (value, repository_figures(row, published)) if row.table.is_paper else ("-", value)
    return [row.protocol.text(), *sides]


def repository_figures(row: PublishedRow, published: Sequence[PublishedRow]) -> str:
    """The repositories' figures that refer to this row, each with its protocol where that differs from the row's."""

    def by(other: PublishedRow) -> str:
        differs = other.protocol != row.protocol
        return (other.of or other.table.source) + (f", by another protocol: {other.protocol.text()}" if differs else "")

    found = [
        f"{published_value(other)} ({by(other)})"
        for other in published
        if row.id and other.beside == row.id and not other.table.is_paper
    ]
    return "; ".join(found) or "-"


def published_value(row: PublishedRow) -> str:
    """The number as it is printed, with the other figures of its source."""
    more = [f"pixel accuracy {row.pixel_accuracy:.2f}"] if row.pixel_accuracy is not None else []
    more += [f"{row.multiply_adds:g} G multiply-adds"] if row.multiply_adds is not None else []
    return f"{row.miou:.2f}" + (f" ({', '.join(more)})" if more else "")


def _record_link(record: dict) -> str:
    return f"results/runs/{record['id']}.json"


def _from_results(text: str) -> str:
    """Links of the README, as seen from results/."""
    return text.replace("](results/", "](")
