import dataclasses
import json

import pytest

from common.errors import UserError
from common.recipe.recipe import Recipe
from common.recipe.settings import apply_settings
from common.recipe.values import checked, format_value
from common.reproduction import reproductions
from reproductions.v2.recipe import DEEPLAB, VARIANTS, V2Recipe, fields_from_weights


def settle(*settings, base="deeplab"):
    return apply_settings(VARIANTS, base, settings)


def test_settings_are_parsed_by_the_fields_type():
    recipe = settle(
        "learning_rate=1e-3", "num_steps=30", "random_mirror=false", "crop_size=161", "encoder=res50",
        "msc_scales=1,.75,.5", "eval_size=513", "lr_multipliers=[[\"a\", 2]]", "init_not_loaded=a,b",
    )  # fmt: skip
    assert recipe.learning_rate == 1e-3
    assert recipe.num_steps == 30
    assert recipe.random_mirror is False
    assert recipe.crop_size == (161, 161)
    assert recipe.encoder == "res50"
    assert recipe.msc_scales == (1.0, 0.75, 0.5)
    assert recipe.eval_size == 513
    assert recipe.lr_multipliers == (("a", 2.0),)
    assert recipe.init_not_loaded == ("a", "b")
    assert settle("eval_size=native").eval_size == "native"
    assert settle("learning_rate=1").learning_rate == 1.0
    assert settle("crop_size=100,200").crop_size == (100, 200)
    assert settle("pixel_mean=1,2,3").pixel_mean == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("learning_rat=1", "did you mean learning_rate"),
        ("zzz=1", "no such field"),
        ("num_steps=ten", "num_steps=ten: needs a whole number"),
        ("num_steps=1.5", "needs a whole number"),
        ("num_steps=true", "needs a whole number"),
        ("num_steps=0", "must be at least 1"),
        ("random_mirror=1", "needs true or false"),
        ("learning_rate=fast", "needs a number"),
        ("encoder=res10", "encoder=res10: needs one of deeplab, res101, res50"),
        ("crop_size=1,2,3", "needs 2 values"),
        ("eval_size=big", "needs 'native' or a whole number"),
        ("seed=-1", "seed=-1: must be from 0 to 2147483647"),
        ("learning_rate=nan", "must be finite"),
        ("learning_rate=-1", "must be above 0"),
        ("ignore_label=300", "must be from 0 to 255"),
        ("weight_decay_on=(", "is not a regular expression"),
        ('lr_multipliers=[["(", 2]]', "is not a regular expression"),
        ("msc_scales=.5,1", "must start with 1"),
        ("atrous_rates=0", "atrous_rates=0: must be from 1 to 1000"),
        ("eval_scales=0", "needs factors from"),
        ("variant=deeplab_mcs", "did you mean deeplab_msc"),
        ("num_steps", "key=value"),
    ],
)
def test_bad_settings_are_one_clear_sentence(setting, message):
    with pytest.raises(UserError, match=message) as error:
        settle(setting)
    assert "\n" not in str(error.value)


def test_variant_replaces_and_settings_override():
    recipe = settle("num_steps=5", "variant=deeplab_msc")
    assert recipe.msc_scales == (1.0, 0.75, 0.5)
    assert recipe.batch_size == 1
    assert recipe.num_steps == 5


@pytest.mark.parametrize("variant", VARIANTS)
def test_json_round_trip(variant):
    recipe = VARIANTS[variant]
    assert recipe.variant == variant
    assert V2Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize("name", reproductions())
def test_every_field_of_every_variant_can_be_said(name):
    """`--set` takes what a message, a record or Python's options show of a value."""
    variants = reproductions()[name].variants
    for recipe in variants.values():
        said = [f"{f.name}={format_value(getattr(recipe, f.name))}" for f in dataclasses.fields(recipe)[1:]]
        assert apply_settings(variants, recipe.variant, said) == recipe, recipe.variant


@pytest.mark.parametrize("name", reproductions())
def test_what_is_not_loaded_for_own_classes_can_be_said(name):
    reproduction = reproductions()[name]
    setting = f"init_not_loaded={reproduction.last_layer}"
    recipe = apply_settings(reproduction.variants, reproduction.default_variant, [setting])
    assert recipe.init_not_loaded == (reproduction.last_layer,)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("^(a|b)", ("^(a|b)",)), ("(a|b)", ("(a|b)",)), ("[ab]", ("[ab]",)), ("a, b", ("a", "b")),
        ("('a', 'b')", ("a", "b")), ('["^(a|b)", "c{1,2}"]', ("^(a|b)", "c{1,2}")), ("", ()), ("()", ()), ("[]", ()),
    ],
)  # fmt: skip
def test_lists_of_regular_expressions(text, value):
    assert settle(f"init_not_loaded={text}").init_not_loaded == value


def test_lists_of_numbers():
    assert settle("class_weights=").class_weights == () == settle("class_weights=[]").class_weights
    assert settle("crop_size=(100, 200)").crop_size == (100, 200) == settle("crop_size=[100,200]").crop_size
    assert settle("padding_pixel=0").padding_pixel == (0, 0, 0)
    assert settle("lr_multipliers=[]").lr_multipliers == () == settle("lr_multipliers=").lr_multipliers


def test_none_can_be_said():
    variants = reproductions()["v3plus"].variants
    recipe = apply_settings(variants, "scratch", ["batch_norm_decay=none"])
    assert recipe.batch_norm_decay is None
    assert apply_settings(variants, recipe, ["batch_norm_decay=0.5"]).batch_norm_decay == 0.5


def test_from_json_refuses_what_it_does_not_know():
    with pytest.raises(UserError, match="did you mean power"):
        V2Recipe.from_json({"variant": "x", "powr": 1})
    with pytest.raises(UserError, match="no field 'variant'"):
        V2Recipe.from_json({})


def test_recipes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEEPLAB.num_steps = 1
    assert Recipe(variant="x").derive(num_steps=3).num_steps == 3


def test_the_originals_numbers():
    """main.py of the original, flag by flag."""
    r = DEEPLAB
    assert (r.num_steps, r.save_interval, r.seed, r.batch_size) == (20000, 1000, 1234, 10)
    assert (r.learning_rate, r.power, r.momentum, r.weight_decay) == (2.5e-4, 0.9, 0.9, 5e-4)
    assert (r.crop_size, r.min_scale, r.max_scale, r.random_mirror) == ((321, 321), 0.5, 1.5, True)
    assert (r.channel_order, r.pixel_mean) == ("bgr", (104.00698793, 116.66876762, 122.67891434))
    assert r.batch_norm_epsilon == 0.001
    assert not r.align_corners
    msc = VARIANTS["deeplab_msc"]
    assert (msc.msc_scales, msc.batch_size, msc.grad_update_every) == ((1.0, 0.75, 0.5), 1, 10)


def test_preprocessing_belongs_to_the_weights():
    slim = {"resnet_v1_50/conv1/weights": (7, 7, 3, 64), "resnet_v1_50/logits/weights": (1, 1, 2048, 1000)}
    told = fields_from_weights(slim) | {"pixel_mean": 0}
    assert told == {"encoder": "res50", "channel_order": "rgb", "pixel_mean": 0}
    whole = slim | {"decoder/aspp/conv1/weights": (3, 3, 2048, 19), "decoder/aspp/conv1/biases": (19,)}
    assert fields_from_weights(whole)["channel_order"] == "bgr"
    assert fields_from_weights(whole)["num_classes"] == 19
    caffe = {"res2a_branch1/weights": (1, 1, 64, 256)}
    assert fields_from_weights(caffe)["encoder"] == "deeplab"
    assert fields_from_weights(caffe)["channel_order"] == "bgr"
    assert fields_from_weights(caffe | {"res4a_branch2b/fix_w": (4, 4)})["dilated_type"] == "smooth_GI"
    assert fields_from_weights(caffe | {"res4a_branch2b/fix_w": (3, 3, 1, 1, 1)})["dilated_type"] == "smooth_SSC"
    assert fields_from_weights({"something": (1,)}) == {}


@pytest.mark.parametrize("name", ["x/../../../../name", "..", "a\\b", "/abs", "a\nb", ".hidden", "", "x" * 200])
def test_a_stored_variant_that_is_no_plain_name_is_refused(name):
    """It becomes part of the names of run folders, records and figures."""
    stored = DEEPLAB.to_json() | {"variant": name}
    with pytest.raises(UserError) as error:
        V2Recipe.from_json(stored, "model.ckpt-5")
    assert str(error.value).startswith("model.ckpt-5: variant: ")
    assert len(str(error.value)) < 250


@pytest.mark.parametrize("setting, message", [
    ("eval_size=1000000000", r"eval_size=1000000000 and eval_scales=1.0: the pictures alone need 12,000,000,000 GB"),
    ("batch_size=1000000", r"crop_size=\d+,\d+ and batch_size=1000000: the pictures alone need [\d,]+ GB of memory"),
    ("crop_size=1000000", r"crop_size=1000000,1000000 and batch_size=\d+: the pictures alone need [\d,]+ GB of memory"),
    ("resize_range=200000,300000", r"resize_range=200000,300000: the pictures alone need 480 GB of memory; take less"),
    ("crop_size=" + "[" * 100_000, r"crop_size=\[+\.\.\.: needs a whole number"),
    ("crf_gaussian_sxy=-1", r"crf_gaussian_sxy=-1.0: must be from 0.001 to 1000000"),
    ("crf_bilateral_sxy=0", r"crf_bilateral_sxy=0.0: must be from 0.001 to 1000000"),
    ("crf_bilateral_srgb=0", r"crf_bilateral_srgb=0.0: must be from 0.001 to 1000000"),
    ("crf_gaussian_compat=-1", r"crf_gaussian_compat=-1.0: must be from 0 to 1000000"),
    ("crf_iterations=1000000000", r"crf_iterations=1000000000: must be from 0 to 1000"),
    ("num_steps=" + "9" * 4000, r"num_steps=9+\.\.\.9*: is too large; no number of a recipe is beyond"),
    ("eval_scales=" + "17," * 100_000, r"eval_scales=[0-9.,]+: has 100,000 entries; take 300 at most"),
    ("atrous_rates=6,1000000000", "atrous_rates=6,1000000000: must be from 1 to 1000"),
    ("calibration_batches=1000000", "calibration_batches=1000000: must be from 0 to 10000"),
    ("max_scale=1e12", "max_scale=.*: must be from 0.01 to 32"),
    ("min_scale=1e-12", "min_scale=1e-12: must be from 0.01 to 32"),
    ("scale_step=1e-9", "scale_step=1e-09: makes more than a thousand factors"),
    ("learning_rate=1e300", r"learning_rate=1e\+300: must be finite, and at most 1e\+30"),
    ("pixel_mean=1e300,0,0", r"pixel_mean=1e\+300,0.0,0.0: must be finite"),
    ("multi_grid=1,2,5000", "multi_grid=1,2,5000: must be from 1 to 1000"),
    ("grad_update_every=1000000", "grad_update_every=1000000: must be from 1 to 10000"),
    ("batch_size=" + "x" * 1_000_000, r"batch_size=x+\.\.\.: needs a whole number"),
])  # fmt: skip
def test_sizes_that_no_machine_holds(setting, message):
    with pytest.raises(UserError, match=message) as error:
        settle(setting)
    assert len(str(error.value)) < 500


def test_none_is_a_list_without_a_number():
    assert settle("class_weights=auto", "class_weights=none").class_weights == ()
    assert settle("resize_range=1,2", "resize_range=none").resize_range == ()
    with pytest.raises(UserError, match="class_weights"):
        settle("class_weights=nothing")


def test_a_number_that_no_float_holds():
    with pytest.raises(UserError, match="learning_rate=1000.*: needs a number"):
        checked("learning_rate", float, 10**400)


@pytest.mark.parametrize("value", [[1], 5, None, {"a": 1}])
def test_a_stored_cell_of_another_type_is_refused(value):
    from reproductions.v3plus.recipe import V3PlusRecipe

    with pytest.raises(UserError, match="model.ckpt-5: dense_prediction_cell"):
        V3PlusRecipe.from_json({"variant": "x", "dense_prediction_cell": value}, "model.ckpt-5")


@pytest.mark.parametrize("pattern", ["(" * 100_000, "a{99999999999}", "["])
def test_a_pattern_that_is_no_regular_expression_is_one_sentence(pattern):
    with pytest.raises(UserError, match="is not a regular expression") as error:
        settle(f"weight_decay_on={pattern}")
    assert len(str(error.value)) < 500


def test_later_fields_leave_ids_as_they_were():
    assert "precision" not in DEEPLAB.identity()
    assert DEEPLAB.identity().items() < DEEPLAB.to_json().items()
    assert DEEPLAB.derive(precision="bf16").identity()["precision"] == "bf16"
