"""The watch over other hosts, with looks that are made up and seconds that are short."""

import socket
import time

import pytest

from common.errors import UserError
from common.tf1 import tf
from common.training import watch
from common.training.cluster import Cluster
from common.training.hosts import Hosts

TIMED_OUT, REFUSED = TimeoutError("timed out"), ConnectionRefusedError(111, "Connection refused")
THREE = Hosts(("a:1", "b:1", "c:1"), 0)


@pytest.fixture
def looks(monkeypatch):
    """Address -> what comes of the looks at it, one after the other; the last one stays. None is an answer."""
    found = {"b:1": [None], "c:1": [None]}

    def look_at(address):
        answers = found[address]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer:
            raise answer

    monkeypatch.setattr(watch, "look_at", look_at)
    monkeypatch.setattr(watch, "EVERY", 0.02)
    monkeypatch.setattr(watch, "PATIENCE", 0.5)
    monkeypatch.setattr(watch, "GRACE", 0.05)
    return found


@pytest.fixture
def watched(looks):
    """Makes a watch that has met all hosts; what comes then is `answers` of the second one."""
    made = []

    def start(*answers):
        made.append(watch.Watch(THREE))
        made[-1].meet(5)
        looks["b:1"] = list(answers)
        return made[-1]

    yield start
    for one in made:
        one.stop()


def lost_after(seen, seconds):
    until = time.monotonic() + seconds
    while not seen.lost and time.monotonic() < until:
        time.sleep(0.005)
    return seen.lost


def test_two_refusals_in_a_row_are_a_loss(watched):
    assert lost_after(watched(REFUSED), 5) == (
        "host b:1 was lost (Connection refused); its own output says why; start all of them again with --resume"
    )


@pytest.mark.parametrize("answers", [(REFUSED, None), (TIMED_OUT, REFUSED, None), (REFUSED, TIMED_OUT, REFUSED, None)])
def test_a_host_that_is_only_busy_is_no_loss(watched, answers):
    seen = watched(*answers)
    assert lost_after(seen, 0.7) is None
    with seen.waiting():
        pass


def test_a_host_that_says_nothing_for_long_is_lost(watched):
    seen = watched(TIMED_OUT)
    assert lost_after(seen, 0.2) is None
    assert "b:1 was lost (timed out)" in lost_after(seen, 5)
    with pytest.raises(UserError, match="b:1 was lost"), seen.waiting():
        pytest.fail("nobody may wait for a lost host")


def test_hosts_that_do_not_come(looks):
    looks.update({"b:1": [REFUSED], "c:1": [OSError("no name of a host")]})
    seen = watch.Watch(THREE)
    with pytest.raises(UserError, match=r"--hosts b:1 and 1 more: did not come within 0.1 s \(Connection refused\)"):
        seen.meet(0.1)
    looks["b:1"] = [None]
    time.sleep(0.1)
    with pytest.raises(UserError, match=r"--hosts c:1: did not come within 0.1 s \(no name of a host\)"):
        seen.meet(0.1)
    seen.stop()


def test_a_name_that_no_host_can_have():
    with pytest.raises(OSError, match="label empty or too long"):
        watch.look_at("a..b:2222")


def test_another_program_at_an_address(looks):
    looks["c:1"] = [watch.OtherProgramError()]
    seen = watch.Watch(THREE)
    with pytest.raises(UserError, match="--hosts c:1: another program answers there"):
        seen.meet(5)
    seen.stop()


@pytest.mark.parametrize(("answer", "limit", "sentence"), [(REFUSED, 9, "b:1 was lost"), (None, 0.2, "too late")])
def test_who_does_not_come_back_from_tensorflow_is_ended(watched, monkeypatch, capsys, answer, limit, sentence):
    """As TensorFlow's worker does not when its chief is lost."""
    statuses = []
    monkeypatch.setattr(watch.os, "_exit", statuses.append)
    seen = watched(answer)
    with seen.waiting(limit, "too late"):
        while not statuses:
            time.sleep(0.01)
    seen.stop()
    assert statuses[0] == 2
    assert sentence in capsys.readouterr().err.splitlines()[0]


ABORTED = """Graph execution error:
Node: 'CollectiveReduceV2'
From /job:worker/replica:0/task:0:
Collective ops is aborted by: recvmsg:Connection reset by peer
The error could be from a previous operation. Restart your program to reset.
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ABORTED, "recvmsg:Connection reset by peer"),
        ("Collective ops is aborted by: Socket closed\nmore", "Socket closed"),
        ("Socket closed", "Socket closed"),
    ],
)
def test_a_sum_that_fails_while_all_hosts_are_there(watched, text, reason):
    """As when a host was started again at once, or the network has reset a connection."""
    cluster = Cluster(THREE)
    cluster._watch = watched(None)
    with pytest.raises(UserError) as error, cluster.together():
        raise tf.errors.UnavailableError(None, None, text)
    assert str(error.value) == f"the hosts lost touch ({reason}); start all of them again with --resume"


def test_a_socket_that_is_joined_to_itself_is_nobody(monkeypatch):
    """Linux does that now and then, when the port it gives an outgoing connection is the one that it looks for."""
    own = socket.socket()
    own.bind(("127.0.0.1", 0))
    own.connect(own.getsockname())
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: own)
    with pytest.raises(ConnectionRefusedError):
        watch.look_at("127.0.0.1:1")
