"""The parts of the README that `make results` writes, each between two markers."""

from pathlib import Path

from common.errors import UserError
from common.files import read_text, write_text
from common.paths import ROOT
from common.results.records import results_dir


def markers(part: str) -> tuple[str, str]:
    """The lines before and after a part, such as `results`."""
    return f"<!-- {part}: begin, written by `make results` -->", f"<!-- {part}: end -->"


def fill(part: str, content: str, readme: Path | None = None) -> None:
    """Write `content` between the part's markers; the rest of the file stays.

    The file is `readme`, by default the checkout's README; with RESULTS_DIR elsewhere that one stays as it is.

    Raises UserError when the file has lost its markers.
    """
    readme = readme or (ROOT / "README.md" if results_dir() == ROOT / "results" else None)
    if readme and readme.is_file():
        write_text(readme, filled(readme, part, content))


def filled(readme: Path, part: str, content: str) -> str:
    """The file's text with `content` between the part's markers. Raises UserError when it has lost them."""
    begin, end = markers(part)
    head, found, rest = read_text(readme).partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise UserError(f"{readme}: has no lines '{begin}' and '{end}'; put them where the table belongs")
    return f"{head}{begin}\n\n{content.strip()}\n\n{end}{tail}"
