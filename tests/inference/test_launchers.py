"""The examples of common/inference/README.md: the launchers' own syntax, and command lines that our parsers take."""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from common import cli
from common.results import eval_all
from common.results.parts import Shard
from tests.conftest import ROOT

README = (ROOT / "common/inference/README.md").read_text()
# Stands for .venv/bin/python and for make: writes down its words, a line of JSON each time.
STUB = "#!/bin/sh\n" + '{python} -c "import json, sys; print(json.dumps(sys.argv[1:]))" "$@" >> "$SAID"\n'


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def scripts():
    """Slurm's scripts by the name of their job."""
    return {re.search(r"^#SBATCH --job-name=(\S+)$", text, re.MULTILINE)[1]: text for text in blocks("bash")}


def jobs():
    """Kubernetes' Jobs by name."""
    documents = [document for text in blocks("yaml") for document in yaml.safe_load_all(text)]
    return {document["metadata"]["name"]: document for document in documents}


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Run words with stubs for Python and make; returns the words that each stub got."""
    for path in (tmp_path / ".venv/bin/python", tmp_path / "bin/make"):
        path.parent.mkdir(parents=True)
        path.write_text(STUB.format(python=sys.executable))
        path.chmod(0o755)

    def run(words, **variables):
        (tmp_path / "said").unlink(missing_ok=True)
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        environment = {"PATH": path, "SAID": str(tmp_path / "said"), **variables}
        subprocess.run(words, cwd=tmp_path, env=environment, check=True)
        return [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]

    return run


def parsed(words) -> argparse.Namespace:
    """What the suite's own parser makes of `-m reproductions.NAME ...`."""
    assert words[0] == "-m"
    return cli._parser(importlib.import_module(words[1]).REPRODUCTION).parse_args(words[2:])


def array_of(script):
    first, last = map(int, re.search(r"^#SBATCH --array=(\d+)-(\d+)$", script, re.MULTILINE).groups())
    return range(first, last + 1)


@pytest.mark.parametrize("name", ["evaluate", "merge", "eval-all"])
def test_scripts_of_slurm_are_bash(name, tmp_path):
    path = tmp_path / "job"
    path.write_text(scripts()[name])
    assert path.read_text().startswith("#!/bin/bash\n#SBATCH ")
    subprocess.run(["bash", "-n", path], check=True)


def test_the_array_of_slurm_evaluates_every_part_once(said):
    script, found = scripts()["evaluate"], []
    for task in array_of(script):
        (words,) = said(["bash", "-c", script], SLURM_ARRAY_TASK_ID=str(task))
        found.append(parsed(words))
    assert [args.shard for args in found] == [Shard(number, len(found)) for number in range(1, len(found) + 1)]
    (words,) = said(["bash", "-c", scripts()["merge"]])
    assert parsed(words).merge == found[0].out


def test_the_array_of_slurm_takes_every_evaluation_once(said, monkeypatch):
    script, found = scripts()["eval-all"], []
    monkeypatch.setattr(eval_all, "_run", found.append)
    for task in array_of(script):
        (words,) = said(["bash", "-c", script], SLURM_ARRAY_TASK_ID=str(task))
        target, data, shard = words
        assert (target, data) == ("eval-all", "DATA=VOC2012")  # test_make shows how these reach the program
        assert eval_all.main(["--shard", shard.removeprefix("SHARD=")]) == 0
    assert [args.shard for args in found] == [Shard(number, len(found)) for number in range(1, len(found) + 1)]


def container_of(job):
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return container


def test_jobs_of_kubernetes_are_whole():
    for job in jobs().values():
        assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
        pod = job["spec"]["template"]["spec"]
        assert pod["restartPolicy"] in ("OnFailure", "Never")  # a Job takes no other
        mounted = [mount["name"] for mount in container_of(job)["volumeMounts"]]
        assert mounted == [volume["name"] for volume in pod["volumes"]]
        assert container_of(job)["workingDir"] == container_of(job)["volumeMounts"][0]["mountPath"]


def test_the_indexed_job_of_kubernetes_evaluates_every_part_once(said):
    job, found = jobs()["evaluate"], []
    assert job["spec"]["completionMode"] == "Indexed"
    for index in range(job["spec"]["completions"]):
        container = container_of(job)
        (words,) = said([*container["command"], *container["args"]], JOB_COMPLETION_INDEX=str(index))
        found.append(parsed(words))
    assert [args.shard for args in found] == [Shard(number, len(found)) for number in range(1, len(found) + 1)]
    (words,) = said(container_of(jobs()["merge"])["command"])
    assert parsed(words).merge == found[0].out


def test_the_plain_commands_parse():
    lines = re.findall(r"^    \.venv/bin/python (.*)$", README, re.MULTILINE)
    assert [parsed(line.split()).shard for line in lines] == [Shard(2, 8), None]
