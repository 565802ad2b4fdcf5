"""`python -m converters.frozen_to_tf`: make a checkpoint from a frozen inference graph.

Constants that have the names of the network's variables are taken as they are. For batch norm that was folded into a
convolution `converters.folded` makes one that computes the same.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from common import program
from common.console import say, show
from common.errors import UserError
from common.reproduction import Reproduction, reproductions
from common.words import NAMED, some
from converters.filling import Filling, fill, recipe_of, write_checkpoint
from converters.folded import KERNEL, OFFSET, constant_roles, constants_read, scope_of, to_variables
from converters.frozen import is_variable, read_frozen
from converters.graph_facts import fields_from_graph
from converters.origins import refuse_foreign
from converters.tfjs import GraphModel

FAKE = "FakeQuant"  # begins the ops that round as 8 bits would


def convert(model: GraphModel, reproduction: Reproduction, settings: list[str]) -> Filling:
    """The variables of the reproduction's network, and the recipe that the graph tells.

    Raises UserError when the graph is not of a network of the reproduction.
    """
    if any(is_variable(node) for node in model.graph.node):
        raise UserError("has its weights beside it, as variables; give the checkpoint that came with it")
    shapes = shapes_in_graph(model)
    refuse_foreign(shapes, reproduction.name)
    recipe = recipe_of(reproduction, shapes, fields_from_graph(model), settings)
    return fill(reproduction, recipe, lambda layers: _variables(model, layers))


def _variables(model: GraphModel, layers: tuple) -> dict[str, np.ndarray]:
    whole = [layer for layer in layers if all(name in model.weights for name in layer.names.values())]
    taken = {name: model.weights[name] for layer in whole for name in layer.names.values()}
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
    parser = program.ArgumentParser(description="Make a checkpoint from a frozen inference graph.")
    parser.add_argument(
        "graph", type=Path, metavar="X.pb", help="the graph, an archive or a folder that holds one, or a SavedModel"
    )
    known = reproductions()
    parser.add_argument("--to", choices=known, default="v3plus", help="reproduction to fill (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="CKPT", help="checkpoint prefix to write")
    parser.add_argument(
        "--set", dest="settings", metavar="K=V", nargs="+", action="extend", default=[],
        help="fields of the recipe, such as those that the graph does not tell",
    )  # fmt: skip
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    model = read_frozen(args.graph)
    try:
        filling = convert(model, reproductions()[args.to], args.settings)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith("--") else f"{args.graph}: {text}") from None
    write_checkpoint(args.out, filling)
    if any(node.op.startswith(FAKE) for node in model.graph.node):
        say(f"{args.graph}: its fake quantisation is left out: the checkpoint holds the weights in float32")
    show(filling.summary(args.out))


if __name__ == "__main__":
    sys.exit(main())
