"""DeepLab v2 against the answers of the original program (TensorFlow 1.15)."""

import numpy as np
import pytest
from PIL import Image

from common.inference.segmenter import Segmenter
from common.tf1 import tf
from common.weights import weights as checkpoints
from reproductions.v2 import REPRODUCTION
from reproductions.v2.model import network
from tests.helpers.golden_cases import parsed
from tests.parity import v2
from tests.parity.measurement import check
from tests.parity.v2 import CASES, CASES_AND_MODES

each_case = pytest.mark.parametrize("case", CASES)
each_mode = pytest.mark.parametrize(("case", "mode"), CASES_AND_MODES)


def test_cases_are_there():
    assert CASES, "no v2.npz in GOLDEN_DIR"


@each_case
def test_variables(case):
    check(v2.variables(case))


@each_mode
def test_logits_and_labels(case, mode):
    check(v2.logits_and_labels(case, mode))


@each_mode
def test_losses_gradients_and_training(case, mode):
    check(v2.losses_gradients_and_training(case, mode))


@each_case
def test_accumulated_gradients_train_alike(case):
    check(v2.accumulated_gradients(case))


@pytest.fixture(scope="module", params=CASES)
def weight_files(request, tmp_path_factory):
    """A case, with its weights as .npz, as V2 checkpoint and as V1 file, and its picture as PNG."""
    case, folder = request.param, tmp_path_factory.mktemp("weights")
    values = v2.values(case)
    np.savez(folder / "x.npz", **values)
    with tf.Graph().as_default(), tf.Session() as session:
        # From empty placeholders: hundreds of megabytes of constants don't belong in a graph.
        variables = [tf.get_variable(name, value.shape) for name, value in values.items()]
        session.run([v.initializer for v in variables], {v.initializer.inputs[1]: values[v.op.name] for v in variables})
        for version, name in ((tf.train.SaverDef.V2, "v2.ckpt"), (tf.train.SaverDef.V1, "v1.ckpt")):
            saver = tf.train.Saver(variables, write_version=version)
            saver.save(session, str(folder / name), write_meta_graph=False, write_state=False)
    Image.fromarray(v2.inputs(case)[0][0]).save(folder / "picture.png")
    yield case, folder
    for file in folder.iterdir():  # half a gigabyte a case
        file.unlink()


@pytest.mark.parametrize("weights", ["x.npz", "v2.ckpt", "v1.ckpt"])
def test_predict_from_the_command_line(weight_files, weights, tmp_path):
    from common.cli import main

    case, folder = weight_files
    if v2.inputs(case)[0].shape[0] > 1:
        pytest.skip("predict takes pictures one by one")
    settings = [] if parsed(CASES[case]["input"]).get("dilated_type") != "decompose" else ["dilated_type=decompose"]
    arguments = ["predict", f"{folder}/picture.png", "--checkpoint", f"{folder}/{weights}", "--out", str(tmp_path)]
    settings = ["--set", "eval_size=native", *settings]
    assert main(REPRODUCTION, [*arguments, "--save-logits", "--quiet", *settings]) == 0
    label = np.asarray(Image.open(tmp_path / "picture.png"))
    check(v2.from_weight_file(case, np.load(tmp_path / "picture.npy"), label))


def test_msc_variant_on_any_weights(weight_files):
    """`variant=deeplab_msc` keeps the encoder that the names tell."""
    case, folder = weight_files
    if "msc_logits" not in CASES[case]:
        pytest.skip("the original has no multi-scale program for it")
    weights = checkpoints.Weights(folder / "x.npz")
    chosen = REPRODUCTION.recipe_to_run(["variant=deeplab_msc"], weights)
    with Segmenter(network, chosen, weights) as segmenter:
        check(v2.segmented(case, "msc_", segmenter))
