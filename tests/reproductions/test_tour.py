"""The notebook reproductions/tour.ipynb: what is stored, its commands, and a whole run of it."""

import base64
import io
import json
import re
import shlex

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.test_without_tensorflow import run_all

TOUR = ROOT / "reproductions" / "tour.ipynb"
PICTURES = ("draw", "head-draw")  # the cells whose outputs are stored
LARGEST_PICTURE = 40_000  # bytes of base64


@pytest.fixture(scope="module")
def notebook():
    return json.loads(TOUR.read_text(encoding="utf-8"))


def code_of(notebook):
    return {c["id"]: "".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"}


def test_it_is_a_notebook_of_format_4(notebook):
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names)
    assert {cell["cell_type"] for cell in notebook["cells"]} == {"markdown", "code"}
    for cell in notebook["cells"]:
        lines = "".join(cell["source"]).splitlines()
        assert lines, cell["id"]
        assert len(lines) <= 20, f"{cell['id']}: cells are short"


def test_two_small_pictures_are_stored_and_no_other_output(notebook):
    """Clear all outputs before a commit, but for those of these two cells."""
    outputs = {cell["id"]: cell["outputs"] for cell in notebook["cells"] if cell.get("outputs")}
    assert tuple(outputs) == PICTURES
    assert all(cell["execution_count"] is None for cell in notebook["cells"] if cell["cell_type"] == "code")
    for (output,) in outputs.values():
        assert set(output["data"]) == {"image/png", "text/plain"}
        text = output["data"]["image/png"]
        assert len(text) < LARGEST_PICTURE
        assert Image.open(io.BytesIO(base64.b64decode(text))).format == "PNG"


def test_no_path_of_a_machine_is_in_it(notebook):
    text = TOUR.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.~])/(home|root|tmp|Users|work|mnt|opt)/", text)
    assert str(ROOT) not in text


def commands_of(notebook):
    """The words behind `%run -m` of each command, with a word for each of the notebook's variables."""
    text = "\n".join(code_of(notebook).values()).replace("\\\n", " ")
    lines = re.findall(r"^ *%run -m (.+)$", text, re.MULTILINE)
    return [shlex.split(re.sub(r"\{\w+\}", "8", line)) for line in lines]


def test_its_commands_are_commands(notebook, tmp_path):
    commands = commands_of(notebook)
    assert {"reproductions.v3plus", "converters.inspect", "common.data.check"} <= {words[0] for words in commands}
    for words, (status, _, err) in zip(commands, run_all(commands, tmp_path, parse_only=True), strict=True):
        assert (status, err) == (0, ""), words
        assert not words[1].startswith("-"), f"{words}: %run takes the first flag for its own"


@pytest.mark.full
def test_it_runs_offline_and_writes_only_below_runs(tmp_path, monkeypatch):
    """On the drawn set and the weights that it trains: nothing is fetched in the working folder."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # a port that nobody listens at
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for name in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    run = nbformat.read(TOUR, as_version=4)
    nbformat.validate(run)
    nbclient.NotebookClient(run, timeout=600, resources={"metadata": {"path": str(cwd)}}).execute()
    outputs = {cell["id"]: cell.outputs for cell in run.cells if cell.cell_type == "code"}
    for name in ("draw", "parameters", "head-draw", "own-predict"):
        assert "image/png" in outputs[name][-1].data, name
    printed = {name: "".join(out.get("text", "") for out in cell) for name, cell in outputs.items()}
    assert "made by: this suite, reproduction v3plus" in printed["inspect"]
    assert "receptive field: whole picture" in printed["describe-run"]
    assert "marks of the second: sample, subset" in printed["both"]
    assert float(re.search(r"mIoU ([\d.]+) \(before training", printed["own-train"])[1]) > 0.4
    assert [path.name for path in cwd.iterdir()] == ["runs"]
    assert [path.name for path in (cwd / "runs").iterdir()] == ["tour"]
    assert not (tmp_path / "results").exists()
