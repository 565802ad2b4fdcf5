"""DeepLab v3+'s recipes, names, cells and training options; the originals' answers are in test_golden_v3plus."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from common.cli import main
from common.data.lists import read_split
from common.data.sets.cityscapes import CITYSCAPES
from common.errors import UserError
from common.nets import layers
from common.nets.backbones import xception
from common.nets.backbones.dense import dense_strides
from common.nets.backbones.registry import BACKBONES
from common.nets.describe import describe
from common.nets.losses import weight_decay
from common.nets.network import build
from common.recipe.cell import read_cell
from common.recipe.settings import apply_settings
from common.results.matching import recipe_for
from common.results.published import read_published
from common.tf1 import slim, tf
from common.training import run_folder
from common.training.batches import TrainingBatches
from common.training.step import multiplier, train_step
from common.weights import weights as checkpoints
from reproductions.v3plus import REPRODUCTION
from reproductions.v3plus import recipe as recipe_module
from reproductions.v3plus.from_weights import fields_from_weights
from reproductions.v3plus.model import network
from reproductions.v3plus.official import gradient_multipliers
from reproductions.v3plus.recipe import IMAGENET_MEAN, UNIT_RANGE
from reproductions.v3plus.variants import PASCAL, SEED, VARIANTS
from reproductions.v3plus.zoo import DPC, ZOO_MODELS
from tests.helpers import small_v3plus
from tests.helpers.tiny import SMALL, run
from tests.parity.v3plus_zoo import ZOO


def variables(recipe):
    with tf.Graph().as_default():
        outputs = build(network, tf.zeros([2, 65, 65, 3]), recipe)
        return {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}, outputs.logits.shape.as_list()


def test_strides_turn_into_rates():
    assert dense_strides([2, 2, 2, 1], 4, 32) == [(2, 1), (2, 1), (2, 1), (1, 1)]
    assert dense_strides([2, 2, 2, 1], 4, 8) == [(2, 1), (1, 1), (1, 2), (1, 4)]
    with pytest.raises(ValueError, match="output stride 64 is not reached"):
        dense_strides([2], 4, 64)


@pytest.mark.parametrize("name", [*ZOO_MODELS, "pascal", "model_a", "table3_os16", "ade20k"])
def test_checkpoints_are_known_by_their_names(name):
    """Everything that belongs to the weights comes back from names and shapes, but rates and multi-grid."""
    recipe = VARIANTS[name]
    settled = fields_from_weights(variables(recipe)[0])
    told = {k: v for k, v in settled.items() if v != getattr(recipe, k)}
    assert not told
    assert settled.keys() >= {"backbone", "names", "num_classes", "decoder", "pixel_mean"}


@pytest.mark.parametrize(
    "settings",
    [
        {"aspp_batch_norm": False, "decoder_batch_norm": False},
        {"aspp_separable": False, "decoder_separable": False},
        {"aspp_separable": False, "decoder_separable": False, "names": "zoo", "aspp_depth": 64},
        {"image_pooling": False, "decoder": False},
        {"backbone": "mobilenet_v2", "depth_multiplier": 0.5},
        {"backbone": "resnet_v1_50", **IMAGENET_MEAN},
        {"backbone": "resnet_v1_18", "multi_grid": (1, 2), "decoder_output_stride": (8,), **IMAGENET_MEAN},
        {"decoder_filters": 64, "decoder_projection_filters": 16, "decoder_kernels": (5,)},
        {"decoder_separable": False, "decoder_kernels": (3, 1, 3), "names": "zoo", "decoder_output_stride": (8, 4)},
        {"decoder_separable": False, "decoder_kernels": (1,), "depth_multiplier": 0.35},
        {"logits_kernel_size": 3, "aspp": False, "image_pooling": False, "decoder_filters": 64},
        {"logits_kernel_size": 5, "aspp": False, "image_pooling": False, "decoder": False, "names": "zoo"},
        {"aspp": False, "image_pooling": False, "names": "zoo", "decoder_filters": 256},
        {"aspp": False, "image_pooling": False, "atrous_rates": (), "decoder": False, "backbone": "mobilenet_v2"},
    ],
)
def test_options_of_the_head_are_known_by_names(settings):
    recipe = PASCAL.derive(**{"backbone": "mobilenet_v2", **settings})
    settled = fields_from_weights(variables(recipe)[0])
    assert {k: settled.get(k, getattr(recipe, k)) for k in settings} == {k: getattr(recipe, k) for k in settings}


def test_imagenet_weights_bring_their_preprocessing():
    names = {n: s for n, s in variables(PASCAL.derive(backbone="resnet_v1_50"))[0].items() if n.startswith("resnet")}
    assert fields_from_weights(names) == {"backbone": "resnet_v1_50", **IMAGENET_MEAN}
    beta = {
        n: s for n, s in variables(PASCAL.derive(backbone="resnet_v1_50_beta"))[0].items() if n.startswith("resnet")
    }
    assert fields_from_weights(beta) == {"backbone": "resnet_v1_50_beta", **UNIT_RANGE}


def test_the_seeds_default_backbone_says_its_weights(capsys):
    """It is Xception-65, and nothing else; the line comes once."""
    recipe_module._started.cache_clear()
    recipe = apply_settings(VARIANTS, "model_d", ["backbone=xception_65_coco"])
    assert recipe == VARIANTS["model_d"]
    assert recipe.backbone == "xception_65"
    assert apply_settings(VARIANTS, "model_c", ["backbone=xception_65_coco"]) == VARIANTS["model_c"]
    said = capsys.readouterr().err
    assert said.count("make weights NAME=xception_65_coco_pretrained") == 1


@pytest.mark.parametrize("backbone", [n for n in BACKBONES if n.startswith(("xception", "resnet_v1", "mobilenet_v2"))])
def test_low_level_features_of_every_stride(backbone):
    """Their sizes, rounded up, and channels that tell the strides again."""
    recipe = PASCAL.derive(backbone=backbone, names="zoo", decoder_output_stride=(16, 8, 4))
    with tf.Graph().as_default() as graph:
        scores = build(network, tf.zeros([1, 65, 98, 3]), recipe).logits
        projections = [graph.get_operation_by_name(f"decoder/feature_projection0{s}/Conv2D") for s in ("", "_1", "_2")]
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
    assert [op.inputs[0].shape.as_list()[1:3] for op in projections] == [[5, 7], [9, 13], [17, 25]]
    assert scores.shape.as_list() == [1, 17, 25, 21]
    assert fields_from_weights(shapes)["decoder_output_stride"] == (16, 8, 4)


def test_a_decoder_coarser_than_the_encoder():
    """Trained with a decoder at stride 16 and evaluated at output stride 8; pictures of every size have scores."""
    recipe = PASCAL.derive(backbone="mobilenet_v2", depth_multiplier=0.1, aspp_depth=8, decoder_output_stride=(16,))
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [1, None, None, 3])
        scores = build(network, images, recipe.derive(output_stride=8)).logits
        session.run(tf.global_variables_initializer())
        for side in (33, 40, 47, 48, 49):
            assert session.run(scores, {images: np.zeros((1, side, 65, 3))}).shape == (1, -(-side // 16), 5, 21)


@pytest.mark.parametrize(("backbone", "own"), [("xception_41", 0), ("resnet_v1_18_beta", 3 + 2 * 8)])
def test_bounded_activations(backbone, own):
    """The head has ReLU6 but for image pooling; of the backbones, Xception alone is bounded."""

    def kinds(**settings):
        with tf.Graph().as_default() as graph:
            build(network, tf.zeros([1, 33, 33, 3]), PASCAL.derive(backbone=backbone, **settings))
            return [op.type for op in graph.get_operations()]

    plain, bounded = kinds(), kinds(bounded_activation=True)
    assert "Relu6" not in plain
    assert bounded.count("Relu") == own + 1
    assert bounded.count("Relu6") >= plain.count("Relu") - own - 1


def test_no_feature_of_a_bounded_xception_leaves_its_bound():
    with tf.Graph().as_default(), tf.Session() as session:
        images = 100 * tf.random.normal([1, 48, 48, 3], seed=1)  # even sizes are padded alike
        ends = {}
        for bounded in (False, True):
            with tf.variable_scope("x", reuse=bounded), slim.arg_scope([layers.batch_norm], epsilon=1e-3):
                blocks = xception.BLOCKS["xception_41"]
                ends[bounded] = xception.xception(images, blocks, "xception_41", 16, bounded=bounded)[1]
        session.run(tf.global_variables_initializer())
        free, capped = session.run((ends[False], ends[True]))
    assert max(np.abs(value).max() for value in free.values()) > 6
    assert all(np.abs(value).max() <= 6 for value in capped.values())
    assert [value.shape for value in free.values()] == [value.shape for value in capped.values()]
    sums = [capped[name] for name in capped if "separable" not in name]
    assert all(value.min() >= 0 for value in sums)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder_output_stride": (4, 8)}, "decoder_output_stride=4,8: needs some of 16, 8 and 4, coarse to fine"),
        ({"decoder_output_stride": (2,)}, "decoder_output_stride=2: needs some of 16, 8 and 4"),
        ({"decoder_output_stride": ()}, "decoder_output_stride=.*: needs some of 16, 8 and 4"),
        ({"decoder_kernels": ()}, "decoder_kernels: needs the side of one convolution"),
        ({"decoder_kernels": (0,)}, "decoder_kernels=0: must be from 1 to 100"),
        ({"decoder_kernels": (3, 1)}, "decoder_kernels=3,1: a 1x1 convolution is not separable"),
        ({"decoder_filters": -1}, "decoder_filters=-1: must be from 0 to 10000"),
        ({"decoder_projection_filters": 0}, "decoder_projection_filters=0: must be from 1 to 10000"),
        (
            {"logits_kernel_size": 3},
            "logits_kernel_size=3: takes ASPP's place, so it needs aspp=false and atrous_rates",
        ),
        ({"logits_kernel_size": 3, "aspp": False, "atrous_rates": ()}, "needs aspp=false and atrous_rates"),
        ({"aspp": False, "dense_prediction_cell": DPC}, "aspp=false: leaves no place for a dense_prediction_cell"),
        ({"drop_path_keep_prob": 0.0}, "drop_path_keep_prob=0.0: must be above 0 and at most 1"),
        ({"nas_stem_filters": 0}, "nas_stem_filters=0: must be from 1"),
        ({"quantize_delay_step": -7}, "quantize_delay_step=-7: must be at least -1"),
        (
            {"aspp_squeeze_and_excitation": True, "aspp_concat_projection": False},
            "aspp_squeeze_and_excitation=true: weighs one branch, or the projection of several",
        ),
        ({"backbone": "resnet_v1_18", "multi_grid": (1, 2, 4)}, "multi_grid: needs a factor for each of 2 conv"),
    ],
)
def test_options_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        PASCAL.derive(**settings)


@pytest.mark.parametrize("backbone", ["xception_41", "xception_71", "resnet_v1_50_beta", "mobilenet_v2"])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_output_strides_and_decoder(backbone, stride):
    recipe = PASCAL.derive(backbone=backbone, output_stride=stride)
    assert variables(recipe)[1] == [2, 17, 17, 21]
    assert variables(recipe.derive(decoder=False))[1] == [2, 64 // stride + 1, 64 // stride + 1, 21]


def test_figures_that_the_zoo_publishes():
    """Multiply-adds within 2 % of the zoo's page, at 513 and output stride 16; parameters of MobileNetV2."""
    for name, published in {"mnv2_pascal_train_aug": 2.75, "mnv2_dm05_pascal_trainaug": 0.88}.items():
        text = describe(network, VARIANTS[name], 513)
        (line,) = [line for line in text.splitlines() if line.startswith("multiply-adds")]
        assert float(line.split()[3]) == pytest.approx(published, rel=0.02)
    assert "2,113,557 trained" in describe(network, VARIANTS["mnv2_pascal_train_aug"], 65)


def test_multiply_adds_are_counted_at_the_evaluations_stride_too():
    """The zoo's page has 2.84 G for MobileNetV2 of half depth at output stride 8."""
    lines = describe(network, VARIANTS["mnv2_dm05_pascal_trainval"], 513).splitlines()
    evaluation = lines[lines.index("in evaluation, at output stride 8:") :]
    assert float(evaluation[1].split()[-2]) == pytest.approx(2.84, rel=0.02)
    assert "65x65x21" in evaluation[2]
    assert "in evaluation" not in describe(network, VARIANTS["mnv2_dm05_pascal_trainaug"], 65)


def test_cell_of_the_zoo():
    recipe = VARIANTS["xception71_dpc_cityscapes_trainfine"]
    names, _ = variables(recipe)
    cell = {n: s for n, s in names.items() if n.startswith("meta_architecture/") and n.endswith("weights")}
    assert cell["meta_architecture/branch0_depthwise/depthwise_weights"] == (3, 3, 2048, 1)
    assert cell["meta_architecture/branch4_pointwise/weights"] == (1, 1, 256, 256)
    assert cell["meta_architecture/concat_projection/weights"] == (1, 1, 1280, 256)
    assert len(cell) == 11
    assert len(names) == 812  # as the official graph has
    assert not [n for n in names if n.startswith(("aspp", "image_pooling", "concat_projection"))]
    assert [b.rate for b in read_cell(DPC)] == [(1, 6), (18, 15), (6, 3), (1, 1), (6, 21)]


def test_a_cell_from_its_file(tmp_path):
    path = tmp_path / "cell.json"
    config = [
        {"op": "pyramid_pooling", "grid_size": [2, 2], "input": -1},
        {"op": "conv", "kernel": [1, 1], "input": 0},
        {"op": "conv", "kernel": 3, "rate": [2, 4], "input": 1},
    ]
    path.write_text(json.dumps(config))
    recipe = REPRODUCTION.recipe_to_train(["variant=mnv2_pascal_train_aug", f"dense_prediction_cell={path}"])
    assert json.loads(recipe.dense_prediction_cell) == config  # the recipe keeps it, not the path
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [1, None, None, 3])
        logits = build(network, images, recipe).logits
        session.run(tf.global_variables_initializer())
        assert session.run(logits, {images: np.zeros((1, 65, 97, 3))}).shape == (1, 5, 7, 21)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("[{", "is not JSON"),
        ("[]", "needs a list of branches"),
        ('[{"op": "pool", "input": -1}]', "branch 0 has no op that is known"),
        ('[{"op": "conv", "input": 0}]', "branch 0 reads input 0"),
        ('[{"op": "conv", "input": -1}, {"op": "conv", "input": 2}]', "branch 1 reads input 2"),
        ('[{"op": "conv", "input": -1, "kernel": 5}]', "kernel 5"),
        ('[{"op": "conv", "input": -1, "rate": 2}]', "rate 2; it must be"),
        ('[{"op": "conv", "input": -1, "stride": 2}]', "unknown keys: stride"),
        ("no/such/file.json", "cannot be read as JSON"),
    ],
)
def test_bad_cells_are_refused(cell, message):
    with pytest.raises(UserError, match="dense_prediction_cell.*" + message):
        PASCAL.derive(dense_prediction_cell=cell)


def test_gradients_are_clipped_by_their_global_norm():
    def change(**settings):
        recipe = SMALL.derive(optimizer="sgd", learning_rate=1.0, schedule="constant", weight_decay=0.0, **settings)
        from tests.helpers.tiny import network as tiny

        with tf.Graph().as_default(), tf.Session() as session:
            rng = np.random.RandomState(0)
            images, labels = tf.constant(rng.randn(2, 65, 65, 3), tf.float32), tf.ones([2, 65, 65, 1], tf.uint8)
            step = train_step(tiny, images, labels, recipe)
            session.run(tf.global_variables_initializer())
            trained = tf.trainable_variables()
            before = session.run(trained)
            session.run(step.update)
            return float(np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(session.run(trained), before, strict=True))))

    free = change()
    assert free > 0.2
    assert change(gradient_clip=0.1) == pytest.approx(0.1, rel=1e-4)
    assert change(gradient_clip=2 * free) == pytest.approx(free, rel=1e-6)


def test_each_recipe_has_a_folder_of_its_own(sample_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = ["train", "--data", sample_set, "--quiet", "--set", "num_steps=2"]
    assert run(*train) == 0
    assert run(*train, "learning_rate=0.01") == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert run(*train) == 2  # it is there already
    assert run(*train, "--resume") == 0
    assert run(*train, "num_steps=3", "--resume") == 2
    assert len(list((tmp_path / "runs").iterdir())) == 2
    for folder in (tmp_path / "runs").iterdir():
        stored = checkpoints.Weights(folder / "model.ckpt-2").recipe()
        assert json.loads((folder / run_folder.RECIPE).read_text()) == stored


@pytest.mark.parametrize("table", (1, 2, 3, 5, 7))
def test_each_row_of_the_paper_has_a_variant(table):
    """That of arXiv 1802.02611: the variant fits as it is, but for JFT-300M, which only its owner has."""
    rows = [row for row in read_published() if row.table.source == f"arXiv 1802.02611 table {table}"]
    assert len(rows) >= 4
    for row in rows:
        if row.trained.private:
            continue
        recipe, changes = recipe_for(row)
        assert not changes, f"{row.model}: {recipe.variant} needs {changes}"
        assert recipe.variant.startswith(f"table{table}_") or row.beside, row.model


def test_cityscapes_is_trained_at_its_full_size(tmp_path):
    """Table 7: crops of 769 are windows of the 1024x2048 picture itself, where it is not scaled."""
    y, x = np.mgrid[:1024, :2048]
    picture = np.stack([x % 256, y % 256, 16 * (x // 256) + y // 256], axis=2).astype(np.uint8)
    for kind, suffix, pixels in (("leftImg8bit", "leftImg8bit", picture), ("gtFine", "gtFine_labelTrainIds", x // 108)):
        path = tmp_path / kind / "train" / "city" / f"city_0_0_{suffix}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path, compress_level=1)
    recipe = VARIANTS["table7_decoder"].derive(random_scale=False, random_mirror=False, batch_size=2)
    with TrainingBatches(read_split(CITYSCAPES, tmp_path, recipe.train_split), recipe, last_step=1) as batches:
        images, labels = next(batches)
    assert images.shape == (2, 769, 769, 3)
    for image, label in zip(np.round(images / recipe.pixel_scale + recipe.pixel_mean).astype(int), labels, strict=True):
        left, top = image[0, 0, 0] + 256 * (image[0, 0, 2] // 16), image[0, 0, 1] + 256 * (image[0, 0, 2] % 16)
        window = np.s_[top : top + 769, left : left + 769]
        np.testing.assert_array_equal(image, picture[window])
        np.testing.assert_array_equal(label[..., 0], (x // 108)[window])


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.startswith("table7_")])
def test_recipes_of_cityscapes(name):
    """90,000 updates on crops of 769 of pictures that keep their size, which evaluation leaves them too."""
    recipe = VARIANTS[name]
    told = (recipe.num_steps, recipe.crop_size, recipe.resize_range, recipe.eval_size, recipe.num_classes)
    assert told == (90000, (769, 769), (), "native", 19)
    assert (recipe.output_stride, recipe.eval_output_stride, recipe.train_split) == (16, 16, "train_fine")


def test_published_rows_name_recipes():
    rows = [row for row in read_published() if row.table.reproduction == "v3plus" and row.is_ours]
    as_it_is = [row for row in rows if recipe_for(row)[1] == {}]
    assert len(rows) >= 50
    assert len(as_it_is) >= 40


def test_one_missing_or_misshapen_variable_is_told_as_one(tmp_path):
    shapes = variables(VARIANTS["mnv2_pascal_train_aug"])[0]
    for name in ("logits/semantic/weights", "concat_projection/weights", "MobilenetV2/Conv/weights"):
        assert fields_from_weights({n: s for n, s in shapes.items() if n != name})["names"] == "zoo"
        assert fields_from_weights(shapes | {name: (3,)})["backbone"] == "mobilenet_v2"
    missing = {n: np.zeros(s, np.float32) for n, s in shapes.items() if n != "logits/semantic/weights"}
    np.savez(tmp_path / "x.npz", **missing)
    weights = checkpoints.Weights(tmp_path / "x.npz")
    recipe = REPRODUCTION.recipe_to_run([], weights)
    from common.inference.segmenter import Segmenter

    with pytest.raises(UserError, match="1 missing in the file: logits/semantic/weights"):
        Segmenter(network, recipe.derive(atrous_rates=()), weights)


def test_the_seeds_fixed_decay():
    recipe = PASCAL.derive(backbone="mobilenet_v2", weight_decay=1e-3, **SEED)
    with tf.Graph().as_default(), tf.Session() as session:
        build(network, tf.zeros([1, 65, 65, 3]), recipe)
        decayed = {v.op.name: tf.nn.l2_loss(v) for v in tf.trainable_variables() if v.op.name.endswith("/weights")}
        total = weight_decay(recipe)
        session.run(tf.global_variables_initializer())
        total, norms = session.run((total, decayed))
    fixed = sum(n for name, n in norms.items() if name.endswith("_pointwise/weights"))
    assert total == pytest.approx(1e-3 * sum(norms.values()) - (1e-3 - 4e-5) * fixed, rel=1e-5)


@pytest.mark.parametrize("multiplier", [0.35, 0.5, 0.75, 1.0, 1.3, 1.4])
def test_the_width_of_slims_mobilenets_is_known(multiplier):
    """Their first layers share channels, rounded to eights: 0.35 and 0.5 both begin with 16, 1.4 with 48."""
    root = {0.35: 16, 0.5: 16, 0.75: 24, 1.0: 32, 1.3: 40, 1.4: 48}[multiplier]
    shapes = {
        "MobilenetV2/Conv/weights": (3, 3, 3, root),
        "MobilenetV2/expanded_conv_16/project/weights": (1, 1, 960, round(320 * multiplier)),
        "MobilenetV2/Conv/weights/RMSProp": (3, 3, 3, root),
    }
    assert fields_from_weights(shapes)["depth_multiplier"] == multiplier


def test_slims_classifier_is_not_of_the_network():
    names = ("MobilenetV2/Logits/Conv2d_1c_1x1/weights", "MobilenetV2/Conv_1/BatchNorm/gamma")
    assert all(any(re.search(p, name) for p in VARIANTS["pascal"].NOT_OF_NETWORK) for name in names)
    assert not any(re.search(p, "MobilenetV2/Conv/weights") for p in VARIANTS["pascal"].NOT_OF_NETWORK)
    assert "NOT_OF_NETWORK" not in VARIANTS["pascal"].to_json()


def test_init_takes_the_backbone_of_slims_mobilenet(tmp_path, sample_set):
    """Its averages, slots, last convolution and classifier stay out; steps of no size leave the variables its own."""
    given = {n: v for n, v in small_v3plus.values(golden=True).items() if n.startswith("MobilenetV2/")}
    others = {f"{n}/ExponentialMovingAverage": v + 1 for n, v in given.items()}
    others |= {
        f"{n}/{slot}": np.ones_like(v) for n, v in given.items() for slot in ("RMSProp", "RMSProp_1", "Momentum")
    }
    others |= {"MobilenetV2/Conv_1/weights": np.zeros((1, 1, 80, 1280), np.float32), "global_step": np.array(1450000)}
    others |= {"MobilenetV2/Logits/Conv2d_1c_1x1/biases": np.zeros(1001, np.float32)}
    np.savez(tmp_path / "slim.npz", **given, **others)
    settings = ["variant=mnv2_pascal_trainval", "depth_multiplier=0.25", "aspp_depth=8", "num_steps=2", "batch_size=2"]
    settings += ["crop_size=33", "save_interval=2", "fine_tune_batch_norm=false", "learning_rate=1e-12"]
    words = ["--data", str(sample_set), "--split", "train", "--init", str(tmp_path / "slim.npz"), "--quiet"]
    words += ["--run-dir", str(tmp_path / "run"), "--set", *settings, "weight_decay=0"]
    assert main(REPRODUCTION, ["train", *words]) == 0
    trained = checkpoints.Weights(tmp_path / "run/model.ckpt-2")
    for name, value in given.items():
        np.testing.assert_allclose(trained.value(name), value, atol=1e-5, err_msg=name)


def test_multipliers_are_those_of_the_official_training():
    """train_utils.get_model_gradient_multipliers, by its rule: biases twice, last layers as the flag says."""
    names = ["MobilenetV2/Conv/weights", "MobilenetV2/Conv/BatchNorm/beta", "aspp0/weights", "image_pooling/biases",
             "decoder/decoder_conv0_depthwise/biases", "logits/semantic/weights", "logits/semantic/biases"]  # fmt: skip
    wanted = {"official": [1, 1, 1, 2, 2, 1, 2], "official_last_layers": [1, 1, 10, 20, 20, 10, 20]}
    for variant, factors in wanted.items():
        assert [multiplier(VARIANTS[variant], name) for name in names] == factors
    logits_only = VARIANTS["official"].derive(lr_multipliers=gradient_multipliers(10.0, "logits"))
    assert [multiplier(logits_only, name) for name in names] == [1, 1, 1, 2, 2, 10, 20]


def test_the_papers_second_phase():
    phase2, test = VARIANTS["phase2"], VARIANTS["table6_test"]
    assert not phase2.batch_statistics
    assert (phase2.output_stride, phase2.eval_output_stride, phase2.rates()) == (8, 8, (12, 24, 36))
    assert (phase2.train_split, phase2.init_not_loaded) == ("train", ())
    assert test == VARIANTS["phase2"].derive(
        variant="table6_test", train_split="trainval", eval_scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), eval_flip=True
    )


def told_by(case):
    """A weight file of which only names and shapes are asked."""
    shapes = ZOO.shapes(case)
    return SimpleNamespace(path=Path(f"{case}.npz"), shapes=shapes, is_keras=False, recipe=lambda: None)


def test_settings_meet_the_network_that_weights_decide():
    """Not the default variant's, which has another backbone."""
    weights = told_by("zoo_r18beta_a")
    assert REPRODUCTION.recipe_to_run(["multi_grid=1,2"], weights).multi_grid == (1, 2)
    recipe = REPRODUCTION.recipe_to_train(["quantize_delay_step=0"], told_by("zoo_mnv2_ade20k_a"))
    assert recipe.backbone == "mobilenet_v2"
    assert recipe.quantize_delay_step == 0


def test_what_a_file_of_mobilenet_v3_does_not_tell_is_said(capfd):
    REPRODUCTION.recipe_to_run([], told_by("zoo_mnv3_small_a"))
    said = capfd.readouterr().err
    assert "does not tell image_se_uses_qsigmoid and image_pooling_crop_size and" in said
    assert "--set variant=mnv3_small_cityscapes_trainfine" in said
    REPRODUCTION.recipe_to_run(["variant=mnv3_small_cityscapes_trainfine"], told_by("zoo_mnv3_small_a"))
    assert "does not tell" not in capfd.readouterr().err
