"""The Makefile hands every value on as it stands: nothing in it is expanded by make or run by the shell."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from common.recipe.settings import split_settings
from reproductions.v3plus.demo import named_pictures
from tests.conftest import ROOT

STUB = '#!/bin/bash\nprintf "%s\\0" "$@" > "$PWD/said"\n'
HOSTILE = [
    'x"; touch pwned; "',
    "x'; touch pwned; '",
    "$(touch pwned)",
    "$(shell touch pwned)",
    "`touch pwned`",
    "a b\tc",
    "a$HOME$$b${HOME}",
    "*?[a]~#!\\",
    "$(DATA)",
    "Grüße 中 (1).jpg",
    "--help",
    "two\nlines",
]
# Target -> variable -> what the program gets for its value.
TARGETS = {
    "reproduce-v2": {
        "DATA": ["--data"], "INIT": ["--init"], "STEPS": ["--steps"], "LIMIT": ["--limit"], "RUN_DIR": ["--run-dir"],
        "SET": ["--set"],
    },
    "demo": {"IMAGES": [], "OUT": ["--out"]},
    "app": {"PORT": ["--port"]},
    "eval-all": {"DATA": ["--data"], "DATASET": ["--dataset"], "SPLIT": ["--split"], "JOBS": ["--jobs"],
                 "SHARD": ["--shard"]},
    "weights": {"NAME": [], "OUT": ["--out"]},
    "data": {"NAME": [], "OUT": ["--out"], "FROM": ["--from"]},
    "check": {"DATA": []},
    "compare": {"A": [], "B": [], "OUT": ["--out"], "DATA": ["--data"]},
    "report": {"DATA": ["--data"], "OUT": ["--out"]},
    "bench": {"ONLY": ["--only"], "ROUNDS": ["--rounds"]},
}  # fmt: skip


@pytest.fixture
def checkout(tmp_path):
    """A folder with the Makefile and a Python that writes down its arguments."""
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in (
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-oracles.lock",
        "requirements-engines.lock",
        "requirements-film.lock",
        "requirements-tiff.lock",
        "requirements-tour.lock",
        "requirements-app.lock",
    ):
        (tmp_path / name).touch()
    stub = tmp_path / ".venv/bin/python"
    stub.write_text(STUB)
    stub.chmod(0o755)
    for name in (".installed", ".installed-dev", ".installed-app"):
        (tmp_path / ".venv" / name).touch()
    return tmp_path


def make(checkout: Path, *arguments: str, **environment: str) -> list[str]:
    """What the program is called with, behind `-m module`."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "-s", *arguments], cwd=checkout, env={**clean, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return (checkout / "said").read_bytes().decode().split("\0")[2:-1]


@pytest.mark.parametrize(("target", "variable"), [(t, v) for t, variables in TARGETS.items() for v in variables])
def test_values_reach_the_program_whole(checkout, target, variable):
    before = sorted(checkout.rglob("*"))
    for value in HOSTILE:
        said = make(checkout, target, f"{variable}={value}")
        assert value in said, (value, said)
        flag = TARGETS[target][variable]
        assert not flag or said[said.index(value) - 1] == flag[0]
    (checkout / "said").unlink()
    assert sorted(checkout.rglob("*")) == before


def test_values_of_an_export_reach_it_whole(checkout):
    for value in HOSTILE:
        said = make(checkout, "export", "NAME=v1", *(f"{name}={value}" for name in EXPORT))
        assert said == ["export", *(word for flag in EXPORT.values() for word in (flag, value))]


EXPORT = {"CHECKPOINT": "--checkpoint", "OUT": "--out", "FORMAT": "--format", "SIZE": "--size",
          "QUANTIZE": "--quantize", "DATA": "--data", "SET": "--set"}  # fmt: skip


def test_values_of_the_environment_too(checkout):
    for value in HOSTILE:
        assert make(checkout, "report", DATA=value) == ["--data", value]
    assert make(checkout, "weights", NAME="my-computer") == ["--list"]  # Windows' Linux sets it
    assert not (checkout / "pwned").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["reproduce-v1"], ["reproduce"]),
        (["reproduce-v3plus-simplified", "STEPS=30"], ["reproduce", "--steps", "30"]),
        (["reproduce-v2", "DATA=VOC2012", "INIT=w.ckpt", "STEPS=30", "LIMIT=20"],
         ["reproduce", "--data", "VOC2012", "--init", "w.ckpt", "--steps", "30", "--limit", "20"]),
        (["demo"], []),
        (["demo", "IMAGES=photo.jpg folder/*.png"], ["photo.jpg folder/*.png"]),
        (["export", "NAME=v3plus-simplified", "CHECKPOINT=w.ckpt", "OUT=o", "FORMAT=frozen,tflite", "SIZE=65x97"],
         ["export", "--checkpoint", "w.ckpt", "--out", "o", "--format", "frozen,tflite", "--size", "65x97"]),
        (["weights"], ["--list"]),
        (["weights", "NAME=deeplab_largefov"], ["deeplab_largefov"]),
        (["data", "NAME=voc-aug", "PARTIAL=1"], ["voc-aug", "--allow-partial"]),
        (["compare", "A=x", "B=y"], ["x", "y"]),
        (["report"], []),
        (["results"], []),
        (["models"], ["--write"]),
        (["bench"], []),
        (["bench", "ONLY=ops dilation", "ROUNDS=3"], ["--only", "ops dilation", "--rounds", "3"]),
    ],
)  # fmt: skip
def test_the_command_lines_of_the_readmes(checkout, arguments, said):
    assert make(checkout, *arguments) == said


def test_no_recipe_expands_what_people_set():
    """A value is only ever read from the environment, `"$$DATA"`; make may ask whether it is there."""
    text = (ROOT / "Makefile").read_text()
    names = re.search(r"^VARIABLES := (.*)$", text, re.MULTILINE)[1].split()
    uses = re.findall(rf"\$\((?:{'|'.join(names)})\)", re.sub(r"\$\(if \$\(\w+\),", "", text))
    assert not uses
    assert set(names) >= {v for variables in TARGETS.values() for v in variables}


def test_settings_in_one_text_are_parted():
    assert split_settings("variant=sample num_steps=30") == ["variant=sample", "num_steps=30"]
    assert split_settings("dataset=/my data/set 1/dataset.yaml  width=8") == [
        "dataset=/my data/set 1/dataset.yaml",
        "width=8",
    ]
    nested = 'lr_multipliers=[["fc8 w=", 2], ["b c=", 1]]'
    assert split_settings(f"{nested} seed=3") == [nested, "seed=3"]
    assert split_settings("crop_size=65, 65") == ["crop_size=65, 65"]
    assert split_settings(" ") == []


def test_pictures_in_one_text_are_parted(tmp_path):
    for name in ("my photo (1).jpg", "b.jpg", "it's.jpg"):
        (tmp_path / name).touch()
    whole = str(tmp_path / "my photo (1).jpg")
    assert named_pictures(whole) == [whole]
    assert named_pictures(f"'{whole}' {tmp_path}/b.jpg") == [whole, f"{tmp_path}/b.jpg"]
    assert named_pictures(f"{tmp_path}/b.jpg {tmp_path}/*.jpg") == [f"{tmp_path}/b.jpg", f"{tmp_path}/*.jpg"]
    assert named_pictures(f"{tmp_path}/it's.jpg") == [f"{tmp_path}/it's.jpg"]
    assert named_pictures("it's nowhere") == ["it's nowhere"]


def test_installing_says_a_word_every_few_seconds(checkout):
    (checkout / ".venv/.installed").unlink()
    stub = checkout / ".venv/bin/python"
    stub.write_text("#!/bin/bash\nsleep 6; exit 3\n")
    done = subprocess.run(["make", "-s", "setup"], cwd=checkout, capture_output=True, text=True)
    assert "installing requirements.lock into .venv" in done.stdout
    assert "still installing" in done.stdout
    assert done.returncode == 2
    assert not (checkout / ".venv/.installed").exists()


@pytest.mark.parametrize(("variable", "lock"), [("ENGINES", "engines"), ("FILM", "film"), ("TIFF", "tiff")])
def test_openvino_ffmpeg_and_imagecodecs_are_installed_when_they_are_asked_for(checkout, variable, lock):
    stub = checkout / ".venv/bin/python"
    stub.write_text('#!/bin/bash\necho "$@" >> asked\n')
    assert subprocess.run(["make", "-s", "setup"], cwd=checkout).returncode == 0
    assert not (checkout / "asked").exists()
    for _ in range(2):
        assert subprocess.run(["make", "-s", "setup", f"{variable}=1"], cwd=checkout).returncode == 0
    (asked,) = (checkout / "asked").read_text().splitlines()
    assert asked.endswith(f"--no-deps --require-hashes -r requirements-{lock}.lock")


def test_the_tour_is_installed_once_without_news_and_served_to_this_machine_alone(checkout):
    (checkout / ".venv/bin/python").write_text('#!/bin/bash\necho "$@" >> asked\n')
    for _ in range(2):
        assert subprocess.run(["make", "-s", "tour"], cwd=checkout).returncode == 0
    installed, disabled, *opened = (checkout / "asked").read_text().splitlines()
    assert installed.endswith("--require-hashes -r requirements-tour.lock")
    assert disabled.endswith("labextensions disable --level=sys_prefix @jupyterlab/apputils-extension:announcements")
    page = "-m jupyterlab --ServerApp.ip=127.0.0.1 --LabApp.extension_manager=readonly reproductions/tour.ipynb"
    assert opened == [page] * 2


def test_the_page_alone_installs_streamlit(checkout):
    (checkout / ".venv/.installed-app").unlink()
    stub = checkout / ".venv/bin/python"
    stub.write_text('#!/bin/bash\necho "$@" >> asked\n')
    for target in ("setup", "app", "app"):
        assert subprocess.run(["make", "-s", target], cwd=checkout).returncode == 0
    installed, *served = (checkout / "asked").read_text().splitlines()
    assert installed.endswith("--require-hashes -r requirements-app.lock")
    assert served == ["-m common.app"] * 2


def test_setup_says_which_python_it_takes_and_what_to_do_without_one(checkout):
    shutil.rmtree(checkout / ".venv")
    python = checkout / "my python"
    python.write_text('#!/bin/bash\ncase "$1" in --version) echo Python 3.12.1;; -c) exit 0;; *) exit 1;; esac\n')
    python.chmod(0o755)
    done = subprocess.run(["make", "-s", "setup", f"PYTHON={python}"], cwd=checkout, capture_output=True, text=True)
    assert f"taking Python 3.12.1, {python}" in done.stdout
    assert "has no venv module" in done.stdout
    done = subprocess.run(["make", "-s", "setup", "PYTHON=/none"], cwd=checkout, capture_output=True, text=True)
    assert 'none of "/none" is Python 3.11, 3.12 or 3.13; install one of them' in done.stdout


def test_a_peer_that_cannot_be_installed_is_named_and_the_others_go_on(checkout):
    lock = "openvino==1 \\\n    --hash=sha256:00\nonnx==2 \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\n"
    (checkout / "requirements-bench.lock").write_text(lock)
    (checkout / ".venv/bin/python").write_text("#!/bin/bash\nmkdir -p .venv-bench/bin; cp pip .venv-bench/bin/python\n")
    pip = checkout / "pip"
    pip.write_text('#!/bin/bash\necho "$@" >> asked; ! grep -q openvino .venv-bench/peer.lock\n')
    pip.chmod(0o755)
    done = subprocess.run(["make", "-s", "setup-bench"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall("note: .*", done.stdout) == [
        "note: openvino could not be installed; the bench goes on without it"
    ]
    assert (checkout / ".venv-bench/peer.lock").read_text() == lock[lock.index("onnx==2") :]
    asked = (checkout / "asked").read_text().splitlines()
    assert len(asked) == 3
    assert all("--no-deps" in line for line in asked)
    assert "--require-hashes" in asked[0]
    assert re.search(r"torch==\S+\+cpu$", asked[-1])
    assert (checkout / ".venv-bench/.installed").is_file()
