"""Read frozen inference graphs: a GraphDef whose weights are constants, without importing or running it."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.downloads.archives import READERS, unpack
from common.engines.network_file import SAVED_MODEL
from common.errors import UserError, brief, plain_reason
from common.words import some
from converters.formats import refuse_other_formats
from converters.tfjs import GraphModel

if TYPE_CHECKING:
    from common.tf1 import tf

MOST_PARTS = 200_000  # of a message; NAS networks of research/deeplab have 20,000 nodes
LARGEST_STRUCTURE = 1 << 24  # bytes that are no values: parsed, they take 40 times as many
SMALL = 1 << 10  # bytes of a part whose values need not be told from the rest
VALUES = (4, 5, 6)  # fields of a tensor: its bytes, its floats, its doubles
GRAPH = (1, 5, 2, 8)  # the fields from a GraphDef to a tensor: node, attribute, its value, tensor
META_GRAPH = (2, 2)  # from a SavedModel to its GraphDef
LARGEST_CONSTANTS = 1 << 29  # bytes of all together: a shape may claim more values than the file has


def read_frozen(path: Path) -> GraphModel:
    """The graph of a frozen `.pb`, of a SavedModel with constants, or of an archive or folder with one `.pb`.

    Constants that are no numbers are left out of its weights.

    Raises UserError when it is missing, damaged, no graph, too large, or has its weights elsewhere.
    """
    refuse_other_formats(path, ".pb")
    with found_graph(path) as file:
        try:
            graph = parse_graph(file.read_bytes(), file.name == SAVED_MODEL)
            return GraphModel(graph, _constants(graph))
        except (UserError, OSError):
            raise
        except Exception as error:  # protobuf and numpy each have their own
            raise UserError(
                f"{path}: cannot be read as a frozen graph ({plain_reason(error)}); fetch or export it again"
            ) from None


@contextmanager
def found_graph(path: Path) -> Iterator[Path]:
    """The `.pb` at `path`, or the only one in that folder or archive. Raises UserError when there is not one."""
    if path.is_dir():
        yield _only(path, path)
    elif not path.is_file():
        raise UserError(f"{path}: no such frozen graph")
    elif path.name.lower().endswith(tuple(READERS)):
        with tempfile.TemporaryDirectory(prefix="graph-") as folder:
            unpacked = Path(folder) / "unpacked"
            unpack(path, unpacked, members=("*.pb",), quiet=True)
            yield _only(path, unpacked)
    else:
        yield path


def _only(given: Path, folder: Path) -> Path:
    graphs = sorted(file for file in folder.rglob("*.pb") if file.is_file())
    if len(graphs) != 1:
        names = some(file.relative_to(folder) for file in graphs)
        raise UserError(f"{given}: holds {f'several graphs ({names}); give one of them' if graphs else 'no .pb'}")
    return graphs[0]


def parse_graph(data: bytes, is_saved_model: bool = False) -> "tf.GraphDef":
    """The graph in the bytes of a `.pb`. Raises ValueError, or protobuf's errors, when it is none."""
    from common.tf1 import saved_model_pb2, tf

    _refuse_bloated(data, (*META_GRAPH, *GRAPH) if is_saved_model else GRAPH)
    if not is_saved_model:
        graph = tf.GraphDef.FromString(data)
        if not graph.node:
            raise ValueError("it has no nodes; a SavedModel keeps the name saved_model.pb")
        return graph
    saved = saved_model_pb2.SavedModel.FromString(data)
    if not saved.meta_graphs or not saved.meta_graphs[0].graph_def.node:
        raise ValueError("its graph has no nodes")
    return saved.meta_graphs[0].graph_def


def _refuse_bloated(data: bytes, path: Sequence[int]) -> None:
    """Raise ValueError when a message is not whole, or so much of it is no values that parsing would fill the memory.

    Args:
      data: the message.
      path: the numbers of the fields that lead from it to tensors.
    """
    others = len(data) - _bytes_of_values(data, 0, len(data), path)
    if others > LARGEST_STRUCTURE:
        raise ValueError(f"it has {others:,} bytes beside its values, more than {LARGEST_STRUCTURE:,}")


def _bytes_of_values(data: bytes, begin: int, end: int, path: Sequence[int]) -> int:
    """The bytes of values in the tensors of a message."""
    if end - begin < SMALL:
        return 0
    if not path:
        return sum(stop - start for number, start, stop in _fields(data, begin, end) if number in VALUES)
    parts = ((start, stop) for number, start, stop in _fields(data, begin, end) if number == path[0])
    return sum(_bytes_of_values(data, start, stop, path[1:]) for start, stop in parts)


def _fields(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each field of a protobuf message that lies at `begin` to `end`."""
    position, count = begin, 0
    while position < end:
        tag, position = _varint(data, position)
        start, kind = position, tag & 7
        if kind not in (0, 1, 2, 5):
            raise ValueError("its bytes are not those of a graph")
        size, position = _varint(data, position) if kind in (0, 2) else (8 if kind == 1 else 4, position)
        if kind:
            start, position = position, position + size
        count += 1
        if position > end:
            raise ValueError("it ends within a node")
        if count > MOST_PARTS:
            raise ValueError(f"it has more than {MOST_PARTS:,} nodes, or a node has as many parts")
        yield tag >> 3, start, position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("it ends within a node")
        byte = data[position]
        value |= (byte & 127) << shift
        position += 1
        if byte < 128:
            return value, position
    raise ValueError("its bytes are not those of a graph")


def _constants(graph: "tf.GraphDef") -> dict[str, np.ndarray]:
    """The numbers of the Const nodes by name, which are taken out of the graph."""
    from common.tf1 import tf

    weights: dict[str, np.ndarray] = {}
    room = LARGEST_CONSTANTS
    for node in graph.node:
        if node.op != "Const":
            continue
        tensor = node.attr["value"].tensor
        shape = [side.size for side in tensor.tensor_shape.dim]
        dtype = np.dtype(tf.as_dtype(tensor.dtype).as_numpy_dtype)
        if dtype.kind not in "fiub":
            continue
        if min(shape, default=1) < 0:
            raise ValueError(f"its constant {brief(node.name)} has the shape {shape}")
        room -= math.prod(shape) * dtype.itemsize
        if room < 0:
            raise ValueError(f"its constants have more than {LARGEST_CONSTANTS:,} bytes")
        if node.name in weights:
            raise ValueError(f"there are two constants {brief(node.name)}")
        weights[node.name] = tf.make_ndarray(tensor)
        tensor.ClearField("tensor_content")
    return weights


def attribute(node: "tf.NodeDef", name: str) -> list[int]:
    """The whole numbers of a node's list, such as its strides; empty when it has none of that name."""
    return list(node.attr[name].list.i) if name in node.attr else []


def is_variable(node: Any) -> bool:
    """Whether a node holds weights that are not in the graph."""
    return node.op in ("VariableV2", "Variable", "VarHandleOp")
