"""What the project says about itself: licence, Pythons, targets, and the commands that its texts name."""

import hashlib
import importlib.util
import re
import subprocess
import tomllib

import pytest
import yaml

from tests.conftest import ROOT

COMMAND = r"python -m ((?:common|converters|reproductions)(?:\.\w+)+)"
PYTHONS = ["3.11", "3.12", "3.13"]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_licence_is_apaches_own_text():
    """sha256 of apache.org/licenses/LICENSE-2.0.txt."""
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert project()["license"] == "Apache-2.0"
    assert project()["license-files"] == ["LICENSE"]
    assert "[Apache-2.0](LICENSE)" in (ROOT / "README.md").read_text()


def test_every_place_names_the_same_pythons():
    said = "3.11, 3.12 or 3.13"
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == PYTHONS
    assert project()["requires-python"] == ">=3.11,<3.14"
    for name in ("README.md", "Makefile", "requirements.txt"):
        assert said in (ROOT / name).read_text(), name
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text()


def test_the_workflow_runs_what_ci_runs():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"] for repo in hooks for hook in repo["hooks"]] == ["make lint"]


def test_make_lists_its_targets_in_80_columns():
    listed = subprocess.run(["make", "-C", ROOT, "--no-print-directory"], capture_output=True, text=True, check=True)
    assert max(map(len, listed.stdout.splitlines())) <= 80
    groups, _ = listed.stdout.split("\n\nVariables")
    targets = set(re.findall(r"^  ([a-z0-9-]+)", groups, re.MULTILINE))
    assert re.findall(r"^\S.*", groups, re.MULTILINE) == ["try", "reproduce", "your data", "numbers", "develop"]
    declared = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert declared - targets == {"setup-dev"}
    assert targets <= declared


def is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package on the way
        return False


@pytest.mark.parametrize(
    "place", ["README.md", "CONTRIBUTING.md", "Makefile", "common", "converters", "reproductions", "results"]
)
def test_every_command_that_a_text_names_is_there(place):
    files = [ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*.*")
    texts = [path for path in files if path.suffix in ("", ".md", ".py", ".html", ".js", ".yaml")]
    named = {(module, path) for path in texts for module in re.findall(COMMAND, path.read_text(encoding="utf-8"))}
    assert not [f"{path}: {module}" for module, path in named if not is_there(module) and not module.endswith(".NAME")]


def test_the_changelog_names_commands_that_went_and_those_that_came():
    rows = re.findall(rf"^\| `{COMMAND}` \| `{COMMAND}` \|$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert len(rows) == 6
    assert all(is_there(new) and not is_there(old) for old, new in rows)
