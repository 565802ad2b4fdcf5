"""PASCAL VOC 2012, and its train_aug: the pictures of SBD and VOC's train, without VOC's val.

`SegmentationClassAug` is the folder that all DeepLab programs train from. 600 of its masks were examined. The 115 of
VOC's train have a border of 255, so they are VOC's own, although SBD has 2,237 of VOC's 2,913 pictures too. The other
485 have no border, so they are SBD's. Masks that are built here from SBD's files follow this rule. The folder also
holds VOC's val, because a reader takes its masks from one folder.
"""

import dataclasses
import functools
from collections.abc import Collection
from pathlib import Path

from common.console import say
from common.data.card import DatasetCard
from common.data.lists import read_split
from common.data.masks import read_mask, save_label_png
from common.data.prepare import sbd
from common.data.prepare.job import Job, PreparedSet, made_pair_problem, pair_problem, write_list
from common.data.prepare.origin import note_of, origin_of
from common.data.sets.voc import VOC2012
from common.downloads.archives import BadArchive
from common.downloads.download import CannotFetch
from common.errors import UserError
from common.files import atomic, read_text, sweep, write_text
from common.words import some

FOLDER, LISTS = "VOC2012", "ImageSets/Segmentation"
OWN, AUGMENTED = "SegmentationClass", "SegmentationClassAug"
UNFINISHED = f".{AUGMENTED}"  # while it is built
SOURCES = ("segmentation-class-aug", "sbd")
ORIGIN = note_of(Path(AUGMENTED)).name  # holds the one of SOURCES that the masks are from
SIZES = VOC2012.split_sizes
TEST_PICTURES = (
    "test: {count} of its pictures are here; they come, after a registration, as VOC2012test.tar from the evaluation "
    "server: tar -xf VOC2012test.tar -C {folder} --strip-components 2"
)


def prepare(job: Job) -> PreparedSet:
    """Prepare VOC2012 with the lists train, val, trainval and test."""
    folder, splits = _voc(job)
    return _prepared(job, folder, {name: len(ids) for name, ids in splits.items()}, "train")


def prepare_augmented(job: Job, source: str | None = None) -> PreparedSet:
    """Prepare VOC2012 with SegmentationClassAug and the list train_aug.

    `source` is one of SOURCES; None takes the ready-made masks, and SBD where no server has them.
    """
    folder, splits = _voc(job)
    origin = _bring_masks(job, folder, splits, source)
    unfinished = _test_list(job, folder)
    ids = _train_aug(job, folder, splits)
    _check_pairs(job, folder, AUGMENTED, [*ids, *splits["val"]])
    write_list(folder / LISTS / "train_aug.txt", ids)
    counts = {name: len(names) for name, names in splits.items()} | {"train_aug": len(ids)}
    return _prepared(job, folder, counts, "train_aug", unfinished, (f"{AUGMENTED} is from {origin}",))


def _bring_masks(job: Job, folder: Path, splits: dict[str, list[str]], source: str | None) -> str:
    """Make SegmentationClassAug unless it is there; returns its source, in words.

    The source is written down first, so that a killed process leaves no masks of unknown origin.
    """
    masks, note = folder / AUGMENTED, folder / ORIGIN
    is_there, origin = masks.is_dir(), origin_of(masks, source)
    if source != "sbd" and origin != "sbd":
        if not is_there:
            write_text(note, f"{SOURCES[0]}\n")
        try:
            job.fetch("voc2012_aug")
        except (CannotFetch, BadArchive) as error:
            if source or is_there:
                raise
            say(f"{error}; building {masks} from SBD instead", job.quiet)
    if not masks.is_dir():
        write_text(note, "sbd\n")
        _build_from_sbd(job, folder, splits)
    if is_there:
        return origin or "a source that was not written down"
    return read_text(note).strip()


def _voc(job: Job) -> tuple[Path, dict[str, list[str]]]:
    """Fetch VOC2012 and check its pairs; returns its folder, and the ids of train, val and trainval."""
    folder = job.fetch("voc2012") / FOLDER
    sweep(folder / LISTS, below=True)
    card = _card(OWN)
    splits = {name: [image.stem for image, _ in read_split(card, folder, name).pairs] for name in ("train", "val")}
    splits["trainval"] = sorted({*splits["train"], *splits["val"]})
    job.expect(folder, {name: len(ids) for name, ids in splits.items()}, SIZES)
    _check_pairs(job, folder, OWN, splits["trainval"])
    if not (folder / LISTS / "trainval.txt").is_file():
        write_list(folder / LISTS / "trainval.txt", splits["trainval"])
    return folder, splits


def _card(masks: str) -> DatasetCard:
    return dataclasses.replace(VOC2012, mask_folders=(masks,), list_folders=(LISTS,))


def _pair(folder: Path, masks: str, name: str) -> tuple[Path, Path]:
    return folder / VOC2012.image_folder / f"{name}{VOC2012.image_suffix}", folder / masks / f"{name}.png"


def _check_pairs(job: Job, folder: Path, masks: str, ids: Collection[str]) -> None:
    job.check(
        f"{folder} with {masks}",
        [_pair(folder, masks, name) for name in ids],
        pair_problem,
        lambda file: file.parent if file.parent.name == AUGMENTED else folder,
    )


def _prepared(
    job: Job,
    folder: Path,
    counts: dict[str, int],
    split: str,
    unfinished: str | None = None,
    notes: tuple[str, ...] = (),
) -> PreparedSet:
    """Add the test list. It is not in VOC's archive, and nothing else needs it."""
    unfinished = _test_list(job, folder) if unfinished is None else unfinished
    if not unfinished:
        ids = sbd.read_ids(folder / LISTS / "test.txt")
        job.expect(folder, {"test": len(ids)}, SIZES)
        here = sum(_pair(folder, OWN, name)[0].is_file() for name in ids)
        notes += (TEST_PICTURES.format(count=here, folder=folder),) * (here < len(ids))
        counts = counts | {"test": len(ids)}
    command = f"python -m reproductions.v3plus train --data {folder} --split {split} --run-dir runs/voc2012"
    return PreparedSet(folder, counts, command, notes, unfinished)


def _test_list(job: Job, folder: Path) -> str:
    """Write the list of test's ids if it is not there; returns why it could not be fetched, or ""."""
    path = folder / LISTS / "test.txt"
    if path.is_file():
        return ""
    try:
        found = sorted((job.fetch("voc2012_lists") / "lists").rglob("test.txt"))
    except (CannotFetch, BadArchive) as error:
        return f"{path}: the list is missing ({error}); all else is in place"
    if not found:
        return f"{path}: the list is missing, list.zip holds no test.txt; all else is in place"
    write_list(path, sbd.read_ids(found[0]))
    return ""


def _train_aug(job: Job, folder: Path, splits: dict[str, list[str]]) -> list[str]:
    """The ids of train_aug, sorted. Raises UserError with the differences when it is not what it should be."""
    train, val = set(splits["train"]), set(splits["val"])
    masks = {path.stem for path in (folder / AUGMENTED).glob("*.png")}
    pictures = {path.stem for path in (folder / VOC2012.image_folder).glob(f"*{VOC2012.image_suffix}")}
    wanted = (_listed(job) or masks) - val | train
    differences = {
        "without a mask": (wanted | val) - masks,
        "without a picture": wanted - pictures,
        "not in any list": masks - wanted - val,
    }
    texts = [f"{len(names)} {what}: {some(sorted(names))}" for what, names in differences.items() if names]
    ids = sorted(wanted & masks & pictures)
    count = f"train_aug has {len(ids):,} pictures, the official one {SIZES['train_aug']:,}"
    if len(ids) != SIZES["train_aug"]:
        texts.insert(0, count)
    is_right = len(ids) == SIZES["train_aug"] and not val - masks
    if not is_right and not job.allow_partial:
        raise UserError(
            f"{folder}: {'; '.join(texts)}; delete {folder / AUGMENTED} and run this again, perhaps with --from sbd, "
            "or take it as it is with --allow-partial"
        )
    for text in texts:
        say(f"{folder}: {text}", job.quiet)
    return ids


def _listed(job: Job) -> set[str]:
    """The pictures that SBD's lists or the published train_aug name, whichever is on this disk; else none."""
    dataset = job.folder("sbd") / "dataset"
    paths = [dataset / f"{split}.txt" for split in sbd.SIZES]
    if not all(path.is_file() for path in paths):
        paths = sorted((job.folder("voc2012_lists") / "lists").rglob("train_aug.txt"))[:1]
    return {name for path in paths for name in sbd.read_ids(path)}


def _build_from_sbd(job: Job, folder: Path, splits: dict[str, list[str]]) -> None:
    """Make SegmentationClassAug; masks of a build that was stopped are kept."""
    cls = sbd.fetch(job) / "cls"
    ids = sorted({*splits["trainval"], *(path.stem for path in cls.glob("*.mat"))})
    unfinished = folder / UNFINISHED
    unfinished.mkdir(exist_ok=True)
    sweep(unfinished, below=True)
    pairs = [_pair(folder, UNFINISHED, name) for name in ids]
    job.check(
        "masks made from SBD",
        [pair for pair in pairs if pair[0].is_file()],
        functools.partial(made_pair_problem, make=functools.partial(_make, own=folder / OWN, cls=cls)),
        lambda file: cls.parent if file.parent == unfinished else folder,
    )
    unfinished.rename(folder / AUGMENTED)


def _make(mask: Path, own: Path, cls: Path) -> None:
    """Write VOC's own mask where there is one, else SBD's."""
    is_own = (own / mask.name).is_file()
    label = read_mask(own / mask.name, VOC2012) if is_own else sbd.read_segmentation(cls / f"{mask.stem}.mat")
    with atomic(mask) as temporary:
        save_label_png(temporary, label, VOC2012.palette)
