"""`python -m converters.caffe_to_tf`: convert a released DeepLab `.caffemodel` to a checkpoint, through ONNX."""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import onnx
from google.protobuf import text_format

from common import program
from common.console import say, show, stage
from common.errors import UserError, quoted
from converters.caffe_blobs import Blobs, read_blobs
from converters.caffe_net import read_net, renamed
from converters.caffe_schema import NetParameter
from converters.caffe_to_onnx import add_stage
from converters.caffe_to_onnx import convert as to_onnx
from converters.deploy import MODELS, as_convolutions, recognised
from converters.onnx_to_tf import (
    MAX_SIDE,
    SCORES,
    add_common_arguments,
    convert,
    load_reproduction,
    pattern,
    write_checkpoint,
)

WEIGHTED = ("Convolution", "BatchNorm", "Scale")  # types of layers in the released nets


def _renaming(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if not old or not new:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not like fc8_mine=fc8_voc12")
    return old, new


def by_place(names: Iterable[str], released: Iterable[str], scores: str) -> dict[str, str]:
    """Rename the last layer, which people name after their own data: `fc1_mine_c0` for `fc1_voc12_c0`.

    Args:
      names: the file's layers with weights.
      released: the released net's layers with weights.
      scores: the released net's name of the layer that makes its scores.

    Returns:
      Old -> new; empty when the file has the released net's layers, or when more than one layer could be meant.
    """
    names, released = list(names), list(released)
    others, lacking = [n for n in names if n not in set(released)], [n for n in released if n not in set(names)]
    is_head = lacking and all(n == scores or n.startswith(f"{scores}_") for n in lacking)
    if not is_head or len(others) != len(lacking):
        return {}
    ends = [name.removeprefix(scores) for name in lacking]
    pairs = zip(sorted(others), sorted(ends), strict=True)
    old = {name.removesuffix(end) if name.endswith(end) else "" for name, end in pairs}
    return {old.pop(): scores} if len(old) == 1 and "" not in old else {}


def _without(prototxt: str, patterns: list[str]) -> str:
    """The built-in prototxt (one layer per line) without optional layers that the caffemodel lacks."""
    lines, skip = prototxt.splitlines(), [pattern(p) for p in patterns]
    return "\n".join(
        line for line in lines if not any(p.search(line.partition('"')[2].partition('"')[0]) for p in skip)
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = program.ArgumentParser(
        prog="python -m converters.caffe_to_tf",
        description="Convert a .caffemodel to a TensorFlow checkpoint.",
        example="--caffemodel weights/deeplab_largefov/train2_iter_8000.caffemodel --out out/largefov.ckpt",
    )
    parser.add_argument("--model", choices=MODELS, help="which released net it is (default: its layers tell)")
    parser.add_argument(
        "--caffemodel", type=Path, required=True, metavar="M", help="its weights, .caffemodel or .caffemodel.h5"
    )
    parser.add_argument(
        "--prototxt", type=Path, metavar="P", help="its prototxt (default: the released net's, built in)"
    )
    parser.add_argument(
        "--size",
        type=program.whole_number(1, 10_000),
        metavar="N",
        help="side of the picture both graphs are run on (default: the prototxt's; built in: 161)",
    )
    parser.add_argument(
        "--rename", type=_renaming, action="append", default=[], metavar="OLD=NEW",
        help="call a layer of the files as the released net does: fc8_mine=fc8_voc12; fc1_mine_c0 goes with fc1_mine",
    )  # fmt: skip
    add_stage(parser)
    add_common_arguments(parser)
    args = parser.parse_args(arguments)
    return program.run(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    stage("reading the weights")
    blobs = read_blobs(args.caffemodel)
    model = args.model or recognised(blobs)
    if model is None:
        raise UserError(f"{args.caffemodel}: has the layers of no released net; if it is one, say which by --model")
    reproduction, variant, _ = MODELS[model]
    stage("making a graph of the net")
    graph = _to_onnx(args, model, blobs, SCORES[reproduction][1])
    settings = [f"variant={variant}", *args.settings]
    filled = convert(graph, load_reproduction(reproduction), settings, args.not_loaded, str(args.caffemodel))
    show(write_checkpoint(filled, args.out))


def _to_onnx(args: argparse.Namespace, name: str, blobs: Blobs, scores: str) -> onnx.ModelProto:
    """The ONNX graph of the net, its last layer called `scores`; notes go to stderr."""
    deploy = MODELS[name][2]
    size = args.size if args.prototxt else args.size or 161
    if size is not None and not 1 <= size <= MAX_SIDE:
        raise UserError(f"--size {size}: must be from 1 to {MAX_SIDE}")
    layers = text_format.Parse(deploy(1), NetParameter()).layer
    released = [layer.name for layer in layers if layer.type in WEIGHTED]
    if args.prototxt is None:
        kernels = {layer.name: layer.convolution_param.kernel_size for layer in layers}
        blobs = as_convolutions(blobs, {name: sides[0] for name, sides in kernels.items() if sides})
    rename = dict(args.rename) or by_place(blobs, released, scores)
    heads = (values for name, values in blobs.items() if renamed(name, rename).startswith(scores))
    classes = next((len(values[0]) for values in heads if values), 21)
    with tempfile.TemporaryDirectory() as folder:
        prototxt = args.prototxt or Path(folder) / f"built-in {name}.prototxt"
        if args.prototxt is None:
            prototxt.write_text(_without(deploy(size, classes), args.not_loaded))
        try:
            net = read_net(prototxt, args.caffemodel, stages=args.stage, rename=rename, blobs=blobs)
            model = to_onnx(net, {None: (1, 3, size, size)} if size else None)
        except UserError as error:
            hint = f"; if it has another name, --rename OLD={scores}" if f"'{scores}" in str(error) else ""
            raise UserError(str(error).replace(f"{folder}/", "") + hint) from None
    taken = [
        f"{old} is taken for {new}; use --rename if that is wrong" for old, new in rename.items() if not args.rename
    ]
    for note in [*net.notes, *taken]:
        say(f"note: {note}")
    return model


if __name__ == "__main__":
    sys.exit(main())
