"""DeepLab v2 on PASCAL-Context, PASCAL-Person-Part and COCO-Stuff: variants, their data sets, and published rows."""

import pytest

from common.data.lists import card_by_name, check_classes
from common.downloads.manifest import read_manifest
from common.results.matching import recipe_for, what_it_needs
from common.results.published import read_published
from reproductions.v2 import REPRODUCTION

# The variant of each row of ResNet-101, by the row's mIoU.
ROWS = {
    "arXiv 1606.00915 table 6, PASCAL-Context": {
        39.6: "pascal_context_base", 41.4: "pascal_context_msc", 42.9: "pascal_context_coco",
        43.5: "pascal_context_largefov", 44.7: "pascal_context", 45.7: "pascal_context",
    },
    "arXiv 1606.00915 table 7, PASCAL-Person-Part": {
        58.9: "pascal_person_part_base", 63.1: "pascal_person_part_msc", 64.4: "pascal_person_part",
        64.94: "pascal_person_part",
    },
}  # fmt: skip
SETS = ("pascal_context", "pascal_person_part", "cocostuff10k", "cocostuff164k")


@pytest.mark.parametrize("source", ROWS)
def test_each_row_has_a_variant(source):
    found = {}
    for row in read_published():
        if row.table.source == source and not row.model.startswith("VGG"):
            recipe, changes = recipe_for(row)
            assert changes == {}
            assert card_by_name(recipe.dataset).title == row.table.data
            found[row.miou] = recipe.variant
            # Scales are fused as the row says; its protocol, not its training, tells them.
            assert (recipe.msc_scales if len(recipe.msc_scales) > 1 else ()) == row.protocol.msc
    assert found == ROWS[source]


@pytest.mark.parametrize("dataset", SETS)
def test_variants_fit_their_data_sets(dataset):
    variants = [recipe for recipe in REPRODUCTION.variants.values() if recipe.dataset == dataset]
    assert dataset in [recipe.variant for recipe in variants]  # what `make data` says to train next
    card = card_by_name(dataset)
    for recipe in variants:
        check_classes(recipe, card)
        assert {recipe.train_split, recipe.val_split} <= set(card.split_sizes)


def test_cocostuff_is_trained_as_its_program_says():
    """configs/cocostuff10k.yaml and cocostuff164k.yaml: batches of 5, 2 of them a step, scales 0.5, 0.75, ... 1.5."""
    for name, steps in (("cocostuff10k", 20000), ("cocostuff164k", 100000)):
        recipe = REPRODUCTION.variants[name]
        assert (recipe.num_steps, recipe.batch_size, recipe.grad_update_every) == (steps, 5, 2)
        assert (recipe.learning_rate, recipe.power, recipe.momentum, recipe.weight_decay) == (2.5e-4, 0.9, 0.9, 5e-4)
        assert (recipe.min_scale, recipe.max_scale, recipe.scale_step) == (0.5, 1.5, 0.25)
        assert (recipe.crop_size, recipe.msc_scales) == ((321, 321), (1.0, 0.75, 0.5))
        assert recipe.crf_parameters() is None


def test_a_row_of_cocostuff_names_its_commands():
    (row, with_crf) = (row for row in read_published() if row.table.data == "COCO-Stuff 164k")
    told = "then `make eval-all DATA=COCO-Stuff-164k DATASET=cocostuff164k SPLIT=val`"
    assert what_it_needs(row) == what_it_needs(with_crf) == f"`make weights NAME=kazuto_deeplabv2`, {told}"


def test_its_weights_are_evaluated_by_these_variants():
    weights = {w.variant: w for w in read_manifest().entry("kazuto_deeplabv2").weights}
    for name in ("cocostuff10k", "cocostuff164k"):
        assert weights[name].reproduction == "v2"
        assert f"--variant {name} " in weights[name].convert
        assert f"{name}/train" in weights[name].trained_on
