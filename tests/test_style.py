"""Rules of style that no linter knows."""

import ast
import re

import pytest

from tests.conftest import ROOT

FILES = sorted(path for package in ("common", "converters", "reproductions") for path in (ROOT / package).rglob("*.py"))
RIDDLES = ("Of", "What")  # a docstring that opens so has no verb, or no subject


@pytest.mark.parametrize("package", ["common", "converters", "reproductions"])
def test_docstrings_open_with_a_verb_or_a_thing(package):
    found = []
    for path in FILES:
        if path.relative_to(ROOT).parts[0] != package:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or "-"
                if text.split()[0] in RIDDLES:
                    found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}")
    assert not found, "\n".join(found)


def parameters_of(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    """The parameters of a function, or of a class's `__init__`."""
    functions = (
        [node] if isinstance(node, ast.FunctionDef) else [n for n in node.body if isinstance(n, ast.FunctionDef)]
    )
    function = next((f for f in functions if f is node or f.name == "__init__"), None)
    if not function:
        return set()
    a = function.args
    found = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    return {parameter.arg for parameter in found} - {"self", "cls"}


def listed_parameters(docstring: str) -> set[str] | None:
    """The names below `Args:`; None when the docstring has no such part."""
    part = re.search(r"^Args:\n((?: .*\n?|\n)+)", docstring, re.MULTILINE)
    if not part:
        return None
    indent = re.match(" *", part[1])[0]
    heads = re.findall(rf"^{indent}(\S[^:]*):", part[1], re.MULTILINE)
    return {name.strip(" *") for head in heads for name in head.split(",")}


def test_args_list_all_parameters_or_none():
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                listed = listed_parameters(ast.get_docstring(node) or "")
                if listed is not None and listed != parameters_of(node):
                    differing = ", ".join(sorted(listed ^ parameters_of(node)))
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}: {differing}")
    assert not found, "\n".join(found)
