"""DeepLab-LargeFOV: dilated VGG-16 and three convolutions in place of its fully connected layers."""

from common.nets import layers
from common.nets.backbones.vgg16 import LARGE_FOV, vgg16
from common.nets.network import Outputs
from common.tf1 import slim, tf
from reproductions.v1.recipe import V1Recipe


def network(images: tf.Tensor, recipe: V1Recipe, batch_statistics: bool = False) -> Outputs:
    """Scores at output stride 8 (arXiv 1412.7062, section 4.1; 1606.00915, figure 7 without the branches).

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      recipe: network options.
      batch_statistics: no meaning: there is no batch norm.
    """
    with (
        tf.variable_scope("", reuse=tf.AUTO_REUSE),
        slim.arg_scope([layers.conv2d], names=("w", "b"), bias=True),
    ):
        net, _ = vgg16(images, LARGE_FOV, recipe.pooling)
        for name, size, rate in (("fc6", 3, recipe.atrous_rate), ("fc7", 1, 1)):
            net = tf.nn.relu(layers.conv2d(net, 1024, size, rate=rate, scope=name))
            net = layers.dropout(net, recipe.keep_prob, scope=name)
        return Outputs(layers.conv2d(net, recipe.num_classes, 1, scope="fc8_voc12"))
