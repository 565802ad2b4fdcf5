"""RESULTS.md and the README's table, made of records and published numbers alone."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from common.files import write_text
from common.paths import ROOT
from common.results.records import read_records, results_dir
from common.text_table import markdown

PREFIX = "model.ckpt"  # of checkpoints that training's end wrote, not validation's choice
BEGIN, END = "<!-- results: begin, written by `make results` -->", "<!-- results: end -->"

MARKS = {
    "sample": "`sample`",
    "val_seen": "`val_seen`",
    "val_seen unknown": "`val_seen?`",
    "random_split": "`random_split`",
    "subset": "`subset {}`",
}


def write_results(readme: Path | None = None) -> None:
    """Write RESULTS.md and the part of the README between its markers. Without new records nothing changes.

    Raises:
      UserError: a record or published.yaml is not as it was written, or the README has lost its markers.
    """
    records, published = read_records(), read_published()
    write_text(results_dir() / "RESULTS.md", _results(records, published))
    # With RESULTS_DIR elsewhere the checkout's README is not ours to change.
    readme = readme or (ROOT / "README.md" if results_dir() == ROOT / "results" else None)
    if readme and readme.is_file():
        text = readme.read_text(encoding="utf-8")
        if BEGIN not in text or END not in text:
            raise UserError(f"{readme}: has no lines '{BEGIN}' and '{END}'; put them where the table belongs")
        head, rest = text.split(BEGIN, 1)
        tail = rest.split(END, 1)[1]
        write_text(readme, f"{head}{BEGIN}\n\n{_readme_tables(records, published)}\n{END}{tail}")


def read_published() -> list[dict[str, Any]]:
    """The tables of published.yaml: `source`, `reproduction`, `data`, `rows` of `model`, `miou`, ... each."""
    path = ROOT / "results" / "published.yaml"
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _results(records: list[dict], published: list[dict]) -> str:
    parts = [
        "# Results",
        "Written by `make results` from `results/runs/*.json` and `results/published.yaml`; changes by hand are lost.",
        "mIoU in per cent: one confusion matrix over the split, whole pictures, label 255 removed, mean over the "
        "classes that occur.",
        "## Measured on real pictures",
        _measured(_real(records)),
        _commands(_real(records)),
        "## Sample runs",
        "Drawn pictures: these rows say that training, evaluation and tables work. They reproduce nothing.",
        _measured(_sample(records), before=True),
        _commands(_sample(records)),
        "## Published numbers",
        "A number of ours stands here only when its record has the same data, whole, and no mark. A repository's "
        "figure of a paper's network stands in the paper's line too.",
    ]
    for table in published:
        parts += [
            f"### {table['source']}",
            *([table["note"]] if "note" in table else []),
            _published(table, published, records),
        ]
    return _from_results("\n\n".join(part for part in parts if part)) + "\n"


def _readme_tables(records: list[dict], published: list[dict]) -> str:
    headlines = [(table, row) for table in published for row in table["rows"] if row.get("headline")]
    parts = [
        "**Published, and reproduced here** (mIoU, per cent)",
        markdown(
            ("model", "data", "protocol", "paper", "repository", "ours", "difference", "source"),
            [
                [row["model"], table["data"], row.get("protocol", "single scale"),
                 *_side_by_side(table, row, published, records), table["source"]]
                for table, row in headlines
            ],
        ),
        "**Measured on real pictures**",
        _measured(_real(records)),
        "**Sample runs** (drawn pictures: they show that the machinery works, and reproduce nothing), at one scale",
        _measured([r for r in _sample(records) if _is_plain(r["protocol"])], before=True),
        "All numbers, with their sources, records and commands, and what each missing one needs: "
        "[results/RESULTS.md](results/RESULTS.md).",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _is_plain(protocol: dict[str, Any]) -> bool:
    return len(protocol["scales"]) == 1 and not (protocol["flip"] or protocol.get("crf") or "msc_scales" in protocol)


def _real(records: Iterable[dict]) -> list[dict]:
    return [r for r in records if not r["marks"].get("sample")]


def shown_records(records: Iterable[dict]) -> list[dict]:
    """The records that tables show: all but sample runs that were made again."""
    return [*_real(records), *_sample(records)]


def _sample(records: Iterable[dict]) -> list[dict]:
    """Of runs that were made again, as every machine makes them, the newest."""
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
            _percent(r["miou"]),
            _percent(r["pixel_accuracy"]),
            start,
            " ".join(_mark(k, v) for k, v in r["marks"].items()),
            f"[{r['id'][-10:]}]({_record_link(r)})",
        ]
        if before:
            row.insert(4, _percent(r.get("miou_before_training")))
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
        protocol.get("output_stride", 0),
    )
    names = record["reproduction"], record["variant"], record["data"]["title"]
    return record["training"] is not None, *names, *how, record["id"]


def _published(table: dict, published: list[dict], records: list[dict]) -> str:
    rows = []
    for row in table["rows"]:
        ours = matching_record(table, row, records)
        pictures = str(ours["data"]["images"]) if ours else ""
        sides = _side_by_side(table, row, published, records)
        needs = "" if ours else what_it_needs(table, row)
        rows.append([row["model"], row.get("protocol", "single scale"), *sides, pictures, needs])
    header = ("model", "protocol", "paper", "repository", "ours", "difference", "pictures", "missing: what it needs")
    return markdown(header, rows)


def _side_by_side(table: dict, row: dict, published: list[dict], records: list[dict]) -> list[str]:
    """What the paper has, what a repository has, ours with a link to its record, and ours less the row's own."""
    value, ours = _published_value(row), matching_record(table, row, records)
    paper, repository = (value, repository_figures(table, row, published)) if is_paper(table) else ("-", value)
    if not ours:
        return [paper, repository, "-", ""]
    difference = f"{100 * ours['miou'] - row['miou']:+.2f}"
    return [paper, repository, f"[{_percent(ours['miou'])}]({_record_link(ours)})", difference]


def is_paper(table: dict) -> bool:
    return table["source"].startswith("arXiv")


def repository_figures(table: dict, row: dict, published: list[dict]) -> str:
    """The figures of repositories that say they are of this row."""
    found = [
        f"{_published_value(other)} ({other.get('of', their['source'])})"
        for their in published
        for other in their["rows"]
        if other.get("beside") == [table["source"], row["model"], row.get("protocol", "single scale")]
    ]
    return "; ".join(found) or "-"


def _published_value(row: dict) -> str:
    accuracy = f" (pixel accuracy {row['pixel_accuracy']:.2f})" if "pixel_accuracy" in row else ""
    return f"{row['miou']:.2f}" + accuracy + (" (uncertain)" if row.get("uncertain") else "")


def what_it_needs(table: dict, row: dict) -> str:
    if "test" in table["data"]:
        return "the test server: its labels are not public"
    if "variant" not in row:
        return "a recipe: none of ours is this one"
    data = f"DATA={table['data'].split()[0]}"
    if "init" not in row:
        return f"the published weights: `make weights`, then `make eval-all {data}`"
    name = table["reproduction"].replace("_", "-")
    return f"`make reproduce-{name} {data} INIT={row['init']} SET=variant={row['variant']}`"


def matching_record(table: dict, row: dict, records: list[dict]) -> dict | None:
    """The newest record that may stand beside a published number: same recipe, same start, trained to its end, no mark.

    A row without `init` is of published weights, which nobody trained here. A random split is no mark where the
    published number is of one.
    """
    if "variant" not in row:
        return None
    allowed = {"random_split"} if "random" in table["data"] else set()
    wanted = {"scales": [1.0], "flip": False} | row.get("settings", {})
    crf = wanted.pop("crf", False)
    fitting = [
        r
        for r in records
        if not r["marks"].keys() - allowed
        and not r["changed"]
        and _has_start(r, row.get("init"))
        and (r["reproduction"], r["variant"], r["data"]["title"])
        == (table["reproduction"], row["variant"], table["data"])
        and all(r["protocol"].get(k) == v for k, v in wanted.items())
        and (r["protocol"].get("crf") is not None) == crf
    ]
    return max(fitting, key=lambda r: r["finished"], default=None)


def _has_start(record: dict, init: str | None) -> bool:
    """Whether the run began with the weights `init`, a file's or folder's name, and came to its recipe's end."""
    if init is None or record["training"] is None:
        return init is None and record["training"] is None
    start = Path(record["training"].get("init") or "")
    names = {*start.parts, re.sub(r"\.(ckpt|npz|h5)\b.*", "", start.name)}
    path, step = Path(record["checkpoint"]["path"]).name, record["checkpoint"]["step"]
    return init in names and path.startswith(PREFIX) and step == record["recipe"]["num_steps"]


def _mark(name: str, value: Any) -> str:
    return MARKS["val_seen unknown" if value == "unknown" else name].format(value)


def protocol_text(protocol: dict[str, Any]) -> str:
    """`native, scale 1`, `OS 8, sides brought to 513..513, padded to 513, scales 0.5 1 + mirror`, ..."""
    size = protocol["eval_size"]
    parts = [f"OS {protocol['output_stride']}"] if "output_stride" in protocol else []
    if limits := protocol.get("resize_range"):
        parts.append(f"sides brought to {limits[0]}..{limits[1]}")
    parts.append(size if isinstance(size, str) else f"padded to {size}")
    scales = " ".join(f"{s:g}" for s in protocol["scales"])
    parts.append(f"scale{'s' if len(protocol['scales']) > 1 else ''} {scales}")
    if inputs := protocol.get("msc_scales"):
        parts.append(f"MSC {' '.join(f'{s:g}' for s in inputs)}")
    text = ", ".join(parts) + (" + mirror" if protocol["flip"] else "")
    return text + (" + CRF" if protocol.get("crf") else "")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _record_link(record: dict) -> str:
    return f"results/runs/{record['id']}.json"


def _from_results(text: str) -> str:
    """Links of the README, as seen from results/."""
    return text.replace("](results/", "](")
