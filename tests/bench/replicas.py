"""Contestants of the bench: an update of the weights on several devices or hosts of this machine, and feeding."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.nets.replicas import ALONE
from common.paths import ROOT
from common.tf1 import session, tf
from common.training.batches import aligned
from common.training.cluster import Cluster
from common.training.hosts import Hosts
from common.training.placement import Placement
from common.training.step import batch_placeholders, train_step
from tests.bench.networks import NETWORKS

SENT = Path("/sys/class/net/lo/statistics/tx_bytes")  # by all processes of this machine to each other
COUNTED = 3  # updates
FED = 100


def update(network: str, crops: int, size: int, devices: int = 1) -> Callable[[], None]:
    """An update on `crops` crops, divided among this many devices of this process."""
    names = [f"/cpu:{i}" for i in range(devices)] if devices > 1 else []
    return _update(network, crops, size, Placement(names))


def update_on_hosts(network: str, crops: int, size: int, addresses: list[str], task: int = 0) -> Callable[[], None]:
    """An update on `crops` crops, divided among processes; the first starts the others, which make updates with it."""
    if task == 0:
        for other in range(1, len(addresses)):
            fields = {"network": network, "crops": crops, "size": size, "addresses": addresses, "task": other}
            words = [sys.executable, "-m", "tests.bench.worker", __name__, "update_on_hosts", json.dumps(fields)]
            subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    cluster = Cluster(Hosts(tuple(addresses), task)).__enter__()
    work = _update(network, crops // len(addresses), size, cluster)
    while task:
        work()  # until the first one ends
    before = _sent()
    for _ in range(COUNTED):
        work()
    sent = (_sent() - before) / COUNTED
    work.figures = lambda: {"sent_mib": round(sent / 2**20, 1)}
    return work


def _update(network: str, crops: int, size: int, placement: Placement) -> Callable[[], None]:
    chosen, rng = NETWORKS[network], np.random.RandomState(placement.replicas.index)
    recipe = chosen.recipe(batch_size=crops, crop_size=(size, size))
    images = aligned(rng.randn(crops, size, size, 3).astype(np.float32))
    labels = aligned(rng.randint(0, recipe.num_classes, (crops, size, size, 1)).astype(np.uint8))
    graph = tf.Graph()
    with graph.as_default():
        x, y = batch_placeholders(recipe)
        step = train_step(chosen.load().load_network(), x, y, recipe, placement.replicas or ALONE, placement.devices)
        made = placement.session(graph, recipe.precision)
        made.run([tf.global_variables_initializer(), tf.local_variables_initializer()])

    def work() -> None:
        with placement.together():
            made.run((step.update, step.pixel_loss), {x: images, y: labels})

    work()
    return work


def _sent() -> int:
    return int(SENT.read_text()) if SENT.exists() else 0


def feed(is_aligned: bool) -> Callable[[], None]:
    """Feed 16 crops of 513, a hundred times, to a session that takes one number of them."""
    images = np.zeros((16, 513, 513, 3), np.float32)
    images = aligned(images) if is_aligned else aligned(np.zeros(images.nbytes + 4, np.uint8))[4:].view(np.float32)
    images = images.reshape(16, 513, 513, 3)
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, images.shape)
        y = x[0, 0, 0, 0]
    made = session(graph)

    def work() -> None:
        for _ in range(FED):
            made.run(y, {x: images})

    work()
    return work
