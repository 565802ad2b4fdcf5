"""Xception as its paper has it (arXiv 1610.02357, figure 5) and Keras names it, cut before a pool."""

from common.nets import layers
from common.nets.backbones.keras_layers import conv_bn, separable_conv2d
from common.tf1 import tf

# Blocks that end in a pool of stride 2, by number: the depths of their two separable convolutions.
POOLED = {2: (128, 128), 3: (256, 256), 4: (728, 728), 13: (728, 1024)}
MIDDLE_DEPTH = 728
# The block before whose pool the features have that stride.
LAST_BLOCK = {8: 4, 16: 13}


def keras_xception(images: tf.Tensor, output_stride: int) -> tf.Tensor:
    """Features after batch norm of the last separable convolution at `output_stride`, 8 or 16.

    Args:
      images: float32 [n, h, w, 3], preprocessed. The first two convolutions are not padded: 128 gives 8 at 16.
      output_stride: 8 or 16.

    Returns:
      [n, h / os, w / os, 728 or 1024] for sides that are multiples of 16, before any ReLU.
    """
    net = conv_bn(images, 32, 3, stride=2, padding="none", scope="block1_conv1", activation_fn=tf.nn.relu)
    net = conv_bn(net, 64, 3, padding="none", scope="block1_conv2", activation_fn=tf.nn.relu)
    for block in range(2, LAST_BLOCK[output_stride] + 1):
        pooled, shortcut = block in POOLED, net
        for i, depth in enumerate(POOLED.get(block, (MIDDLE_DEPTH,) * 3), 1):
            scope = f"block{block}_sepconv{i}"
            net = tf.nn.relu(net) if (block, i) != (2, 1) else net  # the root has ended in one
            net = layers.batch_norm(separable_conv2d(net, depth, 3, scope=scope), scope=f"{scope}_bn")
        if block == LAST_BLOCK[output_stride]:
            return net
        if pooled:
            net = layers.max_pool(net, 3, 2)
            shortcut = conv_bn(shortcut, net.shape[3], 1, stride=2, scope=f"block{block}_shortcut")
        net += shortcut
    raise ValueError(f"no block ends at output stride {output_stride}")
