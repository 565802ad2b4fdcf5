"""DeepLab on VGG-16: a dilated VGG-16 and three convolutions in place of its fully connected layers.

The recipe's fields choose among DeepLab, its 7x7 and LargeFOV (arXiv 1412.7062, table 2), ASPP (arXiv 1606.00915,
figure 7), and the features of several layers (MSc; arXiv 1412.7062, section 4.3). Layers are called as in the released
Caffe models.
"""

from common.nets import layers
from common.nets.backbones.vgg16 import LARGE_FOV, vgg16
from common.nets.network import Outputs
from common.tf1 import slim, tf
from reproductions.v1.recipe import V1Recipe

SIDE_STRIDES = {"data": 1, "pool1": 2, "pool2": 4, "pool3": 8, "pool4": 8}  # whose features MSc adds


def network(images: tf.Tensor, recipe: V1Recipe, batch_statistics: bool = False) -> Outputs:
    """Scores at output stride 8; with features of several layers at `recipe.fusion_stride`.

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      recipe: network options.
      batch_statistics: no meaning: there is no batch norm.
    """
    with (
        tf.variable_scope("", reuse=tf.AUTO_REUSE),
        slim.arg_scope([layers.conv2d], names=("w", "b"), bias=True),
    ):
        net, end_points = vgg16(images, LARGE_FOV, recipe.pooling, recipe.pool5a)
        branches = [classifier(net, recipe, rate, ending) for ending, rate in recipe.branches.items()]
        scores = tf.add_n(branches) if len(branches) > 1 else branches[0]
        if recipe.multi_scale_features:
            scores = fuse(scores, {"data": images, **end_points}, recipe)
        return Outputs(scores)


def classifier(net: tf.Tensor, recipe: V1Recipe, rate: int, ending: str) -> tf.Tensor:
    """Scores [n, h, w, classes] of features [n, h, w, c] by fc6 at an atrous rate, fc7 and fc8."""
    for name, size, rate_ in ((f"fc6{ending}", recipe.fc6_kernel, rate), (f"fc7{ending}", 1, 1)):
        net = tf.nn.relu(layers.conv2d(net, recipe.fc6_channels, size, rate=rate_, scope=name))
        net = layers.dropout(net, recipe.keep_prob, scope=name)
    return layers.conv2d(net, recipe.num_classes, 1, scope=f"fc8_voc12{ending}")


def fuse(scores: tf.Tensor, end_points: dict[str, tf.Tensor], recipe: V1Recipe) -> tf.Tensor:
    """Add the scores of the picture's and the first four max pools' features to those of fc8.

    The authors' nets compute them at stride 8 to train, and as finely as each layer is to evaluate, where all are
    enlarged to the picture.
    """
    sides = [scores]
    for name, stride in SIDE_STRIDES.items():
        sides.append(side_scores(end_points[name], name, max(recipe.fusion_stride // stride, 1), recipe))
    size = tf.shape(scores if recipe.fusion_stride == 8 else end_points["data"])[1:3]
    return tf.add_n([layers.resize_bilinear(side, size, align_corners=recipe.align_corners) for side in sides])


def side_scores(net: tf.Tensor, name: str, stride: int, recipe: V1Recipe) -> tf.Tensor:
    """Scores of one layer's features [n, h, w, c], at `stride` of them: two convolutions of 128, and a classifier."""
    for layer, size, stride_ in ((f"{name}_conv", 3, stride), (f"{name}_fc", 1, 1)):
        start = tf.initializers.random_normal(stddev=0.001)
        net = layers.conv2d(net, 128, size, stride=stride_, padding="even", weights_initializer=start, scope=layer)
        net = layers.dropout(tf.nn.relu(net), recipe.keep_prob, scope=layer)
    start = tf.initializers.random_normal(stddev=0.01)
    return layers.conv2d(net, recipe.num_classes, 1, weights_initializer=start, scope=f"{name}_ms")
