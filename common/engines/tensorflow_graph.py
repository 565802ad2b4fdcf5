"""TensorFlow runs frozen graphs and SavedModels."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from common.engines.interface import Engine, EngineError, Port, engine_errors
from common.files import plain_folder
from common.tf1 import op_definition, saved_model_pb2, session, tf
from common.words import some

# Ops with a state or with texts that do no harm.
HARMLESS = frozenset(
    (
        *("Assert", "If", "While", "Case", "PartitionedCall", "StatefulPartitionedCall", "Placeholder"),
        *("VarHandleOp", "VariableV2", "Variable", "VarIsInitializedOp", "IsVariableInitialized"),
        *("Assign", "AssignVariableOp", "ReadVariableOp"),
        *("RandomUniform", "RandomStandardNormal", "TruncatedNormal"),
        *("TensorArrayV3", "TensorArrayReadV3", "TensorArrayWriteV3", "TensorArrayGatherV3", "TensorArrayScatterV3"),
        *("TensorArraySizeV3", "TensorArrayCloseV3"),
    )
)
# What restores a SavedModel's variables, and would save them.
RESTORING = frozenset(("RestoreV2", "SaveV2", "MergeV2Checkpoints", "ShardedFilename", "StringJoin"))


class TensorFlowGraph(Engine):
    """A graph in a session; any of its tensors can be fed and fetched."""

    title = "TensorFlow"
    needs_all_inputs = False  # a graph may have placeholders for training

    def __init__(self, running: "tf.Session", inputs: Mapping[str, str] | None, outputs: Mapping[str, str] | None):
        """Take a session with its graph; a signature's names of inputs and outputs -> their tensors' names, if any."""
        self._session, self._tensors = running, {**(inputs or {}), **(outputs or {})}
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
        with engine_errors():
            return self._session.run([self._tensor(name) for name in outputs], feeds)

    def close(self) -> None:
        self._session.close()


def open_frozen(path: Path, precision: str = "fp32") -> TensorFlowGraph:
    """Load a frozen graph. Raises EngineError for a file that is none, or holds ops that could do harm."""
    definition = tf.GraphDef()
    with engine_errors():
        definition.ParseFromString(path.read_bytes())
        if not definition.node:
            raise EngineError("it holds no graph")
        refuse_harm(definition, HARMLESS)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
    return TensorFlowGraph(session(graph, precision), None, None)


def open_saved_model(path: Path, precision: str = "fp32") -> TensorFlowGraph:
    """Load a SavedModel's folder, by its signature `serving_default` or its only one. Raises EngineError as above."""
    with engine_errors(), tf.Graph().as_default() as graph, plain_folder(path.parent) as folder:
        _refuse_harmful_model(path)
        running = session(graph, precision)
        loaded = tf.saved_model.load(running, [tf.saved_model.tag_constants.SERVING], str(folder / path.name))
        usual = tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        signatures = {name: one for name, one in loaded.signature_def.items() if one.inputs and one.outputs}
        if usual not in signatures and len(signatures) != 1:
            raise EngineError(f"it has no signature {usual}, but {some(sorted(signatures)) or 'none'}")
        signature = signatures.get(usual) or next(iter(signatures.values()))
        inputs, outputs = ({k: info.name for k, info in part.items()} for part in (signature.inputs, signature.outputs))
        return TensorFlowGraph(running, inputs, outputs)


def _refuse_harmful_model(path: Path) -> None:
    file = path / "saved_model.pb"
    if not file.is_file():
        raise EngineError("it holds no saved_model.pb")
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(file.read_bytes())
    for part in model.meta_graphs:
        refuse_harm(part.graph_def, HARMLESS | RESTORING)


def refuse_harm(graph: "tf.GraphDef", allowed: frozenset[str]) -> None:
    """Raise EngineError for ops that could read or write files, or run Python: networks of pictures need none."""
    nodes = [node for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes]
    strange = set()
    for op in {node.op for node in nodes} - allowed:
        definition = op_definition(op)
        if definition is None:
            continue  # one of the graph's own functions, or unknown: importing it tells
        takes_text = any(argument.type == tf.string.as_datatype_enum for argument in definition.input_arg)
        if definition.is_stateful or takes_text or any(word in op for word in ("PyFunc", "Dataset", "Debug")):
            strange.add(op)
    if strange:
        raise EngineError(f"it holds ops that no network of pictures needs ({some(sorted(strange))}), and is not run")
