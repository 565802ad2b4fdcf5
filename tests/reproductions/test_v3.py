"""DeepLab v3's network options, recipes and training modes; the original's answers are in test_golden_v3."""

import numpy as np
import pytest

from common.cli import main
from common.errors import UserError
from common.nets.backbones import resnet_v1 as resnet
from common.nets.backbones.units import UNITS
from common.nets.network import build
from common.results.matching import recipe_for
from common.results.published import read_published
from common.tf1 import tf
from common.training.step import train_step
from common.weights import checkpoints
from common.weights.weights import Weights
from reproductions.v3 import REPRODUCTION
from reproductions.v3.model import blocks, network
from reproductions.v3.recipe import ASPP, ORIGINAL, VARIANTS, fields_from_weights


def tiny(blocks_after_three=1, multi_grid=()):
    """A ResNet of narrow blocks, strides in the last units, as the paper's figure 3."""
    more = [resnet.Block(32, 3, stride=2, multi_grid=multi_grid) for _ in range(blocks_after_three - 1)]
    first = [resnet.Block(16, 2, stride=2), resnet.Block(16, 2, stride=2), resnet.Block(32, 2, stride=2)]
    return (*first, *more, resnet.Block(32, 3, multi_grid=multi_grid))


@pytest.mark.parametrize(("height", "width"), [(129, 97), (96, 130)])
@pytest.mark.parametrize(
    ("table", "nominal"), [(tiny(), 32), (tiny(multi_grid=(1, 2, 4)), 32), (tiny(blocks_after_three=3), 128)]
)
def test_dense_features_subsampled_are_the_nominal_ones(height, width, table, nominal):
    """Output strides 8 and 16 compute what the nominal stride computes, and more positions."""
    rng = np.random.RandomState(0)
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.constant(rng.randn(1, height, width, 3), tf.float32)
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            features = {
                stride: resnet.resnet_v1(
                    images, resnet.at_output_stride(table, stride), resnet.slim_names("r"), strided="last"
                )[0]
                for stride in (8, 16, nominal)
            }
        session.run(tf.global_variables_initializer())
        values = session.run(features)
    assert values[nominal].shape[1:3] == (-(-height // nominal), -(-width // nominal))
    for stride in (8, 16):
        step = nominal // stride
        assert values[stride].shape[1:3] == (-(-height // stride), -(-width // stride))
        assert np.abs(values[stride][:, ::step, ::step] - values[nominal]).max() <= 1e-4 * np.abs(values[nominal]).max()


def test_an_output_stride_that_is_not_reached_is_refused():
    with pytest.raises(ValueError, match="output stride 64 is not reached"):
        resnet.at_output_stride(tiny(), 64)


def rates(recipe):
    return [[b.unit_rate(u) for u in range(1, b.units + 1)] for b in blocks(recipe)]


def test_rates_as_the_paper_says():
    assert rates(ASPP)[2:] == [[1] * 23, [2, 4, 8]]
    assert ASPP.rates() == (6, 12, 18)
    dense = ASPP.derive(output_stride=8)
    assert rates(dense)[1:] == [[1] * 4, [2] * 23, [4, 8, 16]]
    assert dense.rates() == (12, 24, 36)
    assert ASPP.derive(output_stride=32).rates() == (3, 6, 9)
    assert ASPP.derive(output_stride=8, scale_atrous_rates=False).rates() == (6, 12, 18)
    assert rates(VARIANTS["cascade"])[3:] == [[2, 4, 2], [4, 8, 4], [8, 16, 8], [16, 32, 16]]
    assert [b.units for b in blocks(ASPP.derive(depth=152))] == [3, 8, 36, 3]
    assert [b.units for b in blocks(ASPP.derive(depth=152, short_block2=True))] == [3, 4, 36, 3]


def variables(recipe, size=65):
    with tf.Graph().as_default():
        outputs = build(network, tf.zeros([2, size, size, 3]), recipe)
        return {v.op.name: v for v in tf.global_variables()}, outputs.logits.shape.as_list()


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_the_weights_do_not_depend_on_the_output_stride(stride):
    small = ASPP.derive(depth=50)
    names, shape = variables(small.derive(output_stride=stride))
    assert shape == [2, 64 // stride + 1, 64 // stride + 1, 21]
    assert names.keys() == variables(small)[0].keys()
    assert ASPP.derive(eval_output_stride=8).at_evaluation().output_stride == 8


@pytest.mark.parametrize("last", [5, 6, 7])
def test_a_cascade_has_every_output_stride_down_to_its_last_block(last):
    """The paper's figure 3a: each block but the last halves the features, and nothing is atrous but by multi-grid."""
    nominal = 2 ** (last + 1)
    cascade = VARIANTS["table1_os256"].derive(last_block=last, output_stride=nominal, eval_output_stride=nominal)
    assert {rate for block in rates(cascade) for rate in block} == {1}
    assert [b.stride for b in blocks(cascade)] == [2] * (last - 1) + [1]
    names, shape = variables(cascade, size=257)
    assert shape == [2, 256 // nominal + 1, 256 // nominal + 1, 21]
    # Strides become rates: the weights are the same, and what is computed at 256 is part of what 8 computes.
    dense = cascade.derive(output_stride=8)
    assert names.keys() == variables(dense)[0].keys()
    assert [b.stride for b in blocks(dense)] == [2] + [1] * (last - 1)
    assert [block[0] for block in rates(dense)] == [1, 1, *(2**i for i in range(1, last - 1))]


def test_heads():
    def scopes(recipe):
        return {n.split("/")[1] for n in variables(recipe)[0]}

    small = ASPP.derive(depth=50)
    assert {"aspp", "img_pool", "fusion", "logits"} <= scopes(small)
    assert "img_pool" not in scopes(small.derive(image_pooling=False))
    cascade = scopes(small.derive(aspp=False, last_block=5))
    assert {"block5", "logits"} <= cascade
    assert not {"aspp", "img_pool", "fusion", "block6"} & cascade


def small_step(recipe):
    """A training step of ResNet-50 on random pictures; its session and its variables by name."""
    rng = np.random.RandomState(1)
    graph = tf.Graph()
    with graph.as_default():
        images = tf.constant(rng.randn(2, 65, 65, 3) * 50, tf.float32)
        step = train_step(network, images, tf.constant(rng.randint(0, 21, (2, 65, 65, 1)), tf.uint8), recipe)
        session = tf.Session()
        session.run(tf.global_variables_initializer())
        return step, session, {v.op.name: v for v in tf.model_variables()}


def changed(recipe):
    """Which kinds of variables one update changes."""
    step, session, model = small_step(recipe)
    with session:
        before = session.run(model)
        session.run(step.update)
        after = session.run(model)
    return {name.rpartition("/")[2] for name in model if not np.array_equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({}, {"weights", "biases", "gamma", "beta", "moving_mean", "moving_variance"}),
        ({"fine_tune_batch_norm": False}, {"weights", "biases", "gamma", "beta"}),
        ({"freeze_bn": True}, {"weights", "biases"}),
        # The original's --freeze-bn: gamma and beta stay, the statistics go on.
        (
            {"lr_multipliers": (("BatchNorm/(gamma|beta)", 0.0),)},
            {"weights", "biases", "moving_mean", "moving_variance"},
        ),
    ],
)
def test_what_an_update_changes(settings, kinds):
    assert changed(ASPP.derive(depth=50, batch_size=2, **settings)) == kinds


def test_live_batch_norm_at_batch_1_is_refused_with_the_reason(sample_set, tmp_path, capsys):
    arguments = ["train", "--data", str(sample_set), "--run-dir", str(tmp_path / "r"), "--quiet"]
    assert main(REPRODUCTION, [*arguments, "--set", "batch_size=1"]) == 2
    message = capsys.readouterr().err
    assert "batch_size=1: live batch norm has nothing to normalise by" in message
    assert "freeze_bn=true" in message
    assert not (tmp_path / "r").exists()
    assert ASPP.derive(batch_size=1, freeze_bn=True).batch_size == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"multi_grid": (1, 2)}, "multi_grid=1,2: needs a factor for each of 3 units"),
        ({"multi_grid": (0, 1, 1)}, "multi_grid=0,1,1: must be from 1"),
        ({"batch_norm_decay": 1.0}, "below 1"),
        ({"output_stride": 4}, "output_stride=4: needs"),
        ({"output_stride": 64}, "output_stride=64: blocks 1 to 4 end at 32"),
        ({"eval_output_stride": 256, "last_block": 6}, "eval_output_stride=256: blocks 1 to 6 end at 128"),
        ({"plateau_factors": (0.0,)}, "plateau_factors"),
    ],
)
def test_bad_options_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ASPP.derive(**settings)


def test_every_row_of_the_papers_tables_has_a_recipe():
    rows = [row for row in read_published() if row.table.source.startswith("arXiv 1706.05587 table")]
    assert len(rows) >= 60
    for number in (1, 2, 3, 4, 5, 6, 8, 9, 10, 12):
        table = [row for row in rows if row.table.source == f"arXiv 1706.05587 table {number}"]
        assert table, number
        assert all(recipe_for(row)[1] == {} for row in table), number  # a variant as it is
    # Nothing but what the row is about differs from the paper's recipe.
    paper = VARIANTS["paper"].to_json()
    for name, fields in {
        "table3_mg222_block5": {"aspp", "image_pooling", "last_block", "multi_grid"},
        "table5_mg124_rate24": {"atrous_rates", "image_pooling"},
        "table6_os8_ms_flip": {"eval_output_stride", "eval_scales", "eval_flip"},
        "table10_os8_os16": {"output_stride"},
        "table1_os256": {
            "depth", "aspp", "image_pooling", "last_block", "multi_grid", "output_stride", "eval_output_stride",
        },
        "table2_block5": {"depth", "aspp", "image_pooling", "last_block", "multi_grid"},
        "table12_os16": {"dataset", "num_classes", "train_split", "num_steps", "crop_size"},
        "phase2": {
            "train_split", "learning_rate", "output_stride", "eval_output_stride", "freeze_bn", "init_not_loaded",
        },
    }.items():  # fmt: skip
        recipe = VARIANTS[name].to_json()
        assert {k for k in recipe if recipe[k] != paper[k]} == fields | {"variant"}


def shapes_of(recipe):
    return {n: tuple(v.shape.as_list()) for n, v in variables(recipe)[0].items()}


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 50},
        {"depth": 50, "num_classes": 19, "atrous_rates": (6, 12, 18, 24), "image_pooling": False},
        {"depth": 50, "aspp": False, "last_block": 6, "multi_grid": (1, 2, 1), "image_pooling": False},
        {"depth": 152, "short_block2": True},
    ],
)
def test_a_checkpoint_of_the_original_is_known_by_its_names(settings):
    settled = fields_from_weights(shapes_of(ASPP.derive(**settings)))
    assert {k: settled[k] for k in settings} == settings
    assert settled["channel_order"] == "bgr"
    assert settled["pixel_mean"] == ORIGINAL["pixel_mean"]


def test_imagenet_weights_bring_their_preprocessing(tmp_path):
    """slim's file is RGB by its names; weights that another reproduction's converter wrote carry their own."""
    from reproductions.v2.recipe import VARIANTS as V2

    names = {n: s for n, s in shapes_of(ASPP.derive(depth=50)).items() if "/block" in n or "/conv1" in n}
    names |= {"resnet_v1_50/logits/weights": (1, 1, 2048, 1000), "resnet_v1_50/logits/biases": (1000,)}
    np.savez(tmp_path / "slim.npz", **{n: np.zeros(s, np.float32) for n, s in names.items()})
    recipe = REPRODUCTION.recipe_to_train(["variant=paper"], Weights(tmp_path / "slim.npz"))
    assert (recipe.depth, recipe.channel_order, recipe.num_classes) == (50, "rgb", 21)
    values = {n: np.zeros(s, np.float32) for n, s in names.items()}
    keras = V2["res50"].derive(channel_order="bgr", pixel_mean=(103.939, 116.779, 123.68))
    checkpoints.write(tmp_path / "keras.ckpt", values, keras)
    recipe = REPRODUCTION.recipe_to_train([], Weights(tmp_path / "keras.ckpt"))
    assert (recipe.depth, recipe.channel_order, recipe.pixel_mean) == (50, "bgr", (103.939, 116.779, 123.68))
    assert recipe.batch_norm_epsilon == keras.batch_norm_epsilon
    assert recipe.atrous_rates == ASPP.atrous_rates  # the head's are this network's, not that recipe's
    # And they are what --init takes: everything but the head.
    with tf.Graph().as_default(), tf.Session() as session:
        build(network, tf.zeros([2, 65, 65, 3]), recipe)
        model = tf.global_variables()
        count = checkpoints.restore(session, Weights(tmp_path / "keras.ckpt"), model, not_loaded=recipe.init_not_loaded)
    assert count == 5 * 53
    assert len(model) - count == 32
    assert sum(UNITS[50]) * 3 + 5 == 53


def stored(tmp_path, recipe):
    """A checkpoint that says it was trained by `recipe`; its values are of no interest here."""
    checkpoints.write(tmp_path / "model.ckpt-1", {"x": np.zeros(1, np.float32)}, recipe)
    return Weights(tmp_path / "model.ckpt-1")


def test_a_variant_says_how_stored_weights_are_evaluated_not_how_they_were_trained(tmp_path, capsys):
    """Else any run could pass for the one that a table's row names."""
    trained = ASPP.derive(depth=50, num_steps=3, learning_rate=1e-6, batch_size=2)
    weights = stored(tmp_path, trained)
    recipe = REPRODUCTION.recipe_to_run(["variant=table6_os8_ms_flip"], weights)
    assert recipe.eval_output_stride == 8
    assert recipe.eval_flip
    assert len(recipe.eval_scales) == 6
    assert (recipe.variant, recipe.depth, recipe.num_steps, recipe.learning_rate) == ("table6_os8_ms_flip", 50, 3, 1e-6)
    assert "depth=50" in capsys.readouterr().err
    assert REPRODUCTION.recipe_to_run([], weights) == trained
    # A cascade's name on other weights is said to be wrong, and so is one to start from.
    REPRODUCTION.recipe_to_run(["variant=table4_os16"], weights)
    assert "aspp=True" in capsys.readouterr().err
    assert REPRODUCTION.recipe_to_train(["variant=cascade"], weights).aspp
    assert "variant cascade has not" in capsys.readouterr().err


def test_a_checkpoint_of_another_reproduction_is_told(tmp_path):
    from reproductions.v2.recipe import DEEPLAB

    with pytest.raises(UserError, match="was not written by v3 as it is now"):
        REPRODUCTION.recipe_to_run([], stored(tmp_path, DEEPLAB))
