"""The report's folder: the page's files, its data as a script, copies of the records, and small pictures."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import WRITING, half_written, read_text
from common.report import curves, evaluations, gallery, tables
from common.report.tables import MissingPart, Record
from common.results import records
from common.results.marks import MARKS
from common.results.tables import record_order, shown_records
from common.words import some

OWN = Path(__file__).parent
GENERATOR = b'<meta name="generator" content="deeplab-reproductions report">'  # in index.html: this suite wrote it
INDEX, ASSETS, RECORDS = "index.html", "assets", "records"
LIST = "assets/files.txt"  # the report's files: others in its folder are a person's


def write_report(out: Path, data: Sequence[Path] = (), quiet: bool = False) -> tuple[Path, list[str]]:
    """Write the report of all records and put it in the place of `out`, an older report.

    The records are those of the tables and those that lie beside evaluations below the working folder.

    Evaluations and runs are looked for by the paths in their records, from the working folder.

    Args:
      out: the folder.
      data: folders of data sets, for the gallery.
      quiet: no progress.

    Returns:
      Its index.html, and a sentence for each file that is no record as its run wrote it: the others are shown.

    Raises:
      UserError: `out` holds something that is not a report, or is the working folder.
    """
    _check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    left_out: list[str] = []
    there = [*records.read_beside(left_out), *records.read_records(left_out=left_out)]
    found = sorted(shown_records({record["id"]: record for record in there}.values()), key=record_order)
    temporary = Path(tempfile.mkdtemp(prefix=half_written(WRITING, out.parent), dir=out.parent))
    try:
        new = temporary / "new"
        for name in (ASSETS, RECORDS):
            (new / name).mkdir(parents=True)
        for record in found:
            (new / tables.record_file(record)).write_text(records.dumps(record), encoding="utf-8")
        content = collect(found, data, new / ASSETS, quiet)
        # ASCII alone, so that no encoding is guessed; a script, since pages from the disk may not fetch.
        script = f"window.REPORT = {json.dumps(content, allow_nan=False, separators=(',', ':'))};\n"
        (new / ASSETS / "data.js").write_text(script, encoding="ascii")
        for name in ("report.js", "report.css"):
            shutil.copyfile(OWN / name, new / ASSETS / name)
        shutil.copyfile(OWN / INDEX, new / INDEX)
        (new / LIST).write_text("\n".join(sorted(_files(new))) + "\n", encoding="utf-8", errors="surrogateescape")
        _swap(new, out, temporary / "old")
    finally:
        shutil.rmtree(temporary)
    return out / INDEX, left_out


def collect(found: Sequence[Record], data: Sequence[Path], assets: Path, quiet: bool) -> dict[str, Any]:
    """Collect all that the page shows as plain JSON; small pictures go to `assets`. Places are positions in `found`."""
    missing = []
    if not found:
        what = f"Records: there is none in {records.shown(records.results_dir() / 'runs')}."
        how = "Train and evaluate on the sample set, or on your own data:"
        missing.append(MissingPart("results", what, how, ("make eval-all", "make reproduce-v2 DATA=path/to/VOC2012")))
    evaluated, without_folder = evaluations.find(found)
    runs, without_run = curves.training_runs(found)
    shown, without_picture = gallery.galleries(evaluated, data, assets, quiet)
    bench, what = None, "The bench's figures: results/bench.json is not there."
    try:
        bench = tables.bench()
    except UserError as error:  # the other tables are shown all the same
        what = f"The bench's figures: {error}."
    if bench is None:
        missing.append(MissingPart("speed", what, "Measure them:", ("make bench",)))
    return {
        "newest": max((record["finished"] for record in found), default=None),
        "marks": list(MARKS.items()),
        "evaluations": [tables.evaluation(record) for record in found],
        "published": tables.published(found),
        "runs": runs,
        "bench": bench,
        "extremes": {one.place: one.extremes for one in evaluated},
        "galleries": shown,
        "missing": [asdict(m) for m in [*missing, *without_folder, *without_run, *without_picture]],
    }


def _swap(new: Path, out: Path, old: Path) -> None:
    """Put `new` in the place of `out`, which becomes `old`; when that fails `out` stays."""
    if out.exists():
        out.rename(old)
    try:
        new.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise


def _check_replaceable(out: Path) -> None:
    """Raise UserError when replacing `out` would delete files that are no report."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"--out {out}: is a file; name a folder")
    if out.resolve() in (Path.cwd(), *Path.cwd().parents) or out.is_mount():
        raise UserError(
            f"--out {out}: is the folder that you work in, above it, or a mounted disk; name a folder in it, such as "
            f"{out / 'report'}"
        )
    if not any(out.iterdir()):
        return
    if not _is_report(out):
        raise UserError(
            f"--out {out}: holds files that are no report of this suite and would be lost; name another folder, or "
            f"delete it if it is an older report"
        )
    others = sorted(set(_files(out)) - _listed(out))
    if others:
        raise UserError(
            f"--out {out}: holds {some(others)} beside the report, which would be lost; move that away, or name "
            f"another folder"
        )


def _files(folder: Path) -> list[str]:
    """The paths of all files in a folder and below, from there."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def _listed(report: Path) -> set[str]:
    """The files that were written as the report."""
    return {LIST, *read_text(report / LIST).splitlines()}


def _is_report(folder: Path) -> bool:
    try:
        return GENERATOR in (folder / INDEX).read_bytes()[:4096] and (folder / LIST).is_file()
    except OSError:
        return False
