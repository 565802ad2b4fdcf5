"""TensorFlow runs frozen graphs and SavedModels."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from common.engines.harmless_ops import HARMLESS
from common.engines.interface import Engine, EngineError, Port, engine_errors
from common.engines.limits import memory_for, memory_limit
from common.errors import brief, one_line
from common.files import plain_folder
from common.tf1 import op_definition, saved_model_pb2, session, tf
from common.words import some

CONSTANTS = ("Const", "HostConst")
STATES = ("VarHandleOp", "VariableV2", "Variable")
RESTORING = frozenset(("RestoreV2",))  # a SavedModel's variables
VARIABLES = "variables/variables"  # a SavedModel's checkpoint, in its folder
INIT = "__saved_model_init_op"  # the signature, and its output, that runs after that
INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")  # where older files name it
MOST_SECONDS = 600  # for one picture
LARGEST_CONSTANTS = 1 << 29  # bytes of all together: a shape may claim more values than the file has
LARGEST_TENSOR = 1 << 30  # bytes of one whose shape is fixed


class TensorFlowGraph(Engine):
    """A graph in a session; any of its tensors can be fed and fetched."""

    title = "TensorFlow"
    needs_all_inputs = False  # a graph may have placeholders for training

    def __init__(
        self,
        running: "tf.Session",
        inputs: Mapping[str, str] | None,
        outputs: Mapping[str, str] | None,
        weights: int,
    ):
        """Take a session with its graph.

        Args:
          running: the session.
          inputs, outputs: a signature's names -> their tensors' names, if any.
          weights: bytes of the file.
        """
        self._session, self._tensors, self._weights = running, {**(inputs or {}), **(outputs or {})}, weights
        self._has_gpu = any(device.device_type == "GPU" for device in running.list_devices())
        ops = running.graph.get_operations()
        fed = [op.name for op in ops if op.type == "Placeholder"]
        used = {tensor.op.name for op in ops for tensor in op.inputs}
        ends = [op.name for op in ops if op.outputs and op.name not in used and op.type not in ("Placeholder", "Const")]
        self.inputs = self._ports(inputs or fed)
        self.outputs = self._ports(outputs or ends)

    def _ports(self, names: Iterable[str]) -> list[Port]:
        return [port for port in map(self.port, names) if port]

    def port(self, name: str) -> Port | None:
        """Find what a signature calls `name`, or the tensor or op of that name."""
        try:
            tensor = self._tensor(name)
        except (KeyError, ValueError, IndexError):
            return None
        if not tensor.dtype.base_dtype.is_floating and not tensor.dtype.base_dtype.is_integer:
            return None
        shape = tuple(tensor.shape.as_list()) if tensor.shape.rank is not None else ()
        return Port(name, np.dtype(tensor.dtype.base_dtype.as_numpy_dtype), shape)

    def _tensor(self, name: str) -> "tf.Tensor":
        name = self._tensors.get(name, name)
        return self._session.graph.get_tensor_by_name(name if ":" in name else f"{name}:0")

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The values of the outputs."""
        feeds = {self._tensor(name): value for name, value in inputs.items()}
        limit = tf.RunOptions(timeout_in_ms=MOST_SECONDS * 1000)
        pixels = sum(value.size // (value.shape or (1,))[-1] for value in inputs.values() if value.size)
        # With a GPU, TensorFlow maps memory by rules of its own.
        limited = nullcontext() if self._has_gpu else memory_limit(memory_for(self._weights, pixels))
        with engine_errors(), limited:
            try:
                return self._session.run([self._tensor(name) for name in outputs], feeds, options=limit)
            except tf.errors.DeadlineExceededError:
                raise EngineError(f"it takes more than {MOST_SECONDS} seconds for one picture") from None

    def close(self) -> None:
        self._session.close()


def open_frozen(path: Path, precision: str = "fp32") -> TensorFlowGraph:
    """Load a frozen graph. Raises EngineError for a file that is none, or has harmful ops or huge arrays."""
    definition = tf.GraphDef()
    with engine_errors(), tf.Graph().as_default() as graph:
        definition.ParseFromString(path.read_bytes())
        if not definition.node:
            raise EngineError("it holds no graph")
        refuse_harm(definition, HARMLESS)
        _import(definition)
        return TensorFlowGraph(session(graph, precision), None, None, path.stat().st_size)


def _import(definition: "tf.GraphDef", ops: Any = None) -> None:
    """Bring a graph into the default one. Raises EngineError for arrays that would fill the memory."""
    _refuse_large_constants(definition)
    tf.import_graph_def(definition, name="", producer_op_list=ops)
    for op in tf.get_default_graph().get_operations():
        for tensor in op.outputs:
            count = tensor.shape.num_elements()  # None where a side is open
            if count and count * max(tensor.dtype.size or 1, 1) > LARGEST_TENSOR:
                raise EngineError(f"its {brief(op.name)} has more than {LARGEST_TENSOR:,} bytes, and is not run")


def _refuse_large_constants(definition: "tf.GraphDef") -> None:
    room = LARGEST_CONSTANTS
    for node in all_nodes(definition):
        if node.op not in CONSTANTS:
            continue
        tensor = node.attr["value"].tensor
        sides = [side.size for side in tensor.tensor_shape.dim]
        if min(sides, default=1) < 0:
            raise EngineError(f"its constant {brief(node.name)} has the shape {brief(sides)}")
        room -= math.prod(sides) * max(tf.as_dtype(tensor.dtype).size or 1, 1)
        if room < 0:
            raise EngineError(f"its constants have more than {LARGEST_CONSTANTS:,} bytes")


def open_saved_model(path: Path, precision: str = "fp32") -> TensorFlowGraph:
    """Load a SavedModel's folder, by its signature `serving_default` or its only one. Raises EngineError as above.

    What only saves it again is not loaded, and nothing but its own folder's variables is restored.
    """
    with engine_errors(), tf.Graph().as_default() as graph:
        model = _serving_part(path)
        signature = _signature(model)
        inputs, outputs = ({k: info.name for k, info in part.items()} for part in (signature.inputs, signature.outputs))
        restore, init = model.saver_def.restore_op_name, _init_op(model)
        ends = [*inputs.values(), *outputs.values(), restore, model.saver_def.filename_tensor_name, init]
        definition = needed_part(model.graph_def, [name for name in ends if name])
        refuse_harm(definition, HARMLESS | RESTORING)
        _refuse_other_files(definition)
        _import(definition, model.meta_info_def.stripped_op_list)
        running = session(graph, precision)
        if restore and any(node.op in STATES for node in all_nodes(definition)):
            _restore(running, path, restore, model.saver_def.filename_tensor_name)
        if init:
            running.run(graph.get_operation_by_name(init))
        return TensorFlowGraph(running, inputs, outputs, definition.ByteSize())


def _serving_part(path: Path) -> "tf.MetaGraphDef":
    file = path / "saved_model.pb"
    if not file.is_file():
        raise EngineError("it holds no saved_model.pb")
    parts = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    tag = tf.saved_model.tag_constants.SERVING
    for part in parts:
        if set(part.meta_info_def.tags) == {tag}:
            return part
    tags = [f"[{', '.join(part.meta_info_def.tags)}]" for part in parts]
    raise EngineError(f"it has no graph with the tag {tag}, but {some(tags) or 'none'}")


def _signature(model: "tf.MetaGraphDef") -> Any:
    usual = tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    signatures = {name: one for name, one in model.signature_def.items() if one.inputs and one.outputs}
    if usual not in signatures and len(signatures) != 1:
        raise EngineError(f"it has no signature {usual}, but {some(sorted(signatures)) or 'none'}")
    return signatures.get(usual) or next(iter(signatures.values()))


def _init_op(model: "tf.MetaGraphDef") -> str:
    """The op that runs after the variables are restored; empty when there is none."""
    if INIT in model.signature_def:
        return model.signature_def[INIT].outputs[INIT].name
    names = [name for key in INIT_COLLECTIONS for name in model.collection_def[key].node_list.value]
    return names[0] if names else ""


def _restore(running: "tf.Session", path: Path, op: str, file_name: str) -> None:
    index = path / f"{VARIABLES}.index"
    if not index.is_file():
        raise EngineError(f"its {VARIABLES}.index, which holds its weights, is missing")
    with plain_folder(path.parent) as folder:
        try:
            running.run(running.graph.get_operation_by_name(op), {file_name: str(folder / path.name / VARIABLES)})
        except tf.errors.OpError as error:
            raise EngineError(f"its weights, in {VARIABLES}.*, are damaged or others': {one_line(error)}") from None


def needed_part(graph: "tf.GraphDef", ends: Iterable[str]) -> "tf.GraphDef":
    """The nodes and functions of a graph that ops or tensors need, on no device in particular."""
    nodes, functions = ({one.name: one for one in graph.node}, {f.signature.name: f for f in graph.library.function})
    reached, called = set(), set()
    waiting = [_op_name(end) for end in ends]
    bodies: list[str] = []
    while waiting or bodies:
        if waiting:
            name = waiting.pop()
            if name in reached or name not in nodes:
                continue
            reached.add(name)
            waiting += [_op_name(source) for source in nodes[name].input]
            bodies += _called(nodes[name])
        else:
            name = bodies.pop()
            if name in called or name not in functions:
                continue
            called.add(name)
            bodies += [other for node in functions[name].node_def for other in _called(node)]
    part = tf.GraphDef(versions=graph.versions)
    part.node.extend(node for node in graph.node if node.name in reached)
    part.library.function.extend(function for name, function in functions.items() if name in called)
    for node in all_nodes(part):
        node.device = ""
    return part


def _op_name(source: str) -> str:
    """The op of a node's input or of a tensor: `name`, `^name` or `name:1`."""
    return source.removeprefix("^").partition(":")[0]


def _called(node: "tf.NodeDef") -> list[str]:
    """The functions that a node may call."""
    values = node.attr.values()
    return [node.op, *(f.name for value in values for f in (value.func, *value.list.func) if f.name)]


def all_nodes(graph: "tf.GraphDef") -> Iterator["tf.NodeDef"]:
    """The nodes of a graph and of its functions."""
    return itertools.chain(graph.node, *(function.node_def for function in graph.library.function))


def refuse_harm(graph: "tf.GraphDef", allowed: frozenset[str]) -> None:
    """Raise EngineError for ops of TensorFlow that are not allowed, in the graph or in its functions."""
    used = {node.op for node in all_nodes(graph)} - allowed
    strange = [op for op in used if op_definition(op) is not None]  # importing it tells what is no op, nor a function
    if strange:
        raise EngineError(f"it holds ops that no network of pictures needs ({some(sorted(strange))}), and is not run")


def _refuse_other_files(graph: "tf.GraphDef") -> None:
    """Raise EngineError for a constant that could name a file to restore: a path, or an address."""
    for node in all_nodes(graph):
        if node.op in CONSTANTS:
            for text in node.attr["value"].tensor.string_val:
                if text.startswith((b"/", b"..")) or b"://" in text:
                    named = some([text.decode(errors="replace")])
                    raise EngineError(f"it names a file of its own ({named}), and is not run")
