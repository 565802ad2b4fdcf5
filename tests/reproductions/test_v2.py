"""DeepLab v2's variants of published tables: each differs from the row before by what the table says, and no more."""

import pytest

from common.nets.network import build
from common.results.matching import recipe_for
from common.results.published import read_published
from common.tf1 import tf
from reproductions.v2.model import network
from reproductions.v2.recipe import VARIANTS


def changed(variant, base):
    """The fields in which two variants differ, but for their names."""
    ours, other = VARIANTS[variant].to_json(), VARIANTS[base].to_json()
    return {name for name in ours if ours[name] != other[name]} - {"variant"}


def test_cityscapes_with_and_without_each_part():
    """1606.00915, table 9: LargeFOV, ASPP, augmentation and CRF one after another; ResNet-101 from ImageNet."""
    assert changed("table9_base", "res101") == {
        "dataset", "num_classes", "train_split", "random_scale", "atrous_rates",
    }  # fmt: skip
    assert changed("table9_largefov", "table9_base") == {"atrous_rates"}
    assert changed("table9_aspp", "table9_largefov") == {"atrous_rates"}
    assert changed("table9_augmentation", "table9_aspp") == {"random_scale"}
    assert changed("table9_crf", "table9_augmentation") == {"crf"}
    rows = [row for row in read_published() if row.table.source.startswith("arXiv 1606.00915 table 9")]
    found = [(row.miou, *recipe_for(row)) for row in rows if row.trained.fields.get("encoder")]
    assert [(miou, recipe.variant, changes) for miou, recipe, changes in found] == [
        (66.6, "table9_base", {}),
        (69.2, "table9_largefov", {}),
        (70.4, "table9_aspp", {}),
        (71.0, "table9_augmentation", {}),
        (71.4, "table9_augmentation", {}),  # the CRF is the protocol's
    ]


@pytest.mark.parametrize("start", ["", "res101_"])
def test_largefov_with_each_smoothing(start):
    """1808.08931 compares the same four ways with one classifier of rate 12 in ASPP's place."""
    for way in ("", "_multi_grid", "_smooth_GI", "_smooth_SSC"):
        aspp = f"res101_kdd18{way}" if start else way.strip("_") or "deeplab_kdd18"
        assert changed(f"{start}largefov_kdd18{way}", aspp) == {"atrous_rates"}
        assert VARIANTS[f"{start}largefov_kdd18{way}"].atrous_rates == (12,)


def test_largefov_has_one_classifier_and_its_encoder_the_smoothing():
    with tf.Graph().as_default():
        build(network, tf.zeros([1, 33, 33, 3]), VARIANTS["largefov_kdd18_smooth_SSC"])
        names = [v.op.name for v in tf.global_variables()]
    assert [name for name in names if name.startswith("fc1_voc12")] == ["fc1_voc12_c0/weights", "fc1_voc12_c0/biases"]
    assert sum(name.endswith("/fix_w") for name in names) == 23 + 3  # each atrous 3x3 of the blocks 3 and 4
