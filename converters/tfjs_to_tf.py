"""`python -m converters.tfjs_to_tf`: convert a TF.js graph model to its tensors by node name, or to a checkpoint.

TF.js folds batch norm into the convolution before it: the kernel times gamma / sigma, then an offset
beta - mean * gamma / sigma; a depthwise kernel may keep the factor apart. In the checkpoint gamma is that factor or 1,
beta the offset and the mean 0. The variance makes variance + epsilon equal 1 in float32, so the layer gives the same
bits (after a factor TensorFlow may round product and sum in one step).
"""

import argparse
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import files, program
from common.console import show
from common.errors import UserError
from common.words import NAMED, some
from converters.tfjs import GraphModel, read_graph_model

if TYPE_CHECKING:
    from common.recipe.recipe import Recipe

MARK = b"converters.tfjs_to_tf"  # the comment of the .npz that it writes
KERNEL, FACTOR, OFFSET = "kernel", "factor", "offset"
# The role of a constant for an op that reads it, by input.
READS = {
    **dict.fromkeys(("Conv2D", "DepthwiseConv2dNative"), ("", KERNEL)),
    **dict.fromkeys(("_FusedConv2D", "FusedDepthwiseConv2dNative"), ("", KERNEL, OFFSET)),
    **dict.fromkeys(("Add", "AddV2", "AddN", "BiasAdd"), (OFFSET, OFFSET)),
    "Mul": (FACTOR, FACTOR),
}


@dataclass(frozen=True)
class Layer:
    """A convolution of the network to fill; `epsilon` is its batch norm's, None where it has biases instead."""

    scope: str
    epsilon: float | None


def _mobilenet_v2_layers() -> tuple[Layer, ...]:
    """DeepLab v3 with MobileNetV2 and image pooling, as the official zoo exports it (research/deeplab)."""
    units = [
        f"expanded_conv{f'_{unit}' if unit else ''}/{part}"
        for unit in range(17)
        for part in ("expand", "depthwise", "project")[not unit :]
    ]
    return (
        # slim's default epsilon in the backbone; model.py sets 1e-5 in the head.
        *(Layer(f"MobilenetV2/{scope}", 1e-3) for scope in ("Conv", *units)),
        *(Layer(scope, 1e-5) for scope in ("image_pooling", "aspp0", "concat_projection")),
        Layer("logits/semantic", None),
    )


# Reproduction -> the layers of its network that comes as a TF.js graph.
TARGETS = {"v3plus": _mobilenet_v2_layers()}


def unit_variance(epsilon: float) -> np.float32:
    """The float32 variance for which variance + epsilon is 1 in float32, also after TensorFlow's raise to 1.001e-5."""
    return np.float32(1) - np.float32(max(epsilon, 1.001e-5))


def to_variables(model: GraphModel, layers: Sequence[Layer]) -> dict[str, np.ndarray]:
    """The variables of `layers` under tf-slim's names, float32, with batch norm that computes what the graph does.

    Args:
      model: its constants' names begin with the scope of their layer, as in a frozen tf-slim graph.
      layers: all that the network has.

    Raises:
      UserError: the graph has none of the layers; or listing every layer that lacks a constant, every convolution and
        constant that has no place in `layers`, every size that does not fit, every variable that is not finite.
    """
    parts, problems = _parts(model, [layer.scope for layer in layers])
    if not any(parts.values()):
        raise UserError(f"is not the network asked for: it has none of its layers ({layers[0].scope}, ...)")
    variables: dict[str, np.ndarray] = {}
    for layer in layers:
        given = parts[layer.scope]
        if lacking := [f"{layer.scope} has no {role}" for role in (KERNEL, OFFSET) if role not in given]:
            problems += lacking
        elif layer.epsilon is None and FACTOR in given:
            problems.append(f"{layer.scope} has a factor where the network has biases only")
        elif wrong := _wrong_sizes(layer, given):
            problems += wrong
        else:
            variables |= _variables(layer, given)
    problems += [f"{name} is not finite" for name, value in variables.items() if not np.isfinite(value).all()]
    if problems:
        raise UserError(f"does not fit the network: {some(problems, NAMED, separator='; ')}")
    return variables


def _parts(model: GraphModel, scopes: Sequence[str]) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """Scope -> kernel, factor, offset -> array; and a list of constants without a place."""
    parts: dict[str, dict[str, np.ndarray]] = {scope: {} for scope in scopes}
    problems = []
    for name, roles in _roles(model).items():
        scope = next((scope for scope in scopes if name.startswith(f"{scope}/")), None)
        if scope is None:
            if KERNEL in roles:
                problems.append(f"{name} is a kernel of no layer")
        elif len(roles) > 1 or (role := min(roles)) not in (KERNEL, FACTOR, OFFSET) or role in parts[scope]:
            problems.append(f"{scope} has no place for {name} (read as {', '.join(sorted(roles))})")
        else:
            parts[scope][role] = model.weights[name]
    return parts, problems


def _roles(model: GraphModel) -> dict[str, set[str]]:
    """Constant of floats -> its roles for the nodes that read it; for an op that is not in READS, the op's name."""
    roles: dict[str, set[str]] = {}
    for node in model.graph.node:
        for position, source in enumerate(node.input):
            name = source.removesuffix(":0")
            if name in model.weights and model.weights[name].dtype.kind == "f":
                known = READS.get(node.op, ())[position : position + 1]
                roles.setdefault(name, set()).add("".join(known) or node.op)
    return roles


def _is_depthwise(layer: Layer) -> bool:
    return layer.scope.endswith("/depthwise")


def _wrong_sizes(layer: Layer, given: Mapping[str, np.ndarray]) -> list[str]:
    kernel = given[KERNEL]
    if kernel.ndim != 4:
        return [f"{layer.scope} has a kernel of shape {kernel.shape}"]
    channels = kernel.shape[2] * kernel.shape[3] if _is_depthwise(layer) else kernel.shape[3]
    return [
        f"{layer.scope} has {channels} channels and an array of {value.size} as {role}"
        for role, value in given.items()
        if role != KERNEL and value.size != channels
    ]


def _variables(layer: Layer, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    offset = given[OFFSET].reshape(-1)
    variables = {"depthwise_weights" if _is_depthwise(layer) else "weights": given[KERNEL]}
    if layer.epsilon is None:
        variables["biases"] = offset
    else:
        variables |= {
            "BatchNorm/gamma": given.get(FACTOR, np.ones_like(offset)).reshape(-1),
            "BatchNorm/beta": offset,
            "BatchNorm/moving_mean": np.zeros_like(offset),
            "BatchNorm/moving_variance": np.full_like(offset, unit_variance(layer.epsilon)),
        }
    return {f"{layer.scope}/{name}": value.astype(np.float32) for name, value in variables.items()}


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` atomically; unlike np.savez it takes any name, also `file`."""
    if path.exists() and not (zipfile.is_zipfile(path) and zipfile.ZipFile(path).comment == MARK):
        raise UserError(f"{path}: is there, and not written by this converter; name another, or move it away")
    with files.atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.comment = MARK
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, value, allow_pickle=False)


def _recipe(arrays: Mapping[str, np.ndarray]) -> "Recipe":
    """The recipe that belongs to the weights: they bring their network, preprocessing and output stride."""
    from reproductions.v3plus.recipe import VARIANTS, fields_from_weights

    settled = fields_from_weights({name: value.shape for name, value in arrays.items()})
    half = settled.get("depth_multiplier") == 0.5
    return VARIANTS["mnv2_dm05_pascal_trainval" if half else "mnv2_pascal_trainval"].derive(**settled)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(description="Convert a TF.js graph model to an .npz or a TensorFlow checkpoint.")
    parser.add_argument(
        "model", type=Path, help="its folder, model.json, tensorflowjs_model.pb or weights_manifest.json"
    )
    parser.add_argument(
        "--to", choices=TARGETS, help="network to fill (default: v3plus, or none when OUT ends in .npz)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="checkpoint prefix, or an .npz: by node name, with --to by variable"
    )
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    is_npz = args.out.suffix == ".npz"
    target = args.to or (None if is_npz else next(iter(TARGETS)))
    model = read_graph_model(args.model)
    if target:
        try:
            arrays = to_variables(model, TARGETS[target])
        except UserError as error:
            raise UserError(f"{args.model}: {error}; --out X.npz without --to writes its tensors") from None
    else:
        arrays = {n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in model.weights.items()}
    if is_npz:
        write_npz(args.out, arrays)
    else:
        from common.weights.checkpoints import write

        write(args.out, arrays, _recipe(arrays))
    noun = "variables" if target else "tensors"
    show(f"{args.out}: {len(arrays)} {noun}, {sum(v.size for v in arrays.values()):,} values")


if __name__ == "__main__":
    sys.exit(main())
