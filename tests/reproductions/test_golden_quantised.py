"""8 bit networks against research/deeplab's with fake quantisation, and its exporter's answers."""

import numpy as np
import pytest

from converters import frozen_to_tf
from reproductions import v3plus
from tests.conftest import SHARED
from tests.helpers import golden_cases
from tests.helpers.golden_cases import inputs, parsed
from tests.parity.measurement import check
from tests.parity.v3plus_quant import QUANTISED, graph_is_of

EXPORTED = {
    name: case
    for name, case in golden_cases.load("export_answers", SHARED / "golden").items()
    if "8bit.pb" in str(case.get("graph"))
}
each_case = pytest.mark.parametrize("case", QUANTISED.cases)


@each_case
def test_names_tell_that_a_network_has_8_bits(case):
    assert QUANTISED.settled(case)["quantize_delay_step"] == 0
    assert "quantize_delay_step" not in golden_settled(case)


def golden_settled(case):
    shapes = {name: shape for name, shape in QUANTISED.shapes(case).items() if "_quant/" not in name}
    return v3plus.REPRODUCTION.fields_from_weights(shapes)


@each_case
def test_variables(case):
    check(QUANTISED.variables(case))


@each_case
def test_scores_and_labels(case):
    check(QUANTISED.answers(case))


@each_case
def test_the_same_numbers_as_the_official_graph_run_here(case):
    if not graph_is_of(case):
        pytest.skip("the official 8 bit graph is not on this machine")
    check(QUANTISED.graph(case))


@pytest.mark.skipif(not EXPORTED, reason="the official exporter's files are not on this machine")
def test_a_frozen_graphs_checkpoint_answers_as_the_exporter_did(tmp_path):
    """With its ranges; labels of random weights lie close together, and roundings flip them."""
    graph = SHARED / "golden" / str(next(iter(EXPORTED.values()))["graph"])
    assert frozen_to_tf.main([str(graph), "--out", str(tmp_path / "model.ckpt")]) == 0
    with v3plus.segmenter(tmp_path / "model.ckpt") as segmenter:
        assert segmenter.recipe.quantize_delay_step == 0
        for case in EXPORTED.values():
            label = segmenter.label(inputs(case)[0][0])
            assert np.mean(label == case["SemanticPredictions"].squeeze()) > 0.95
            assert segmenter.recipe.output_stride == parsed(case["config"])["os"]
