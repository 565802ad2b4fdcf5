"""`python -m converters.caffe_to_tf`: a released DeepLab `.caffemodel` into a checkpoint, through ONNX."""

import sys
import tempfile
from pathlib import Path

from common import program
from common.errors import UserError
from converters.caffe_net import read_net
from converters.caffe_to_onnx import convert as to_onnx
from converters.deploy import MODELS
from converters.onnx_to_tf import MAX_SIDE, add_common_arguments, convert, load_reproduction, pattern, write_checkpoint


def _without(prototxt: str, patterns: list[str]) -> str:
    """The built-in prototxt (a layer a line) without the layers that the caffemodel need not have."""
    lines, skip = prototxt.splitlines(), [pattern(p) for p in patterns]
    return "\n".join(
        line for line in lines if not any(p.search(line.partition('"')[2].partition('"')[0]) for p in skip)
    )


def _main() -> None:
    parser = program.ArgumentParser(description="A .caffemodel into a TensorFlow checkpoint.")
    parser.add_argument("--model", required=True, choices=MODELS, help="which released net it is")
    parser.add_argument("--caffemodel", type=Path, required=True, metavar="M")
    parser.add_argument(
        "--prototxt", type=Path, metavar="P", help="its prototxt (default: the released net's, built in)"
    )
    parser.add_argument(
        "--size", type=int, help="side of the picture both graphs are run on (default: the prototxt's; built in: 161)"
    )
    add_common_arguments(parser)
    args = parser.parse_args()
    reproduction, variant, deploy = MODELS[args.model]
    with tempfile.TemporaryDirectory() as folder:
        prototxt = args.prototxt or Path(folder) / f"built-in {args.model}.prototxt"
        size = args.size if args.prototxt else args.size or 161
        if size is not None and not 1 <= size <= MAX_SIDE:
            raise UserError(f"--size {size}: must be from 1 to {MAX_SIDE}")
        if args.prototxt is None:
            prototxt.write_text(_without(deploy(size), args.not_loaded))
        try:
            net = read_net(prototxt, args.caffemodel)
            model = to_onnx(net, {None: (1, 3, size, size)} if size else None)
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}/", "")) from None
    for note in net.notes:
        print(f"note: {note}", file=sys.stderr)
    del net
    settings = [f"variant={variant}", *args.settings]
    filled = convert(model, load_reproduction(reproduction), settings, args.not_loaded, str(args.caffemodel))
    print(write_checkpoint(filled, args.out))


def main() -> int:
    return program.run(_main)


if __name__ == "__main__":
    sys.exit(main())
