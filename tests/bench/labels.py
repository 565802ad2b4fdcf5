"""`python -m tests.bench.labels CHECKOUT`: label maps of this checkout against another one's, pixel by pixel.

Take a clone of an earlier commit. Each checkout segments the same pictures in a process of its own: MobileNetV2 with
its published weights at two output strides and with six scales and mirrors, and the other networks with weights that
are drawn from a fixed seed.
"""

import argparse
import importlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT.parent / "shared" / "data" / "VOC2012-subset" / "JPEGImages"
SCALES = ("eval_output_stride=8", "eval_scales=[0.5,0.75,1.0,1.25,1.5,1.75]", "eval_flip=true")
LARGE = 6  # times as wide and as high: the first layers go by bands


@dataclass(frozen=True)
class Case:
    """A network, and its pictures.

    Attributes:
      reproduction, variant, settings: of the network; without a variant it is what the published weights need.
      pictures: how many.
      enlarged: how many times as wide and as high as they are.
    """

    reproduction: str
    variant: str | None = None
    settings: tuple[str, ...] = ()
    pictures: int = 5
    enlarged: int = 1


CASES = {
    "MobileNetV2, stride 8": Case("v3plus", settings=("eval_output_stride=8",), pictures=100),
    "MobileNetV2, stride 16": Case("v3plus", settings=("eval_output_stride=16",), pictures=100),
    "MobileNetV2, six scales and mirrors": Case("v3plus", settings=SCALES, pictures=20),
    "MobileNetV2, large": Case("v3plus", settings=("eval_output_stride=16",), enlarged=LARGE),
    "v1": Case("v1", "original"),
    "v1, large": Case("v1", "original", pictures=2, enlarged=LARGE),
    "v2": Case("v2", "deeplab"),
    "v3": Case("v3", ""),
    "v3, large": Case("v3", "", pictures=2, enlarged=LARGE),
    "v3+ Xception-65": Case("v3plus", "xception65_pascal_trainval", ("eval_output_stride=16",)),
    "v3+ simplified": Case("v3plus_simplified", ""),
}


def drawn(name: str, shape: list[int], rng: np.random.RandomState) -> np.ndarray:
    """Values for a variable that keep activations in range through many layers."""
    if "variance" in name or "gamma" in name:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) == 4:
        inputs = shape[0] * shape[1] * (1 if "depthwise" in name else shape[2])
        return (rng.randn(*shape) * (2 / inputs) ** 0.5).astype(np.float32)
    return (rng.randn(*shape) * 0.1).astype(np.float32)


def segment(name: str, weights: str, folder: Path) -> None:
    """Write the label maps of a case, as the checkout in the working folder makes them."""
    sys.path.insert(0, str(Path.cwd()))
    from common.inference.segmenter import Segmenter
    from common.recipe.settings import apply_settings
    from common.tf1 import tf
    from common.weights.weights import Weights

    case = CASES[name]
    reproduction = importlib.import_module(f"reproductions.{case.reproduction}").REPRODUCTION
    given, settings = Weights(weights) if case.variant is None else None, list(case.settings)
    if given:
        recipe = reproduction.recipe_to_run(settings, given)
    else:
        recipe = apply_settings(reproduction.variants, case.variant or reproduction.default_variant, settings)
    with Segmenter(reproduction.load_network(), recipe, given) as segmenter:
        if given is None:
            variables = segmenter._session.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
            rng, shapes = np.random.RandomState(1), {v.op.name: v.shape.as_list() for v in variables}
            segmenter.assign({variable: drawn(variable, shapes[variable], rng) for variable in sorted(shapes)})
        for path in sorted(PICTURES.glob("*.jpg"))[: 7 * case.pictures : 7]:
            picture = Image.open(path).convert("RGB")
            picture = picture.resize([side * case.enlarged for side in picture.size], Image.BILINEAR)
            np.save(folder / f"{path.stem}.npy", segmenter.label(np.asarray(picture)))


def main(arguments: list[str] | None = None) -> int:
    """Compare, and print a line for each case; the exit status is 1 when a pixel differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path, help="a checkout")
    parser.add_argument("--weights", required=True, help="MobileNetV2's published checkpoint")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be repeated")
    parser.add_argument("--segment", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.segment:
        segment(args.case[0], args.weights, args.segment)
        return 0
    unequal = 0
    for name in args.case or CASES:
        with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
            for folder, checkout in ((here, ROOT), (there, args.other)):
                options = ["--weights", str(Path(args.weights).resolve()), "--case", name, "--segment", folder]
                command = [sys.executable, __file__, str(args.other), *options]
                subprocess.run(command, cwd=checkout, check=True)
            pairs = [(np.load(path), np.load(Path(there) / path.name)) for path in Path(here).iterdir()]
        differing, pixels = sum(int((a != b).sum()) for a, b in pairs), sum(a.size for a, _ in pairs)
        print(f"{name}: {differing} of {pixels} pixels differ, {len(pairs)} pictures", flush=True)
        unequal += differing
    return 1 if unequal else 0


if __name__ == "__main__":
    sys.exit(main())
