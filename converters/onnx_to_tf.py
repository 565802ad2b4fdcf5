"""`python -m converters.onnx_to_tf`: fill a reproduction's graph from an ONNX graph that came from Caffe.

Every layer is found by its name. Its stride, padding, dilation and epsilon must be those of the TensorFlow op that it
fills, and nothing may be left over on either side. Then both graphs run on one picture. The checkpoint is written only
when they agree.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from common import program
from common.console import show, stage
from common.engines.interface import EngineError
from common.engines.onnx_model import load_model
from common.errors import UserError, brief
from common.recipe.recipe import Recipe
from common.reproduction import Reproduction
from common.words import NAMED, some
from converters.deploy import variant_of
from converters.formats import refuse_other_formats

if TYPE_CHECKING:
    from common.tf1 import tf

# reproduction: (default variant, the ONNX node that makes its scores)
SCORES = {"v1": ("paper", "fc8_voc12"), "v2": ("caffe", "fc1_voc12")}
FUSED = "fc_fusion"  # where a net has it, the node that adds scores of several layers to those
MAX_SIDE = 2049  # of the picture that both graphs run on
AGREEMENT = 1e-3  # of the largest score; float32 through a hundred layers gives about 1e-5


@dataclass(frozen=True)
class Filled:
    """The result of a conversion.

    Attributes:
      variables: TensorFlow name -> array.
      recipe: of the network that was filled.
      difference: largest difference of the scores on the test picture, over the largest score; None
        when a network that lacks its classifier could not be run.
      layers: how many layers were checked against their TensorFlow op.
    """

    variables: dict[str, np.ndarray]
    recipe: Recipe
    difference: float | None
    layers: int


def load_reproduction(name: str) -> Reproduction:
    """The reproduction's description. Raises UserError for a name without one."""
    if name not in SCORES:
        raise UserError(f"--reproduction {name}: weights from Caffe exist for {', '.join(SCORES)}")
    return importlib.import_module(f"reproductions.{name}").REPRODUCTION


def load_onnx(path: Path) -> onnx.ModelProto:
    """Raises UserError when the file is missing or no ONNX graph."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    refuse_other_formats(path, ".onnx")
    try:
        return load_model(path)
    except EngineError as error:
        raise UserError(f"{path}: is not a readable ONNX file ({error})") from None


def array_of(tensor: onnx.TensorProto, source: str | Path) -> np.ndarray:
    """The values of an initializer. Raises UserError when its bytes don't fill its shape; `source` begins it."""
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # numpy's and protobuf's own
        name, reason = brief(tensor.name), brief(_line(error))
        raise UserError(f"{source}: its array {name} is damaged ({reason}); fetch or convert the file again") from None


def convert(
    model: onnx.ModelProto,
    reproduction: Reproduction,
    settings: Sequence[str] = (),
    not_loaded: Sequence[str] = (),
    source: str = "the ONNX graph",
) -> Filled:
    """Fill `reproduction`'s network from `model`.

    Args:
      model: from `converters.caffe_to_onnx`: node names are Caffe's layer names, with shapes inferred.
      reproduction: whose network.
      settings: `--set` arguments; batch norm's epsilon follows the ONNX graph unless set.
      not_loaded: regular expressions of variables and ONNX layers to leave alone (a classifier).
      source: what errors name.

    Raises:
      UserError: listing what is missing, left over, misshapen or of other hyper-parameters, or when
        the two graphs disagree.
    """
    graph = _Onnx(model, source)
    default, scores = SCORES[reproduction.name]
    if not any(s.startswith("variant=") for s in settings):
        shapes = {name: tuple(tensor.dims) for name, tensor in graph.tensors.items()}
        settings = [f"variant={variant_of(shapes, reproduction, default)}", *settings]
    epsilons = {graph.attributes(n)["epsilon"] for n in model.graph.node if n.op_type == "BatchNormalization"}
    chosen = [s for s in settings if s.startswith("batch_norm_epsilon=")]
    if epsilons and not chosen:
        settings = [*settings, f"batch_norm_epsilon={min(epsilons):.6g}"]
    if classes := graph.depth(scores):
        settings = [f"num_classes={classes}", *settings]
    recipe = reproduction.recipe_to_train(list(settings))
    return _fill(graph, reproduction, recipe, not_loaded, FUSED if FUSED in graph.nodes else scores, source)


class _Onnx:
    """An ONNX graph, by layer name."""

    def __init__(self, model: onnx.ModelProto, source: str):
        if not model.graph.value_info:
            try:
                model = onnx.shape_inference.infer_shapes(model)
            except Exception as error:
                raise UserError(f"{source}: has no shapes, and none can be inferred ({_line(error)})") from None
        self.model, self.source = model, source
        self.nodes = {n.name: n for n in model.graph.node}
        self.tensors = {t.name: t for t in model.graph.initializer}
        values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
        self.shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        inputs = [v.name for v in model.graph.input if v.name not in self.tensors]
        self.size = self.shapes[inputs[0]][2:] if len(inputs) == 1 else []
        if len(self.size) != 2 or not all(1 <= side <= MAX_SIDE for side in self.size):
            raise UserError(f"{source}: needs one input [1, 3, h, w] with sides from 1 to {MAX_SIDE}")

    @staticmethod
    def attributes(node: onnx.NodeProto) -> dict[str, Any]:
        return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}

    def blob(self, layer: str, index: int) -> np.ndarray | None:
        tensor = self.tensors.get(f"{layer}/{index}")
        return None if tensor is None else array_of(tensor, self.source)

    def weighted_layers(self) -> set[str]:
        """Layers that hold blobs of the Caffe net; the conversion's own constants are named by words, not numbers."""
        return {name.rpartition("/")[0] for name in self.tensors if name.rpartition("/")[2].isdigit()}

    def is_scale_copy(self, layer: str) -> bool:
        """Whether a layer of a multi-scale train prototxt (..._res075, ..._res05) repeats the weights of scale 1."""
        original = re.sub(r"_?res0(75|5)", "", layer)
        if original == layer:
            return False
        pairs = [(self.blob(layer, i), self.blob(original, i)) for i in range(3)]
        return any(ours is not None for ours, _ in pairs) and all(
            (a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in pairs
        )

    def depth(self, node: str) -> int | None:
        return self.shapes.get(self.nodes[node].output[0], [0, None])[1] if node in self.nodes else None


def _fill(
    graph: _Onnx, reproduction: Reproduction, recipe: Recipe, not_loaded: Sequence[str], scores: str, source: str
) -> Filled:
    from common.nets.network import build
    from common.tf1 import session, tf
    from common.weights.checkpoints import describe_difference

    stage("building the network")
    size = graph.size
    with tf.Graph().as_default() as tf_graph, session(tf_graph) as sess:
        images = tf.placeholder(tf.float32, [1, *size, 3])
        logits = build(reproduction.load_network(), images, recipe.at_evaluation()).logits
        variables = {v.op.name: v for v in tf.model_variables()}
        values, used = _values(graph, variables)
        skip = [pattern(p) for p in not_loaded]
        wanted = {n: tuple(v.shape.as_list()) for n, v in variables.items() if not any(p.search(n) for p in skip)}
        unused = {n for n in graph.weighted_layers() - used if not any(p.search(n) for p in skip)}
        unused = {n for n in unused if not graph.is_scale_copy(n)}
        values = {n: v for n, v in values.items() if n in wanted}
        given = {n: v.shape for n, v in values.items()} | {f"{layer} (a layer)": () for layer in unused}
        if difference := describe_difference(wanted, given):
            raise UserError(f"{source}: does not fit {reproduction.title}: {difference}")
        problems, checked = _compare_ops(graph, tf_graph, used)
        if problems:
            places = some(problems, NAMED, separator="; ")
            raise UserError(f"{source}: differs from {reproduction.title} in {len(problems)} places: {places}")

        difference = None
        if wanted.keys() == variables.keys() and scores in graph.nodes:
            stage("running both networks on a picture")
            sess.run([v.initializer for v in variables.values()], {
                v.initializer.inputs[1]: values[n] for n, v in variables.items()
            })  # fmt: skip
            picture = _picture(recipe, size)
            ours, theirs = sess.run(logits, {images: picture}), _run_onnx(graph, scores, picture)
            if theirs.shape != ours.shape:
                raise UserError(
                    f"{source}: gives scores of {theirs.shape}, TensorFlow of {ours.shape}; try sizes 8k + 1"
                )
            difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
            if not difference <= AGREEMENT:
                raise UserError(f"{source}: the two graphs differ by {difference:.1e} of the largest score")
    return Filled(values, recipe, difference, checked)


def _values(graph: _Onnx, variables: dict) -> tuple[dict[str, np.ndarray], set[str]]:
    """TensorFlow variables from the blobs of the layers of their scopes, and the layers used."""
    values, used = {}, set()
    for scope in {name.rpartition("/")[0] for name in variables}:
        leaves = {n.rpartition("/")[2] for n in variables if n.rpartition("/")[0] == scope}
        if "gamma" in leaves:  # Caffe has the affine part as a layer of its own
            affine = scope.replace("bn", "scale", 1)
            blobs = {
                "moving_mean": (scope, 0), "moving_variance": (scope, 1), "gamma": (affine, 0), "beta": (affine, 1),
            }  # fmt: skip
        else:
            blobs = {leaf: (scope, 0 if leaf in ("w", "weights") else 1) for leaf in leaves}
        for leaf, (layer, index) in blobs.items():
            if (blob := graph.blob(layer, index)) is None:
                continue
            # Caffe and ONNX have [out, in, h, w]; an affine part may be stored to broadcast.
            if leaf in ("w", "weights") and blob.ndim != 4:
                raise UserError(f"{graph.source}: weights of layer {layer} have {blob.ndim} axes, not 4")
            values[f"{scope}/{leaf}"] = blob.transpose(2, 3, 1, 0) if leaf in ("w", "weights") else blob.reshape(-1)
            used.add(layer)
    return values, used


def _compare_ops(graph: _Onnx, tf_graph: "tf.Graph", used: set[str]) -> tuple[list[str], int]:
    """Stride, padding, dilation and epsilon of every used layer, and the pools in order, against TensorFlow's ops."""
    from common.tf1 import tf

    ops = {}
    for op in tf_graph.get_operations():
        if op.type in ("Conv2D", "FusedBatchNormV3"):
            ops.setdefault(op.name.rpartition("/")[0], op)
    # Where native dilation can't be trained the same convolution is decomposed, and the rate stands here.
    rates = {
        op.name.rpartition("/")[0]: tf.get_static_value(op.inputs[1]).tolist()
        for op in tf_graph.get_operations()
        if op.type == "SpaceToBatchND"
    }
    problems, checked = [], 0

    def expect(layer: str, what: str, theirs: object, ours: object) -> None:
        if theirs != ours:
            problems.append(f"{layer}: {what} {theirs} in ONNX, {ours} in TensorFlow")

    for layer in sorted(used & ops.keys()):
        if layer not in graph.nodes or graph.nodes[layer].input[0] not in graph.shapes:
            problems.append(f"{layer}: no node of that name with a known input shape")
            continue
        op, checked = ops[layer], checked + 1
        if op.type == "FusedBatchNormV3":
            # TensorFlow raises epsilon to 1.001e-5.
            theirs, ours = graph.attributes(graph.nodes[layer])["epsilon"], op.get_attr("epsilon")
            if abs(theirs - ours) > 2e-8:
                expect(layer, "epsilon", f"{theirs:.3g}", f"{ours:.3g}")
            continue
        theirs, ours = _windows(graph, layer, op, rates.get(layer))
        for what in ours:
            expect(layer, what, theirs[what], ours[what])

    theirs = [
        (n.op_type[0], list(a["kernel_shape"]), list(a.get("strides", [1, 1])))
        for n in graph.model.graph.node
        if n.op_type in ("MaxPool", "AveragePool") and (a := graph.attributes(n))
    ]
    ours = [
        (op.type[0], list(op.get_attr("ksize")[1:3]), list(op.get_attr("strides")[1:3]))
        for op in tf_graph.get_operations()
        if op.type in ("MaxPool", "AvgPool")
    ]
    expect("pooling", "windows and strides", theirs[: len(ours)], ours)
    return problems, checked + len(ours)


def _windows(
    graph: _Onnx, layer: str, op: "tf.Operation", rate: list[int] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a convolution moves over its input, in ONNX and in TensorFlow; `rate` is that of a decomposed one."""
    node = graph.nodes[layer]
    attributes = graph.attributes(node)
    theirs = {
        "stride": list(attributes.get("strides", [1, 1])),
        "dilation": list(attributes.get("dilations", [1, 1])),
        "groups": attributes.get("group", 1),
        "padding": list(attributes.get("pads", [0] * 4)),
    }
    strides, dilations = op.get_attr("strides")[1:3], rate or op.get_attr("dilations")[1:3]
    kernel, sides = op.inputs[1].shape.as_list()[:2], graph.shapes[node.input[0]][2:]
    same = [_same_padding(*s) for s in zip(sides, kernel, strides, dilations, strict=True)]
    padding = [before for before, _ in same] + [after for _, after in same]
    return theirs, {"stride": list(strides), "dilation": list(dilations), "groups": 1, "padding": padding}


def _same_padding(side: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's SAME padding, before and after."""
    total = max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
    return total // 2, total - total // 2


def _picture(recipe: Recipe, size: Sequence[int]) -> np.ndarray:
    """A drawn picture, preprocessed, float32 [1, h, w, 3]."""
    from PIL import Image

    from common.data.sample import draw

    pixels = np.asarray(Image.fromarray(draw(3)[0]).resize(size[::-1], Image.BILINEAR), np.float32)
    pixels = pixels[..., ::-1] if recipe.channel_order == "bgr" else pixels
    return ((pixels - np.array(recipe.pixel_mean, np.float32)) * np.float32(recipe.pixel_scale))[None]


def _run_onnx(graph: _Onnx, node: str, picture: np.ndarray) -> np.ndarray:
    """The node's value on a picture [1, h, w, 3], as [1, h', w', c]."""
    from common.engines.programs import import_onnxruntime

    onnxruntime = import_onnxruntime()
    output = graph.nodes[node].output[0]
    if output not in {o.name for o in graph.model.graph.output}:
        graph.model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4  # its errors are raised, too
    try:
        run = onnxruntime.InferenceSession(graph.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        name = run.get_inputs()[0].name
        scores = run.run([output], {name: np.ascontiguousarray(picture.transpose(0, 3, 1, 2))})[0]
    except Exception as error:  # onnxruntime's own
        raise UserError(f"{graph.source}: cannot be run ({_line(error)})") from None
    return scores.transpose(0, 2, 3, 1) if scores.ndim == 4 else scores


def write_checkpoint(filled: Filled, out: Path) -> str:
    """Write variables and recipe as a checkpoint; returns one line about it."""
    from common.weights.checkpoints import write

    write(out, filled.variables, filled.recipe)
    count = sum(v.size for v in filled.variables.values())
    compared = "not run on a picture: a part is left out"
    if filled.difference is not None:
        compared = f"largest difference on a picture {filled.difference:.1e} of the largest score"
    return f"{out}: {len(filled.variables)} variables, {count:,} parameters, {filled.layers} layers alike; {compared}"


def pattern(text: str) -> re.Pattern:
    """A `--not-loaded` argument. Raises UserError when it is no regular expression."""
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"--not-loaded {text}: is not a regular expression ({error})") from None


def _line(error: Exception) -> str:
    return brief((str(error).strip().splitlines() or [type(error).__name__])[0])


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="CKPT", help="checkpoint prefix to write")
    parser.add_argument("--set", dest="settings", metavar="K=V", nargs="+", action="extend", default=[])
    parser.add_argument(
        "--not-loaded", metavar="REGEX", nargs="+", default=[],
        help="variables and layers to leave out, such as a classifier that the file lacks",
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m converters.onnx_to_tf",
        description="Convert ONNX (from Caffe) to a TensorFlow checkpoint.",
        example="--onnx out/largefov.onnx --reproduction v1 --out out/largefov.ckpt",
    )
    parser.add_argument("--onnx", type=Path, required=True, metavar="X.onnx")
    parser.add_argument("--reproduction", required=True, choices=SCORES)
    parser.add_argument("--variant", help="recipe of the reproduction (default: the one that is Caffe's network)")
    add_common_arguments(parser)
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    stage("reading the graph")
    model = load_onnx(args.onnx)
    settings = [*([f"variant={args.variant}"] if args.variant else []), *args.settings]
    filled = convert(model, load_reproduction(args.reproduction), settings, args.not_loaded, str(args.onnx))
    show(write_checkpoint(filled, args.out))


if __name__ == "__main__":
    sys.exit(main())
