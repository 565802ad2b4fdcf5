"""The proof of equality as tables: what `make parity` measured against the original programs.

`results/parity/<program>.json` are its records; the README's first table and `results/PARITY.md` are made of them
alone. No number here comes from a tolerance.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError, brief
from common.files import read_json, write_text
from common.results import records
from common.results.readme import fill
from common.results.schema import FLAG, NUMBER, TEXT, VERSIONS, WHOLE, Each, Of, OrNone, check_fields
from common.text_table import markdown

SCHEMA = 1


@dataclass(frozen=True)
class Original:
    """An original program: its name, what it ran under when its answers were taken, and the reproduction here."""

    name: str
    ran_under: str
    reproduction: str


PROGRAMS = {
    "v1": Original("DrSleep/tensorflow-deeplab-lfov", "TensorFlow 1.15", "v1"),
    "v1_caffe": Original("DeepLab-LargeFOV of the paper", "Caffe 1.0", "v1"),
    "v2": Original("zhengyang-wang/Deeplab-v2--ResNet-101--Tensorflow", "TensorFlow 1.15", "v2"),
    "v3": Original("NanqingD/DeepLabV3-Tensorflow", "TensorFlow 1.15", "v3"),
    "v3plus_seed": Original("asahi417/SemanticSegmentation", "TensorFlow 1.15", "v3plus"),
    "v3plus_zoo": Original("tensorflow/models research/deeplab", "TensorFlow 1.15", "v3plus"),
    "v3plus_train": Original("the training of tensorflow/models research/deeplab", "TensorFlow 1.15", "v3plus"),
    "v3plus_quant": Original("tensorflow/models research/deeplab, 8 bit", "TensorFlow 1.15", "v3plus"),
    "v3plus_simplified": Original("tonandr/deeplabv3plus_keras", "TensorFlow 2.3", "v3plus_simplified"),
    "keras_features": Original("tf.keras.applications without heads", "TensorFlow 2.21", "v3plus_simplified"),
}

# The README's columns: the compared thing, and the word before its figure where a column has several.
COLUMNS = {
    "variables": {"variables": ""},
    "logits": {"logits": ""},
    "label maps": {"label maps": ""},
    "loss and gradient norms": {"losses": "loss", "gradients": "gradient norms", "rounding alone": ""},
    "training steps": {"training steps": "loss", "moving statistics": "norms of moving statistics"},
    "on real pictures": {"real label maps": "label maps", "real logits": "logits"},
}
# What the records call by a shorter name. The golden files hold one number a variable, its norm.
NORMS = {"gradients": "gradient norms", "moving statistics": "norms of moving statistics"}
MEASURES = {
    "names": "how many names, shapes or trainable marks differ",
    "pixels": "the share of pixels that differ",
    "largest": "the largest difference over the original's largest value",
    "each": "the largest relative difference of any value",
}
_FIGURES = Of(
    {"largest": NUMBER, "tolerance": NUMBER, "measure": TEXT, "holds": FLAG, "cases": WHOLE, "comparisons": WHOLE}
)
_MEASUREMENT = Of(
    {
        **dict.fromkeys(("case", "what", "measure", "detail", "exception"), TEXT),
        "difference": NUMBER,
        "tolerance": OrNone(NUMBER),
        "count": WHOLE,
    }
)
RECORD = Of(
    {
        **dict.fromkeys(("program", "original", "ran_under", "arithmetic", "finished", "cpu", "digest"), TEXT),
        "schema": WHOLE,
        "compared": Each(_FIGURES),
        "measurements": Each(_MEASUREMENT, list),
        "skipped": Each(Of({"what": TEXT, "why": TEXT}), list),
        "seconds": NUMBER,
        "versions": VERSIONS,
    }
)
NONE_YET = "Not measured yet: `make parity` measures it and writes its records."
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def record_path(program: str) -> Path:
    """The file of a program's record."""
    return records.results_dir() / "parity" / f"{program}.json"


def read_records(folder: Path | None = None, left_out: list[str] | None = None) -> list[dict[str, Any]]:
    """The records in the order of PROGRAMS.

    `left_out` gets a sentence for each file that was changed by hand, is of no program or a newer schema, or lacks a
    field, and the others are read; without it the first such file raises UserError.
    """
    found = {}
    for path in sorted((folder or records.results_dir() / "parity").glob("*.json")):
        try:
            found[path.stem] = _checked(path, read_json(path))
        except UserError as error:
            if left_out is None:
                raise
            left_out.append(f"{error}; left out")
    return [found[program] for program in PROGRAMS if program in found]


def _checked(path: Path, record: Any) -> dict[str, Any]:
    again = "run `make parity` again or delete it"
    if not isinstance(record, dict):
        raise UserError(f"{path}: is no record but {brief(record, 40)}; {again}")
    check_fields(record, RECORD, str(path), SCHEMA, again, nan_is_number=True)
    if record["digest"] != records.digest(record):
        raise UserError(f"{path}: was changed after `make parity` wrote it; run `make parity` again or delete it")
    if record.get("schema") != SCHEMA:
        raise UserError(f"{path}: is of schema {record.get('schema')}, not {SCHEMA}; run `make parity` again")
    if record["program"] != path.stem or path.stem not in PROGRAMS:
        raise UserError(f"{path}: its name is not its program's; {again}")
    return record


def compared(measurements: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each thing compared: its largest difference, the tolerance of that one, cases, comparisons.

    Exceptions, which have a wider tolerance or none, are listed on their own and left out here.
    """
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for m in measurements:
        if not m["exception"]:
            kinds.setdefault(m["what"], []).append(m)
    return {what: _largest(found) for what, found in kinds.items()}


def _largest(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    worst = max(found, key=lambda m: math.inf if math.isnan(m["difference"]) else m["difference"])
    return {
        "largest": worst["difference"],
        "tolerance": worst["tolerance"],
        "measure": worst["measure"],
        "holds": all(m["difference"] <= m["tolerance"] for m in found),
        "cases": len({m["case"] for m in found}),
        "comparisons": len(found),
    }


def readme_table(found: Sequence[Mapping[str, Any]]) -> str:
    """The README's first table: one row per program, then the exceptions and the machine."""
    if not found:
        return NONE_YET
    notes = _notes(found)
    rows = [[_title(record), *(_cell(record, kinds, notes) for kinds in COLUMNS.values())] for record in found]
    parts = [
        "Each cell is the largest difference of all cases, relative to the original's values; for label maps, the "
        "share of equal pixels. Of gradients and moving statistics the norms are compared, one number per variable.",
        markdown(("equal to", *COLUMNS), rows),
        "\n".join(f"{_mark(number)} {text}  " for number, text in notes.values()),
        *_missing(found),
        f"Measured by `make parity` ({_machine(found)}). All cases with their tolerances: "
        "[results/PARITY.md](results/PARITY.md).",
    ]
    return "\n\n".join(part for part in parts if part)


def write_page(readme: Path | None = None) -> tuple[Path, list[str]]:
    """Write PARITY.md and the README's table; returns the page's path, and a sentence for each file left out.

    Without new records nothing changes. Raises UserError when the README has lost its markers.
    """
    left_out: list[str] = []
    found = read_records(left_out=left_out)
    fill("parity", readme_table(found), readme)
    path = records.results_dir() / "PARITY.md"
    write_text(path, page(found))
    return path, left_out


def page(found: Sequence[Mapping[str, Any]]) -> str:
    """PARITY.md, with every comparison of the records."""
    parts = [
        "# Equal to the originals",
        "Written by `make results` from `results/parity/*.json`, which `make parity` measures; changes by hand are "
        "lost. The originals were run unchanged on drawn weights and pictures "
        "([tests/golden](../tests/golden/README.md)).",
        "How a difference is measured:\n\n" + "\n".join(f"- *{name}*: {text}" for name, text in MEASURES.items()),
        readme_table(found).replace("](results/", "]("),
        *map(_section, found),
    ]
    return "\n\n".join(parts) + "\n"


def _section(record: Mapping[str, Any]) -> str:
    """One program: when and where, what was skipped, and every comparison."""
    header = ("case", "compared", "detail", "values", "measure", "difference", "allowed")
    rows = [
        [
            m["case"],
            NORMS.get(m["what"], m["what"]),
            m["detail"] or "-",
            f"{m['count']:,}",
            m["measure"],
            _beyond(m, _short(m["difference"])),
            "-" if m["tolerance"] is None else _short(m["tolerance"]),
        ]
        for m in record["measurements"]
    ]
    parts = [
        f"## {_title(record)}",
        f"{_machine([record])}, {record['seconds']:.0f} s, {record['arithmetic']} unless the detail says otherwise.",
        *(f"Not measured, {s['what']}: {s['why']}." for s in record["skipped"]),
        markdown(header, rows),
    ]
    return "\n\n".join(parts)


def _title(record: Mapping[str, Any]) -> str:
    reproduction = PROGRAMS[record["program"]].reproduction
    return f"{record['original']}, {record['ran_under']} (`{reproduction}`)"


def _cell(record: Mapping[str, Any], kinds: Mapping[str, str], notes: Mapping[tuple, tuple[int, str]]) -> str:
    """One cell: its figures with the numbers of their notes; `-` where nothing was compared."""
    parts: list[str] = []
    several = sum(map(bool, kinds.values())) > 1
    for what, word in kinds.items():
        marks = "".join(_mark(number) for key, (number, _) in notes.items() if key[:2] == (record["program"], what))
        if figures := record["compared"].get(what):
            parts.append(f"{word} {_figure(figures)}{marks}" if several else f"{_figure(figures)}{marks}")
        elif marks:
            parts = [*parts[:-1], f"{parts[-1]} {marks}"] if parts else [marks]
    return ", ".join(parts) or "-"


def _figure(figures: Mapping[str, Any]) -> str:
    value = figures["largest"]
    if figures["measure"] == "names":
        shown = "equal" if value == 0 else f"{value} differ"
    elif figures["measure"] == "pixels":
        shown = _equal(value)
    else:
        shown = _short(value)
    return shown if figures["holds"] else f"**{shown}**"


def _equal(share: float) -> str:
    """The share of equal pixels, rounded down, of that of pixels that differ."""
    return "NaN" if math.isnan(share) else f"{math.floor(1e5 * (1 - share)) / 1e3:.3f} %" if share else "100 %"


def _beyond(m: Mapping[str, Any], shown: str) -> str:
    within = m["tolerance"] is None or m["difference"] <= m["tolerance"]
    return shown if within else f"**{shown}**"


def _short(value: float) -> str:
    """`0`, `2e-5`, `1.6e-3`."""
    return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+00", "") if value else "0"


def _notes(found: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], tuple[int, str]]:
    """Exceptions and what was skipped: (program, what, reason) -> number of the note, and its text."""
    texts: dict[tuple[str, str, str], str] = {}
    for record in found:
        program = record["program"]
        exceptions = [m for m in record["measurements"] if m["exception"]]
        for key in dict.fromkeys((m["what"], m["exception"]) for m in exceptions):
            texts[(program, *key)] = _exception([m for m in exceptions if (m["what"], m["exception"]) == key])
        for skipped in record["skipped"]:
            texts[(program, skipped["what"], skipped["why"])] = f"Not measured: {skipped['why']}."
    return {key: (number, text) for number, (key, text) in enumerate(texts.items(), 1)}


def _exception(found: Sequence[Mapping[str, Any]]) -> str:
    """The figure of each exception of one kind, at most four and the largest first, and the reason."""
    ordered = sorted(found, key=lambda m: -m["difference"])
    figures = []
    for m in ordered[:4]:
        shown = f"{_equal(m['difference'])} equal" if m["measure"] == "pixels" else _short(m["difference"])
        figures.append(f"{shown} ({', '.join(filter(None, (m['case'], m['detail'])))})")
    more = f", and {len(ordered) - 4} smaller ones" if len(ordered) > 4 else ""
    what = NORMS.get(found[0]["what"], found[0]["what"]).capitalize()
    reason = found[0]["exception"]
    return f"{what}: {', '.join(figures)}{more}. {reason[:1].upper()}{reason[1:].removesuffix('.')}."


def _mark(number: int) -> str:
    return str(number).translate(SUPERSCRIPTS)


def _missing(found: Iterable[Mapping[str, Any]]) -> list[str]:
    there = {record["program"] for record in found}
    missing = [f"{about.name} (`{program}`)" for program, about in PROGRAMS.items() if program not in there]
    return [f"Not measured yet: {', '.join(missing)}. `make parity` does it."] if missing else []


def _machine(found: Iterable[Mapping[str, Any]]) -> str:
    """The machines and versions of the records, each once."""
    places = [f"TensorFlow {_tensorflow(r['versions'])}, {r['cpu']}, {r['finished'][:10]}" for r in found]
    return "; ".join(dict.fromkeys(places))


def _tensorflow(versions: Mapping[str, str]) -> str:
    return versions.get("tensorflow-cpu") or versions.get("tensorflow") or "of an unknown version"
