"""Convolutions into which batch norm was folded, and the variables of a network that compute the same.

Converters for devices fold batch norm into the convolution before it: the kernel times gamma / sigma, then an offset
beta - mean * gamma / sigma; a depthwise kernel may keep the factor apart. In the checkpoint gamma is that factor or 1,
beta the offset and the mean 0. The variance makes variance + epsilon equal 1 in float32, so the layer gives the same
bits (after a factor TensorFlow may round product and sum in one step).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from common.words import NAMED, some

if TYPE_CHECKING:
    from common.tf1 import tf
    from converters.tfjs import GraphModel

KERNEL, FACTOR, OFFSET = "kernel", "factor", "offset"
Parts = dict[str, dict[str, np.ndarray]]  # scope -> kernel, factor, offset -> array
CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
MOVES = ("BatchToSpaceND", "Identity", "Mul")  # ops that stand between a convolution and what is added to its result
FEW = 8  # of them
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
# The role of a constant for an op that reads it, by input.
READS = {
    **dict.fromkeys(CONVOLUTIONS, ("", KERNEL)),
    **dict.fromkeys(("_FusedConv2D", "FusedDepthwiseConv2dNative"), ("", KERNEL, OFFSET)),
    **dict.fromkeys(("Add", "AddV2", "AddN", "BiasAdd"), (OFFSET, OFFSET)),
    "Mul": (FACTOR, FACTOR),
}
# Ends of names below a layer's scope, with what stands behind them: of its ops, of its variables, of what was folded.
_BELOW = re.compile(
    r"(.+)/(?:Conv2D|depthwise|depthwise_weights|weights|weights_quant|BatchNorm|BiasAdd|biases|[wb])\d*(?:_\w+)?(?:/.*)?"
)


@dataclass(frozen=True)
class Layer:
    """A convolution of the network to fill.

    Attributes:
      scope: the names in a graph that belong to the layer begin with it.
      epsilon: of its batch norm; None where it has biases instead, or neither.
      kernel, norm, biases: names of its variables, and of the scope of its batch norm; empty for slim's.
      has_offset: whether it has batch norm or biases.
    """

    scope: str
    epsilon: float | None
    kernel: str = ""
    norm: str = ""
    biases: str = ""
    has_offset: bool = True

    @property
    def is_depthwise(self) -> bool:
        return re.search(r"(^|/|_)depthwise(_weights)?$", self.kernel or self.scope) is not None

    @property
    def names(self) -> dict[str, str]:
        """Role -> the variable's name; batch norm's by their own names."""
        names = {KERNEL: self.kernel or f"{self.scope}/{'depthwise_' * self.is_depthwise}weights"}
        if self.epsilon is not None:
            names |= {leaf: f"{self.norm or f'{self.scope}/BatchNorm'}/{leaf}" for leaf in NORM}
        elif self.has_offset:
            names[OFFSET] = self.biases or f"{self.scope}/biases"
        return names


def network_layers(network: Callable[[], Any]) -> tuple[Layer, ...]:
    """The convolutions of the network that `network` builds, with their variables' names and epsilons."""
    from common.nets import layers
    from common.tf1 import slim, tf

    found: dict[str, Layer] = {}
    with tf.Graph().as_default() as graph, slim.arg_scope([layers.depthwise_conv2d], largest_native=0):
        network()
        for op in graph.get_operations():
            if op.type in CONVOLUTIONS:
                kernel = variable_of(op.inputs[1])
                found.setdefault(kernel, Layer(scope_of(kernel), None, kernel, has_offset=False))
            elif op.type in ("FusedBatchNormV3", "BiasAdd"):
                kernel, second = kernel_before(op), variable_of(op.inputs[1])
                if op.type == "BiasAdd":
                    found[kernel] = Layer(scope_of(kernel), None, kernel, biases=second)
                else:
                    norm = second.rpartition("/")[0]
                    found[kernel] = Layer(scope_of(kernel), op.get_attr("epsilon"), kernel, norm)
    return tuple(found.values())


def variable_of(tensor: "tf.Tensor") -> str:
    """The name of the variable that a tensor is read from."""
    op = tensor.op
    while op.inputs:
        op = op.inputs[0].op
    return op.name


def kernel_before(op: "tf.Operation") -> str:
    """The kernel of the convolution whose result reaches `op`, perhaps through ops that move it about."""
    while op.type not in CONVOLUTIONS:
        op = op.inputs[0].op
    return variable_of(op.inputs[1])


def scope_of(name: str) -> str:
    """The scope of the layer that a name below it belongs to: `a/b` for `a/b/weights` and `a/b/Conv2D_bn_offset`."""
    match = _BELOW.fullmatch(name)
    return match[1] if match else name.rpartition("/")[0]


def unit_variance(epsilon: float) -> np.float32:
    """The float32 variance for which variance + epsilon is 1 in float32, also after TensorFlow's raise to 1.001e-5."""
    return np.float32(1) - np.float32(max(epsilon, 1.001e-5))


def to_variables(model: "GraphModel", layers: Sequence[Layer]) -> dict[str, np.ndarray]:
    """The variables of `layers`, float32, with batch norm that computes what the graph does.

    Args:
      model: its constants' names begin with the scope of their layer, as in a frozen tf-slim graph.
      layers: all that the network has.

    Raises:
      UserError: the graph has none of the layers; or listing every layer that lacks a constant, every convolution and
        constant that has no place in `layers`, every size that does not fit, every variable that is not finite.
    """
    return filled(*_parts(model, [layer.scope for layer in layers]), layers)


def filled(parts: Parts, problems: Sequence[str], layers: Sequence[Layer]) -> dict[str, np.ndarray]:
    """The variables of `layers` from their parts in a file. Raises UserError as `to_variables` does.

    Args:
      parts: scope -> role -> array.
      problems: what is known to be wrong with the file.
      layers: all that the network has.
    """
    problems = list(problems)
    if not any(parts.values()):
        raise UserError(f"is not the network asked for: it has none of its layers ({layers[0].scope}, ...)")
    variables: dict[str, np.ndarray] = {}
    for layer in layers:
        given = parts[layer.scope]
        needed = (KERNEL, OFFSET) if layer.has_offset else (KERNEL,)
        if lacking := [f"{layer.scope} has no {role}" for role in needed if role not in given]:
            problems += lacking
        elif layer.epsilon is None and FACTOR in given:
            problems.append(f"{layer.scope} has a factor where the network has biases only")
        elif not layer.has_offset and np.any(given.get(OFFSET, 0)):
            problems.append(f"{layer.scope} has an offset where the network has none")
        elif wrong := _wrong_sizes(layer, given):
            problems += wrong
        else:
            variables |= _variables(layer, given)
    problems += [f"{name} is not finite" for name, value in variables.items() if not np.isfinite(value).all()]
    if problems:
        raise UserError(f"does not fit the network: {some(problems, NAMED, separator='; ')}")
    return variables


def _parts(model: "GraphModel", scopes: Sequence[str]) -> tuple[Parts, list[str]]:
    """The parts of each layer, and a list of constants without a place."""
    parts: Parts = {scope: {} for scope in scopes}
    problems = []
    kernels = _kernels_before(model)
    for name, roles in constant_roles(model).items():
        names = (name, kernels.get(name, name))  # what was folded may be named after an op without a scope
        scope = next((scope for given in names for scope in scopes if given.startswith(f"{scope}/")), None)
        if scope is None:
            if KERNEL in roles:
                problems.append(f"{name} is a kernel of no layer")
        elif len(roles) > 1 or (role := min(roles)) not in (KERNEL, FACTOR, OFFSET) or role in parts[scope]:
            problems.append(f"{scope} has no place for {name} (read as {', '.join(sorted(roles))})")
        else:
            parts[scope][role] = model.weights[name]
    return parts, problems


def constant_roles(model: "GraphModel") -> dict[str, set[str]]:
    """Constant of floats -> its roles for the nodes that read it; for an op that is not in READS, the op's name."""
    roles: dict[str, set[str]] = {}
    read = constants_read(model)
    for node in model.graph.node:
        for position, source in enumerate(node.input):
            name = read.get(source.removesuffix(":0"))
            if name and node.op != "Identity" and model.weights[name].dtype.kind == "f":
                known = READS.get(node.op, ())[position : position + 1]
                roles.setdefault(name, set()).add("".join(known) or node.op)
    return roles


def _kernels_before(model: "GraphModel") -> dict[str, str]:
    """Constant that is added or multiplied -> the kernel of the convolution whose result it is added to."""
    nodes, read, found = {node.name: node for node in model.graph.node}, constants_read(model), {}
    for node in model.graph.node:
        if node.op in READS and node.op not in CONVOLUTIONS and len(node.input) == 2:
            names = [source.partition(":")[0] for source in node.input]
            constants = [read.get(name) for name in names]
            if (constants[0] is None) != (constants[1] is None):
                is_first = constants[0] is not None
                if kernel := _kernel_behind(names[is_first], nodes, read):
                    found[constants[not is_first]] = kernel
    return found


def _kernel_behind(name: str, nodes: "Mapping[str, tf.NodeDef]", read: Mapping[str, str]) -> str | None:
    """The kernel of the convolution whose result reaches the node `name` through ops that move or scale it."""
    for _ in range(FEW):
        node = nodes.get(name)
        if node is None or not node.input:
            return None
        if node.op in CONVOLUTIONS:
            return read.get(node.input[1].partition(":")[0]) if len(node.input) > 1 else None
        if node.op not in MOVES:
            return None
        name = node.input[0].partition(":")[0]
    return None


def constants_read(model: "GraphModel") -> dict[str, str]:
    """Node -> the constant that it gives: its own, or through identities, as a variable's `read` does."""
    read = {name: name for name in model.weights}
    for node in model.graph.node:  # a node stands behind those that it reads
        if node.op == "Identity" and node.input and (name := read.get(node.input[0].removesuffix(":0"))):
            read[node.name] = name
    return read


def _wrong_sizes(layer: Layer, given: Mapping[str, np.ndarray]) -> list[str]:
    kernel = given[KERNEL]
    if kernel.ndim != 4:
        return [f"{layer.scope} has a kernel of shape {kernel.shape}"]
    channels = kernel.shape[2] * kernel.shape[3] if layer.is_depthwise else kernel.shape[3]
    return [
        f"{layer.scope} has {channels} channels and an array of {value.size} as {role}"
        for role, value in given.items()
        if role != KERNEL and value.size != channels
    ]


def _variables(layer: Layer, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    values = {KERNEL: given[KERNEL]}
    if layer.has_offset:
        offset = values[OFFSET] = given[OFFSET].reshape(-1)
        if layer.epsilon is not None:
            values |= {
                "gamma": given.get(FACTOR, np.ones_like(offset)).reshape(-1),
                "beta": offset,
                "moving_mean": np.zeros_like(offset),
                "moving_variance": np.full_like(offset, unit_variance(layer.epsilon)),
            }
    return {name: values[role].astype(np.float32) for role, name in layer.names.items()}
