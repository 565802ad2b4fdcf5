"""The Speed section of RESULTS.md and the README's three lines, from results/bench.json alone; see `make bench`.

The file holds `parts`: name -> title, `contestants` (name -> figures), and what they were measured with. Figures are
`median` and `minimum` seconds of a round by the clock, `processor` seconds of all threads (median), `peak_mib` of the
process, `rounds`, and for label maps `agreement`, the share of pixels that equal the product's in fp32; or `skipped`,
why there are none. Exported files also have `bytes`, and `export_seconds` and `export_peak_mib` of the process that
wrote and compared them. Updates on several hosts have `sent_mib`: what the hosts send each other for one.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError, brief
from common.files import read_json
from common.results.readme import fill
from common.results.records import results_dir
from common.results.schema import NUMBER, SHARE, TEXT, VERSIONS, WHOLE, Each, Kind, Of, OrNone, check_fields
from common.text_table import markdown, percent

SCHEMA = 1
Part = Mapping[str, Any]
# The tables' columns: the first is what the others are compared with.
COLUMNS = {
    "product": "suite",
    "product bf16": "suite, bf16",
    "by onnxruntime": "suite by ONNX Runtime",
    "by openvino": "suite by OpenVINO",
    "by openvino bf16": "suite by OpenVINO, bf16",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "openvino bf16": "OpenVINO bf16",
    "torch": "torch",
    "torch bf16": "torch bf16",
    "pydensecrf": "pydensecrf",
}
FIRST = next(iter(COLUMNS))
# The suite's other ways, in words behind their seconds.
OURS = {
    "product bf16": "in bf16",
    "by onnxruntime": "by ONNX Runtime",
    "by openvino": "by OpenVINO",
    "by openvino bf16": "by OpenVINO in bf16",
}
NONE_YET = "Not measured yet: `make setup-bench && make bench` measures it, in about 15 minutes."
# The README's lines: what begins each, and the parts it shows, by a short name.
LINES = {
    "One picture of 513x513": {
        "picture_mobilenetv2_os8": "MobileNetV2 (output stride 8)",
        "picture_resnet101": "v2's ResNet-101",
        "picture_xception65": "Xception-65 with decoder",
    },
    "Training, an update on 2 crops of 321": {"update_resnet101": "v2's ResNet-101"},
    "From the start to the first label map": {
        "start_mobilenetv2_os8": "MobileNetV2",
        "engines_start_mobilenetv2_os8": "MobileNetV2 with a prepared engine",
    },
}

_SECONDS = Kind("a number of seconds above 0", lambda v: NUMBER.test(v) and v > 0)
_FIGURES = {
    "median": _SECONDS, "minimum": _SECONDS, "processor": NUMBER, "peak_mib": WHOLE, "rounds": WHOLE,
    "agreement": SHARE, "skipped": TEXT, "bytes": WHOLE, "export_seconds": _SECONDS, "export_peak_mib": WHOLE,
    "sent_mib": NUMBER,
}  # fmt: skip
BENCH = Of(
    {
        "schema": WHOLE,
        "parts": Each(
            Of(
                {
                    **dict.fromkeys(("title", "measured", "cpu"), TEXT),
                    "contestants": Each(Of(_FIGURES, optional=tuple(_FIGURES))),
                    "load": Each(NUMBER, list),
                    "commit": OrNone(TEXT),
                    "cores": WHOLE,
                    "versions": VERSIONS,
                }
            )
        ),
    }
)


def bench_path() -> Path:
    """The file of the bench's figures."""
    return results_dir() / "bench.json"


def read_bench() -> dict[str, Any] | None:
    """The bench's figures, checked; None when the file is missing.

    Raises UserError, which names the file and the field, when it is not as `make bench` wrote it.
    """
    path, again = bench_path(), "measure again with `make bench`, or restore it"
    found = read_json(path)
    if found is None:
        return None
    if not isinstance(found, dict):
        raise UserError(f"{path}: is no table of figures but {brief(found, 40)}; {again}")
    check_fields(found, BENCH, str(path), SCHEMA, again)
    return found


def fill_readme(readme: Path | None = None) -> None:
    """Write the lines between the README's markers `speed`; see `common.results.readme.fill`.

    A file that cannot be read gives the lines of none; `write_results` says what is wrong with it.
    """
    try:
        bench = read_bench()
    except UserError:
        bench = None
    fill("speed", readme_lines(bench), readme)


def section(bench: Mapping[str, Any] | None) -> str:
    """The section without its heading: seconds, processor seconds, peak memory, other measurements, and the machine."""
    parts = list(bench["parts"].values()) if bench else []
    exports = [part for part in parts if any("bytes" in figures for figures in part["contestants"].values())]
    compared = [part for part in parts if FIRST in part["contestants"] and part not in exports]
    others = [part for part in parts if FIRST not in part["contestants"]]
    if not parts:
        return NONE_YET
    texts = [
        "`make bench` measures in rounds, in which all take their turn. Peers run the same network with the same "
        "weights, from an ONNX file (torch through onnx2torch, without a compiler); for updates torch has a network of "
        "its own. Peers compute in float32 where nothing else is said. Minima and all figures: "
        "[results/bench.json](results/bench.json).",
    ]
    if compared:
        texts += [
            "Seconds, median; in brackets the ratio to the suite's in fp32, and for labels that differ on more than "
            "one pixel of a thousand the share that is equal:",
            _table(compared, _seconds),
            "Processor seconds, all threads:",
            _table(compared, lambda figures, _: _number(figures["processor"])),
            "Peak memory of the process, MiB:",
            _table(compared, lambda figures, _: str(figures["peak_mib"]) if "peak_mib" in figures else "-"),
        ]
    if exports:
        texts += [
            "Exported files, a picture of 257x257, each run by its own program in its own process, beside the suite; "
            "and the process that exported it, comparison included:",
            _exports(exports),
        ]
    if others:
        header = ("what", "contestant", "seconds", "minimum", "processor seconds", "peak MiB")
        texts += [
            "Within the product:",
            markdown(header, [row for part in others for row in _rows(part)], numbers=True),
        ]
    measured = "Measured with:\n\n" + "\n".join(f"- {text}" for text in machines(parts))
    return "\n\n".join(text for text in (*texts, _skipped(parts), measured) if text)


def readme_lines(bench: Mapping[str, Any] | None) -> str:
    """Three lines: pictures, training, start."""
    parts = bench["parts"] if bench else {}
    lines = []
    for begin, names in LINES.items():
        told = [f"{short} {_sides(parts[name])}" for name, short in names.items() if _has(parts.get(name), FIRST)]
        if told:
            lines.append(f"- {begin}, seconds: {'; '.join(told)}.")
    if not lines:
        return NONE_YET
    some = parts[next(name for names in LINES.values() for name in names if _has(parts.get(name), FIRST))]
    where = f"{some['cores']} cores, {brief(some['cpu'], 60)}"
    return "\n".join(
        [f"On {where}; all figures and memory: [results/RESULTS.md](results/RESULTS.md#speed).", "", *lines]
    )


def _sides(part: Part) -> str:
    """A part's medians in the order of COLUMNS: the product's, and in brackets the peers'."""
    told = {name: _number(part["contestants"][name]["median"]) for name in COLUMNS if _has(part, name)}
    ours = [told.pop(FIRST)]
    ours += [f"{told.pop(name)} {how}" for name, how in OURS.items() if name in told]
    peers = ", ".join(f"{COLUMNS[name]} {seconds}" for name, seconds in told.items())
    return ", ".join(ours) + (f" ({peers})" if peers else "")


def _has(part: Part | None, name: str) -> bool:
    return bool(part) and "median" in part["contestants"].get(name, {})


def _table(parts: Iterable[Part], cell: Callable[[Mapping[str, Any], Mapping[str, Any]], str]) -> str:
    parts = list(parts)
    columns = [name for name in COLUMNS if any(name in part["contestants"] for part in parts)]
    rows = []
    for part in parts:
        first = part["contestants"][FIRST]
        cells = [part["contestants"].get(name, {}) for name in columns]
        rows.append([part["title"], *(cell(c, first) if "median" in c and "processor" in c else "-" for c in cells)])
    return markdown(["", *(COLUMNS[name] for name in columns)], rows, numbers=True)


def _seconds(figures: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """The median, and what it is to the product's."""
    text, more = _number(figures["median"]), []
    if figures is not first and "median" in first:
        more.append(f"{figures['median'] / first['median']:.2f}")
    if figures.get("agreement", 1) < 0.999:
        more.append(f"{100 * figures['agreement']:.1f} % equal")
    return text + (f" ({', '.join(more)})" if more else "")


def _number(seconds: float) -> str:
    """Seconds with three digits that count, and at most three after the point."""
    return f"{seconds:.3f}" if seconds < 1 else f"{seconds:.2f}" if seconds < 100 else f"{seconds:.0f}"


def _rows(part: Part) -> list[list[str]]:
    names = ("median", "minimum", "processor")
    return [
        [
            part["title"],
            brief(name, 60),
            *(_number(figures[k]) if k in figures else "-" for k in names),
            str(figures.get("peak_mib", "-")),
        ]
        for name, figures in part["contestants"].items()
    ]


def _exports(parts: Iterable[Part]) -> str:
    """The exported files of each network, after the suite itself."""
    header = ("network", "file", "labels equal %", "MB", "seconds", "minimum", "peak MiB", "export seconds",
              "export peak MiB")  # fmt: skip
    rows = []
    for part in parts:
        for name, figures in part["contestants"].items():
            if "median" not in figures:
                continue
            is_file = "bytes" in figures
            rows.append(
                [
                    part["title"],
                    COLUMNS.get(name, brief(name, 60)),
                    percent(figures["agreement"]) if "agreement" in figures else "-",
                    f"{figures['bytes'] / 1e6:.1f}" if is_file else "-",
                    *(_number(figures[key]) for key in ("median", "minimum")),
                    str(figures.get("peak_mib", "-")),
                    _number(figures["export_seconds"]) if is_file else "-",
                    str(figures["export_peak_mib"]) if is_file else "-",
                ]
            )
    return markdown(header, rows, numbers=True)


def _skipped(parts: Iterable[Part]) -> str:
    """Who could not take part, and why: a line for each contestant and reason."""
    why: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        for name, figures in part["contestants"].items():
            if "skipped" in figures:
                why.setdefault((name, figures["skipped"]), []).append(part["title"])
    return "\n".join(
        f"- {brief(COLUMNS.get(name, name), 60)}: {brief(reason, 200)} ({'; '.join(titles)})"
        for (name, reason), titles in why.items()
    )


def _commit(part: Part) -> str:
    commit, changed, _ = (part["commit"] or "unknown").partition("+changes")
    return f"commit {commit[:12]}{changed}"


def machines(parts: Iterable[Part]) -> list[str]:
    """The machine, versions, day, commit and load: a text for each that differs but in its load."""
    groups: dict[str, list[Part]] = {}
    for part in parts:
        versions = (f"{name} {version}" for name, version in part["versions"].items())
        facts = f"{part['cores']} cores", part["cpu"], *versions, part["measured"][:10], _commit(part)
        groups.setdefault(brief(", ".join(facts), 1000), []).append(part)
    texts = []
    for facts, members in groups.items():
        loads = [load for part in members for load in part["load"]]
        load = f", load {min(loads):.1f} to {max(loads):.1f}" if loads else ""
        texts.append(f"{facts}{load}: {len(members)} of the measurements")
    return texts
