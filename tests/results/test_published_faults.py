"""Data and texts of published.yaml that cannot be are refused; what training starts from is explained."""

import dataclasses
import re
from pathlib import Path

import pytest

from common.downloads.manifest import read_manifest
from common.errors import UserError
from common.results import possible, tables
from common.results.protocol import Protocol
from common.results.published import PUBLISHED, read_published
from tests.results.test_published import ROW, WHOLE, refusal

PROTOCOL, TRAINED = "{output_stride: 16, size: native}", "{init: resnet_v1_101}"


def trained(fields):
    return TRAINED, f"{{init: resnet_v1_101, {fields}}}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (*trained("batch_size: -1"), "trained: batch_size is -1, and must be at least 1"),
        (*trained("batch_size: 10000000"), "trained: crop_size is 513,513 and batch_size=10000000, and the pictures"),
        (*trained("dataset: nosuch"), "trained: dataset is 'nosuch'; there are voc2012, cityscapes, coco, ade20k"),
        (*trained("train_split: nosuch"), "trained: train_split is 'nosuch'; voc2012 has train, val, trainval"),
        (*trained("variant: nosuch"), "trained: variant trains nothing"),
        (*trained("eval_size: 200"), "trained: eval_size trains nothing; the row's protocol says"),
        (TRAINED, "{init: nosuch}", "trained: init is 'nosuch', which is no name that `make weights` lists"),
        (TRAINED, "{init: imagenet}", "trained: init is 'imagenet'; say which weights"),
        (TRAINED, "{init: deeplab_lfov/model.ckpt-nosuch}", "trained: init is 'deeplab_lfov/model.ckpt-nosuch'"),
        (TRAINED, "{weights: no_such_weights}", "trained: weights is 'no_such_weights', which the manifest does not"),
        ("size: native", "size: -5", "protocol: size is -5, and needs a side above 0, or native"),
        ("size: native", "scales: []", "protocol: scales is [], and needs factors from 0.01 to 16"),
        ("size: native", "scales: [-1]", "protocol: scales is [-1.0], and needs factors"),
        ("size: native", "msc: [0]", "protocol: msc is [0.0], and needs factors"),
        ("size: native", "resize_range: [5]", "protocol: resize_range is [5], and needs the least short side and"),
        ("size: native", "resize_range: [513, 257]", "protocol: resize_range is [513, 257], and needs"),
        ("size: native", "crop: -4", "protocol: crop is -4, and needs a side above 0"),
        ("size: native", "told: false", "protocol: told is false, so nothing else can be said"),
        ("output_stride: 16", "output_stride: 7", "protocol: output_stride is 7, and needs a power of two"),
        ("classes: 21", "classes: 0", "table s: classes is 0; VOC2012 has 21, or 20 without the background"),
        ("split: val", "split: nosuch", "table s: split is 'nosuch'; VOC2012 has train, val"),
        ("data: VOC2012", "data: Nosuch", "table s: data is 'Nosuch'; there are VOC2012, Cityscapes"),
        ("miou: 70", "miou: 70, multiply_adds: -3", "multiply_adds is -3, and needs a number of thousand millions"),
        ("miou: 70", "miou: 70, id: a, beside: a", "FILE: line 7: s, row m: beside is the row's own id"),
        ("miou: 70", "miou: 70, beside: a", "FILE: line 7: s, row m: beside is 'a', which is no row's id"),
        (ROW, ROW + ROW, "FILE: line 8: s, row m: stands twice; remove one"),
        (WHOLE, WHOLE + WHOLE, "FILE: line 14: s, row m: stands twice"),
        (ROW, ROW.replace("70", "70, id: a") + ROW.replace("70", "71, id: a"), "FILE: line 8: s, row m: id a stands"),
        (f"protocol: {PROTOCOL}", "protocol: [1]", "row m: protocol is [1], no mapping of fields; write it as data"),
        (f"trained: {TRAINED}", "trained: 1", "such as {init: resnet_v1_101, depth: 101}"),
        ("miou: 70", "miou: 70, 7: 1", "FILE: line 7: cannot be read as YAML (key 7 is no text; write it in quotes)"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_are_refused(tmp_path, old, new, message):
    text = WHOLE.replace(old, new, 1)
    assert text != WHOLE
    assert message in refusal(tmp_path, text)


def test_an_output_stride_of_a_network_with_only_one_is_refused(tmp_path):
    text = WHOLE.replace("v3", "v1", 1).replace("resnet_v1_101", "vgg16_20m")
    said = refusal(tmp_path, text)
    assert "protocol: output_stride is 16; these networks have but one, so leave it out" in said


@pytest.mark.parametrize(
    ("words", "claim"),
    [
        ("output stride 8", "output stride 8"),
        ("os 8", "os 8"),
        ("Trained at output stride 8", "Trained at output stride 8"),
        ("with crf", "crf"),
        ("multi scale", "multi scale"),
        ("batch size 16", "batch size 16"),
        ("resnet 101", "resnet 101"),
        ("ResNet-50", "ResNet-50"),
        ("Xception", "Xception"),
        ("vgg", "vgg"),
        ("8 bit", "8 bit"),
        ("trainval", "trainval"),
        ("padded to 321", "padded to 321"),
        ("poly 10 / 20K", "poly 10 / 20K"),
        ("Mirrored", "Mirror"),
    ],
)
def test_texts_that_say_more_than_the_data_are_refused(tmp_path, words, claim):
    said = refusal(tmp_path, WHOLE.replace("model: m", f'model: "m, {words}"', 1))
    assert f"model says '{claim}', which the row's data do not" in said


def test_native_is_a_claim_too(tmp_path):
    text = WHOLE.replace("model: m", "model: m native").replace("size: native", "size: 513")
    assert "model says 'native'" in refusal(tmp_path, text)


def test_texts_that_say_what_the_data_say_are_read(tmp_path):
    path = tmp_path / "published.yaml"
    data = (
        "protocol: {output_stride: 8, size: 513, crf: true, mirror: true}, trained: {init: resnet_v1_101, depth: 101, "
    )
    data += "batch_size: 10, num_steps: 20000, schedule: poly, train_split: trainval, output_stride: 16}"
    words = "resnet 101, poly 10 / 20K, os 8, padded to 513, crf, trained at OS 16, trainval, flipped"
    row = f'    - {{model: "{words}", miou: 70, {data}}}\n'
    path.write_text(WHOLE.replace(ROW, row), encoding="utf-8")
    (read,) = read_published(path)
    assert read.model == words
    wrong = [row.replace(a, b, 1) for a, b in (("10 / 20K", "30 / 6K"), ("resnet 101", "resnet 50"))]
    assert all("model says" in refusal(tmp_path, WHOLE.replace(ROW, text)) for text in wrong)


@pytest.mark.parametrize("text", ["[" * 40_000, "- " * 40_000, "{a: " * 40_000])
def test_deep_nesting_is_refused(tmp_path, text):
    assert refusal(tmp_path, text).startswith("FILE: cannot be read as YAML (it is nested too deeply")


def test_aliases_are_refused(tmp_path):
    assert "it has an alias" in refusal(tmp_path, WHOLE + "- &a [1]\n- *a\n")


def test_every_start_is_in_the_manifest_or_of_a_kind_that_the_text_explains():
    """A row of ours that starts from COCO names a training there; `imagenet` stands only where nothing starts here."""
    text, entries = possible.inits_text(), read_manifest().entries
    for row in read_published():
        init = row.trained.init
        if not init or init == "imagenet" and row.trained.foreign:
            continue
        entry, _, file = init.partition("/")
        in_manifest = entry in entries and any(file in weights.path for weights in entries[entry].weights)
        stages = dict.fromkeys((variant for _, variant in possible.FIRST_STAGES), "starts from another variant's run")
        named = {"random": "`random` is", "coco": "starts from COCO", **stages}
        explained = named.get(init, f"~/.keras/models/{init}`")
        assert in_manifest or explained in text, init


def test_keras_names_its_files_so():
    """The names that Keras' own code downloads."""
    from keras.src.applications import mobilenet_v2, xception

    for module in (mobilenet_v2, xception):
        source = re.sub(r'"\s*f?"', "", Path(module.__file__).read_text(encoding="utf-8"))
        source = source.replace("{float(alpha)}_{rows}", "1.0_224")
        assert any(file in source for file in possible.KERAS_FILES)
    assert set(possible.KERAS_FILES.values()) == {"Xception", "MobileNetV2"}


def test_a_repositorys_figure_by_another_protocol_says_its_protocol():
    """One protocol beside every number: `OS 16, padded to 513 | 82.20` is not what 81.00 was measured by."""
    rows = read_published(PUBLISHED)
    by_id = {row.id: row for row in rows if row.id}
    assert "81.00 (pixel accuracy 95.00) (github asahi417" in tables.repository_figures(by_id["v3plus"], rows)
    assert "by another protocol: OS 16, crops of 321, scale 1)" in tables.repository_figures(by_id["v3plus"], rows)
    assert "by another protocol: native, scale 1)" in tables.repository_figures(by_id["v1"], rows)
    assert "of 2017-12-23, by another protocol: not told)" in tables.repository_figures(by_id["v3"], rows)
    assert "by another protocol: native, scale 1, MSC 1 0.75 0.5)" in tables.repository_figures(by_id["v2"], rows)
    same = tables.repository_figures(by_id["v2-released"], rows)
    assert "76.42 (" in same
    assert "another protocol" not in same
    for row in rows:
        if row.id:
            others = [r for r in rows if r.beside == row.id and not r.table.is_paper and r.protocol != row.protocol]
            assert tables.repository_figures(row, rows).count("by another protocol: ") == len(others)


def test_a_protocol_that_nobody_told_is_none_of_ours():
    untold = Protocol(told=False)
    assert untold.text() == "not told"
    assert not untold.is_ours
    assert untold != Protocol()
    assert not dataclasses.replace(untold, size=513, output_stride=16).is_ours


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"published\.yaml: is missing"):
        read_published(tmp_path / "published.yaml")
