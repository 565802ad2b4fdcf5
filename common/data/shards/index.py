"""A folder of TFRecords: which files are a split's shards, and the index that says what is in them."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from common.data.shards.frames import MEND
from common.errors import UserError
from common.files import read_json, write_json
from common.words import some

FORMAT = 1
# <set>_<split>-<number>-of-<count><ending>: official research/deeplab writes train-00000-of-00004.tfrecord,
# NanqingD VOC12_train.tfrecord, asahi417 training.tfrecord.
_SHARD = re.compile(
    r"(?P<stem>[^.].*?)(?P<part>[-_](?P<number>\d{1,6})-of-(?P<count>\d{1,6}))?(?P<ending>\.tfrecords?|\.record)?"
)
_ALIASES = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Shard:
    """A TFRecord file of a build.

    Attributes:
      file, bytes, sha256: its name, size and digest.
      records: how many examples it holds.
      source: digest of the names and sizes of the pictures and masks in it.
      offsets, pictures, masks: byte offset and file names of each example, in order.
    """

    file: str
    records: int
    bytes: int
    sha256: str
    source: str
    offsets: list[int]
    pictures: list[str]
    masks: list[str]


@dataclass(frozen=True)
class Index:
    """The index of a build, finished or not.

    Attributes:
      dataset, split: the card's name and the split's.
      is_sample: whether the pictures are of the drawn sample set.
      records, shard_count: numbers of examples and shards of the whole split.
      shards: those that are complete, in the order of the list.
    """

    dataset: str
    split: str
    is_sample: bool
    records: int
    shard_count: int
    shards: tuple[Shard, ...] = ()
    format: int = FORMAT

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read the index; None when there is none. Raises UserError for a file that no build wrote."""
        stored = read_json(path)
        if stored is None:
            return None
        try:
            index = cls(**{**stored, "shards": tuple(Shard(**s) for s in stored["shards"])})
            whole = index.format == FORMAT and all(_agrees_with_itself(s) for s in index.shards)
        except (KeyError, TypeError):
            whole = False
        if not whole:
            raise UserError(f"{path}: is not an index of format {FORMAT} that the build wrote; {MEND}")
        return index

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    def plan(self) -> dict[str, Any]:
        """The fields without the finished shards."""
        return {k: v for k, v in asdict(self).items() if k != "shards"}


def _agrees_with_itself(shard: Shard) -> bool:
    lists = (shard.offsets, shard.pictures, shard.masks)
    kinds = all(isinstance(v, t) for values, t in zip(lists, (int, str, str), strict=True) for v in values)
    is_name = isinstance(shard.file, str) and shard.file == Path(shard.file).name
    return is_name and kinds and {len(v) for v in lists} == {shard.records} and isinstance(shard.bytes, int)


def index_path(folder: Path, split: str) -> Path:
    return folder / f"{split}.json"


def unfinished_path(folder: Path, split: str) -> Path:
    """The path of the index during a build; it is renamed at the end."""
    return folder / f".{split}.json"


def shard_name(split: str, number: int, count: int) -> str:
    return f"{split}-{number:05d}-of-{count:05d}.tfrecord"


def record_files(folder: Path) -> dict[Path, re.Match]:
    """The files of `folder` that have names of shards, with the parts of their names."""
    matches = {p: _SHARD.fullmatch(p.name) for p in sorted(folder.iterdir()) if p.is_file()}
    return {p: m for p, m in matches.items() if m and (m["part"] or m["ending"])}


def holds_records(folder: Path, split: str) -> bool:
    """Whether `folder` holds TFRecords: shards of any split, or the index of this split."""
    indexes = [read_json(path) for path in (index_path(folder, split), unfinished_path(folder, split))]
    return bool(record_files(folder)) or any(isinstance(index, dict) and "shards" in index for index in indexes)


def is_sample(folder: Path) -> bool:
    """Whether an index in `folder` says that it holds the sample set."""
    paths = sorted(folder.glob("*.json")) if folder.is_dir() and record_files(folder) else []
    indexes = [read_json(path) for path in paths]
    return any(isinstance(index, dict) and index.get("is_sample") is True for index in indexes)


def find_shards(folder: Path, split: str) -> list[Path]:
    """Find the shards of `split` by the originals' file names, in order.

    Raises:
      UserError: there are none, some are missing, or several sets of shards have that name.
    """
    files = record_files(folder)
    wanted = (split, _ALIASES.get(split, split))
    families: dict[tuple, dict[int, Path]] = {}
    for exact in (True, False):  # train-* goes before coarse_train-*
        for path, match in files.items():
            if match["stem"] in wanted if exact else match["stem"].endswith(tuple(f"_{w}" for w in wanted)):
                family = families.setdefault((match["stem"], match["count"], match["ending"]), {})
                family[int(match["number"] or 0)] = path
        if families:
            break
    if not families:
        there = some(sorted({m["stem"] for m in files.values()})) or "none"
        raise UserError(f"--data {folder}: no TFRecords of split '{split}'; there are TFRecords of: {there}")
    if len(families) > 1:
        names = some(next(iter(family.values())).name for family in families.values())
        raise UserError(f"--data {folder}: several sets of shards could be split '{split}' ({names}); leave one there")
    ((_, count, _), family) = families.popitem()
    missing = [str(n) for n in range(int(count or 1)) if n not in family]
    if missing:
        raise UserError(
            f"--data {folder}: of the {count} shards like {next(iter(family.values())).name} "
            f"{some(missing)} are missing; {MEND}"
        )
    return [family[number] for number in sorted(family)]
