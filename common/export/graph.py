"""The graph that is exported: from pictures to label maps, probabilities and scores, with its weights as constants."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.engines.interface import INPUT, LABELS, OUTPUTS, PROBABILITIES, SCORES, Size
from common.errors import UserError, one_line
from common.inference.fusion import Fusion
from common.nets import layers
from common.nets.dilation import ANY_EXTENT
from common.nets.network import Network, Outputs, build
from common.nets.pictures import canvas, pad, preprocess, size_in_evaluation
from common.nets.quantisation import Quantisation
from common.recipe.recipe import Recipe
from common.tf1 import session, slim, tf
from common.weights import checkpoints
from common.weights.weights import Weights


class FusionInGraph(Fusion):
    """The fusion of passes that are tensors of the same graph, of one picture or several of one size.

    Each scale has a pass, and with mirrored pictures another one after it: [n, h', w', classes], not mirrored any more.
    The label map and the fused scores then have the batch too: [n, h, w] and [n, h, w, classes].
    """

    def __init__(self, recipe: Recipe, passes: Sequence[tf.Tensor], own: tf.Tensor):
        super().__init__(recipe)
        self.passes, self.own, self.mirrors = list(passes), own, 1
        self.count = tf.constant(float(len(passes)))
        self._resized: dict[str, tf.Tensor] = {}

    def scores(self, scores: tf.Tensor, is_band: bool) -> list[tf.Tensor]:
        """The batch as the only value, [n, h, w, classes]; the label map and the fused scores share it.

        A list: taking its element is no op in the graph, which would copy the scores.
        """
        if scores.name not in self._resized:
            self._resized[scores.name] = super().scores(scores, is_band)
        return [self._resized[scores.name]]


def for_tensorflow(network: Network) -> Network:
    """The network without atrous depthwise ops, which ignore their rate on GPUs and without oneDNN.

    SpaceToBatch stands around a plain convolution instead, as in the graphs of TensorFlow 1.
    """

    def plain(images: tf.Tensor, recipe: Recipe, batch_statistics: bool = False) -> Outputs:
        with slim.arg_scope([layers.depthwise_conv2d], largest_native=0):
            return network(images, recipe, batch_statistics)

    return plain


def for_other_programs(network: Network, fold: bool) -> Network:
    """The network with atrous ops of any rate, and with `fold` its batch norms within the convolutions before them.

    What is left of a batch norm is computed from constants. The rounding of an 8 bit network is plain arithmetic then:
    ONNX has an op that rounds otherwise.
    """

    def by_parts(recipe: Recipe) -> dict[str, Quantisation]:
        return {"quantisation": Quantisation(by_parts=True)} if recipe.quantised_from is not None else {}

    def adapted(images: tf.Tensor, recipe: Recipe, batch_statistics: bool = False) -> Outputs:
        with (
            slim.arg_scope([layers.depthwise_conv2d], largest_native=ANY_EXTENT),
            slim.arg_scope([layers.batch_norm], fold=fold),
            slim.arg_scope(layers.QUANTISED, **by_parts(recipe) if fold else {}),
        ):
            return network(images, recipe, batch_statistics)

    return adapted


def frozen_graph(
    network: Network, recipe: Recipe, weights: Weights, batch: int | None, size: Size | None
) -> tf.GraphDef:
    """The graph of `network` with `weights` as constants, from INPUT to OUTPUTS.

    Args:
      network: a reproduction's network.
      recipe: its preprocessing, sizes, scales and mirroring, as `Segmenter` takes them.
      weights: of the network.
      batch: pictures at once; None is any number.
      size: of the pictures, [h, w]; None is any.

    Raises:
      UserError: the weights don't fit, or the network cannot take pictures of this size.
    """
    if size:
        recipe.check_input(*_known_input_size(size, 1.0, recipe), f"--size {size[0]}x{size[1]}")
    with tf.Graph().as_default() as graph:
        try:
            _build(network, recipe, batch, size)
        except ValueError as error:
            if not size:
                raise
            raise UserError(
                f"--size {size[0]}x{size[1]}: the network cannot take pictures of this size ({one_line(error)}); take "
                f"larger ones, or --set eval_size=N, which pads them"
            ) from None
        with session(graph) as running:
            checkpoints.restore(running, weights, tf.global_variables())
            return tf.graph_util.convert_variables_to_constants(running, _plain(graph.as_graph_def()), OUTPUTS)


def _build(network: Network, recipe: Recipe, batch: int | None, size: Size | None) -> None:
    pictures = tf.placeholder(tf.uint8, [batch, *(size or (None, None)), 3], INPUT)
    own = tf.constant(size) if size else tf.shape(pictures)[1:3]
    inputs = _Inputs(network, recipe, _on_canvas(pictures, own, recipe), own, size)
    by_scale = {scale: inputs.scores(scale, recipe.eval_flip) for scale in dict.fromkeys(recipe.eval_scales)}
    at_scale_1 = by_scale.get(1.0) or inputs.scores(1.0, False)
    fusion = FusionInGraph(recipe, [scores for scale in recipe.eval_scales for scores in by_scale[scale]], own)
    probabilities = fusion.fused if recipe.scale_fusion == "mean_probability" else tf.nn.softmax(fusion.fused)
    tf.identity(tf.cast(fusion.whole_label, tf.int32), LABELS)
    tf.identity(probabilities, PROBABILITIES)
    tf.identity(at_scale_1[0], SCORES)


@dataclass(frozen=True)
class _Inputs:
    """The network, and its preprocessed and padded pictures [n, h, w, 3].

    Attributes:
      network, recipe: as `frozen_graph` takes them.
      images: the pictures.
      own: their size before, a tensor [h, w].
      size: that size, if it is known.
    """

    network: Network
    recipe: Recipe
    images: tf.Tensor
    own: tf.Tensor
    size: Size | None

    def scores(self, scale: float, flip: bool) -> list[tf.Tensor]:
        """The scores at a scale [n, h', w', classes], and with `flip` those of the mirrored pictures, mirrored back."""
        images, recipe = self.images, self.recipe
        if scale != 1:
            size = _input_size(self.own, scale, recipe)
            images = layers.resize_bilinear(images, size, align_corners=recipe.align_corners)
        images.set_shape([None, *(_known_input_size(self.size, scale, recipe) if self.size else (None, None)), 3])
        if flip:
            images = tf.concat([images, tf.reverse(images, [2])], 0)
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            scores = build(self.network, images, recipe, scale=scale).logits
        if not flip:
            return [scores]
        straight, mirrored = tf.split(scores, 2)
        return [straight, tf.reverse(mirrored, [2])]


def _on_canvas(pictures: tf.Tensor, own: tf.Tensor, recipe: Recipe) -> tf.Tensor:
    """Preprocess pictures [n, h, w, 3] of the size `own`, bring them into the recipe's range, pad them."""
    images, size = preprocess(pictures, recipe), size_in_evaluation(own, recipe)
    if recipe.eval_resize_range:
        images = layers.RESIZES[recipe.picture_interpolation](images, size, align_corners=recipe.resize_align_corners)
    if recipe.eval_size == "native":
        return images
    _, padding = canvas(size, recipe)
    return pad(images, tf.pad(padding, [[1, 0], [0, 0]]), recipe)


def _input_size(own: tf.Tensor, scale: float, recipe: Recipe) -> tf.Tensor:
    """The size [h, w] of the network's input for pictures of the size `own`, at a scale."""
    padded, _ = canvas(size_in_evaluation(own, recipe), recipe)
    return layers.scaled_size(padded, scale, align_corners=recipe.align_corners)


def _known_input_size(size: Size, scale: float, recipe: Recipe) -> Size:
    with tf.Graph().as_default(), tf.Session() as running:
        height, width = running.run(_input_size(tf.constant(size), scale, recipe))
    return int(height), int(width)


def _plain(graph_def: tf.GraphDef) -> tf.GraphDef:
    """The graph without what only this suite knows, or only new versions of TensorFlow.

    Gradients are left out, and attributes that have their defaults. Before it has its weights this takes no memory.
    """
    for node in graph_def.node:
        if "_gradient_op_type" in node.attr:
            del node.attr["_gradient_op_type"]
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        return tf.train.export_meta_graph(graph=graph, clear_devices=True, strip_default_attrs=True).graph_def
