"""Rules of style that no linter knows."""

import ast

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
