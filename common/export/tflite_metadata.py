"""Metadata of a TensorFlow Lite file, from which Android's tools take the picture's form and the names of the classes.

Written by hand after metadata_schema.fbs of tensorflow/tflite-support, version 1.0.0 with the file identifier M001: the
package that would write them has no wheels for the Pythons that this suite runs on. Numbers of fields are the schema's.
"""

from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np

from common.engines.interface import INPUT, LABELS, PROBABILITIES, SCORES
from common.tf1 import lite_schema

KEY, IDENTIFIER, PARSER = "TFLITE_METADATA", b"M001", "1.0.0"
LABEL_FILE = "labels.txt"  # in the archive that is appended to the file: a class a line
AXIS_LABELS, VALUE_LABELS = 2, 3  # AssociatedFileType
IMAGE, NORMALIZATION, RGB = 2, 1, 1  # ContentProperties, ProcessUnitOptions, ColorSpaceType
# Output -> what its metadata say, and how the label file belongs to it.
ABOUT = {
    LABELS: ("the class of each pixel", VALUE_LABELS),
    PROBABILITIES: ("the probability of each class at each pixel", AXIS_LABELS),
    SCORES: ("the network's score of each class, before it is resized", AXIS_LABELS),
}


def metadata(name: str, description: str, outputs: Sequence[str]) -> bytes:
    """The table ModelMetadata of a network with the input INPUT and `outputs`, in the order of the file's tensors."""
    builder = _Builder()
    image = builder.table(scalars={0: RGB})
    content = builder.table({1: image}, {0: IMAGE})
    as_it_is = builder.table({0: builder.floats(0.0), 1: builder.floats(1.0)})  # the network itself normalises
    units = builder.tables(builder.table({1: as_it_is}, {0: NORMALIZATION}))
    picture = builder.table({0: builder.text(INPUT), 1: builder.text("the picture"), 3: content, 4: units})
    tensors = [
        builder.table({0: builder.text(output), 1: builder.text(about), 6: builder.tables(builder.file(kind))})
        for output, (about, kind) in ((output, ABOUT[output]) for output in outputs)
    ]
    subgraph = builder.table({2: builder.tables(picture), 3: builder.tables(*tensors)})
    fields = {0: name, 1: description, 7: PARSER}
    root = {slot: builder.text(value) for slot, value in fields.items()} | {3: builder.tables(subgraph)}
    builder.Finish(builder.table(root), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def with_metadata(data: bytes, texts: Mapping[str, str]) -> bytes:
    """The flat buffer of a network with its metadata; `texts` may hold its `name` and `description`."""
    schema = lite_schema()
    model = schema.ModelT.InitFromPackedBuf(data)
    graph = model.subgraphs[0]
    outputs = [graph.tensors[index].name.decode() for index in graph.outputs]
    table = schema.BufferT()
    table.data = np.frombuffer(metadata(texts.get("name", ""), texts.get("description", ""), outputs), np.uint8)
    entry = schema.MetadataT(KEY, len(model.buffers))
    model.buffers.append(table)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    """A builder of whole tables. Each method returns the place of what it wrote."""

    def __init__(self):
        super().__init__(1024)

    def text(self, value: str) -> int:
        return self.CreateString(value)

    def floats(self, *values: float) -> int:
        self.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.PrependFloat32(value)
        return self.EndVector()

    def tables(self, *places: int) -> int:
        self.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.PrependUOffsetTRelative(place)
        return self.EndVector()

    def table(self, places: Mapping[int, int] | None = None, scalars: Mapping[int, int] | None = None) -> int:
        """A table: field -> the place of its text, vector or table; and field -> its number of one byte."""
        places, scalars = places or {}, scalars or {}
        self.StartObject(max(places.keys() | scalars.keys()) + 1)
        for slot, place in places.items():
            self.PrependUOffsetTRelativeSlot(slot, place, 0)
        for slot, value in scalars.items():
            self.PrependUint8Slot(slot, value, 0)
        return self.EndObject()

    def file(self, kind: int) -> int:
        """An AssociatedFile."""
        return self.table({0: self.text(LABEL_FILE), 1: self.text("the names of the classes")}, {2: kind})
