"""The digest of an evaluation's code follows what the code means: on a copy of the checkout that the tests change."""

import ast
import re
import shutil

import pytest

from common.results.code_version import closure, code_version, digest
from tests.conftest import ROOT

MODULE = "reproductions.v2.model"
PACKAGES = ("common", "reproductions")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A copy of the source, and its digest."""
    root = tmp_path_factory.mktemp("source")
    copy_source(ROOT, root)
    return root, digest(MODULE, root)


@pytest.fixture
def checkout(clean, tmp_path):
    """A copy of the source to change."""
    copy_source(clean[0], tmp_path / "checkout")
    return tmp_path / "checkout"


def copy_source(root, to):
    for package in PACKAGES:
        shutil.copytree(root / package, to / package, ignore=lambda _, names: [n for n in names if n == "__pycache__"])


def sources(root):
    return [path for package in PACKAGES for path in (root / package).rglob("*.py")]


def edit(path, *changes):
    """Replace texts of a file, each of which must be there."""
    text = path.read_text()
    for old, new in changes:
        assert old in text, f"{path}: {old}"
        text = text.replace(old, new)
    path.write_text(text)


def move_module(root, old, new):
    """Move a module of a package, and let all files import it from its new place under its old name."""
    root.joinpath(*old.split(".")).with_suffix(".py").rename(root.joinpath(*new.split(".")).with_suffix(".py"))
    (package, _, name), (new_package, _, new_name) = old.rpartition("."), new.rpartition(".")
    for path in sources(root):
        text = path.read_text().replace(f"from {old} import", f"from {new} import")
        found = re.search(rf"^( *)from {package} import (.*, )?{name}\b(, )?(.*)$", text, re.MULTILINE)
        if found:
            others = f"{found[2] or ''}{found[4]}".removesuffix(", ")
            lines = [f"from {package} import {others}"] if others else []
            lines.append(f"from {new_package} import {new_name} as {name}")
            text = text.replace(found[0], "\n".join(found[1] + line for line in lines))
        path.write_text(text)


def test_comments_docstrings_and_layout_change_nothing(checkout, clean):
    for path in sources(checkout):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                node.body[0].value.value = "Something else."
        path.write_text("# Written by a machine.\n" + ast.unparse(tree))
    assert digest(MODULE, checkout) == clean[1]


def test_the_order_of_imports_and_statements_changes_nothing(checkout, clean):
    for path in sources(checkout):
        tree = ast.parse(path.read_text())
        tree.body.reverse()
        path.write_text(ast.unparse(tree))
    assert digest(MODULE, checkout) == clean[1]


class ImportedAnew(ast.NodeTransformer):
    """Writes imports in another way: `import a.b` and `a.b.c` for `from a.b import c`, or `from a.b import c as c_`."""

    def __init__(self, tree, whole, kept):
        self.whole, self.names = whole, {}
        stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        self.others = kept | stored | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}

    def visit_Import(self, node):
        return [self.anew(alias, alias.name) for alias in node.names]

    def visit_ImportFrom(self, node):
        return [self.anew(alias, f"{node.module}.{alias.name}", node.module) for alias in node.names]

    def anew(self, alias, path, module=None):
        name = alias.asname or alias.name
        if name in self.others or "." in name:
            names = [alias]
        elif self.whole:
            self.names[name] = path
            return ast.Import([ast.alias(module or path)])
        else:
            self.names[name] = f"{name}_"
            names = [ast.alias(alias.name, f"{name}_")]
        return ast.ImportFrom(module, names, 0) if module else ast.Import(names)

    def visit_Name(self, node):
        return ast.parse(self.names[node.id], mode="eval").body if node.id in self.names else node


@pytest.mark.parametrize("whole", [True, False])
def test_how_something_is_imported_changes_nothing(checkout, clean, whole):
    trees = {path: ast.parse(path.read_text()) for path in sources(checkout)}
    froms = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    for path, tree in trees.items():
        module = ".".join(path.relative_to(checkout).with_suffix("").parts)
        kept = {alias.name for node in froms if node.module == module for alias in node.names}  # others import it here
        path.write_text(ast.unparse(ast.fix_missing_locations(ImportedAnew(tree, whole, kept).visit(tree))))
    network = (checkout / "common/nets/network.py").read_text()
    assert ("common.nets.layers.conv2d" in network) == whole
    assert ("layers_.conv2d" in network) != whole
    assert digest(MODULE, checkout) == clean[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("common.nets.layers", "common.recipe.operations"),
        ("common.nets.backbones.units", "common.nets.backbones._depths"),
        ("common.inference.metrics", "common.inference._figures"),
        ("common.recipe.recipe", "common.recipe.fields"),
        ("common.tf1", "common.tensors"),
    ],
)
def test_a_moved_or_renamed_module_changes_nothing(checkout, clean, old, new):
    move_module(checkout, old, new)
    assert digest(MODULE, checkout) == clean[1]
    assert new in closure(MODULE, checkout)


def test_a_moved_function_changes_nothing(checkout, clean):
    """With its constants; where it was it may still be imported from."""
    metrics, other = checkout / "common/inference/metrics.py", checkout / "common/inference/pairs.py"
    tree = ast.parse(metrics.read_text())
    (moved,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "count_pairs")
    tree.body.remove(moved)
    metrics.write_text(f"from common.inference.pairs import count_pairs\n{ast.unparse(tree)}")
    other.write_text(f"import numpy\n{ast.unparse(moved).replace('np.', 'numpy.')}")
    assert digest(MODULE, checkout) == clean[1]


def test_annotations_messages_and_type_checking_change_nothing(checkout, clean):
    file = checkout / "common/inference/evaluation.py"
    edit(file, ("limit: int | None", "limit: 'int | None'"), (") -> dict[str, Any]:", "):"), ('"Segmenter"', '"Any"'))
    edit(file, ("if TYPE_CHECKING:\n", "if TYPE_CHECKING:\n    from common.training import step\n"))
    edit(checkout / "common/data/lists.py", ("no such folder; ", "there is no such folder: "))
    edit(checkout / "common/console.py", ("def say", "LOUD = True\n\n\ndef say"))
    assert digest(MODULE, checkout) == clean[1]


def test_what_an_evaluation_does_not_run_is_no_part_of_it(checkout, clean):
    others = ["parallel.py", "program.py", "data/drawing.py", "nets/draw_cell.py", "nets/describe.py", "cli.py"]
    others += ["inference/prediction.py", "data/class_weights.py"]
    common = checkout / "common"
    for room in ("training", "report", "results", "commands", "downloads", "data/check", "data/prepare"):
        others += [path.relative_to(common).as_posix() for path in (common / room).rglob("*.py")]
    assert {"training/plateau.py", "training/step.py"} <= set(others)
    for name in others:
        (common / name).write_text("CHANGED = True\n")
    assert digest(MODULE, checkout) == clean[1]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("reproductions/v2/model.py", "recipe.msc_scales[:1]", "recipe.msc_scales[:2]"),  # the network
        ("common/nets/backbones/resnet_v1.py", "max_pool(net, 3, 2)", "max_pool(net, 2, 2)"),
        ("common/nets/backbones/units.py", "23", "22"),
        ("common/nets/layers.py", "edge = 1 if", "edge = 2 if"),  # the resize
        ("common/nets/layers.py", "align_corners: bool = False,\n    half", "align_corners: bool = True,\n    half"),
        ("common/inference/metrics.py", "np.maximum(union, 1)", "np.maximum(union, 2)"),  # the metric
        ("common/inference/crf.py", "MIN_PROBABILITY = 1e-5", "MIN_PROBABILITY = 1e-6"),
        ("common/recipe/recipe.py", "num_classes: int = 21", "num_classes: int = 22"),  # the recipe's defaults
        ("common/recipe/recipe.py", "pixel_scale: float = 1.0", "pixel_scale: int = 1.0"),
        ("reproductions/v2/recipe.py", "batch_norm_epsilon: float = 0.001", "batch_norm_epsilon: float = 0.002"),
        ("common/nets", "images * recipe.pixel_scale", "images / recipe.pixel_scale"),  # preprocessing
        ("common/nets", "stddev=0.09", "stddev=0.1"),
        ("common/tf1.py", "\ntf.enable_resource_variables()", "\ntf.disable_resource_variables()"),  # a call alone
        ("common/weights/keras_h5.py", 'endswith("/vars")', 'endswith("/var")'),  # in a process of its own
        ("common/data/split.py", "SEED = 1024", "SEED = 1025"),  # which pictures
    ],
)
def test_another_meaning_is_another_version(checkout, clean, file, old, new):
    place = checkout / file
    files = [place] if place.is_file() else [path for path in place.rglob("*.py") if old in path.read_text()]
    assert len(files) == 1
    edit(files[0], (old, new))
    assert digest(MODULE, checkout) != clean[1]


def test_the_same_name_from_another_module_is_another_version(checkout, clean):
    edit(checkout / "common/data/split.py", ("SEED = 1024", "from common.data.own import SEED"))
    assert "SEED =" in (checkout / "common/data/own.py").read_text()
    edited = digest(MODULE, checkout)
    assert edited != clean[1]


def test_every_reproduction_has_its_own_version():
    closures = {name: closure(f"reproductions.{name}.model", ROOT) for name in ("v1", "v3")}
    assert code_version("reproductions.v1.model") != code_version("reproductions.v3.model")
    v3 = {"common.nets.layers", "common.nets.heads", "common.nets.backbones.resnet_v1", "reproductions.v3.recipe"}
    assert v3 <= closures["v3"].keys()
    assert "common.nets.backbones.vgg16" not in closures["v3"]
    unrun = ("common.training", "common.results", "common.report", "common.commands", "common.console")
    assert not [name for modules in closures.values() for name in modules if name.startswith(unrun)]


def test_an_evaluation_reads_no_data_files_of_the_checkout():
    """The digest would not see them."""
    folders = {ROOT.joinpath(*name.split(".")).parent for name in closure(MODULE, ROOT)}
    files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    assert not [path for path in files if path.suffix not in (".py", ".md")]
