"""A job of asynchronous training on this machine: its processes, each on a free port and under a limit of time."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

from common.training import run_folder
from tests.conftest import ROOT

LIMIT = 90  # seconds of each wait


class Job:
    """Starts, kills and awaits the processes of a job on the tiny network.

    Args:
      folder: of the processes' output; the run's folder is `folder/run`.
      data: the training pictures.
      servers, workers: how many, beside the chief.
      settings: of the recipe.
      patience: for `--hosts-wait`.
    """

    def __init__(self, folder, data, servers=1, workers=1, patience=60, **settings):
        self.folder, self.run_dir, self.patience = folder, folder / "run", patience
        self.command = [sys.executable, "-m", "tests.helpers.tiny", "train", "--data", data, "--run-dir", self.run_dir]
        pairs = [f"{k}={v}" for k, v in {"update": "asynchronous", **settings}.items()]
        self.command = [*map(str, self.command), "--hosts-wait", str(patience), "--set", *pairs]
        ports = free_ports(servers + 1 + workers)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        self.cluster = {
            "ps": addresses[:servers],
            "chief": addresses[servers : servers + 1],
            "worker": addresses[servers + 1 :],
        }
        self.processes = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def start_all(self):
        for job, addresses in self.cluster.items():
            for index in range(len(addresses)):
                self.start(job, index)

    def start(self, job, index=0, *more):
        config = json.dumps({"cluster": self.cluster, "task": {"type": job, "index": index}})
        environment = os.environ | {"TF_CONFIG": config, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with self._output(job, index).open("ab") as output:
            self.processes[job, index] = subprocess.Popen(
                [*self.command, *more], stdout=output, stderr=output, env=environment, cwd=self.folder
            )

    def kill(self, job, index=0):
        self.processes[job, index].kill()
        self.processes[job, index].wait()

    def terminate(self, job, index=0):
        self.processes[job, index].send_signal(signal.SIGTERM)

    def statuses(self, *which, seconds=LIMIT):
        """The exit status of each process, or of those named, when all have ended."""
        until = time.monotonic() + seconds
        found = {}
        for key in which or self.processes:
            try:
                found[key] = self.processes[key].wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                found[key] = "did not end"
        assert "did not end" not in found.values(), (found, self.outputs())
        return found

    def wait_for(self, holds, what, seconds=LIMIT):
        until = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < until, f"not within {seconds} s: {what}\n{self.outputs()}"
            time.sleep(0.05)

    def wait_for_step(self, step):
        self.wait_for(lambda: self.step() >= step, f"the chief's step {step}")

    def wait_for_text(self, text, job, index=0, times=1):
        self.wait_for(lambda: self.output(job, index).count(text) >= times, f"{job} {index}: {text}")

    def log(self):
        return run_folder.read_log(self.run_dir)

    def step(self):
        return max((entry["step"] for entry in self.log()), default=0)

    def output(self, job, index=0):
        path = self._output(job, index)
        return path.read_text() if path.exists() else ""

    def outputs(self):
        return "\n".join(f"--- {job} {index}\n{self.output(job, index)}" for job, index in self.processes)

    def _output(self, job, index):
        return self.folder / f"{job}-{index}.txt"


def free_ports(count):
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
