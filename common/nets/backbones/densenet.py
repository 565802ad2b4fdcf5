"""DenseNet (arXiv 1608.06993, table 1) as Keras names it, cut before a transition's pool."""

from functools import partial

from common.nets import layers
from common.nets.backbones.keras_layers import conv_bn
from common.tf1 import tf

# Units of the dense blocks of strides 4, 8 and 16, each followed by a transition.
BLOCKS = {"densenet121": (6, 12, 24), "densenet169": (6, 12, 32), "densenet201": (6, 12, 48)}
GROWTH_RATE = 32
TRANSITIONS = {8: 2, 16: 3}  # blocks up to that output stride

bn_relu = partial(layers.batch_norm, activation_fn=tf.nn.relu)


def densenet(images: tf.Tensor, blocks: tuple[int, ...], output_stride: int) -> tf.Tensor:
    """The 1x1 convolution of the transition at `output_stride`, 8 or 16.

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      blocks: units of each dense block.
      output_stride: 8 or 16.

    Returns:
      [n, h / os, w / os, c], half the channels of its dense block, without batch norm: it follows the pool.
    """
    net = conv_bn(images, 64, 7, stride=2, padding="even", scope="conv1_conv", norm_scope="conv1_bn",
                  activation_fn=tf.nn.relu)  # fmt: skip
    net = tf.nn.max_pool2d(tf.pad(net, [[0, 0], [1, 1], [1, 1], [0, 0]]), ksize=3, strides=2, padding="VALID")
    last = TRANSITIONS[output_stride]
    for number, units in enumerate(blocks[:last], 2):
        for unit in range(1, units + 1):
            scope = f"conv{number}_block{unit}"
            new = bn_relu(net, scope=f"{scope}_0_bn")
            new = layers.conv2d(new, 4 * GROWTH_RATE, 1, scope=f"{scope}_1_conv")
            new = layers.conv2d(bn_relu(new, scope=f"{scope}_1_bn"), GROWTH_RATE, 3, scope=f"{scope}_2_conv")
            net = tf.concat([net, new], axis=3)
        net = bn_relu(net, scope=f"pool{number}_bn")
        net = layers.conv2d(net, int(net.shape[3]) // 2, 1, scope=f"pool{number}_conv")
        if number - 1 < last:
            net = tf.nn.avg_pool2d(net, ksize=2, strides=2, padding="VALID")
    return net
