"""DeepLab v3: an atrous ResNet with multi-grid, and ASPP with image pooling, or a cascade of further blocks."""

from common.nets import heads, layers
from common.nets.backbones import resnet_v1 as resnet
from common.nets.network import Outputs
from common.tf1 import slim, tf
from reproductions.v3.recipe import V3Recipe


def blocks(recipe: V3Recipe) -> tuple[resnet.Block, ...]:
    """The paper's figure 3 at `recipe.output_stride`."""
    return resnet.slim_blocks(recipe.units(), recipe.output_stride, recipe.multi_grid, recipe.last_block)


def network(images: tf.Tensor, recipe: V3Recipe, batch_statistics: bool = False) -> Outputs:
    """Scores [n, ceil(h / os), ceil(w / os), num_classes] of preprocessed `images` [n, h, w, 3] (paper, figure 5)."""
    prefix = f"resnet_v1_{recipe.depth}"
    batch_norm = {
        "epsilon": recipe.batch_norm_epsilon,
        "decay": recipe.batch_norm_decay,
        "batch_statistics": batch_statistics,
        "trainable": not recipe.freeze_bn,
    }
    with slim.arg_scope([layers.batch_norm], **batch_norm):
        net, _ = resnet.resnet_v1(
            images, blocks(recipe), resnet.slim_names(prefix), recipe.residual_gamma, strided="last"
        )
        if recipe.aspp:
            net = heads.aspp(
                net,
                recipe.rates(),
                scopes=[f"{prefix}/aspp/1x1conv", *(f"{prefix}/aspp/rate{rate}" for rate in recipe.atrous_rates)],
                image_pooling_scope=f"{prefix}/img_pool/1x1conv" if recipe.image_pooling else None,
                fusion_scope=f"{prefix}/fusion/1x1conv",
            )
    return Outputs(layers.conv2d(net, recipe.num_classes, 1, bias=True, scope=f"{prefix}/logits/Conv"))
