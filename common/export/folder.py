"""The folder of an export: which files in it are ours, how they get their names, and the summary beside them."""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.engines.network_file import SUMMARY, digest, files_of
from common.errors import UserError
from common.export.interface import FILES
from common.files import read_json, refuse_foreign_json, write_json

EXPORTS = "exports"  # the key of the summary's entries, by format


def refuse_foreign_files(out: Path, formats: Iterable[str]) -> None:
    """Raise UserError where an export would replace what it did not write: a file is ours while the summary knows it.

    Changed files are the person's own, too.
    """
    flag = f"--out {out}"
    refuse_foreign_json(out / SUMMARY, flag, EXPORTS)
    ours = entries(out)
    for name in formats:
        path = out / FILES[name]
        if os.path.lexists(path) and (name not in ours or ours[name].get("sha256") != digest(path)):
            raise UserError(
                f"{flag}: {path.name} is there, and not written by this command; choose another folder, or move it away"
            )


def publish(out: Path, name: str, temporary: Path, entry: Mapping[str, Any]) -> None:
    """Give the file or folder `temporary` the name of its format, and put its entry into the summary."""
    path, known = out / FILES[name], entries(out)
    entry = {"file": path.name, "sha256": digest(temporary), **entry}
    if path.is_dir():
        shutil.rmtree(path)
    if path != temporary:
        path.unlink(missing_ok=True)  # a kill from here on leaves no file that the summary does not know
    known[name] = entry
    write_json(out / SUMMARY, {EXPORTS: {name: known[name] for name in FILES if name in known}})
    temporary.replace(path)


def entries(out: Path) -> dict[str, dict[str, Any]]:
    """The summary's entries of a folder, by format; empty where there is no summary."""
    found = (read_json(out / SUMMARY) or {}).get(EXPORTS)
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def size_in_bytes(path: Path) -> int:
    """The bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in files_of(path))
