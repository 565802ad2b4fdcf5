"""The simplified v3+: a Keras base network cut at a layer, ASPP from JSON, and features of that same layer refined."""

from collections.abc import Callable
from dataclasses import dataclass

from common.nets import layers
from common.nets.backbones.densenet import BLOCKS, densenet
from common.nets.backbones.efficientnet import SCALES, efficientnet
from common.nets.backbones.keras_layers import separable_conv2d
from common.nets.backbones.keras_xception import keras_xception
from common.nets.backbones.mobilenet_v2 import KERAS, UNITS_TO, mobilenet_v2
from common.nets.backbones.nasnet import PLANS, nasnet
from common.nets.heads import apply_branches
from common.nets.network import Outputs
from common.recipe.cell import Branch
from common.tf1 import slim, tf
from reproductions.v3plus_simplified.recipe import SimplifiedRecipe


@dataclass(frozen=True)
class BaseNetwork:
    """A base network and Keras' numbers of its batch norms.

    Attributes:
      build: (preprocessed images [n, h, w, 3], recipe) -> features at the recipe's output stride.
      epsilon, decay: of its batch norms.
    """

    build: Callable[[tf.Tensor, SimplifiedRecipe], tf.Tensor]
    epsilon: float
    decay: float


def _xception(images: tf.Tensor, recipe: SimplifiedRecipe) -> tf.Tensor:
    return keras_xception(images, recipe.output_stride)


def _mobilenet(images: tf.Tensor, recipe: SimplifiedRecipe) -> tf.Tensor:
    stride = recipe.output_stride
    return mobilenet_v2(images, stride, recipe.mv2_depth_multiplier, KERAS, UNITS_TO[stride])[0]


def _densenet(images: tf.Tensor, recipe: SimplifiedRecipe) -> tf.Tensor:
    return densenet(images, BLOCKS[recipe.base_model], recipe.output_stride)


def _nasnet(images: tf.Tensor, recipe: SimplifiedRecipe) -> tf.Tensor:
    return nasnet(images, PLANS[recipe.base_model], recipe.output_stride)


def _efficientnet(images: tf.Tensor, recipe: SimplifiedRecipe) -> tf.Tensor:
    return efficientnet(images, SCALES[recipe.base_model], recipe.output_stride, recipe.efficientnet_input)


BASE_MODELS = {
    "xception": BaseNetwork(_xception, 1e-3, 0.99),
    "mobilenetv2": BaseNetwork(_mobilenet, 1e-3, 0.999),
    **dict.fromkeys(PLANS, BaseNetwork(_nasnet, 1e-3, 0.9997)),
    **dict.fromkeys(BLOCKS, BaseNetwork(_densenet, 1.001e-5, 0.99)),
    **dict.fromkeys(SCALES, BaseNetwork(_efficientnet, 1e-3, 0.99)),
}
LOW_LEVEL_DEPTH = 48
TRUNCATED = {"weights_initializer": tf.initializers.truncated_normal(stddev=0.05)}  # Keras' TruncatedNormal


def network(images: tf.Tensor, recipe: SimplifiedRecipe, batch_statistics: bool = False) -> Outputs:
    """Scores of preprocessed `images` [n, h, w, 3] at their own size, [n, h, w, num_classes], for multiples of 32.

    Others give sizes that differ by a few pixels, as the base network rounds them.
    """
    norm = {"batch_statistics": batch_statistics, "trainable": not recipe.freeze_bn}
    base_network = BASE_MODELS[recipe.base_model]
    # The original runs the base network twice where it refines: its statistics are updated twice in a step.
    decay = base_network.decay ** (2 if recipe.boundary_refinement else 1)
    base_decay = decay if recipe.base_bn_momentum is None else recipe.base_bn_momentum
    with slim.arg_scope([layers.batch_norm], epsilon=base_network.epsilon, decay=base_decay, **norm):
        base = base_network.build(images, recipe)
    with slim.arg_scope([layers.batch_norm], epsilon=1e-3, decay=recipe.bn_momentum, scale=recipe.bn_scale, **norm):
        net, stride = encode(base, recipe), recipe.output_stride
        if recipe.boundary_refinement:
            low_level = layers.conv_bn_relu(base, LOW_LEVEL_DEPTH, 1, scope="decoder/feature_projection")
            net = enlarge(tf.concat([low_level, net], axis=3), stride // 2)
            stride = 2
    return Outputs(enlarge(layers.conv2d(net, recipe.num_classes, 3, scope="logits"), stride))


def encode(features: tf.Tensor, recipe: SimplifiedRecipe) -> tf.Tensor:
    """`encoder_middle_conf` on the base network's `features`: [n, h, w, concat_channels]."""
    depth = recipe.reduction_size
    originals = TRUNCATED if recipe.initializer == "glorot_uniform" else {}

    def convolve(inputs: tf.Tensor, branch: Branch, i: int):
        if branch.kernel == 1:
            return layers.conv_bn_relu(inputs, depth, 1, scope=f"aspp{i}")
        rate = tuple(r * recipe.conv_rate_multiplier for r in branch.rate)
        net = separable_conv2d(inputs, depth, branch.kernel, rate=rate, scope=f"aspp{i}_separable")
        net = layers.batch_norm(net, scope=f"aspp{i}_separable/BatchNorm", activation_fn=tf.nn.relu)
        return layers.conv_bn_relu(net, depth, 1, scope=f"aspp{i}", **originals)

    def pool(inputs: tf.Tensor, branch: Branch, i: int):
        means = tf.nn.avg_pool2d(inputs, ksize=branch.kernel, strides=branch.kernel, padding="VALID")
        pooled = enlarge(layers.conv_bn_relu(means, depth, 1, scope=f"aspp{i}"), branch.target_size_factor)
        # At sizes that are no multiple of the window some pixels are in none.
        return layers.resize_bilinear(pooled, tf.shape(features)[1:3], half_pixel_centers=True)

    outputs = apply_branches(features, recipe.cell, {"conv": convolve, "pyramid_pooling": pool})
    net = layers.dropout(tf.concat(outputs, axis=3), 1 - recipe.dropout_rate, scope="concat_projection_dropout")
    return layers.conv_bn_relu(net, recipe.concat_channels, 1, scope="concat_projection")


def enlarge(inputs: tf.Tensor, factor: int | tuple[int, int]) -> tf.Tensor:
    """Bilinear [n, h, w, c] -> [n, factor * h, factor * w, c] by Keras' resize_images."""
    rows, columns = (factor, factor) if isinstance(factor, int) else factor
    if rows == columns == 1:
        return inputs
    outputs = layers.resize_bilinear(inputs, tf.shape(inputs)[1:3] * (rows, columns), half_pixel_centers=True)
    n, h, w, c = inputs.shape.as_list()
    outputs.set_shape([n, h and h * rows, w and w * columns, c])
    return outputs
