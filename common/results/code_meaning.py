"""The meaning of source code: the parts of its statements that can change a result, and the names that connect them.

Comments, docstrings, imports, type annotations, error messages and command lines are left out. It makes no difference
whether a name is written `conv2d`, `layers.conv2d` or `c` after `from layers import conv2d as c`.
"""

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("common", "converters", "reproductions", "tests")
TALK = ("common.console", "common.errors", "common.program", "common.words")  # what people read changes no result

Symbol = tuple[str, str | None]  # a module, and a name that it defines; None stands for all of the module


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement of a module's top level.

    Attributes:
      text: its meaning.
      defines: the names that it defines; none if it does something else, such as a call or a loop.
      uses: what it uses of the checkout.
    """

    text: str
    defines: frozenset[str]
    uses: frozenset[Symbol]


class Code:
    """The modules of the checkout in the folder `root`."""

    def __init__(self, root: Path):
        self._root = root
        self.file, self.imports = functools.cache(self._file), functools.cache(self._imports)
        self.statements, self._tree = functools.cache(self._statements), functools.cache(self._parsed)

    def _file(self, module: str) -> Path | None:
        """The module's file; None for what is no module of the checkout."""
        path = self._root.joinpath(*module.split("."))
        places = path.with_suffix(".py"), path / "__init__.py"
        return next((p for p in places if p.is_file()), None) if is_ours(module) else None

    def _parsed(self, module: str) -> ast.Module:
        text = self.file(module).read_bytes()
        try:
            return ast.parse(text)
        except SystemError:  # Python 3.11 miscounts its depth when memory is collected meanwhile
            return ast.parse(text)

    def _imports(self, module: str) -> Mapping[str, str]:
        """The dotted names that a module's imported names stand for; imports anywhere in the module count."""
        found = {}
        for node in ast.walk(self._tree(module)):
            for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                if isinstance(node, ast.ImportFrom):
                    found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                elif alias.asname:
                    found[alias.asname] = alias.name
                else:  # import a.b binds a
                    found[alias.name.split(".")[0]] = alias.name.split(".")[0]
        return found

    def _statements(self, module: str) -> list[Statement]:
        """The statements of a module's top level that mean something."""
        body = self._tree(module).body
        defined = frozenset().union(*map(_defined, body))
        found = []
        for node in body:
            defines, reduced = _defined(node), _Reduced(self, module, defined)
            if plain := reduced.visit(node):
                found.append(Statement(_text(plain), defines, frozenset(reduced.uses)))
        return found

    def origin(self, dotted: str) -> str:
        """The dotted name of what `dotted` stands for, followed through the modules that import it."""
        module, _, name = dotted.rpartition(".")
        if self.file(dotted) or not self.file(module) or name not in self.imports(module):
            return dotted
        return self.origin(self.imports(module)[name])


class _Reduced(ast.NodeTransformer):
    """Reduces a statement to its meaning, and gathers what it `uses`."""

    def __init__(self, code: Code, module: str, defined: frozenset[str]):
        self._code, self._module, self._defined = code, module, defined
        self._imports = code.imports(module)
        self.uses: set[Symbol] = set()

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id in self._imports:
            return self._plain(self._imports[node.id])
        if node.id in self._defined:
            self.uses.add((self._module, node.id))
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        path = self._path(node)
        return self._plain(path) if path else self.generic_visit(node)

    def _path(self, node: ast.expr) -> str | None:
        """The dotted name of a name, or of an attribute of a module: layers.conv2d, np.random.rand."""
        if isinstance(node, ast.Name):
            return self._imports.get(node.id)
        base = self._path(node.value) if isinstance(node, ast.Attribute) else None
        base = base and self._code.origin(base)
        return f"{base}.{node.attr}" if base and (self._code.file(base) or not is_ours(base)) else None

    def _plain(self, path: str) -> ast.Name:
        """The name without the module of the checkout that defines it."""
        path = self._code.origin(path)
        module, _, name = path.rpartition(".")
        if self._code.file(path):
            self.uses.add((path, None))
        elif self._code.file(module):
            self.uses.add((module, name))
            return ast.Name(name)
        return ast.Name(path)

    def visit_Import(self, _: ast.AST) -> None:
        return None

    visit_ImportFrom = visit_Import

    def visit_If(self, node: ast.If) -> ast.AST | None:
        never_runs = (
            self._path(node.test) == "typing.TYPE_CHECKING" or ast.unparse(node.test) == "__name__ == '__main__'"
        )
        return None if never_runs else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):  # a docstring
            return None
        called = self._path(value.func) if isinstance(value, ast.Call) else None
        return None if called and is_talk(self._code.origin(called)) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        """The kind of error, without its message and its cause."""
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(error and self.visit(error))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Fields keep their types: dataclasses are made of them, and `--set` reads values by them."""
        for child in node.body:
            child.is_field = True
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if hasattr(node, "is_field"):
            return self.generic_visit(node)
        return ast.Assign([self.visit(node.target)], self.visit(node.value)) if node.value else None


def is_ours(dotted: str) -> bool:
    """Whether a dotted name lies in the checkout's packages."""
    return dotted.split(".")[0] in PACKAGES


def is_talk(dotted: str) -> bool:
    """Whether a dotted name lies in a module that only writes messages for people."""
    return dotted.startswith(tuple(f"{module}." for module in TALK))


def _defined(node: ast.stmt) -> frozenset[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return frozenset({node.name})
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return frozenset()
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return frozenset(name.id for name in names if isinstance(name.ctx, ast.Store))


def _text(node: Any) -> str:
    """A syntax tree as text that is the same in every version of Python; the text of ast.dump is not."""
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    omitted = ("ctx", "kind", "type_comment")
    fields = {k: v for k, v in ast.iter_fields(node) if k not in omitted and v not in (None, [])}
    return f"{type(node).__name__}({', '.join(f'{k}={_text(v)}' for k, v in fields.items())})"
