"""Hosts with addresses of their own, in network namespaces, between which the link is cut.

A cut link is silent: nobody resets a connection, as a killed process does.
"""

import contextlib
import os
import subprocess

import pytest

from tests.helpers import hosts
from tests.training.test_host_faults import LOST, sentences, steps_of, wait_for

ADDRESSES = ("10.77.18.1", "10.77.18.2")
LINK = "joined"
LIMIT = 30.0
NOBODY = "02:00:00:00:00:99"  # no card on the link has this address: what is sent there is dropped


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def spaces():
    """Two network namespaces, joined by a link whose ends are both named LINK."""
    names = [f"deeplab-{os.getpid()}-{i}" for i in (0, 1)]
    with contextlib.ExitStack() as left:
        for name in names:
            try:
                ip("netns", "add", name)
            except (OSError, subprocess.CalledProcessError):
                pytest.skip("network namespaces are not permitted here")
            left.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
        ip("link", "add", "name", LINK, "netns", names[0], "type", "veth", "peer", "name", LINK, "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", LINK)
            for device in ("lo", LINK):
                ip("-n", name, "link", "set", device, "up")
        yield names


def drop_what_goes_to(address, name):
    ip("-n", name, "neigh", "replace", address, "lladdr", NOBODY, "dev", LINK, "nud", "permanent")


def drop_packets(names):
    for name, other in zip(names, reversed(ADDRESSES), strict=True):
        drop_what_goes_to(other, name)


def pull_the_plug(names):
    ip("-n", names[0], "link", "set", LINK, "down")


def drop_one_way(names):
    drop_what_goes_to(ADDRESSES[1], names[0])


OTHERS = [pytest.param(cut, marks=pytest.mark.full) for cut in (drop_one_way, pull_the_plug)]


@pytest.mark.parametrize("cut", [drop_packets, *OTHERS])
def test_a_cut_link(sample_set, tmp_path, spaces, cut):
    """Both hosts end with a sentence on the other one."""
    options = ("--data", sample_set, "--run-dir", tmp_path / "run", "--set", "num_steps=100000")
    addresses = [f"{address}:2222" for address in ADDRESSES]
    before = [("ip", "netns", "exec", name) for name in spaces]
    with hosts.started(tmp_path / "out", 2, *options, addresses=addresses, before=before) as processes:
        wait_for(processes, lambda: steps_of(tmp_path / "run") > 6)
        cut(spaces)
        said = sentences(processes, limit=LIMIT)
    for line, other in zip(said, reversed(addresses), strict=True):
        assert line.startswith(f"error: host {other} {LOST}")
