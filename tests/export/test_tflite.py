"""TensorFlow Lite: the metadata from which Android's tools take the picture's form and the classes' names."""

import struct
import warnings
import zipfile

import pytest

from common.engines.interface import OUTPUTS
from common.tf1 import lite_schema, tf
from tests.conftest import SHARED
from tests.helpers import tiny
from tests.helpers.random_weights import write_random_weights

OFFICIAL = SHARED / "weights/coral_mobilenet_v2_imagenet_quant.tflite"


class Table:
    """A table of a flat buffer, read by the format's own rules, without the classes that wrote it."""

    def __init__(self, data: bytes, place: int | None = None):
        self.data = data
        self.place = self._number("<I", 0) if place is None else place

    def _number(self, kind: str, place: int) -> int:
        return struct.unpack_from(kind, self.data, place)[0]

    def _field(self, slot: int) -> int:
        """The place of a field, or 0 when it is not there."""
        fields = self.place - self._number("<i", self.place)
        at = 4 + 2 * slot
        offset = self._number("<H", fields + at) if at < self._number("<H", fields) else 0
        return offset and self.place + offset

    def _target(self, slot: int) -> int:
        place = self._field(slot)
        return place + self._number("<I", place)

    def byte(self, slot: int) -> int:
        return self.data[self._field(slot)]

    def text(self, slot: int) -> str:
        begin = self._target(slot)
        return self.data[begin + 4 : begin + 4 + self._number("<I", begin)].decode()

    def table(self, slot: int) -> "Table":
        return Table(self.data, self._target(slot))

    def tables(self, slot: int) -> list["Table"]:
        begin = self._target(slot)
        places = [begin + 4 + 4 * i for i in range(self._number("<I", begin))]
        return [Table(self.data, place + self._number("<I", place)) for place in places]

    def floats(self, slot: int) -> tuple[float, ...]:
        begin = self._target(slot)
        return struct.unpack_from(f"<{self._number('<I', begin)}f", self.data, begin + 4)


def metadata_of(data: bytes) -> Table:
    model = lite_schema().ModelT.InitFromPackedBuf(data)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    table = bytes(model.buffers[entry.buffer].data)
    assert table[4:8] == b"M001"
    return Table(table)


def files(tensor: Table) -> list[tuple[str, int]]:
    return [(file.text(0), file.byte(2)) for file in tensor.tables(6)]


def picture_of(subgraph: Table) -> tuple[int, int]:
    """The content's kind and the colours of the input."""
    (picture,) = subgraph.tables(2)
    content = picture.table(3)
    return content.byte(0), content.table(1).byte(0)


def test_metadata_name_the_tensors_and_their_labels(tmp_path):
    weights = write_random_weights(tmp_path / "w.npz", tiny.network, tiny.SMALL)
    words = ["--format", "tflite", "--size", "33x49", "--limit", 1, "--quiet"]
    assert tiny.run("export", "--checkpoint", weights, "--out", tmp_path / "out", *words) == 0
    path = tmp_path / "out/model.tflite"
    found = metadata_of(path.read_bytes())
    description = "semantic segmentation of RGB pictures into 21 classes (small)"
    assert [found.text(slot) for slot in (0, 1, 7)] == ["Tiny", description, "1.0.0"]
    (subgraph,) = found.tables(3)
    assert picture_of(subgraph) == (2, 1)  # ImageProperties, RGB
    (units,) = subgraph.tables(2)[0].tables(4)
    assert (units.byte(0), units.table(1).floats(0), units.table(1).floats(1)) == (1, (0.0,), (1.0,))
    tensors = {tensor.text(0): files(tensor) for tensor in subgraph.tables(3)}
    with warnings.catch_warnings(action="ignore"):
        outputs = tf.lite.Interpreter(str(path)).get_output_details()
    assert list(tensors) == [output["name"] for output in outputs]
    assert tensors == dict(zip(OUTPUTS, [[("labels.txt", 3)], [("labels.txt", 2)], [("labels.txt", 2)]], strict=True))
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().split()[:2] == ["background", "aeroplane"]


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="a file with metadata of others is not on this machine")
def test_others_metadata_have_the_same_fields():
    """A file that tflite-support's own program wrote: the numbers of the fields are the schema's."""
    data = OFFICIAL.read_bytes()
    (subgraph,) = metadata_of(data).tables(3)
    assert picture_of(subgraph) == (2, 1)
    assert [kind for tensor in subgraph.tables(3) for _, kind in files(tensor)] == [2]
    with zipfile.ZipFile(OFFICIAL) as archive:
        assert [name for tensor in subgraph.tables(3) for name, _ in files(tensor)] == archive.namelist()
