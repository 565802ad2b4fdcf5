"""DeepLab v3+: what the comparisons with the seed and with the official zoo share."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.inference.segmenter import Segmenter
from common.nets.network import build
from common.nets.pictures import preprocess
from common.recipe.recipe import Recipe, format_value
from common.tf1 import tf
from common.weights.weights import Weights
from reproductions.v3plus import REPRODUCTION
from reproductions.v3plus.from_weights import fields_from_weights
from reproductions.v3plus.model import network
from reproductions.v3plus.variants import PASCAL
from tests.helpers import golden_cases
from tests.helpers.golden_cases import fill, parsed
from tests.parity.measurement import Measurement, by_largest, by_name, by_pixel

EIGHTH = "multiscale_flip_probabilities_every_8th_pixel"  # label maps of random weights have few classes: these tell

# What no weight file tells, and the case's configuration does.
TOLD = (
    "output_stride", "eval_output_stride", "atrous_rates", "scale_atrous_rates", "multi_grid", "eval_size",
    "decoder_output_stride", "image_pooling_crop_size", "image_pooling_stride", "image_se_uses_qsigmoid",
    "image_pyramid", "merge_method", "nas_remove_os32_stride", "bounded_activation",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cases:
    """The cases of one original, and how its configurations are read.

    Attributes:
      cases: case -> field -> array.
      fields: a case's configuration and input -> recipe fields.
    """

    cases: Mapping[str, Mapping[str, np.ndarray]]
    fields: Callable[[dict, dict], dict[str, Any]]

    def measurements(self) -> Iterator[Measurement]:
        """Every comparison with every case that both originals answer."""
        for case in self.cases:
            yield from self.variables(case)
            yield from self.logits_and_labels(case)
            yield from self.weight_file(case)

    def inputs(self, case: str) -> tuple[np.ndarray, np.ndarray]:
        """A case's pictures and labels."""
        return golden_cases.inputs(self.cases[case])

    def config(self, case: str) -> dict[str, Any]:
        """The original's configuration of a case."""
        return parsed(self.cases[case]["config"])

    def shapes(self, case: str) -> dict[str, tuple[int, ...]]:
        """The original's variables."""
        return {entry[0]: tuple(entry[1]) for entry in parsed(self.cases[case]["variables"])}

    def settled(self, case: str) -> dict[str, Any]:
        """The recipe fields that the names and shapes of a case's variables tell."""
        return fields_from_weights(self.shapes(case))

    def recipe(self, case: str) -> Recipe:
        """The recipe from the names of the variables, and what they don't tell from the case's configuration."""
        told = self.fields(self.config(case), parsed(self.cases[case]["input"]))
        native = {"scale_atrous_rates": False, "eval_size": "native"}  # the case gives the rates of its output stride
        return PASCAL.derive(**self.settled(case) | told | native)

    def variables(self, case: str) -> list[Measurement]:
        """Names, shapes, and which are trained where the original's answers say so."""
        with tf.Graph().as_default():
            build(network, tf.zeros([1, 97, 97, 3]), self.recipe(case))
            ours = {v.op.name: [v.shape.as_list(), v.trainable] for v in tf.global_variables()}
        theirs = {name: about for name, *about in parsed(self.cases[case]["variables"])}
        told = {name: about[: len(theirs.get(name, about))] for name, about in ours.items()}
        return [by_name(case, told, theirs)]

    def logits_and_labels(self, case: str) -> list[Measurement]:
        """Logits at the output stride or the decoder's, and the label maps."""
        image, golden, about = self.inputs(case)[0], self.cases[case], self.recipe(case)
        with tf.Graph().as_default(), tf.Session() as session:
            logits = build(network, preprocess(tf.constant(image), about), about).logits
            labels = tf.argmax(tf.image.resize_bilinear(logits, image.shape[1:3], align_corners=True), axis=3)
            fill(session)
            ours, predicted = session.run((logits, labels))
        return [by_largest(case, "logits", ours, golden["logits"]), by_pixel(case, predicted, golden["prediction"])]

    def weight_file(self, case: str) -> list[Measurement]:
        """The command line's network on a file known by its names: one scale, and scales with mirror."""
        with tempfile.TemporaryDirectory() as folder:
            values = {name: golden_cases.weights.weight(name, shape) for name, shape in self.shapes(case).items()}
            np.savez(f"{folder}/x.npz", **values)
            weights = Weights(Path(folder) / "x.npz")
            told = self.recipe(case).to_json()
            chosen = REPRODUCTION.recipe_to_run([f"{k}={format_value(told[k])}" for k in TOLD], weights)
            found = self._segmented(case, chosen, weights)
            if "multiscale_flip_prediction" in self.cases[case]:
                found += self._fused(case, chosen.derive(eval_scales=(0.5, 1.0, 1.25), eval_flip=True), weights)
            return found

    def _segmented(self, case: str, recipe: Recipe, weights: Weights) -> list[Measurement]:
        image, golden = self.inputs(case)[0][0], self.cases[case]
        with Segmenter(network, recipe, weights) as segmenter:
            logits, label = segmenter.logits(image), segmenter.label(image)
        return [
            by_largest(case, "logits", logits, golden["logits"][0], detail="from a weight file"),
            by_pixel(case, label, golden["prediction"][0], detail="from a weight file"),
        ]

    def _fused(self, case: str, recipe: Recipe, weights: Weights) -> list[Measurement]:
        """Label map, and where the original's answers have them the probabilities, fused over scales and mirrored."""
        image, golden = self.inputs(case)[0][0], self.cases[case]
        how = "scales 0.5, 1, 1.25 with mirror"
        with Segmenter(network, recipe, weights) as segmenter:
            label, fused = segmenter.label(image), segmenter.probabilities(image)
        found = [by_pixel(case, label, golden["multiscale_flip_prediction"][0], detail=how)]
        if EIGHTH in golden:
            found.append(by_largest(case, "logits", fused[::8, ::8], golden[EIGHTH][0], detail=f"probabilities, {how}"))
        return found
