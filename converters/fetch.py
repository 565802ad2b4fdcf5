"""`python -m converters.fetch NAME`: fetch, check, unpack and convert the weights or data of that name."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from common import program
from common.console import say, show
from common.downloads.fetch import Fetched, fetch
from common.downloads.manifest import Entry, Manifest, read_manifest
from common.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 all there, 2 wrong arguments or a failed download, 130 on Ctrl-C."""
    parser = program.ArgumentParser(
        prog="python -m converters.fetch",
        description="Fetch weights or data by their name in the manifest: resume, check, unpack, convert.",
        example="max_image_segmenter",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="an entry of the manifest; --list shows them")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for it (default: its place in weights or data)")
    parser.add_argument("--list", action="store_true", help="list the manifest")
    parser.add_argument(
        "--no-convert",
        action="store_true",
        help="leave the files as they come; also fetches weights that no network here reads",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, for scripts")
    args = parser.parse_args(arguments)
    if bool(args.name) == args.list:
        parser.error("give either a NAME or --list")
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    manifest = read_manifest()
    if args.list:
        show("\n".join(_list(manifest)))
        return
    _refuse_unread(manifest.entry(args.name), args.no_convert)
    fetched = fetch(args.name, args.out, convert=not args.no_convert, quiet=args.quiet, manifest=manifest)
    _show(fetched, manifest, args.quiet)


def _refuse_unread(entry: Entry, as_it_comes: bool) -> None:
    """Refuse before anything is downloaded. Raises UserError when no network of this suite reads the weights."""
    if entry.unread and not as_it_comes:
        raise UserError(
            f"{entry.name}: no network here reads these weights ({entry.unread}); nothing was downloaded. For another "
            f"program fetch them by python -m converters.fetch {entry.name} --no-convert"
        )


def _list(manifest: Manifest) -> Iterator[str]:
    for entry in manifest.entries.values():
        sizes = [file.about or (f"{file.size / 1e6:.0f} MB" if file.size else "") for file in entry.files]
        size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} files"
        by_hand = "  [by hand]" if entry.manual else ""
        seen = "  [val seen]" if any(map(manifest.val_seen, entry.weights)) else ""
        unread = f"  [not read here: {entry.unread}]" if entry.unread else ""
        yield f"{entry.name:42} {entry.kind:8} {size:10} {entry.title}{by_hand}{seen}{unread}"


def _show(fetched: Fetched, manifest: Manifest, quiet: bool) -> None:
    """Print the paths to hand on to stdout, and notes about them to stderr."""
    say(f"{fetched.entry.title}; licence: {fetched.entry.licence}", quiet)
    if fetched.entry.note:
        say(fetched.entry.note, quiet)
    for ready in fetched.ready:
        weights, seen = ready.weights, ", ".join(manifest.val_seen(ready.weights))
        facts = [f"trained on {', '.join(weights.trained_on)}", f"input {fetched.entry.preprocessing}"]
        if seen:
            facts.append(f"has seen {seen}: evaluate it with --val-seen")
        if weights.note:
            facts.append(weights.note)
        say(f"{ready.path}: {'; '.join(facts)}", quiet)
    for path in [ready.path for ready in fetched.ready] or fetched.paths:
        show(path)


if __name__ == "__main__":
    sys.exit(main())
