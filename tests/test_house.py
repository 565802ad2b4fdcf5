"""The house: which room may import which, no circle, and nothing but common's rooms below the reproductions."""

import ast
import functools
import re

import pytest

from tests.conftest import ROOT

GROUND = ("errors", "paths", "files", "console", "memory", "program", "parallel", "plots", "text_table", "words", "tf1")

# From the ground up: a room may import what stands above it in this list, and nothing below.
ROOMS = {
    "ground": "errors, files, the console, command lines, and the door to TensorFlow",
    "recipe": "every number of a run, as data",
    "weights": "weight files of all formats, and strict restore",
    "downloads": "public files: where they are, how they come, how they are unpacked",
    "nets": "layers, heads, backbones, losses, and what a network is made of",
    "data": "from a folder of pictures and masks to a split, and how data sets are made and checked",
    "engines": "networks in files of other programs, and the programs that run them",
    "inference": "from a picture to its label map, and from a split to its metrics",
    "export": "from weights to a file that other programs run, compared with what predict gives",
    "training": "from a recipe to a run's folder",
    "reproduction": "the contract between a reproduction and the rest",
    "results": "records, the tables made of them, and what can be evaluated again",
    "report": "the HTML report",
    "commands": "train, evaluate, predict, export, describe, reproduce: one file each",
    "cli": "the command line that puts the commands together",
    "app": "the page to try networks on, in a browser",
}
LEVEL = {room: level for level, room in enumerate(ROOMS)}
PACKAGES = ("common", "converters", "reproductions")


def room_of(module: str) -> str:
    """The room of a module of common; the package itself and the ground's files are the ground."""
    name = module.split(".")[1] if "." in module else "ground"
    return "ground" if name in GROUND else name


@functools.cache
def imports() -> dict[str, set[str]]:
    """Module -> the modules of this suite that it imports, anywhere in it."""
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}
    found: dict[str, set[str]] = {}
    for module, path in names.items():
        found[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are written whole, from the checkout's root"
                wanted = [f"{node.module}.{alias.name}" for alias in node.names]
                wanted = [name if name in names else node.module for name in wanted]
            else:
                continue
            found[module] |= {name for name in wanted if name.split(".")[0] in PACKAGES and name in names}
    return found


def test_every_room_is_in_the_list():
    modules = [name for name in imports() if name.startswith("common.")]
    assert {room_of(name) for name in modules} == set(ROOMS)
    assert all((ROOT / "common" / f"{name}.py").is_file() for name in GROUND)


def test_no_import_runs_upwards():
    upwards = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if module.startswith("common.") and other.startswith("common.")
        if LEVEL[room_of(other)] > LEVEL[room_of(module)]
    ]
    assert not upwards, "\n".join(upwards)


def test_packages_keep_to_themselves():
    """Common imports neither converters nor reproductions; no reproduction imports another."""
    strangers = []
    for module, others in imports().items():
        package, reproduction = module.split(".")[0], module.split(".")[1:2]
        for other in others:
            its = other.split(".")[0]
            if package == "common" and its != "common" or (package, its) == ("reproductions", "converters"):
                strangers.append(f"{module} imports {other}")
            if package == its == "reproductions" and other.split(".")[1:2] != reproduction:
                strangers.append(f"{module} imports {other}")
    assert not strangers, "\n".join(strangers)


def test_data_knows_no_network():
    """`nets` stands above `data`, for drawing; what data reads is the same whatever network it is for."""
    strangers = [m for m, others in imports().items() if room_of(m) == "data" if any(map(is_of_nets, others))]
    assert not [m for m in strangers if m.startswith("common.")], strangers


def is_of_nets(module: str) -> bool:
    return module.startswith("common.nets")


def test_one_door_to_tensorflow():
    """`common/tf1.py` alone imports TensorFlow and what stands on it; nothing but tests imports tests."""
    doors = {"tensorflow", "tf_slim", "keras", "tests"}
    others = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                names = [str(getattr(argument, "value", "")) for argument in node.args[:1]]
            else:
                continue
            if any(name.split(".")[0] in doors for name in names):
                others.append(path.relative_to(ROOT).as_posix())
    assert set(others) == {"common/tf1.py"}


def test_a_name_has_one_origin_in_a_module():
    """The digest of an evaluation's code follows names through a module's imports, wherever they stand in it."""
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        origins: dict[str, str] = {}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                module = getattr(node, "module", None)
                if module or alias.asname:
                    name, origin = alias.asname or alias.name, f"{module}.{alias.name}"
                    assert origins.setdefault(name, origin) == origin, f"{path}: {name} has two origins"


def test_what_reproductions_compute_lies_in_their_modules():
    """`__init__` says what a reproduction is; the digest of its code leaves it out."""
    for path in (ROOT / "reproductions").glob("*/__init__.py"):
        code = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert not [node for node in code if isinstance(node, ast.FunctionDef | ast.Lambda | ast.For | ast.If)], path


def test_no_circle_of_imports():
    graph, done, path = imports(), set(), []

    def visit(module: str) -> None:
        if module in path:
            pytest.fail(" -> ".join([*path[path.index(module) :], module]))
        if module not in done:
            path.append(module)
            for other in sorted(graph[module]):
                visit(other)
            path.pop()
            done.add(module)

    for module in sorted(graph):
        visit(module)


def test_tests_mirror_the_rooms():
    """A folder of tests stands for a room or a package; helpers, the benchmark and the comparisons have their own."""
    others = {"converters", "reproductions", "helpers", "bench", "parity", "golden", "fuzz"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(ROOMS) | others, folders - set(ROOMS) - others


def test_commands_have_one_shape():
    """`main(arguments: list[str] | None = None) -> int` parses, and returns `program.run(lambda: _run(args))`."""
    others = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if 'if __name__ == "__main__":' not in text or "main(REPRODUCTION)" in text:
            continue
        functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
        main = functions.get("main")
        shape = main and (ast.unparse(main.args), ast.unparse(main.returns), ast.unparse(main.body[-1]))
        wanted = ("arguments: list[str] | None=None", "int", "return program.run(lambda: _run(args))")
        if shape != wanted:
            others.append(f"{path}: {shape}")
    assert not others, "\n".join(others)


def test_results_are_shown_by_the_console():
    """By `console.show`, errors by `program`: what they name comes from files, and may hold what steers a terminal."""
    others = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        if any(re.fullmatch(r"print|sys\.(stdout|stderr)\.write", ast.unparse(call.func)) for call in calls):
            others.append(path.relative_to(ROOT).as_posix())
    assert set(others) == {"common/console.py", "common/program.py"}


# What opens text in another way than common.files.read_text, and why.
OTHER_READERS = {
    "common/files.py": "is that way; holds locks",
    "common/training/run_folder.py": "a log whose process was killed within a letter is read up to there",
    "common/training/log.py": "writes",
    "common/training/validation.py": "writes",
    "common/tf1.py": "/proc of Linux",
    "common/results/records.py": "/proc of Linux",
    "common/memory.py": "/proc of Linux",
}


def test_text_is_read_in_one_way():
    """By `common.files.read_text`, which knows marks and names other encodings: people's files are not all UTF-8."""
    others = []
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for call in (
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
        ):
            name, text = ast.unparse(call.func), ast.unparse(call)
            method = name.rpartition(".")[2]
            is_text_mode = method == "open" and not re.search(r"b['\"]", text) and not re.search(LIBRARIES, name)
            if (
                name in ("json.load", "codecs.open", "io.open")
                or (method == "read_text" and "." in name)
                or is_text_mode
            ):
                others.append((path.relative_to(ROOT).as_posix(), call.lineno, text))
    strange = [other for other in others if other[0] not in OTHER_READERS]
    assert not strange, "\n".join(map(str, strange))
    assert {other[0] for other in others} >= set(OTHER_READERS) - {"common/files.py"}


LIBRARIES = r"^(Image|tarfile|OPENER|archive|member|archive\.zip)\."  # their open is of pictures, archives and pages
