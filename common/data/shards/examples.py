"""Pairs of picture and mask as tf.train.Examples, and a split that lies in TFRecords.

Two families of keys are read: `image/segmentation/encoded`, as NanqingD's convert_voc12.py and asahi417's
tfrecorder.py write it (and this suite), and `image/segmentation/class/encoded`, as the official
research/deeplab/datasets/build_data.py does. In all of them `image/encoded` is the picture's own file.
NanqingD's reader takes a mask whose format is RAW for plain bytes of class ids.
"""

import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Self

import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image

from common.data.card import DatasetCard
from common.data.masks import SUFFIXES, Encoded, read_pair
from common.data.shards.frames import MEND, place, read_record, scan
from common.data.shards.index import Index, find_shards, index_path, unfinished_path
from common.data.split import Split
from common.errors import UserError

IMAGE, IMAGE_NAME, IMAGE_FORMAT = "image/encoded", "image/filename", "image/format"
HEIGHT, WIDTH = "image/height", "image/width"
MASK, MASK_FORMAT = "image/segmentation/encoded", "image/segmentation/format"
OFFICIAL_MASK = "image/segmentation/class/encoded"
# Keys that only this suite writes: the mask's name, and the mark of the sample set.
MASK_NAME, IS_SAMPLE = "image/segmentation/filename", "image/is_sample"


@dataclass(frozen=True)
class RecordSplit(Split):
    """A split in TFRecords; `pairs` are the names of the files it was built from.

    Attributes:
      places: (shard, byte offset) of every pair.
    """

    places: tuple[tuple[Path, int], ...]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Read a pair as `Split.read` does. A UserError names shard, offset and picture."""
        path, offset = self.places[index]
        values = parse(read_record(path, offset), place(path, offset))
        where = f"{place(path, offset)} ({self.pairs[index][0].stem})"
        name = _names(values, self.card, path, offset)[0]
        if name != self.pairs[index][0]:
            raise UserError(f"{where} holds {name} instead: index and shards are from different builds; {MEND}")
        image, mask = Encoded(where, values[IMAGE]), Encoded(f"{where}, mask", _mask(values, where))
        return read_pair(image, mask, self.card, self.channels)

    def mask_places(self) -> Iterator[tuple[Path, str]]:
        """The shard that holds each mask, and its record's offset."""
        return ((path, str(offset)) for path, offset in self.places)

    def take(self, places: slice) -> Self:
        """The same split with only the pairs at these places."""
        return replace(super().take(places), places=self.places[places])

    def stored(self, index: int) -> Iterator[bytes]:
        """The record of pair `index`, as `Split.stored`."""
        return iter((read_record(*self.places[index]),))


def example(features: Mapping[str, bytes | str | int]) -> bytes:
    """Serialize a tf.train.Example with one value per key; the same features give the same bytes."""
    from common.tf1 import tf  # here, so that a refused command needs no TensorFlow

    message = tf.train.Example()
    for key, value in features.items():
        feature = message.features.feature[key]
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.bytes_list.value.append(os.fsencode(value) if isinstance(value, str) else value)
    return message.SerializeToString(deterministic=True)


def parse(data: bytes, where: str) -> dict[str, Any]:
    """Read the first value of every key. Raises UserError when the example has no picture or no mask."""
    from common.tf1 import tf

    try:
        features = tf.train.Example.FromString(data).features.feature
    except DecodeError:
        raise UserError(f"{where} holds no tf.train.Example; {MEND}") from None
    lists = {k: getattr(f, f.WhichOneof("kind")).value for k, f in features.items() if f.WhichOneof("kind")}
    values = {k: v[0] for k, v in lists.items() if v}
    if not isinstance(values.get(IMAGE), bytes):
        raise UserError(f"{where} has no {IMAGE}; only TFRecords for segmentation can be read")
    if not isinstance(values.get(MASK, values.get(OFFICIAL_MASK)), bytes):
        raise UserError(f"{where} has neither {MASK} nor {OFFICIAL_MASK}; only TFRecords for segmentation can be read")
    return values


def _mask(values: dict[str, Any], where: str) -> bytes:
    """The mask as a picture file."""
    mask = values.get(MASK, values.get(OFFICIAL_MASK))
    if _text(values, MASK_FORMAT).upper() != "RAW":
        return mask
    buffer = io.BytesIO()
    try:
        Image.frombytes("L", (values[WIDTH], values[HEIGHT]), mask).save(buffer, "PNG")
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{where}: {len(mask)} bytes of raw mask are not {WIDTH} x {HEIGHT}; {MEND}") from None
    return buffer.getvalue()


def _names(values: dict[str, Any], card: DatasetCard, path: Path, offset: int) -> tuple[PurePath, PurePath]:
    """The names of picture and mask; official TFRecords leave the ending out, and it is added."""
    name = PurePosixPath(_text(values, IMAGE_NAME)).name or f"{path.stem}-{offset}"
    if not name.lower().endswith(SUFFIXES):
        name += card.image_suffix
    return PurePath(name), PurePath(_text(values, MASK_NAME) or f"{PurePath(name).stem}.png")


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    return os.fsdecode(value) if isinstance(value, bytes) else ""


def read_records(card: DatasetCard, folder: Path, split: str) -> RecordSplit:
    """Open the TFRecords of `split` in `folder`, by the build's index or else by the originals' file names.

    Raises:
      UserError: there are no TFRecords, the build is unfinished, or the index is of another data set or does not
        fit the shards; without an index also damaged examples.
    """
    index = Index.read(index_path(folder, split))
    if index:
        return _from_index(card, folder, index)
    if unfinished_path(folder, split).is_file():
        raise UserError(
            f"--data {folder}: the build of split '{split}' is not finished; run it again, finished shards are kept"
        )
    return _from_shards(card, split, find_shards(folder, split))


def _from_index(card: DatasetCard, folder: Path, index: Index) -> RecordSplit:
    path = index_path(folder, index.split)
    if index.dataset != card.name:
        raise UserError(f"{path}: holds TFRecords of {index.dataset}, not of {card.name}; set dataset={index.dataset}")
    if (index.records, index.shard_count) != (sum(s.records for s in index.shards), len(index.shards)):
        raise UserError(f"{path}: its counts of examples and shards do not fit its lists; {MEND}")
    pairs, places = [], []
    for shard in index.shards:
        file = folder / shard.file
        size = file.stat().st_size if file.is_file() else None
        if size is None:
            raise UserError(f"{file}: no such file, but {path.name} names it; {MEND}")
        if size < shard.bytes:
            last = max((o for o in shard.offsets if o <= size), default=0)
            raise UserError(f"{place(file, last)} is cut off: {size} bytes of {shard.bytes} in {path.name}; {MEND}")
        if size > shard.bytes:
            raise UserError(f"{file}: has {size} bytes, {shard.bytes} in {path.name}; {MEND}")
        pairs += [(PurePath(p), PurePath(m)) for p, m in zip(shard.pictures, shard.masks, strict=True)]
        places += [(file, offset) for offset in shard.offsets]
    return RecordSplit(card, index.split, tuple(pairs), index.is_sample, tuple(places))


def _from_shards(card: DatasetCard, split: str, shards: list[Path]) -> RecordSplit:
    """Read every example once, because the names are in them."""
    pairs, places, sample = [], [], False
    for path in shards:
        for offset, data in scan(path):
            values = parse(data, place(path, offset))
            pairs.append(_names(values, card, path, offset))
            places.append((path, offset))
            sample |= bool(values.get(IS_SAMPLE))
    if not pairs:
        raise UserError(f"{shards[0]}: split '{split}' is empty; it must hold at least one picture")
    return RecordSplit(card, split, tuple(pairs), sample, tuple(places))
