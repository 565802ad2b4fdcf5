"""`describe` of every variant of every reproduction: the recipe that it shows, and the network that it builds.

Variants whose networks are equal share one graph: what training and evaluation do with it makes no other.
"""

import dataclasses
import json
import re
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from common.cli import main
from common.nets import describe
from common.recipe.recipe import Recipe
from common.reproduction import reproductions
from common.tf1 import tf

SIZE = 65
VARIANTS = [(name, variant) for name, found in reproductions().items() for variant in found.variants]

# Every recipe has these, and no graph of an inference: all of its common fields but a few, and how it is trained.
OF_NO_GRAPH = {f.name for f in dataclasses.fields(Recipe)} - {"num_classes", "align_corners"}
OF_NO_GRAPH |= {"eval_output_stride", "fine_tune_batch_norm", "batch_norm_decay", "loss_size"}


def key(recipe):
    """What the graph of a recipe's inference depends on."""
    fields = {name: value for name, value in recipe.to_json().items() if name not in OF_NO_GRAPH}
    return json.dumps([type(recipe).__module__, fields], sort_keys=True)


@pytest.fixture(scope="session")
def measured():
    """The figures of each graph that was built, without the graph."""
    return {}


@pytest.fixture(autouse=True)
def built_once(measured, monkeypatch):
    """`describe` measures a network that it has measured for another variant no more."""

    def figures_of(network, recipe, size):
        with tf.Graph().as_default():
            figures, variables, scores = measure(network, recipe, size)
            kept = [SimpleNamespace(op=SimpleNamespace(name=v.op.name), shape=v.shape, trainable=v.trainable)
                    for v in variables]  # fmt: skip
            return figures, kept, SimpleNamespace(shape=scores.shape)

    def shared(network, recipe, size):
        if (key(recipe), size) not in measured:
            # Each operation keeps the stack of calls that made it; that of a thread is short (a quarter of the time).
            with ThreadPoolExecutor(1) as thread:
                measured[key(recipe), size] = thread.submit(figures_of, network, recipe, size).result()
        return measured[key(recipe), size]

    measure = describe.measure
    monkeypatch.setattr(describe, "measure", shared)


@pytest.mark.parametrize(("name", "variant"), VARIANTS, ids=["-".join(pair) for pair in VARIANTS])
def test_describe(name, variant, capsys):
    """Its recipe is that of the name, as JSON that reads back; its network has variables, and computes scores."""
    reproduction = reproductions()[name]
    recipe = reproduction.variants[variant]
    size = max(SIZE, *(recipe.at_evaluation().least_input or (SIZE,)))
    assert main(reproduction, ["describe", "--set", f"variant={variant}", "--size", str(size)]) == 0
    said = capsys.readouterr().out
    shown, end = json.JSONDecoder().raw_decode(said)
    assert shown["variant"] == variant
    assert type(recipe).from_json(shown) == recipe
    figures = dict(re.findall(r"^(\w[^:\n]*): (.*)$", said[end:], re.MULTILINE))
    assert int(figures["parameters"].split()[0].replace(",", "")) > 10_000
    assert float(figures[f"multiply-adds at {size}x{size}"].split()[0]) > 0
    assert figures[f"scores at {size}x{size}"].endswith(f"x{recipe.num_classes}")


def test_variants_are_many_and_their_names_differ_within_a_reproduction():
    assert len(VARIANTS) >= 251
    assert all(found.variants[name].variant == name for found in reproductions().values() for name in found.variants)
