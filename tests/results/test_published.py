"""Published rows as data: what they are made of, which record may stand beside which, and what is refused."""

import copy
import dataclasses
import itertools
import random
import re
import shlex
from pathlib import Path

import pytest
import yaml

from common.data.lists import card_by_name
from common.downloads.manifest import read_manifest
from common.errors import UserError
from common.recipe.settings import apply_settings
from common.reproduction import reproductions
from common.results import matching, possible
from common.results.protocol import Protocol, protocol_text
from common.results.published import PUBLISHED, read_published


@pytest.fixture(scope="module")
def rows():
    return read_published()


def made_up(row, miou=0.5, finished="2026-01-01T00:00:00+00:00", **protocol):
    """The record of a run that did what a row says, whether or not a program of ours can; `protocol` changes it."""
    how = row.protocol
    trained, ours = row.trained, matching.recipe_for(row)
    recipe = {} if ours is None else ours[0].derive(**ours[1]).to_json()
    crf = ours[0].derive(crf=True).crf_parameters() if ours else {"iterations": 10}
    recipe |= {**trained.fields, **trained.foreign, "num_classes": row.table.classes}
    recipe.setdefault("num_steps", 100)
    steps = recipe["num_steps"]
    stated = {
        **({"output_stride": how.output_stride} if how.output_stride else {}),
        **({"resize_range": list(how.resize_range)} if how.resize_range else {}),
        **({"msc_scales": list(how.msc)} if how.msc else {}),
        **({"void": "class 0"} if how.void == "background" else {}),
        "eval_size": how.size,
        "scales": how.scales and list(how.scales),
        "flip": how.mirror,
        "crf": crf if how.crf else None,
    }
    start = None if trained.init == "random" else f"weights/{trained.init}/{trained.init}.ckpt"
    return {
        "id": f"{row.table.source} {row.model}",
        "reproduction": row.table.reproduction,
        "variant": ours[0].variant if ours else "none",
        "changed": list(ours[1]) if ours else [],
        "marks": row.marks,
        "data": {"title": row.table.title, "images": 1449},
        "checkpoint": {
            "path": f"weights/{trained.weights}/{trained.weights.split('/')[-1]}.ckpt" if trained.weights else
                    f"runs/x/model.ckpt-{steps}",
            "step": None if trained.weights else steps,
        },
        "training": None if trained.weights else {"init": start, **trained_on(ours)},
        "protocol": stated | protocol,
        "recipe": recipe,
        "miou": miou,
        "finished": finished,
        "crop": how.crop,
        "told": how.told,
    }  # fmt: skip


def trained_on(ours):
    """The pictures in the summary of a run of ours, which its recipe names; nothing for another program's."""
    if ours is None:
        return {}
    recipe = ours[0].derive(**ours[1])
    card, split = card_by_name(recipe.dataset), recipe.train_split
    random_train = int(0.9 * sum(card.split_sizes.get(name, 0) for name in ("train_aug", "val")))
    images = random_train if split == "random_train" else card.split_sizes[split]
    return {"data": f"{card.title} {split}", "split": split, "images": images, "sample": False}


def stands(row, record):
    """Whether a record may stand beside a row; what no record of ours can tell of itself is told here."""
    whole = Protocol.of_record({**record["protocol"], "scales": record["protocol"]["scales"] or ()})
    told = dict(vars(whole), crop=record["crop"], told=record["told"], scales=whole.scales or None)
    return matching.matches(row, record, protocol=Protocol(**told))


def named(rows, source, miou):
    (row,) = (r for r in rows if r.table.source.startswith(source) and r.miou == miou)
    return row


def the_same(row, other, rows):
    """Whether two rows say that they are of one thing: by `beside`, directly or through a third."""
    return bool({row.id, row.beside} & {other.id, other.beside} - {""})


def test_every_row_is_met_by_its_own_record_and_by_no_other(rows):
    made = [made_up(row) for row in rows]
    assert len(rows) > 260
    for row, record in zip(rows, made, strict=True):
        assert stands(row, record), (row.table.source, row.model)
    both = [
        (row.table.source, row.model, row.miou, other.table.source, other.model)
        for (row, _), (other, record) in itertools.permutations(zip(rows, made, strict=True), 2)
        if stands(row, record) and not the_same(row, other, rows)
    ]
    assert not both, both


ZOO = "tensorflow/models research/deeplab model zoo"


def test_the_output_stride_decides_in_both_orders_of_time(rows):
    """Two records of the zoo's MobileNetV2: the one at OS 8 and one scale is none of its published numbers."""
    os16, scales = (named(rows, ZOO, miou) for miou in (75.32, 77.33))
    early, late = "2026-01-01T00:00:00+00:00", "2026-01-01T00:05:00+00:00"
    for first, second in ((early, late), (late, early)):
        found = [made_up(os16, 0.7532, first), made_up(os16, 0.7650, second, output_stride=8)]
        assert matching.matching_record(os16, found)["miou"] == 0.7532
        assert matching.matching_record(scales, found) is None
        # v3 has rows of both strides, and one training for them: each keeps its own.
        v3 = [named(rows, "arXiv 1706.05587 table 6", miou) for miou in (77.21, 78.51)]
        found = [made_up(v3[0], 0.77, first), made_up(v3[0], 0.78, second, output_stride=8)]
        assert [matching.matching_record(row, found)["miou"] for row in v3] == [0.77, 0.78]
    newer = [made_up(os16, 0.1, early), made_up(os16, 0.2, late)]
    assert matching.matching_record(os16, newer)["miou"] == 0.2


def test_an_engine_stands_for_tensorflow_where_its_labels_are_the_same(rows):
    row = named(rows, "arXiv 1706.05587 table 6", 79.77)
    record = made_up(row)
    record["protocol"]["engine"] = "openvino"
    assert not matching.matches(row, record)
    for agreement, precision, stands in ((0.9999, "fp32", True), (0.9998, "fp32", False), (1.0, "bf16", False)):
        compared = {"engine": {"agreement": agreement, "pictures": 3, "pixels": 10**6}}
        one = record | compared | {"protocol": record["protocol"] | {"precision": precision}}
        assert matching.matches(row, one) == stands
    assert protocol_text(record["protocol"]).endswith("by OpenVINO + mirror")


def test_anything_else_than_the_row_says_keeps_a_record_away(rows):
    row = named(rows, "arXiv 1706.05587 table 6", 79.77)
    record = made_up(row)
    assert matching.matches(row, record)

    def keeps_away(**changes):
        changed = copy.deepcopy(record)
        for path, value in changes.items():
            *folders, last = path.split("__")
            place = changed
            for folder in folders:
                place = place[folder]
            place[last] = value
        return not matching.matches(row, changed)

    assert keeps_away(protocol__scales=[0.75, 1.0, 1.25])
    assert keeps_away(protocol__flip=False)
    assert keeps_away(protocol__eval_size=513)
    assert keeps_away(protocol__resize_range=[513, 513])
    assert keeps_away(protocol__crf={"iterations": 10})
    assert keeps_away(protocol__msc_scales=[1.0, 0.5])
    assert keeps_away(protocol__scale_fusion="max_logits")
    assert keeps_away(protocol__void="class 0")
    assert keeps_away(protocol__precision="bf16")
    assert keeps_away(recipe__precision="bf16")
    assert keeps_away(marks={"bf16": True})
    assert keeps_away(recipe__multi_grid=[1, 1, 1])
    assert keeps_away(recipe__output_stride=8)
    assert keeps_away(recipe__batch_size=8)
    assert keeps_away(recipe__dataset="coco")
    assert keeps_away(recipe__num_classes=20)
    assert keeps_away(data__title="VOC2012 train")
    assert keeps_away(recipe__weight_decay=0.1)  # which no row tells, but the recipe that has all that it tells
    assert keeps_away(reproduction="v3plus")
    assert keeps_away(marks={"subset": 5})
    assert keeps_away(marks={"val_seen": True})
    for init in (None, "weights/coco/coco.ckpt", "weights/resnet_v1_101_beta/model.ckpt"):
        assert keeps_away(training__init=init)
    assert keeps_away(training=None)
    assert keeps_away(checkpoint__path="runs/x/best.ckpt-30000")
    assert keeps_away(checkpoint__step=1000)
    assert not keeps_away(variant="paper")
    assert not keeps_away(variant="table6_os8")
    assert not keeps_away(changed=["eval_output_stride"])  # as records of schema 1 have it; the protocol says it


def test_msc_crf_and_published_weights(rows):
    msc, crf = (named(rows, "arXiv 1606.00915 table 4", miou) for miou in (76.35, 77.69))
    record, refined = made_up(msc), made_up(crf)
    assert matching.matches(msc, record)
    assert matching.matches(crf, refined)
    assert not matching.matches(msc, refined)
    assert not matching.matches(crf, record)
    other_crf = copy.deepcopy(refined)
    other_crf["protocol"]["crf"]["bilateral_sxy"] = 49.0  # v1's, not v2's
    assert not matching.matches(crf, other_crf)
    del record["protocol"]["msc_scales"]
    assert not matching.matches(msc, record)
    zoo = named(rows, ZOO, 75.32)
    weights = made_up(zoo)
    other = {"checkpoint": {"path": "weights/deeplabv3_mnv2_pascal_trainval/model.ckpt", "step": None}}
    assert not matching.matches(zoo, weights | other)
    # Outside of weights/ nothing but their digest tells which they are.
    elsewhere = weights | {"checkpoint": {"path": "model.ckpt-30000", "step": None}}
    assert not matching.matches(zoo, elsewhere | {"variant": "mnv2_pascal_train_aug"})
    elsewhere["checkpoint"]["origin"] = "deeplabv3_mnv2_pascal_train_aug/model.ckpt-30000"
    assert matching.matches(zoo, elsewhere)
    assert not matching.matches(zoo, weights | {"training": {"init": "resnet"}})


def test_rows_of_random_splits_and_of_seen_pictures_have_these_marks(rows):
    seen = named(rows, "github DrSleep/tensorflow-deeplab-resnet README", 86.9)
    random_split = named(rows, "github tonandr/deeplabv3plus_keras", 87.9)
    assert seen.marks == {"val_seen": True}
    assert random_split.marks == {"random_split": True}
    for row in (seen, random_split):
        assert not matching.matches(row, made_up(row) | {"marks": {}})


def test_ours_can_be_made_and_are_one_training_each(rows):
    """Where no recipe of ours is needed by name: the told fields leave one training, whatever variants have them."""
    for row in rows:
        if not row.is_ours or row.trained.weights or row.table.split == "test":
            continue
        nearest, changes = matching.recipe_for(row)
        made = nearest.derive(**changes, **row.protocol.changes(nearest))
        stated = Protocol.of_record(made.at_evaluation().protocol())
        assert stated == row.protocol, (row.table.source, row.model, stated)
        free = {*type(made).EVALUATION_FIELDS, "variant"}
        fields = {k: v for k, v in made.to_json().items() if k not in free}
        for variant in reproductions()[row.table.reproduction].variants.values():
            if all(getattr(variant, name) == value for name, value in row.trained.fields.items()):
                other = {k: v for k, v in variant.to_json().items() if k not in free}
                assert other == fields, (row.table.source, row.model, variant.variant, nearest.variant)


def what_it_takes_by_fields(row, **fields):
    """The commands of a row that says these fields of its training too."""
    trained = dataclasses.replace(row.trained, fields={**row.trained.fields, **fields})
    return matching.what_it_needs(dataclasses.replace(row, trained=trained))


def test_what_a_missing_number_takes(rows):
    needs = {row.miou: matching.what_it_needs(row) for row in rows}
    v3 = matching.what_it_needs(named(rows, "arXiv 1706.05587 table 6", 78.51))
    assert v3 == (
        "`make reproduce-v3 DATA=VOC2012 INIT=resnet_v1_101 SET=variant=paper "
        "RUN_DIR=runs/v3-paper-VOC2012-resnet_v1_101` then `.venv/bin/python -m reproductions.v3 "
        "evaluate --data VOC2012 --split val --checkpoint runs/v3-paper-VOC2012-resnet_v1_101/model.ckpt-30000 "
        "--out out/v3-paper-VOC2012-resnet_v1_101-val-eval_output_stride_8 --set eval_output_stride=8`"
    )
    assert needs[64.81].startswith(
        "`make reproduce-v3 DATA=VOC2012 INIT=resnet_v1_50 SET=variant=table2_block4 RUN_DIR="
    )
    # Where no variant is the row's, its fields are set.
    found = what_it_takes_by_fields(named(rows, "arXiv 1706.05587 table 2", 64.81), batch_size=10)
    assert found.startswith(
        '`make reproduce-v3 DATA=VOC2012 INIT=resnet_v1_50 SET="variant=table2_block4 batch_size=10" RUN_DIR=runs/'
    )
    assert needs[75.32] == "`make weights NAME=deeplabv3_mnv2_pascal_train_aug`, then `make eval-all DATA=VOC2012`"
    assert needs[73.57].endswith("`make eval-all DATA=Cityscapes DATASET=cityscapes SPLIT=val`")
    assert needs[87.8] == "the test server: the labels are not public"
    assert needs[83.03] == "JFT-300M, which is not public"
    assert needs[76.98].startswith("its own program: NanqingD/")
    assert needs[79.74].startswith("`make reproduce-v3plus DATA=Cityscapes INIT=random SET=variant=auto_deeplab_s RUN")
    assert needs[72].startswith("`make reproduce-v3plus DATA=VOC2012 ")
    assert needs[72].endswith(", then its own evaluation: one crop of 321 of each picture, where ours takes whole ones")
    assert needs[80.27].startswith("`make reproduce-v3plus DATA=data/coco INIT=random SET=variant=auto_deeplab_s_coco ")
    assert needs[80.27].endswith(
        "`, then its own evaluation: the source does not tell its pictures' size, scales, mirror"
    )
    # Another program's rows say so, whatever else is said of them.
    assert needs[78.1].startswith("its own program: detectron2 projects/DeepLab")
    manifest = read_manifest()
    for row in rows:
        if row.trained.weights:
            assert row.trained.weights.split("/")[0] in manifest.entries, row.trained.weights


# Rows whose networks are still to come, by the words of their source or network. Without any, `network` can go.
STILL_OPEN = r"VGG-16|PASCAL-|detectron2"
WITH_RECIPES = ("v2", "v3")


def test_every_row_has_a_recipe_or_says_why_there_is_none(rows):
    """A variant as it is; or the test server, data that are not public, or another program by its name."""
    of_ours = 0
    for row in rows:
        where, trained = (row.table.source, row.model), row.trained
        if row.table.reproduction not in WITH_RECIPES or re.search(STILL_OPEN, f"{row.table.source} {trained.network}"):
            continue
        assert not trained.network, where
        needs = matching.what_it_needs(row)
        assert "none of ours" not in needs, where
        if row.table.split == "test":
            assert needs.startswith("the test server"), where
        elif trained.foreign:
            assert needs in (f"its own program: {trained.program}", f"{trained.private}, which is not public"), where
        elif not trained.weights:
            assert matching.recipe_for(row)[1] == {}, where
            of_ours += 1
    assert of_ours >= 85


def test_published_weights_are_evaluated_by_a_recipe_that_has_what_their_rows_tell(rows):
    """The variant that the manifest names for these weights has the fields of the row."""
    ours, manifest = reproductions(), read_manifest()
    for row in rows:
        if row.trained.weights:
            entry, _, file = row.trained.weights.partition("/")
            weights = [w for w in manifest.entries[entry].weights if w.variant and file in w.path]
            assert weights, row.trained.weights
            recipe = ours[row.table.reproduction].variants[weights[0].variant].to_json()
            assert matching.is_trained_by(recipe, row.trained), (row.table.source, row.model, weights[0].variant)


def test_rows_agree_with_what_the_repository_says_of_the_same_thing(rows):
    """`beside` points at a row of another source, or of the same one where it prints a number twice."""
    by_id = {row.id: row for row in rows if row.id}
    linked = [row for row in rows if row.beside]
    assert len(linked) > 20
    assert all(row.beside in by_id for row in linked)
    # Of one training and protocol, but for who trained it: both figures are of the same data and classes.
    for row in linked:
        other = by_id[row.beside].table
        assert (row.table.title, row.table.classes) == (other.title, other.classes)


def test_protocols_in_words():
    one = {"eval_size": "native", "scales": [1.0], "flip": False}
    assert protocol_text(one) == "native, scale 1"
    many = {"output_stride": 8, "eval_size": 513, "scales": [0.5, 1.0], "flip": True, "crf": {}}
    assert protocol_text(many) == "OS 8, padded to 513, scales 0.5 1 + mirror + CRF"
    assert protocol_text({**one, "resize_range": [257, 257], "msc_scales": [1.0, 0.5], "void": "class 0"}) == (
        "sides brought to 257..257, native, scale 1, MSC 1 0.5, void as background"
    )
    assert Protocol(scales=None, mirror=None, crop=321).text() == "crops of 321, several scales, mirror not told"


HEAD = "- source: s\n  reproduction: v3\n  data: VOC2012\n  split: val\n  classes: 21\n"
ROW = "    - {model: m, miou: 70, protocol: {output_stride: 16, size: native}, trained: {init: resnet_v1_101}}\n"
WHOLE = f"{HEAD}  rows:\n{ROW}"


def refusal(tmp_path, text):
    """What reading the file says; its path is replaced by FILE."""
    path = tmp_path / "published.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_published(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    return str(caught.value).replace(str(path), "FILE")


def test_a_whole_file_is_read(tmp_path):
    path = tmp_path / "published.yaml"
    path.write_text("\ufeff" + WHOLE, encoding="utf-8")
    (row,) = read_published(path)
    assert (row.model, row.miou, row.table.title, row.protocol.size) == ("m", 70.0, "VOC2012 val", "native")
    shared = (
        f"{HEAD}  protocol: {{output_stride: 8, crf: true}}\n  trained: {{init: resnet_v1_101, depth: 50}}\n  rows:\n"
    )
    shared += "    - {model: m, miou: 70, protocol: {crf: false}, trained: {init: null, program: theirs, depth: 101}}\n"
    path.write_text(shared, encoding="utf-8")
    (row,) = read_published(path)
    assert row.protocol == Protocol(output_stride=8)
    assert row.trained.program == "theirs"
    assert not row.trained.init
    assert row.trained.fields == {"depth": 101}
    assert not row.is_ours


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("protocol: {output_stride: 16, size: native}", "protocol: OS 16",
         "FILE: line 7: s, row m: protocol is 'OS 16', a text; write it as data"),
        ("model: m", 'model: "m, OS 8"', "row m, OS 8: model says 'OS 8', which the row's data do not"),
        ("model: m", "model: m + CRF", "model says 'CRF', which the row's data do not"),
        ("model: m", "model: m + MSC", "model says 'MSC'"),
        ("model: m", 'model: "m, six scales"', "model says 'scales'"),
        ("model: m", "model: m + mirror", "model says 'mirror'"),
        ("model: m", "model: m trained at OS 8", "model says 'trained at OS 8'"),
        ("model: m", "model: ResNet-50", "model says 'ResNet-50'"),
        ("model: m", 'model: "m (1, 2, 4)"', "model says '(1, 2, 4)'"),
        ("model: m", 'model: "m, batch 4"', "model says 'batch 4'"),
        ("model: m", "model: m (val seen)", "model says 'val seen'"),
        ("source: s", "source: s (test)", "source says 'test'"),
        ("model: m, ", "", "s, row without a model: model is missing"),
        ("miou: 70, ", "", "row m: miou is missing"),
        ("miou: 70", "miou: many", "row m: miou is 'many', and needs a number"),
        ("miou: 70", "miou: 700", "miou is 700, and needs a number of per cent"),
        ("miou: 70", "miou: 70, mIoU: 3", "row m: 'mIoU' is no field; there are model, miou"),
        ("miou: 70", "miou: 70, miou: 71", "FILE: line 7: cannot be read as YAML (miou is there twice)"),
        ("miou: 70", "miou: 70, headline: 1", "headline is 1, and needs true or false"),
        ("miou: 70", "miou: 70, beside: nobody", "beside is 'nobody', which is no row's id"),
        ("size: native", "size: whole", "protocol: size is 'whole', and needs 'native' or a whole number or none"),
        ("size: native", "sise: 513", "protocol: 'sise' is no field; there are output_stride, size"),
        ("size: native", "scales: 1.0", "protocol: scales is 1.0, and needs a list of a number"),
        ("size: native", "scales: [[1.0]]", "protocol: scales is [[1.0]], and needs plain values"),
        ("{output_stride: 16, ", "{", "row m: protocol: output_stride is missing"),
        ("trained: {init: resnet_v1_101}", "trained: resnet", "row m: trained is 'resnet', a text"),
        ("trained: {init: resnet_v1_101}", "trained: {}", "trained: needs one of init, weights, program"),
        ("{init: resnet_v1_101}", "{init: resnet_v1_101, weights: b}", "trained: has init and weights"),
        ("{init: resnet_v1_101}", "{init: random, dept: 50}", "trained: 'dept' is neither a field of v3's recipe"),
        ("{init: resnet_v1_101}", "{init: random, depth: 51}", "trained: depth is 51, and needs one of 50, 101, 152"),
        ("{init: resnet_v1_101}", "{init: [a]}", "trained: init is ['a'], and needs a text"),
        ("reproduction: v3\n", "reproduction: v9\n", "line 1: table s: reproduction is 'v9'; there are v1, v2, v3"),
        ("  reproduction: v3\n", "", "table s: reproduction is missing"),
        ("  classes: 21\n", "  classes: many\n", "table s: classes is 'many', and needs a whole number"),
        ("  classes: 21\n", "  classes: 21\n  year: 2017\n", "table s: 'year' is no field"),
        (f"  rows:\n{ROW}", "  rows: none\n", "table s: rows is no list of rows"),
        (ROW, "    - m\n", "a row is 'm', and no mapping of fields"),
        (WHOLE, "", "FILE: line 1: holds no list of tables"),
        (WHOLE, "- a\n", "table 'a': is no mapping of fields"),
        (WHOLE, "- {a: [}\n", "line 1: cannot be read as YAML ("),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence_with_file_line_row_and_field(tmp_path, old, new, message):
    text = WHOLE.replace(old, new, 1)
    assert text != WHOLE
    said = refusal(tmp_path, text)
    assert said.startswith("FILE: "), said
    assert message in said, said


def test_any_mutation_of_the_file_is_read_or_refused(tmp_path):
    """Fields dropped, renamed, and given values of every type."""
    tables = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    rng, path, refused = random.Random(20261127), tmp_path / "published.yaml", 0
    values = [None, True, -1, 10**30, 2.5, "x", "", [], [1], ["x"], {}, {"a": 1}, [[1]], float("nan"), "OS 8", "\0"]
    for _ in range(300):
        table = copy.deepcopy(rng.choice(tables))
        place = rng.choice([table, *table["rows"], *(row[k] for row in table["rows"] for k in ("protocol", "trained")
                                                     if k in row)])  # fmt: skip
        key = rng.choice(list(place))
        how = rng.randrange(3)
        if how == 0:
            del place[key]
        elif how == 1:
            place[key + "s"] = place.pop(key)
        else:
            place[key] = rng.choice(values)
        path.write_text(yaml.safe_dump([table]), encoding="utf-8")
        try:
            read_published(path)
        except UserError as error:
            refused += 1
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
    assert refused > 150


def test_what_eval_all_evaluates_is_what_the_rows_report(rows):
    """For a training with rows their protocols, at their size; for another all ways of its reproduction's rows."""
    from common.data.sets.ade20k import ADE20K
    from common.data.sets.cityscapes import CITYSCAPES
    from common.data.sets.voc import VOC2012
    from common.data.split import Split

    def ways(reproduction, variant, card, is_sample=False, weights="runs/x", **changes):
        recipe = reproductions()[reproduction].variants[variant].derive(**changes)
        split = Split(card, "val", (), is_sample)
        found = matching.reported_protocols(rows, reproduction, recipe, split, Path(weights) / "model.ckpt-30000")
        return {Protocol.of_record(recipe.derive(**c).at_evaluation().protocol()).text() for c in found}

    six = "0.5 0.75 1 1.25 1.5 1.75"
    assert ways("v3plus", "mnv2_pascal_train_aug", VOC2012, weights="weights/deeplabv3_mnv2_pascal_train_aug") == {
        "OS 16, padded to 513, scale 1", f"OS 8, padded to 513, scales {six} + mirror",
    }  # fmt: skip
    assert ways("v3plus", "mnv2_cityscapes_train", CITYSCAPES, weights="weights/deeplabv3_mnv2_cityscapes_train") == {
        "OS 16, native, scale 1", "OS 8, native, scales 0.75 1 1.25 + mirror",
    }  # fmt: skip
    small = ways("v3plus", "mnv2_ade20k_train", ADE20K, weights="weights/deeplabv3_mnv2_ade20k_train")
    assert small == {"OS 16, sides brought to 257..257, padded to 257, scale 1"}
    assert ways("v3plus", "xception65_ade20k_train", ADE20K, weights="weights/deeplabv3_xception_ade20k_train") == {
        f"OS 8, sides brought to 513..513, padded to 513, scales {six} + mirror"
    }
    assert ways("v3", "paper", VOC2012) == {
        "OS 16, native, scale 1", "OS 8, native, scale 1", f"OS 8, native, scales {six}",
        f"OS 8, native, scales {six} + mirror",
    }  # fmt: skip
    msc = "scale 1, MSC 1 0.75 0.5"
    assert ways("v2", "deeplab_msc", VOC2012) == {f"padded to 513, {msc}", f"padded to 513, {msc} + CRF"}
    sample = ways("v2", "sample", VOC2012, is_sample=True)
    assert sample == {"native, scale 1", f"native, {msc}", f"native, {msc} + CRF"}
    # Without rows of its own: all ways of v3+ on Cityscapes, at its own size.
    assert ways("v3plus", "xception65_cityscapes_train", CITYSCAPES, batch_size=4, eval_size=769) == {
        "OS 16, padded to 769, scale 1", "OS 8, padded to 769, scales 0.75 1 1.25 + mirror",
        "OS 8, padded to 769, scales 0.75 1 1.25 1.5 1.75 2 + mirror",
    }  # fmt: skip


def test_the_sample_runs_are_few_enough_for_half_an_hour(rows):
    from common.data.sets.voc import VOC2012
    from common.data.split import Split

    count, split = 0, Split(VOC2012, "val", (), is_sample=True)
    for name, reproduction in reproductions().items():
        for variant in reproduction.sample_variants:
            recipe = reproduction.variants[variant]
            found = matching.reported_protocols(rows, name, recipe, split, Path("runs/x/model.ckpt-1"))
            ways = [recipe, *(recipe.derive(**changes) for changes in found)]
            count += len({str(way.at_evaluation().protocol()) for way in ways})
    assert 26 <= count <= 50, count  # of pictures of 200 pixels: a way takes seconds


def test_the_commands_that_a_missing_number_takes_are_understood(rows):
    """Their settings are read as `--set` reads them, and give the row's training and protocol."""
    count, outs = 0, {}
    for row in rows:
        found = re.findall(r"`([^`]*)`", matching.what_it_needs(row))
        if not row.is_ours or row.trained.weights or not found:
            continue
        *first, train, evaluate = (shlex.split(command) for command in found)
        stages = {"coco", *(variant for name, variant in possible.FIRST_STAGES if name == row.table.reproduction)}
        assert len(first) == (row.trained.init in stages)
        variants = reproductions()[row.table.reproduction].variants
        settings = next(word for word in train if word.startswith("SET=")).removeprefix("SET=").split()
        recipe = apply_settings(variants, next(iter(variants)), settings)
        assert matching.is_trained_by(recipe.to_json(), row.trained)
        how = evaluate[evaluate.index("--set") + 1 :] if "--set" in evaluate else []
        evaluated = apply_settings(variants, recipe, how).at_evaluation()
        assert Protocol.of_record(evaluated.protocol()) == row.protocol, found
        assert evaluate[0] == ".venv/bin/python"  # where `make` installs
        outs.setdefault(evaluate[evaluate.index("--out") + 1], set()).add(found[-1])
        count += 1
    assert count > 90
    assert all(len(commands) == 1 for commands in outs.values())  # none replaces another's result


def test_a_start_on_coco_names_the_training_that_makes_it(rows):
    row = named(rows, "arXiv 1706.05587 table 6", 82.70)
    first, train, _ = re.findall(r"`([^`]*)`", matching.what_it_needs(row))
    assert first == "make reproduce-v3 DATA=data/coco INIT=resnet_v1_101 SET=variant=coco RUN_DIR=runs/coco"
    assert "INIT=runs/coco/model.ckpt-30000 " in train
    record = made_up(row)
    record["training"]["init"] = "runs/coco/model.ckpt-30000"
    assert matching.matches(row, record)


def test_a_start_from_another_variants_run_names_its_training(rows):
    row = named(rows, "arXiv 1412.7062 table 1", 61.30)
    first, train, _ = re.findall(r"`([^`]*)`", matching.what_it_needs(row))
    assert first == "make reproduce-v1 DATA=VOC2012 INIT=vgg16_128 SET=variant=deeplab RUN_DIR=runs/deeplab"
    assert "INIT=runs/deeplab/model.ckpt-6000 " in train
    record = made_up(row)
    record["training"]["init"] = "runs/deeplab/model.ckpt-6000"
    assert matching.matches(row, record)
    record["training"]["init"] = "runs/paper/model.ckpt-6000"
    assert not matching.matches(row, record)


def test_a_start_that_is_one_of_several_files_is_met_by_that_file(rows):
    row = named(rows, "github DrSleep/tensorflow-deeplab-lfov README", 57)
    record = made_up(row)
    for name, meets in (("init", True), ("pretrained", False)):
        record["training"]["init"] = f"weights/deeplab_lfov/model.ckpt-{name}"
        assert matching.matches(row, record) == meets
