"""The simplified v3+'s base networks, Keras files, configuration, data and training."""

import json
import shutil

import h5py
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from common.errors import UserError
from common.inference.segmenter import Segmenter
from common.nets.network import build
from common.nets.pictures import preprocess
from common.recipe.settings import apply_settings
from common.tf1 import session, tf
from common.training.batches import augment
from common.weights import checkpoint_files
from common.weights.checkpoints import restore
from common.weights.weights import Weights
from converters import keras_to_tf
from reproductions.v3plus_simplified import REPRODUCTION
from reproductions.v3plus_simplified.config import settings
from reproductions.v3plus_simplified.model import BASE_MODELS, network
from reproductions.v3plus_simplified.recipe import CITYSCAPES, DEFAULT, MOBILENETV2, VARIANTS, XCEPTION
from tests.helpers import golden_cases
from tests.parity import keras_features
from tests.parity.keras_features import LARGE, NETWORKS, recipe_of, written_by_keras
from tests.parity.measurement import check
from tests.parity.v3plus_simplified import CASES

GROWN = {f"efficientnetb{number}" for number in range(1, 8)} | {"nasnetlarge"}  # of networks that are tested small


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    """The folder of NETWORKS."""
    return written_by_keras(tmp_path_factory.mktemp("keras"), NETWORKS)


@pytest.mark.parametrize("file", [pytest.param(f, marks=pytest.mark.full) if f == "xception" else f for f in NETWORKS])
def test_features_are_those_of_keras(keras, file):
    check(keras_features.features_of(keras, file))


@pytest.mark.full
@pytest.mark.parametrize("file", LARGE)
def test_features_of_large_networks_are_those_of_keras(file, tmp_path):
    check(keras_features.features_of(written_by_keras(tmp_path, {file: LARGE[file]}), file))
    recipe = REPRODUCTION.recipe_to_run([], Weights(tmp_path / f"{file}.h5"))
    assert recipe.base_model == recipe_of(file).base_model
    (tmp_path / f"{file}.h5").unlink()


@pytest.mark.parametrize("file", NETWORKS)
def test_names_tell_the_base_network(keras, file):
    """All but where it is to be cut, which a whole base network leaves open."""
    recipe, wanted = REPRODUCTION.recipe_to_run([], Weights(keras / f"{file}.h5")), recipe_of(file)
    assert recipe.base_model == wanted.base_model
    assert recipe.mv2_depth_multiplier == wanted.mv2_depth_multiplier
    assert recipe.encoder_middle_conf == wanted.encoder_middle_conf


def convert(*arguments):
    return keras_to_tf.main([str(a) for a in ("--model", "v3plus_simplified", *arguments)])


def test_a_base_network_is_converted_and_starts_a_training(keras, tmp_path, capsys):
    assert convert("--weights", keras / "mobilenetv2.weights.h5", "--out", tmp_path / "base.ckpt") == 0
    assert "195 variables" in capsys.readouterr().out
    recipe = REPRODUCTION.recipe_to_train([], Weights(tmp_path / "base.ckpt"))
    assert recipe.base_model == "mobilenetv2"
    assert recipe.encoder_middle_conf == MOBILENETV2
    with tf.Graph().as_default(), session() as sess:
        build(network, tf.zeros([1, 64, 64, 3]), recipe)
        filled = restore(sess, Weights(tmp_path / "base.ckpt"), tf.model_variables(), recipe.init_not_loaded)
    assert filled == 195


def keras2_file(path, values):
    """A whole model as the original's `model.save` wrote it (Keras 2): nested models, the base network in both."""
    groups = {"encoder": {}, "decoder": {}}
    convs = sorted({int(n.split("/")[0].partition("conv2d_")[2] or 0) for n in values if n.startswith("conv2d")})
    last = {f"conv2d_{convs[-1]}"}  # the scores; of a refined model a convolution more is the decoder's
    for name, value in values.items():
        numbered = name.startswith(("conv2d", "batch_norm", "separable"))
        in_decoder = name.split("/")[0] in last
        groups["decoder" if in_decoder else "encoder"][name] = value
        if not numbered:
            groups["decoder"][name] = value
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [b"input_image", *(g.encode() for g in groups)]
        root.create_group("input_image").attrs["weight_names"] = np.zeros(0, "S1")
        for group, arrays in groups.items():
            names = [f"{name}:0".encode() for name in arrays]
            root.create_group(group)
            if sum(map(len, names)) < 30_000:
                root[group].attrs["weight_names"] = names
            else:  # Keras writes what is too long for one attribute in parts
                for part in range(0, len(names), 200):
                    root[group].attrs[f"weight_names{part // 200}"] = names[part : part + 200]
            for name, value in arrays.items():
                root[group][f"{name}:0"] = value


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory):
    """A golden case, and its weights in the original's own file."""
    name = next((n for n in CASES if n.startswith("mobilenetv2_os16_refine")), None)
    if name is None:
        pytest.skip("no such case in simplified.npz")
    case, path = CASES[name], tmp_path_factory.mktemp("whole") / "model.h5"
    keras2_file(path, {n: golden_cases.weights.weight(n, s) for n, s, _ in golden_cases.parsed(case["variables"])})
    return case, path


def test_the_originals_whole_model_segments_as_it_did(whole_model, tmp_path, capsys):
    """From its .h5 as it is, and converted: the label map of the original."""
    case, path = whole_model
    assert convert("--weights", path, "--out", tmp_path / "whole.ckpt") == 0
    about = golden_cases.parsed(case["input"])
    picture = golden_cases.weights.image(about["seed"], about["height"], about["width"])[0]
    for file in (path, tmp_path / "whole.ckpt"):
        weights = Weights(file)
        segmenter = Segmenter(network, REPRODUCTION.recipe_to_run(["eval_size=native"], weights), weights)
        assert (segmenter.label(picture) == case["prediction"][0]).mean() >= 0.999
        segmenter.close()


@pytest.mark.parametrize(
    ("changes", "base"),
    [
        ({"boundary_refinement": False}, "mobilenetv2"),
        ({"num_classes": 7, "conv_rate_multiplier": 2}, "mobilenetv2"),
        ({"output_stride": 8, "boundary_refinement": False, "bn_scale": False}, "xception"),
        ({}, "nasnetmobile"),
    ],
)
def test_whole_models_of_every_kind_come_back(tmp_path, changes, base):
    """Our network's own variables, written as the original's program would: refined or not, other classes, NASNet."""
    recipe = VARIANTS[base].derive(**changes, **({"class_weights": "auto"} if "num_classes" in changes else {}))
    with tf.Graph().as_default(), session() as sess:
        build(network, tf.zeros([1, 64, 64, 3]), recipe)
        sess.run(tf.global_variables_initializer())
        values = sess.run({v.op.name: v for v in tf.model_variables()})
    keras2_file(tmp_path / "model.h5", originals_names(values, recipe))
    weights = Weights(tmp_path / "model.h5")
    told = [f"{k}={v}" for k, v in changes.items() if k == "conv_rate_multiplier"]
    back = REPRODUCTION.recipe_to_run(told, weights)
    assert weights.names() == values.keys()
    assert all(np.array_equal(weights.value(name), value) for name, value in values.items())
    for field in ("base_model", "output_stride", "boundary_refinement", "num_classes", "bn_scale"):
        assert getattr(back, field) == getattr(recipe, field), field


def originals_names(values, recipe):
    """The file's names of our variables: layers of the head numbered in the order in which they are made."""
    from reproductions.v3plus_simplified.keras_names import SHORTCUTS, VARIABLES, _head_scopes

    leaves = {ours: theirs for theirs, ours in VARIABLES.items()}
    layers = {}
    first = {"conv2d": 0, "batch_normalization": 0, "separable_conv2d": 0}
    if recipe.base_model == "xception":
        for number, block in enumerate(SHORTCUTS):
            layers |= {
                f"block{block}_shortcut": ("conv2d", number),
                f"block{block}_shortcut_bn": ("batch_normalization", number),
            }
        first |= {"conv2d": 4, "batch_normalization": 4}
    for kind, scopes in _head_scopes(recipe.cell, recipe.boundary_refinement).items():
        layers |= {scope: (kind, first[kind] + i) for i, scope in enumerate(scopes)}
    named = {}
    for name, value in values.items():
        scope, _, leaf = name.rpartition("/")
        kind, number = layers.get(scope, (scope, 0))
        named[f"{kind}{f'_{number}' if number else ''}/{leaves.get(leaf, leaf)}"] = value
    return named


def test_missing_layers_are_all_listed(whole_model, tmp_path, capsys):
    """Base layers by name; of the numbered ones what there is and what the design needs."""
    case, _ = whole_model
    shapes = {n: s for n, s, _ in golden_cases.parsed(case["variables"])}
    zeros = {n: np.zeros(s, np.float32) for n, s in shapes.items()}
    lost = ("block_3_expand/", "bn_Conv1/", "block_12_project/")
    keras2_file(tmp_path / "base.h5", {n: v for n, v in zeros.items() if not n.startswith(lost)})
    assert convert("--weights", tmp_path / "base.h5", "--out", tmp_path / "o" / "c") == 2
    message = capsys.readouterr().err
    assert "6 missing in the file" in message
    assert "tell encoder_middle_conf" in message
    assert all(layer in message for layer in ("block_3_expand/weights", "bn_Conv1/gamma", "block_12_project/weights"))
    keras2_file(tmp_path / "head.h5", {n: v for n, v in zeros.items() if not n.startswith("separable_conv2d_2/")})
    assert convert("--weights", tmp_path / "head.h5", "--out", tmp_path / "o" / "c") == 2
    message = capsys.readouterr().err
    assert "its head has 8 conv2d, 4 separable_conv2d, 12 batch_normalization" in message
    assert "--config" in message
    assert not (tmp_path / "o").exists()


def test_other_reproductions_refer_to_the_converter(whole_model):
    from reproductions.v3 import REPRODUCTION as V3

    with pytest.raises(UserError, match="is a Keras file, which v3 does not take .* converters.keras_to_tf"):
        V3.recipe_to_run([], Weights(whole_model[1]))


ARCH = {
    "boundary_refinement": True, "output_stride": 16, "image_size": 64, "num_classes": 21, "mv2_depth_multiplier": 1,
    "depth_multiplier": 1, "conv_rate_multiplier": 1, "reduction_size": 256, "dropout_rate": 0.5,
    "concat_channels": 256, "encoder_middle_conf": json.loads(MOBILENETV2),
    "encoder_middle_conf_xception": json.loads(XCEPTION),
}  # fmt: skip
HPS = {
    "val_ratio": 0.1, "lr": 0.0001, "beta_1": 0.5, "beta_2": 0.99, "decay": 0.0, "epochs": 64, "batch_size": 6,
    "weight_decay": 0.00004, "bn_momentum": 0.9, "bn_scale": True, "reduce_lr_factor": 0.99,
}  # fmt: skip
CONF = {
    "mode": "train", "resource_type": "pascal_voc_2012_ext", "resource_path": "/content/resource",
    "model_loading": False, "multi_gpu": False, "num_gpus": 4, "eval_data_mode": 1, "eval_result_saving": False,
    "base_model": 0, "hps": HPS, "nn_arch": ARCH,
}  # fmt: skip


def configured(tmp_path, **changes):
    conf = {**CONF, **{k: v for k, v in changes.items() if k in CONF}}
    conf["nn_arch"] = {**ARCH, **{k: v for k, v in changes.items() if k not in CONF}}
    (tmp_path / "conf.json").write_text(json.dumps(conf))
    return apply_settings(VARIANTS, "xception", settings(tmp_path / "conf.json"))


def test_the_originals_file_is_its_recipe(tmp_path):
    """The file of the notebook gives the preset, but for the size; numbers and names of base networks are the same."""
    recipe = configured(tmp_path)
    side = {"crop_size": (64, 64), "resize_range": (64, 64), "eval_size": 64}
    assert recipe == VARIANTS["mobilenetv2"].derive(**side)
    assert configured(tmp_path, base_model="mobilenetv2") == recipe
    xception = configured(tmp_path, base_model=1, encoder_middle_conf=json.loads(XCEPTION))
    assert xception == VARIANTS["xception"].derive(**side)


def test_the_mode_of_the_file_is_compared_with_the_command(tmp_path, capsys):
    (tmp_path / "conf.json").write_text(json.dumps({**CONF, "mode": "evaluate"}))
    settings(tmp_path / "conf.json", "evaluate")
    assert not capsys.readouterr().err
    settings(tmp_path / "conf.json", "train")
    assert "its mode is evaluate" in capsys.readouterr().err


def configured_by(tmp_path, keys, **changes):
    """The recipe of a file with these keys besides hps and nn_arch."""
    (tmp_path / "conf.json").write_text(json.dumps({"hps": HPS, "nn_arch": ARCH | changes, **keys}))
    return apply_settings(VARIANTS, "xception", settings(tmp_path / "conf.json"))


def test_a_file_of_2019_trains_by_the_loss_of_2019(tmp_path):
    """Told apart by the key of the data's folder: softmax cross-entropy then, class-balanced since 2021."""
    of_2019 = {"mode": "train", "base_model": 1, "raw_data_path": "/home/ubuntu/deeplabv3plus_keras/resource"}
    of_2021 = {"mode": "train", "base_model": 1, "resource_type": "pascal_voc_2012_ext", "resource_path": "resource"}
    for keys, loss, weights in ((of_2019, "softmax", 0), (of_2021, "class_balanced", 21)):
        recipe = configured_by(tmp_path, keys)
        assert (recipe.loss, len(recipe.class_weights)) == (loss, weights)
    assert configured_by(tmp_path, of_2019, num_classes=7).class_weights == ()
    assert configured_by(tmp_path, of_2021, num_classes=7).class_weights == "auto"
    assert configured_by(tmp_path, of_2019).loss == VARIANTS["readme2019_xception"].loss
    (tmp_path / "conf.json").write_text(json.dumps({"hps": HPS, "nn_arch": ARCH | {"num_classes": 7}, **of_2019}))
    evaluated = apply_settings(VARIANTS, "xception", settings(tmp_path / "conf.json", "evaluate"))
    assert evaluated.loss == "softmax"
    assert evaluated.num_classes == 7


@pytest.mark.parametrize("base", sorted(BASE_MODELS))
def test_a_file_of_each_base_network(tmp_path, base):
    recipe = configured_by(tmp_path, {"base_model": base})
    assert recipe.base_model == base
    assert base.startswith(recipe.variant[:6])


def conv(source, **changes):
    return {"kernel": 3, "rate": [1, 1], "op": "conv", "input": source} | changes


def pool(kernel, factor):
    return {"kernel": kernel, "op": "pyramid_pooling", "input": -1, "target_size_factor": factor}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_middle_conf": [conv(-1), conv(2), conv(0)]}, "branch 1 reads input 2; it must be -1"),
        ({"encoder_middle_conf": [conv(-1), conv(1)]}, "branch 1 reads input 1"),
        ({"encoder_middle_conf": [conv(-1), conv(-2)]}, "branch 1 reads input -2"),
        ({"encoder_middle_conf": [conv(-1), conv(0, op="convolution")]}, "branch 1 has no op that is known"),
        ({"encoder_middle_conf": [conv(-1, rate=[10**9, 1])]}, "branch 0 has rate"),
        ({"encoder_middle_conf": [conv(-1)] * 101}, "has 101 branches; take 100 at most"),
        ({"encoder_middle_conf": [conv(-1, kernel=0)]}, "branch 0 has kernel 0"),
        ({"encoder_middle_conf": [conv(-1, rate=[1])]}, "branch 0 has rate"),
        ({"encoder_middle_conf": [conv(-1, dilation=2)]}, "branch 0 has unknown keys: dilation"),
        ({"encoder_middle_conf": [{"op": "conv", "input": -1}]}, "branch 0 lacks kernel"),
        ({"encoder_middle_conf": [pool(2, [1, 1])]}, "branch 0 pools 4 pixels by 2 and enlarges them 1 times"),
        ({"encoder_middle_conf": [pool(3, [3, 3])]}, "which gives 3; they must be 4 again"),
        ({"encoder_middle_conf": []}, "needs a list of branches"),
        ({"base_model": "resnet"}, "base_model=resnet"),
        ({"base_model": 7}, "base_model=7"),
        ({"base_model": True}, "base_model=True"),
        ({"output_stride": 32}, "output_stride=32"),
        ({"image_size": 72}, "must be multiples of output_stride=16"),
        ({"dropout_rate": 1.0}, "dropout_rate=1.0"),
        ({"imagesize": 64}, "nn_arch has an unknown key imagesize"),
        ({"mode": "predict"}, "mode is predict; there are train, evaluate, test"),
        ({"mode": "convert_to_tf_lite"}, "mode is convert_to_tf_lite: no TensorFlow Lite file is written here; set "),
        ({"resource_type": "google_open_images_v5"}, "resource_type is google_open_images_v5: Open Images' pictures"),
        ({"resource_type": "coco"}, "resource_type is coco; there are pascal_voc_2012, pascal_voc_2012_ext"),
        ({"hps": []}, "needs an object hps"),
        ({"base_model": []}, "base_model=[]: needs one of"),
        ({"mode": []}, "mode is []"),
        ({"image_size": "64"}, "image_size=64: needs a whole number"),
        ({"image_size": 1e400}, "image_size=inf: needs a whole number"),
        ({"num_classes": [1]}, "num_classes=1: needs a whole number"),
        ({"output_stride": 16.0}, "output_stride=16.0: needs 8 or 16"),
        ({"hps": HPS | {"weight_decay": True}}, "weight_decay=True: needs a number"),
        ({"hps": HPS | {"val_ratio": 0.5}}, "val_ratio is 0.5; only 0.1 can be had here"),
        ({"hps": HPS | {"decay": 0.01}}, "decay is 0.01; only 0 can be had here"),
        ({"encoder_middle_conf": [conv(-1, kernel=10**9)]}, "branch 0 has kernel 1000000000"),
    ],
)
def test_bad_configurations_are_one_sentence(tmp_path, changes, message):
    with pytest.raises(UserError) as error:
        configured(tmp_path, **changes)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_no_configuration(tmp_path):
    (tmp_path / "conf.json").write_text('{"nn_arch": ')
    with pytest.raises(UserError, match=r"conf.json: cannot be read as JSON"):
        settings(tmp_path / "conf.json")
    with pytest.raises(UserError, match=r"none.json: cannot be read as JSON"):
        settings(tmp_path / "none.json")
    (tmp_path / "conf.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"conf.json: cannot be read as JSON"):
        settings(tmp_path / "conf.json")


def test_an_evaluation_takes_no_numbers_of_training_from_the_file(tmp_path):
    (tmp_path / "conf.json").write_text(json.dumps(CONF))
    keys = {s.partition("=")[0] for s in settings(tmp_path / "conf.json", "evaluate", quiet=True)}
    assert {"encoder_middle_conf", "base_model", "eval_size", "variant"} <= keys
    assert not keys & {"learning_rate", "epochs", "batch_size", "weight_decay"}


@pytest.mark.parametrize(
    "base",
    [pytest.param(b, marks=pytest.mark.full) if b in GROWN else b for b in sorted(BASE_MODELS)],
)
@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("refined", [True, False])
def test_scores_have_the_size_of_the_picture(base, stride, refined):
    changes = {"base_model": base, "output_stride": stride, "boundary_refinement": refined}
    with tf.Graph().as_default():
        outputs = build(network, tf.zeros([2, 64, 96, 3]), DEFAULT.derive(**changes))
        assert outputs.logits.shape.as_list()[3] == 21
        with session() as sess:
            assert sess.run(tf.shape(outputs.logits)).tolist() == [2, 64, 96, 21]


def test_gamma_is_left_out_where_batch_norm_does_not_scale():
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 64, 64, 3]), VARIANTS["mobilenetv2"].derive(bn_scale=False))
        names = {v.op.name for v in tf.global_variables()}
    assert "aspp0/BatchNorm/beta" in names
    assert "aspp0/BatchNorm/gamma" not in names
    assert "bn_Conv1/gamma" in names


@pytest.mark.parametrize("size", [(50, 80), (81, 50), (64, 64), (37, 61)])
def test_pictures_are_fitted_into_a_square(size):
    """scipy's affine_transform of order 1, as the original; masks likewise where the recipe wants its way."""
    rng = np.random.RandomState(0)
    picture = rng.randint(0, 256, (*size, 3)).astype(np.uint8)
    mask = rng.randint(0, 21, (*size, 1)).astype(np.uint8)
    recipe = DEFAULT.derive(crop_size=(64, 64), resize_range=(64, 64), eval_size=64,
                            mask_interpolation="bilinear", crop_padding="background")  # fmt: skip
    height, width = (int(side / max(size) * 64) for side in size)

    def resized(array):
        factors = np.diag([size[0] / height, size[1] / width, 1.0])
        return scipy.ndimage.affine_transform(
            array, factors, order=1, output_shape=(height, width, array.shape[2]), mode="nearest"
        )

    wanted = resized(2.0 * (picture / 255 - 0.5))
    with tf.Graph().as_default(), tf.Session() as sess:
        image, label = sess.run(
            augment(preprocess(tf.constant(picture), recipe), tf.constant(mask), tf.zeros([4]), recipe)
        )
    top, left = (64 - height) // 2, (64 - width) // 2
    inside = slice(top, top + height), slice(left, left + width)
    np.testing.assert_allclose(image[inside], wanted, atol=2e-5)
    difference = label[inside].astype(int) - resized(mask)
    assert (difference == 0).mean() > 0.98
    assert np.abs(difference).max() <= 1
    outside = np.ones((64, 64), bool)
    outside[inside] = False
    assert not image[outside].any()
    assert not label[outside].any()


def test_results_come_back_at_the_pictures_own_size(tmp_path):
    recipe = VARIANTS["mobilenetv2"].derive(crop_size=(64, 64), resize_range=(64, 64), eval_size=64)
    segmenter = Segmenter(network, recipe, None)
    for size in ((50, 80), (81, 50), (64, 64)):
        assert segmenter.label(np.zeros((*size, 3), np.uint8)).shape == size
    segmenter.close()


OWN = [conv(-1, kernel=1), conv(-1, rate=[2, 1]), conv(1, kernel=5), pool(2, [2, 2]), conv(3)]
EACH = {"save_interval": -1, "validation_interval": -1, "plateau_window": -1}
TINY_RUN = {"crop_size": 64, "resize_range": "64,64", "eval_size": 64, "batch_size": 2, "mv2_depth_multiplier": 0.35}


def command(name, *arguments, **changes):
    from common.cli import main

    sets = [f"{k}={v}" for k, v in {"variant": "sample_mobilenetv2", **TINY_RUN, **changes}.items()]
    try:
        return main(REPRODUCTION, [name, *(str(a) for a in arguments), "--set", *sets])
    except SystemExit as exit_:
        return exit_.code


@pytest.fixture(scope="module")
def own_run(sample_set, tmp_path_factory):
    """A design of one's own, trained for two epochs of two steps."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "design.json").write_text(json.dumps(OWN))
    (folder / "list.txt").write_text("".join(f"sample_{i:06d}\n" for i in range(4)))
    (folder / "val.txt").write_text("sample_000070\nsample_000071\n")
    assert command("train", "--data", sample_set, "--split", folder / "list.txt", "--run-dir", folder / "run",
                   "--quiet", encoder_middle_conf=folder / "design.json", epochs=2, val_split=folder / "val.txt",
                   schedule="plateau", **EACH) == 0  # fmt: skip
    return folder


def test_a_number_of_steps_that_is_said_wins_over_epochs(tmp_path):
    recipe = apply_settings(VARIANTS, "xception", ["num_steps=30", "validation_interval=0"])
    assert recipe.epochs == 0
    assert recipe.num_steps == 30
    assert recipe.validation_interval == 0
    assert recipe.fields_set_by_data() == {"save_interval", "plateau_window"}
    assert apply_settings(VARIANTS, "xception", ["num_steps=30", "epochs=2"]).epochs == 2


def test_a_validation_that_a_kill_left_out_is_made_up_for(own_run, sample_set, tmp_path):
    """Killed in the last validation: --resume measures it, and keeps the checkpoint if it is the best."""
    run = tmp_path / "run"
    shutil.copytree(own_run / "run", run)
    entries = [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]
    (run / "validation.jsonl").write_text(json.dumps({**entries[0], "loss": 1e9}) + "\n")
    for file in run.glob("best.ckpt*"):
        file.unlink()
    assert command("train", "--data", sample_set, "--split", own_run / "list.txt", "--run-dir", run, "--resume",
                   "--quiet", encoder_middle_conf=own_run / "design.json", epochs=2, val_split=own_run / "val.txt",
                   schedule="plateau", **EACH) == 0  # fmt: skip
    assert [json.loads(line)["step"] for line in (run / "validation.jsonl").read_text().splitlines()] == [2, 4]
    assert [p.name for p in checkpoint_files.checkpoints(run, checkpoint_files.BEST)] == ["best.ckpt-4"]


def test_epochs_count_steps_checkpoints_and_validations(own_run):
    recipe = json.loads((own_run / "run/recipe.json").read_text())
    each = ("num_steps", "save_interval", "plateau_window", "validation_interval")
    assert [recipe[name] for name in each] == [4, 2, 2, 2]
    assert len(recipe["class_weights"]) == 21
    entries = [json.loads(line) for line in (own_run / "run/validation.jsonl").read_text().splitlines()]
    assert [e["step"] for e in entries] == [2, 4]
    assert all(e["images"] == 2 for e in entries)
    best = min(entries, key=lambda e: e["loss"])["step"]
    assert [p.name for p in checkpoint_files.checkpoints(own_run / "run", checkpoint_files.BEST)] == [
        f"best.ckpt-{best}"
    ]
    assert checkpoint_files.newest_checkpoint(own_run / "run").name == "model.ckpt-4"


def test_a_design_of_ones_own_is_evaluated_with_pictures_and_predicts(own_run, sample_set, tmp_path, results_dir):
    (best,) = checkpoint_files.checkpoints(own_run / "run", checkpoint_files.BEST)
    out = tmp_path / "out"
    arguments = ["--checkpoint", str(best), "--out", str(out)]
    from common.cli import main

    assert main(REPRODUCTION, ["evaluate", "--data", str(sample_set), "--split", str(own_run / "val.txt"), "--quiet",
                               "--save-results", *arguments]) == 0  # fmt: skip
    pictures = sorted((out / "results").iterdir())
    assert [p.name for p in pictures] == ["sample_000070.png", "sample_000071.png"]
    own = Image.open(sample_set / "JPEGImages/sample_000070.jpg")
    assert Image.open(pictures[0]).size == (4 * own.width, own.height)
    assert not results_dir.exists()
    record = out / "record.json"
    assert json.loads(json.loads(record.read_text())["recipe"]["encoder_middle_conf"]) == OWN
    assert main(REPRODUCTION, ["predict", str(sample_set / "JPEGImages/sample_000070.jpg"), "--quiet", *arguments]) == 0
    assert Image.open(out / "sample_000070.png").size == own.size


def test_describe_draws_the_graph(tmp_path, capsys):
    (tmp_path / "design.json").write_text(json.dumps(OWN))
    picture = tmp_path / "graph.png"
    assert command("describe", "--size", 64, "--draw", picture, encoder_middle_conf=tmp_path / "design.json") == 0
    printed = capsys.readouterr().out
    tree = """features
├─ 0: conv 1x1
├─ 1: conv 3x3 rate 2,1
│  └─ 2: conv 5x5 rate 1,1
└─ 3: pool 2x2, enlarged 2x
   └─ 4: conv 3x3 rate 1,1
concat, 1x1 of 0, 1, 2, 3, 4"""
    assert tree in printed
    assert str(picture) in printed
    assert min(Image.open(picture).size) > 100
    assert command("describe", "--draw", tmp_path / "graph.txt") == 2
    assert "must end in .png" in capsys.readouterr().err
    assert not (tmp_path / "graph.txt").exists()


def test_keras_weights_start_a_training_by_their_names(keras, sample_set, tmp_path, capsys):
    from common.cli import main

    run = tmp_path / "run"
    assert main(REPRODUCTION, [
        "train", "--data", str(sample_set), "--run-dir", str(run), "--init", str(keras / "mobilenetv2.h5"), "--quiet",
        "--set", "epochs=0", "num_steps=1", "batch_size=2", "crop_size=64", "resize_range=64,64", "eval_size=64",
    ]) == 0  # fmt: skip
    stored = Weights(run / "model.ckpt-1").recipe()
    assert stored["base_model"] == "mobilenetv2"
    assert stored["encoder_middle_conf"] == MOBILENETV2


def test_the_cityscapes_design_is_the_readmes():
    rates = [(branch["input"], branch["rate"]) for branch in json.loads(CITYSCAPES)]
    assert rates == [(-1, [1, 1]), (0, [18, 15]), (1, [6, 3]), (0, [1, 1]), (0, [6, 21])]
    assert VARIANTS["cityscapes"].num_classes == 19
