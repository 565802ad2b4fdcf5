"""DeepLab v3: an atrous ResNet with multi-grid, and ASPP with image pooling, or a cascade of further blocks."""

from dataclasses import dataclass

from common.nets import heads, layers
from common.nets.backbones import resnet_v1 as resnet
from common.nets.backbones.resnet_v2 import resnet_v2
from common.nets.network import Outputs
from common.tf1 import slim, tf
from reproductions.v3.recipe import V3Recipe


def blocks(recipe: V3Recipe) -> tuple[resnet.Block, ...]:
    """The paper's figure 3 at `recipe.output_stride`."""
    return resnet.slim_blocks(recipe.units(), recipe.output_stride, recipe.multi_grid, recipe.last_block)


@dataclass(frozen=True)
class Names:
    """Scopes of the head's layers; `{prefix}` is the backbone's, `{rate}` a branch's rate, `{i}` its number from 1."""

    first: str
    atrous: str
    image_pooling: str
    fusion: str
    logits: str


NAMES = {
    # NanqingD's, and rishizek's.
    "resnet_v1": Names(
        "{prefix}/aspp/1x1conv",
        "{prefix}/aspp/rate{rate}",
        "{prefix}/img_pool/1x1conv",
        "{prefix}/fusion/1x1conv",
        "{prefix}/logits/Conv",
    ),
    "resnet_v2": Names(
        "aspp/conv_1x1",
        "aspp/conv_3x3_{i}",
        "aspp/image_level_features/conv_1x1",
        "aspp/conv_1x1_concat",
        "upsampling_logits/conv_1x1",
    ),
}


def backbone(images: tf.Tensor, recipe: V3Recipe, prefix: str) -> tf.Tensor:
    """The last block's features [n, ceil(h / os), ceil(w / os), 2048]; ResNet v2's are those before its `postnorm`."""
    if recipe.backbone == "resnet_v2":
        return resnet_v2(images, blocks(recipe), prefix)[1][f"block{recipe.last_block}"]
    names = resnet.slim_names(prefix)
    return resnet.resnet_v1(images, blocks(recipe), names, recipe.residual_gamma, strided="last")[0]


def network(images: tf.Tensor, recipe: V3Recipe, batch_statistics: bool = False) -> Outputs:
    """Scores [n, ceil(h / os), ceil(w / os), num_classes] of preprocessed `images` [n, h, w, 3] (paper, figure 5)."""
    prefix, names = f"{recipe.backbone}_{recipe.depth}", NAMES[recipe.backbone]
    batch_norm = {
        "epsilon": recipe.batch_norm_epsilon,
        "decay": recipe.batch_norm_decay,
        "batch_statistics": batch_statistics,
        "trainable": not recipe.freeze_bn,
    }
    with slim.arg_scope([layers.batch_norm], **batch_norm):
        net = backbone(images, recipe, prefix)
        if recipe.aspp:
            branches = [names.atrous.format(prefix=prefix, rate=r, i=i) for i, r in enumerate(recipe.atrous_rates, 1)]
            net = heads.aspp(
                net,
                recipe.rates(),
                scopes=[names.first.format(prefix=prefix), *branches],
                image_pooling_scope=names.image_pooling.format(prefix=prefix) if recipe.image_pooling else None,
                fusion_scope=names.fusion.format(prefix=prefix),
            )
    return Outputs(layers.conv2d(net, recipe.num_classes, 1, bias=True, scope=names.logits.format(prefix=prefix)))
