"""DeepLab v2: a dilated ResNet, ASPP as a sum, and multi-scale inputs fused by the maximum."""

from common.nets import heads, layers, pyramid
from common.nets.backbones import resnet_v1 as resnet
from common.nets.backbones.units import UNITS
from common.nets.network import Outputs
from common.tf1 import slim, tf
from reproductions.v2.recipe import V2Recipe

ENCODERS = {
    # encoder: (depth, names of the variables, scopes of the ASPP branches)
    "deeplab": (101, resnet.caffe_names(UNITS[101]), "fc1_voc12_c{0}"),
    "res101": (101, resnet.slim_names("resnet_v1_101"), "decoder/aspp/conv{1}"),
    "res50": (50, resnet.slim_names("resnet_v1_50"), "decoder/aspp/conv{1}"),
}


def deeplab_v2(images: tf.Tensor, recipe: V2Recipe) -> tf.Tensor:
    """Scores [n, ceil(h / 8), ceil(w / 8), num_classes] of preprocessed `images` [n, h, w, 3]."""
    depth, names, scope = ENCODERS[recipe.encoder]
    with slim.arg_scope([layers.conv2d], dilated_type=recipe.dilated_type):
        blocks = resnet.dilated_blocks(UNITS[depth], recipe.multi_grid)
        features, _ = resnet.resnet_v1(images, blocks, names, recipe.residual_gamma)
    scopes = [scope.format(i, i + 1) for i in range(len(recipe.atrous_rates))]
    return heads.aspp_sum(features, recipe.num_classes, recipe.atrous_rates, scopes)


def network(images: tf.Tensor, recipe: V2Recipe, batch_statistics: bool = False) -> Outputs:
    """The network on one scale, or on every scale of `recipe.msc_scales` (paper, section 4.1.2).

    Args:
      images: float32 [n, h, w, 3], preprocessed.
      recipe: network options.
      batch_statistics: normalise by the batch's statistics, to calibrate the stored ones; the
        original keeps them frozen always, in training too.

    Returns:
      Scores at output stride 8 of scale 1; with several scales their element-wise maximum, and the
      scores of each scale, at its own size, as further terms of the loss.
    """
    batch_norm = {"epsilon": recipe.batch_norm_epsilon, "batch_statistics": batch_statistics}
    # Scale 1 alone is calibrated on: each variable then has one update.
    scales = recipe.msc_scales[:1] if batch_statistics else recipe.msc_scales
    with slim.arg_scope([layers.batch_norm], **batch_norm):
        inputs = [(layers.rescale(images, s, align_corners=recipe.align_corners), recipe) for s in scales]
        scores = pyramid.each_input(deeplab_v2, inputs)
    if len(scores) == 1:
        return Outputs(scores[0])
    size = tf.shape(scores[0])[1:3]
    resized = [layers.resize_bilinear(s, size, align_corners=recipe.align_corners) for s in scores[1:]]
    return Outputs(pyramid.merged([scores[0], *resized], "max"), tuple(scores))
