"""The version of the code that made a number: a digest of the statements that an evaluation reaches."""

import functools
import hashlib
from pathlib import Path

from common.paths import ROOT
from common.results.code_meaning import Code, Statement, Symbol, is_talk

# Where every evaluation starts, besides the reproduction's own network and recipes.
EVALUATION: tuple[Symbol, ...] = (
    ("common.data.lists", "open_split"),
    ("common.inference.evaluation", "evaluate"),
    ("common.inference.segmenter", "Segmenter"),
    ("common.reproduction", "Reproduction"),
    ("common.weights.weights", "Weights"),
)
# What runs networks' files and engines: part of the digest where it ran, and not followed elsewhere.
ENGINES: tuple[Symbol, ...] = (
    ("common.inference.file_segmenter", "FileSegmenter"),
    ("common.engines.network_file", "NetworkFile"),
    ("common.export.choice", "Choice"),
    ("common.export.prepare", "write_entry"),
)
ENGINE_MODULES = (
    "common.engines.",
    "common.export.",
    "common.inference.file_segmenter.",
    "common.inference.engine_segmenter.",
)
PROGRAMS = ("__init__", "__main__", "demo")  # modules of a package that start programs and compute nothing


@functools.cache
def code_version(module: str, by_engine: bool = False) -> str:
    """sha256 of the code that evaluates the reproduction whose network is in `module`.

    With `by_engine` a network's file or an engine does, see `Recipe.by_engine`.

    A record keeps it, and a record with another digest does not count for this code. The digest follows the meaning of
    the code: a changed comment, docstring, import or message, or a moved function, does not change it.
    """
    return digest(module, ROOT, by_engine)


def digest(module: str, root: Path, by_engine: bool = False) -> str:
    """`code_version` of the checkout in the folder `root`, computed anew."""
    reached = closure(module, root, by_engine)
    defined = {(name, n): s.text for name, statements in reached.items() for s in statements for n in s.defines}
    parts = set()
    for statement in (s for statements in reached.values() for s in statements):
        # The meaning of its names belongs to it, since two modules may define the same name.
        parts.add("\n".join([statement.text, *sorted({defined[symbol] for symbol in statement.uses & defined.keys()})]))
    return hashlib.sha256("\n\n".join(sorted(parts)).encode()).hexdigest()


def closure(module: str, root: Path, by_engine: bool = False) -> dict[str, list[Statement]]:
    """The statements that an evaluation reaches by the names that it uses, by module.

    A statement that defines no name is reached with its module, which Python runs when it is imported. The modules of
    a reproduction are reached whole.
    """
    code, waiting = Code(root), [*EVALUATION, *(ENGINES if by_engine else ()), (module, None)]
    aside = () if by_engine else ENGINE_MODULES
    package = root.joinpath(*module.split(".")[:-1])
    if (package / "__main__.py").is_file():  # a reproduction
        own = sorted(path.stem for path in package.glob("*.py") if path.stem not in PROGRAMS)
        waiting += [(f"{module.rpartition('.')[0]}.{name}", None) for name in own]
    reached: dict[str, list[Statement]] = {}
    seen = set(waiting)
    while waiting:
        name, wanted = waiting.pop()
        here, statements = reached.setdefault(name, []), code.statements(name)
        whole = not any(wanted in s.defines for s in statements)  # unclear what is used: take the whole module
        new = [s for s in statements if (whole or not s.defines or wanted in s.defines) and s not in here]
        here += new
        uses = {(m, n) for s in new for m, n in s.uses if not is_talk(f"{m}.") and not f"{m}.".startswith(aside)}
        follow = uses - seen
        waiting += follow
        seen |= follow
    return reached
