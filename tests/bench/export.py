"""`python -m tests.bench.export NETWORK FOLDER [onnx]`: drawn weights, and the same network as an ONNX file.

`weights.npz` is for the product. `model.onnx`, if asked for, is for the peers: from a picture of a fixed size,
uint8 [h, w, 3], to its label map, uint8 [h, w], with batch norm folded into the convolutions.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import tf2onnx

from common.nets import layers
from common.nets.network import build
from common.nets.pictures import preprocess
from common.tf1 import tf
from tests.bench.networks import NETWORKS, PICTURE, Network

OPSET = 17


def export(network: Network, folder: Path, for_peers: bool) -> None:
    """Write the two files into `folder`; without `for_peers` the weights alone."""
    recipe = network.recipe().at_evaluation()
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        picture = tf.placeholder(tf.uint8, [*PICTURE, 3], name="picture")
        pixels = picture
        if recipe.channel_order == "bgr":  # by an op that every peer has
            pixels, recipe = tf.gather(picture, [2, 1, 0], axis=-1), recipe.derive(channel_order="rgb")
        logits = build(network.load().load_network(), preprocess(pixels, recipe)[None], recipe).logits
        if getattr(recipe, "scores_stride", None):
            size = [(side - 1) // recipe.scores_stride + 1 for side in PICTURE]
            logits = layers.resize_bilinear(logits, size, align_corners=recipe.align_corners)
        scores = layers.resize_bilinear(logits, list(PICTURE), align_corners=recipe.align_corners)[0]
        label = tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32), tf.uint8, name="label")
        session.run(tf.global_variables_initializer())
        variables = tf.global_variables()
        values = session.run({v.op.name: v for v in variables})
        np.savez(folder / "weights.npz", **values)
        if not for_peers:
            return
        frozen = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [label.op.name])
    model, _ = tf2onnx.convert.from_graph_def(
        frozen, input_names=["picture:0"], output_names=["label:0"], opset=OPSET
    )  # fmt: skip
    onnx.save(model, str(folder / "model.onnx"))


if __name__ == "__main__":
    export(NETWORKS[sys.argv[1]], Path(sys.argv[2]), sys.argv[3:] == ["onnx"])
