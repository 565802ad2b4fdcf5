"""Tiny archives in the layouts of the real ones, their manifest, and the expected result."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import scipy.sparse
import yaml
from PIL import Image

from common.data.masks import save_label_png
from common.data.sets.pascal_context import LABELS
from common.data.sets.voc import VOC2012
from common.downloads.manifest import MANIFEST

SIZE = (12, 10)  # width, height
ENTRIES = (
    "voc2012", "voc2012_aug", "voc2012_lists", "sbd", "ade20k", "cityscapes", "cityscapes_extra", "coco2017",
    "voc2010", "pascal_context", "pascal_detail", "pascal_person_part", "pascal_part", "cocostuff", "cocostuff10k",
)  # fmt: skip

# VOC2012: the lists of its archive, and a picture that none of them names.
VOC_TRAIN = ["2007_000032", "2008_000015"]
VOC_VAL = ["2007_000033", "2008_000012"]
# SBD also has a picture of VOC's train (2008_000015) and one of its val (2008_000012).
SBD_TRAIN = ["2008_000002", "2008_000012", "2008_000015"]
SBD_VAL = ["2008_000003"]
OTHERS = ["2009_000777"]
TEST = ["2008_000006", "2008_000011"]
# By hand: SBD's train and val and VOC's train, without VOC's val.
TRAIN_AUG = ["2007_000032", "2008_000002", "2008_000003", "2008_000015"]

CLASSES = {"2007_000032": 1, "2008_000015": 2, "2007_000033": 3, "2008_000012": 4, "2008_000002": 5, "2008_000003": 6}
SBD_CLASSES = CLASSES | {"2008_000015": 12, "2008_000012": 14}  # SBD's own opinion of the pictures that VOC has too


def voc_mask(stem: str) -> np.ndarray:
    """VOC's own mask, uint8 [h, w]: background, an object, its border."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[2:8, 3:9] = 255
    mask[3:7, 4:8] = CLASSES[stem]
    return mask


def sbd_mask(stem: str) -> np.ndarray:
    """SBD's, uint8 [h, w]: no border."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[2:8, 3:9] = SBD_CLASSES[stem]
    return mask


def augmented_mask(stem: str) -> np.ndarray:
    """What SegmentationClassAug has: VOC's own where there is one."""
    return voc_mask(stem) if stem in VOC_TRAIN + VOC_VAL else sbd_mask(stem)


def jpeg(stem: str, size=SIZE) -> bytes:
    """A picture that differs from name to name."""
    rng = np.random.RandomState(int(hashlib.md5(stem.encode()).hexdigest()[:6], 16))
    return encoded(rng.randint(0, 256, (*size[::-1], 3), np.uint8), "JPEG")


def encoded(pixels: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def palette_png(label: np.ndarray) -> bytes:
    file = io.BytesIO()
    file.name = "x.png"
    save_label_png(file, label, VOC2012.palette)
    return file.getvalue()


def lines(names) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def mat(struct: str, segmentation: np.ndarray) -> bytes:
    """A file of SBD's `cls` (struct GTcls) or `inst` (GTinst), compressed as Matlab does."""
    boundaries = np.empty((20, 1), object)
    for i in range(20):
        boundaries[i, 0] = scipy.sparse.csc_matrix(segmentation == i + 1)
    categories = np.setdiff1d(segmentation, [0])[:, None]
    content = {"Boundaries": boundaries, "Segmentation": segmentation, "CategoriesPresent": categories}
    return mat_file({struct: content})


def mat_file(variables: dict) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=True)
    return file.getvalue()


def voc2012_tar() -> bytes:
    top = "VOCdevkit/VOC2012"
    members = {
        f"{top}/ImageSets/Segmentation/train.txt": lines(VOC_TRAIN),
        f"{top}/ImageSets/Segmentation/val.txt": lines(VOC_VAL),
        f"{top}/ImageSets/Segmentation/trainval.txt": lines(sorted(VOC_TRAIN + VOC_VAL)),
        f"{top}/ImageSets/Main/train.txt": lines(VOC_TRAIN + OTHERS),
        f"{top}/Annotations/2007_000032.xml": b"<annotation/>",
    }
    for stem in sorted({*VOC_TRAIN, *VOC_VAL, *SBD_TRAIN, *SBD_VAL, *OTHERS}):
        members[f"{top}/JPEGImages/{stem}.jpg"] = jpeg(stem)
    for stem in VOC_TRAIN + VOC_VAL:
        members[f"{top}/SegmentationClass/{stem}.png"] = palette_png(voc_mask(stem))
        members[f"{top}/SegmentationObject/{stem}.png"] = palette_png(voc_mask(stem))
    return a_tar(members)


def augmented_zip(missing=(), extra=()) -> bytes:
    """As it came out of a Mac, grey PNGs; without the masks `missing`, with `extra` ones."""
    members = {"SegmentationClassAug/": b"", "__MACOSX/SegmentationClassAug/._.DS_Store": b"x"}
    for stem in {*TRAIN_AUG, *VOC_VAL, *extra} - {*missing}:
        mask = augmented_mask(stem) if stem in SBD_CLASSES else voc_mask(VOC_TRAIN[0])
        members[f"SegmentationClassAug/{stem}.png"] = encoded(mask)
        members[f"__MACOSX/SegmentationClassAug/._{stem}.png"] = b"Mac OS X        "
    return a_zip(members)


def list_zip() -> bytes:
    pairs = [f"/JPEGImages/{stem}.jpg /SegmentationClassAug/{stem}.png" for stem in TRAIN_AUG]
    return a_zip(
        {
            "list/train_aug.txt": lines(pairs),
            "list/test.txt": lines(f"/JPEGImages/{stem}.jpg" for stem in TEST),
            "list/test_id.txt": lines(TEST),
            "__MACOSX/list/._test.txt": b"Mac OS X        ",
        }
    )


def sbd_tgz() -> bytes:
    top = "benchmark_RELEASE/dataset"
    members = {
        "benchmark_RELEASE/BharathICCV2011.pdf": b"%PDF",
        f"{top}/train.txt": lines(SBD_TRAIN),
        f"{top}/val.txt": lines(SBD_VAL),
    }
    for stem in SBD_TRAIN + SBD_VAL:
        members[f"{top}/img/{stem}.jpg"] = jpeg(stem)
        members[f"{top}/cls/{stem}.mat"] = mat("GTcls", sbd_mask(stem))
        members[f"{top}/inst/{stem}.mat"] = mat("GTinst", (sbd_mask(stem) > 0).astype(np.uint8))
    return a_tar(members, "gz")


ADE = {"training": ["ADE_train_00000001", "ADE_train_00000002"], "validation": ["ADE_val_00000001"]}


def ade20k_zip() -> bytes:
    members = {"ADEChallengeData2016/objectInfo150.txt": b"Idx\n", "ADEChallengeData2016/sceneCategories.txt": b""}
    for folder, stems in ADE.items():
        for stem in stems:
            members[f"ADEChallengeData2016/images/{folder}/{stem}.jpg"] = jpeg(stem)
            members[f"ADEChallengeData2016/annotations/{folder}/{stem}.png"] = encoded(sbd_mask("2008_000002"))
    return a_zip(members)


# Cityscapes: label ids in the rows of a mask, and the train ids that they stand for (helpers/labels.py).
LABEL_IDS = [0, 1, 7, 8, 11, 14, 17, 26, 30, 33]
TRAIN_IDS = [255, 255, 0, 1, 2, 255, 5, 13, 255, 18]
CITIES = {
    "train": "aachen/aachen_000000_000019",
    "val": "frankfurt/frankfurt_000000_000294",
    "test": "berlin/berlin_000000_000019",
    "train_extra": "augsburg/augsburg_000000_000000",
}


def city_zip(kind: str, splits) -> bytes:
    """`kind` is leftImg8bit, gtFine or gtCoarse."""
    rows = np.repeat(np.uint8(LABEL_IDS)[:, None], SIZE[0], axis=1)
    members = {"README": b"", "license.txt": b""}
    for split in splits:
        stem = f"{kind}/{split}/{CITIES[split]}_{kind}"
        if kind == "leftImg8bit":
            pixels = np.random.RandomState(len(split)).randint(0, 256, (*SIZE[::-1], 3), np.uint8)
            members[f"{stem}.png"] = encoded(pixels)
        else:
            members[f"{stem}_labelIds.png"] = encoded(rows)
            members[f"{stem}_color.png"] = encoded(np.stack([rows] * 3, axis=-1))
            members[f"{stem}_polygons.json"] = b"{}"
    return a_zip(members)


COCO = {"train2017": ["000000000009", "000000000025", "000000000030"], "val2017": ["000000000139"]}
COCO_SIZE = (48, 40)


def coco_zip(split: str) -> bytes:
    return a_zip({f"{split}/{stem}.jpg": jpeg(stem, COCO_SIZE) for stem in COCO[split]})


def annotations_zip() -> bytes:
    """A dog in the first picture of each split, a giraffe in the second, a small dog in the third."""
    members = {"annotations/captions_val2017.json": b"{}"}
    large, small = ([4.0, 2.0, 44.0, 2.0, 44.0, 38.0, 4.0, 38.0], [4.0, 2.0, 14.0, 2.0, 14.0, 12.0, 4.0, 12.0])
    for split, stems in COCO.items():
        data = {
            "categories": [{"id": 18, "name": "dog"}, {"id": 25, "name": "giraffe"}],
            "images": [
                {"id": int(stem), "file_name": f"{stem}.jpg", "width": COCO_SIZE[0], "height": COCO_SIZE[1]}
                for stem in stems
            ],
            "annotations": [
                {"id": i, "image_id": int(stem), "category_id": category, "iscrowd": 0, "segmentation": [polygon]}
                for i, (stem, category, polygon) in enumerate(
                    zip(stems, (18, 25, 18), (large, large, small), strict=False), 1
                )
            ],
        }
        members[f"annotations/instances_{split}.json"] = json.dumps(data).encode()
    return a_zip(members)


# VOC 2010: the detection lists, and what is to be seen in its pictures: labels of PASCAL-Context by column (347 is a
# sheep, 3 an air conditioner, which is none of the 59 classes), and parts of a person.
VOC2010 = {"train": ["2008_000008", "2008_000015"], "val": ["2008_000002"]}
CONTEXT = {"2008_000008": [2, 284, 458, 3, 0], "2008_000015": [347, 187, 187, 360, 360], "2008_000002": [427, 440] * 3}
# By hand: the labels' places among the card's 59.
CONTEXT_CLASSES = {"2008_000008": [1, 37, 59, 0, 0], "2008_000015": [43, 29, 29, 47, 47], "2008_000002": [55, 56] * 3}
PARTS = {"2008_000008": ["hair", "neck", "ruarm", "lhand", "luleg", "rfoot"], "2008_000002": ["torso", "nose"]}
PART_CLASSES = {"2008_000008": [1, 2, 3, 4, 5, 6], "2008_000002": [2, 1]}


def columns(values, dtype=np.uint8) -> np.ndarray:
    """A map of SIZE that holds the values in its first columns, and 0 in the others."""
    labels = np.zeros(SIZE[::-1], dtype)
    labels[:, : len(values)] = values
    return labels


def voc2010_tar() -> bytes:
    top = "VOCdevkit/VOC2010"
    members = {f"{top}/ImageSets/Main/{split}.txt": lines(stems) for split, stems in VOC2010.items()}
    members[f"{top}/ImageSets/Segmentation/train.txt"] = lines(VOC2010["train"][:1])
    for stem in [*VOC2010["train"], *VOC2010["val"], *OTHERS]:
        members[f"{top}/JPEGImages/{stem}.jpg"] = jpeg(stem)
    return a_tar(members)


def context_labels() -> bytes:
    """labels.txt: numbers and names of 459 labels, of which only those of the card have their right name."""
    return lines(f"{i}: {LABELS.get(i, f'thing {i}')}" for i in range(1, 460))


def context_tar() -> bytes:
    members = {"labels.txt": context_labels()}
    for stem, values in CONTEXT.items():
        members[f"trainval/{stem}.mat"] = mat_file({"LabelMap": columns(values, np.uint16)})
    return a_tar(members, "gz")


def detail_json() -> bytes:
    """trainval_merged.json: COCO's compressed regions under the numbers of labels.txt; only the 59 are listed."""
    from pycocotools import mask as coco_mask

    images, annotations = [], []
    for phase, stems in VOC2010.items():
        for stem in stems:
            number = int(stem.replace("_", ""))
            image = {"image_id": number, "file_name": f"{stem}.jpg", "height": SIZE[1], "width": SIZE[0]}
            images.append(image | {"phase": phase, "date_captured": ""})
            for label in set(CONTEXT[stem]) & set(LABELS):
                inside = np.asfortranarray(columns(CONTEXT[stem], np.uint16) == label, np.uint8)
                region = coco_mask.encode(inside)
                annotations.append({
                    "id": len(annotations), "image_id": number, "category_id": label, "iscrowd": 0,
                    "segmentation": {"size": list(SIZE[::-1]), "counts": region["counts"].decode()}, "parts": [],
                })  # fmt: skip
    categories = [{"category_id": label, "name": name, "onlysemantic": 1} for label, name in LABELS.items()]
    content = {"info": {}, "images": images, "annos_segmentation": annotations, "categories": categories, "parts": []}
    return json.dumps(content).encode()


def part_mat(stem: str) -> bytes:
    """A file of PASCAL-Part: a person with parts, if it has any, and a boat without."""

    def structs(items: list[dict]) -> np.ndarray:
        if not items:
            return np.zeros((0, 0))
        array = np.empty((1, len(items)), [(name, object) for name in items[0]])
        for i, item in enumerate(items):
            array[0, i] = tuple(item.values())
        return array

    names = PARTS.get(stem, [])
    parts = [{"part_name": name, "mask": columns(np.eye(len(names))[i])} for i, name in enumerate(names)]
    whole = {"bbox": np.array([[1.0, 1.0, 2.0, 2.0]]), "mask": columns([1] * max(1, len(names)))}
    objects = [{"class": "boat", "class_ind": 4.0, **whole, "parts": structs([])}]
    if names:
        objects.append({"class": "person", "class_ind": 15.0, **whole, "parts": structs(parts)})
    return mat_file({"anno": {"imname": stem, "objects": structs(objects)}})


def part_tar() -> bytes:
    members = {"part2ind.m": b"function pimap = part2ind()\n"}
    members |= {f"Annotations_Part/{stem}.mat": part_mat(stem) for stem in CONTEXT}
    return a_tar(members, "gz")


def person_part_zip() -> bytes:
    top = "pascal_person_part"
    members = {"__MACOSX/pascal_person_part/._x.png": b"Mac OS X        "}
    for split, stems in VOC2010.items():
        shown = [stem for stem in stems if stem in PARTS]
        pairs = [f"/JPEGImages/{stem}.jpg /pascal_person_part_gt/{stem}.png" for stem in shown]
        members[f"{top}/{top}_trainval_list/{split}.txt"] = lines(pairs)
        members[f"{top}/{top}_trainval_list/{split}_id.txt"] = lines(shown)
        for stem in shown:
            members[f"{top}/{top}_gt/{stem}.png"] = encoded(columns(PART_CLASSES[stem]))
    return a_zip(members)


# COCO-Stuff 10k: its numbers by column (0 is unlabelled), and the class ids that they stand for.
STUFF = {
    "train": ["COCO_train2014_000000000077", "COCO_train2014_000000000109"],
    "test": ["COCO_train2014_000000000110"],
}
STUFF_NUMBERS, STUFF_CLASSES = [0, 1, 91, 92, 182], [255, 0, 90, 91, 181]


def stuff_zip() -> bytes:
    stems = [stem for names in STUFF.values() for stem in names]
    members = {f"imageLists/{split}.txt": lines(names) for split, names in STUFF.items()}
    members |= {
        "imageLists/all.txt": lines(stems),
        "cocostuff-labels.txt": b"0: unlabeled\n",
        "cocostuff-readme.txt": b"",
    }
    for stem in stems:
        labels = columns(STUFF_NUMBERS, np.int16)
        labels[:, len(STUFF_NUMBERS) :] = 182
        content = {"S": labels, "names": np.array([["unlabeled"]], object), "captions": np.array([["A."]], object)}
        members |= {f"images/{stem}.jpg": jpeg(stem), f"annotations/{stem}.mat": mat_file(content)}
    return a_zip(members)


def stuff_maps_zip() -> bytes:
    """stuffthingmaps: grey PNGs of class ids, in a folder for each split."""
    members = {}
    for split, stems in COCO.items():
        for stem in stems:
            labels = np.full(COCO_SIZE[::-1], 181, np.uint8)
            labels[:, : len(STUFF_CLASSES)] = STUFF_CLASSES
            members[f"{split}/{stem}.png"] = encoded(labels)
    return a_zip(members)


def archives() -> dict[str, bytes]:
    """All of them, by the names in the manifest, behind the entry's where two have the same."""
    return {
        "VOCtrainval_11-May-2012.tar": voc2012_tar(),
        "SegmentationClassAug.zip": augmented_zip(),
        "list.zip": list_zip(),
        "benchmark.tgz": sbd_tgz(),
        "ADEChallengeData2016.zip": ade20k_zip(),
        "gtFine_trainvaltest.zip": city_zip("gtFine", ("train", "val", "test")),
        "leftImg8bit_trainvaltest.zip": city_zip("leftImg8bit", ("train", "val", "test")),
        "leftImg8bit_trainextra.zip": city_zip("leftImg8bit", ("train_extra",)),
        "gtCoarse.zip": city_zip("gtCoarse", ("train", "train_extra", "val")),
        "train2017.zip": coco_zip("train2017"),
        "val2017.zip": coco_zip("val2017"),
        "annotations_trainval2017.zip": annotations_zip(),
        "VOCtrainval_03-May-2010.tar": voc2010_tar(),
        "pascal_context/trainval.tar.gz": context_tar(),
        "trainval_merged.json": detail_json(),
        "pascal_person_part.zip": person_part_zip(),
        "pascal_part/trainval.tar.gz": part_tar(),
        "cocostuff-10k-v1.1.zip": stuff_zip(),
        "stuffthingmaps_trainval2017.zip": stuff_maps_zip(),
    }


def write_manifest(path: Path, files: dict[str, bytes], url) -> Path:
    """The suite's own manifest with these files' sizes and digests; each that has sources is at url(name)."""
    content = yaml.safe_load(MANIFEST.read_text())
    content["entries"] = {name: content["entries"][name] for name in ENTRIES}
    for name, entry in content["entries"].items():
        for file in entry["files"]:
            key = next((key for key in (f"{name}/{file['name']}", file["name"]) if key in files), file["name"])
            if "sources" in file:
                file["sources"] = [url(key)]
            if "size" in file:
                file["size"] = len(files[key])
            if "digests" in file:
                file["digests"] = {"sha256": hashlib.sha256(files[key]).hexdigest()}
    path.write_text(yaml.safe_dump(content))
    return path


def a_zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def a_tar(members: dict[str, bytes], compression: str = "") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compression}") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()
