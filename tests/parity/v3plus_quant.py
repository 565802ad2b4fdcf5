"""DeepLab v3+ in 8 bits against research/deeplab's graph with fake quantisation (tf.contrib.quantize, TensorFlow 1.15).

A sum in another order rounds to another step, and all layers behind it then do so too. TensorFlow of today and of then
differ by that: the official graph itself, run here, is as far from its answers of then as ours is.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from common.nets.network import build
from common.nets.pictures import preprocess
from common.tf1 import tf
from reproductions.v3plus.model import network
from tests.conftest import SHARED
from tests.helpers import golden_cases
from tests.helpers.golden_cases import parsed
from tests.parity.measurement import Measurement, Skipped, by_largest, by_pixel
from tests.parity.v3plus import Cases
from tests.parity.v3plus_zoo import _fields

GRAPH = SHARED / "golden/export_mnv2_dm05_8bit.pb"  # the official exporter's, with the same weights and ranges
STEPS = 255  # between the ends of a range
MOST_STEPS = 6  # that scores may be off
FLIPS = "other sums round to other steps; the official graph, run here, is as far from its answers under 1.15"


@dataclasses.dataclass(frozen=True)
class QuantisedCases(Cases):
    """Cases whose weights come with ranges."""

    def values(self, case: str) -> dict[str, np.ndarray]:
        """The values of all variables by name."""
        golden = self.cases[case]
        ranges = dict(zip(parsed(golden["quant_variables"]), golden["quant_values"], strict=True))
        weights = {name: shape for name, shape in self.shapes(case).items() if name not in ranges}
        return ranges | {name: golden_cases.weights.weight(name, shape) for name, shape in weights.items()}

    def run(self, case: str, **fields: object) -> tuple[np.ndarray, np.ndarray]:
        """The scores of the case's picture by its recipe with some `fields` changed, and its labels."""
        image, recipe, values = self.inputs(case)[0], self.recipe(case).derive(**fields), self.values(case)
        with tf.Graph().as_default(), tf.Session() as session:
            logits = build(network, preprocess(tf.constant(image), recipe), recipe).logits
            labels = tf.argmax(tf.image.resize_bilinear(logits, image.shape[1:3], align_corners=True), axis=3)
            session.run(
                [v.initializer for v in tf.global_variables()],
                {v.initializer.inputs[1]: values[v.op.name] for v in tf.global_variables()},
            )
            return session.run((logits, labels))

    def answers(self, case: str) -> Iterator[Measurement]:
        """Scores and labels with and without rounding, against the golden ones."""
        golden, (logits, labels) = self.cases[case], self.run(case)
        values = dict(zip(parsed(golden["quant_variables"]), golden["quant_values"], strict=True))
        width = values["logits/semantic/act_quant/max"] - values["logits/semantic/act_quant/min"]
        allowed = MOST_STEPS * width / STEPS / np.abs(golden["logits"]).max()
        yield by_largest(case, "logits", logits, golden["logits"], tolerance=float(allowed), exception=FLIPS)
        yield by_pixel(case, labels, golden["prediction"], tolerance=0.05, exception=FLIPS)
        floats = self.run(case, quantize_delay_step=-1)[0]
        yield by_largest(case, "logits", floats, golden["float_logits"], detail="without rounding")

    def graph(self, case: str) -> Iterator[Measurement]:
        """Scores and labels against those that the official graph gives here."""
        logits, labels = self.run(case)
        theirs = run_graph(self.inputs(case)[0])
        yield by_largest(case, "logits", logits, theirs["logits"], detail="the official graph run here")
        yield by_pixel(case, labels, theirs["labels"], detail="the official graph run here")


def run_graph(image: np.ndarray) -> Mapping[str, np.ndarray]:
    """Scores and labels of a picture, [1, h, w, 3], by GRAPH."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(tf.GraphDef.FromString(GRAPH.read_bytes()), name="")
        tensors = {"logits": "logits/semantic/act_quant/FakeQuantWithMinMaxVars:0", "labels": "SemanticPredictions:0"}
        return session.run(tensors, {"ImageTensor:0": image})


QUANTISED = QuantisedCases(golden_cases.load("quant_mnv2"), _fields)


def graph_is_of(case: str) -> bool:
    """Whether GRAPH is there and has the weights and ranges of a case."""
    about, config = parsed(QUANTISED.cases[case]["input"]), QUANTISED.config(case)
    size = about["height"], about["width"], about["batch"]
    return GRAPH.is_file() and config.get("depth_multiplier") == 0.5 and config["os"] == 16 and size == (129, 129, 1)


def measurements() -> Iterator[Measurement | Skipped]:
    """Every comparison with every case, and with the official graph where it is on this machine."""
    for case in QUANTISED.cases:
        yield from QUANTISED.variables(case)
        yield from QUANTISED.answers(case)
        if graph_is_of(case):
            yield from QUANTISED.graph(case)
        else:
            yield Skipped("logits", "the official 8 bit graph of this case is not on this machine")
