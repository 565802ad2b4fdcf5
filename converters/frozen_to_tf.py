"""`python -m converters.frozen_to_tf`: make a checkpoint from a frozen inference graph.

Constants that have the names of the network's variables are taken as they are. For batch norm that was folded into a
convolution `converters.folded` makes one that computes the same.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common import program
from common.console import say, show
from common.errors import UserError
from common.reproduction import Reproduction, reproductions
from common.words import NAMED, some
from converters.exported import exported_recipe
from converters.filling import Filling, Source, add_arguments, errors_of, fill_from, write_checkpoint
from converters.folded import KERNEL, OFFSET, constant_roles, constants_read, scope_of, to_variables
from converters.frozen import is_variable, read_frozen
from converters.graph_facts import fields_from_graph
from converters.tfjs import GraphModel

FAKE = "FakeQuant"  # begins the ops that round as 8 bits would


def convert(
    model: GraphModel, reproduction: Reproduction, settings: list[str], stored: Mapping[str, Any] | None = None
) -> Filling:
    """The variables of the reproduction's network, and the recipe that the graph tells, or `stored` if it is given.

    Raises UserError when the graph is not of a network of the reproduction.
    """
    if any(is_variable(node) for node in model.graph.node):
        raise UserError("has its weights beside it, as variables; give the checkpoint that came with it")
    shapes = shapes_in_graph(model)
    source = Source(shapes, fields_from_graph(model), stored)
    return fill_from(reproduction, source, settings, lambda layers: _variables(model, layers))


def _variables(model: GraphModel, layers: tuple) -> dict[str, np.ndarray]:
    from common.nets.quantisation import RANGES

    ranges = {name: value for name, value in model.weights.items() if re.search(RANGES, name)}
    whole = [layer for layer in layers if all(name in model.weights for name in layer.names.values())]
    taken = ranges | {name: model.weights[name] for layer in whole for name in layer.names.values()}
    others = [layer for layer in layers if layer not in whole]
    rest = GraphModel(model.graph, {name: v for name, v in model.weights.items() if name not in taken})
    if others:
        return taken | to_variables(rest, others)
    if strange := [name for name, roles in constant_roles(rest).items() if KERNEL in roles]:
        raise UserError(f"does not fit the network: it has kernels of no layer there: {some(strange, NAMED)}")
    return taken


def shapes_in_graph(model: GraphModel) -> dict[str, tuple[int, ...]]:
    """The shapes of the graph's constants by name, and of its kernels and biases under slim's names too."""
    shapes = {name: value.shape for name, value in model.weights.items()}
    roles, read = constant_roles(model), constants_read(model)
    for node in model.graph.node:
        names = [read.get(source.removesuffix(":0")) for source in node.input]
        for name in names:
            if name and roles.get(name) == {KERNEL}:
                leaf = "depthwise_weights" if "Depthwise" in node.op else "weights"
                shapes.setdefault(f"{scope_of(name)}/{leaf}", model.weights[name].shape)
            elif name and roles.get(name) == {OFFSET} and scope_of(name).startswith("logits"):
                shapes.setdefault(f"{scope_of(name)}/biases", (model.weights[name].size,))
    return shapes


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m converters.frozen_to_tf",
        description="Make a checkpoint from a frozen inference graph.",
        example="out/v3plus-exported/model.pb --out out/again.ckpt",
    )
    parser.add_argument(
        "graph", type=Path, metavar="X.pb", help="the graph, an archive or a folder that holds one, or a SavedModel"
    )
    add_arguments(parser)
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    model = read_frozen(args.graph)
    with errors_of(args.graph):
        filling = convert(model, reproductions()[args.to], args.settings, exported_recipe(args.graph))
    write_checkpoint(args.out, filling)
    is_rounded = any(node.op.startswith(FAKE) for node in model.graph.node)
    if is_rounded and filling.recipe.quantised_from is None:
        say(f"{args.graph}: its fake quantisation is left out: the checkpoint holds the weights in float32")
    if doubts := filling.doubts(args.graph):
        say(doubts)
    show(filling.summary(args.out))


if __name__ == "__main__":
    sys.exit(main())
