"""Which code made a number: a digest of the modules that an evaluation runs."""

import ast
import functools
import hashlib
from pathlib import Path

from common.paths import ROOT

# What every evaluation runs besides the reproduction's own network and recipes.
EVALUATION = ("common.inference.evaluation", "common.inference.segmenter", "common.reproduction")
PROGRAMS = ("__init__", "__main__", "demo")  # of a package: what starts it is not what it computes


OURS = ("common", "reproductions", "tests")


@functools.cache
def code_version(module: str) -> str:
    """sha256 over the source of a reproduction's `module` and of all that evaluates it, imported modules included.

    Records keep it: one of another version of the code is no answer for this one.
    """
    folder = _file(module).parent
    package = module.rpartition(".")[0]
    own = (
        [f"{package}.{p.stem}" for p in folder.glob("*.py") if p.stem not in PROGRAMS] if package in _packages() else []
    )
    sha = hashlib.sha256()
    for name, path in sorted(_closure((*EVALUATION, module, *own)).items()):
        sha.update(f"{name}\n".encode() + path.read_bytes())
    return sha.hexdigest()


def _packages() -> set[str]:
    return {f"reproductions.{path.parent.name}" for path in ROOT.glob("reproductions/*/__main__.py")}


def _closure(roots: tuple[str, ...]) -> dict[str, Path]:
    """The modules of this suite that `roots` import, directly or not, with their files."""
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is None or name in found:
            continue
        found[name] = path
        waiting += _imports(path)
    return found


def _file(name: str) -> Path | None:
    """Of a module of this suite. By its place: asking Python would import the packages around it."""
    path = ROOT.joinpath(*name.split("."))
    places = path.with_suffix(".py"), path / "__init__.py"
    return next((p for p in places if p.is_file()), None) if name.split(".")[0] in OURS else None


@functools.cache
def _imports(path: Path) -> tuple[str, ...]:
    """What a file imports, anywhere in it; of `from a import b` both a and a.b, whichever is a module."""
    names = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)
