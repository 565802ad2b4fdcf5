"""The public data sets that can be prepared, and the one function that prepares any of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.data.prepare import cityscapes, cocostuff, pascal_context, person_part, sbd, scenes, voc
from common.data.prepare.job import Job, PreparedSet
from common.downloads.fetch import alone
from common.downloads.manifest import Manifest, read_manifest

DATA = Path("data")


@dataclass(frozen=True)
class Preparation:
    """A data set that can be prepared.

    Attributes:
      entry: its main entry of the manifest, whose folder is locked.
      sources: where its masks can come from, if there is a choice; the first is taken where it can be had.
    """

    run: Callable[..., PreparedSet]
    entry: str
    about: str
    sources: tuple[str, ...] = ()


PREPARATIONS = {
    "voc2012": Preparation(voc.prepare, "voc2012", "VOC2012 with train, val, trainval and test; 2.0 GB"),
    "sbd": Preparation(sbd.prepare, "sbd", "SBD's 11,355 Matlab masks; 1.4 GB"),
    "voc-aug": Preparation(
        voc.prepare_augmented, "voc2012", "VOC2012 with SegmentationClassAug and train_aug; 2.0 GB", voc.SOURCES
    ),
    "ade20k": Preparation(scenes.prepare_ade20k, "ade20k", "ADE20K with train and val; 1 GB"),
    "cityscapes": Preparation(cityscapes.prepare, "cityscapes", "Cityscapes from your own zip files; 11 GB"),
    "coco": Preparation(scenes.prepare_coco, "coco2017", "COCO 2017 with masks of the VOC classes; 20 GB"),
    "pascal-context": Preparation(
        pascal_context.prepare,
        "voc2010",
        "VOC 2010 with masks of PASCAL-Context's 59 classes; 1.4 GB",
        pascal_context.SOURCES,
    ),
    "pascal-person-part": Preparation(
        person_part.prepare, "voc2010", "VOC 2010 with masks of persons' parts; 1.4 GB", person_part.SOURCES
    ),
    "cocostuff10k": Preparation(cocostuff.prepare_10k, "cocostuff10k", "COCO-Stuff 10k with masks of its .mat; 2 GB"),
    "cocostuff164k": Preparation(cocostuff.prepare_164k, "coco2017", "COCO 2017 with COCO-Stuff's masks; 21 GB"),
}


def prepare(
    name: str,
    data: Path = DATA,
    *,
    source: str | None = None,
    allow_partial: bool = False,
    workers: int = 1,
    quiet: bool = False,
    manifest: Manifest | None = None,
) -> PreparedSet:
    """Prepare the data set `name` of PREPARATIONS in the folder `data`, which holds one folder for each.

    `source` is where the masks are taken from, one of the preparation's sources.

    Raises:
      UserError: what `fetch` raises, files that are missing, damaged or of the wrong size, splits of another size
        than the official one (unless `allow_partial`), or another process at work on the same set.
    """
    preparation = PREPARATIONS[name]
    job = Job(data, manifest or read_manifest(), workers, quiet, allow_partial)
    with alone(job.folder(preparation.entry)):
        return preparation.run(job, source) if source else preparation.run(job)
