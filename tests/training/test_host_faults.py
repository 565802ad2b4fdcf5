"""Faults of training on several hosts: all end with one sentence, nothing half-written stays, and the run goes on.

Each fault has a hard limit of time. It is generous, since machines of tests are busy; a quiet one needs a tenth of it.
"""

import http.server
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from common.files import HALF_WRITTEN
from common.training import run_folder
from common.weights import checkpoint_files
from tests.conftest import ROOT
from tests.helpers import hosts
from tests.helpers.tiny import run
from tests.training.test_hosts import assert_same

LIMIT = 30.0  # seconds from a fault to the end of the last process
STEPS = ("num_steps=40", "save_interval=5", "calibration_batches=0")
LOST = "was lost ("


def arguments(sample_set, run_dir, *more, settings=()):
    return ("--data", sample_set, "--run-dir", run_dir, *more, "--set", *STEPS, *settings)


def sentences(processes, status=2, limit=LIMIT):
    """The one sentence of each process, when all of these have ended with this status within the limit."""
    since = time.monotonic()
    ended = hosts.wait(processes, limit)
    print("seconds to the end:", [round(e.at - since, 1) for e in ended])  # pytest -rP shows it
    assert [e.status for e in ended] == [status] * len(processes), ended
    said = [e.err.splitlines() for e in ended]
    assert [len(lines) for lines in said] == [1] * len(processes), said
    return [line for (line,) in said]


def steps_of(run_dir):
    return len(run_folder.read_log(run_dir)) if run_dir.exists() else 0


def wait_for(processes, is_reached):
    """Wait until the condition is reached or a process has ended."""
    until = time.monotonic() + hosts.LIMIT
    while not is_reached() and not any(process.look() for process in processes):
        assert time.monotonic() < until, "the training does not get on"
        time.sleep(0.02)


def assert_nothing_half_written(run_dir):
    assert not [path.name for path in run_dir.rglob("*") if path.name.startswith(HALF_WRITTEN)]


@pytest.fixture(scope="module")
def whole(sample_set, tmp_path_factory):
    """A function from a number of hosts and settings to the folder of a run that nothing has disturbed."""
    folders = {}

    def train(count, *settings):
        if (count, settings) not in folders:
            folder = tmp_path_factory.mktemp("whole")
            ended = hosts.train_on(folder, count, *arguments(sample_set, folder / "run", settings=settings))
            assert [(e.status, e.err) for e in ended] == [(0, "")] * count
            folders[count, settings] = folder / "run"
        return folders[count, settings]

    return train


def test_a_lost_host_ends_all_and_the_run_goes_on(sample_set, tmp_path, whole):
    """The worker is killed, then the chief; one is asked to stop, then both. The curve is that of a run left alone."""
    run_dir = tmp_path / "run"
    events = ((signal.SIGKILL, (1,)), (signal.SIGKILL, (0,)), (signal.SIGTERM, (1,)), (signal.SIGINT, (0, 1)))
    options, addresses = arguments(sample_set, run_dir, "--resume"), hosts.free_addresses(2)
    for number, victims in events:
        before = steps_of(run_dir)
        with hosts.started(tmp_path / "out", 2, *options, addresses=addresses) as processes:
            wait_for(processes, lambda least=before + 7: steps_of(run_dir) >= least)
            for victim in victims:
                processes[victim].send(number)
            if number == signal.SIGKILL:
                (line,) = sentences([processes[1 - victims[0]]])
                assert line.startswith(f"error: host {addresses[victims[0]]} {LOST}")
            else:
                said = sentences(processes, status=128 + number)
                step = checkpoint_files.step_of(checkpoint_files.newest_checkpoint(run_dir))
                assert all(f"stopped by signal {number} after step {step} of 40" in line for line in said)
            if (number, *victims) != (signal.SIGKILL, 0):  # a chief that is killed while it saves sweeps nothing
                assert_nothing_half_written(run_dir)
    ended = hosts.train_on(tmp_path / "out", 2, *options, addresses=addresses)
    assert [(e.status, e.err) for e in ended] == [(0, "")] * 2
    assert_nothing_half_written(run_dir)
    assert_same(run_dir, whole(2))


@pytest.mark.full
def test_a_loop_of_the_shell_on_each_host(sample_set, tmp_path, whole):
    """`until train --resume; do sleep 1; done` is the plainest launcher: after each kill the hosts meet again."""
    run_dir, loop = tmp_path / "run", ("bash", "-c", 'until "$@"; do sleep 1; done', "-")
    options = arguments(sample_set, run_dir, "--resume")
    with hosts.started(tmp_path / "out", 2, *options, before=[loop, loop]) as processes:
        for victim in (1, 0, 0, 1):
            target = steps_of(run_dir) + 6
            wait_for(processes, lambda least=target: steps_of(run_dir) >= least)
            children = ("ps", "-o", "pid=", "--ppid", str(processes[victim].process.pid))
            (child,) = subprocess.run(children, capture_output=True, text=True, check=True).stdout.split()
            os.kill(int(child), signal.SIGKILL)
        assert [e.status for e in hosts.wait(processes, 2 * hosts.LIMIT)] == [0, 0]
    assert_same(run_dir, whole(2))


def kill_one(folder, sample_set, run_dir, count, settings, rng):
    """Start all, kill a random one at a random time, wait for all; returns whether they had been at the end before."""
    target, after = steps_of(run_dir) + rng.randrange(12), rng.choice([float("inf"), rng.uniform(0, 5)])
    options = arguments(sample_set, run_dir, "--resume", "--hosts-wait", 5, settings=settings)
    with hosts.started(folder, count, *options) as processes:
        begun = time.monotonic()
        wait_for(processes, lambda: time.monotonic() - begun > after or steps_of(run_dir) > target)
        victim = rng.choice(processes)
        victim.send(signal.SIGKILL)
        killed = time.monotonic()
        ended = hosts.wait(processes, LIMIT)
        for process, end in zip(processes, ended, strict=True):
            if process is not victim:
                assert (end.status, len(end.err.splitlines())) in ((0, 0), (2, 1)), end
    seconds = [round(end.at - killed, 1) for end in ended]
    print(f"host {processes.index(victim)} killed at step {steps_of(run_dir)}; seconds to the end: {seconds}")
    return all(end.status == 0 for end in ended)


@pytest.mark.full
@pytest.mark.parametrize(("count", "kills"), [(2, 3), (2, 15), (3, 15)])
def test_random_kills(sample_set, tmp_path, whole, count, kills):
    """Whoever is killed, whenever: nobody hangs, and the run is bit for bit the one that was left alone."""
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    rng, settings = random.Random(seed), (("batch_size=6",) if count == 3 else ())
    run_dir, begun = tmp_path / "run", 0
    for _ in range(kills):
        if kill_one(tmp_path / "out", sample_set, run_dir, count, settings, rng):
            assert_same(run_dir, whole(count, *settings))
            begun += 1
            run_dir = tmp_path / f"run-{begun}"
    options = arguments(sample_set, run_dir, "--resume", settings=settings)
    assert [e.status for e in hosts.train_on(tmp_path / "out", count, *options)] == [0] * count
    assert_same(run_dir, whole(count, *settings))
    assert_nothing_half_written(run_dir)


def test_a_killed_host_that_comes_back_alone(sample_set, tmp_path):
    """It cannot join the old run. The others end, though one that comes back at once is never seen to be away."""
    addresses, options = hosts.free_addresses(2), arguments(sample_set, tmp_path / "run", settings=["num_steps=100000"])
    with hosts.started(tmp_path / "out", 2, *options, addresses=addresses) as processes:
        wait_for(processes, lambda: steps_of(tmp_path / "run") > 6)
        processes[1].send(signal.SIGKILL)
        place = ("--hosts", ",".join(addresses), "--task", 1, "--hosts-wait", 3)
        again = hosts.Host([*hosts.TINY, "train", *options[:4], "--quiet", *place], tmp_path / "again")
        try:
            chiefs, own = sentences([processes[0], again])
        finally:
            again.kill()
    assert LOST in chiefs or "the hosts lost touch (" in chiefs
    assert "did not come within 3 s (Connection refused)" in own or LOST in own or "lost touch (" in own


def alone(folder, sample_set, addresses, task, *more):
    """The command of one host, whose others are not there."""
    place = ("--hosts", ",".join(addresses), "--task", task, "--hosts-wait", 3)
    options = ("--data", sample_set, "--run-dir", folder / "run", "--quiet", *place, *more)
    return hosts.Host([*hosts.TINY, "train", *options], folder / f"alone-{task}")


def test_a_host_that_is_stopped_while_it_waits_for_others(sample_set, tmp_path):
    addresses = hosts.free_addresses(2)
    process = alone(tmp_path, sample_set, addresses, 1, "--hosts-wait", 600)
    try:
        wait_for([process], lambda: is_listening(addresses[1]))
        process.send(signal.SIGTERM)
        (ended,) = hosts.wait([process], LIMIT)
    finally:
        process.kill()
    assert (ended.status, ended.err) == (128 + signal.SIGTERM, "")


def is_listening(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except OSError:
        return False
    return True


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_hosts_that_are_not_there(sample_set, tmp_path):
    """Nobody; a web server; somebody who listens and says nothing; another process on the port of one's own."""
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as web,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        threading.Thread(target=web.serve_forever, daemon=True).start()
        here = hosts.free_addresses(4)
        others = (f"127.0.0.1:{web.server_port}", f"127.0.0.1:{silent.getsockname()[1]}")
        cases = (
            ((here[0], here[1]), 0, f"--hosts {here[1]}: did not come within 3 s (Connection refused)"),
            ((others[0], here[2]), 1, f"--hosts {others[0]}: another program answers there"),
            ((others[1], here[3]), 1, f"--hosts {others[1]}: did not come within 3 s (timed out)"),
            ((others[0], here[1]), 0, f"--hosts {others[0]}: cannot be listened on (Address already in use)"),
        )
        processes = [alone(tmp_path / str(i), sample_set, a, task) for i, (a, task, _) in enumerate(cases)]
        try:
            said = sentences(processes, limit=hosts.LIMIT)
        finally:
            for process in processes:
                process.kill()
            web.shutdown()
    for i, (line, (_, _, wanted)) in enumerate(zip(said, cases, strict=True)):
        assert line.startswith(f"error: {wanted}")
        assert not (tmp_path / str(i) / "run").exists()


@pytest.mark.full
def test_hosts_that_do_not_agree_who_is_first(sample_set, tmp_path):
    """Both think that they are the chief: TensorFlow's servers are there, and wait for each other for ever."""
    first, second = hosts.free_addresses(2)
    processes = [alone(tmp_path / str(i), sample_set, a, 0) for i, a in enumerate([(first, second), (second, first)])]
    try:
        said = sentences(processes, limit=hosts.LIMIT)
    finally:
        for process in processes:
            process.kill()
    wanted = "the hosts did not agree within 15 s; --hosts must be the same on all, and --task different"
    assert said == [f"error: {wanted}"] * 2


@pytest.mark.full
@pytest.mark.parametrize("victim", [0, 1])
def test_a_host_that_stands_still(sample_set, tmp_path, victim):
    """A stopped process still has its connections. The others wait for some time; it ends when it goes on."""
    options = arguments(sample_set, tmp_path / "run", settings=["num_steps=100000"])
    with hosts.started(tmp_path / "out", 2, *options) as p:
        wait_for(p, lambda: steps_of(tmp_path / "run") > 6)
        p[victim].send(signal.SIGSTOP)
        assert LOST in sentences([p[1 - victim]])[0]
        p[victim].send(signal.SIGCONT)
        assert LOST in sentences([p[victim]])[0]


def changed_picture(sample_set, folder):
    """A copy of the sample set in which one picture has other bytes."""
    shutil.copytree(sample_set, folder)
    picture = min((folder / "JPEGImages").iterdir())
    picture.write_bytes(picture.read_bytes() + b"\0")
    return folder


@pytest.fixture(scope="module")
def weights(sample_set, tmp_path_factory):
    """Two checkpoints of one step."""
    folder = tmp_path_factory.mktemp("weights")
    for rate in ("0.1", "0.2"):
        options = ("--quiet", "--set", "num_steps=1", f"learning_rate={rate}")
        assert run("train", "--data", sample_set, "--run-dir", folder / rate, *options) == 0
    return [folder / rate / "model.ckpt-1" for rate in ("0.1", "0.2")]


def test_hosts_that_are_unlike(sample_set, tmp_path, weights):
    """Recipe, names and contents of pictures, weights: all hosts say the same. One set of processes tries them all."""
    (tmp_path / "few.txt").write_text("".join(f"sample_{i:06d}\n" for i in range(5)))
    base, run_dir = ("--quiet", "--data", sample_set), tmp_path / "run"
    cases = (
        (("--set", "learning_rate=.1"), ("--set", "learning_rate=.2"), "recipe (learning_rate 0.2 instead of 0.1)"),
        ((), ("--split", tmp_path / "few.txt"), "names of pictures, contents of pictures"),
        ((), ("--data", changed_picture(sample_set, tmp_path / "changed")), "contents of pictures"),
        (("--init", weights[0]), ("--init", weights[1]), "weights to start from"),
        (("--init", weights[0]), (), "weights to start from"),
    )
    commands = [[("train", *base, "--run-dir", run_dir, *case[host]) for case in cases] for host in (0, 1)]
    chief, other = hosts.in_turn(tmp_path / "out", commands)
    for (*_, unlike), one, two in zip(cases, chief, other, strict=True):
        assert one == two
        assert one["status"] == 2
        assert one["err"].count("\n") == 1
        assert f" it has other {unlike}; start the same command on the same files everywhere" in one["err"]
        assert ("--resume" in one["err"]) == unlike.startswith("recipe")
    assert not run_dir.exists()


def test_a_host_with_other_code(sample_set, tmp_path):
    copy = tmp_path / "copy"
    for package in ("common", "tests/helpers"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("tests/__init__.py", "tests/conftest.py"):
        if (ROOT / file).exists():
            shutil.copy(ROOT / file, copy / file)
    module = copy / "common/nets/losses.py"
    module.write_text(module.read_text() + "# changed\n")
    addresses = hosts.free_addresses(2)
    processes = []
    try:
        for task, cwd in enumerate((ROOT, copy)):
            place = ("--quiet", "--hosts", ",".join(addresses), "--task", task)
            command = [*hosts.TINY, "train", *arguments(sample_set, tmp_path / "run")[:4], *place]
            processes.append(hosts.Host(command, tmp_path / f"out-{task}", cwd=cwd))
        said = sentences(processes, limit=hosts.LIMIT)
    finally:
        for process in processes:
            process.kill()
    assert said[0] == said[1]
    assert f"host {addresses[1]} is unlike {addresses[0]}: it has other code;" in said[0]


def test_a_picture_that_one_host_cannot_read(sample_set, tmp_path):
    """All have the same broken file; the host whose part of a batch it is in says so, the others that it was lost."""
    broken = tmp_path / "broken"
    shutil.copytree(sample_set, broken)
    picture = broken / "JPEGImages/sample_000002.jpg"
    assert picture.is_file(), sorted(picture.parent.iterdir())[:3]
    picture.write_bytes(picture.read_bytes()[:40])
    addresses = hosts.free_addresses(2)
    options = arguments(broken, tmp_path / "run")
    with hosts.started(tmp_path / "out", 2, *options, addresses=addresses) as processes:
        said = sentences(processes, limit=hosts.LIMIT)
    (reader,) = [i for i, line in enumerate(said) if "sample_000002" in line]
    assert said[reader].startswith(f"error: host {addresses[reader]}: {picture}")
    assert said[1 - reader].startswith(f"error: host {addresses[reader]} {LOST}")
    assert_nothing_half_written(tmp_path / "run")


@pytest.mark.full
def test_a_full_disk_of_the_chief(sample_set, tmp_path):
    """As files that may not grow beyond 16 KiB."""
    small = ("bash", "-c", 'ulimit -f 16; exec "$@"', "-")
    options = arguments(sample_set, tmp_path / "run")
    with hosts.started(tmp_path / "out", 2, *options, before=[small, ()]) as processes:
        chief, other = sentences(processes, limit=hosts.LIMIT)
    assert f"error: {tmp_path / 'run'}" in chief
    assert LOST in other
    assert_nothing_half_written(tmp_path / "run")
