"""DeepLab v3+ against research/deeplab's graphs (TensorFlow 1.15), and a published model of its on photographs."""

from collections.abc import Iterator
from typing import Any

from common.data.masks import read_image
from common.downloads.fetch import fetch
from common.errors import UserError
from common.inference.segmenter import Segmenter
from common.weights.weights import Weights
from reproductions.v3plus import REPRODUCTION
from reproductions.v3plus.model import network
from tests.conftest import SHARED
from tests.helpers import golden_cases
from tests.parity.measurement import Measurement, Skipped, by_largest, by_pixel
from tests.parity.v3plus import Cases

PUBLISHED = "max_image_segmenter"  # of common/downloads/manifest.yaml
PHOTOGRAPHS = SHARED / "data" / "VOC2012-subset" / "JPEGImages"
REAL = golden_cases.load("mnv2_real").get("", {})


# The official flags that a weight file does not tell, and the recipe's names of them.
FLAGS = {
    "image_pooling_crop_size": "image_pooling_crop_size",
    "image_pooling_stride": "image_pooling_stride",
    "image_se_uses_qsigmoid": "image_se_uses_qsigmoid",
    "image_pyramid": "image_pyramid",
    "merge_method": "merge_method",
    "logits_kernel_size": "logits_kernel_size",
    "nas_remove_os32_stride": "nas_remove_os32_stride",
    "use_bounded_activation": "bounded_activation",
}


def _fields(config: dict, _: dict) -> dict[str, Any]:
    decoder = config["dec"] or ()
    told = {ours: () if config[flag] is None else config[flag] for flag, ours in FLAGS.items() if flag in config}
    return {
        "output_stride": config["os"],
        "eval_output_stride": config["os"],
        "atrous_rates": tuple(config["rates"] or ()),
        "multi_grid": tuple(config["mg"] or ()),
        "decoder_output_stride": tuple([decoder] if isinstance(decoder, int) else decoder) or (4,),
        **{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()},
    }


ZOO = Cases(golden_cases.load("zoo") | golden_cases.load("zoo_more"), _fields)
CASES = ZOO.cases


def measurements() -> Iterator[Measurement | Skipped]:
    """Every comparison with every case, and the photographs where they and the weights can be had."""
    yield from ZOO.measurements()
    try:
        yield from photographs()
    except UserError as error:
        yield Skipped("real label maps", str(error))


def photographs(checkpoint: Weights | None = None) -> list[Measurement]:
    """The published MobileNetV2 model on VOC's photographs: label maps at their sizes, and logits of some.

    Raises UserError when the answers, the photographs or the weights (fetched, unless a checkpoint is given) are not
    to be had.
    """
    names = [key for key in REAL if not key.endswith("_logits")]
    if not names:
        raise UserError("GOLDEN_DIR has no mnv2_real.npz")
    if not PHOTOGRAPHS.is_dir():
        raise UserError("the real VOC pictures are not on this machine")
    weights = checkpoint or Weights(fetch(PUBLISHED, quiet=True).ready[0].path)
    recipe = REPRODUCTION.recipe_to_run(["eval_output_stride=8", "eval_size=513"], weights)
    found = []
    with Segmenter(network, recipe, weights) as segmenter:
        for name in names:
            label, logits = segmenter.label_and_logits(read_image(PHOTOGRAPHS / f"{name}.jpg"))
            found.append(by_pixel(name, label, REAL[name], what="real label maps"))
            if f"{name}_logits" in REAL:
                found.append(by_largest(name, "real logits", logits, REAL[f"{name}_logits"]))
    return found
