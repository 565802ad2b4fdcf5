"""TF.js graph models made by hand, in every form in which they are written."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf import json_format

from common.tf1 import session, tf
from converters.tfjs import GraphModel

OFFSET = "BatchNorm/FusedBatchNorm/Offset"


def constants(seed=0):
    """The constants of a small frozen graph with folded batch norm, and one that is no layer's."""
    rng = np.random.RandomState(seed)
    return {
        "mean": np.full((1, 1, 3), 127.5, np.float32),
        "net/conv/Conv2D/merged_input": rng.randn(3, 3, 3, 8).astype(np.float32) / 300,
        f"net/conv/{OFFSET}": rng.randn(8).astype(np.float32),
        "net/unit/depthwise/depthwise_weights": rng.randn(3, 3, 8, 1).astype(np.float32),
        "net/unit/depthwise/BatchNorm/FusedBatchNorm/Scaled": rng.rand(8).astype(np.float32),
        f"net/unit/depthwise/{OFFSET}": rng.randn(8).astype(np.float32),
        "logits/weights": rng.randn(1, 1, 8, 4).astype(np.float32),
        "logits/biases": rng.randn(4).astype(np.float32),
    }


def small_graph(values):
    """The frozen graph that reads `constants`: nodes image, first, second, scores."""
    with tf.Graph().as_default() as graph:
        c = {name: tf.constant(value, name=name) for name, value in values.items()}
        x = tf.placeholder(tf.float32, [1, None, None, 3], name="image") - c["mean"]
        x = tf.nn.conv2d(x, c["net/conv/Conv2D/merged_input"], strides=2, padding="SAME")
        x = tf.nn.relu6(tf.raw_ops.Add(x=x, y=c[f"net/conv/{OFFSET}"]), name="first")
        x = tf.nn.depthwise_conv2d(x, c["net/unit/depthwise/depthwise_weights"], [1, 1, 1, 1], "SAME")
        x = x * c["net/unit/depthwise/BatchNorm/FusedBatchNorm/Scaled"]
        x = tf.nn.relu6(x + c[f"net/unit/depthwise/{OFFSET}"], name="second")
        x = tf.nn.bias_add(tf.nn.conv2d(x, c["logits/weights"], 1, "SAME"), c["logits/biases"])
        tf.identity(x, "scores")
        return graph.as_graph_def()


def emptied(graph):
    """`graph` without what its Const nodes hold, and that by name."""
    values = {}
    for node in graph.node:
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            values[node.name] = tf.make_ndarray(tensor)
            tensor.CopyFrom(type(tensor)(dtype=tensor.dtype, tensor_shape=tensor.tensor_shape))
    return graph, values


def quantise(value, how):
    """Stored array and the manifest's `quantization` of a float array."""
    if how is None:
        return value, None
    if how == "float16":
        return value.astype(np.float16), {"dtype": how}
    low, scale = float(value.min()), float(np.ptp(value)) / np.iinfo(how).max or 1.0
    return np.round((value - low) / scale).astype(how), {"dtype": how, "min": low, "scale": scale}


def write_model(folder, graph, values, form="json", shards=3, how=None):
    """A graph model as TF.js writes it, in `shards` pieces that end anywhere; returns its main file."""
    folder.mkdir(parents=True, exist_ok=True)
    entries, data = [], b""
    for name, value in values.items():
        stored, quantization = quantise(value, how if value.dtype == np.float32 else None)
        entry = {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)}
        entries.append(entry | ({"quantization": quantization} if quantization else {}))
        data += stored.tobytes()
    borders = [0, *(len(data) * i // shards | 1 for i in range(1, shards)), len(data)]  # odd: within a number
    names = [f"group1-shard{i + 1}of{shards}" for i in range(shards)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(data[borders[i] : borders[i + 1]])
    manifest = [{"paths": names, "weights": entries}]
    if form == "pb":
        (folder / "tensorflowjs_model.pb").write_bytes(graph.SerializeToString())
        (folder / "weights_manifest.json").write_text(json.dumps(manifest))
        return folder / "tensorflowjs_model.pb"
    content = {"modelTopology": json_format.MessageToDict(graph), "weightsManifest": manifest}
    (folder / "model.json").write_text(json.dumps(content))
    return folder / "model.json"


def graph_of(made):
    """A graph model of the constants `made`, each read by one node of the op that is given with it."""
    graph = tf.GraphDef()
    for name, (op, _) in made.items():
        graph.node.add(name=name, op="Const")
        graph.node.add(name=f"{name}/read", op=op, input=["x", name])
    return GraphModel(graph, {name: value for name, (_, value) in made.items()})


def run_graph(model: GraphModel, fetches: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Compute the nodes `fetches` of a graph model with TensorFlow, when the nodes `feeds` have these values."""
    graph = tf.GraphDef()
    graph.CopyFrom(model.graph)
    for node in graph.node:
        if node.op == "Const":
            dtype = tf.as_dtype(node.attr["dtype"].type)
            value = tf.make_tensor_proto(model.weights[node.name].astype(dtype.as_numpy_dtype), dtype)
            node.attr["value"].tensor.CopyFrom(value)
    with tf.Graph().as_default(), session() as sess:
        tf.import_graph_def(graph, name="")
        return sess.run([f"{name}:0" for name in fetches], {f"{name}:0": value for name, value in feeds.items()})
