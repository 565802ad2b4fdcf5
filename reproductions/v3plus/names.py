"""The scopes of the head's layers in the official checkpoints and in the seed's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """Scopes of the head's layers in one family of checkpoints."""

    image_pooling: str
    aspp: str
    projection: str
    decoder: tuple[str, str]
    plain_decoder: tuple[str, str]  # when its convolutions are not separable
    sum_decoder: tuple[str, str]  # plain and separable
    logits: str


NAMES = {
    "zoo": Names(
        image_pooling="image_pooling",
        aspp="aspp{}",
        projection="decoder/feature_projection0",
        decoder=("decoder/decoder_conv0", "decoder/decoder_conv1"),
        plain_decoder=("decoder/decoder_conv0/decoder_conv0_1", "decoder/decoder_conv0/decoder_conv0_2"),
        sum_decoder=("decoder/decoder_conv0", "decoder/decoder_split_sep_conv0"),
        logits="logits/semantic",
    ),
    "seed": Names(
        image_pooling="global_average_pooling/Conv",
        aspp="aspp_{}",
        projection="decoder/layer_0/feature_projection",
        decoder=("decoder/layer_0/decoder_conv_0", "decoder/layer_0/decoder_conv_1"),
        plain_decoder=("decoder/layer_0/decoder_conv_0", "decoder/layer_0/decoder_conv_1"),
        sum_decoder=("decoder/layer_0/decoder_sum_0", "decoder/layer_0/decoder_separable_sum_0"),
        logits="logits/conv",
    ),
}
HEAD = "^(image_pooling|global_average_pooling|aspp|concat_projection|decoder|logits|meta_architecture)"

# How the head's names begin in each family, whichever of them are there.
MARKS = {
    "zoo": (
        "logits/semantic",
        "image_pooling/",
        "aspp0/",
        "decoder/feature_",
        "decoder/decoder_",
        "meta_architecture/",
    ),
    "seed": ("logits/conv", "global_average_pooling/", "aspp_0/", "decoder/layer_0/"),
}
