"""The simplified v3+: a Keras base network cut at a layer, ASPP from JSON, and features of that same layer refined."""

from common.nets import layers
from common.nets.backbones.densenet import BLOCKS, densenet
from common.nets.backbones.keras_layers import separable_conv2d
from common.nets.backbones.keras_xception import keras_xception
from common.nets.backbones.mobilenet_v2 import KERAS, UNITS_TO, mobilenet_v2
from common.nets.backbones.nasnet import nasnet_mobile
from common.nets.heads import apply_branches
from common.nets.network import Outputs
from common.tf1 import slim, tf
from reproductions.v3plus_simplified.recipe import SimplifiedRecipe

# (build, epsilon and decay of its batch norms)
BASE_MODELS = {
    "xception": (lambda images, recipe: keras_xception(images, recipe.output_stride), 1e-3, 0.99),
    "mobilenetv2": (lambda images, recipe: _mobilenet(images, recipe), 1e-3, 0.999),
    "nasnetmobile": (lambda images, recipe: nasnet_mobile(images, recipe.output_stride), 1e-3, 0.9997),
    **{
        name: (lambda images, recipe, b=blocks: densenet(images, b, recipe.output_stride), 1.001e-5, 0.99)
        for name, blocks in BLOCKS.items()
    },
}
LOW_LEVEL_DEPTH = 48
TRUNCATED = {"weights_initializer": tf.initializers.truncated_normal(stddev=0.05)}  # Keras' TruncatedNormal


def network(images: tf.Tensor, recipe: SimplifiedRecipe, batch_statistics: bool = False) -> Outputs:
    """Scores of preprocessed `images` [n, h, w, 3] at their own size, [n, h, w, num_classes], for multiples of 32.

    Others give sizes that differ by a few pixels, as the base network rounds them.
    """
    norm = {"is_training": batch_statistics, "trainable": not recipe.freeze_bn}
    build, epsilon, decay = BASE_MODELS[recipe.base_model]
    # The original runs the base network twice where it refines: its statistics are updated twice in a step.
    twice = decay**2 if recipe.boundary_refinement else decay
    base_decay = twice if recipe.base_bn_momentum is None else recipe.base_bn_momentum
    with slim.arg_scope([layers.batch_norm], epsilon=epsilon, decay=base_decay, **norm):
        base = build(images, recipe)
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

    def convolve(inputs, branch, i):
        if branch.kernel == 1:
            return layers.conv_bn_relu(inputs, depth, 1, scope=f"aspp{i}")
        rate = tuple(r * recipe.conv_rate_multiplier for r in branch.rate)
        net = separable_conv2d(inputs, depth, branch.kernel, rate=rate, scope=f"aspp{i}_separable")
        net = layers.batch_norm(net, scope=f"aspp{i}_separable/BatchNorm", activation_fn=tf.nn.relu)
        return layers.conv_bn_relu(net, depth, 1, scope=f"aspp{i}", **originals)

    def pool(inputs, branch, i):
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


def _mobilenet(images: tf.Tensor, recipe: SimplifiedRecipe) -> tf.Tensor:
    stride = recipe.output_stride
    return mobilenet_v2(images, stride, recipe.mv2_depth_multiplier, KERAS, UNITS_TO[stride])[0]
